"""Is it reading the brain? Measures of predictions that need no training."""

from collections.abc import Mapping

import numpy as np

from ..project.checks import check_finite
from ..project.errors import DataError
from .arrays import paired
from .identification import chance, retrieval_scores, two_way_scores
from .statistics import bootstrap

VALUES = ("value", "low", "high")  # of an interval


def effective_rank(embeddings: np.ndarray) -> float:
    """How many dimensions a set of embeddings uses (Roy & Vetterli 2007).

    The exponential of the entropy of the singular values, scaled to sum 1, after the mean over
    samples was taken off.

    Parameters
    ----------
    embeddings : numpy.ndarray, (n, C)

    Returns
    -------
    float
        Between 1 and min(n - 1, C); 0 if all rows are the same.

    Raises
    ------
    DataError
        On another shape or NaN.
    """
    embeddings = np.asarray(embeddings, float)
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise DataError(
            f"embeddings have shape {embeddings.shape}. Expected: (n, C), with n of at least 2."
        )
    check_finite(embeddings, "embeddings", ("row", "dimension"))
    centred = embeddings - embeddings.mean(0)
    if np.abs(centred).max() <= 1e-12 * np.abs(embeddings).max():
        return 0.0
    # Eigenvalues of the smaller Gram matrix: a fifth of the time of a singular value decomposition.
    gram = centred.T @ centred if len(centred) > centred.shape[1] else centred @ centred.T
    values = np.linalg.eigvalsh(gram)
    singular = np.sqrt(values[values > values[-1] * 1e-13])  # below are rounding errors
    share = singular / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def bottleneck_curve(
    truth: np.ndarray, predictions: Mapping[int, np.ndarray], **boot
) -> dict[str, dict[str, np.ndarray]]:
    """Scores against the number of dimensions that brain information passes through.

    A score that is reached with very few dimensions asks little of the brain (BrainBits, Mayo et
    al. 2024, arXiv 2411.02783).

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)
    predictions : mapping of int to numpy.ndarray, (n, C)
        Dimensions of the bottleneck (1, 2, 5, 10, ...) to embeddings predicted through it.
    **boot
        ``rng``, and ``n_resamples`` of images, of :func:`fmri_utils.metrics.bootstrap`.

    Returns
    -------
    dict
        ``n_dims`` (k,), ascending; and for each of ``two_way``, ``brain_to_image_top1``,
        ``brain_to_image_mrr``: a dict of ``value``, ``low``, ``high`` (k,), the 95 % interval over
        images, and ``chance``.
    """
    if not predictions:
        raise DataError("no bottleneck was given. Expected: at least one prediction.")
    order, level = sorted(predictions), chance(len(truth))
    names = {"two_way": "two_way", "brain_to_image_top1": "top1"}
    names["brain_to_image_mrr"] = "reciprocal_rank"
    intervals: dict[str, list[dict]] = {name: [] for name in names}
    for k in order:
        scores = retrieval_scores(truth, predictions[k])["brain_to_image"]
        scores["two_way"] = two_way_scores(truth, predictions[k])
        for name, score in names.items():
            intervals[name].append(vars(bootstrap(scores[score], **boot)))
    curve = {"n_dims": np.array(order)}
    for name, score in names.items():
        curve[name] = {key: np.array([i[key] for i in intervals[name]]) for key in VALUES}
        curve[name]["chance"] = np.array(level[score])
    return curve


def correlations(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Pearson r over images of each dimension, (C,); 0 where one side does not vary."""
    a, b = truth - truth.mean(0), prediction - prediction.mean(0)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), norm, out=np.zeros_like(norm), where=norm > 0)


def repeat_ceiling(truth: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """How well a linear map could predict each dimension if the repeats were without noise.

    From the variance between and within images, reliability = 1 - MS_within / MS_between is the
    share of the variance of repeat-averaged predictions that belongs to the image. Noise lowers
    their correlation r with the truth to sqrt(reliability) of what the same map would reach with
    endless repeats (correction for attenuation, Spearman 1904). This holds if the errors of repeats
    are independent: an error that they share counts as signal, and the ceiling comes out too low.

    Parameters
    ----------
    truth : numpy.ndarray, (n_images, C)
    predictions : numpy.ndarray, (n_images, n_repeats, C)
        One prediction per single trial, the same number of repeats for each image, none of them
        trained on. The map must be linear: the mean of predictions stands for the prediction of
        the mean.

    Returns
    -------
    dict of numpy.ndarray, (C,)
        ``r`` with the mean of the repeats; ``reliability`` of that mean; ``ceiling``, r corrected
        for noise, at most 1, NaN where no image variance was found.

    Raises
    ------
    DataError
        If the shapes do not fit or there are fewer than two repeats.
    """
    truth, predictions = np.asarray(truth, float), np.asarray(predictions, float)
    if predictions.ndim != 3 or predictions.shape[1] < 2:
        raise DataError(
            f"predictions have shape {predictions.shape}. Expected: at least two repeats of each."
        )
    mean = predictions.mean(1)
    truth, mean = paired(truth, mean)
    n, k, _ = predictions.shape
    within = ((predictions - mean[:, None]) ** 2).sum((0, 1)) / (n * (k - 1))
    between = k * mean.var(0, ddof=1)
    ratio = np.divide(within, between, out=np.ones_like(within), where=between > 0)
    reliability = np.clip(1 - ratio, 0, 1)
    r = correlations(truth, mean)
    root = np.sqrt(reliability)
    ceiling = np.divide(r, root, out=np.full_like(r, np.nan), where=root > 0)
    return {"r": r, "reliability": reliability, "ceiling": np.minimum(ceiling, 1)}
