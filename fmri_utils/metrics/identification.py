"""Which is which: two-way identification and retrieval.

Two-way scores saturate (the published ones lie above 0.9), so they never stand alone; retrieval
among hundreds of candidates still tells good mappings apart.
"""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from .arrays import correlation_matrix, paired

DIRECTIONS = ("brain_to_image", "image_to_brain")
# A matrix product gives identical rows results that differ in the last bit, by position. Without a
# margin a mapping that predicts one vector for everything would not score at chance.
ROUNDING = 1e-12


def two_way_from_correlations(correlations: np.ndarray) -> np.ndarray:
    """Per-sample two-way identification from all correlations.

    Parameters
    ----------
    correlations : numpy.ndarray, (n, n)
        Entry [i, j] is r(truth i, reconstruction j).

    Returns
    -------
    numpy.ndarray, (n,)
        Share of the other truths i that correlate strictly less with reconstruction j than its
        own truth does.
    """
    own = np.diag(correlations)
    return (correlations < own[None, :] - ROUNDING).sum(0) / (len(own) - 1)


def two_way_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Per-sample two-way identification, exhaustive, by one matrix product.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, ...)
        Features or embeddings; trailing axes are flattened.

    Returns
    -------
    numpy.ndarray, (n,)
        Score of reconstruction j: the share of other truths i that correlate strictly less with
        it than its own truth does. Chance is 0.5.
    """
    return two_way_from_correlations(correlation_matrix(*paired(truth, reconstruction)))


def two_way_identification(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`two_way_scores`: exhaustive two-way identification, chance 0.5."""
    return float(two_way_scores(truth, reconstruction).mean())


def clustered_two_way_scores(
    truth: np.ndarray, reconstruction: np.ndarray, clusters: np.ndarray
) -> dict[str, np.ndarray]:
    """Two-way identification against rivals of the same cluster, and of other clusters.

    Decoders that only learn categories identify across clusters and fail within them (Shirakawa et
    al. 2024, arXiv 2405.10078).

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, ...)
    clusters : numpy.ndarray, (n,)
        Cluster of each image, k-means of CLIP features for example.

    Returns
    -------
    dict of numpy.ndarray, (n,)
        ``within`` and ``across``; NaN for a sample without rivals of that kind. Chance is 0.5.
    """
    r = correlation_matrix(*paired(truth, reconstruction))
    clusters = np.asarray(clusters)
    if clusters.shape != (len(r),):
        raise DataError(
            f"clusters have shape {clusters.shape}. Expected: ({len(r)},), one for each image."
        )
    below = r < np.diag(r)[None, :] - ROUNDING
    same = clusters[:, None] == clusters[None, :]
    scores = {}
    for name, rivals in (("within", same & ~np.eye(len(r), dtype=bool)), ("across", ~same)):
        count = rivals.sum(0)
        hits = (below & rivals).sum(0).astype(float)
        scores[name] = np.divide(hits, count, out=np.full(len(r), np.nan), where=count > 0)
    return scores


def similarity_matrix(
    truth: np.ndarray, reconstruction: np.ndarray, *, csls_neighbours: int = 0
) -> np.ndarray:
    """Cosine, or CSLS, between every brain pattern (rows) and every image (columns).

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)
        Embeddings of the images.
    reconstruction : numpy.ndarray, (n, C)
        Embeddings predicted from the brain.
    csls_neighbours : int
        0 for the cosine. k > 0 for cross-domain similarity local scaling (CSLS, Conneau et al.
        2018, arXiv 1710.04087, eq. 2): 2 cos(x, y) minus the mean cosine of x with its k nearest
        images and of y with its k nearest brain patterns, so that an image close to everything
        (a hub) wins less often. It looks at all test patterns at once, so it is a control, not a
        decoder of single patterns.

    Returns
    -------
    numpy.ndarray, (n, n)
    """
    truth, reconstruction = paired(truth, reconstruction)
    unit = [
        a / np.linalg.norm(a, axis=1, keepdims=True).clip(1e-12) for a in (truth, reconstruction)
    ]
    cosine = unit[1] @ unit[0].T  # (brain, image)
    if not csls_neighbours:
        return cosine
    if not 0 < csls_neighbours <= len(cosine):
        raise DataError(
            f"CSLS with {csls_neighbours} neighbours among {len(cosine)} samples. Expected: 1 to "
            f"{len(cosine)}; 10 is usual."
        )
    brain = np.sort(cosine, axis=1)[:, -csls_neighbours:].mean(1)  # (n,)
    image = np.sort(cosine, axis=0)[-csls_neighbours:].mean(0)  # (n,)
    return 2 * cosine - brain[:, None] - image[None, :]


