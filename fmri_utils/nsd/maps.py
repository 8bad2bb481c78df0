"""Maps of the brain: noise ceiling, population receptive fields, mean volume, brain mask."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd

from ..project.errors import DataError
from .paths import NSDLayout
from .volumes import check_mask, read_volume

PRF_MAPS = ("angle", "eccentricity", "size", "R2")


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
