"""The perturbation part of ``make study``: what takes too long for notebook 05.

* Are the p values right? The reliability test of notebook 05, with its folds, blocks and number of
  pairings, repeated on subjects in whom no voxel carries anything. The decoders of the folds stay
  as they are. All trials are drawn anew without signal, with all that the simulator puts into a
  trial otherwise: noise that neighbours share, noise in the signal's own subspace, and slow trends
  within sessions, at the very times at which the images were shown.
* How far do the maps of five training seeds agree?

About 40 minutes on one core in the demo. Every run is kept when it is finished, under ``study``
in the run's derived folder: a killed study goes on.
"""

import numpy as np
from scipy import ndimage, stats

from fmri_utils import encoders, perturbation
from fmri_utils.encoders import MapperSettings
from fmri_utils.nsd import zscore_sessions
from fmri_utils.project.notebook_files import Files
from fmri_utils.project.simulation_config import SimulationConfig
from simulated_nsd.ground_truth import GroundTruth, load_ground_truth
from simulated_nsd.measurement import noise_patterns

from .finished import finished

READS = ("betas", "embeddings", "predictions", "ridge")
SECTIONS = ("data", "clip", "simulation", "encoder", "perturbation")  # what the study reads
CONTRASTIVE = ("n_steps", "batch_size", "temperature", "learning_rate", "weight_decay")
N_RUNS, N_SEEDS = 200, 5
LEVEL = 0.05  # of the test


