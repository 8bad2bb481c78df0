"""Volumes and masks; maps: noise ceiling, receptive fields, mean volume, brain mask."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from isal import igzip

from ..project.errors import DataError
from ..project.reading import reading, require
from .paths import REMEDY, NSDLayout

PRF_MAPS = ("angle", "eccentricity", "size", "R2")


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
            "Labels of an NSD atlas become a mask with `labels > 0` (-1 and 0 are no area)."
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
    require(path, what, REMEDY)
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


def _read_values(path, what: str, mask: np.ndarray) -> np.ndarray:
    volume, _ = read_volume(path, what)
    return volume[check_mask(mask, volume.shape, str(path))]


def read_brainmask(layout: NSDLayout) -> np.ndarray:
    """Read the mask of voxels that hold betas.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    volume, _ = read_volume(layout.brainmask, "the brain mask")
    if not np.isin(volume, (0, 1)).all() or not volume.any():
        raise DataError(
            f"{layout.brainmask} holds other values than 0 and 1, or no 1. Fetch the original."
        )
    return volume > 0


def read_mean_volume(layout: NSDLayout) -> nib.Nifti1Image:
    """Read the mean functional volume, a background for figures, in raw scanner units.

    Returns
    -------
    nibabel.Nifti1Image
        Float32, shape (X, Y, Z), with the affine of all volumes of this subject and space.
    """
    volume, affine = read_volume(layout.mean_volume, "the mean functional volume")
    return nib.Nifti1Image(volume, affine)


def read_ncsnr(layout: NSDLayout, mask: np.ndarray) -> np.ndarray:
    """Read NSD's noise-ceiling signal-to-noise ratio, sd(signal) / sd(noise) of one trial.

    It was computed from all trials, those of the shared images included. Do not choose voxels by
    it when the shared images are the test set; see :func:`split_half_reliability`.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to read.

    Returns
    -------
    ndarray of float32, shape (n_voxels,)
        At least 0; NaN where a voxel has no data.
    """
    ncsnr = _read_values(layout.ncsnr(), "the noise-ceiling SNR map", mask)
    wrong = (ncsnr < 0) | np.isinf(ncsnr)
    if wrong.any() or np.isnan(ncsnr).all():
        raise DataError(
            f"{layout.ncsnr()} is negative or infinite in {wrong.sum()} of {ncsnr.size} voxels, or "
            "NaN in all; expected values from 0. Fetch the original map."
        )
    return ncsnr


def noise_ceiling(ncsnr: np.ndarray, n_repeats: int | np.ndarray) -> np.ndarray:
    """Share of the variance of averaged responses that any model can explain.

    With n trials averaged, 100 * ncsnr^2 / (ncsnr^2 + 1/n). If images have different numbers of
    trials, 1/n is averaged over images: for A, B, C images with 3, 2, 1 trials it is
    (A/3 + B/2 + C) / (A + B + C) (Allen et al., 2022; NSD Data Manual, functional data).

    Parameters
    ----------
    ncsnr : array_like
        From :func:`read_ncsnr`; any shape.
    n_repeats : int or array_like of int, shape (n_images,)
        Trials averaged: one number, or one for each image (as :func:`average_repeats` counts
        them).

    Returns
    -------
    ndarray
        Percent of variance, shape and NaN of ``ncsnr``.

    Raises
    ------
    DataError
        If a number of trials is below 1, or ``ncsnr`` is negative.
    """
    counts = np.atleast_1d(np.asarray(n_repeats, dtype=float))
    if counts.size == 0 or not np.all(counts >= 1):
        raise DataError(
            "n_repeats must be at least 1 for every image; leave out images without trials."
        )
    ncsnr = np.asarray(ncsnr)
    if np.any(ncsnr < 0):
        raise DataError(f"ncsnr has negative values, down to {np.nanmin(ncsnr)}; expected >= 0.")
    signal = np.square(ncsnr, dtype=float)
    return 100 * signal / (signal + np.mean(1 / counts))


def read_prf(layout: NSDLayout, mask: np.ndarray) -> pd.DataFrame:
    """Read the population receptive field of every voxel of a mask.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to read.

    Returns
    -------
    pandas.DataFrame
        One row per voxel, in the order of ``volume[mask]``. ``angle``: degrees counter-clockwise
        from the right horizontal meridian; ``eccentricity``, ``size`` (sigma / sqrt(exponent)),
        ``x`` (right positive), ``y`` (up positive): degrees of visual angle; ``R2``: percent of
        variance, also negative. NaN where there are no data. The stimuli reached 4.2 degrees:
        centres far outside are extrapolated, and neither angle may be averaged linearly.
    """
    table = pd.DataFrame(
        {name: _read_values(layout.prf(name), f"the pRF map of {name}", mask) for name in PRF_MAPS}
    )
    # NSD leaves the angle undefined where a centre is exactly in the fovea; its place is not.
    angle = np.deg2rad(table["angle"].where(table["eccentricity"] != 0, 0.0))
    table["x"] = table["eccentricity"] * np.cos(angle)
    table["y"] = table["eccentricity"] * np.sin(angle)
    return table
