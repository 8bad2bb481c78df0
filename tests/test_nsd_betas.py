"""Betas: both formats give one matrix, in bounded memory, and damage is reported."""

import gzip
import json
import tracemalloc

import h5py
import nibabel as nib
import numpy as np
import pytest

from fmri_utils.nsd import (
    NSDLayout,
    betas_to_file,
    read_betas,
    read_ncsnr,
    read_roi,
    roi_mask,
    to_volume,
)
from fmri_utils.nsd import betas as betas_module
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture"]


@pytest.fixture
def layout(nsd):
    return NSDLayout(nsd.root, 1)


@pytest.fixture
def damaged(nsd_copy):
    return NSDLayout(nsd_copy.root, 1)


def expected(nsd, mask, sessions=(1, 2)):
    """The matrix, straight from the numbers that the fixture stored."""
    stored = [nsd.subjects[1].stored[s - 1][mask].T for s in sessions]
    return np.concatenate(stored) / np.float32(300)


@pytest.mark.parametrize("prefer", ["nifti", "hdf5", "auto"])
def test_both_formats_give_the_stored_matrix(nsd, layout, prefer):
    mask = roi_mask(layout)
    betas = read_betas(layout, mask, prefer=prefer, progress=False)
    assert betas.shape == (1500, mask.sum())
    assert betas.dtype == np.float32
    np.testing.assert_array_equal(betas, expected(nsd, mask))


@pytest.mark.parametrize("seed", range(5))
def test_any_mask_gives_the_same_columns_in_both_formats(nsd, layout, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(nsd.shape) < [0.01, 0.2, 0.5, 0.9, 1.1][seed]
    mask[3, 2, 4] = True
    nifti, hdf5 = (read_betas(layout, mask, [2], prefer=p, progress=False) for p in betas_kinds())
    np.testing.assert_array_equal(nifti, hdf5)
    np.testing.assert_array_equal(nifti, expected(nsd, mask, [2]))


def betas_kinds():
    return ("nifti", "hdf5")


def test_formats_are_transposes_of_each_other_on_disk(layout):
    volume = np.asanyarray(nib.load(layout.betas_nifti(1)).dataobj)
    with h5py.File(layout.betas_hdf5(1)) as file:
        np.testing.assert_array_equal(volume.transpose(3, 2, 1, 0), file["betas"][()])


def test_values_are_percent_signal_change(nsd, layout):
    betas = read_betas(layout, nsd.subjects[1].cortex, [1], progress=False)
    assert abs(betas.mean() - 2) < 0.1  # as drawn; undivided it would be 600
    assert abs(betas.std() - 3) < 0.1


def test_columns_go_back_to_their_voxels(nsd, layout):
    mask = roi_mask(layout)
    betas = read_betas(layout, mask, [1], progress=False)
    affine = nib.load(layout.betas_nifti(1)).affine
    image = to_volume(betas[17], mask, affine)
    stored = nsd.subjects[1].stored[0][..., 17]
    np.testing.assert_array_equal(image.get_fdata()[mask], np.float32(stored[mask] / 300))
    assert np.isnan(image.get_fdata()[~mask]).all()
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 0)
    np.testing.assert_allclose(image.affine, affine)
    with pytest.raises(DataError, match="mask that the values were read with"):
        to_volume(betas[17, :-1], mask, affine)


@pytest.mark.parametrize("prefer", ["nifti", "hdf5"])
def test_wrong_masks_are_refused(layout, prefer):
    labels, _ = read_roi(layout, "nsdgeneral")
    mask = labels > 0
    with pytest.raises(DataError, match="transposed"):
        read_betas(layout, mask.T, [1], prefer=prefer, progress=False)
    with pytest.raises(DataError, match="labels > 0"):
        read_betas(layout, labels, [1], prefer=prefer, progress=False)
    with pytest.raises(DataError, match="same subject"):
        read_betas(layout, mask[:-1], [1], prefer=prefer, progress=False)
    with pytest.raises(DataError, match="no voxel"):
        read_betas(layout, mask & False, [1], prefer=prefer, progress=False)


def test_missing_session_is_named(damaged):
    mask = roi_mask(damaged)
    damaged.betas_hdf5(2).unlink()
    assert read_betas(damaged, mask, progress=False).shape[0] == 1500  # NIfTI serves
    with pytest.raises(DataError, match=r"session 2 of subj01.*betas_session02\.hdf5"):
        read_betas(damaged, mask, prefer="hdf5", progress=False)
    damaged.betas_nifti(2).unlink()
    with pytest.raises(DataError, match=r"session02\.hdf5 or betas_session02\.nii\.gz"):
        read_betas(damaged, mask, [1, 2], progress=False)
    with pytest.raises(DataError, match="prefer"):
        read_betas(damaged, mask, prefer="mat", progress=False)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("prefer", ["nifti", "hdf5"])
def test_truncated_files_are_named(damaged, prefer, kept):
    path = damaged.betas_nifti(1) if prefer == "nifti" else damaged.betas_hdf5(1)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError, match=rf"{path.name}.*(?s:.*)delete it and fetch it again"):
        read_betas(damaged, roi_mask(damaged), [1], prefer=prefer, progress=False)


