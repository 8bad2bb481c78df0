"""Leave one voxel out and fit again, in closed form for ridge regression.

Ridge minimises a quadratic function of each column w of the weights, with Hessian
H = X'X + alpha I. Its minimum under the constraint w_v = 0 is

    w - A_v w_v / A_vv,        A = H^-1, A_v its column v,

so the refit without voxel v predicts x w - (x A_v / A_vv) w_v for centred x: exactly the old
decoder applied to betas whose voxel v has become its ridge-conditional mean given the others. That
is why ablation and refit differ: a refit lets the neighbours take over what they know as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.model_selection import GroupKFold

from ..encoders import LinearEncoder, check_training
from ..project.checks import check_finite
from ..project.errors import DataError
from .change import EmbeddingChange, check_betas
from .precision import Precision


def ridge_penalties(
    encoder: LinearEncoder, betas: np.ndarray, embeddings: np.ndarray, *, tolerance: float = 1e-2
) -> np.ndarray:
    """The penalties that a ridge encoder was fitted with, read off its normal equations.

    At the optimum X'(y - X w) = alpha w for centred X and y, so alpha = w.X'(y - X w) / w.w.

    Parameters
    ----------
    encoder : LinearEncoder
        From :func:`fmri_utils.encoders.fit_ridge`.
    betas, embeddings : numpy.ndarray, (n_trials, n_voxels) and (n_trials, C)
        What it was fitted to.
    tolerance : float
        Largest relative violation of the equations.

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
    if not (off < tolerance).all() or not (alphas > 0).all():
        raise DataError(
            f"the weights miss the equations of ridge regression by {np.nanmax(off):.1%} (encoder "
            f"{encoder.method!r}). Expected: a ridge encoder and the very trials it was fitted to."
        )
    return alphas


def group_penalties(alphas: np.ndarray, *, rtol: float = 1e-2) -> list[tuple[float, np.ndarray]]:
    """Distinct penalties with the columns that have them; penalties closer than rtol are one."""
    order = np.argsort(alphas)
    jumps = np.flatnonzero(np.diff(alphas[order]) > rtol * alphas[order][:-1]) + 1
    return [(float(np.median(alphas[c])), np.sort(c)) for c in np.split(order, jumps)]


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
    parts = group_penalties(np.asarray(alphas, float))
    steps = [(columns, precision.step(betas, alpha)) for alpha, columns in parts]
    return EmbeddingChange(encoder, betas, steps)


def refit_weights(
    encoder: LinearEncoder, precision: Precision, voxel: int, alphas: np.ndarray
) -> LinearEncoder:
    """The ridge encoder refitted without one voxel, whose weights become 0.

    Parameters
    ----------
    encoder, precision, alphas
        As for :func:`refit_change`.
    voxel : int
    """
    weights = np.array(encoder.weights, np.float64)
    for alpha, columns in group_penalties(np.asarray(alphas, float)):
        column = precision.inverse(alpha)[:, voxel]
        weights[:, columns] -= np.outer(column / column[voxel], encoder.weights[voxel, columns])
    weights[voxel] = 0
    shift = precision.mean @ (encoder.weights - weights)  # keeps the mean prediction
    return LinearEncoder(weights, encoder.intercept + shift, f"{encoder.method}, one voxel less")


def cross_fit(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    alphas: np.ndarray,
    *,
    n_folds: int,
    seed: int = 0,
) -> Iterator[tuple[LinearEncoder, np.ndarray]]:
    """Ridge fits that each leave out one fold of the images, so that every image is tested once.

    One Gram matrix serves all folds: a fold's own part is taken off it.

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

    Yields
    ------
    encoder : LinearEncoder
        Fitted to the other folds.
    rows : numpy.ndarray of int
        The trials left out.
    """
    check_training(betas, embeddings, groups)
    x, y = np.asarray(betas), np.asarray(embeddings)
    parts = group_penalties(np.asarray(alphas, float))
    gram, cross = x.T @ x, x.T @ y
    sums = x.sum(0), y.sum(0)
    folds = GroupKFold(n_folds, shuffle=True, random_state=seed).split(x, groups=groups)
    for _, held in folds:
        n = len(x) - len(held)
        x_mean, y_mean = (sums[0] - x[held].sum(0)) / n, (sums[1] - y[held].sum(0)) / n
        # Centred on the trials that are left: X'X - n mean mean'.
        kept = gram - x[held].T @ x[held] - n * np.outer(x_mean, x_mean)
        target = cross - x[held].T @ y[held] - n * np.outer(x_mean, y_mean)
        weights = np.empty_like(target)
        for alpha, columns in parts:
            shifted = kept.copy()
            shifted[np.diag_indices_from(shifted)] += alpha
            factor = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
            weights[:, columns] = cho_solve(factor, target[:, columns], check_finite=False)
        yield LinearEncoder(weights, y_mean - x_mean @ weights, "ridge"), held
