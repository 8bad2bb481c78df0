"""Betas: both formats give one matrix, in bounded memory, and damage is reported."""

import tracemalloc

import h5py
import nibabel as nib
import numpy as np
import pytest
from refusals import refused

from fmri_utils.nsd import NSDLayout, read_betas, roi_mask, to_volume
from fmri_utils.nsd import betas as betas_module
from fmri_utils.nsd.betas import read_session
from fmri_utils.nsd.rois import read_roi

KINDS = {"nifti": NSDLayout.betas_nifti, "hdf5": NSDLayout.betas_hdf5}
both_kinds = pytest.mark.parametrize("kind", KINDS)


def read(layout, mask, kind, session=1):
    """One session of one format."""
    return read_session(KINDS[kind](layout, session), mask)


def expected(nsd, mask, sessions=(1, 2)):
    """The matrix, straight from the numbers that the fixture stored."""
    stored = [nsd.subjects[1].stored[s - 1][mask].T for s in sessions]
    return np.concatenate(stored) / np.float32(300)


@pytest.mark.parametrize("seed", range(5))
def test_any_mask_gives_the_same_columns_in_both_formats(nsd, layout, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(nsd.shape) < [0.01, 0.2, 0.5, 0.9, 1.1][seed]
    mask[3, 2, 4] = True
    for kind in KINDS:
        np.testing.assert_array_equal(read(layout, mask, kind, 2), expected(nsd, mask, [2]))


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
    refused("mask that the values were read with", to_volume, betas[17, :-1], mask, affine)


@both_kinds
def test_wrong_masks_are_refused(layout, kind):
    labels, _ = read_roi(layout, "nsdgeneral")
    mask = labels > 0
    wrongs = {"transposed": mask.T, "labels > 0": labels, "same subject": mask[:-1]}
    for message, wrong in {**wrongs, "no voxel": mask & False}.items():
        refused(message, read, layout, wrong, kind)


def test_scaled_nifti_is_refused(nsd, damaged):
    image = nib.Nifti1Image(nsd.subjects[1].stored[0], np.eye(4))
    image.header.set_slope_inter(1 / 300, 0)
    nib.save(image, damaged.betas_nifti(1))
    refused("scl_slope", read, damaged, roi_mask(damaged), "nifti")


@pytest.mark.parametrize("chunks", [None, (50, 6, 5, 7), (750, 2, 1, 1)])
def test_other_chunks_give_the_same(nsd, damaged, monkeypatch, chunks):
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 40_000)
    mask = roi_mask(damaged)
    with h5py.File(damaged.betas_hdf5(1), "w") as file:
        file.create_dataset("betas", data=nsd.subjects[1].stored[0].T, chunks=chunks)
    np.testing.assert_array_equal(read(damaged, mask, "hdf5"), expected(nsd, mask, [1]))


@both_kinds
def test_memory_is_bounded(nsd, tmp_path, monkeypatch, kind):
    """A session of 30 MB as floats, beside which the interpreter's own buffers are small."""
    monkeypatch.setattr(betas_module, "BLOCK_BYTES", 2**20)
    (tmp_path / "nsddata").mkdir()
    layout = NSDLayout(tmp_path, 1)
    layout.betas.mkdir(parents=True)
    values = np.random.default_rng(0).integers(-999, 999, (25, 16, 25), dtype=np.int16)
    nsd.save_betas(layout.betas, 1, values[..., None] + np.arange(750, dtype=np.int16))
    mask = np.zeros(values.shape, bool)
    mask[3:9, 1, 2:4] = True
    read(layout, mask, kind)  # what is loaded once does not count
    tracemalloc.start()
    try:
        betas, peak = read(layout, mask, kind), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(betas[7], (values[mask] + 7) / np.float32(300))
    assert peak < values.size * 750 * 4 / 4  # less than half of the stored integers, too


@pytest.mark.parametrize("version", ["betas_assumehrf", "betas_fithrf"])
def test_every_beta_version_is_read_from_its_own_folder(nsd, nsd_copy, version):
    layout = NSDLayout(nsd_copy.root, 1, beta_version=version)
    mask = roi_mask(layout)
    refused(rf"no betas of subj01 in .*{version}", read_betas, layout, mask, progress=False)
    stored = nsd.subjects[1].stored[0] // 2
    layout.betas.mkdir(parents=True)
    nsd.save_betas(layout.betas, 1, stored)
    for kind in KINDS:
        np.testing.assert_array_equal(read(layout, mask, kind), stored[mask].T / np.float32(300))
