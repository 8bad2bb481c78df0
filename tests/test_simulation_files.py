"""A simulated subject on disk: NSD's conventions, the reader, resuming, and the planted truth."""

import dataclasses
import functools
import json
import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from refusals import refused

from fmri_utils import nsd
from fmri_utils.nsd import design
from fmri_utils.nsd.betas import read_session
from fmri_utils.project.errors import DataError
from fmri_utils.project.simulation_config import SimulationConfig
from simulated_nsd import stimulus_file, subject
from simulated_nsd.cortical_areas import ATLASES
from simulated_nsd.folder import runner
from simulated_nsd.ground_truth import OutsideError, load_ground_truth
from simulated_nsd.scenes import draw_scene
from simulated_nsd.subject import simulate_subject

TINY = SimulationConfig(
    n_shared=400, n_own=100, sessions=(2, 1, 2, 2, 2, 2, 2, 2), grid=(20, 24, 18), n_nsdgeneral=280,
    n_null=30, stimulus_px=32, write_shared_png=True,
)  # fmt: skip
ONE = dataclasses.replace(TINY, n_shared=200, n_own=50, sessions=(1,) * 8, write_shared_png=False)


@pytest.fixture(scope="module")
def drawn_once():
    """Draw every picture of this module once only; drawing has its own tests."""
    original = stimulus_file.draw_block
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "draw_block", functools.cache(original))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory, drawn_once):
    """Subject 2, who stopped after the first of two sessions."""
    root = tmp_path_factory.mktemp("nsd")
    simulate_subject(root, TINY, 2, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def layout(root):
    return nsd.NSDLayout(root, 2)


@pytest.fixture(scope="module")
def two_sessions(tmp_path_factory, drawn_once):
    """A short experiment twice: once in one go, once killed and resumed."""
    roots = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("resumed")
    simulate_subject(roots[0], ONE, 1, workers=1, progress=False)
    return roots


def files_of(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# --- conventions -----------------------------------------------------------------------------


def test_headers_are_nsds(layout):
    betas = nib.load(layout.betas_nifti(1))
    assert (betas.shape, betas.get_data_dtype()) == ((*TINY.grid, 750), np.dtype("<i2"))
    translation = [-1.8 * (n - 1) / 2 for n in TINY.grid]
    ncsnr, roi = nib.load(layout.ncsnr()), nib.load(layout.roi("streams"))
    for image, tr in ((betas, 4 / 3), (ncsnr, 4 / 3), (roi, 1)):
        assert (image.header["sform_code"], image.header["qform_code"]) == (1, 0)
        np.testing.assert_allclose(image.header["pixdim"][1:5], [1.8, 1.8, 1.8, tr], rtol=1e-6)
        np.testing.assert_allclose(image.affine[:3, 3], translation, rtol=1e-5)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert (betas.dataobj.slope, betas.dataobj.inter) == (1, 0)


def test_both_formats_hold_the_same_numbers(layout):
    with h5py.File(layout.betas_hdf5(1)) as file:
        stored = file["betas"]
        assert (stored.shape, stored.chunks) == ((750, *TINY.grid[::-1]), (750, 1, 1, 1))
        assert (stored.dtype, stored.compression) == (np.dtype("<i2"), None)
        volumes = stored[:]
    nifti = np.asarray(nib.load(layout.betas_nifti(1)).dataobj)
    np.testing.assert_array_equal(nifti, volumes.T)
    assert not nifti[~nsd.read_brainmask(layout)].any()
    assert np.abs(nifti.astype(int)).max() <= 32767


def test_the_reader_gives_back_what_was_simulated(layout, root):
    mask = nsd.roi_mask(layout)
    assert mask.sum() == TINY.n_nsdgeneral
    truth = load_ground_truth(root, 2)
    np.testing.assert_array_equal(truth.voxels[["i", "j", "k"]], np.argwhere(mask))
    table = nsd.trial_table(layout)
    for path in (layout.betas_nifti(1), layout.betas_hdf5(1)):
        betas = read_session(path, mask)
        assert betas.shape == (750, TINY.n_nsdgeneral)
        # Trials and voxels are where the truth says: means over trials follow the planted signal.
        row = pd.Series(range(len(truth.nsd_id)), index=truth.nsd_id)[table["nsd_id"]].to_numpy()
        usable = truth.covered[0] & (truth.voxels["ncsnr"] > 0.25).to_numpy()
        signal, measured = truth.signal[row][:, usable], betas[:, usable]
        found = [np.corrcoef(a, b)[0, 1] for a, b in zip(signal.T, measured.T, strict=True)]
        snr = truth.voxels["ncsnr"].to_numpy()[usable]
        assert np.corrcoef(found, snr / np.sqrt(1 + snr**2))[0, 1] > 0.7
        assert np.median(found) > 0.2


def test_stim_info_has_nsds_columns_and_the_whole_plan(layout):
    assert pd.read_csv(layout.stim_info).shape == (TINY.n_ids, 41)
    info, responses = design.read_stim_info(layout), design.read_responses(layout)
    assert info["shared1000"].sum() == TINY.n_shared
    shown = info.loc[info["subject2"] == 1, [f"subject2_rep{r}" for r in range(3)]].to_numpy()
    assert len(shown) == TINY.n_images and (np.diff(shown, axis=1) > 0).all()
    assert shown.max() == 1500  # also beyond the session that was acquired
    assert responses.shape == (750, 19) and set(responses["SESSION"]) == {1}


def test_rois_and_their_names(layout):
    for atlas, names in ATLASES.items():
        both = nib.load(layout.roi(atlas))
        assert both.get_data_dtype() == np.float64
        both = both.get_fdata()
        left, right = (nib.load(layout.roi(atlas, h)).get_fdata() for h in ("lh", "rh"))
        np.testing.assert_array_equal(np.maximum(left, right), both)
        assert not ((left >= 0) & (right >= 0)).any()
        # NSD's own table of Kastner2015 has a tab and blanks behind the names, the others nothing.
        tail = "\t  " if atlas == "Kastner2015" else ""
        lines = [f"{label} {name}{tail}\n" for label, name in enumerate(["Unknown", *names])]
        assert layout.ctab(atlas).read_bytes().decode() == "".join(lines)
        label = layout.root / "nsddata" / "freesurfer" / "fsaverage" / "label"
        assert (label / f"{atlas}.mgz.ctab").read_bytes() == layout.ctab(atlas).read_bytes()
    areas = nsd.visual_areas(layout, nsd.roi_mask(layout))
    assert all(areas[name].sum() > 0 for name in ("V1", "V2", "V3", "hV4", "faces", "places"))


def test_stimuli_are_stored_where_they_were_seen(layout, root):
    with h5py.File(layout.stimuli) as file:
        brick, shape = file["imgBrick"], (32, 32, 3)
        found = brick.shape, brick.dtype, brick.chunks
        assert found == ((TINY.n_ids, *shape), np.uint8, (1, *shape))
    ids = load_ground_truth(root, 2).nsd_id
    assert stimulus_file.stored_ids(layout.stimuli) == set(ids.tolist())
    images = nsd.read_images(layout, ids[[5, 2]], progress=False)
    expected = draw_scene(stimulus_file.make_scene(0, int(ids[5])), 32)
    np.testing.assert_array_equal(images[0], expected)
    pngs = sorted((root / "nsddata/stimuli/nsd/shared1000").iterdir())
    assert len(pngs) == TINY.n_shared
    assert pngs[0].name == f"shared0001_nsd{ids[0] + 1:05d}.png"


def test_captions_are_in_coco_format(layout, root):
    ids = load_ground_truth(root, 2).nsd_id[:3]
    captions = nsd.read_captions(layout, ids)
    assert [len(c) for c in captions] == [5, 5, 5]
    assert captions == stimulus_file.caption_block((0, tuple(ids.tolist())))
    # Programs by others open the file of the split that the table names and look for the COCO id.
    info = pd.read_csv(layout.stim_info, index_col=0)
    folder, found = layout.root / "nsddata_stimuli/stimuli/nsd/annotations", []
    for split, rows in info.groupby("cocoSplit"):
        content = json.loads((folder / f"captions_{split}.json").read_text())
        assert [image["id"] for image in content["images"]] == rows["cocoId"].tolist()
        named = [annotation["image_id"] for annotation in content["annotations"]]
        assert named == np.repeat(rows["cocoId"], 5).tolist()
        found += [annotation["id"] for annotation in content["annotations"]]
    assert sorted(found) == list(range(1, 5 * TINY.n_ids + 1))


def test_every_subject_sees_pictures_of_both_coco_splits(layout, root):
    info = design.read_stim_info(layout)
    val = info["cocoSplit"] == "val2017"
    assert set(info["cocoSplit"]) == {"train2017", "val2017"}
    assert not (val & (info["shared1000"] == 1)).any()
    seen = [(val & (info[f"subject{s}"] == 1)).sum() for s in range(1, 9)]
    assert seen == [TINY.n_own // 25] * 8  # COCO: 5,000 of 123,287
    ids = np.flatnonzero(val & (info["subject2"] == 1))[:2].tolist()
    ids.insert(1, int(load_ground_truth(root, 2).nsd_id[0]))  # a shared one between the two
    assert nsd.read_captions(layout, ids) == stimulus_file.caption_block((0, tuple(ids)))


def test_maps_have_their_borders_and_levels(layout):
    brain = nsd.read_brainmask(layout)
    assert np.isnan(nib.load(layout.ncsnr()).get_fdata()[~brain]).all()
    mask = nsd.roi_mask(layout)
    inside = nsd.read_ncsnr(layout, mask)
    assert 0 < np.isnan(inside).sum() <= 5  # the only session misses four voxels of nsdgeneral
    assert 0.2 < np.nanmedian(inside) < 0.5
    prf = nsd.read_prf(layout, mask)
    assert prf["angle"].between(0, 360).sum() == len(prf) - 3
    for name in ("angle", "eccentricity", "size", "R2", "exponent", "gain", "meanvol"):
        volume = nib.load(layout.prf(name))
        assert volume.get_data_dtype() == np.float32
        assert np.isnan(volume.get_fdata()[~brain]).all()
    mean = nib.load(layout.betas / "meanbeta.nii.gz").get_fdata()
    betas = nsd.read_betas(layout, brain, progress=False)
    np.testing.assert_allclose(mean[brain] / 300, betas.mean(axis=0), atol=1e-3)


# --- ground truth ----------------------------------------------------------------------------


def test_truth_comes_in_the_order_of_any_mask(layout, root):
    whole = load_ground_truth(root, 2)
    half = load_ground_truth(root, 2, nsd.roi_mask(layout, "lh.nsdgeneral"))
    assert set(half.voxels["hemisphere"]) == {"lh"}
    rows = (whole.voxels["hemisphere"] == "lh").to_numpy()
    np.testing.assert_array_equal(half.signal, whole.signal[:, rows])
    assert whole.voxels["null"].sum() == TINY.n_null
    assert not whole.signal[:, whole.voxels["null"]].any()
    assert {len(table) for table in whole.tuning.values()} == {TINY.n_nsdgeneral}
    for name in ("shares", "pixels"):
        np.testing.assert_allclose(whole.tuning[name].sum(axis=1), 1, rtol=1e-5)


def test_truth_is_refused_where_there_is_none(root, layout):
    refused("real data", load_ground_truth, root, 5)
    with pytest.raises(OutsideError, match="visual cortex"):
        load_ground_truth(root, 2, nsd.read_brainmask(layout))
    refused("expected bool", load_ground_truth, root, 2, np.ones((3, 3, 3), bool))


# --- running ---------------------------------------------------------------------------------


def test_a_killed_run_resumes_to_the_same_bytes(two_sessions, monkeypatch):
    whole, resumed = two_sessions
    calls = []
    real = subject.write_beta_maps

    def killed(*args):
        calls.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr(subject, "write_beta_maps", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate_subject(resumed, ONE, 1, workers=1, progress=False)
    assert not (resumed / "ground_truth" / "subj01.json").exists()
    layout = nsd.NSDLayout(resumed, 1)
    before = layout.betas_hdf5(1).stat().st_mtime_ns
    layout.betas_nifti(1).unlink()  # killed between the two formats
    monkeypatch.setattr(subject, "write_beta_maps", real)
    monkeypatch.setattr(subject, "draw_block", None)  # drawn and planted before the kill
    summary = simulate_subject(resumed, ONE, 1, workers=1, progress=False)
    assert layout.betas_hdf5(1).stat().st_mtime_ns == before
    assert files_of(whole) == files_of(resumed)
    assert summary["n_trials"] == 750
    assert layout.betas_nifti(1).read_bytes()[4:8] == bytes(4)  # gzip's time stamp


def test_a_complete_subject_is_left_alone_and_a_lost_file_comes_back(two_sessions, monkeypatch):
    whole, _ = two_sessions
    before = files_of(whole)
    monkeypatch.setattr(subject, "make_brain", None)
    summary = simulate_subject(whole, ONE, 1, workers=1, progress=False)
    assert summary["n_voxels"] == ONE.n_nsdgeneral
    monkeypatch.undo()
    nsd.NSDLayout(whole, 1).roi("streams").unlink()
    left = whole / "nsddata" / "ppdata" / ".DS_Store", whole / "nsddata/ppdata/subj01/.DS_Store"
    for path in left:
        path.touch()
    assert simulate_subject(whole, ONE, 1, workers=1, progress=False) == summary
    for path in left:  # a file of macOS is no part of the subject
        path.unlink()
    assert files_of(whole) == before


def test_a_second_subject_adds_pictures_and_keeps_the_first(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "nsd")
    layout = nsd.NSDLayout(copy, 2)
    first = load_ground_truth(copy, 2).nsd_id
    before = nsd.read_images(layout, first, progress=False)
    compressed = {int(first[0]): b"never used", 7: stimulus_file.draw_block((0, (7,), 32))[0][7]}
    stimulus_file.add_pictures(layout.stimuli, TINY.n_ids, 32, compressed)
    assert stimulus_file.stored_ids(layout.stimuli) == set(first.tolist()) | {7}
    np.testing.assert_array_equal(nsd.read_images(layout, first, progress=False), before)


def test_folders_of_others_are_refused(root, tmp_path):
    with pytest.raises(DataError, match=r"other settings \(shared_noise\).*Remove the folder"):
        simulate_subject(root, dataclasses.replace(TINY, shared_noise=0.1), 2, progress=False)
    (tmp_path / "nsddata").mkdir()
    refused("not simulated here", simulate_subject, tmp_path, TINY, 2, progress=False)
    refused("Expected: 1 to 8", simulate_subject, root, TINY, 9, progress=False)


def test_processes_give_the_same_as_one():
    jobs = [(0, (3, 4), 32), (0, (5,), 32)]
    with runner(2, progress=False) as run:
        parallel = list(run(stimulus_file.draw_block, jobs, ""))
    for job, (compressed, scenes, maps) in zip(jobs, parallel, strict=True):
        expected = stimulus_file.draw_block(job)
        assert (compressed, scenes) == expected[:2]
        np.testing.assert_array_equal(maps, expected[2])
