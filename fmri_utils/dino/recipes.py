"""From a profile's numbers to settings and pictures, and from runs to the rows of a table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from ..metrics import Interval, bootstrap, chance, paired_difference
from ..project.sections import DinoConfig
from . import probes
from .on_pictures import ImageSettings, LabelledPictures
from .student_teacher import DinoSettings

TRAIN, TEST = (1, 2), (2, 1)  # stream and seed: no subject and no other network sees these scenes
VARIANTS = {
    "both": {},
    "no centring": {"centring": False},
    "no sharpening": {"teacher_temperature": 0.1},  # the student's
}
MINE = "student-teacher"
CHANCE = {"two-way": "two_way", "MRR": "reciprocal_rank"}  # names of these scores in metrics
SCENE_SIZE = 64  # pixels


def live_settings(numbers: DinoConfig) -> ImageSettings:
    """Of the short training of a notebook."""
    return ImageSettings(
        DinoSettings(n_steps=numbers.image_steps, batch_size=numbers.image_batch, momentum=0.97)
    )


def collapse_settings(complete: DinoSettings) -> dict[str, DinoSettings]:
    """Of three trainings: complete, without centring, and without sharpening."""
    return {name: dataclasses.replace(complete, **change) for name, change in VARIANTS.items()}


def voxel_settings(numbers: DinoConfig, n_steps: int = 0) -> DinoSettings:
    """Of the training on brain patterns."""
    return DinoSettings(n_steps=n_steps or numbers.voxel_steps, batch_size=numbers.voxel_batch)


def pictures_for(
    numbers: DinoConfig,
    images: np.ndarray,
    captions: np.ndarray,
    is_test: np.ndarray,
    *,
    draw: Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]],
    seed: int,
) -> LabelledPictures:
    """Pictures to learn from and held-out ones, with labels for scoring only.

    Parameters
    ----------
    numbers : DinoConfig
        With ``n_scenes`` above 0 scenes are drawn, labelled with the kind of their main thing.
        With 0 the stimuli are taken, labelled with clusters of their captions.
    images : numpy.ndarray, (n_images, H, W, 3) uint8
        Stimuli.
    captions : numpy.ndarray, (n_images, C)
        Embeddings of their captions.
    is_test : numpy.ndarray of bool, (n_images,)
    draw : callable
        (stream, seed, n, size) to scenes (n, size, size, 3) and their labels (n,), such as
        :func:`simulated_nsd.on_demand.draw_labelled`; not called where ``n_scenes`` is 0.
    """
    if numbers.n_scenes > 0:
        train = draw(*TRAIN, numbers.n_scenes, SCENE_SIZE)
        return LabelledPictures(*train, *draw(*TEST, numbers.n_asked, SCENE_SIZE))
    labels = probes.cluster_labels(captions, numbers.n_clusters, seed=seed)
    test = np.flatnonzero(is_test)[: numbers.n_asked]
    return LabelledPictures(images[~is_test], labels[~is_test], images[test], labels[test])


def summarise(runs: Sequence[Mapping], **boot) -> dict[str, list[dict]]:
    """Rows of the comparison on brain patterns, averaged over seeds.

    Parameters
    ----------
    runs : sequence of mapping
        From :func:`fmri_utils.dino.compare`, one of each seed; intervals are over test images.
    **boot
        ``rng``, and ``n_resamples`` of images, of :func:`fmri_utils.metrics.bootstrap`.

    Returns
    -------
    dict
        ``scores``: rows with ``method``, ``score``, ``share`` (percent), ``value``, ``low``,
        ``high``, ``seed_sd`` (lists over shares), ``chance`` and ``ceiling``. ``differences``: the
        same of "student-teacher" minus each other method, with ``excludes_zero``.
    """
    scores, differences = [], []
    methods, shares = list(runs[0]), list(next(iter(runs[0].values())))
    for score in next(iter(runs[0][methods[0]].values())):
        mean = {
            (m, s): np.mean([run[m][s][score] for run in runs], 0) for m in methods for s in shares
        }
        level = chance(len(mean[methods[0], shares[0]]))[CHANCE[score]]
        for method in methods:
            found = [bootstrap(mean[method, s], **boot) for s in shares]
            seeds = [[run[method][s][score].mean() for run in runs] for s in shares]
            spread = [float(np.std(v, ddof=1)) if len(v) > 1 else None for v in seeds]
            ends = {"chance": level, "ceiling": 1.0, "seed_sd": spread}
            scores.append({"method": method, "score": score, **_columns(shares, found), **ends})
            if method == MINE:
                continue
            gains = [paired_difference(mean[MINE, s], mean[method, s], **boot) for s in shares]
            row = {"difference": f"{MINE} - {method}", "score": score, **_columns(shares, gains)}
            differences.append({**row, "excludes_zero": [g.excludes(0) for g in gains]})
    return {"scores": scores, "differences": differences}


def difference_table(rows: Sequence[Mapping], score: str) -> pd.DataFrame:
    """The differences of :func:`summarise` in one score, as intervals.

    Parameters
    ----------
    rows : sequence of mapping
        ``differences``, as made or as read back from JSON.
    score : str
        "two-way" or "MRR".

    Returns
    -------
    pandas.DataFrame of Interval
        A row for each share of known embeddings, a column for each difference.
    """
    chosen = [row for row in rows if row["score"] == score]
    columns = {
        row["difference"]: map(Interval, row["value"], row["low"], row["high"]) for row in chosen
    }
    return pd.DataFrame(columns, index=[f"{share:.0f} %" for share in chosen[0]["share"]])


def _columns(shares: Sequence[float], found: Sequence) -> dict[str, list]:
    columns = {key: [float(getattr(f, key)) for f in found] for key in ("value", "low", "high")}
    return {"share": [100 * s for s in shares], **columns}
