"""How stable a map of effects is: over halves of test or training images, and over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from ..project.checks import check_finite
from ..project.errors import DataError

N_SPLITS = 20


class Agreement(NamedTuple):
    """Rank correlations between maps.

    Attributes
    ----------
    mean, low, high : float
        Mean, smallest and largest over pairs.
    full : float
        What maps of the full size would reach by Spearman and Brown's formula; for seeds, the mean
        itself.
    """

    mean: float
    low: float
    high: float
    full: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f}; in full {self.full:.3f})"


def split_half(values: np.ndarray, *, rng: np.random.Generator) -> Agreement:
    """Rank correlation over voxels between the means of two random halves of the images.

    All images are seen by one decoder: what is chance in the decoder counts as agreement.

    Parameters
    ----------
    values : numpy.ndarray, (n_images, n_voxels)
        An effect per image and voxel.
    rng : numpy.random.Generator
        Of :data:`N_SPLITS` divisions.
    """
    n = len(values)
    if n < 2:
        raise DataError(f"{n} image. Expected: two or more to split.")
    check_finite(values, "values", ("image", "voxel"))
    orders = (rng.permutation(n) for _ in range(N_SPLITS))
    return between_halves(
        [(values[o[: n // 2]].mean(0), values[o[n // 2 :]].mean(0)) for o in orders]
    )


def between_halves(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Agreement:
    """Rank correlation over voxels of two maps (n_voxels,) from two halves, for each halving.

    Parameters
    ----------
    pairs : sequence of (numpy.ndarray, numpy.ndarray)
        Such as the maps of decoders of disjoint halves of the training images
        (:func:`fmri_utils.perturbation.half_decoders`).
    """
    found = [stats.spearmanr(*pair).statistic for pair in pairs]
    mean = float(np.mean(found))
    return Agreement(mean, float(min(found)), float(max(found)), 2 * mean / (1 + mean))


def between_maps(maps: np.ndarray) -> Agreement:
    """Rank correlations over voxels between all pairs of maps (n_maps, n_voxels)."""
    if len(maps) < 2:
        raise DataError(f"{len(maps)} map. Expected: two or more, one per training seed.")
    check_finite(maps, "maps", ("map", "voxel"))
    ranks = stats.rankdata(maps, axis=1)
    found = np.corrcoef(ranks)[np.triu_indices(len(maps), 1)]
    mean = float(found.mean())
    return Agreement(mean, float(found.min()), float(found.max()), mean)
