"""Decoders trained on a group of voxels only, or on all but a group; against ablated ones.

An ablated decoder keeps weights that were made for the company of all voxels. A retrained one
makes the best of those that are left: what the group *carries*, rather than what it *does* here.
"""

from collections.abc import Mapping

import numpy as np
import torch
from tqdm.auto import tqdm

from ..encoders import LinearEncoder, MapperSettings, fit_ridge, match_spread
from ..encoders.ridge import CrossProducts, ridge_basis, scaled
from ..perturbation.refit import Precision, by_penalty
from .decoding import SCORES, AreaScores, embedding_scores_of
from .random_groups import RandomGroups


def score_retrained(
    betas: np.ndarray,
    embeddings: np.ndarray,
    images: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    pattern: np.ndarray,
    truth: np.ndarray,
    settings: MapperSettings,
    controls: Mapping[str, RandomGroups],
    n_random: int,
    rng: np.random.Generator,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> AreaScores:
    """Scores of decoders trained on each group only, and on random groups of its size.

    A group gets the whole fit of notebook 03: penalties, ridge, spread. Its random groups are
    fitted with the same penalties and the same scale of deviations from the mean.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials, z-scored.
    embeddings : numpy.ndarray, (n_trials, C)
    images : numpy.ndarray, (n_trials,)
        Image of each trial, for the folds.
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
    pattern : numpy.ndarray, (n_images, n_voxels)
        Test images, z-scored.
    truth : numpy.ndarray, (n_images, C)
        Unit length.
    settings : MapperSettings
        ``alphas`` and ``n_folds``.
    controls : mapping of str to RandomGroups
        Kinds of random groups by name; there may be none.
    n_random : int
        Random groups of each kind, for each group.
    device : str or torch.device

    Returns
    -------
    AreaScores
        Of the kind "retrained".
    """
    products = CrossProducts.of(betas, embeddings, device) if controls else None
    found = []
    for name, group in tqdm(groups.items(), desc="retraining", disable=not progress, leave=False):
        columns = np.flatnonzero(group)
        x = betas[:, columns]
        folds = {"n_folds": settings.n_folds, "basis": ridge_basis(x, device=device)}
        ridge, report = fit_ridge(x, embeddings, images, alphas=settings.alphas, **folds)
        best = {"alphas": report["best_alphas"]}
        matched, scale = match_spread(ridge, x, embeddings, images, **best, **folds)
        made = [matched.predict(pattern[:, columns])]
        for control in controls.values():
            [size] = control.sizes({name: group})
            for _ in range(n_random):
                drawn = control.draw(size, rng)
                other = products.refit(drawn, **best)
                other = scaled(other, embeddings.mean(0), scale, other.method)
                made.append(other.predict(pattern[:, drawn]))
        found.append(embedding_scores_of(np.stack(made), truth))
    own = {score: np.stack([scores[score][0] for scores in found]) for score in SCORES}
    means = {score: np.stack([scores[score][1:].mean(1) for scores in found]) for score in SCORES}
    random = {}
    for k, name in enumerate(controls):
        columns = slice(k * n_random, (k + 1) * n_random)
        random[name] = {"retrained": {score: rows[:, columns] for score, rows in means.items()}}
    sizes = np.array([np.count_nonzero(group) for group in groups.values()])
    return AreaScores(tuple(groups), sizes, {"retrained": own}, random)


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
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
        Without any voxel left, the mean is predicted.
    alphas : numpy.ndarray, (C,)
        Penalty of each embedding dimension, kept in the refit.

    Returns
    -------
    dict of str to LinearEncoder
        With weights of 0 inside the group.
    """
    old = np.asarray(encoder.weights, np.float64)
    columns = {name: np.flatnonzero(group) for name, group in groups.items()}
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
