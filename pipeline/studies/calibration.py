"""Are the p values right? The whole test repeated on a subject in whom no voxel carries anything.

The decoder stays as it is. Test trials are drawn anew without signal, with all that the simulator
puts into a trial otherwise: noise that neighbours share, noise in the signal's own subspace, and
slow trends within sessions, at the very times at which the test images were shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage, stats

from fmri_utils.encoders import LinearEncoder
from fmri_utils.perturbation.nulls import draw_pairings, max_t, reliability
from fmri_utils.project.parts import Parts
from fmri_utils.project.simulation_config import SimulationConfig
from simulated_nsd.ground_truth import GroundTruth

N_BINS = 20
LEVEL = 0.05  # of the test
SEED = 0  # of the runs without signal


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
        self._patterns = truth.signal / np.float32(np.sqrt(len(truth.signal)))
        places = truth.voxels[["i", "j", "k"]].to_numpy()
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


def null_run(
    encoder: LinearEncoder, trials: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The reliability test on one set of trials, in brief.

    Returns
    -------
    dict
        ``smallest`` family-wise p value, ``smallest_q``, and ``histogram`` of single-voxel p
        values in :data:`N_BINS` equal bins from 0 to 1.
    """
    pairings = draw_pairings(n_permutations, *trials.shape[:2], rng)
    found = max_t(reliability(encoder, trials, pairings))
    # A p value on the border of two bins belongs to the lower one: p <= .05 is the first bin.
    bins = np.clip(np.ceil(found.p * N_BINS - 1e-9).astype(int) - 1, 0, N_BINS - 1)
    return {
        "smallest": found.p_corrected.min(),
        "smallest_q": found.q.min(),
        "histogram": np.bincount(bins, minlength=N_BINS),
    }


def calibrate(
    encoder: LinearEncoder,
    null_trials: NullTrials,
    *,
    folder: Path,
    key: Mapping,
    n_runs: int,
    n_permutations: int = 500,
    progress: bool = False,
) -> dict:
    """Family-wise error of the reliability test over simulated runs without any signal; resumable.

    Parameters
    ----------
    encoder : LinearEncoder
        Fixed over all runs.
    null_trials : NullTrials
    folder, key
        As for :class:`fmri_utils.project.parts.Parts`; each run is one part, and more runs can be
        added later.

    Returns
    -------
    dict
        ``n_runs``, ``n_false`` (runs with any voxel called significant), ``rate`` with its exact
        binomial 95 % interval ``low`` and ``high``; the same as ``..._q`` for the false-discovery
        rate, which under this null is the same thing; ``p_histogram`` over all voxels and runs.
    """
    parts = Parts(folder, {**key, "n_permutations": n_permutations, "seed": SEED})

    def compute(run: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([SEED, run])
        return null_run(encoder, null_trials.draw(rng), n_permutations, rng)

    numbers = range(n_runs)
    parts.run(numbers, compute, progress=progress, what="runs without signal")
    runs = [parts.load(number) for number in numbers]
    histogram = np.sum([run["histogram"] for run in runs], axis=0)
    summary = {"n_runs": n_runs, "n_permutations": n_permutations, "level": LEVEL}
    for name, suffix in (("smallest", ""), ("smallest_q", "_q")):
        n_false = int(sum(float(run[name]) <= LEVEL for run in runs))
        interval = stats.binomtest(n_false, n_runs).proportion_ci(0.95, method="exact")
        values = (n_false, n_false / n_runs, float(interval.low), float(interval.high))
        keys = [label + suffix for label in ("n_false", "rate", "low", "high")]
        summary |= dict(zip(keys, values, strict=True))
    return summary | {"p_histogram": (histogram / histogram.sum()).round(5).tolist()}
