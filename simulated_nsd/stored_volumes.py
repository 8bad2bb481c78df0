"""Volumes as NSD stores them: NIfTI headers, and the two formats of a session's betas.

Worker processes import this module, so it imports little.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.simulation_config import TR_S, VOXEL_MM


def affine(grid: Sequence[int]) -> np.ndarray:
    """Voxel to millimetres: 1.8 mm, the origin in the middle of the slab, axes R A S."""
    out = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    out[:3, 3] = [-VOXEL_MM * (n - 1) / 2 for n in grid]
    return out


def save_volume(path: Path, data: np.ndarray, *, tr: bool = True) -> None:
    """Write a NIfTI volume with NSD's header: sform only, no scaling.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.nii.gz``.
    data : ndarray, shape (X, Y, Z) or (X, Y, Z, n)
        Stored with its own type.
    tr : bool
        Fourth voxel size 4/3 s, as in betas and maps, or 1, as in ROI files.
    """
    matrix = affine(data.shape[:3])
    image = nib.Nifti1Image(data, matrix)
    header = image.header
    header.set_qform(None, code=0)
    header.set_sform(matrix, code=1)
    header["pixdim"][[0, 4]] = 0, TR_S if tr else 1
    header["aux_file"] = b"none"
    with atomic_path(path) as tmp:
        nib.save(image, tmp)  # gzip level 1 without name and time


def save_betas_hdf5(path: Path, betas: np.ndarray, inside: np.ndarray, shape) -> None:
    """Write one session as HDF5: ``betas`` (750, Z, Y, X), one chunk per voxel, uncompressed.

    Parameters
    ----------
    path : pathlib.Path
        ``betas_sessionNN.hdf5``.
    betas : ndarray of int16, shape (750, M)
        300 x percent signal change.
    inside : ndarray of int64, shape (M,)
        Flat C-order index of the voxels in the (X, Y, Z) grid; all others are 0.
    shape : tuple of int
        (X, Y, Z).
    """
    betas = betas.astype("<i2", copy=False)
    x, y, z = np.unravel_index(inside, shape)
    with atomic_path(path) as tmp, h5py.File(tmp, "w") as file:
        stored = file.create_dataset(
            "betas", (len(betas), *shape[::-1]), "<i2", chunks=(len(betas), 1, 1, 1)
        )
        # Chunks outside the brain mask are not stored and read as 0.
        for column in np.lexsort((x, y, z)):
            place = (0, int(z[column]), int(y[column]), int(x[column]))
            stored.id.write_direct_chunk(place, betas[:, column].tobytes())


def save_betas_nifti(path: Path, betas: np.ndarray, inside: np.ndarray, shape) -> None:
    """Write one session as NIfTI (X, Y, Z, 750), int16; see :func:`save_betas_hdf5`."""
    x, y, z = np.unravel_index(inside, shape)
    volumes = np.zeros((len(betas), *shape[::-1]), "<i2")
    volumes[:, z, y, x] = betas
    save_volume(path, volumes.T)
