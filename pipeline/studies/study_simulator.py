"""The simulator's part of ``make study``: headline numbers over what the simulator leaves free.

The ncsnr of a simulated subject is set to NSD's. How much of the noise varies as the signal does
(``shared_noise``), how much of that noise voxels without a signal have (``null_shared_noise``) and
how many sessions are trained on are free choices. Here every choice is simulated again, in several
brains that see the subject's own pictures, by the simulator itself, in the voxels of nsdgeneral.

Numbers are means over brains, intervals Student's over brains: they say what another brain and
other noise would give, not what other pictures would.

About seven minutes on one core in the demo, nine seconds for each brain and choice. Each is kept
when it is finished, under ``study`` in the run's derived folder: a killed study goes on.
"""

import dataclasses
import time
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from fmri_utils import encoders, nsd, perturbation
from fmri_utils.encoders import LinearEncoder, MapperSettings, ceilings
from fmri_utils.encoders.controls import scores_per_image
from fmri_utils.metrics.diagnostics import correlations
from fmri_utils.nsd.reliability import noise_like_signal
from fmri_utils.project.notebook_files import Files
from fmri_utils.project.simulation_config import (
    N_SUBJECTS,
    PSC_SCALE,
    TRIALS_PER_SESSION,
    VOXEL_MM,
    SimulationConfig,
)
from simulated_nsd.against_truth import auroc
from simulated_nsd.brain import Brain, Voxels, make_brain, subject_rng
from simulated_nsd.experiment import make_design
from simulated_nsd.measurement import (
    Measurement,
    make_measurement,
    measure_session,
    shared_share,
)
from simulated_nsd.stimulus_file import draw_block
from simulated_nsd.tuning import Tuning, make_tuning, true_signals

from .finished import finished

READS = ("betas", "embeddings")
SECTIONS = ("data", "clip", "simulation", "encoder")  # what the study reads
N_BRAINS = 4
SHARED_NOISE = (0.0, 0.2, 0.4, 0.6)
NULL_SHARED_NOISE = (0.0, 0.2, 0.4)  # beside the profile's own
SHARED_LEFT_OUT = (0.2, 0.4)  # shared_noise where voxels are left out, and with other null noise
SESSIONS = (1, 2, 4)  # trained on, the first ones; fewer where the subject has fewer
SCORES = {"brain_to_image top-1": "top-1", "brain_to_image MRR": "MRR", "two-way": "two-way"}
MARGIN = 5  # voxels around the region: from there noise is smoothed into it
N_FAR = 1000  # voxels whose noise is compared with the signal

Arrays = dict[str, np.ndarray]


class Trials(NamedTuple):
    """What one brain would give.

    Attributes
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored within sessions, as notebook 01 does it.
    noiseless : numpy.ndarray, (n_test, n_voxels)
        What was planted of the test images, in the same units.
    null : numpy.ndarray of bool, (n_voxels,)
    places : numpy.ndarray, (n_voxels, 3)
        In millimetres.
    """

    betas: np.ndarray
    noiseless: np.ndarray
    null: np.ndarray
    places: np.ndarray


