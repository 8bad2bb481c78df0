"""The cells of the study: what is fitted and scored, each by itself and each in its own file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from fmri_utils import encoders, metrics
from fmri_utils.encoders import MAPPERS, Mapper, MapperSettings, RidgeBasis, ceilings, controls
from fmri_utils.nsd.preprocessing import average_repeats
from fmri_utils.project.artifacts import load_json, save_json

from .settings import StudySettings
from .subjects import Subject, is_current

LINEAR = ("ridge", "contrastive")  # the mappers that every control is made for
TARGETS = ("image", "caption", "both")


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes
    ----------
    kind : str
        A key of :data:`KINDS`.
    subject : int
    mapper, target : str
    seed : int
    """

    kind: str
    subject: int
    mapper: str
    target: str = "image"
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of its file."""
        parts = (self.kind, f"subj{self.subject:02d}", self.mapper, self.target, f"s{self.seed}")
        return "-".join(parts) + ".json"


def all_cells(study: StudySettings) -> list[Cell]:
    """Every cell, those that give the first table of all subjects before the rest."""
    first, other, checks = [], [], []
    for subject in study.subjects:
        for mapper in MAPPERS:
            n_seeds = 1 if mapper == "mean" else study.n_seeds
            first += [Cell("mapper", subject, mapper, "image", s) for s in range(n_seeds)]
            n_other = 0 if mapper == "mean" else study.n_seeds_other
            for target in TARGETS[1:]:
                other += [Cell("mapper", subject, mapper, target, s) for s in range(n_other)]
        for mapper in LINEAR:
            checks += [Cell("shuffled", subject, mapper, seed=s) for s in range(study.n_seeds)]
            kinds = ("clusters", "sessions", "voxels", "bottleneck", "repeats", "noiseless")
            checks += [Cell(kind, subject, mapper) for kind in kinds]
        checks += [Cell("prototype", subject, "ridge"), Cell("half_split", subject, "ridge")]
    return first + checks + other


@dataclass(frozen=True, eq=False)
class Bench:
    """One subject's data with everything that its cells share."""

    subject: Subject
    settings: MapperSettings
    study: StudySettings
    device: str | torch.device = "cpu"

    @cached_property
    def basis(self) -> RidgeBasis:
        """Of all training trials; most cells with ridge need it."""
        return encoders.ridge_basis(self.subject.betas, device=self.device)

    def fit(self, cell: Cell, embeddings: np.ndarray, *, n_targets: int = 1) -> tuple[Mapper, dict]:
        """Fit the cell's mapper to all training trials."""
        return encoders.fit_mapper(
            cell.mapper,
            self.subject.betas,
            embeddings,
            self.subject.groups,
            settings=self.settings,
            seed=cell.seed,
            n_targets=n_targets,
            device=self.device,
            basis=self.basis if cell.mapper == "ridge" else None,
        )

    def fitter(self, cell: Cell) -> controls.Fit:
        """The cell's mapper as a function of any training data."""
        settings = {"settings": self.settings, "seed": cell.seed, "device": self.device}
        return controls.fitter(partial(encoders.fit_mapper, cell.mapper), **settings)

    @property
    def n_repeats(self) -> int:
        """Presentations of the test image that was shown most often."""
        return int(np.unique(self.subject.test_groups, return_counts=True)[1].max())

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training trials with the image embedding as the target."""
        return self.subject.betas, self.subject.targets["image"], self.subject.groups


def _lists(value: object) -> object:
    """Arrays and numpy numbers as JSON keeps them; scores rounded to what matters."""
    if isinstance(value, dict):
        return {str(k): _lists(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _lists(value.tolist())
    if isinstance(value, list):
        return [_lists(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _scores(truth: np.ndarray, prediction: np.ndarray) -> dict:
    found = controls.scores_per_image(truth, prediction)
    return {**found, "effective rank": metrics.effective_rank(prediction)}


def run_mapper(bench: Bench, cell: Cell) -> dict:
    """Fit a mapper and score every way of reading its predictions."""
    s, names = bench.subject, TARGETS[:2] if cell.target == "both" else (cell.target,)
    target = np.concatenate([s.targets[name] for name in names], axis=1)
    mapper, report = bench.fit(cell, target, n_targets=len(names))
    read = {"": mapper.predict(s.pattern)}
    if cell.mapper == "ridge":
        read[", re-standardised"] = _restandardised(bench, mapper, target, report)
    if hasattr(mapper, "predict_direct"):
        read[", before the projector"] = mapper.predict_direct(s.pattern)
    readouts = {}
    for suffix, prediction in read.items():
        parts = dict(zip(names, np.split(prediction, len(names), axis=1), strict=True))
        readouts |= {n + suffix: _scores(s.truth[n], part) for n, part in parts.items()}
        if len(names) > 1:  # cosines of image and caption count alike
            sides = (s.truth, {n: encoders.unit(part) for n, part in parts.items()})
            both = [np.concatenate([side[n] for n in names], axis=1) for side in sides]
            readouts["both" + suffix] = _scores(*both)
    return {"readouts": readouts, "best_step": report.get("best_step")}


def _restandardised(bench: Bench, mapper: Mapper, target: np.ndarray, report: dict) -> np.ndarray:
    """Ridge predictions with the spread of real embeddings, by training statistics."""
    s = bench.subject
    folds = dict(n_folds=bench.settings.n_folds, basis=bench.basis)
    single = encoders.out_of_fold(s.betas, target, s.groups, alphas=report["best_alphas"], **folds)
    held_out, _, _ = average_repeats(single, s.groups)
    _, first = np.unique(s.groups, return_index=True)
    return encoders.restandardise(mapper.predict(s.pattern), held_out, target[first])


def run_shuffled(bench: Bench, cell: Cell) -> dict:
    """The whole fit with every image's embedding exchanged; must be at chance."""
    s, rng = bench.subject, np.random.default_rng(cell.seed)
    mapper, _ = bench.fit(cell, controls.shuffle_pairing(s.targets["image"], s.groups, rng))
    return {"readouts": {"image": _scores(s.truth["image"], mapper.predict(s.pattern))}}


