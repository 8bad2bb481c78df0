"""The whole simulated dataset: eight subjects, every atlas and map, three versions of the betas."""

import dataclasses
import zlib

import nibabel as nib
import numpy as np
import pytest
import threadpoolctl
from refusals import refused

from fmri_utils import nsd
from fmri_utils.nsd import rois
from fmri_utils.nsd.realism import PUBLISHED_NCSNR
from fmri_utils.project.simulation_config import BETA_VERSIONS, SimulationConfig
from simulated_nsd import folder, stimulus_file, subject
from simulated_nsd.brain import make_brain
from simulated_nsd.folder import runner
from simulated_nsd.localizer import CONTRASTS, floc_maps
from simulated_nsd.parcels import HCP_MMP1, LANDMARKS, MEDIAL, REGIONS, STRIPS, seeds
from simulated_nsd.pixel_features import CHANNELS
from simulated_nsd.subject import simulate_subject

TINY = SimulationConfig(
    n_shared=460, n_own=40, sessions=(2, 1, 2, 2, 2, 2, 2, 2), grid=(18, 22, 16), n_nsdgeneral=220,
    n_null=22, stimulus_px=32, write_nifti=False,
)  # fmt: skip
ONE = dataclasses.replace(TINY, n_shared=210, sessions=(1,) * 8)  # one session and 250 pictures
B3, B2, B1 = BETA_VERSIONS


def quick_block(job):
    """Pictures without drawing, which has its own tests: noise, and random maps of their own."""
    seed, ids, width = job
    pictures = dict.fromkeys(ids, zlib.compress(bytes(3 * width**2)))
    scenes, shape = [stimulus_file.make_scene(seed, i) for i in ids], (len(CHANNELS), 40, 40)
    maps = [np.random.default_rng([9, seed, i]).random(shape, dtype=np.float32) for i in ids]
    return pictures, scenes, np.stack(maps)


@pytest.fixture(scope="module")
def undrawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "draw_block", quick_block)
        yield


@pytest.fixture(scope="module")
def eight(tmp_path_factory, undrawn):
    """All eight subjects in one folder, and their summaries."""
    root = tmp_path_factory.mktemp("eight")
    made = {s: simulate_subject(root, TINY, s, workers=1, progress=False) for s in range(1, 9)}
    return root, made


@pytest.fixture(scope="module")
def versions(tmp_path_factory, undrawn):
    """A subject with all three versions of the betas."""
    root = tmp_path_factory.mktemp("versions")
    config = dataclasses.replace(ONE, beta_versions=(B1, B3, B2))
    return root, simulate_subject(root, config, 1, workers=1, progress=False)


# --- eight subjects --------------------------------------------------------------------------


def test_all_eight_are_there_and_one_stopped_earlier(eight):
    root, made = eight
    assert [made[s]["n_sessions"] for s in made] == list(TINY.sessions)
    shared = []
    for number in made:
        layout = nsd.NSDLayout(root, number)
        assert nsd.paths.available_sessions(layout) == list(range(1, TINY.sessions[number - 1] + 1))
        assert set(nsd.check_design(layout).values()) == {made[number]["n_trials"]}
        table = nsd.trial_table(layout)
        shared.append(set(table.loc[table["shared"], "nsd_id"]))
        own = set(table["nsd_id"]) - shared[-1]
        assert not own & set.union(*shared)
    assert all(ids == shared[0] for i, ids in enumerate(shared) if i != 1)
    assert shared[1] < shared[0]  # the shorter one saw fewer of the same


def test_noise_is_set_to_the_published_medians(eight):
    _, made = eight
    found = {s: made[s]["ncsnr_median"] for s in made}
    assert found == pytest.approx(PUBLISHED_NCSNR, abs=0.06)
    best_and_worst = max(found, key=found.get), min(found, key=found.get)
    assert best_and_worst == (5, 8)  # are NSD's


# --- versions of the betas -------------------------------------------------------------------


def test_ceilings_rise_from_b1_to_b3(versions):
    medians = versions[1]["ncsnr_by_version"]
    assert medians[B1] + 0.02 < medians[B2] < medians[B3] - 0.02
    assert versions[1]["ncsnr_median"] == medians[B3]
    for version, median in medians.items():
        layout = nsd.NSDLayout(versions[0], 1, beta_version=version)
        own = nsd.read_ncsnr(layout, nsd.roi_mask(layout))
        assert np.nanmedian(own) == pytest.approx(median, abs=1e-3)


def test_versions_are_the_same_responses_with_more_noise(versions):
    root, _ = versions
    layouts = [nsd.NSDLayout(root, 1, beta_version=v) for v in BETA_VERSIONS]
    mask = nsd.roi_mask(layouts[0])
    b3, b2, b1 = (nsd.read_betas(layout, mask, progress=False) for layout in layouts)
    covered = b3.any(axis=0)
    assert (~covered).sum() == 4
    for added in ((b2 - b3)[:, covered], (b1 - b2)[:, covered]):
        assert abs(added.mean()) < 0.02
        assert (added.std(axis=0) > 0.3).all()
        related = np.corrcoef(added.ravel(), b3[:, covered].ravel())[0, 1]
        assert abs(related) < 0.02
    assert not b1[:, ~covered].any()  # nothing is added where nothing was measured


