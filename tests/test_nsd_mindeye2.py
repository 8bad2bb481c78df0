"""MindEye2's files: written here in their format from the fixture's experiment, then read."""

import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest

from fmri_utils import nsd as nsd_reader
from fmri_utils.nsd import mindeye2, split_by_image, to_volume
from fmri_utils.nsd.mindeye2 import MindEye2Layout, files
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture", "mindeye2_fixture"]

N_TRIALS = 1500


def test_table_is_that_of_nsds_own_files(me2):
    table = mindeye2.trial_table(me2.layout)
    pd.testing.assert_frame_equal(table, nsd_reader.trial_table(me2.nsd))
    second = mindeye2.trial_table(me2.layout, [2])
    pd.testing.assert_frame_equal(second, nsd_reader.trial_table(me2.nsd, [2]))
    ours, theirs = (split_by_image(t) for t in (table, nsd_reader.trial_table(me2.nsd)))
    np.testing.assert_array_equal(ours.test_trials, theirs.test_trials)
    np.testing.assert_array_equal(ours.train_ids, theirs.train_ids)
    for sessions in ([3], [0], [2, 1]):
        with pytest.raises(DataError, match="session"):
            mindeye2.trial_table(me2.layout, sessions)


def test_older_betas_lack_the_last_sessions(me2):
    older = MindEye2Layout(me2.root, 1, older=True)
    table = mindeye2.trial_table(older)
    assert table["session"].unique().tolist() == [1]
    betas = mindeye2.read_betas(older, progress=False)
    assert betas.dtype == np.float32
    np.testing.assert_array_equal(betas, me2.betas[:750].astype(np.float16))
    n_test = int(me2.rows[:750, 16].sum())
    found = mindeye2.check(older, progress=False)
    assert (found["wds/test"], found["wds/new_test"]) == (n_test, n_test)


@pytest.mark.parametrize("block", [100, 10**5, 10**9])
def test_betas_of_any_trials_and_voxels(me2, monkeypatch, block):
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    rng = np.random.default_rng(0)
    n_voxels = me2.betas.shape[1]
    some = rng.random(n_voxels) < 0.3
    choices = [
        (None, None),
        ([7], None),
        (rng.permutation(N_TRIALS)[:40], some),
        ([1499, 3, 3, 0], np.array([5, 2, 2])),
        (mindeye2.trial_table(me2.layout, [2])["trial"], np.flatnonzero(some)),
    ]
    for trials, voxels in choices:
        betas = mindeye2.read_betas(me2.layout, trials, voxels, progress=False)
        rows = slice(None) if trials is None else np.asarray(trials)
        expected = me2.betas[rows][:, slice(None) if voxels is None else voxels]
        assert betas.dtype == np.float32
        np.testing.assert_array_equal(betas, expected)


def test_memory_is_bounded(me2, monkeypatch):
    with h5py.File(me2.layout.betas, "w") as file:
        file["betas"] = np.zeros((N_TRIALS, 5000), np.float32)
    monkeypatch.setattr(files, "BLOCK_BYTES", 2**20)
    arguments = {"voxels": np.arange(3), "progress": False}
    mindeye2.read_betas(me2.layout, **arguments)
    tracemalloc.start()
    mindeye2.read_betas(me2.layout, **arguments)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < N_TRIALS * 5000 * 4 / 8


def test_columns_go_where_nsds_own_betas_go(me2, nsd):
    """Both orders are nibabel's (X, Y, Z) mask; HDF5's order would put them elsewhere."""
    mask = nsd_reader.roi_mask(me2.nsd)
    own = nsd_reader.read_betas(me2.nsd, mask, progress=False)
    with h5py.File(me2.layout.betas, "w") as file:
        file["betas"] = own  # as MindEye2 made theirs, from the same mask
    betas = mindeye2.read_betas(me2.layout, [3], progress=False)
    volume = to_volume(betas[0], mask, np.eye(4)).get_fdata()
    stored = nsd.subjects[1].stored[0][..., 3] / np.float32(300)
    np.testing.assert_array_equal(volume[mask], stored[mask])
    other = stored.T[mask.T]  # (Z, Y, X)
    assert not np.array_equal(betas[0], other)


def test_images_are_pictures_of_bytes(me2):
    ids = [9, 3, 9]
    images = mindeye2.read_images(me2.layout, ids, progress=False)
    assert images.dtype == np.uint8
    expected = np.rint(me2.images[ids].astype(float).transpose(0, 2, 3, 1) * 255)
    np.testing.assert_array_equal(images, expected)
    assert mindeye2.read_images(me2.layout, [0], size=3, progress=False).shape == (1, 3, 3, 3)
    with pytest.raises(DataError, match="nsd_ids"):
        mindeye2.read_images(me2.layout, [10**6], progress=False)


