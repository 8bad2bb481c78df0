"""From noiseless responses to what NSD stores: noise, drift, missing coverage, int16.

Also the noise-ceiling SNR, computed from the measured betas by NSD's own recipe, never from what
was planted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from fmri_utils.project.simulation_config import (
    BETA_VERSIONS,
    N_REPEATS,
    PSC_SCALE,
    TRIALS_PER_SESSION,
    SimulationConfig,
)

from .brain import Brain

BLOCK = 125  # trials whose noise volumes are in memory at once
N_MISSING = 4  # voxels of nsdgeneral that one session does not cover
INT16_MAX = 32767
N_NEAR = 8  # tuned voxels whose noise a null voxel shares
MAX_SHARE = 0.95  # largest share of a voxel's noise in the signal's subspace
# What a version of the betas has more noise than the one before it, as SD relative to the noise of
# b3. The order is NSD's (ceilings rise from b1 to b3); the sizes are made up.
EXTRA_NOISE = {"betas_fithrf": 0.45, "betas_assumehrf": 0.60}


@dataclass(frozen=True)
class Measurement:
    """Everything that a session's betas depend on, apart from the order of its trials.

    Attributes
    ----------
    shape : tuple of int
        Grid (X, Y, Z).
    inside : ndarray of int64, shape (M,)
        Flat C-order index of the voxels of the brain mask, increasing.
    mean, noise_sd : ndarray of float32, shape (M,)
        Mean response and SD of the noise, percent signal change.
    responsive : ndarray of int64, shape (V,)
        Position in ``inside`` of the voxels that may respond.
    signal : ndarray of float32, shape (n_images, V)
        Noiseless responses, z-scored over images; 0 for null voxels.
    signal_sd : ndarray of float32, shape (V,)
        Their SD in percent signal change.
    shared : ndarray of float32, shape (V,)
        Share of the noise variance that lies in the signal's subspace.
    noise_patterns : ndarray of float32, shape (n_images, V)
        What that share is a random mixture of, from :func:`noise_patterns`.
    covered : ndarray of bool, shape (n_sessions, M)
        False where a session's field of view misses a voxel.
    """

    shape: tuple[int, ...]
    inside: np.ndarray
    mean: np.ndarray
    noise_sd: np.ndarray
    responsive: np.ndarray
    signal: np.ndarray
    signal_sd: np.ndarray
    shared: np.ndarray
    noise_patterns: np.ndarray
    covered: np.ndarray


def make_measurement(
    brain: Brain, signal: np.ndarray, config: SimulationConfig, n_sessions: int
) -> Measurement:
    """Set signal and noise so that their ratio is each voxel's planted ncsnr.

    Parameters
    ----------
    brain : Brain
        The subject's brain.
    signal : ndarray of float32, shape (n_images, V)
        Noiseless responses, z-scored.
    config : SimulationConfig
        Share of the noise in the signal's subspace.
    n_sessions : int
        Sessions measured.

    Returns
    -------
    Measurement
    """
    inside = np.flatnonzero(brain.anatomy.brainmask)
    voxels = brain.voxels
    responsive = np.searchsorted(inside, voxels.index)
    total = brain.sd_psc.ravel()[inside]
    ratio = np.zeros(inside.size, np.float32)
    ratio[responsive] = voxels.ncsnr
    noise_sd = total / np.sqrt(1 + ratio**2)
    shared = shared_share(voxels.ncsnr, voxels.general, config.shared_noise)
    shared[voxels.null] = config.null_shared_noise
    places = np.stack(np.unravel_index(voxels.index, brain.anatomy.tissue.shape), axis=1)
    return Measurement(
        shape=brain.anatomy.tissue.shape,
        inside=inside,
        mean=brain.mean_psc.ravel()[inside],
        noise_sd=noise_sd,
        responsive=responsive,
        signal=signal,
        signal_sd=(ratio * noise_sd)[responsive],
        shared=shared,
        noise_patterns=noise_patterns(signal, voxels.null, places),
        covered=coverage(brain, n_sessions),
    )


def shared_share(ncsnr: np.ndarray, general: np.ndarray, mean: float) -> np.ndarray:
    """Share of each voxel's noise variance that lies in the signal's subspace.

    Noise that limits information looks like the signal itself: a pattern that another picture could
    have evoked, strong where the signal is strong (Moreno-Bote et al., 2014, Nature Neuroscience
    17, 1410-1417). More voxels do not average it out. Its variance is therefore proportional to
    that of the signal, up to ``MAX_SHARE`` of the noise.

    Parameters
    ----------
    ncsnr : ndarray, shape (V,)
        Signal SD / noise SD; 0 for null voxels, whose share is 0 here.
    general : ndarray of bool, shape (V,)
        Voxels over which the mean share is set (those with a signal).
    mean : float
        Mean share, 0 to ``MAX_SHARE``.

    Returns
    -------
    ndarray of float32, shape (V,)
    """
    power = ncsnr.astype(float) ** 2
    inside = power[general & (ncsnr > 0)]

    def excess(log_scale: float) -> float:
        return float(np.minimum(np.exp(log_scale) * inside, MAX_SHARE).mean()) - mean

    if mean == 0:
        return np.zeros(ncsnr.shape, np.float32)
    scale = np.exp(brentq(excess, -30, 30)) if mean < MAX_SHARE else np.inf
    share = np.minimum(np.where(power > 0, scale, 0) * np.maximum(power, 1e-12), MAX_SHARE)
    return np.where(power > 0, share, 0).astype(np.float32)


def noise_patterns(signal: np.ndarray, null: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The signals, and in every null voxel the mean signal of the nearest tuned ones.

    Blood vessels and movement carry the noise of tuned voxels into neighbours without a signal.
    There a decoder can read the noise alone, and subtract it.

    Parameters
    ----------
    signal : ndarray of float32, shape (n_images, V)
        z-scored over images; 0 for null voxels.
    null : ndarray of bool, shape (V,)
    places : ndarray, shape (V, 3)
        In voxels.

    Returns
    -------
    ndarray of float32, shape (n_images, V)
        Unit variance over images.
    """
    tuned = np.flatnonzero(~null)
    patterns = signal.copy()
    if null.any():
        near = cKDTree(places[tuned]).query(places[null], min(N_NEAR, tuned.size))[1]
        mixed = signal[:, tuned[near]].reshape(len(signal), int(null.sum()), -1).mean(axis=2)
        patterns[:, null] = mixed / np.maximum(mixed.std(axis=0), 1e-12)
    return patterns


