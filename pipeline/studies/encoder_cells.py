"""The cells of the encoders' study: one fit or one control each, of one subject and seed."""

import itertools
from functools import cached_property, partial
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from fmri_utils import encoders
from fmri_utils.encoders import MAPPERS, Mapper, MapperSettings, RidgeBasis, ceilings, controls
from fmri_utils.nsd.preprocessing import average_repeats
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import Files
from fmri_utils.project.settings import Count, Integer, settings

LINEAR = ("ridge", "contrastive")  # the mappers that every control is made for
TARGETS = ("image", "caption", "both")
N_CLUSTERS = 5  # of which each is left out in turn
Subject = Annotated[Integer, Field(ge=1, le=8)]
Arrays = dict[str, np.ndarray]


@settings
class StudySettings:
    """Size of the study.

    Attributes
    ----------
    subjects : tuple of int
        By default those that NSD papers report.
    n_seeds : int
        Fits of every mapper to image embeddings.
    n_seeds_other : int
        Fits of every mapper to captions, and to both together.
    n_voxels : tuple of int
        Points of the learning curve over voxels; those above the subject's number are left out.
    n_draws : int
        Random draws of voxels for a point.
    n_resamples : int
        Of the bootstrap.
    """

    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)] = (1, 2, 5, 7)
    n_seeds: Count = 5
    n_seeds_other: Count = 2
    n_voxels: tuple[Count, ...] = (30, 100, 300, 1000, 2500)
    n_draws: Count = 2
    n_resamples: Count = 2000


class Cell(NamedTuple):
    """What is computed in one go; ``kind`` is a key of :data:`KINDS`."""

    kind: str
    mapper: str
    target: str
    seed: int


def all_cells(study: StudySettings) -> list[Cell]:
    """Every cell of a subject, in the order of the tables."""
    seeds = {name: range(1 if name == "mean" else study.n_seeds) for name in MAPPERS}
    cells = [Cell("mapper", name, "image", seed) for name in MAPPERS for seed in seeds[name]]
    other = itertools.product(MAPPERS[1:], TARGETS[1:], range(study.n_seeds_other))
    cells += [Cell("mapper", *which) for which in other]
    cells += [Cell("shuffled", name, "image", seed) for name in LINEAR for seed in seeds[name]]
    once = itertools.product(("left_out", "sessions", "voxels"), LINEAR)
    return cells + [Cell(kind, name, "image", 0) for kind, name in once]


class Bench:
    """One subject's data with everything that its cells share.

    Parameters
    ----------
    files : Files
        With ``betas`` and ``embeddings``, as notebooks 01 and 02 wrote them.
    study : StudySettings

    Attributes
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Single training trials, z-scored within their session.
    groups, session : numpy.ndarray of int, (n_trials,)
    targets : dict of str to numpy.ndarray, (n_trials, C)
        ``image`` and ``caption`` embedding of each training trial.
    pattern : numpy.ndarray, (n, n_voxels)
        Test images, repeats averaged.
    test_ids : numpy.ndarray of int, (n,)
    truth : dict of str to numpy.ndarray, (n, C)
    """

    def __init__(self, files: Files, study: StudySettings):
        self.cfg, self.study = files.cfg, study
        self.settings = MapperSettings.of(self.cfg.encoder)
        self.device = choose_device(self.cfg.device)
        brain, clip = files["betas"], files["embeddings"]
        train, test = brain["is_train"], brain["is_test"]
        self.betas, self.session = brain["betas"][train], brain["session"][train]
        self.groups, tested = brain["nsd_id"][train], brain["nsd_id"][test]
        self.pattern, self.test_ids, _ = average_repeats(brain["betas"][test], tested)
        rows, test_rows = (np.searchsorted(clip["nsd_id"], n) for n in (self.groups, self.test_ids))
        self.targets = {name: clip[name][rows] for name in TARGETS[:2]}
        self.truth = {name: clip[name][test_rows] for name in TARGETS[:2]}

    @cached_property
    def basis(self) -> RidgeBasis:
        """Of all training trials; most cells with ridge need it."""
        return encoders.ridge_basis(self.betas, device=self.device)

    def how(self, cell: Cell) -> dict[str, object]:
        """Settings, seed and device of the cell's mapper."""
        return {"settings": self.settings, "seed": cell.seed, "device": self.device}

    def fit(self, cell: Cell, target: np.ndarray, n_targets: int = 1) -> tuple[Mapper, dict]:
        """Fit the cell's mapper to all training trials and a target (n_trials, C) of each."""
        how = {"n_targets": n_targets, **self.how(cell)}
        how["basis"] = self.basis if cell.mapper == "ridge" else None
        return encoders.fit_mapper(cell.mapper, self.betas, target, self.groups, **how)


def scores(readout: str, truth: np.ndarray, prediction: np.ndarray) -> Arrays:
    """Scores of one way of reading embeddings (n, C) of the test images, image by image.

    Returns
    -------
    dict of str to numpy.ndarray, (n,)
        Named "readout|score".
    """
    found = controls.scores_per_image(truth, prediction)
    return {f"{readout}|{score}": values for score, values in found.items()}


