"""Leave one voxel out and fit again, in closed form for ridge regression.

Ridge minimises a quadratic function of each column w of the weights, with Hessian
H = X'X + alpha I. Its minimum under the constraint w_v = 0 is

    w - A_v w_v / A_vv,        A = H^-1, A_v its column v,

so the refit without voxel v predicts x w - (x A_v / A_vv) w_v for centred x: exactly the old
decoder applied to betas whose voxel v has become its ridge-conditional mean given the others. That
is why ablation and refit differ: a refit lets the neighbours take over what they know as well.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, lapack

from ..encoders import LinearEncoder, refit_ridge
from ..encoders.common import REMEDY
from ..encoders.ridge import make_folds, scaled
from ..project.checks import check_finite
from ..project.errors import DataError
from .embedding_effects import EmbeddingChange, check_betas

TOLERANCE = 1e-2  # relative: of the equations of ridge regression, and between equal penalties


class Precision(NamedTuple):
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


def ridge_penalties(
    encoder: LinearEncoder, betas: np.ndarray, embeddings: np.ndarray
) -> np.ndarray:
    """The penalties that a ridge encoder was fitted with, read off its normal equations.

    At the optimum X'(y - X w) = alpha w for centred X and y, so alpha = w.X'(y - X w) / w.w.
    Penalties that differ by less than :data:`TOLERANCE` are one: they get their median.

    Parameters
    ----------
    encoder : LinearEncoder
        From :func:`fmri_utils.encoders.fit_ridge`.
    betas, embeddings : numpy.ndarray, (n_trials, n_voxels) and (n_trials, C)
        What it was fitted to.

    Returns
    -------
    numpy.ndarray, (C,)

    Raises
    ------
    DataError
        If the encoder is not the ridge solution of these data.
    """
    x = np.asarray(check_betas(encoder, betas), np.float64)
    check_finite(embeddings, "embeddings", ("trial", "dimension"))
    weights = encoder.weights.astype(np.float64)
    x = x - x.mean(0)
    gradient = x.T @ ((embeddings - embeddings.mean(0)) - x @ weights)  # (V, C)
    alphas = (weights * gradient).sum(0) / (weights**2).sum(0)
    off = np.linalg.norm(gradient - alphas * weights, axis=0) / np.linalg.norm(gradient, axis=0)
    if not (off < TOLERANCE).all() or not (alphas > 0).all():
        raise DataError(
            f"the weights miss the equations of ridge regression by {np.nanmax(off):.1%} (encoder "
            f"{encoder.method!r}). Expected: a ridge encoder and the very trials it was fitted to."
        )
    order = np.argsort(alphas)
    jumps = np.flatnonzero(np.diff(alphas[order]) > TOLERANCE * alphas[order][:-1]) + 1
    for columns in np.split(order, jumps):
        alphas[columns] = np.median(alphas[columns])
    return alphas


def by_penalty(alphas: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Distinct penalties with the embedding dimensions that have them."""
    alphas = np.asarray(alphas, float)
    return [(float(alpha), np.flatnonzero(alphas == alpha)) for alpha in np.unique(alphas)]


def refit_change(
    encoder: LinearEncoder, precision: Precision, betas: np.ndarray, alphas: np.ndarray
) -> EmbeddingChange:
    """What happens to every prediction when the ridge is refitted without one voxel, for each.

    Parameters
    ----------
    encoder : LinearEncoder
        A ridge encoder, or one whose deviations from the mean were scaled by a factor
        (:func:`fmri_utils.encoders.match_spread`), which is then kept.
    precision : Precision
        Of the training trials, from :func:`fmri_utils.perturbation.fit_precision`.
    betas : numpy.ndarray, (n_trials, n_voxels)
        Trials to predict.
    alphas : numpy.ndarray, (C,)
        Penalty of each embedding dimension, kept in the refit.

    Returns
    -------
    EmbeddingChange
        With ``effect()``, ``shift(direction)`` and ``towards(direction)``.
    """
    betas = check_betas(encoder, betas)
    steps = [(columns, precision.step(betas, alpha)) for alpha, columns in by_penalty(alphas)]
    return EmbeddingChange(encoder, betas, steps)


def cross_fit(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    alphas: np.ndarray,
    *,
    n_folds: int,
    seed: int = 0,
    device: str = "cpu",
) -> Iterator[tuple[LinearEncoder, np.ndarray]]:
    """Ridge fits that each leave out one fold of the images, so that every image is tested once.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
    embeddings : numpy.ndarray, (n_trials, C)
    groups : numpy.ndarray, (n_trials,)
        Image of each trial; the repeats of an image are in one fold.
    alphas : numpy.ndarray, (C,)
        Penalties.
    n_folds : int
    seed : int
        Draws which images share a fold.
    device : str
        "cpu" or "cuda".

    Yields
    ------
    encoder : LinearEncoder
        Fitted to the other folds.
    rows : numpy.ndarray of int
        The trials left out.
    """
    for held in make_folds(groups, n_folds, seed):
        rest = np.setdiff1d(np.arange(len(groups)), held)
        yield refit_ridge(betas[rest], embeddings[rest], alphas=alphas, device=device), held


def half_decoders(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    alphas: np.ndarray,
    *,
    scale: float = 1.0,
    n_halvings: int = 4,
    n_parts: int = 2,
    device: str = "cpu",
) -> list[list[LinearEncoder]]:
    """Pairs of ridge fits, each to one half of the training images, for several random halvings.

    The two decoders of a pair have no training image in common, unlike those of :func:`cross_fit`
    with more folds. They differ by what another choice of training images would change. Over such
    decoders the SD of a number is about its standard error at the full size (the delete-half
    jackknife of Shao & Wu 1989).

    Parameters
    ----------
    betas, embeddings, groups, alphas
        Training trials, as for :func:`cross_fit`.
    scale : float
        By which deviations from the mean embedding are scaled, as
        :func:`fmri_utils.encoders.match_spread` does.
    n_halvings : int
    n_parts : int
        2 for halves; 4 gives four decoders of a quarter each.
    device : str
        "cpu" or "cuda".

    Returns
    -------
    list of list of LinearEncoder
        For each halving the decoders of its parts.
    """
    mean, found = embeddings.mean(0), []
    how = {"alphas": alphas, "device": device}
    for seed in range(n_halvings):
        parts = make_folds(groups, n_parts, seed)
        fits = (refit_ridge(betas[rows], embeddings[rows], **how) for rows in parts)
        found.append([scaled(one, mean, scale, "ridge, part") for one in fits])
    return found
