"""MindEye2's tables of behaviour, and the check that its sources agree."""

import os
import tarfile

import numpy as np
import pytest

from fmri_utils.nsd import NSDLayout, mindeye2
from fmri_utils.nsd.mindeye2 import MindEye2Layout
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture", "mindeye2_fixture"]

N_TRIALS = 1500


def test_behaviour_has_names_and_nan(me2):
    table = mindeye2.read_behaviour(me2.layout, "train", progress=False)
    is_train = me2.rows[:, 16] == 0
    assert len(table) == is_train.sum()
    rows = me2.rows[table["trial"]]
    np.testing.assert_array_equal(table["nsd_id"], rows[:, 0])
    np.testing.assert_array_equal(table["rt"], np.where(rows[:, 9] == -1, np.nan, rows[:, 9]))
    assert table["shared"].dtype == bool
    assert mindeye2.read_behaviour(MindEye2Layout(me2.root, 2), "train", progress=False).empty
    with pytest.raises(DataError, match="'new_test'"):
        mindeye2.read_behaviour(me2.layout, "val", progress=False)


def test_all_sources_agree(me2):
    n_test = int(me2.rows[:, 16].sum())
    assert mindeye2.check(me2.layout, me2.nsd, progress=False) == {
        "wds/train": N_TRIALS - n_test,
        "wds/new_test": n_test,
        "wds/test": int(me2.rows[:750, 16].sum()),
        "nsd_expdesign.mat": N_TRIALS,
        "nsdgeneral": me2.betas.shape[1],
    }
    assert mindeye2.check(me2.layout, progress=False)["nsd_expdesign.mat"] is None
    (me2.wds / "test" / "0.tar").unlink()
    assert mindeye2.check(me2.layout, progress=False)["wds/test"] is None


def swap(ids):
    ids = ids.copy()
    ids[[4, 5]] = ids[[5, 4]]
    return ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids + 1, r"nsd_id of .*train disagrees .* counting from 0 and 1"),
        (swap, r"disagrees with COCO_73k_subj_indices\.hdf5 in [12] of"),
        (lambda ids: np.roll(ids, 1), "disagrees"),
    ],
)
def test_wrong_indices_are_found_by_the_behaviour(me2, change, message):
    ids = change(me2.rows[:, 0].astype(int))
    ids[ids >= me2.shared.size] = 0
    me2.rewrite(me2.layout.indices, "subj01", lambda _: ids)
    with pytest.raises(DataError, match=message):
        mindeye2.check(me2.layout, progress=False)


def test_what_macos_leaves_is_no_archive(me2):
    before = {kind: me2.layout.shards(kind) for kind in ("train", "new_test")}
    for shards in before.values():
        shards[0].with_name(f"._{shards[0].name}").write_bytes(b"0")
        shards[0].with_name("a-folder.tar").mkdir()
    assert {kind: me2.layout.shards(kind) for kind in before} == before


def test_wrong_indices_are_found_by_nsds_design(me2):
    for path in me2.wds.rglob("*.tar"):
        path.unlink()
    me2.rewrite(me2.layout.indices, "subj01", swap)
    with pytest.raises(DataError, match=r"nsd_expdesign\.mat disagrees .* in 2 of 1500 trials"):
        mindeye2.check(me2.layout, me2.nsd, progress=False)
    me2.rewrite(me2.layout.indices, "subj01", swap)
    np.save(me2.layout.shared, np.roll(me2.shared, 1))
    with pytest.raises(DataError, match=r"disagrees with shared1000\.npy"):
        mindeye2.check(me2.layout, me2.nsd, progress=False)


