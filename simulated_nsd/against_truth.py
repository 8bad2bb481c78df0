"""Against planted truth, which only a simulated subject has."""

from collections.abc import Mapping

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans

from fmri_utils.metrics import Interval
from fmri_utils.metrics.statistics import percentile_interval
from fmri_utils.nsd.area_masks import not_available
from fmri_utils.perturbation.nulls import Significance
from fmri_utils.project.checks import check_finite
from fmri_utils.project.errors import DataError

N_PATCHES, N_RESAMPLES = 30, 2000  # of the bootstrap over patches of neighbouring voxels


def auroc(
    null: np.ndarray | None,
    scores: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    n_resamples: int = 500,
) -> dict[str, Interval]:
    """How well each statistic tells tuned voxels from voxels that carry nothing.

    Parameters
    ----------
    null : numpy.ndarray of bool, (n_voxels,), or None
        True where nothing was planted; None where nobody knows.
    scores : mapping of str to numpy.ndarray, (n_voxels,)
        Larger should mean tuned.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to Interval
        Area under the ROC curve, .5 for guessing, with a 95 % percentile interval over voxels,
        resampled within tuned and null ones. Neighbours share noise, so the interval is narrower
        than it should be. Empty where nobody knows, or, which is printed, where all voxels are of
        one kind.
    """
    if null is None:
        return {}
    null = np.asarray(null, bool)
    if null.all() or not null.any():
        not_available("AUROC", f"{null.sum()} of {null.size} voxels carry nothing")
        return {}
    sizes = int((~null).sum()), int(null.sum())
    # How often each voxel is drawn; in row 0, for the value itself, every voxel once.
    times = [rng.multinomial(n, np.full(n, 1 / n), size=n_resamples) for n in sizes]
    times = [np.concatenate([np.ones((1, drawn.shape[1]), int), drawn]) for drawn in times]
    out = {}
    for name, score in scores.items():
        check_finite(score, name, ("voxel",))
        score = np.asarray(score, float)
        areas = _areas(score[~null], score[null], *times)
        out[name] = percentile_interval(areas[0], areas[1:])
    return out


def _areas(
    tuned: np.ndarray, empty: np.ndarray, tuned_times: np.ndarray, empty_times: np.ndarray
) -> np.ndarray:
    """Share of pairs in which the tuned voxel has more, ties half, for every resample, (n,)."""
    order = np.argsort(tuned)
    before = np.cumsum(tuned_times[:, order], axis=1)
    before = np.pad(before, ((0, 0), (1, 0)))  # before[:, k]: drawn among the k smallest
    below, upto = (np.searchsorted(tuned[order], empty, side) for side in ("left", "right"))
    above = tuned.size - (before[:, below] + before[:, upto]) / 2  # (n, n_empty)
    return (above * empty_times).sum(1) / (tuned.size * empty.size)


def false_positives(
    null: np.ndarray, tested: Significance, level: float = 0.05
) -> dict[str, float]:
    """How often a test is wrong about the voxels in which nothing was planted.

    Returns
    -------
    dict of str to float
        Share of them with p, and with family-wise p, at most the level; and their share among all
        voxels with q at most the level (0 if there is none).
    """
    found = tested.q <= level
    return {
        "p": float((tested.p[null] <= level).mean()),
        "family-wise p": float((tested.p_corrected[null] <= level).mean()),
        "of those with q": float((found & null).sum() / max(1, found.sum())),
    }


def alignment(
    planted: np.ndarray, measured: np.ndarray, places: np.ndarray, *, rng: np.random.Generator
) -> list[Interval]:
    """Do measured columns follow the planted ones of the same name over voxels?

    Neighbouring voxels are alike in both, so single voxels are no independent evidence. The voxels
    are divided into patches of neighbours (k-means of their places), and patches are resampled. The
    interval holds for maps that are smooth over less than a patch.

    Parameters
    ----------
    planted, measured : numpy.ndarray, (n_voxels, n_columns)
        Such as receptive field centres (x, y) and effect centroids, or planted selectivity and
        shifts along the matching concepts.
    places : numpy.ndarray, (n_voxels, 3)
        Where the voxels are in the brain.

    Returns
    -------
    list of Interval
        Spearman's correlation of each column over the voxels where all values are finite, with its
        95 % bootstrap interval over patches. Empty, which is printed, with fewer voxels than
        patches.
    """
    planted, measured = np.asarray(planted, float), np.asarray(measured, float)
    if planted.shape != measured.shape or planted.ndim != 2:
        raise DataError(
            f"{planted.shape} and {measured.shape} came. Expected: the same (n_voxels, n_columns)."
        )
    kept = np.isfinite(planted).all(1) & np.isfinite(measured).all(1)
    if kept.sum() < N_PATCHES:
        not_available(
            "correlation with planted values", f"{kept.sum()} voxels; it takes {N_PATCHES}"
        )
        return []
    patch = KMeans(N_PATCHES, random_state=0).fit_predict(np.asarray(places)[kept])
    x, y = (stats.rankdata(values[kept], axis=0) for values in (planted, measured))
    x, y = x - x.mean(0), y - y.mean(0)
    member = patch == np.arange(N_PATCHES)[:, None]
    moments = member @ np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])  # (6, patch, column)
    drawn = rng.multinomial(N_PATCHES, np.full(N_PATCHES, 1 / N_PATCHES), size=N_RESAMPLES)
    counts = np.concatenate([np.ones((1, N_PATCHES)), drawn])  # first all voxels, as they are
    n, x, y, xx, yy, xy = counts @ moments
    size = (n * xx - x**2) * (n * yy - y**2)
    # A constant column correlates with nothing.
    r = (n * xy - x * y) / np.sqrt(np.where(size > 0, size, np.inf))
    return [percentile_interval(column[0], column[1:]) for column in r.T]