def ranks_from_similarity(similarity: np.ndarray) -> dict[str, np.ndarray]:
    """Ranks in both directions from a matrix (n brain patterns, n images)."""
    ranks = {}
    for name, table in zip(DIRECTIONS, (similarity, similarity.T), strict=True):
        own = np.diag(table)[:, None]
        above = (table > own + ROUNDING).sum(1)
        equal = (np.abs(table - own) <= ROUNDING).sum(1) - 1  # the right answer is not its rival
        ranks[name] = above + equal / 2
    return ranks


def retrieval_ranks(
    truth: np.ndarray, reconstruction: np.ndarray, *, csls_neighbours: int = 0
) -> dict[str, np.ndarray]:
    """Rank of the right answer among all candidates, 0 for the best, in both directions.

    Parameters
    ----------
    truth, reconstruction, csls_neighbours
        As for :func:`similarity_matrix`.

    Returns
    -------
    dict of numpy.ndarray, (n,)
        ``brain_to_image`` ranks all images for a brain pattern, ``image_to_brain`` all brain
        patterns for an image. Ties count half.
    """
    return ranks_from_similarity(
        similarity_matrix(truth, reconstruction, csls_neighbours=csls_neighbours)
    )


def retrieval_scores(
    truth: np.ndarray, reconstruction: np.ndarray, *, csls_neighbours: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Per-image retrieval scores among all candidates, for intervals and paired differences.

    Returns
    -------
    dict
        For each direction ``top1`` and ``top5`` (0 or 1), ``reciprocal_rank`` and ``rank`` (1 is
        best), (n,) each. The mean of ``reciprocal_rank`` is the MRR.
    """
    ranks = retrieval_ranks(truth, reconstruction, csls_neighbours=csls_neighbours)
    return {
        name: {
            "top1": (rank < 0.5).astype(float),
            "top5": (rank < 4.5).astype(float),
            "reciprocal_rank": 1 / (rank + 1),
            "rank": rank + 1,
        }
        for name, rank in ranks.items()
    }


def retrieval(
    truth: np.ndarray,
    reconstruction: np.ndarray,
    *,
    n_candidates: int = 300,
    n_draws: int = 30,
    csls_neighbours: int = 0,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Retrieval scores in both directions.

    Parameters
    ----------
    truth, reconstruction, csls_neighbours
        As for :func:`similarity_matrix`. CSLS is computed once, over all samples.
    n_candidates, n_draws : int
        ``top1_drawn`` is the top-1 share among ``min(n_candidates, n)`` candidates drawn without
        replacement, averaged over draws; its 95 % interval is over draws and has no width when
        all candidates are drawn. For intervals over images see :func:`retrieval_scores`.

    Returns
    -------
    dict
        For each direction: ``top1``, ``top5``, ``median_rank`` (1 is best), ``mrr`` over the whole
        set, ``top1_drawn``, ``top1_drawn_low``, ``top1_drawn_high``, ``n_candidates``,
        ``chance_drawn`` (1 / n_candidates) and ``chance`` (1 / n).
    """
    similarity = similarity_matrix(truth, reconstruction, csls_neighbours=csls_neighbours)
    n, size = len(similarity), min(n_candidates, len(similarity))
    draws = [rng.choice(n, size, replace=False) for _ in range(n_draws)]
    drawn = [ranks_from_similarity(similarity[np.ix_(rows, rows)]) for rows in draws]
    out = {}
    for name, ranks in ranks_from_similarity(similarity).items():
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
            "chance_drawn": 1 / size,
            "chance": 1 / n,
        }
    return out