class Bench:
    """The subject's pictures, trials and embeddings, and brains that see them.

    Parameters
    ----------
    files : Files
        With ``betas`` and ``embeddings``, as notebooks 01 and 02 wrote them.
    """

    def __init__(self, files: Files):
        # All brains have the ncsnr of a subject with a factor of 1.
        self.config = dataclasses.replace(files.cfg.simulation, ncsnr_subject=(1.0,) * N_SUBJECTS)
        self.settings = MapperSettings.of(files.cfg.encoder)
        brain, clip = files["betas"], files["embeddings"]
        self.nsd_id, self.session = brain["nsd_id"], brain["session"]
        self.train, self.test = brain["is_train"], brain["is_test"]
        self.target = clip["image"][np.searchsorted(clip["nsd_id"], self.nsd_id)]
        self.ids = make_design(self.config).subjectim[files.cfg.subject - 1].astype(int) - 1
        order = np.argsort(self.ids)
        self.image = order[np.searchsorted(self.ids, self.nsd_id, sorter=order)]
        tested = np.unique(self.nsd_id[self.test], return_index=True)[1]
        self.truth, self.tested = (x[self.test][tested] for x in (self.target, self.image))

    @cached_property
    def pictures(self) -> tuple:
        """Descriptions of the subject's pictures, and what early visual cortex sees in them."""
        ids = tuple(self.ids.tolist())
        _, scenes, maps = draw_block((self.config.seed, ids, self.config.stimulus_px))
        return scenes, maps

    def responses(self, number: int) -> tuple[Brain, np.ndarray]:
        """A brain with the voxels of nsdgeneral, and their noiseless responses (n_images, V)."""
        brain = make_brain(self.config, number)
        tuning = make_tuning(brain, self.config, subject_rng(self.config, number, "tuning"))
        general = brain.voxels.general
        tuning, voxels = (part_of(everything, general) for everything in (tuning, brain.voxels))
        signal = true_signals(voxels, tuning, *self.pictures)
        return dataclasses.replace(brain, voxels=voxels), signal

    @lru_cache(maxsize=1)  # noqa: B019 (there is one bench)
    def parts(self, number: int) -> tuple[Measurement, np.ndarray, dict[str, np.ndarray]]:
        """A brain's measurement, places of its voxels in mm, and what its betas are the sum of.

        The parts, (n_trials, V) each, are ``clean``: signal and drift; ``local`` and ``along``:
        the noise of neighbours and that along the signal's patterns, each as if it were all noise.
        """
        brain, signal = self.responses(number)
        n_sessions = len(self.image) // TRIALS_PER_SESSION
        m, places = in_region(make_measurement(brain, signal, self.config, n_sessions))
        still = dict.fromkeys(("drift_gain", "drift_offset", "drift_trend"), 0.0)
        alone = dataclasses.replace(m, mean=0 * m.mean, signal_sd=0 * m.signal_sd)
        all_, none = np.ones_like(m.shared), np.zeros_like(m.shared)
        # What has no noise of neighbours need not wait for its smoothing.
        changes = {
            "clean": ({"noise_smoothness": 0.0}, m, (all_, 0 * m.noise_patterns)),
            "local": (still, alone, (none, m.noise_patterns)),
            "along": (still | {"noise_smoothness": 0.0}, alone, (all_, m.noise_patterns)),
        }
        found = {}
        for stream, (name, (change, part, (share, patterns))) in enumerate(changes.items()):
            config = dataclasses.replace(self.config, **change)
            part = dataclasses.replace(part, shared=share, noise_patterns=patterns)
            sessions = [
                measure_session(
                    part, images, s, config, subject_rng(config, number, "session", s, stream)
                )
                for s, images in enumerate(self.image.reshape(n_sessions, -1), start=1)
            ]
            found[name] = np.concatenate(sessions).astype(np.float32) / PSC_SCALE
        return m, places, found

    def measure(self, number: int, shared_noise: float, null_shared_noise: float) -> Trials:
        """All trials of a brain. Its voxels and random numbers are the same for all noises."""
        m, places, parts = self.parts(number)
        ratio, null = m.signal_sd / m.noise_sd, m.signal_sd == 0
        share = shared_share(ratio, np.ones_like(null), shared_noise)
        share[null] = null_shared_noise
        betas = parts["clean"] + np.sqrt(1 - share) * parts["local"]
        betas += np.sqrt(share) * parts["along"]
        betas = nsd.zscore_sessions(betas, self.session, self.train)
        noiseless = m.signal[self.tested] * (ratio / np.hypot(ratio, 1))
        return Trials(betas, noiseless, null, places)


def part_of(everything: Voxels | Tuning, voxels: np.ndarray) -> Voxels | Tuning:
    """The rows of some voxels, of a table whose columns all have a row for each voxel."""
    return type(everything)(**{name: rows[voxels] for name, rows in vars(everything).items()})


