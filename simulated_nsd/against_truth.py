"""Against planted truth, which only a simulated subject has."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from fmri_utils.metrics import Interval
from fmri_utils.metrics.statistics import percentile_interval
from fmri_utils.nsd.area_masks import not_available
from fmri_utils.project.checks import check_finite
from fmri_utils.project.errors import DataError

N_PERMUTATIONS = 2000


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
    out = {}
    for name, score in scores.items():
        check_finite(score, name, ("voxel",))
        tuned, empty = np.asarray(score, float)[~null], np.asarray(score, float)[null]
        drawn = []
        for _ in range(n_resamples):
            a = tuned[rng.integers(tuned.size, size=tuned.size)]
            b = empty[rng.integers(empty.size, size=empty.size)]
            drawn.append(_area(a, b))
        out[name] = percentile_interval(_area(tuned, empty), drawn)
    return out


def _area(tuned: np.ndarray, empty: np.ndarray) -> float:
    above = stats.mannwhitneyu(tuned, empty, method="asymptotic").statistic
    return above / (tuned.size * empty.size)


class Alignment(NamedTuple):
    """Rank correlations between planted and measured columns, with a permutation p value.

    Attributes
    ----------
    mean : float
        Spearman's correlation over voxels of a planted column and the measured one of its name,
        mean over columns.
    p : float
        Share of permutations of the voxels with a mean at least as large, one-sided. Neighbouring
        voxels are alike in both, so that it is too small rather than too large.
    n : int
        Voxels. With fewer than three the other numbers are NaN.
    """

    mean: float
    p: float
    n: int

    def __str__(self) -> str:
        if self.n < 3:
            return f"not available for this region ({self.n} voxels; it takes three)"
        return f"{self.mean:.3f} (p = {self.p:.3g}, {self.n} voxels)"


def alignment(planted: np.ndarray, measured: np.ndarray, *, rng: np.random.Generator) -> Alignment:
    """Do measured columns follow the planted ones of the same name over voxels?

    Parameters
    ----------
    planted, measured : numpy.ndarray, (n_voxels, n_columns)
        Such as receptive field centres (x, y) and effect centroids, or planted selectivity and
        shifts along the matching concepts.

    Returns
    -------
    Alignment
        Over the voxels where all values are finite.
    """
    planted, measured = np.asarray(planted, float), np.asarray(measured, float)
    if planted.shape != measured.shape or planted.ndim != 2:
        raise DataError(
            f"{planted.shape} and {measured.shape} came. Expected: the same (n_voxels, n_columns)."
        )
    kept = np.isfinite(planted).all(1) & np.isfinite(measured).all(1)
    n = int(kept.sum())
    if n < 3:
        return Alignment(np.nan, np.nan, n)
    a, b = (stats.rankdata(values[kept], axis=0) for values in (planted, measured))
    # A constant column, of an SD of 0, correlates with nothing.
    a, b = ((x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), np.inf) for x in (a, b))
    mean = float((a * b).mean())
    null = [(a * b[rng.permutation(n)]).mean() for _ in range(N_PERMUTATIONS)]
    p = (1 + np.sum(np.array(null) >= mean - 1e-12)) / (N_PERMUTATIONS + 1)
    return Alignment(mean, float(p), n)
