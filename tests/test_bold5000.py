"""BOLD5000's reader: trials, areas and betas belong together, or an error says what does not."""

import gzip
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bold5000_fixture import BETAS, SIDE, SMALL_RUNS, as_bytes, picture
from hypothesis import strategies as st
from malformed import HarmlessError, flipped, refuse_all, replaced
from refusals import refused
from scipy.ndimage import gaussian_filter

from fmri_utils.nsd import bold5000 as room
from fmri_utils.nsd import estimate_ncsnr, main_areas, zscore_sessions
from fmri_utils.nsd.bold5000 import archive, column_order
from fmri_utils.nsd.bold5000.area_files import Area, _check_sides, read_areas
from fmri_utils.nsd.bold5000.column_order import columns_in_order, in_column_order, neighbours
from fmri_utils.nsd.bold5000.subject import read_pictures
from fmri_utils.nsd.open_dataset import open_dataset

pytest_plugins = ["bold5000_fixture", "nsd_fixture"]

REFERENCE = Path("/work/shared/reference/bold5000")
TRAPS = {"LHLOC": "LHLO", "RHLOC": "RHLO", "RHRSC": "RHRRSC"}


def opened(made, **which):
    return open_dataset("bold5000", made.root, made.subject, **which)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_are_trials_and_columns_are_voxels(bold5000, dtype):
    made = bold5000(2, TRAPS, dtype)
    data = opened(made)
    union = np.logical_or.reduce(list(made.masks.values()))
    np.testing.assert_array_equal(data.mask, union)
    np.testing.assert_array_equal(
        data.read_betas(), made.volumes[:, union].astype(dtype).astype(np.float32)
    )
    assert data.table["image"].tolist() == made.names.tolist()
    assert data.table.groupby("session").size().tolist() == [37 * n for n in SMALL_RUNS]
    np.testing.assert_array_equal(data.table["trial"], np.arange(len(made.names)))
    assert list(data.areas) == ["EarlyVis", "LOC", "OPA", "PPA", "RSC", "lh", "rh"]
    for name in ("LOC", "RSC"):
        both = made.masks["LH" + name] | made.masks["RH" + name]
        np.testing.assert_array_equal(data.areas[name], both[union])
    assert (data.areas["LOC"] & data.areas["OPA"]).any()  # overlaps stay
    assert not (data.areas["lh"] & data.areas["rh"]).any()
    np.testing.assert_array_equal(data.background.affine[:3, 3], [-10, -9, -8])


def test_a_region_and_the_first_sessions_are_parts_of_the_whole(bold5000):
    made = bold5000()
    whole, part = opened(made), opened(made, region="LOC+RSC", n_sessions=2)
    assert (whole.coverage, part.coverage) == ("3 of 3 sessions", "2 of 3 sessions")
    kept = whole.table["session"] <= 2
    pd.testing.assert_frame_equal(part.table, whole.table[kept])
    inside = part.mask[whole.mask]
    np.testing.assert_array_equal(part.read_betas(), whole.read_betas()[kept][:, inside])
    for wrong, words in (
        ({"region": "V1"}, "no areas .'V1'"),
        ({"n_sessions": 4}, "has 3 session"),
    ):
        refused(words, opened, made, **wrong)
    refused("CSI1 to CSI4", open_dataset, "bold5000", made.root, 5)
    refused("Expected one of nsd, bold5000", open_dataset, "nod", made.root, 1)