def test_flipped_bits_in_gzip_are_found(damaged):
    path = damaged.betas_nifti(1)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # in the checksum: all the data decompress
    path.write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        read_betas(damaged, roi_mask(damaged), [1], prefer="nifti", progress=False)


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda v: (v / 300).astype(np.float32), "float32"),
        (lambda v: v.astype(np.int32), "int32"),
        (lambda v: v[..., :700], "750"),
        (lambda v: v[..., 0], "expected"),
    ],
)
def test_converted_files_are_refused(nsd, damaged, convert, message):
    volume = convert(nsd.subjects[1].stored[0])
    nsd.save_nifti(damaged.betas_nifti(1), volume)
    with h5py.File(damaged.betas_hdf5(1), "w") as file:
        file["betas"] = volume.T
    for prefer in betas_kinds():
        with pytest.raises(DataError, match=message):
            read_betas(damaged, roi_mask(damaged), [1], prefer=prefer, progress=False)


def test_scaled_nifti_is_refused(nsd, damaged):
    image = nib.Nifti1Image(nsd.subjects[1].stored[0], np.eye(4))
    image.header.set_slope_inter(1 / 300, 0)
    nib.save(image, damaged.betas_nifti(1))
    with pytest.raises(DataError, match="scl_slope"):
        read_betas(damaged, roi_mask(damaged), [1], prefer="nifti", progress=False)


@pytest.mark.parametrize("chunks", [None, (50, 6, 5, 7), (750, 2, 1, 1)])
def test_other_chunks_give_the_same(nsd, damaged, monkeypatch, chunks):
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 40_000)
    mask = roi_mask(damaged)
    with h5py.File(damaged.betas_hdf5(1), "w") as file:
        file.create_dataset("betas", data=nsd.subjects[1].stored[0].T, chunks=chunks)
    betas = read_betas(damaged, mask, [1], prefer="hdf5", progress=False)
    np.testing.assert_array_equal(betas, expected(nsd, mask, [1]))


@pytest.fixture(scope="module")
def larger(nsd, tmp_path_factory):
    """A session of 30 MB as floats, beside which the interpreter's own buffers are small."""
    root = tmp_path_factory.mktemp("larger")
    (root / "nsddata").mkdir()
    layout = NSDLayout(root, 1)
    layout.betas.mkdir(parents=True)
    values = np.random.default_rng(0).integers(-999, 999, (25, 16, 25), dtype=np.int16)
    nsd.save_betas(layout.betas, 1, values[..., None] + np.arange(750, dtype=np.int16))
    return layout, values


def peak_of(function):
    """Memory that Python and NumPy held at most during a call, and its result."""
    tracemalloc.start()
    try:
        return function(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prefer", ["nifti", "hdf5"])
def test_memory_is_bounded(larger, monkeypatch, prefer):
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 2**20)
    layout, values = larger
    mask = np.zeros(values.shape, bool)
    mask[3:9, 1, 2:4] = True
    arguments = {"prefer": prefer, "progress": False}
    read_betas(layout, mask, [1], **arguments)  # what is loaded once does not count
    betas, peak = peak_of(lambda: read_betas(layout, mask, [1], **arguments))
    np.testing.assert_array_equal(betas[7], (values[mask] + 7) / np.float32(300))
    whole = values.size * 750 * 4
    assert peak < whole / 2
    assert peak < whole / 4  # less than half of the stored integers, too


@pytest.mark.parametrize("prefer", ["nifti", "hdf5"])
def test_matrix_of_the_whole_brain_is_never_in_memory(larger, monkeypatch, tmp_path, prefer):
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 2**20)
    layout, values = larger
    mask = np.ones(values.shape, bool)
    path = tmp_path / "betas.npy"
    betas, peak = peak_of(
        lambda: betas_to_file(layout, mask, None, path, prefer=prefer, progress=False)
    )
    assert betas.shape == (750, values.size)
    np.testing.assert_array_equal(betas[700], (values[mask] + 700) / np.float32(300))
    assert peak < betas.nbytes / 2