class NullTrials:
    """Draws single trials without any signal.

    Parameters
    ----------
    truth : GroundTruth
        Where the voxels are, and the patterns that span the signal's subspace.
    config : SimulationConfig
        The simulator's noise.
    session : numpy.ndarray of int, (n_repeats, n_images)
        Session of each test trial.
    time : numpy.ndarray, (n_repeats, n_images)
        When in the session, -1 (its first trial) to 1 (its last).
    """

    def __init__(
        self, truth: GroundTruth, config: SimulationConfig, session: np.ndarray, time: np.ndarray
    ):
        self._config = config
        self._shared = truth.voxels["shared_noise"].to_numpy(np.float32)
        null = truth.voxels["null"].to_numpy(bool)
        places = truth.voxels[["i", "j", "k"]].to_numpy()
        patterns = noise_patterns(truth.signal, null, places)
        self._patterns = patterns / np.float32(np.sqrt(len(patterns)))
        self._root = _neighbour_root(places, config)
        self._session = np.unique(session, return_inverse=True)[1].reshape(session.shape)
        self._shapes = np.stack([np.sqrt(3) * time, np.sqrt(2) * np.cos(np.pi * time)], axis=-1)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One set of test trials, float32 (n_repeats, n_images, n_voxels), unit variance."""
        config, shape = self._config, self._session.shape
        n, n_voxels = self._session.size, len(self._shared)
        white = rng.standard_normal((n, n_voxels), dtype=np.float32)
        smooth = rng.standard_normal((n, n_voxels), dtype=np.float32) @ self._root.T
        local = np.sqrt(config.noise_white) * white + np.sqrt(1 - config.noise_white) * smooth
        mixture = rng.standard_normal((n, len(self._patterns)), dtype=np.float32)
        trials = np.sqrt(1 - self._shared) * local
        trials += np.sqrt(self._shared) * (mixture @ self._patterns)
        n_sessions = int(self._session.max()) + 1
        weights = rng.standard_normal((n_sessions, 2, n_voxels)) * config.drift_trend / np.sqrt(2)
        trend = np.einsum("rit,ritv->riv", self._shapes, weights[self._session])
        trials = (trials.reshape(*shape, n_voxels) + trend) / np.sqrt(1 + config.drift_trend**2)
        return trials.astype(np.float32)


def _neighbour_root(places: np.ndarray, config: SimulationConfig) -> np.ndarray:
    """Root of the correlation that smoothing white noise gives to voxels (V, 3), (V, V)."""
    correlation = np.ones((len(places), len(places)))
    for axis, size in enumerate(config.grid):
        impulse = np.zeros(size)
        impulse[size // 2] = 1
        kernel = ndimage.gaussian_filter1d(impulse, config.noise_smoothness, mode="wrap")
        by_lag = np.array([kernel @ np.roll(kernel, lag) for lag in range(size)])
        lag = np.abs(places[:, None, axis] - places[None, :, axis])
        correlation *= by_lag[lag] / by_lag[0]
    correlation[np.diag_indices_from(correlation)] += 1e-6
    return np.linalg.cholesky(correlation).astype(np.float32)


def null_trials(files: Files, rows: np.ndarray) -> NullTrials:
    """Draws trials without signal, at the times of the trials ``rows`` (n_repeats, n_images)."""
    profile, brain = files.cfg, files["betas"]
    truth = load_ground_truth(profile.data_root, profile.subject, brain["mask"])
    session = brain["session"]
    first = np.searchsorted(session, session)  # trials are in the order of the sessions
    last = np.searchsorted(session, session, side="right") - 1
    position = np.arange(len(session)) - first
    time = 2 * position / np.maximum(last - first, 1) - 1
    return NullTrials(truth, profile.simulation, session[rows], time[rows])


def study_calibration(files: Files) -> dict:
    """How often the reliability test of notebook 05 is wrong where no voxel carries anything.

    Returns
    -------
    dict
        ``n_runs``, ``n_false`` (runs with any voxel called significant at ``level``), ``rate`` with
        its exact binomial 95 % interval ``low`` and ``high``; and of single voxels, as means over
        the runs with their standard errors, ``share`` (voxels with p <= level) and ``z``.
    """
    brain, p = files["betas"], files.cfg.perturbation
    train, nsd_id, session = (brain[name] for name in ("is_train", "nsd_id", "session"))
    target = files["embeddings"]["image"]
    target = target[np.searchsorted(files["embeddings"]["nsd_id"], nsd_id)]
    data = brain["betas"], target, nsd_id
    ridge = encoders.load_encoder(files["ridge"])
    alphas = perturbation.ridge_penalties(ridge, data[0][train], target[train])
    folds = list(perturbation.cross_fit(*data, alphas, n_folds=p.n_folds, seed=files.cfg.seed))
    rows = perturbation.repeat_rows(nsd_id)
    null = null_trials(files, rows)
    settings = {"n_permutations": p.n_permutations, "block_size": p.block_size}

    def compute(run: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([0, run])
        trials = np.zeros_like(data[0])
        trials[rows] = null.draw(rng)
        trials = zscore_sessions(trials, session, train)
        tested = perturbation.max_t(
            perturbation.reliability_of_folds(folds, trials, nsd_id, session, **settings, rng=rng)
        )
        share, z = (tested.p <= LEVEL).mean(), tested.z.mean()
        return {"smallest": tested.p_corrected.min(), "share": share, "z": z}

    key = {**settings, "n_folds": p.n_folds, "level": LEVEL}
    runs = finished(files, "calibration", key, range(N_RUNS), compute)
    n_false = int(sum(run["smallest"] <= LEVEL for run in runs))
    interval = stats.binomtest(n_false, N_RUNS).proportion_ci(0.95, method="exact")
    found = {"rate": n_false / N_RUNS, "low": float(interval.low), "high": float(interval.high)}
    for name in ("share", "z"):
        values = [float(run[name]) for run in runs]
        found |= {name: float(np.mean(values)), f"{name}_error": float(stats.sem(values))}
    return {"n_runs": N_RUNS, **key, "n_false": n_false, **found}


def study_seeds(files: Files) -> dict:
    """How far maps agree between contrastive encoders that differ in their seed only."""
    brain, clip = files["betas"], files["embeddings"]
    train = brain["is_train"]
    target = clip["image"][np.searchsorted(clip["nsd_id"], brain["nsd_id"][train])]
    settings = {name: getattr(files.cfg.encoder, name) for name in CONTRASTIVE}
    pattern, truth = (files["predictions"][name] for name in ("pattern", "truth"))

    def compute(seed: int) -> dict[str, np.ndarray]:
        how = {"settings": MapperSettings(**settings, voxel_dropout=0), "seed": seed}
        data = brain["betas"][train], target, brain["nsd_id"][train]
        encoder, _ = encoders.fit_mapper("contrastive", *data, **how)
        effect = perturbation.embedding_effect(encoder, pattern).mean(0)
        contribution = perturbation.contribution(encoder, pattern, truth).mean(0)
        return {"effect": effect, "contribution": contribution}

    runs = finished(files, "seeds", settings, range(N_SEEDS), compute)
    found = {}
    for name in ("effect", "contribution"):
        agreement = perturbation.between_maps(np.stack([run[name] for run in runs]))
        found[name] = {"mean": agreement.mean, "low": agreement.low, "high": agreement.high}
    return {"n_seeds": N_SEEDS, "encoder": "contrastive", "rank_correlation": found}


def results(files: Files) -> dict:
    """Both parts, or what is missing of them."""
    return {"calibration": study_calibration(files), "seeds": study_seeds(files)}
