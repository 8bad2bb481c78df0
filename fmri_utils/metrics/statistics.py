"""Intervals of scores and of paired differences between two methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..project.checks import check_finite
from ..project.errors import DataError


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float = 0.0) -> bool:
        """Whether the interval lies wholly above or wholly below a value."""
        return not self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        """Of a difference: the smallest that could have been seen.

        A true difference of this size is told from 0 in about half of such samples, a smaller one
        in fewer. 0 says nothing of the kind: the sample does not vary.
        """
        return (self.high - self.low) / 2

    def signed(self) -> str:
        """As a difference: with its sign, and :attr:`half_width` behind ±."""
        if self.low == self.high:
            return f"{self.value:+.3f}, the same for every image"
        ends = f"[{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.value:+.3f} {ends} ± {self.half_width:.3f}"


def _finite(scores: np.ndarray, name: str = "scores") -> np.ndarray:
    """Scores (n_images,) as float64, at least one and all finite."""
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not len(scores):
        raise DataError(f"{name} have shape {scores.shape}. Expected: (n_images,), one or more.")
    remedy = "Leave out images without a score first, the same ones for all methods."
    check_finite(scores, name, ("image",), remedy=remedy)
    return scores


def bootstrap(
    scores: np.ndarray,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    statistic: Callable = np.mean,
) -> Interval:
    """Percentile 95 % interval of a statistic of per-image scores, resampling images.

    Parameters
    ----------
    scores : numpy.ndarray, (n_images,)
    statistic : callable
        Takes ``axis``.

    Raises
    ------
    DataError
        If there is no score, or one is NaN.
    """
    scores = _finite(scores)
    if np.ptp(scores) == 0:  # scipy warns and gives NaN for a constant sample
        return Interval(float(scores[0]), float(scores[0]), float(scores[0]))
    result = stats.bootstrap(
        (scores,), statistic, n_resamples=n_resamples, method="percentile", rng=rng
    )
    interval = result.confidence_interval
    return Interval(float(statistic(scores)), float(interval.low), float(interval.high))


def excluding_zero(differences: Mapping[str, Mapping[str, Interval]]) -> str:
    """Which of many intervals leave out 0, and how many would if nothing differed.

    Parameters
    ----------
    differences : mapping of str to mapping of str to Interval
        All that are looked at side by side, without a correction for their number: what was done,
        and score, to the difference.
    """
    rows = [(f"{n}, {row}", i) for n, rows in differences.items() for row, i in rows.items()]
    found = [f"{name} {interval.signed()}" for name, interval in rows if interval.excludes(0)]
    text = f"{len(found)} of {len(rows)} intervals leave out 0"
    text += f", about {0.05 * len(rows):.1f} would if nothing differed"
    return "\n  ".join([text, *found])


def percentile_interval(value: float, drawn: Sequence[float]) -> Interval:
    """A value with the middle 95 % of what was drawn."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def paired_difference(
    first: np.ndarray | Sequence[np.ndarray],
    second: np.ndarray | Sequence[np.ndarray],
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    shared_images: bool = False,
) -> Interval:
    """Mean of ``first - second`` with its 95 % bootstrap interval.

    The difference is taken image by image before anything is resampled, so what makes an image
    hard for both methods cancels. With several subjects the bootstrap is hierarchical: subjects
    are drawn first, then images within each drawn subject, and subjects count alike. With few
    subjects this interval is too narrow rather than too wide.

    Parameters
    ----------
    first, second : numpy.ndarray (n_images,), or a sequence of them, one per subject
        Per-image scores of two methods in the same order; average over seeds before.
    shared_images : bool
        All subjects saw the same images in the same order: an image that is drawn is then drawn
        for all drawn subjects, so that what the image does to all of them is resampled too.

    Returns
    -------
    Interval
        One method is called better only if ``excludes(0)``.

    Raises
    ------
    DataError
        On NaN, or if the two do not match image by image.
    """
    one_subject = len(first) > 0 and np.ndim(first[0]) == 0
    if one_subject:
        first, second = [first], [second]
    if not len(first) or len(first) != len(second):
        raise DataError(
            f"{len(first)} subjects against {len(second)}. Expected: scores of the same subjects."
        )
    differences = []
    for a, b in zip(first, second, strict=True):
        a, b = _finite(a, "first scores"), _finite(b, "second scores")
        if len(a) != len(b):
            raise DataError(
                f"{len(a)} scores against {len(b)}. Expected: scores of the same images."
            )
        differences.append(a - b)
    if one_subject:
        return bootstrap(differences[0], rng=rng, n_resamples=n_resamples)
    return _hierarchical(differences, rng, n_resamples, shared_images)


def _hierarchical(
    scores: list[np.ndarray], rng: np.random.Generator, n_resamples: int, shared: bool
) -> Interval:
    """Interval of the mean over subjects of the mean over images."""
    n_subjects, sizes = len(scores), [len(s) for s in scores]
    if shared and len(set(sizes)) > 1:
        raise DataError(
            f"subjects have {sizes} images. Expected: as many for each, as the images are shared."
        )
    means = np.empty(n_resamples)
    for k in range(n_resamples):
        drawn = rng.integers(n_subjects, size=n_subjects)
        if shared:
            rows = [rng.integers(sizes[0], size=sizes[0])] * n_subjects
        else:
            rows = [rng.integers(sizes[s], size=sizes[s]) for s in drawn]
        means[k] = np.mean([scores[s][r].mean() for s, r in zip(drawn, rows, strict=True)])
    return percentile_interval(np.mean([s.mean() for s in scores]), means)
