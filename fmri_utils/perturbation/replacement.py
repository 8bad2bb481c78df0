"""What the value of a voxel is replaced by.

* 0, its mean over the training trials (betas are z-scored): the plain leave-one-out.
* Its *conditional mean* given all other voxels: what a voxel that was lost would be guessed as. It
  removes only what the voxel alone knows.
* The value in *another repeat* of the same image: how much the voxel's own noise moves things.
* *Microstimulation*: its value plus or minus k standard deviations, ``betas + k``.
"""

from collections.abc import Sequence

import numpy as np

from ..encoders import ridge_basis
from ..encoders.common import REMEDY
from ..encoders.gradient_fit import hold_out
from ..nsd.preprocessing import average_repeats
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


def prediction_penalty(
    betas: np.ndarray, nsd_id: np.ndarray, *, alphas: Sequence[float], seed: int = 0
) -> float:
    """Penalty with which a voxel is best predicted from all other voxels.

    Half of the images give the covariance, from single trials. The other half are predicted, as
    means over their repeats, because these patterns are what :func:`conditional_mean` is asked for.
    The error of voxel v is (A x)_v / A_vv with A = (X'X + alpha I)^-1 (see
    :mod:`fmri_utils.perturbation.refit`), so one decomposition of X serves all penalties.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials, z-scored.
    nsd_id : numpy.ndarray, (n_trials,)
        Image of each trial.
    alphas : sequence of float
        Penalties tried.
    seed : int
        Draws the halves.

    Returns
    -------
    float
        For :func:`conditional_mean`: the penalty with the smallest mean squared error.
    """
    held = hold_out(nsd_id, 0.5, seed)
    basis = ridge_basis(betas[~held])
    mean, axes, variances = (a.numpy() for a in (basis.mean, basis.axes, basis.eigenvalues))
    x = average_repeats(betas[held], nsd_id[held])[0] - mean
    scores, errors = x @ axes, []
    for alpha in alphas:
        share = variances / (variances + alpha)
        errors.append((((x - (scores * share) @ axes.T) / (1 - axes**2 @ share)) ** 2).mean())
    return float(alphas[int(np.argmin(errors))])


def conditional_mean(precision: Precision, betas: np.ndarray, alpha: float) -> np.ndarray:
    """Mean of every voxel given the values of all others, for a Gaussian.

    E[x_v | others] = x_v - (P (x - mean))_v / P_vv, with P the inverse covariance.

    Parameters
    ----------
    precision : Precision
        Of the training trials.
    betas : numpy.ndarray, (n_trials, n_voxels)
    alpha : float
        From :func:`prediction_penalty`.

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels)
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    return betas + precision.step(betas, alpha)