def in_region(m: Measurement) -> tuple[Measurement, np.ndarray]:
    """A measurement of the responsive voxels alone, on a smaller grid, and their places in mm."""
    kept = m.responsive
    place = np.stack(np.unravel_index(m.inside[kept], m.shape), axis=1)
    place -= place.min(axis=0)
    shape = tuple((place.max(axis=0) + 1 + MARGIN).tolist())
    own = {name: getattr(m, name)[kept] for name in ("mean", "noise_sd")}
    own |= {"inside": np.ravel_multi_index(tuple(place.T), shape), "covered": m.covered[:, kept]}
    part = dataclasses.replace(m, shape=shape, responsive=np.arange(kept.size), **own)
    return part, VOXEL_MM * place


def fitted(bench: Bench, trials: Trials, rows: np.ndarray) -> tuple[LinearEncoder, dict]:
    """A ridge of these training trials, and what :func:`leave_one_out` needs of its fit."""
    data = trials.betas[rows], bench.target[rows], bench.nsd_id[rows]
    how = dict(basis=encoders.ridge_basis(data[0]), n_folds=bench.settings.n_folds)
    ridge, report = encoders.fit_ridge(*data, alphas=bench.settings.alphas, **how)
    return ridge, {**how, "alphas": report["best_alphas"]}


def decoding(bench: Bench, trials: Trials, ridge: LinearEncoder, mean: np.ndarray) -> dict:
    """Scores on the test images. ``mean`` (C,) is that of the training embeddings."""
    tested, own = trials.betas[bench.test], bench.nsd_id[bench.test]
    pattern, ids, counts = nsd.average_repeats(tested, own)
    truth, predicted = bench.truth, ridge.predict(pattern)
    found = {}
    for readout, origin in (("", 0), (", centred", mean)):
        per_image = scores_per_image(truth - origin, predicted - origin)
        found |= {name + readout: per_image[score].mean() for score, name in SCORES.items()}
    single, kept = ceilings.stack_repeats(tested, own, counts.max())
    each = ridge.predict(single.reshape(-1, single.shape[2])).reshape(*single.shape[:2], -1)
    limit = ceilings.repeat_curve(truth[np.isin(ids, kept)], each)
    r = correlations(truth, ridge.predict(trials.noiseless))
    found["explained"], found["limit over repeats"] = limit["explained"][-2:]
    found["limit, planted"] = ceilings.explained_variance(truth, r, n_images=len(truth))
    return found


def leave_one_out(
    bench: Bench, trials: Trials, ridge: LinearEncoder, how: dict, rng: np.random.Generator
) -> dict:
    """How well effects tell tuned voxels from null ones (AUROC), as notebook 05 computes them."""
    rows = bench.train
    betas, target = trials.betas[rows], bench.target[rows]
    matched, _ = encoders.match_spread(ridge, betas, target, bench.nsd_id[rows], **how)
    pattern = nsd.average_repeats(trials.betas[bench.test], bench.nsd_id[bench.test])[0]
    precision = perturbation.fit_precision(betas, dtype=np.float32)
    refit = perturbation.refit_change(matched, precision, pattern, how["alphas"])
    statistics = {
        "effect": perturbation.embedding_effect(matched, pattern).mean(axis=0),
        "refit effect": refit.effect().mean(axis=0),
        "contribution": perturbation.contribution(matched, pattern, bench.truth).mean(axis=0),
    }
    found = auroc(trials.null, statistics, rng=rng, n_resamples=1)
    return {name: interval.value for name, interval in found.items()}


def compute(bench: Bench, number: int, noise: tuple[float, float]) -> Arrays:
    """All numbers of one brain with one pair of :func:`noises`, named "table|row|score"."""
    start, rng = time.process_time(), np.random.default_rng([bench.config.seed, number])
    trials = bench.measure(number, *noise)
    ncsnr = nsd.estimate_ncsnr(trials.betas, bench.session, bench.nsd_id)
    some = rng.permutation(ncsnr.size)[:N_FAR]
    like = noise_like_signal(trials.betas[:, some], bench.nsd_id, trials.places[some], rng)
    found = {"measured||ncsnr": np.nanmedian(ncsnr), "measured||noise like signal": like.share}
    everything = {"decoding|" + str(bench.session.max()): bench.train}
    for name, rows in {**fewer_trials(bench, noise, rng), **everything}.items():
        ridge, how = fitted(bench, trials, rows)
        scores = decoding(bench, trials, ridge, bench.target[rows].mean(axis=0))
        found |= {f"{name}|{score}": value for score, value in scores.items()}
    if noise[0] in SHARED_LEFT_OUT:
        scores = leave_one_out(bench, trials, ridge, how, rng)  # the ridge of all trials
        found |= {f"leave_one_out||{name}": value for name, value in scores.items()}
    found["seconds"] = time.process_time() - start
    return {name: np.asarray(value, float) for name, value in found.items()}


