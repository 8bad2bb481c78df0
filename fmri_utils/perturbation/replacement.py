"""What the value of a voxel is replaced by.

* 0, its mean over the training trials (betas are z-scored): the plain leave-one-out.
* Its *conditional mean* given all other voxels: what a voxel that was lost would be guessed as. It
  removes only what the voxel alone knows.
* The value in *another repeat* of the same image: how much the voxel's own noise moves things.
* *Microstimulation*: its value plus or minus k standard deviations, ``betas + k``.
"""

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from ..encoders.common import REMEDY
from ..project.checks import check_finite
from ..project.errors import DataError
from .refit import Precision


def other_repeat(betas: np.ndarray, nsd_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Betas of the next trial of the same image, for every trial; the first follows the last.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
    nsd_id : numpy.ndarray, (n_trials,)
        Image of each trial.

    Returns
    -------
    values : numpy.ndarray, (n_kept, n_voxels)
    rows : numpy.ndarray of int, (n_kept,)
        The trials, in order, whose image was shown more than once.
    """
    nsd_id = np.asarray(nsd_id)
    if len(nsd_id) != len(betas):
        raise DataError(f"{len(betas)} betas and {len(nsd_id)} image ids. Expected: one per trial.")
    order = np.argsort(nsd_id, kind="stable")
    following = np.empty_like(order)
    for trials in np.split(order, np.flatnonzero(np.diff(nsd_id[order])) + 1):
        following[trials] = np.roll(trials, -1)
    rows = np.flatnonzero(following != np.arange(len(order)))
    return np.asarray(betas)[following[rows]], rows


def shrinkage_penalty(betas: np.ndarray) -> float:
    """Penalty that makes the voxels' covariance invertible, chosen from the data.

    Ledoit & Wolf (2004) shrink the covariance S to (1 - s) S + s m I with m its mean variance. Its
    inverse is that of X'X + alpha I up to a factor, with alpha = n m s / (1 - s).

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)

    Returns
    -------
    float
        alpha, for :meth:`fmri_utils.perturbation.Precision.step`.
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    s = float(ledoit_wolf_shrinkage(betas))
    if not 0 < s < 1:
        raise DataError(
            f"the shrinkage of the covariance is {s:g}. Expected: 0 to 1. Replace voxels by 0 "
            "instead."
        )
    return len(betas) * float(np.var(betas, axis=0).mean()) * s / (1 - s)


def conditional_mean(precision: Precision, betas: np.ndarray, alpha: float) -> np.ndarray:
    """Mean of every voxel given the values of all others, for a Gaussian.

    E[x_v | others] = x_v - (P (x - mean))_v / P_vv, with P the inverse covariance.

    Parameters
    ----------
    precision : Precision
        Of the training trials.
    betas : numpy.ndarray, (n_trials, n_voxels)
    alpha : float
        From :func:`shrinkage_penalty`.

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels)
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    return betas + precision.step(betas, alpha)