def beyond_view(brain: Brain, n_general: int) -> np.ndarray:
    """Voxels of the brain mask that a slightly shifted field of view cuts off.

    The cut is a plane across the back of the head, placed so that it takes ``n_general`` voxels of
    nsdgeneral.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
    """
    shape = brain.anatomy.tissue.shape
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    reach = 0.35 * x - y - 0.2 * z
    general = brain.areas.labels["nsdgeneral"] == 1
    limit = np.sort(reach[general])[-n_general]
    return brain.anatomy.brainmask & (reach >= limit)


def coverage(brain: Brain, n_sessions: int) -> np.ndarray:
    """Which voxels of the brain mask each session covers, (n_sessions, M): one misses some."""
    inside = brain.anatomy.brainmask.ravel()
    covered = np.ones((n_sessions, int(inside.sum())), bool)
    covered[min(1, n_sessions - 1)] = ~beyond_view(brain, N_MISSING).ravel()[inside]
    return covered


def measure_session(
    measurement: Measurement,
    images: np.ndarray,
    session: int,
    config: SimulationConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Simulate one session's single-trial betas.

    Parameters
    ----------
    measurement : Measurement
        Signal and noise of every voxel.
    images : ndarray of int, shape (750,)
        Position of each trial's picture among the subject's pictures, from 0.
    session : int
        From 1.
    config : SimulationConfig
        Noise parameters.
    rng : numpy.random.Generator
        Draws noise and drift.

    Returns
    -------
    ndarray of int16, shape (750, M)
        300 x percent signal change, rounded and saturated; 0 where the session has no coverage.
    """
    m = measurement
    responsive = m.responsive
    gain, offset, slow = _drift(m, config, rng)
    out = np.empty((TRIALS_PER_SESSION, m.inside.size), np.int16)
    for start in range(0, TRIALS_PER_SESSION, BLOCK):
        rows = slice(start, start + BLOCK)
        noise = _local_noise(m, config, rng)
        shared = _shared_noise(m.noise_patterns, rng)
        noise[:, responsive] *= np.sqrt(1 - m.shared)
        noise[:, responsive] += np.sqrt(m.shared) * shared
        noise *= m.noise_sd
        noise[:, responsive] += m.signal[images[rows]] * m.signal_sd
        betas = (m.mean + noise) * gain + offset + slow[rows]
        out[rows] = to_int16(betas)
    out[:, ~m.covered[session - 1]] = 0
    return out


def noisier_versions(
    measurement: Measurement, betas: np.ndarray, config: SimulationConfig, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Give the same session in all versions of the betas, each with more noise than the last.

    Parameters
    ----------
    measurement : Measurement
        Signal and noise of every voxel.
    betas : ndarray of int16, shape (750, M)
        The session as :func:`measure_session` gives it: b3.
    config : SimulationConfig
        How alike the noise of neighbours is.
    rng : numpy.random.Generator
        Draws the noise. A version's noise does not depend on which others are wanted.

    Yields
    ------
    version : str
        In the order of ``BETA_VERSIONS``.
    betas : ndarray of int16, shape (750, M)
    """
    yield BETA_VERSIONS[0], betas
    missing = ~betas.any(axis=0)  # outside the field of view there is no noise either
    noisy = betas.astype(np.float32) / np.float32(PSC_SCALE)
    for version in BETA_VERSIONS[1:]:
        for start in range(0, TRIALS_PER_SESSION, BLOCK):
            noise = _local_noise(measurement, config, rng) * measurement.noise_sd
            noisy[start : start + BLOCK] += np.float32(EXTRA_NOISE[version]) * noise
        noisy[:, missing] = 0
        yield version, to_int16(noisy)


def _local_noise(m: Measurement, config: SimulationConfig, rng) -> np.ndarray:
    """Noise of unit variance that neighbours share in part, (BLOCK, M)."""
    white = rng.standard_normal((BLOCK, m.inside.size), dtype=np.float32)
    white *= np.sqrt(np.float32(config.noise_white))
    sigma = config.noise_smoothness
    smooth = rng.standard_normal((BLOCK, *m.shape), dtype=np.float32)
    ndimage.gaussian_filter(smooth, (0, sigma, sigma, sigma), output=smooth, mode="wrap")
    smooth = smooth.reshape(BLOCK, -1)[:, m.inside]
    scale = np.sqrt(1 - config.noise_white) / _smooth_sd(sigma, m.shape)
    return white + np.float32(scale) * smooth


def _smooth_sd(sigma: float, shape: tuple[int, ...]) -> np.float32:
    """SD of white noise after ``gaussian_filter``: the norm of the kernel."""
    impulse = np.zeros(shape)
    impulse[tuple(n // 2 for n in shape)] = 1
    return np.float32(np.linalg.norm(ndimage.gaussian_filter(impulse, sigma, mode="wrap")))


def _shared_noise(patterns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with the covariance of the patterns, unit variance in every voxel, (BLOCK, V).

    A random mixture of all images' patterns has, along every principal component of the signal,
    the variance that the signal has there.
    """
    mixture = rng.standard_normal((BLOCK, len(patterns)), dtype=np.float32)
    return mixture @ patterns / np.float32(np.sqrt(len(patterns)))


def _drift(m: Measurement, config: SimulationConfig, rng):
    """Gain (M,), offset (M,) and slow trend (750, M) of a session, percent signal change."""
    n = m.inside.size
    sd = m.noise_sd.copy()
    sd[m.responsive] = np.hypot(sd[m.responsive], m.signal_sd)
    gain = np.exp(config.drift_gain * rng.standard_normal(n, dtype=np.float32))
    offset = config.drift_offset * sd * rng.standard_normal(n, dtype=np.float32)
    time = np.linspace(-1, 1, TRIALS_PER_SESSION)
    shapes = np.stack([np.sqrt(3) * time, np.sqrt(2) * np.cos(np.pi * time)], axis=1)
    weights = rng.standard_normal((2, n), dtype=np.float32) / np.float32(np.sqrt(2))
    slow = shapes.astype(np.float32) @ (config.drift_trend * sd * weights)
    return gain, offset, slow


def to_int16(betas: np.ndarray) -> np.ndarray:
    """Percent signal change to NSD's int16: times 300, rounded half away from zero, saturated."""
    scaled = np.asarray(betas, np.float32) * np.float32(PSC_SCALE)
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    return np.clip(rounded, -INT16_MAX, INT16_MAX).astype(np.int16)


def repeat_variance(
    sessions: Iterable[np.ndarray], images: np.ndarray, covered: np.ndarray
) -> np.ndarray:
    """Variance over the three trials of each image, of betas z-scored within sessions.

    Parameters
    ----------
    sessions : iterable of ndarray of float32, shape (750, M)
        Betas of one session after the other, any unit.
    images : ndarray of int, shape (n_sessions * 750,)
        Image of every trial.
    covered : ndarray of bool, shape (n_sessions, M)
        False where a session missed a voxel.

    Returns
    -------
    ndarray of float32, shape (n_images_with_three_trials, M)
        Unbiased variances, images in increasing order; NaN where a session missed the voxel.
    """
    _, inverse, counts = np.unique(images, return_inverse=True, return_counts=True)
    complete = counts == N_REPEATS
    row = np.cumsum(complete) - 1
    total = squares = 0
    for number, betas in enumerate(sessions):
        z = betas - betas.mean(axis=0)
        sd = z.std(axis=0, ddof=1)
        valid = covered[number] & (sd > 0)
        z = np.divide(z, sd, out=np.full_like(z, np.nan), where=valid)
        trial_image = inverse[number * TRIALS_PER_SESSION : (number + 1) * TRIALS_PER_SESSION]
        trials = np.flatnonzero(complete[trial_image])
        # Sums over an image's trials as a product with a sparse matrix of ones.
        pick = sparse.csr_array(
            (np.ones(trials.size, np.float32), (row[trial_image[trials]], trials)),
            shape=(int(complete.sum()), TRIALS_PER_SESSION),
        )
        total = total + pick @ z
        squares = squares + pick @ z**2
    return (squares - total**2 / N_REPEATS) / (N_REPEATS - 1)


def noise_ceiling_snr(variance: np.ndarray) -> np.ndarray:
    """Signal SD / noise SD by the recipe of the NSD Data Manual.

    The noise variance is the mean of an image's variance over its trials; what it leaves of the
    total variance, which is 1 after z-scoring, is the signal's.

    Parameters
    ----------
    variance : ndarray of float32, shape (n_images, M)
        From :func:`repeat_variance`, or every second row of it for a split.

    Returns
    -------
    ndarray of float32, shape (M,)
        NaN where no image counts.
    """
    valid = np.isfinite(variance)
    n_valid = valid.sum(axis=0)
    noise = np.full(n_valid.size, np.nan, np.float32)
    np.divide(np.where(valid, variance, 0).sum(axis=0), n_valid, out=noise, where=n_valid > 0)
    return np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)