@pytest.mark.parametrize("version", [B3, B2])
def test_a_version_has_the_same_bytes_alone_and_among_others(versions, version, tmp_path, undrawn):
    config = dataclasses.replace(ONE, beta_versions=(version,))
    simulate_subject(tmp_path, config, 1, workers=1, progress=False)
    alone, among = (nsd.NSDLayout(r, 1, beta_version=version) for r in (tmp_path, versions[0]))
    for name in ("betas_session01.hdf5", "ncsnr.nii.gz", "R2.nii.gz"):
        assert (alone.betas / name).read_bytes() == (among.betas / name).read_bytes()
    assert [p.name for p in alone.betas.parent.iterdir()] == [version]


# --- atlases ---------------------------------------------------------------------------------


def test_parcels_have_the_atlas_ids_and_one_place_each():
    assert len(HCP_MMP1) == len(set(HCP_MMP1)) == 180
    known = {
        "V1": 1, "FFC": 18, "MT": 23, "MIP": 50, "1": 51, "8BM": 63, "44": 74, "OFC": 93, "43": 99,
        "AVI": 111, "TE2p": 136, "PGp": 143, "V6A": 152, "VVC": 163, "p24": 180,
    }  # fmt: skip
    assert {name: HCP_MMP1.index(name) + 1 for name in known} == known
    spread = " ".join(names for *_, names in REGIONS + MEDIAL).split()
    placed = [*LANDMARKS, *STRIPS, *spread, "V1", "V2", "V3", "V4"]
    assert sorted(placed) == sorted(HCP_MMP1)
    places, ids = seeds()
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)
    assert len(places) == len(ids)


# --- maps ------------------------------------------------------------------------------------


def test_localizer_finds_the_areas_it_defined():
    brain = make_brain(SimulationConfig(), 1)
    maps = floc_maps(brain, np.random.default_rng(0))
    assert set(maps) == set(CONTRASTS) and len(CONTRASTS) == 15
    labels, v = brain.areas.labels, brain.voxels
    for atlas, contrast in (
        ("floc-faces", "faces"), ("floc-bodies", "bodies"), ("floc-places", "places"),
        ("floc-words", "characters"), ("floc-faces", "adult"), ("floc-places", "house"),
    ):  # fmt: skip
        t = maps[contrast]
        inside = np.median(t[labels[atlas] > 0])
        assert inside > 5, contrast
        assert inside > 3 * np.median(np.abs(t[labels["prf-visualrois"] == 1]))
    silent = maps["faces"].ravel()[v.index[v.null]]
    assert (silent.mean(), silent.std()) == (pytest.approx(0, abs=0.3), pytest.approx(1, abs=0.15))
    for volume in maps.values():
        assert volume.dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(volume), brain.anatomy.brainmask)


def test_the_tree_has_nsds_files(eight):
    layout = nsd.NSDLayout(eight[0], 1)
    inside = nsd.read_brainmask(layout)
    floc = sorted(p.name for p in layout.mean_volume.parent.glob("floc_*"))
    assert floc == sorted(f"floc_{name}tval.nii.gz" for name in CONTRASTS)
    for name in ("R2", "R2_session01", "R2_session02", "meanbeta_session02", "ncsnr_split2"):
        image = nib.load(layout.betas / f"{name}.nii.gz")
        assert image.get_data_dtype() == np.float32, name
    r2 = nib.load(layout.betas / "R2.nii.gz").get_fdata()
    assert np.isnan(r2[~inside]).all() and 0 <= np.nanmin(r2) < np.nanmax(r2) <= 100
    v1 = nsd.roi_mask(layout, "prf-visualrois:V1v,V1d")
    elsewhere = inside & ~(rois.read_roi(layout, "streams")[0] >= 0)
    assert np.median(r2[v1]) > np.median(r2[elsewhere]) + 10
    missed = nib.load(layout.mean_volume.with_name("valid_session02.nii.gz")).get_fdata() == 0
    second = nib.load(layout.betas / "R2_session02.nii.gz").get_fdata()
    assert np.isnan(second[missed]).all()
    assert np.isfinite(r2[missed & inside]).all()  # the other session covers them


# --- the same bytes --------------------------------------------------------------------------


def blas_threads():
    """How many threads each BLAS library of this process may use."""
    found = threadpoolctl.threadpool_info()
    return {library["num_threads"] for library in found if library["user_api"] == "blas"}


class Enough(Exception):
    pass


def test_matrix_products_use_one_thread_wherever_they_run(tmp_path, undrawn, monkeypatch):
    # The last bits of a product depend on the threads that share it, and so would the betas.
    def look(job):
        seen.append(blas_threads())
        raise Enough

    seen = []
    monkeypatch.setattr(subject, "write_session", look)
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        with pytest.raises(Enough):
            simulate_subject(tmp_path, ONE, 1, workers=1, progress=False)
        assert seen == [{1}]
        code = "[i['num_threads'] for i in __import__('threadpoolctl').threadpool_info()]"
        with runner(2, progress=False) as run:
            assert set(next(run(eval, [code], ""))) == {1}
        assert blas_threads() == {2}  # and no longer than that


def test_a_folder_of_an_older_format_is_named(tmp_path, monkeypatch):
    folder.mark_folder(tmp_path, TINY)
    monkeypatch.setattr(folder, "FORMAT", folder.FORMAT + 1)
    refused(r"an older version.*Remove the folder", folder.mark_folder, tmp_path, TINY)
