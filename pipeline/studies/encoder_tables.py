"""From the encoders' cells to tables: means over seeds, intervals over images and subjects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from fmri_utils.encoders.controls import SCORES, chance_levels
from fmri_utils.metrics import Interval, paired_difference

from .encoder_cells import LINEAR

NAMES = (*SCORES, "two-way within clusters", "two-way across clusters")
COMPARED = ("brain_to_image top-1", "brain_to_image MRR", "two-way")
WHICH = ["mapper", "target", "readout", "score"]  # one row of a table
RIDGE, CONTRASTIVE, MLP = ((name, "image", "image") for name in ("ridge", "contrastive", "mlp"))
BOTH = "both targets, read together - image"
# Pairs (mapper, target, readout) that are compared image by image.
PAIRS = {
    "contrastive - ridge": (CONTRASTIVE, RIDGE),
    "mlp - contrastive": (MLP, CONTRASTIVE),
    "mlp - ridge": (MLP, RIDGE),
    "mind_reader - ridge": (("mind_reader", "image", "image"), RIDGE),
    "ridge, re-standardised - raw": (("ridge", "image", "image, re-standardised"), RIDGE),
    f"contrastive: {BOTH}": (("contrastive", "both", "both"), CONTRASTIVE),
    "mlp: trained on both - on image": (("mlp", "both", "image"), MLP),
    f"mlp: {BOTH}": (("mlp", "both", "both"), MLP),
}
CURVES = {"sessions": "n_sessions", "voxels": "n_voxels"}
CURVES |= dict.fromkeys(("bottleneck", "bottleneck_ceiling"), "n_dims")

Scores = Sequence[np.ndarray]  # of each subject, image by image
Difference = Callable[[Scores, Scores], Interval]
BySubject = Mapping[tuple[str, ...], Scores]


def _by_subject(rows: pd.DataFrame) -> BySubject:
    """Scores of each subject's images, averaged over seeds, by :data:`WHICH`."""
    found = {}
    for (*key, _), seeds in rows.groupby([*WHICH, "subject"], sort=False)["values"]:
        found.setdefault(tuple(key), []).append(np.mean(list(seeds), 0))
    return found


def _interval(scores: Scores, difference: Difference) -> dict[str, float]:
    """Mean over subjects of the mean over images, with its hierarchical bootstrap interval."""
    return vars(difference(scores, [np.zeros_like(one) for one in scores]))


def score_rows(rows: pd.DataFrame, difference: Difference) -> list[dict]:
    """One row for each mapper, target, readout and score of one kind of cell."""
    means = rows.assign(mean=rows["values"].map(np.mean)).groupby([*WHICH, "subject"])["mean"]
    seed_sd = means.std().groupby(WHICH).mean()
    table = []
    for key, scores in _by_subject(rows).items():
        row = dict(zip(WHICH, key, strict=True)) | _interval(scores, difference)
        chance = [chance_levels(len(one)).get(row["score"], 0.5) for one in scores]
        row["chance"] = float(np.mean(chance))  # two-way within or across clusters: 0.5
        row["subjects"] = [float(one.mean()) for one in scores]
        row["seed_sd"] = float(seed_sd[key]) if np.isfinite(seed_sd[key]) else None
        table.append(row)
    return table


def difference_rows(rows: pd.DataFrame, difference: Difference) -> list[dict]:
    """Paired differences between mappers, over images and subjects; :data:`PAIRS`."""
    scores, n_subjects = _by_subject(rows), rows["subject"].nunique()
    table = []
    for name, pair in PAIRS.items():
        for score in COMPARED:
            sides = [scores.get((*key, score), ()) for key in pair]
            if min(map(len, sides)) < n_subjects:
                continue
            found = difference(*sides)
            each = [float((a - b).mean()) for a, b in zip(*sides, strict=True)]
            row = {"difference": name, "score": score, **vars(found), "subjects": each}
            table.append({**row, "excludes_zero": found.excludes(0)})
    return table


def curve_rows(rows: pd.DataFrame, size: str, difference: Difference) -> list[dict]:
    """Curves of the linear mappers: sizes that all subjects have, scores with their intervals."""
    scores, n_subjects = _by_subject(rows), rows["subject"].nunique()
    table = []
    for mapper, score in itertools.product(LINEAR, COMPARED):
        points = {
            int(readout): _interval(found, difference)
            for (name, _, readout, of), found in scores.items()
            if (name, of) == (mapper, score) and len(found) == n_subjects
        }
        columns = {key: [p[key] for p in points.values()] for key in ("value", "low", "high")}
        table.append({"mapper": mapper, "score": score, size: list(points), **columns})
    return table


def _by_number(rows: pd.DataFrame) -> dict[str, dict]:
    """Each subject's values, as JSON keeps them: None for what is not finite."""
    found = {str(number): {} for number in rows["subject"].unique()}
    for number, name, values in rows[["subject", "score", "values"]].itertuples(index=False):
        found[str(number)][name] = np.where(np.isfinite(values), values, None).tolist()
    return found


def summarise(
    cells: pd.DataFrame, *, rng: np.random.Generator, n_resamples: int, shared_images: bool
) -> dict:
    """All tables of the study, as JSON keeps them.

    Parameters
    ----------
    cells : pandas.DataFrame
        A row for each score of each cell: ``subject``, ``kind``, ``mapper``, ``target``, ``seed``,
        ``readout``, ``score`` and ``values``, an array with an entry for each image.
    rng : numpy.random.Generator
        Of the bootstrap.
    n_resamples : int
    shared_images : bool
        Whether all subjects were tested on the same images.

    Returns
    -------
    dict
        ``mappers``, ``shuffled``, ``clusters``, ``prototype``, ``noiseless``: lists of rows with
        ``mapper``, ``target``, ``readout``, ``score``, ``value``, ``low``, ``high``, ``chance``,
        ``subjects``, ``seed_sd``; ``differences``; ``sessions``, ``voxels``, ``bottleneck`` and
        ``bottleneck_ceiling``: curves; ``ceilings``; ``effective_rank``.
    """

    def difference(first: Scores, second: Scores) -> Interval:
        same = shared_images and len({len(scores) for scores in first}) == 1
        boot = {"rng": rng, "n_resamples": n_resamples, "shared_images": same}
        return paired_difference(first, second, **boot)

    subjects = cells["subject"].unique().tolist()
    scores = cells[cells["score"].isin(NAMES)]
    scores = scores.assign(values=scores["values"].map(lambda v: v[np.isfinite(v)]))
    found = {"n_subjects": len(subjects), "subjects": subjects}
    of_kind = dict(list(scores.groupby("kind")))
    found["mappers"] = score_rows(of_kind["mapper"], difference)
    found["differences"] = difference_rows(of_kind["mapper"], difference)
    for kind in ("shuffled", "clusters", "prototype", "noiseless"):
        found[kind] = score_rows(of_kind.get(kind, scores[:0]), difference)
    for kind, size in CURVES.items():
        found[kind] = curve_rows(of_kind[kind], size, difference)
    repeats, half_split = (cells[cells["kind"] == kind] for kind in ("repeats", "half_split"))
    found["ceilings"] = {
        "repeats": {name: _by_number(repeats[repeats["mapper"] == name]) for name in LINEAR},
        "half_split": _by_number(half_split),
    }
    ranks = cells.query("kind == 'mapper' and target == 'image' and score == 'effective rank'")
    found["effective_rank"] = {
        f"{mapper}: {readout}": float(np.mean(list(values)))
        for (mapper, readout), values in ranks.groupby(["mapper", "readout"], sort=False)["values"]
    }
    return found
