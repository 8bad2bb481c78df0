"""Volumes and masks: what rois, maps and betas have in common."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from ..project.errors import DataError
from ..project.reading import reading
from .paths import REMEDY, require


def check_mask(
    mask: np.ndarray, shape: tuple[int, ...] | None = None, what: str = "the volume"
) -> np.ndarray:
    """Return ``mask`` if it is boolean, has the shape of a volume and holds voxels.

    Raises
    ------
    DataError
        If it has labels instead of booleans (in NSD, -1 is outside cortex and 0 is cortex without
        a label, so neither ``astype(bool)`` nor ``!= -1`` is the area), another shape, or no voxel.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 3:
        raise DataError(
            f"the mask is {mask.dtype} of {mask.ndim} dimensions; expected booleans in three. "
            "Labels "
            "of an NSD atlas become a mask with `labels > 0` (-1 and 0 are no area)."
        )
    if shape is not None and mask.shape != tuple(shape):
        hint = ""
        if mask.shape[::-1] == tuple(shape):
            hint = " The mask is transposed: give it as nibabel reads it."
        raise DataError(
            f"the mask has the shape {mask.shape}, but {what} has {tuple(shape)} as (X, Y, Z)."
            f"{hint} Mask and data must come from the same subject and space."
        )
    if not mask.any():
        raise DataError("the mask holds no voxel. Choose another area.")
    return mask


def read_volume(path: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a three-dimensional NIfTI volume.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    what : str
        What it holds, for messages.

    Returns
    -------
    volume : ndarray of float32, shape (X, Y, Z)
        Its values.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm. In NSD's functional spaces 0 is the centre of the slab.

    Raises
    ------
    DataError
        If the file is missing, damaged, not three-dimensional, or has other axes than NSD's.
    """
    require(path, what)
    with reading(path, what, damaged=f"delete it. {REMEDY}"):
        with igzip.open(path) as stream:  # read to its end, where the checksum is
            image = nib.Nifti1Image.from_bytes(stream.read())
        volume = image.get_fdata(dtype=np.float32)
    if volume.ndim != 3 or not volume.size:
        raise DataError(f"{what}: {path} has the shape {volume.shape}; expected (X, Y, Z).")
    check_axes(image.affine, path)
    return volume, image.affine


def check_axes(affine: np.ndarray, path: Path) -> None:
    """Check that a volume's first voxel is left, posterior and inferior, as in all of NSD's.

    Volumes are matched voxel by voxel, so one that another program has flipped or rotated, which
    looks the same in a viewer, would give the wrong voxels.

    Raises
    ------
    DataError
        If the axes are others.
    """
    sound = np.isfinite(affine).all() and np.linalg.matrix_rank(affine) == 4
    axes = "".join(code or "?" for code in nib.aff2axcodes(affine)) if sound else "undefined"
    if axes != "RAS":
        raise DataError(
            f"the axes of {path} are {axes}; expected RAS, as in NSD: fetch the original."
        )


def to_volume(values: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """Put one value per voxel back into a volume, e.g. to plot it over the mean volume.

    Parameters
    ----------
    values : ndarray, shape (n_voxels,)
        In the order of ``volume[mask]``. Booleans and integers become float32.
    mask : ndarray of bool, shape (X, Y, Z)
        The mask that the values were read with.
    affine : ndarray, shape (4, 4)
        Affine of any volume of that subject and space.

    Returns
    -------
    nibabel.Nifti1Image
        Float32, NaN outside the mask, with sform code 1 and no qform, as in NSD.

    Raises
    ------
    DataError
        If there are not as many values as voxels in the mask.
    """
    mask = check_mask(mask)
    values = np.asarray(values)
    if values.shape != (np.count_nonzero(mask),):
        raise DataError(
            f"the values have the shape {values.shape}, but the mask has "
            f"{np.count_nonzero(mask)} voxels. Use the mask that the values were read with."
        )
    volume = np.full(mask.shape, np.nan, dtype=np.float32)
    volume[mask] = values
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    return image
