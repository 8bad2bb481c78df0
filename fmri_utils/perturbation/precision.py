"""The inverse of X'X + alpha I, for ridge refits and for conditional means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, lapack

from ..encoders.common import REMEDY
from ..project.checks import check_finite
from ..project.errors import DataError


@dataclass(frozen=True, eq=False)
class Precision:
    """A(alpha) = (X'X + alpha I)^-1 of centred training betas X.

    Attributes
    ----------
    mean : numpy.ndarray, (n_voxels,)
    gram : numpy.ndarray, (n_voxels, n_voxels)
        X'X. Its size sets the memory: 2 GB in float64 for NSD's 15,724 voxels, 1 GB in float32,
        and the same again while an inverse is used.
    """

    mean: np.ndarray
    gram: np.ndarray

    def inverse(self, alpha: float) -> np.ndarray:
        """A(alpha), (n_voxels, n_voxels), through a Cholesky factor."""
        shifted = self.gram.copy()
        shifted[np.diag_indices_from(shifted)] += alpha
        factor, lower = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
        invert = lapack.dpotri if factor.dtype == np.float64 else lapack.spotri
        half, info = invert(factor, lower=lower, overwrite_c=True)
        if info != 0:
            raise DataError(f"X'X + {alpha:g} I cannot be inverted. Expected: a larger alpha.")
        half = np.tril(half)
        return half + np.tril(half, -1).T

    def step(self, betas: np.ndarray, alpha: float) -> np.ndarray:
        """-(A (x - mean))_v / A_vv, (n_trials, n_voxels).

        By this much a voxel's value changes when it becomes its mean given all other voxels; and
        ridge regression refitted without voxel v predicts as if v's value had changed by this
        much (see :mod:`fmri_utils.perturbation.refit`).
        """
        inverse = self.inverse(alpha)
        return -((np.asarray(betas) - self.mean) @ inverse) / np.diag(inverse)


def fit_precision(betas: np.ndarray, *, dtype: type = np.float64) -> Precision:
    """Gram matrix of the training betas.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials.
    dtype : type
        float32 halves memory and time; its steps are good to about 1e-4.

    Raises
    ------
    DataError
        If they are not finite, or hold fewer than two trials.
    """
    x = np.array(betas, dtype)
    if x.ndim != 2 or len(x) < 2:
        raise DataError(
            f"betas have shape {x.shape}. Expected: (n_trials, n_voxels) with two trials or more."
        )
    check_finite(x, "betas", ("trial", "voxel"), remedy=REMEDY)
    mean = x.mean(0)
    x -= mean
    return Precision(mean, x.T @ x)
