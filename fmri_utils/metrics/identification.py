"""Which is which: two-way identification and retrieval.

Two-way scores saturate (the published ones lie above 0.9), so they never stand alone; retrieval
among hundreds of candidates still tells good mappings apart.
"""

from dataclasses import dataclass

import numpy as np

from ..project.errors import DataError
from .arrays import correlation_matrix, paired, unit

CSLS_NEIGHBOURS = 10  # of the control in tables
DIRECTIONS = ("brain_to_image", "image_to_brain")
# A matrix product gives identical rows results that differ in the last bit, by position. Without a
# margin a mapping that predicts one vector for everything would not score at chance.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Places:
    """Where right answers come among their candidates; those that tie share the places they cover.

    Every score is its expectation over random orders of the candidates that tie. A prediction that
    says nothing, a constant or an all-zero one, scores exactly at chance, and two identical test
    images share a place.

    Attributes
    ----------
    above, equal : numpy.ndarray of int, (..., n)
        Rivals before the right answer, and rivals that tie with it.
    rivals : numpy.ndarray of int, (..., n)
        All rivals: the candidates without the right answer.
    """

    above: np.ndarray
    equal: np.ndarray
    rivals: np.ndarray

    @property
    def rank(self) -> np.ndarray:
        """Expected place, 1 is best; a median rank is the median of these."""
        return 1 + self.above + self.equal / 2

    @property
    def reciprocal_rank(self) -> np.ndarray:
        """Mean of 1 / place over the places covered; its mean over all answers is the MRR."""
        harmonic = np.append(0, np.cumsum(1 / np.arange(1, self.rivals.max(initial=0) + 2)))
        covered = harmonic[self.above + self.equal + 1] - harmonic[self.above]
        return covered / (self.equal + 1)

    @property
    def two_way(self) -> np.ndarray:
        """Share of rivals that come after the right answer, ties half; NaN without a rival."""
        after = self.rivals - self.above - self.equal / 2
        alone = np.full(after.shape, np.nan)
        return np.divide(after, self.rivals, out=alone, where=self.rivals > 0)

    def top(self, k: int) -> np.ndarray:
        """Share of the covered places that are among the first k."""
        return np.clip((k - self.above) / (self.equal + 1), 0, 1)


def find_places(table: np.ndarray, among: np.ndarray | None = None) -> Places:
    """Where the diagonal of a table of similarities comes in its rows.

    Similarities tie if they differ by no more than :data:`ROUNDING`, 1e-12: what is left when equal
    numbers of the size of a correlation are computed in float64, and far less than what tells
    different ones apart. All that lies outside this margin is above or below.

    Parameters
    ----------
    table : numpy.ndarray, float64 (..., n, n)
        Entry [i, j] is the similarity of question i with candidate j; its right answer is i.
    among : numpy.ndarray of bool, (n, n), optional
        Which candidates are rivals; all others by default.

    Returns
    -------
    Places
        Of the right answers, (..., n).
    """
    more = table - np.diagonal(table, axis1=-2, axis2=-1)[..., None]
    rivals = ~np.eye(table.shape[-1], dtype=bool)
    if among is not None:
        rivals &= among
    above = ((more > ROUNDING) & rivals).sum(-1)
    equal = ((np.abs(more) <= ROUNDING) & rivals).sum(-1)
    return Places(above, equal, np.broadcast_to(rivals.sum(-1), above.shape))


def two_way_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Per-sample two-way identification, exhaustive, by one matrix product.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, ...)
        Features or embeddings; trailing axes are flattened.

    Returns
    -------
    numpy.ndarray, (n,)
        Score of reconstruction j: the share of other truths i that correlate less with it than its
        own truth does; those that correlate equally count half. Chance is 0.5.
    """
    return find_places(correlation_matrix(*paired(truth, reconstruction)).T).two_way


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
    same = clusters[:, None] == clusters[None, :]
    kinds = {"within": same, "across": ~same}
    return {name: find_places(r.T, among).two_way for name, among in kinds.items()}


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
    cosine = unit(reconstruction) @ unit(truth).T  # (brain, image)
    if not csls_neighbours:
        return cosine
    if not 0 < csls_neighbours <= len(cosine):
        raise DataError(
            f"CSLS with {csls_neighbours} neighbours among {len(cosine)}. Expected: not more."
        )
    brain = np.sort(cosine, axis=1)[:, -csls_neighbours:].mean(1)  # (n,)
    image = np.sort(cosine, axis=0)[-csls_neighbours:].mean(0)  # (n,)
    return 2 * cosine - brain[:, None] - image[None, :]


def places_in(similarity: np.ndarray) -> dict[str, Places]:
    """Places in both directions from a matrix (n brain patterns, n images)."""
    return dict(zip(DIRECTIONS, map(find_places, (similarity, similarity.T)), strict=True))


def chance(n: int) -> dict[str, float]:
    """Expected scores among n candidates of a prediction that says nothing.

    Returns
    -------
    dict of str to float
        ``two_way``; ``top1``, ``top5``, ``reciprocal_rank`` (the MRR) and ``rank`` as of
        :func:`retrieval_scores`.
    """
    mrr = float((1 / np.arange(1, n + 1)).mean())
    top5, rank = min(5 / n, 1.0), (n + 1) / 2
    return {"two_way": 0.5, "top1": 1 / n, "top5": top5, "reciprocal_rank": mrr, "rank": rank}


def retrieval_scores(
    truth: np.ndarray, reconstruction: np.ndarray, *, csls_neighbours: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Per-image retrieval scores among all candidates, for intervals and paired differences.

    Returns
    -------
    dict
        For each direction ``top1`` and ``top5`` (0 or 1, or between them in a tie),
        ``reciprocal_rank`` and ``rank`` (1 is best), (n,) each, as :class:`Places` defines them.
        The mean of ``reciprocal_rank`` is the MRR.
    """
    similarity = similarity_matrix(truth, reconstruction, csls_neighbours=csls_neighbours)
    return {
        name: {
            "top1": places.top(1),
            "top5": places.top(5),
            "reciprocal_rank": places.reciprocal_rank,
            "rank": places.rank,
        }
        for name, places in places_in(similarity).items()
    }


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
    truth, reconstruction
        As for :func:`similarity_matrix`.
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
    similarity = similarity_matrix(truth, reconstruction)
    n, size = len(similarity), min(n_candidates, len(similarity))
    draws = [rng.choice(n, size, replace=False) for _ in range(n_draws)]
    drawn = [places_in(similarity[np.ix_(rows, rows)]) for rows in draws]
    out = {}
    for name, places in places_in(similarity).items():
        top1 = np.array([d[name].top(1).mean() for d in drawn])
        low, high = np.percentile(top1, [2.5, 97.5])
        out[name] = {
            "top1": float(places.top(1).mean()),
            "top5": float(places.top(5).mean()),
            "median_rank": float(np.median(places.rank)),
            "mrr": float(places.reciprocal_rank.mean()),
            "top1_drawn": float(top1.mean()),
            "top1_drawn_low": float(low),
            "top1_drawn_high": float(high),
            "n_candidates": size,
            "chance_drawn": 1 / size,
            "chance": 1 / n,
        }
    return out
