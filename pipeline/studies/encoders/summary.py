"""From the study's cells to its tables: means over seeds, intervals over images and subjects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from fmri_utils.encoders.controls import SCORES, chance_levels
from fmri_utils.metrics import Interval, paired_difference

from .cells import LINEAR, Cell

NAMES = (*SCORES, "two-way within clusters", "two-way across clusters")
COMPARED = ("brain_to_image top-1", "brain_to_image MRR", "two-way")
RIDGE, CONTRASTIVE, MLP = ((name, "image", "image") for name in ("ridge", "contrastive", "mlp"))
# Pairs (mapper, target, readout) that are compared image by image.
PAIRS = {
    "contrastive - ridge": (CONTRASTIVE, RIDGE),
    "mlp - contrastive": (MLP, CONTRASTIVE),
    "mlp - ridge": (MLP, RIDGE),
    "mind_reader - ridge": (("mind_reader", "image", "image"), RIDGE),
    "ridge, re-standardised - raw": (("ridge", "image", "image, re-standardised"), RIDGE),
    "contrastive: both targets, read together - image": (
        ("contrastive", "both", "both"),
        CONTRASTIVE,
    ),
    "mlp: trained on both - on image": (("mlp", "both", "image"), MLP),
    "mlp: both targets, read together - image": (("mlp", "both", "both"), MLP),
}

Results = Mapping[Cell, dict]


def _array(values: Sequence) -> np.ndarray:
    """Per-image scores; images without one (None in JSON) left out."""
    return np.array([v for v in values if v is not None], float)


class Tables:
    """Makes every table of the summary.

    Parameters
    ----------
    results : mapping of Cell to dict
        From :func:`pipeline.studies.encoders.cells.run_cell`.
    rng : numpy.random.Generator
        Of the bootstrap.
    n_resamples : int
    shared_images : bool
        Whether all subjects were tested on the same images.
    """

    def __init__(
        self,
        results: Results,
        *,
        rng: np.random.Generator,
        n_resamples: int,
        shared_images: bool = False,
    ):
        self.results, self.shared = results, shared_images
        self.bootstrap = {"rng": rng, "n_resamples": n_resamples}
        self.subjects = sorted({cell.subject for cell in results})
        self._by_fit = defaultdict(list)
        for cell, result in results.items():
            self._by_fit[cell.kind, cell.subject, cell.mapper, cell.target].append(result)

    def _difference(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Interval:
        """Mean over subjects of the mean over images, with its hierarchical bootstrap interval."""
        same_images = self.shared and len({len(scores) for scores in first}) == 1
        return paired_difference(first, second, **self.bootstrap, shared_images=same_images)

    def _interval(self, per_subject: Sequence[np.ndarray]) -> dict[str, float]:
        """The same for the scores of one mapper."""
        zeros = [np.zeros_like(scores) for scores in per_subject]
        return dict(vars(self._difference(per_subject, zeros)))

    def _cells(self, subject: int, kind: str, mapper: str, target: str = "image") -> list[dict]:
        return self._by_fit[kind, subject, mapper, target]

    def per_image(
        self, subject: int, kind: str, mapper: str, target: str, readout: str, score: str
    ) -> np.ndarray | None:
        """Scores of a subject's images, averaged over seeds; None if it was not computed."""
        cells = self._cells(subject, kind, mapper, target)
        readouts = [c["readouts"].get(readout, {}) for c in cells]
        rows = [_array(found[score]) for found in readouts if score in found]
        return np.mean(rows, 0) if rows else None

    def row(self, kind: str, mapper: str, target: str, readout: str, score: str) -> dict | None:
        """One row of a table: score, interval over subjects and images, chance, spread of seeds."""
        key = (kind, mapper, target, readout, score)
        found = [self.per_image(subject, *key) for subject in self.subjects]
        found = [scores for scores in found if scores is not None]
        if not found:
            return None
        spread = [self._seed_sd(subject, *key) for subject in self.subjects]
        return {
            "mapper": mapper,
            "target": target,
            "readout": readout,
            "score": score,
            **self._interval(found),
            "chance": self._chance(score, found),
            "subjects": [float(scores.mean()) for scores in found],
            "seed_sd": float(np.nanmean(spread)) if np.isfinite(spread).any() else None,
        }

    def _seed_sd(self, subject: int, kind: str, mapper: str, target: str, readout: str, score: str):
        cells = [c["readouts"] for c in self._cells(subject, kind, mapper, target)]
        means = [_array(c[readout][score]).mean() for c in cells if score in c.get(readout, {})]
        return np.std(means, ddof=1) if len(means) > 1 else np.nan

    @staticmethod
    def _chance(score: str, found: Sequence[np.ndarray]) -> float:
        if score not in SCORES:
            return 0.5  # two-way within or across clusters
        return float(np.mean([chance_levels(len(scores))[score] for scores in found]))

    def readouts(self, kind: str, mapper: str, target: str) -> list[str]:
        """Names of the readouts that any subject's cells have."""
        cells = [c for s in self.subjects for c in self._cells(s, kind, mapper, target)]
        return list(dict.fromkeys(name for cell in cells for name in cell["readouts"]))

    def scores(self, kind: str) -> list[dict]:
        """Rows of all mappers, targets, readouts and scores of one kind of cell."""
        rows = []
        fits = dict.fromkeys((c.mapper, c.target) for c in self.results if c.kind == kind)
        for mapper, target in fits:
            for readout in self.readouts(kind, mapper, target):
                found = [self.row(kind, mapper, target, readout, score) for score in NAMES]
                rows += [row for row in found if row is not None]
        return rows

    def differences(self) -> list[dict]:
        """Paired differences between mappers, over images and subjects; :data:`PAIRS`."""
        rows = []
        for name, (first, second) in PAIRS.items():
            for score in COMPARED:
                sides = [
                    [self.per_image(s, "mapper", *key, score) for s in self.subjects]
                    for key in (first, second)
                ]
                if any(scores is None for side in sides for scores in side):
                    continue
                found = self._difference(*sides)
                each = [float((a - b).mean()) for a, b in zip(*sides, strict=True)]
                row = {"difference": name, "score": score, **vars(found), "subjects": each}
                rows.append({**row, "excludes_zero": found.excludes(0)})
        return rows

    def curves(self, kind: str, sizes: str, scores: str = "scores") -> list[dict]:
        """Curves of the linear mappers: sizes, and each score with its interval."""
        rows = []
        for mapper in LINEAR:
            cells = [self._cells(s, kind, mapper)[0] for s in self.subjects]
            common = sorted(set.intersection(*(set(c[sizes]) for c in cells)))
            for score in COMPARED:
                points = []
                for size in common:
                    found = [_array(c[scores][score][c[sizes].index(size)]) for c in cells]
                    points.append(self._interval(found))
                columns = {key: [p[key] for p in points] for key in ("value", "low", "high")}
                rows.append({"mapper": mapper, "score": score, sizes: common, **columns})
        return rows

    def ceilings(self) -> dict[str, object]:
        """Explained share of the embedding with 1, 2, ... and endless repeats; half splits."""
        repeats = {
            mapper: {str(s): self._cells(s, "repeats", mapper)[0] for s in self.subjects}
            for mapper in LINEAR
        }
        halves = {str(s): self._cells(s, "half_split", "ridge")[0] for s in self.subjects}
        return {"repeats": repeats, "half_split": halves}

    def effective_ranks(self) -> dict[str, float]:
        """Effective rank of each mapper's predictions, mean over subjects and seeds."""
        ranks = defaultdict(list)
        for cell, result in self.results.items():
            if cell.kind == "mapper" and cell.target == "image":
                for readout, scores in result["readouts"].items():
                    ranks[f"{cell.mapper}: {readout}"].append(scores["effective rank"])
        return {name: float(np.mean(values)) for name, values in ranks.items()}


def summarise(
    results: Results, *, rng: np.random.Generator, n_resamples: int, shared_images: bool = False
) -> dict:
    """All tables of the study, as JSON keeps them.

    Parameters
    ----------
    results : mapping of Cell to dict
    rng : numpy.random.Generator
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
    tables = Tables(results, rng=rng, n_resamples=n_resamples, shared_images=shared_images)
    return {
        "n_subjects": len(tables.subjects),
        "subjects": tables.subjects,
        "mappers": tables.scores("mapper"),
        "differences": tables.differences(),
        "shuffled": tables.scores("shuffled"),
        "clusters": tables.scores("clusters"),
        "prototype": tables.scores("prototype"),
        "noiseless": tables.scores("noiseless"),
        "sessions": tables.curves("sessions", "n_sessions"),
        "voxels": tables.curves("voxels", "n_voxels"),
        "bottleneck": tables.curves("bottleneck", "n_dims"),
        "bottleneck_ceiling": tables.curves("bottleneck", "n_dims", "ceiling"),
        "ceilings": tables.ceilings(),
        "effective_rank": tables.effective_ranks(),
    }