def test_matrix_file_is_not_started_on_a_full_disk(layout, tmp_path, monkeypatch):
    usage = betas_module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(betas_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"needs .* GB, but .* has 0\.0 GB left"):
        betas_to_file(layout, roi_mask(layout), None, tmp_path / "betas.npy", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_unfinished_matrix_that_was_cut_off_is_started_again(nsd, layout, tmp_path, monkeypatch):
    mask, path = roi_mask(layout), tmp_path / "betas.npy"
    read = betas_module.read_session

    def killed(source, *args, **kwargs):
        if "session02" in source.name:
            raise KeyboardInterrupt
        return read(source, *args, **kwargs)

    monkeypatch.setattr(betas_module, "read_session", killed)
    with pytest.raises(KeyboardInterrupt):
        betas_to_file(layout, mask, None, path, progress=False)
    monkeypatch.undo()
    part = tmp_path / "betas.npy.part"
    part.write_bytes(part.read_bytes()[:5000])
    betas = betas_to_file(layout, mask, None, path, progress=False)
    np.testing.assert_array_equal(betas, expected(nsd, mask))


def test_flipped_volumes_are_refused(nsd, damaged):
    """A viewer shows them right, but their voxels are in another order."""
    for path in (damaged.betas_nifti(1), damaged.roi("nsdgeneral"), damaged.ncsnr()):
        image = nib.load(path)
        flip = np.diag([-1.0, 1, 1, 1])
        flip[0, 3] = image.shape[0] - 1
        data = np.asanyarray(image.dataobj)[::-1]
        nib.save(nib.Nifti1Image(data, image.affine @ flip, image.header), path)
    mask = nsd.subjects[1].cortex
    for call in (
        lambda: read_betas(damaged, mask, [1], prefer="nifti", progress=False),
        lambda: roi_mask(damaged),
        lambda: read_ncsnr(damaged, mask),
    ):
        with pytest.raises(DataError, match=r"axes of .*gz are LAS.*fetch the original"):
            call()


@pytest.mark.parametrize("version", ["betas_assumehrf", "betas_fithrf"])
def test_every_beta_version_is_read_from_its_own_folder(nsd, nsd_copy, version):
    layout = NSDLayout(nsd_copy.root, 1, beta_version=version)
    mask = roi_mask(layout)
    with pytest.raises(DataError, match=rf"no betas of subj01 in .*{version}"):
        read_betas(layout, mask, progress=False)
    stored = nsd.subjects[1].stored[0] // 2
    layout.betas.mkdir(parents=True)
    nsd.save_betas(layout.betas, 1, stored)
    for prefer in betas_kinds():
        betas = read_betas(layout, mask, prefer=prefer, progress=False)
        np.testing.assert_array_equal(betas, stored[mask].T / np.float32(300))


def test_matrix_file_is_the_matrix(nsd, layout, tmp_path):
    mask = roi_mask(layout)
    path = tmp_path / "folder" / "betas.npy"
    betas = betas_to_file(layout, mask, None, path, progress=False)
    np.testing.assert_array_equal(betas, expected(nsd, mask))
    assert sorted(p.name for p in path.parent.iterdir()) == ["betas.npy", "betas.npy.json"]
    before = path.stat().st_mtime_ns
    betas_to_file(layout, mask, None, path, progress=False)
    assert path.stat().st_mtime_ns == before  # reused
    betas = betas_to_file(layout, mask, [2], path, progress=False)  # other sessions: made again
    np.testing.assert_array_equal(betas, expected(nsd, mask, [2]))


def test_matrix_file_goes_on_where_it_was_killed(nsd, layout, tmp_path, monkeypatch):
    mask, path = roi_mask(layout), tmp_path / "betas.npy"
    read, calls = betas_module.read_session, []

    def killed(source, *args, **kwargs):
        calls.append(source.name)
        if "session02" in source.name and len(calls) == 2:
            raise KeyboardInterrupt
        return read(source, *args, **kwargs)

    monkeypatch.setattr(betas_module, "read_session", killed)
    with pytest.raises(KeyboardInterrupt):
        betas_to_file(layout, mask, [1, 2], path, progress=False)
    assert not path.exists()
    betas = betas_to_file(layout, mask, [1, 2], path, progress=False)
    assert calls == [f"betas_session0{s}.hdf5" for s in (1, 2, 2)]
    np.testing.assert_array_equal(betas, expected(nsd, mask))


def test_unfinished_matrix_of_another_mask_is_not_continued(nsd, layout, tmp_path, monkeypatch):
    mask, path = roi_mask(layout), tmp_path / "betas.npy"
    betas_to_file(layout, mask, [1], path, progress=False)
    notes = tmp_path / "betas.npy.part.json"
    config = json.loads((tmp_path / "betas.npy.json").read_text())["config"]
    notes.write_text(json.dumps({"config": config | {"mask": "other"}, "done": [0]}))
    np.save(tmp_path / "part.npy", np.zeros((750, mask.sum()), np.float32))
    (tmp_path / "part.npy").rename(tmp_path / "betas.npy.part")
    (tmp_path / "betas.npy.json").unlink()  # as if killed before the manifest was written
    betas = betas_to_file(layout, mask, [1], path, progress=False)
    np.testing.assert_array_equal(betas, expected(nsd, mask, [1]))


def test_matrix_file_keeps_its_hands_off_other_files(layout, tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, np.arange(3))
    with pytest.raises(DataError, match="no matrix of betas"):
        betas_to_file(layout, roi_mask(layout), [1], path, progress=False)
    assert np.load(path).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"\.npy"):
        betas_to_file(layout, roi_mask(layout), [1], tmp_path / "betas.h5", progress=False)


def test_plain_gzip_reads_what_the_reader_reads(nsd, layout):
    """The bytes of a NIfTI file are those of a C-ordered (trial, Z, Y, X) array."""
    with gzip.open(layout.betas_nifti(1)) as file:
        data = np.frombuffer(file.read()[352:], "<i2").reshape(750, *nsd.shape[::-1])
    np.testing.assert_array_equal(data.T, nsd.subjects[1].stored[0])
