"""All controls in one table: every method, every score, with chance."""

from collections.abc import Mapping

import numpy as np

from ... import metrics

SCORES = (
    *("two-way", "brain_to_image top-1", "brain_to_image MRR", "image_to_brain top-1"),
    *("image_to_brain MRR", "brain_to_image top-1, CSLS"),
)
BY_CLUSTER = ("two-way within clusters", "two-way across clusters")


def scores_per_image(
    truth: np.ndarray, prediction: np.ndarray, clusters: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The scores of :data:`SCORES`, image by image.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, (n, C)
    clusters : numpy.ndarray of int, (n,), optional
        Adds the scores of :data:`BY_CLUSTER`, NaN where an image has no rival of that kind. A
        decoder of categories is at chance within.

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
    if clusters is not None:
        by_kind = metrics.clustered_two_way_scores(truth, prediction, clusters)
        out |= dict(zip(BY_CLUSTER, by_kind.values(), strict=True))
    return out


def chance_levels(n: int) -> dict[str, float]:
    """Chance of each score of :data:`SCORES` among n images."""
    level = metrics.chance(n)
    kinds = {"two-way": "two_way", "MRR": "reciprocal_rank", "top-1": "top1", "top-1, CSLS": "top1"}
    return {name: level[kinds[name.split(" ", 1)[-1]]] for name in SCORES}


def validity_table(scores: Mapping[str, Mapping[str, np.ndarray]], **boot) -> list[dict]:
    """All controls in one table, one row for each method and score.

    Parameters
    ----------
    scores : mapping of str to mapping
        Mappers and controls, each as :func:`scores_per_image` gives it. NaN is left out.
    **boot
        ``rng``, and ``n_resamples`` of images, of :func:`fmri_utils.metrics.bootstrap`.

    Returns
    -------
    list of dict
        ``method``, ``score``, ``value``, ``low``, ``high`` (95 % interval over images), ``chance``,
        ``n_images``.
    """
    rows = []
    for method, found in scores.items():
        for score, values in found.items():
            kept = values[np.isfinite(values)]
            interval = metrics.bootstrap(kept, **boot)
            level = {**chance_levels(len(values)), **dict.fromkeys(BY_CLUSTER, 0.5)}[score]
            row = {"method": method, "score": score, **vars(interval)}
            rows.append({**row, "chance": level, "n_images": len(kept)})
    return rows