@pytest.mark.parametrize("name", ["betas", "indices", "images"])
def test_hdf5_files_that_were_cut_off_are_found(me2, name):
    path = getattr(me2.layout, name)
    path.write_bytes(path.read_bytes()[:-3000])
    calls = {
        "betas": lambda: mindeye2.read_betas(me2.layout, progress=False),
        "indices": lambda: mindeye2.trial_table(me2.layout),
        "images": lambda: mindeye2.read_images(me2.layout, [0], progress=False),
    }
    with pytest.raises(DataError, match=rf"{path.name}.*(?s:.*)delete it"):
        calls[name]()


@pytest.mark.parametrize("name", ["betas", "indices", "images", "shared"])
def test_missing_files_are_named(me2, name):
    path = getattr(me2.layout, name)
    path.unlink()
    calls = {
        "betas": lambda: mindeye2.read_betas(me2.layout, progress=False),
        "indices": lambda: mindeye2.trial_table(me2.layout),
        "shared": lambda: mindeye2.trial_table(me2.layout),
        "images": lambda: mindeye2.read_images(me2.layout, [0], progress=False),
    }
    with pytest.raises(DataError, match=rf"{path.name} does not exist.*Check the folder") as caught:
        calls[name]()
    if name == "betas":
        assert "older=True reads betas_all_subj01.hdf5" in str(caught.value)
        assert len(mindeye2.trial_table(me2.layout)) == N_TRIALS


@pytest.mark.parametrize(
    ("path", "key", "change", "message"),
    [
        ("betas", "betas", lambda b: b.astype(np.float16), "float32 of"),
        ("betas", "betas", lambda b: (300 * b).astype(np.int16), "int16 of shape"),
        ("betas", "betas", lambda b: b[:, :, None], "expected float32"),
        ("betas", "betas", lambda b: np.tile(b, (2, 1)), "has 3000 trials, but .* lists 1500"),
        ("betas", "betas", lambda b: b[:700], "700 trials .* whole sessions"),
        ("indices", "subj01", lambda i: i + 0.5, "fractions"),
        ("indices", "subj01", lambda i: i + 10**6, "nsd_ids span"),
        ("images", "images", lambda i: i.transpose(0, 2, 3, 1), "expected float16 of"),
        ("images", "images", lambda i: 255 * i, "expected 0 to 1"),
    ],
)
def test_files_of_another_form_are_refused(me2, path, key, change, message):
    me2.rewrite(getattr(me2.layout, path), key, change)
    calls = {
        "betas": lambda: mindeye2.trial_table(me2.layout),
        "indices": lambda: mindeye2.trial_table(me2.layout),
        "images": lambda: mindeye2.read_images(me2.layout, [0], progress=False),
    }
    with pytest.raises(DataError, match=message):
        calls[path]()


def test_other_wrong_input_is_refused(me2, nsd):
    for name in ("betas", "images"):
        path = getattr(me2.layout, name)
        me2.rewrite(path, name, lambda data: data)
        with h5py.File(path, "r+") as file:
            file.move(name, "other")
    with pytest.raises(DataError, match=r"no dataset 'betas'; it holds \['other'\]"):
        mindeye2.read_betas(me2.layout, progress=False)
    with pytest.raises(DataError, match="no dataset 'images'"):
        mindeye2.read_images(me2.layout, [0], progress=False)
    np.save(me2.layout.shared, np.flatnonzero(me2.shared))
    with pytest.raises(DataError, match="int64 of shape"):
        mindeye2.trial_table(me2.layout)
    np.save(me2.layout.shared, me2.shared)
    with pytest.raises(DataError, match=r"no subj07; it holds \['subj01'"):
        mindeye2.trial_table(MindEye2Layout(me2.root, 7))
    with pytest.raises(DataError, match="does not exist"):
        MindEye2Layout(me2.root / "nowhere", 1)
    with pytest.raises(DataError, match="subj01"):
        MindEye2Layout(me2.root, "1")


@pytest.mark.parametrize(
    ("trials", "voxels", "message"),
    [
        ([N_TRIALS], None, "0 to 1499"),
        ([-1], None, "0 to 1499"),
        ([0.5], None, "integers"),
        ([], None, "integers"),
        (None, [True], "booleans of"),
        (None, [10**6], "numbers from 0"),
    ],
)
def test_impossible_choices_are_refused(me2, trials, voxels, message):
    with pytest.raises(DataError, match=message):
        mindeye2.read_betas(me2.layout, trials, voxels, progress=False)


def test_values_that_are_not_finite_are_found(me2):
    def spoil(betas):
        betas[900, 4] = np.nan
        return betas

    me2.rewrite(me2.layout.betas, "betas", spoil)
    with pytest.raises(DataError, match=r"not finite in trial 900, voxel 4\. Leave that voxel out"):
        mindeye2.read_betas(me2.layout, progress=False)
    voxels = np.arange(me2.betas.shape[1]) != 4
    betas = mindeye2.read_betas(me2.layout, None, voxels, progress=False)
    np.testing.assert_array_equal(betas, me2.betas[:, voxels])


def test_it_says_that_betas_are_standardised():
    text = " ".join(mindeye2.__doc__.split())
    assert "must not be z-scored again" in text
    assert "training trials only" in text
    assert "(X, Y, Z)" in text
