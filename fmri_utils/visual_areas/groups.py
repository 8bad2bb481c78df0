"""Groups of voxels: left out, kept alone, stimulated; Shapley values.

Many voxels know the same. Leaving one out then changes little, because the others stand in for it
(redundancy hides importance). Groups and Shapley values look past that.
"""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np

from ..encoders import LinearEncoder, unit
from ..perturbation.embedding_effects import check_betas
from ..project.checks import check_finite
from ..project.errors import DataError

KINDS = ("leave_out", "keep_only", "stimulate")
MAX_EXACT = 12


def group_embedding(
    encoder: LinearEncoder, betas: np.ndarray, group: np.ndarray, kind: str
) -> np.ndarray:
    """Predicted embeddings with a group left out, kept alone, or stimulated.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored: a voxel is left out by setting it to 0.
    group : numpy.ndarray
        Bool (n_voxels,), or indices of voxels.
    kind : {"leave_out", "keep_only", "stimulate"}
        To stimulate adds a standard deviation to every voxel.

    Returns
    -------
    numpy.ndarray, (n_trials, C)
        Not normalised.
    """
    return changed_embedding(encoder, betas, encoder.predict(betas), group, kind)


def changed_embedding(
    encoder: LinearEncoder, betas: np.ndarray, whole: np.ndarray, group: np.ndarray, kind: str
) -> np.ndarray:
    """:func:`group_embedding` of checked betas, whose prediction ``whole`` is known."""
    if kind not in KINDS:
        raise DataError(f"kind is {kind!r}. Expected: one of {KINDS}.")
    weights = encoder.weights[group]
    if kind == "stimulate":
        return whole + weights.sum(0)
    part = np.asarray(betas)[:, group] @ weights
    return encoder.intercept + part if kind == "keep_only" else whole - part


def shapley_by_trial(
    encoder: LinearEncoder, betas: np.ndarray, truth: np.ndarray, groups: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Shapley value of each group: its mean gain in accuracy over all orders of joining.

    Accuracy is the cosine with the truth when only the groups that have joined are kept, all other
    voxels being 0. Values follow from all subsets (Shapley 1953). Those of all groups add up to the
    gain of all groups together.

    Parameters
    ----------
    truth : numpy.ndarray, (n_trials, C)
        Unit length.
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
        Without overlap, at most twelve; there may be none.

    Returns
    -------
    dict of str to numpy.ndarray, (n_trials,)
        The value of each group for each trial, for intervals over trials.
    """
    if not groups:
        return {}
    overlap = np.sum([np.asarray(g, bool) for g in groups.values()], axis=0) > 1
    if overlap.any():
        raise DataError(
            f"{overlap.sum()} voxels are in more than one of the groups {list(groups)}. Expected: "
            "groups without overlap."
        )
    n = len(groups)
    if n > MAX_EXACT:
        raise DataError(f"{n} groups. Expected: at most {MAX_EXACT}; unite some.")
    check_finite(truth, "truth", ("trial", "dimension"))
    betas = check_betas(encoder, betas)
    parts = np.stack([betas[:, group] @ encoder.weights[group] for group in groups.values()])
    subsets = [s for size in range(n + 1) for s in combinations(range(n), size)]
    joined = {s: unit(encoder.intercept + parts[list(s)].sum(0)) for s in subsets}
    value = {s: (embedding * truth).sum(1) for s, embedding in joined.items()}
    weight = [factorial(size) * factorial(n - size - 1) / factorial(n) for size in range(n)]
    out = {}
    for g, name in enumerate(groups):
        without = [s for s in subsets if g not in s]
        gains = [weight[len(s)] * (value[tuple(sorted((*s, g)))] - value[s]) for s in without]
        out[name] = np.sum(gains, axis=0)
    return out