def test_another_mask_or_subject_is_found(me2, nsd):
    me2.rewrite(me2.layout.betas, "betas", lambda betas: betas[:, 1:])
    with pytest.raises(DataError, match=r"columns, but nsdgeneral has .*older version"):
        mindeye2.check(me2.layout, me2.nsd, progress=False)
    with pytest.raises(DataError, match="same subject"):
        mindeye2.check(me2.layout, NSDLayout(nsd.root, 2), progress=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, 2, "holds subject"),
        (2, 2, "session of"),
        (5, 0, "a trial twice"),
        (5, 0.5, "no numbers from 0"),
        (0, -1, "no numbers from 0"),
        (16, 1, "shared of"),
    ],
)
def test_wrong_rows_are_found(me2, column, value, message):
    rows = me2.rows[(me2.rows[:, 16] == 0) & (me2.rows[:, 2] == 1)][:9].copy()
    rows[3:5, column] = value
    me2.write_archive(me2.wds / "train" / "0.tar", rows)
    with pytest.raises(DataError, match=message):
        mindeye2.check(me2.layout, progress=False)


def test_leaks_between_sets_are_found(me2):
    me2.write_archive(me2.wds / "train" / "0.tar", me2.rows[me2.rows[:, 16] == 1][:3])
    with pytest.raises(DataError, match=r"train mixes training and test: expected no shared"):
        mindeye2.check(me2.layout, progress=False)
    (me2.wds / "train" / "0.tar").unlink()
    test = me2.rows[me2.rows[:, 16] == 1]
    me2.write_archive(me2.wds / "new_test" / "0.tar", test[:-1])
    with pytest.raises(DataError, match=rf"has {len(test) - 1} trials; .* in {len(test)}"):
        mindeye2.check(me2.layout, progress=False)
    me2.write_archive(me2.wds / "new_test" / "0.tar", me2.rows[:5])
    with pytest.raises(DataError, match="expected only shared"):
        mindeye2.check(me2.layout, progress=False)


class Bomb:
    """Executes a command where a pickle is loaded."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_pickles_are_never_executed(me2, tmp_path):
    marker = tmp_path / "executed"
    objects = me2.npy(np.array([[Bomb(marker)] * 17], dtype=object))
    path = me2.wds / "train" / "0.tar"
    for data in (objects, objects[objects.index(b"\x80") :], b"", me2.npy(np.zeros((1, 17)))[:-8]):
        with tarfile.open(path, "w") as archive:
            me2.add(archive, "sample0.behav.npy", data)
        with pytest.raises(DataError, match=r"sample0\.behav\.npy in .*0\.tar is no plain"):
            mindeye2.read_behaviour(me2.layout, "train", progress=False)
    me2.layout.shared.write_bytes(objects)
    with pytest.raises(DataError, match=r"shared1000\.npy is no plain"):
        mindeye2.trial_table(me2.layout)
    assert not marker.exists()


def test_archives_write_nothing_and_hold_rows_only(me2, tmp_path):
    path = me2.wds / "train" / "0.tar"
    row = me2.npy(me2.rows[me2.rows[:, 16] == 0][:1])
    with tarfile.open(path, "w") as archive:
        me2.add(archive, "../../escaped.behav.npy", row)
        link = tarfile.TarInfo("sample1.behav.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        me2.add(archive, "sample2.past_behav.npy", b"not read")
    (me2.wds / "train" / "1.tar").unlink()
    before = sorted(p for p in tmp_path.rglob("*"))
    assert len(mindeye2.read_behaviour(me2.layout, "train", progress=False)) == 1
    assert sorted(p for p in tmp_path.rglob("*")) == before
    for data, message in (
        (bytes(2**17), "expected a row of 17"),
        (me2.npy(np.zeros((1, 16))), r"float64 of shape \(1, 16\)"),
        (me2.npy(np.array([["a"] * 17])), "expected"),
    ):
        with tarfile.open(path, "w") as archive:
            me2.add(archive, "sample0.behav.npy", data)
        with pytest.raises(DataError, match=message):
            mindeye2.read_behaviour(me2.layout, "train", progress=False)


@pytest.mark.parametrize("kept", [0, 100, 512 * 5, 512 * 8 + 70, -1024])
def test_archives_that_were_cut_off_are_found(me2, kept):
    path = me2.wds / "train" / "0.tar"
    data = path.read_bytes()
    data = data[: len(data.rstrip(b"\0")) // 512 * 512 + 512] if kept < 0 else data[:kept]
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"train.0\.tar .*cut off"):
        mindeye2.read_behaviour(me2.layout, "train", progress=False)
