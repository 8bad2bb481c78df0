"""Scores of embeddings and of pictures, each with its chance level.

All functions take (truth, reconstruction) in this order. Definitions follow the reconstruction
literature since Ozcelik & VanRullen (2023) and Scotti et al. (2023), in their exact published form
(resizing, sample sets, directions), so that a number here can be put beside a number there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms.v2 import functional as vision

from .errors import DataError

DIRECTIONS = ("brain_to_image", "image_to_brain")


def _paired(truth: np.ndarray, reconstruction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays of one shape, or a clear error."""
    truth, reconstruction = np.asarray(truth, float), np.asarray(reconstruction, float)
    if truth.shape != reconstruction.shape or len(truth) < 2:
        raise DataError(
            f"truth has shape {truth.shape}, reconstruction {reconstruction.shape}. Expected: the "
            "same shape, with at least two samples along the first axis."
        )
    for name, array in (("truth", truth), ("reconstruction", reconstruction)):
        if not np.isfinite(array).all():
            raise DataError(f"{name} holds NaN or infinite values. Expected: finite numbers.")
    return truth, reconstruction


def correlation_matrix(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Pearson r between every truth and every reconstruction.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, ...)
        Trailing axes are flattened.

    Returns
    -------
    numpy.ndarray, (n, n)
        Entry [i, j] is r(truth i, reconstruction j); 0 where one of them is constant.
    """
    rows = []
    for array in (truth, reconstruction):
        flat = array.reshape(len(array), -1)
        flat = flat - flat.mean(1, keepdims=True)
        norm = np.linalg.norm(flat, axis=1, keepdims=True)
        rows.append(np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 0))
    return rows[0] @ rows[1].T


def two_way_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Per-sample two-way identification.

    The score of sample j is the share of other truths i that correlate strictly less with
    reconstruction j than its own truth does.

    Returns
    -------
    numpy.ndarray, (n,)
        Chance is 0.5.
    """
    r = correlation_matrix(*_paired(truth, reconstruction))  # (truth, reconstruction)
    own = np.diag(r)
    return (r < own[None, :]).sum(0) / (len(r) - 1)


def two_way_identification(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`two_way_scores`: exhaustive two-way identification, chance 0.5."""
    return float(two_way_scores(truth, reconstruction).mean())


def retrieval_ranks(truth: np.ndarray, reconstruction: np.ndarray) -> dict[str, np.ndarray]:
    """Rank of the right answer among all candidates, 0 for the best, in both directions.

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)
        Embeddings of the images.
    reconstruction : numpy.ndarray, (n, C)
        Embeddings predicted from the brain.

    Returns
    -------
    dict of numpy.ndarray, (n,)
        ``brain_to_image`` ranks all images for a brain pattern, ``image_to_brain`` all brain
        patterns for an image; by cosine. Ties count half.
    """
    truth, reconstruction = _paired(truth, reconstruction)
    unit = [
        a / np.linalg.norm(a, axis=1, keepdims=True).clip(1e-12) for a in (truth, reconstruction)
    ]
    similarity = unit[1] @ unit[0].T  # (brain, image)
    ranks = {}
    for name, table in zip(DIRECTIONS, (similarity, similarity.T), strict=True):
        own = np.diag(table)[:, None]
        ranks[name] = (table > own).sum(1) + ((table == own).sum(1) - 1) / 2
    return ranks


def retrieval(
    truth: np.ndarray,
    reconstruction: np.ndarray,
    *,
    n_candidates: int = 300,
    n_draws: int = 30,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Retrieval scores in both directions.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, C)
        As for :func:`retrieval_ranks`.
    n_candidates, n_draws : int
        ``top1_drawn`` is the top-1 share among ``min(n_candidates, n)`` candidates drawn without
        replacement, averaged over draws; its 95 % interval is over draws.

    Returns
    -------
    dict
        For each direction: ``top1``, ``top5``, ``median_rank`` (1 is best), ``mrr`` over the whole
        set, ``top1_drawn``, ``top1_drawn_low``, ``top1_drawn_high``, ``n_candidates``, ``chance``.
    """
    truth, reconstruction = _paired(truth, reconstruction)
    size = min(n_candidates, len(truth))
    draws = [rng.choice(len(truth), size, replace=False) for _ in range(n_draws)]
    drawn = [retrieval_ranks(truth[rows], reconstruction[rows]) for rows in draws]
    out = {}
    for name, ranks in retrieval_ranks(truth, reconstruction).items():
        top1 = np.array([(d[name] < 0.5).mean() for d in drawn])
        low, high = np.percentile(top1, [2.5, 97.5])
        out[name] = {
            "top1": float((ranks < 0.5).mean()),
            "top5": float((ranks < 4.5).mean()),
            "median_rank": float(np.median(ranks) + 1),
            "mrr": float((1 / (ranks + 1)).mean()),
            "top1_drawn": float(top1.mean()),
            "top1_drawn_low": float(low),
            "top1_drawn_high": float(high),
            "n_candidates": size,
            "chance": 1 / len(truth),
        }
    return out


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images (n, H, W, 3) in [0, 1] resized to 256, then ``size``: bilinear, no antialiasing."""
    tensor = (
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float().clamp(0, 1)
    )
    for side in (256, size):
        if tensor.shape[-2:] != (side, side):
            tensor = vision.resize(tensor, [side, side], antialias=False)
    return tensor.permute(0, 2, 3, 1).numpy()


def _picture_pairs(truth: np.ndarray, reconstruction: np.ndarray, size: int):
    truth, reconstruction = _paired(truth, reconstruction)
    if truth.ndim != 4 or truth.shape[3] != 3 or max(truth.max(), reconstruction.max()) > 1.5:
        raise DataError(
            f"pictures have shape {truth.shape} and maximum {truth.max():.3g}. Expected: "
            "(n, height, width, 3), RGB in [0, 1]."
        )
    for start in range(0, len(truth), 50):  # bounded memory
        part = slice(start, start + 50)
        yield from zip(
            _resized(truth[part], size), _resized(reconstruction[part], size), strict=True
        )


def pixcorr_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Pearson r between the pixels of each pair at 425 x 425; (n,); 0 for a constant picture."""
    scores = []
    for a, b in _picture_pairs(truth, reconstruction, 425):
        constant = min(np.ptp(a), np.ptp(b)) < 1e-6  # resizing leaves rounding in a flat one
        scores.append(0.0 if constant else np.corrcoef(a.ravel(), b.ravel())[0, 1])
    return np.array(scores)


def pixcorr(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`pixcorr_scores`."""
    return float(pixcorr_scores(truth, reconstruction).mean())


def ssim_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair as grey pictures at 425 x 425; (n,).

    Gaussian weights with sigma 1.5 and population covariance, as in Wang et al. (2004).
    """
    return np.array(
        [
            structural_similarity(
                rgb2gray(a),
                rgb2gray(b),
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for a, b in _picture_pairs(truth, reconstruction, 425)
        ]
    )


def ssim(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`ssim_scores`."""
    return float(ssim_scores(truth, reconstruction).mean())


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    """
    scores = np.asarray(scores, float)
    if np.ptp(scores) == 0:  # scipy warns and gives NaN for a constant sample
        return Interval(float(scores[0]), float(scores[0]), float(scores[0]))
    result = stats.bootstrap(
        (scores,),
        statistic,
        n_resamples=n_resamples,
        method="percentile",
        rng=rng,
    )
    interval = result.confidence_interval
    return Interval(float(statistic(scores)), float(interval.low), float(interval.high))
