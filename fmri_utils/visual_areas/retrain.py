"""Decoders trained on a group of voxels only, or on all but a group; against ablated ones.

An ablated decoder keeps weights that were made for the company of all voxels. A retrained one
makes the best of those that are left: what the group *carries*, rather than what it *does* here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from ..encoders import LinearEncoder, MapperSettings, fit_ridge, match_spread, refit_ridge
from ..encoders.ridge import ridge_basis, scaled
from ..perturbation.precision import Precision
from ..perturbation.refit import by_penalty
from ..project.errors import DataError
from .decoding import SCORES, AreaScores, embedding_scores_of


@dataclass(frozen=True, eq=False)
class Retrained:
    """A ridge encoder of a group of voxels.

    Attributes
    ----------
    encoder : LinearEncoder
        Of all voxels: the weights outside the group are 0.
    alphas : numpy.ndarray, (C,)
        Penalties, chosen within the group.
    scale : float
        By which deviations from the mean were scaled; see
        :func:`fmri_utils.encoders.match_spread`.
    """

    encoder: LinearEncoder
    alphas: np.ndarray
    scale: float


def _columns(group: np.ndarray, n_voxels: int) -> np.ndarray:
    """The group as indices of voxels."""
    group = np.asarray(group)
    columns = np.flatnonzero(group) if group.dtype == bool else group
    if (group.dtype == bool and group.shape != (n_voxels,)) or not len(columns):
        raise DataError(
            f"a group of {len(columns)} voxels, given as an array of shape {group.shape}. "
            f"Expected: at least one voxel, as bool ({n_voxels},) or as indices."
        )
    return columns


def _in_all_voxels(small: LinearEncoder, columns: np.ndarray, n_voxels: int) -> LinearEncoder:
    """The same map of all voxels, with weights of 0 outside the group."""
    weights = np.zeros((n_voxels, small.weights.shape[1]), small.weights.dtype)
    weights[columns] = small.weights
    return LinearEncoder(weights, small.intercept, f"{small.method}, {len(columns)} voxels")


def retrain_on(
    betas: np.ndarray,
    embeddings: np.ndarray,
    images: np.ndarray,
    group: np.ndarray,
    *,
    settings: MapperSettings,
    device: str | torch.device = "cpu",
) -> Retrained:
    """The whole fit of notebook 03 on one group of voxels: penalties, ridge, spread.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials, z-scored.
    embeddings : numpy.ndarray, (n_trials, C)
    images : numpy.ndarray, (n_trials,)
        Image of each trial, for the folds.
    group : numpy.ndarray
        Bool (n_voxels,), or indices of voxels.
    settings : MapperSettings
        ``alphas`` and ``n_folds``.
    """
    columns = _columns(group, betas.shape[1])
    x = betas[:, columns]
    basis = ridge_basis(x, device=device)
    folds = {"n_folds": settings.n_folds, "basis": basis}
    ridge, report = fit_ridge(x, embeddings, images, alphas=settings.alphas, **folds)
    best = report["best_alphas"]
    matched, scale = match_spread(ridge, x, embeddings, images, alphas=best, **folds)
    return Retrained(_in_all_voxels(matched, columns, betas.shape[1]), best, scale)


def retrain_like(
    like: Retrained,
    betas: np.ndarray,
    embeddings: np.ndarray,
    group: np.ndarray,
    *,
    device: str | torch.device = "cpu",
) -> LinearEncoder:
    """Ridge on another group of the same size with the same penalties and scale: its control.

    Parameters
    ----------
    like : Retrained
    betas, embeddings, group, device
        As for :func:`retrain_on`.
    """
    columns = _columns(group, betas.shape[1])
    ridge = refit_ridge(betas[:, columns], embeddings, alphas=like.alphas, device=device)
    matched = scaled(ridge, embeddings.mean(0), like.scale, ridge.method)
    return _in_all_voxels(matched, columns, betas.shape[1])


def score_retrained(
    betas: np.ndarray,
    embeddings: np.ndarray,
    images: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    pattern: np.ndarray,
    truth: np.ndarray,
    settings: MapperSettings,
    n_random: int,
    rng: np.random.Generator,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> AreaScores:
    """Scores of decoders trained on each group only, and on random groups of its size.

    Parameters
    ----------
    betas, embeddings, images, settings, device
        As for :func:`retrain_on`.
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
    pattern : numpy.ndarray, (n_images, n_voxels)
        Test images, z-scored.
    truth : numpy.ndarray, (n_images, C)
        Unit length.
    n_random : int
        Random groups for each; see :func:`retrain_like`.

    Returns
    -------
    AreaScores
        Of the kind "retrained".
    """
    found, sizes = [], []
    for group in tqdm(groups.values(), desc="retraining", disable=not progress, leave=False):
        columns = _columns(group, betas.shape[1])
        best = retrain_on(betas, embeddings, images, columns, settings=settings, device=device)
        drawn = [rng.choice(betas.shape[1], len(columns), replace=False) for _ in range(n_random)]
        others = [retrain_like(best, betas, embeddings, d, device=device) for d in drawn]
        made = np.stack([e.predict(pattern) for e in (best.encoder, *others)])
        found.append(embedding_scores_of(made, truth))
        sizes.append(len(columns))
    own = {name: np.stack([scores[name][0] for scores in found]) for name in SCORES}
    random = {name: np.stack([scores[name][1:].mean(1) for scores in found]) for name in SCORES}
    return AreaScores(tuple(groups), np.array(sizes), {"retrained": own}, {"retrained": random})


def refit_without(
    encoder: LinearEncoder,
    precision: Precision,
    groups: Mapping[str, np.ndarray],
    alphas: np.ndarray,
) -> dict[str, LinearEncoder]:
    """The ridge encoder refitted without each group of voxels, in closed form.

    With A = (X'X + alpha I)^-1 and the group g, the minimum under the constraint w_g = 0 is

        w - A_:g (A_gg)^-1 w_g,

    the block form of the refit without one voxel (:mod:`fmri_utils.perturbation.refit`). One
    inverse for each penalty serves all groups.

    Parameters
    ----------
    encoder : LinearEncoder
        A ridge encoder, or one whose deviations from the mean were scaled by a factor
        (:func:`fmri_utils.encoders.match_spread`), which is then kept.
    precision : Precision
        Of the training trials, from :func:`fmri_utils.perturbation.fit_precision`.
    groups : mapping of str to numpy.ndarray
        Bool (n_voxels,), or indices of voxels. Without any voxel left, the mean is predicted.
    alphas : numpy.ndarray, (C,)
        Penalty of each embedding dimension, kept in the refit.

    Returns
    -------
    dict of str to LinearEncoder
        With weights of 0 inside the group.
    """
    old = np.asarray(encoder.weights, np.float64)
    columns = {name: _columns(group, len(old)) for name, group in groups.items()}
    weights = {name: old.copy() for name in groups}
    for alpha, dims in by_penalty(alphas):
        inverse = precision.inverse(alpha)
        for name, inside in columns.items():
            # The small system in double precision whatever the large inverse was computed in.
            own = inverse[np.ix_(inside, inside)].astype(np.float64)
            solved = np.linalg.solve(own, old[np.ix_(inside, dims)])
            weights[name][:, dims] -= inverse[:, inside] @ solved
    found = {}
    for name, inside in columns.items():
        weights[name][inside] = 0
        shift = precision.mean @ (old - weights[name])  # keeps the mean prediction
        method = f"{encoder.method}, without {name}"
        new = weights[name].astype(encoder.weights.dtype)
        intercept = (encoder.intercept + shift).astype(encoder.intercept.dtype)
        found[name] = LinearEncoder(new, intercept, method)
    return found