def run_mapper(bench: Bench, cell: Cell) -> Arrays:
    """Fit a mapper and score every way of reading its predictions."""
    names = TARGETS[:2] if cell.target == "both" else (cell.target,)
    target = np.concatenate([bench.targets[name] for name in names], axis=1)
    mapper, report = bench.fit(cell, target, len(names))
    read = {"": mapper.predict(bench.pattern)}
    if cell.mapper == "ridge":
        read[", re-standardised"] = _restandardised(bench, mapper, target, report)
    if hasattr(mapper, "predict_direct"):
        read[", before the projector"] = mapper.predict_direct(bench.pattern)
    found = {}
    centres = np.split(target.mean(0), len(names))
    for name, centre, part in zip(names, centres, np.split(read[""], len(names), 1), strict=True):
        found |= scores(f"{name}, from the mean", bench.truth[name] - centre, part - centre)
    for suffix, prediction in read.items():
        parts = dict(zip(names, np.split(prediction, len(names), axis=1), strict=True))
        for name, part in parts.items():
            found |= scores(name + suffix, bench.truth[name], part)
        if len(names) > 1:  # cosines of image and caption count alike
            both = np.concatenate([encoders.unit(part) for part in parts.values()], axis=1)
            truth = np.concatenate([bench.truth[name] for name in names], axis=1)
            found |= scores("both" + suffix, truth, both)
    return found


def _restandardised(bench: Bench, mapper: Mapper, target: np.ndarray, report: dict) -> np.ndarray:
    """Ridge predictions with the spread of real embeddings, by training statistics."""
    folds = dict(n_folds=bench.settings.n_folds, basis=bench.basis, alphas=report["best_alphas"])
    predicted, true, _ = encoders.held_out_means(bench.betas, target, bench.groups, **folds)
    return restandardise(mapper.predict(bench.pattern), predicted, true)


def restandardise(
    prediction: np.ndarray, train_prediction: np.ndarray, train_embeddings: np.ndarray
) -> np.ndarray:
    """Give predictions the mean and spread of real embeddings, with training statistics only.

    Ridge shrinks, and unequally: what is hard to predict varies least. Ozcelik & VanRullen (2023)
    standardise with the mean and SD of the *test* predictions, so each prediction depends on the
    other test images; here both come from training images.

    Parameters
    ----------
    prediction : numpy.ndarray, (n, C)
        Of new patterns.
    train_prediction, train_embeddings : numpy.ndarray, (n_train, C)
        Of training images, predicted from folds that did not hold the image: predictions of fitted
        images vary too much.

    Returns
    -------
    numpy.ndarray, (n, C)
    """
    scaled = (prediction - train_prediction.mean(0)) / train_prediction.std(0)
    return scaled * train_embeddings.std(0) + train_embeddings.mean(0)


def run_shuffled(bench: Bench, cell: Cell) -> Arrays:
    """The whole fit with every image's embedding exchanged; must be at chance."""
    rng = np.random.default_rng(cell.seed)
    wrong = controls.shuffle_pairing(bench.targets["image"], bench.groups, rng)
    mapper, _ = bench.fit(cell, wrong)
    return scores("image", bench.truth["image"], mapper.predict(bench.pattern))


def run_left_out(bench: Bench, cell: Cell) -> Arrays:
    """Scores without the image's cluster in training, and without as many random images."""
    fit = controls.fitter(partial(encoders.fit_mapper, cell.mapper), **bench.how(cell))
    data = bench.betas, bench.targets["image"], bench.groups
    test = bench.pattern, bench.truth["image"], bench.test_ids
    found = controls.leave_clusters_out(fit, *data, *test, n_clusters=N_CLUSTERS, seed=cell.seed)
    return {
        f"{name}|{score}": values
        for name in ("left_out", "control")
        for score, values in found[name].items()
    }


def run_curve(bench: Bench, cell: Cell) -> Arrays:
    """Learning curve over sessions, or over voxels drawn at random: the size is the readout."""
    fit = controls.fitter(partial(encoders.fit_mapper, cell.mapper), **bench.how(cell))
    data = bench.betas, bench.targets["image"], bench.groups
    test = bench.pattern, bench.truth["image"]
    if cell.kind == "sessions":
        found = ceilings.curve_over_sessions(fit, *data, bench.session, *test)
    else:
        total = bench.betas.shape[1]
        sizes = {"n_draws": bench.study.n_draws, "rng": np.random.default_rng(cell.seed)}
        sizes["n_voxels"] = sorted({min(n, total) for n in bench.study.n_voxels})
        found = ceilings.curve_over_voxels(fit, *data, *test, **sizes)
    return {
        f"{size}|{score}": values[i]
        for i, size in enumerate(found[f"n_{cell.kind}"])
        for score, values in found["scores"].items()
    }


KINDS = {"mapper": run_mapper, "shuffled": run_shuffled, "left_out": run_left_out}
KINDS |= {"sessions": run_curve, "voxels": run_curve}