def fewer_trials(bench: Bench, noise: tuple[float, float], rng: np.random.Generator) -> Arrays:
    """Other sets of training trials: the first sessions; many images, or few with all trials.

    For the noise of the profile's null voxels only, the last two for the profile's noise only.
    """
    found, config = {}, bench.config
    if noise[1] == config.null_shared_noise:
        sessions = [n for n in SESSIONS if n < bench.session.max()]
        found |= {f"decoding|{n}": bench.train & (bench.session <= n) for n in sessions}
    if noise == (config.shared_noise, config.null_shared_noise):
        trials = rng.permutation(np.flatnonzero(bench.train))
        ids, first, counts = np.unique(bench.nsd_id[trials], return_index=True, return_counts=True)
        few = rng.permutation(ids[counts == counts.max()])[: len(ids) // counts.max()]
        chosen = {"many images, one trial each": trials[first]}
        chosen["few images, all their trials"] = trials[np.isin(bench.nsd_id[trials], few)]
        every = np.arange(len(bench.train))
        found |= {f"trials|{name}": np.isin(every, rows) for name, rows in chosen.items()}
    return found


def summarise(parts: dict[tuple, Arrays]) -> dict[str, list[dict]]:
    """Tables with a row for every number: mean over brains, interval, each brain.

    Parameters
    ----------
    parts : dict of tuple to arrays
        From :func:`compute`, by brain and pair of :func:`noises`.
    """
    tables = {}
    for noise in dict.fromkeys(noise for _, noise in parts):
        same = [part for (_, other), part in parts.items() if other == noise]
        for name in [name for name in same[0] if name != "seconds"]:
            table, which, score = name.split("|")
            brains = [float(part[name]) for part in same]
            half = stats.t.ppf(0.975, len(brains) - 1) * stats.sem(brains)
            row = dict(zip(("shared_noise", "null_shared_noise"), noise, strict=True))
            row["score"] = score
            if which:
                row |= {"n_sessions": int(which)} if which.isdigit() else {"trained on": which}
            value = float(np.mean(brains))
            row |= {"value": value, "low": value - half, "high": value + half, "brains": brains}
            tables.setdefault(table, []).append(row)
    return tables


def noises(config: SimulationConfig) -> list[tuple[float, float]]:
    """Pairs of shared_noise and null_shared_noise."""
    usual = config.null_shared_noise
    pairs = [(shared, usual) for shared in SHARED_NOISE]
    others = [null for null in NULL_SHARED_NOISE if null != usual]
    return pairs + [(shared, null) for null in others for shared in SHARED_LEFT_OUT]


def results(files: Files) -> dict:
    """All tables, or what is missing of them."""
    bench = Bench(files)
    pairs = noises(bench.config)
    cells = [(number, noise) for number in range(1, N_BRAINS + 1) for noise in pairs]
    settings = {"encoder": dataclasses.asdict(bench.settings), "noises": pairs}
    settings |= {"simulation": dataclasses.asdict(bench.config), "sessions": SESSIONS}
    numbers = range(len(cells))
    parts = finished(files, "simulator", settings, numbers, lambda i: compute(bench, *cells[i]))
    about = {"dataset": files.cfg.dataset_label, "n_brains": N_BRAINS}
    about["seconds"] = float(sum(part["seconds"] for part in parts))
    return {**about, **summarise(dict(zip(cells, parts, strict=True)))}