def run_clusters(bench: Bench, cell: Cell) -> dict:
    """Leave-cluster-out, with a control that leaves out as many images at random."""
    s = bench.subject
    truth = s.truth["image"]
    found = controls.leave_clusters_out(
        bench.fitter(cell),
        *bench.data,
        s.pattern,
        truth,
        s.test_ids,
        n_clusters=bench.study.n_clusters,
        seed=cell.seed,
    )
    full = bench.fit(cell, s.targets["image"])[0].predict(s.pattern)
    sets = {"all clusters": full, "cluster left out": found["prediction"]}
    sets["as many images left out"] = found["control"]
    readouts = {}
    for name, prediction in sets.items():
        by_kind = metrics.clustered_two_way_scores(truth, prediction, found["cluster"])
        readouts[name] = _scores(truth, prediction) | {
            f"two-way {kind} clusters": values for kind, values in by_kind.items()
        }
    return {"readouts": readouts, "n_left_out": found["n_left_out"], "cluster": found["cluster"]}


def run_sessions(bench: Bench, cell: Cell) -> dict:
    """Learning curve over sessions."""
    s, fit = bench.subject, bench.fitter(cell)
    return ceilings.curve_over_sessions(fit, *bench.data, s.session, s.pattern, s.truth["image"])


def run_voxels(bench: Bench, cell: Cell) -> dict:
    """Learning curve over voxels drawn at random."""
    s, total = bench.subject, bench.subject.betas.shape[1]
    return ceilings.curve_over_voxels(
        bench.fitter(cell),
        *bench.data,
        s.pattern,
        s.truth["image"],
        n_voxels=sorted({min(n, total) for n in bench.study.n_voxels}),
        n_draws=bench.study.n_draws,
        rng=np.random.default_rng(cell.seed),
    )


