"""How far two maps agree that share nothing but the images: a ceiling with the fit's own noise."""

from __future__ import annotations

import numpy as np

from fmri_utils.encoders.ceilings import stack_repeats
from fmri_utils.encoders.controls import Fit
from fmri_utils.metrics.diagnostics import correlations
from fmri_utils.project.errors import DataError

N_SPLITS = 5  # random divisions that the ceiling is averaged over


def half_split_ceiling(
    fit: Fit,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    test_betas: np.ndarray,
    test_groups: np.ndarray,
    *,
    n_repeats: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Ceiling of a linear map: how far do two maps agree that share nothing but the images?

    The repeats are divided into halves, in training and in test. A map fitted to one half predicts
    the test images from their one half, another map from the other. What the two predictions share
    is reproducible; no truth correlates with a prediction by more than the root of that share.
    Unlike a curve over repeats, this counts the noise in the fitted weights too.

    Parameters
    ----------
    fit : callable
        ``fit(betas, embeddings, groups) -> mapper``.
    betas, embeddings, groups
        Training trials, as for :func:`fmri_utils.encoders.fit_ridge`.
    test_betas, test_groups
        Single trials of the test images, with the image of each.
    n_repeats : int
        Trials per image that are used; each half gets ``n_repeats // 2`` of them.
    rng : numpy.random.Generator
        Of :data:`N_SPLITS` random divisions, averaged over.

    Returns
    -------
    dict of numpy.ndarray, (C,)
        ``half``, the correlation of the two halves' predictions; ``reliability``, the same for all
        ``n_repeats`` (Spearman-Brown); ``ceiling``, its root.

    Raises
    ------
    DataError
        If there are fewer than two repeats.
    """
    size = n_repeats // 2
    if size < 1:
        raise DataError(f"n_repeats is {n_repeats}. Expected: at least 2, to be divided.")
    train, ids = stack_repeats(betas, groups, n_repeats)
    _, first = np.unique(groups, return_index=True)
    target = embeddings[first][np.isin(groups[first], ids)]
    test, _ = stack_repeats(test_betas, test_groups, n_repeats)
    found = []
    for _ in range(N_SPLITS):
        predictions = []
        halves = np.split(rng.permutation(n_repeats)[: 2 * size], 2)
        for half in halves:
            part = train[:, half].reshape(-1, train.shape[2])
            mapper = fit(part, np.repeat(target, size, axis=0), np.repeat(ids, size))
            predictions.append(mapper.predict(test[:, half].mean(1)))
        found.append(correlations(*predictions))
    half = np.clip(np.mean(found, 0), 0, 1)
    more = n_repeats / size
    reliability = more * half / (1 + (more - 1) * half)
    return {"half": half, "reliability": reliability, "ceiling": np.sqrt(reliability)}
