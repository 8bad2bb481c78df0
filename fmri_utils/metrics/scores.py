"""All scores of some sets of pictures, or of predicted embeddings, image by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..project.errors import DataError, WeightsError
from .arrays import first_of_equals
from .feature_networks import NETWORKS, FeatureNetwork
from .features import FeatureScorer, mean_of_wrong_pairs, scores_and_chance
from .identification import CSLS_NEIGHBOURS, chance, retrieval, retrieval_scores, two_way_scores
from .judge import HEADS, Judge
from .pixels import PIXEL_SCORES, pixel_scores
from .statistics import Interval

JUDGE_ROWS = ("judge two-way", *(f"judge {head}" for head in HEADS))
CHANCE_PAIRS = 50  # of PixCorr and SSIM


@dataclass(frozen=True)
class Score:
    """One row of the results table for one set: scores, or the reason why there are none.

    Attributes
    ----------
    better : str
        "higher" or "lower".
    per_image : numpy.ndarray (n_images,) or None
        None if the score is not available, or is not made of one number per image.
    chance : float or None
        Expected if reconstructions had nothing to do with their images.
    statistic : str
        "mean" or "median" over images.
    interval : Interval or None
        A ready-made interval that is not over images (retrieval draws).
    reason : str
        Why it is not available; empty if it is.
    """

    better: str
    per_image: np.ndarray | None = None
    chance: float | None = None
    statistic: str = "mean"
    interval: Interval | None = None
    reason: str = ""


Scores = dict[str, dict[str, Score]]  # set to row to score


def picture_scores(
    truth: np.ndarray,
    pictures: Mapping[str, np.ndarray],
    *,
    judge: Judge | None = None,
    networks: Sequence[FeatureNetwork] = tuple(NETWORKS.values()),
    pixels: Sequence[str] = tuple(PIXEL_SCORES),
    chance_pairs: int = CHANCE_PAIRS,
    device: str | torch.device = "cpu",
) -> Scores:
    """Every score of several sets of reconstructions of the same images.

    Parameters
    ----------
    truth : numpy.ndarray, (n, H, W, 3)
        What was seen; float RGB in [0, 1], or uint8.
    pictures : mapping of str to numpy.ndarray, (n, H', W', 3)
        Sets of reconstructions in the order of ``truth``: what needs no brain (the mean training
        image, a random embedding), the methods, the recovery ceiling.
    judge : Judge, optional
        The independent judge of simulated scenes.
    networks : sequence of FeatureNetwork
    pixels : sequence of str
        Which scores of pixels; SSIM takes longest of all.
    chance_pairs : int
        Wrong pairs that the chance of these is measured on. With 0 it is left out, where only
        differences are wanted.
    device : str or torch.device
        Of the networks; "auto" for a GPU where there is one.

    Returns
    -------
    dict
        Set to row ("PixCorr", "SSIM", "Alex(2)", ..., "judge kind") to :class:`Score`. A network
        whose weights are not on the machine has its rows, with the reason; a missing judge too.

        Chance is 0.5 for two-way scores. For the others it is the mean score of reconstructions
        that are paired with the truth of another image.
    """
    if not pictures:
        raise DataError("no set of pictures was given. Expected: at least one.")
    out: Scores = {
        name: _pixel_scores(truth, images, pixels, chance_pairs)
        for name, images in pictures.items()
    }
    parts = [_network_scores(network, truth, pictures, device) for network in networks]
    for part in [*parts, _judge_scores(judge, truth, pictures)]:
        for name, rows in part.items():
            out[name] |= rows
    return out


def _pixel_scores(
    truth: np.ndarray, images: np.ndarray, names: Sequence[str], chance_pairs: int
) -> dict[str, Score]:
    found, n = pixel_scores(truth, images, names), len(truth)
    if not chance_pairs:
        return {name: Score("higher", found[name]) for name in found}
    rows = np.unique(np.linspace(0, n - 1, min(n, chance_pairs)).astype(int))
    others = (rows + n // 2) % n
    unpaired = pixel_scores(np.asarray(truth)[others], np.asarray(images)[rows], names)
    return {name: Score("higher", found[name], float(unpaired[name].mean())) for name in found}


def _network_scores(
    network: FeatureNetwork,
    truth: np.ndarray,
    pictures: Mapping[str, np.ndarray],
    device: str | torch.device,
) -> Scores:
    better = "higher" if network.kind == "two-way" else "lower"
    try:
        scorer = FeatureScorer(network, device=device)
    except WeightsError:
        file = network.weights()
        reason = file.problem() or f"{file.name} does not hold the weights of {network.name}"
        rows = {row: Score(better, reason=reason) for row in network.rows}
        return {name: dict(rows) for name in pictures}
    prepared = scorer.prepared(truth)
    return {
        name: {
            row: Score(better, *scores_and_chance(r, network.kind))
            for row, r in scorer.correlations(truth, images, prepared).items()
        }
        for name, images in pictures.items()
    }


def _judge_scores(
    judge: Judge | None, truth: np.ndarray, pictures: Mapping[str, np.ndarray]
) -> Scores:
    if judge is None:
        reason = "there is no judge for these pictures; it knows simulated scenes only"
        rows = {row: Score("higher", reason=reason) for row in JUDGE_ROWS}
        return {name: dict(rows) for name in pictures}
    saw = judge.look(truth)
    features = saw["features"][first_of_equals(truth)]
    out: Scores = {}
    for name, images in pictures.items():
        sees = judge.look(images)
        two_way = two_way_scores(features, sees["features"])
        out[name] = {JUDGE_ROWS[0]: Score("higher", two_way, 0.5)}
        for head in HEADS:
            same = (saw[head][:, None] == sees[head][None, :]).astype(float)  # (truth, picture)
            level = mean_of_wrong_pairs(same)
            out[name][f"judge {head}"] = Score("higher", np.diag(same).copy(), level)
    return out


def embedding_scores(
    truth: np.ndarray, predictions: Mapping[str, np.ndarray], *, rng: np.random.Generator
) -> Scores:
    """Every score of several mappings from the brain to embeddings.

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)
        Embeddings of the images.
    predictions : mapping of str to numpy.ndarray, (n, C)
        Mapping to predicted embeddings; the controls and the oracle (``truth`` itself) too.
    rng : numpy.random.Generator
        Draws candidates; the same ones for every mapping.

    Returns
    -------
    dict
        Mapping to row to :class:`Score`. The number of candidates is part of a row's name. If
        there are more images than the candidates that :func:`~fmri_utils.metrics.retrieval` draws,
        there is a row with candidates drawn, whose interval is over draws, beside the one with all
        of them, whose interval is over images.
    """
    if not predictions:
        raise DataError("no prediction was given. Expected: at least one.")
    seed = int(rng.integers(2**63))
    out: Scores = {}
    for name, prediction in predictions.items():
        rows = {"two-way identification": Score("higher", two_way_scores(truth, prediction), 0.5)}
        drawn = retrieval(truth, prediction, rng=np.random.default_rng(seed))
        for direction, values in retrieval_scores(truth, prediction).items():
            rows |= _direction_rows(direction, values, drawn[direction])
        csls = retrieval_scores(truth, prediction, csls_neighbours=CSLS_NEIGHBOURS)
        n = len(truth)
        for direction, values in csls.items():
            rows[f"{direction} top-1 of {n}, CSLS"] = Score("higher", values["top1"], 1 / n)
        out[name] = rows
    return out


def _direction_rows(
    direction: str, values: Mapping[str, np.ndarray], drawn: Mapping[str, float]
) -> dict[str, Score]:
    n, size = len(values["rank"]), drawn["n_candidates"]
    rows, level = {}, chance(n)
    if size < n:
        names = ("top1_drawn", "top1_drawn_low", "top1_drawn_high")
        interval = Interval(*(drawn[k] for k in names))
        rows[f"{direction} top-1 of {size}"] = Score("higher", None, 1 / size, interval=interval)
    for name, score in (("top-1", "top1"), ("top-5", "top5"), ("MRR", "reciprocal_rank")):
        rows[f"{direction} {name} of {n}"] = Score("higher", values[score], level[score])
    median = Score("lower", values["rank"], level["rank"], statistic="median")
    return rows | {f"{direction} median rank of {n}": median}


def per_image_arrays(scores: Mapping[str, Mapping[str, Score]]) -> dict[str, np.ndarray]:
    """Per-image scores under names "set/row", for ``fmri_utils.project.artifacts.save_arrays``."""
    return {
        f"{name}/{row}": score.per_image
        for name, rows in scores.items()
        for row, score in rows.items()
        if score.per_image is not None
    }