def run_bottleneck(bench: Bench, cell: Cell) -> dict:
    """Scores of the predictions and of the true embeddings through few dimensions."""
    s, truth = bench.subject, bench.subject.truth["image"]
    mapper, _ = bench.fit(cell, s.targets["image"])
    predicted, fitted = mapper.predict(s.pattern), mapper.predict(s.betas)
    narrow = controls.bottleneck(predicted, fitted, bench.study.n_dims)
    true = controls.bottleneck(truth, s.targets["image"], bench.study.n_dims)
    return {
        "n_dims": list(narrow),
        "scores": _stack([controls.scores_per_image(truth, p) for p in narrow.values()]),
        "ceiling": _stack([controls.scores_per_image(truth, p) for p in true.values()]),
    }


def _stack(points: list[dict]) -> dict[str, np.ndarray]:
    return {score: np.stack([p[score] for p in points]) for score in points[0]}


def run_prototype(bench: Bench, cell: Cell) -> dict:
    """Classifier plus prototype, for several numbers of classes."""
    s, settings = bench.subject, bench.settings
    readouts = {}
    for n_classes in bench.study.n_classes:
        mapper, _ = controls.fit_prototypes(
            *bench.data,
            n_classes=n_classes,
            alphas=settings.alphas,
            n_folds=settings.n_folds,
            seed=cell.seed,
            basis=bench.basis,
        )
        readouts[str(n_classes)] = _scores(s.truth["image"], mapper.predict(s.pattern))
    return {"readouts": readouts}


def run_repeats(bench: Bench, cell: Cell) -> dict:
    """Scores with one, two, ... repeats averaged, and extrapolated to endless ones."""
    s, n_repeats = bench.subject, bench.n_repeats
    patterns, ids = ceilings.stack_repeats(s.test_betas, s.test_groups, n_repeats)
    mapper, _ = bench.fit(cell, s.targets["image"])
    flat = mapper.predict(patterns.reshape(-1, patterns.shape[2]))
    truth = s.truth["image"][np.searchsorted(s.test_ids, ids)]
    curve = ceilings.repeat_curve(truth, flat.reshape(len(ids), n_repeats, -1))
    return {**curve, "reliability": curve["reliability"].mean(), "n_images": len(ids)}


def run_half_split(bench: Bench, cell: Cell) -> dict:
    """How far two maps agree that share no trial."""
    s = bench.subject
    found = ceilings.half_split_ceiling(
        bench.fitter(cell),
        *bench.data,
        s.test_betas,
        s.test_groups,
        n_repeats=bench.n_repeats,
        rng=np.random.default_rng(cell.seed),
    )
    explained = ceilings.explained_variance(s.truth["image"], found["ceiling"])
    return {"explained": explained, "reliability": found["reliability"].mean()}


def run_noiseless(bench: Bench, cell: Cell) -> dict:
    """The same mapper on the planted responses without noise: a ceiling real data do not offer."""
    s = bench.subject
    if s.noiseless is None:
        return {"readouts": {}}
    clean, test = s.noiseless
    mapper = bench.fitter(cell)(clean, s.targets["image"], s.groups)
    return {"readouts": {"image": _scores(s.truth["image"], mapper.predict(test))}}


KINDS: dict[str, Callable[[Bench, Cell], dict]] = {
    "mapper": run_mapper,
    "shuffled": run_shuffled,
    "clusters": run_clusters,
    "sessions": run_sessions,
    "voxels": run_voxels,
    "bottleneck": run_bottleneck,
    "prototype": run_prototype,
    "repeats": run_repeats,
    "half_split": run_half_split,
    "noiseless": run_noiseless,
}


def run_cell(bench: Bench, cell: Cell, folder: Path, config: dict) -> dict:
    """Run a cell, or read its file if it was finished with the same data and settings.

    Parameters
    ----------
    bench : Bench
    cell : Cell
    folder : pathlib.Path
    config : dict
        Settings and the hash of the data.

    Returns
    -------
    dict
        What the cell's function returned, as JSON keeps it, with ``seconds``.
    """
    path, config = folder / cell.name, {**config, **asdict(cell)}
    if not is_current(path, config):
        start = time.perf_counter()
        result = KINDS[cell.kind](bench, cell)
        result["seconds"] = time.perf_counter() - start
        save_json(path, _lists(result), config=config)
    return load_json(path, remedy="Run the study again.")