def test_test_images_are_those_shown_three_times_and_two_times_is_in_neither_set(bold5000):
    made = bold5000()
    data = opened(made)
    split = data.split(3)
    assert split.rule == "images shown more than once with at least 3 trials are the test set"
    shown = data.table["image"].to_numpy(str)
    counts = np.array([made.counts[name] for name in shown])
    np.testing.assert_array_equal(split.train_trials, np.flatnonzero(counts == 1))
    np.testing.assert_array_equal(split.test_trials, np.flatnonzero(counts >= 3))
    rows, which = data.repeated(split)
    np.testing.assert_array_equal(rows, split.test_trials)
    assert which.startswith("test trials")
    fit = np.isin(np.arange(len(shown)), split.train_trials)
    z = zscore_sessions(data.read_betas(), data.table["session"], fit)
    for session in (1, 2, 3):
        rows = fit & (data.table["session"] == session).to_numpy()
        np.testing.assert_allclose(z[rows].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(z[rows].std(0, ddof=1), 1, rtol=1e-5)


def test_what_is_absent_is_said_in_one_line(bold5000, capsys):
    data = opened(bold5000())
    assert [data.has(what) for what in ("betas", "captions", "prf", "ncsnr")] == [
        True,
        *[False] * 3,
    ]
    assert capsys.readouterr().out.splitlines()[1] == (
        "not available in BOLD5000: prf (receptive fields were not measured)"
    )
    assert tuple(main_areas(data.areas)) == data.named == ("EarlyVis", "LOC", "OPA", "PPA", "RSC")


def test_without_pictures_the_rest_is_read(bold5000, capsys):
    made = bold5000()
    (made.root / "presented_stimuli.zip").unlink()
    data = opened(made, region="PPA+all")
    assert data.read_betas().shape == (185, data.mask.sum()) and not data.has("images")
    assert "PICTURES=yes" in capsys.readouterr().out


def test_nsd_gives_the_same_things(nsd):
    data = open_dataset("nsd", nsd.root, 1, n_sessions=1)
    assert all(data.has(what) for what in ("betas", "images", "captions", "prf", "ncsnr"))
    assert data.read_betas().shape == (len(data.table), data.mask.sum()) == (750, data.mask.sum())
    assert data.read_prf().shape[0] == data.read_ncsnr().size == data.mask.sum()
    assert data.read_images([3, 1], 8).shape == (2, 8, 8, 3) and data.coverage == "2 of 2 sessions"
    split = data.split(1)
    assert split.rule == "shared images are the test set" and data.absent == {}
    assert data.repeated(split) == (pytest.approx(split.train_trials), "training trials")


def test_repeats_of_test_images_give_a_noise_ceiling(rng):
    """Images with three and with four trials; the rest is shown once."""
    signal, ids = (
        rng.standard_normal(3000),
        np.repeat(np.arange(3000), [3] * 500 + [4] * 500 + [1] * 2000),
    )
    betas = 0.5 * signal[ids][:, None] + rng.standard_normal((ids.size, 3))
    found = estimate_ncsnr(betas, np.zeros(ids.size, int), ids, min_repeats=3)
    np.testing.assert_allclose(found, 0.5, atol=0.06)  # about 2 SD of 1,000 images
    refused("fewer than 2", estimate_ncsnr, betas, ids * 0, ids, min_repeats=1)


# The order of columns


def test_columns_in_another_order_are_noticed_and_can_be_read(bold5000):
    made = bold5000(order="F")
    refused(r"most in the order \+x\+y\+z. Read with \+z\+y\+x", opened, made)
    data = opened(made, version="+z+y+x")
    np.testing.assert_array_equal(data.read_betas(), made.volumes[:, data.mask].astype(np.float32))
    refused("the order of columns is 'F'", opened, made, version="F")


def test_orders_of_columns_follow_numpy(rng):
    mask = rng.random((3, 4, 5)) < 0.5
    volume = rng.random(mask.shape)
    turned = {
        "+x+y+z": lambda v: v,
        "+z+y+x": lambda v: v.T,
        "-x+z-y": lambda v: v[::-1, ::-1].swapaxes(1, 2),
    }
    for order, turn in turned.items():
        columns = turn(volume)[turn(mask)]
        np.testing.assert_array_equal(columns, volume[mask][columns_in_order(mask, order)])
    assert len(set(column_order.ORDERS)) == 48
    places = np.argwhere(mask)
    pairs = list(zip(*neighbours(mask), strict=True))
    assert all(np.abs(places[a] - places[b]).sum() == 1 for a, b in pairs)
    n_pairs = sum((np.abs(places[:, None] - places).sum(-1) == 1).sum(1)) / 2
    assert len(set(pairs)) == len(pairs) == n_pairs


def test_betas_without_places_and_overlaps_that_differ_are_refused(rng):
    mask = np.ones((4, 4, 4), bool)
    noise = rng.standard_normal((300, 64))
    area = Area("LH", "LOC", mask, noise)
    refused("no voxel has a known place", in_column_order, [area], column_order.NUMPY, rng)
    other = Area("LH", "OPA", mask, noise[:, ::-1])
    refused("64 voxels lie in LHLOC and in LHOPA", column_order._check_overlap, area, other)
    column_order._check_overlap(area, other._replace(betas=noise))
    column_order._check_overlap(area, other._replace(mask=np.zeros_like(mask), betas=noise[:, :0]))


# Files by name


def test_files_may_lie_anywhere_and_be_unpacked(bold5000, tmp_path):
    made = bold5000()
    betas = opened(made).read_betas()
    for name, data in made.members.items():
        if name.endswith(".npy") and not name.startswith("_"):
            path = made.root / "a" / "b" / name.rsplit("/", 1)[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    np.testing.assert_array_equal(opened(made).read_betas(), betas)  # twice, and the same
    made.archive.unlink()
    np.testing.assert_array_equal(opened(made).read_betas(), betas)
    assert not list(tmp_path.rglob("outside.txt"))


def test_pictures_are_found_by_name_and_as_they_were_shown(bold5000):
    made = bold5000()
    name = "n01440764_1.JPEG"
    originals = made.root / "Scene_Stimuli" / "Original_Images" / "ImageNet"
    originals.mkdir(parents=True)
    (originals / name).write_bytes(picture(name, (30, 20)))
    data = opened(made)
    ids = data.table.loc[data.table["image"].isin([name, "cave.jpg"]), "nsd_id"].unique()
    images = data.read_images(ids[[0, 1, 0]], 8)
    assert images.shape == (3, 8, 8, 3) and data.read_images(ids).shape == (2, SIDE, SIDE, 3)
    np.testing.assert_array_equal(images[0], images[2])
    assert (images[0] != images[1]).any()
    with zipfile.ZipFile(made.root / "presented_stimuli.zip", "w") as file:
        file.writestr(f"other/{name}", picture(name, (30, 20)))
    alone = data.table.loc[data.table["image"] == name, "nsd_id"].unique()
    refused("30 x 20 pixels", opened(made).read_images, alone)


def test_missing_and_differing_pictures_are_named(bold5000):
    made = bold5000()
    for folder in ("x", "y"):
        path = made.root / folder / "cave.jpg"
        path.parent.mkdir()
        path.write_bytes(picture(folder))
    (made.root / "presented_stimuli.zip").unlink()
    files = archive.NamedFiles(made.root)
    refused("1 of 2 pictures are not below", read_pictures, files, ["cave.jpg", "n1.JPEG"])
    refused(r"two files of the name cave.jpg differ", read_pictures, files, ["cave.jpg"])
    refused("does not exist or is empty", archive.NamedFiles, made.root / "none")


# What is not as expected


def rewrite(made, area, array=None, data=None):
    """Put an area's betas beside the archive, which loses them."""
    name = BETAS.format(made.subject, area)
    data = as_bytes(np.save, array) if data is None else data
    with zipfile.ZipFile(made.archive, "w") as file:
        for member, old in made.members.items():
            file.writestr(member, data if member.endswith(name) else old)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b[:-1], "expected floats of"),
        (lambda b: b[:, 1:], "a column for each voxel"),
        (lambda b: b.T, "turned round"),
        (lambda b: (b * 100).astype(np.int16), "holds int16"),
        (lambda b: b.astype(object), "Python objects are never opened"),
        (lambda b: b[:, np.random.default_rng(0).permutation(b.shape[1])], "lie in"),
    ],
)
def test_betas_of_another_form_are_refused(bold5000, change, words):
    made = bold5000()
    betas = made.volumes[:, made.masks["LHLOC"]].astype(np.float32)
    rewrite(made, "LHLOC", change(betas))
    refused(words, opened, made)


