"""All controls in one table: every method, every score, with chance and ceiling."""

from collections.abc import Mapping

import numpy as np

from ... import metrics

SCORES = (
    *("two-way", "brain_to_image top-1", "brain_to_image MRR", "image_to_brain top-1"),
    *("image_to_brain MRR", "brain_to_image top-1, CSLS"),
)


def scores_per_image(truth: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of :data:`SCORES`, image by image.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, (n, C)

    Returns
    -------
    dict of numpy.ndarray, (n,)
        Average over images for a score; over seeds first, then use
        :func:`fmri_utils.metrics.paired_difference` to compare two mappers.
    """
    out = {"two-way": metrics.two_way_scores(truth, prediction)}
    for direction, values in metrics.retrieval_scores(truth, prediction).items():
        out[f"{direction} top-1"] = values["top1"]
        out[f"{direction} MRR"] = values["reciprocal_rank"]
    neighbours = min(metrics.identification.CSLS_NEIGHBOURS, len(truth))
    csls = metrics.retrieval_scores(truth, prediction, csls_neighbours=neighbours)
    out["brain_to_image top-1, CSLS"] = csls["brain_to_image"]["top1"]
    return out


def chance_levels(n: int) -> dict[str, float]:
    """Chance of each score of :data:`SCORES` among n images."""
    level = metrics.chance(n)
    kinds = {"two-way": "two_way", "MRR": "reciprocal_rank", "top-1": "top1", "top-1, CSLS": "top1"}
    return {name: level[kinds[name.split(" ", 1)[-1]]] for name in SCORES}


def validity_table(
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    clusters: np.ndarray | None = None,
    n_resamples: int = 1000,
) -> list[dict]:
    """All controls in one table, one row for each method and score.

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)
    predictions : mapping of str to numpy.ndarray, (n, C)
        Mappers and controls.
    rng : numpy.random.Generator
        Of the bootstrap over images.
    clusters : numpy.ndarray of int, (n,), optional
        Cluster of each test image (:func:`~fmri_utils.encoders.controls.leave_clusters_out`): adds
        two-way identification within and across clusters. A decoder of categories is at chance
        within.
    n_resamples : int

    Returns
    -------
    list of dict
        ``method``, ``score``, ``value``, ``low``, ``high`` (95 % interval over images; None for the
        effective rank), ``chance`` (None where there is none), ``ceiling`` (the same score of the
        true embeddings), ``n_images``.
    """
    oracle = _table_scores(truth, truth, clusters)
    chance = {**chance_levels(len(truth)), "two-way within clusters": 0.5}
    chance["two-way across clusters"] = 0.5
    rows = []
    for method, prediction in predictions.items():
        for score, values in _table_scores(truth, prediction, clusters).items():
            interval = metrics.bootstrap(values, rng=rng, n_resamples=n_resamples)
            row = {"method": method, "score": score, **vars(interval), "chance": chance[score]}
            rows.append({**row, "ceiling": float(oracle[score].mean()), "n_images": len(values)})
        row = {"method": method, "score": "effective rank"}
        row |= {"value": metrics.effective_rank(prediction), "low": None, "high": None}
        row |= {"chance": None, "ceiling": metrics.effective_rank(truth), "n_images": len(truth)}
        rows.append(row)
    return rows


def _table_scores(
    truth: np.ndarray, prediction: np.ndarray, clusters: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Scores per image, those within and across clusters without images that have no rival."""
    found = scores_per_image(truth, prediction)
    if clusters is not None:
        by_kind = metrics.clustered_two_way_scores(truth, prediction, clusters)
        for kind, values in by_kind.items():
            found[f"two-way {kind} clusters"] = values[np.isfinite(values)]
    return found
