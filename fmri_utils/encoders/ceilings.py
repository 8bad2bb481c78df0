"""How much of an embedding could be predicted? Noise ceilings and learning curves of a mapping.

Two things keep a mapper from its limit: noise in the pattern that it reads, which repeats average
away, and too few training trials. The first is measured between the repeats of an image, the second
by leaving sessions or voxels out. What remains above both, the voxels do not say, or not linearly.
"""

from collections.abc import Sequence
from itertools import combinations, islice

import numpy as np
from tqdm.auto import tqdm

from ..metrics import repeat_ceiling, retrieval_scores
from ..metrics.diagnostics import correlations
from ..project.checks import check_finite
from ..project.errors import DataError
from .controls import Fit, scores_per_image

MAX_SUBSETS = 20  # of repeats that one point of a curve is averaged over


def stack_repeats(
    betas: np.ndarray, groups: np.ndarray, n_repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """Single trials by image and repeat, for the images that have enough of them.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
    groups : numpy.ndarray, (n_trials,)
        Image of each trial.
    n_repeats : int
        The first so many trials of each image are taken.

    Returns
    -------
    stacked : numpy.ndarray, (n_images, n_repeats, n_voxels)
    ids : numpy.ndarray, (n_images,)

    Raises
    ------
    DataError
        If fewer than two images have so many trials.
    """
    order = np.argsort(groups, kind="stable")
    ids, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    enough = count >= n_repeats
    if n_repeats < 1 or enough.sum() < 2:
        raise DataError(
            f"{enough.sum()} images have {n_repeats} trials. Expected: two; read more sessions."
        )
    rows = order[start[enough][:, None] + np.arange(n_repeats)]
    return betas[rows], ids[enough]


def explained_variance(truth: np.ndarray, r: np.ndarray, *, n_images: int | None = None) -> float:
    """Share of an embedding's variance that predictions with these correlations explain.

    Parameters
    ----------
    truth : numpy.ndarray, (n_images, C)
        Whose dimensions count by their variance.
    r : numpy.ndarray, (C,)
        Correlation of each dimension's prediction with the truth.
    n_images : int, optional
        Number of images that r was measured on. r squared of unrelated numbers is 1 / (n - 1) on
        average; if given, that is taken off (adjusted R2).

    Returns
    -------
    float
        The mean of r squared over dimensions, weighted by variance; with a scale and an offset
        for each dimension fitted to the truth, which is what a ceiling asks for.
    """
    check_finite(truth, "truth", ("image", "dimension"))
    check_finite(r, "r", ("dimension",))
    squared = np.minimum(np.square(r), 1)
    if n_images is not None:
        squared = 1 - (1 - squared) * (n_images - 1) / (n_images - 2)
    variance = truth.var(0)
    return float((squared * variance).sum() / variance.sum())


def repeat_curve(truth: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """Scores with 1, 2, ... repeats averaged, and what the same map would explain without noise.

    The variance of the predictions between and within images gives their reliability. A map that
    correlates with the truth by r at reliability q would reach r / sqrt(q) with endless repeats.

    This limit assumes that the errors of two repeats of an image are independent. An error that the
    repeats share counts as signal, and the limit comes out too low. The scores with fewer repeats
    cannot show that: they depend on the same variances between and within images as the limit.

    Parameters
    ----------
    truth : numpy.ndarray, (n_images, C)
    predictions : numpy.ndarray, (n_images, n_repeats, C)
        By a *linear* mapper, of single trials of images that it was not trained on.

    Returns
    -------
    dict of numpy.ndarray
        ``n_repeats`` (R + 1,), the last infinite; ``explained`` (R + 1,), the share of the
        embedding's variance as measured, and for the last the limit; ``top1`` and ``mrr`` (R + 1,),
        brain_to_image as measured, NaN for the last.
    """
    ceiling = repeat_ceiling(truth, predictions)
    n, most, _ = predictions.shape
    found = []
    for k in range(1, most + 1):
        points = []
        for subset in islice(combinations(range(most), k), MAX_SUBSETS):
            mean = predictions[:, subset].mean(1)
            explained = explained_variance(truth, correlations(truth, mean), n_images=n)
            scores = retrieval_scores(truth, mean)["brain_to_image"]
            points.append((explained, scores["top1"].mean(), scores["reciprocal_rank"].mean()))
        found.append(np.mean(points, 0))
    # The limit is made of r of the mean of all repeats, whose chance level is taken off there.
    limit = explained_variance(truth, np.nan_to_num(ceiling["ceiling"]))
    limit *= found[-1][0] / explained_variance(truth, ceiling["r"])
    columns = zip(*found, (limit, np.nan, np.nan), strict=True)
    curve = {k: np.array(v) for k, v in zip(("explained", "top1", "mrr"), columns, strict=True)}
    return {"n_repeats": np.append(np.arange(1.0, most + 1), np.inf), **curve}


def _stacked(points: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scores of all points of a curve: score to (n_points, n_images)."""
    return {score: np.stack([p[score] for p in points]) for score in points[0]}


def curve_over_sessions(
    fit: Fit,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    session: np.ndarray,
    pattern: np.ndarray,
    truth: np.ndarray,
    *,
    progress: bool = False,
) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
    """Learning curve: train on the first sessions only, test always on the same patterns.

    Parameters
    ----------
    fit : callable
        ``fit(betas, embeddings, groups) -> mapper``.
    betas, embeddings, groups
        Training trials, as for :func:`fmri_utils.encoders.fit_ridge`.
    session : numpy.ndarray of int, (n_trials,)
    pattern, truth : numpy.ndarray, (n, n_voxels) and (n, C)
        Test images, repeats averaged, and their embeddings.
    progress : bool

    Returns
    -------
    dict
        ``n_sessions`` (1, 2, ...), ``n_trials``, ``n_images`` (k,) of the training set, and
        ``scores``: score to (k, n), image by image, as of
        :func:`fmri_utils.encoders.controls.scores_per_image`.
    """
    present = np.unique(session)
    sizes = np.arange(1, len(present) + 1)
    kept = [np.isin(session, present[:k]) for k in sizes]
    points = []
    for rows in tqdm(kept, desc="sessions", disable=not progress, leave=False):
        mapper = fit(betas[rows], embeddings[rows], groups[rows])
        points.append(scores_per_image(truth, mapper.predict(pattern)))
    return {
        "n_sessions": sizes,
        "n_trials": np.array([rows.sum() for rows in kept]),
        "n_images": np.array([len(np.unique(groups[rows])) for rows in kept]),
        "scores": _stacked(points),
    }


def curve_over_voxels(
    fit: Fit,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    pattern: np.ndarray,
    truth: np.ndarray,
    *,
    n_voxels: Sequence[int],
    rng: np.random.Generator,
    n_draws: int = 3,
    progress: bool = False,
) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
    """Scores with a part of the voxels, drawn at random.

    Parameters
    ----------
    fit, betas, embeddings, groups, pattern, truth
        As for :func:`curve_over_sessions`.
    n_voxels : sequence of int
        Sizes.
    rng : numpy.random.Generator
        Draws the voxels.
    n_draws : int
        Random draws that each point is averaged over, image by image.
    progress : bool

    Returns
    -------
    dict
        ``n_voxels`` (k,) and ``scores``: score to (k, n), image by image.

    Raises
    ------
    DataError
        If more voxels are asked for than there are.
    """
    sizes, total = np.asarray(n_voxels), betas.shape[1]
    if sizes.min() < 1 or sizes.max() > total:
        raise DataError(f"n_voxels is {sizes.tolist()}; there are {total}. Expected: 1 to {total}.")
    draws = [rng.permutation(total) for _ in range(n_draws)]
    points = []
    for size in tqdm(sizes, desc="voxels", disable=not progress, leave=False):
        found = []
        for draw in draws if size < total else draws[:1]:
            part = draw[:size]
            mapper = fit(betas[:, part], embeddings, groups)
            found.append(scores_per_image(truth, mapper.predict(pattern[:, part])))
        points.append({score: np.mean([f[score] for f in found], 0) for score in found[0]})
    return {"n_voxels": sizes, "scores": _stacked(points)}