def test_voxels_that_are_not_finite_are_left_out_and_counted(bold5000):
    made = bold5000()
    betas = made.volumes[:, made.masks["RHRSC"]].astype(np.float32)
    only = ~np.logical_or.reduce([m for name, m in made.masks.items() if name != "RHRSC"])
    alone = np.flatnonzero(only[made.masks["RHRSC"]])
    betas[5, alone[:2]] = np.nan
    whole = opened(made).mask.sum()
    rewrite(made, "RHRSC", betas)
    data = opened(made)
    assert data.coverage.endswith("2 voxels are left out: their betas are not finite")
    assert data.mask.sum() == data.read_betas().shape[1] == data.areas["lh"].size == whole - 2


def test_masks_of_another_form_are_refused(bold5000):
    made = bold5000()
    path = made.mask_folder / "sub-CSI1_mask-LHPPA.nii.gz"
    image = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    turned = nib.Nifti1Image(image.get_fdata()[::-1], image.affine @ np.diag([-1, 1, 1, 1]))
    for other, words in (
        (turned, "axes of .* are LAS"),
        (nib.Nifti1Image(image.get_fdata()[..., None], image.affine), "expected finite numbers"),
        (nib.Nifti1Image(0 * image.get_fdata(), image.affine), "0 values above 0"),
        (nib.Nifti1Image(image.get_fdata(), image.affine * 2), "different grids"),
        (None, "It is cut off"),
    ):
        whole = gzip.compress(other.to_bytes()) if other else path.read_bytes()[:-50]
        path.write_bytes(whole)
        refused(words, opened, made)
    path.unlink()
    refused("found 0. Files like it: .*mask-LHRSC", opened, made)
    for side in ("LH", "RH"):
        (made.mask_folder / f"sub-CSI1_mask-{side}PPA.nii.gz").unlink(missing_ok=True)
    shutil.copy(
        made.mask_folder / "sub-CSI1_mask-LHLOC.nii.gz",
        made.mask_folder / "sub-CSI1_mask-LHLO.nii.gz",
    )
    refused("LHLOC.nii.gz or sub-CSI1_mask-LHLO.nii.gz below .*, found 2", opened, made)


def test_exchanged_hemispheres_are_noticed(bold5000):
    masks = bold5000().masks
    areas = [Area(side, "PPA", masks[f"{side}PPA"], None) for side in ("LH", "RH")]
    _check_sides(areas, np.eye(4), 1)
    refused("the left PPA of CSI1 does not lie", _check_sides, areas, np.diag([-1, 1, 1, 1]), 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("\t3\t", "\t4\t"), "expected"),
        (lambda text: text[: text.rindex("\n", 0, -1)], "expected 1 to 37 in order"),
        (lambda text: text.replace("ImgName", "Image"), "lacks the columns .'ImgName'"),
        (lambda text: text.replace("\tcoco", "\tplaces"), "ImgType has"),
        (lambda text: text.replace(".jpg\t", "_x.jpg\t", 1), "but stim_file"),
        (lambda text: text.replace("COCO_", "../COCO_"), "without folders"),
        (lambda text: "", "cannot be read"),
    ],
)
def test_events_of_another_form_are_refused(bold5000, change, words):
    made = bold5000()
    path = made.events / "ses-01" / "func" / "sub-CSI1_ses-01_task-5000scenes_run-02_events.tsv"
    path.write_text(change(path.read_text()))
    refused(words, opened, made)
    path.unlink()
    refused(r"1 of the 5 event files of CSI1 .*run-02_events", opened, made)


def test_a_member_that_is_far_too_long_is_refused(bold5000, monkeypatch):
    made = bold5000()
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    refused("would have", opened, made)


def test_damaged_files_are_refused(bold5000):
    """Files that are cut off, and archives and masks with one changed bit."""
    made = bold5000()
    whole, betas = opened(made), opened(made).read_betas()
    files = [made.archive, made.mask_folder / "sub-CSI1_mask-RHOPA.nii.gz"]
    files.append(next(made.events.rglob("*run-02_events.tsv")))

    def attempt(case):
        number, where, cut = case
        path = files[number]
        data = path.read_bytes()
        spoiled = data[: int(where * len(data))] if cut or number == 2 else flipped(data, where, 4)
        with replaced(path, spoiled):
            found = opened(made)
        if found.table.equals(whole.table) and np.array_equal(found.read_betas(), betas):
            raise HarmlessError  # a date in the archive, for instance

    where = st.floats(0, 0.99)
    refuse_all(
        "bold5000: damages", st.tuples(st.integers(0, 2), where, st.booleans()), attempt, more=10
    )


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the real trial lists and masks are not here")
@pytest.mark.parametrize("subject", [1, 2, 3])
def test_real_masks_and_trials(subject, tmp_path, rng):
    """Smooth noise in the places of the real masks, under the names of the real files."""
    trials = pd.read_csv(REFERENCE / f"sub-CSI{subject}_trials.tsv.gz", sep="\t")
    runs = trials.groupby("session")["run"].nunique()
    assert tuple(runs) == room.RUNS[subject]
    names = {1: {}, 2: TRAPS, 3: {name: TRAPS[name] for name in ("LHLOC", "RHLOC")}}[subject]
    for path in REFERENCE.glob(f"masks/sub-CSI{subject}_*"):
        area = path.name.split("-")[-1].removesuffix(".nii.gz")
        shutil.copy(path, tmp_path / f"sub-CSI{subject}_mask-{names.get(area, area)}.nii.gz")
        mask = nib.load(path).get_fdata() > 0
        box = mask[tuple(slice(p.min(), p.max() + 1) for p in np.nonzero(mask))]
        noise = np.random.default_rng(0).standard_normal((60, *box.shape))
        smooth = np.stack([gaussian_filter(one, 1)[box] for one in noise])
        np.save(tmp_path / BETAS.format(subject, names.get(area, area)), smooth)
    areas, _ = read_areas(archive.NamedFiles(tmp_path), subject, 60)
    assert sum(area.mask.sum() for area in areas) == {1: 1685, 2: 2270, 3: 3104}[subject]
    found = column_order.neighbour_correlations(areas, rng)
    orders = sorted(column_order.ORDERS, key=found.get, reverse=True)
    assert orders[0] == column_order.NUMPY and found[orders[0]] > 1.2 * found[orders[1]] > 0
