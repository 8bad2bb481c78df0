"""How reliable voxels are: signal against noise, and the correlation of repeats.

These look at every trial that they are given. Give them training trials only, and voxels may be
chosen by what comes out.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from ..project.errors import DataError
from .preprocessing import average_repeats, check_betas, groups_with_data, zscore_sessions
from .quality import noise_residuals

N_REPEATS = 3  # NSD estimates the noise from the images with all their trials
FAR_MM = 20.0  # noise that neighbours share, from vessels and the image's blur, is over by then


def estimate_ncsnr(betas: np.ndarray, session: np.ndarray, nsd_id: np.ndarray) -> np.ndarray:
    """Estimate the noise-ceiling SNR as NSD does, from the trials given.

    NSD's own map uses all trials. Given training trials only, this is a measure by which voxels
    may be chosen. Each voxel is standardised within each session; the variance (n - 1) over the
    repeats of an image, averaged over images, is the noise variance v^2, the rest up to 1 is
    signal: ncsnr = sqrt(max(0, 1 - v^2)) / v (Allen et al., 2022). Sessions in which a voxel is
    constant are left out for this voxel.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Percent signal change or standardised.
    session, nsd_id : array_like of int, shape (n_trials,)
        Session and image of each trial. Only images with exactly three trials are used.

    Returns
    -------
    ndarray of float32, shape (n_voxels,)
        sd(signal) / sd(noise); NaN for voxels that are constant, or have no image with
        three trials.

    Raises
    ------
    DataError
        If there is no image with three trials.
    """
    betas, session, nsd_id = check_betas(betas, session=session, nsd_id=nsd_id)
    scaled = zscore_sessions(betas, session, np.ones(len(betas), dtype=bool))
    counts = np.unique(nsd_id, return_counts=True)[1]
    if not np.any(counts == N_REPEATS):
        raise DataError(
            f"no image has {N_REPEATS} trials, only {np.unique(counts).tolist()}. Read more "
            "sessions."
        )
    ncsnr = _ncsnr_of(scaled, nsd_id)
    for trials, voxels in groups_with_data(betas, session):
        ncsnr[voxels] = _ncsnr_of(scaled[np.ix_(trials, voxels)], nsd_id[trials])
    return ncsnr


def _ncsnr_of(scaled: np.ndarray, nsd_id: np.ndarray) -> np.ndarray:
    """The noise-ceiling SNR of z-scored betas; NaN without an image with three trials."""
    ids, counts = np.unique(nsd_id, return_counts=True)
    rows = np.isin(nsd_id, ids[counts == N_REPEATS])
    ncsnr = np.full(scaled.shape[1], np.nan, dtype=np.float32)
    if not rows.any():
        return ncsnr
    means, ids, _ = average_repeats(scaled[rows], nsd_id[rows])
    squares = np.einsum("tv,tv->v", scaled[rows], scaled[rows], dtype=np.float64)
    between = np.einsum("iv,iv->v", means, means, dtype=np.float64) * N_REPEATS
    noise = np.maximum(0, squares - between) / (len(ids) * (N_REPEATS - 1))
    usable = squares > 0
    ncsnr[usable] = np.sqrt(np.maximum(0, 1 - noise[usable]) / noise[usable])
    return ncsnr


def split_half_reliability(
    betas: np.ndarray, nsd_id: np.ndarray, rng: np.random.Generator, *, n_splits: int = 10
) -> np.ndarray:
    """Correlation of a voxel's responses to the same images in two different trials.

    Give it training trials only: then voxels may be chosen by it.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Standardised betas of training trials. Those without data (:func:`lacking_data`) are left
        out for the voxels that lack them.
    nsd_id : array_like of int, shape (n_trials,)
        Image of each trial. Images with one trial are left out.
    rng : numpy.random.Generator
        Draws the two trials of each image.
    n_splits : int
        Draws to average over.

    Returns
    -------
    ndarray of float32, shape (n_voxels,)
        Pearson correlation over images, of single trials (without Spearman-Brown correction);
        NaN for voxels that are constant, or have data in two trials of fewer than three images.

    Raises
    ------
    DataError
        If fewer than three images have two trials.
    """
    betas, nsd_id = check_betas(betas, nsd_id=nsd_id)
    n_images = np.count_nonzero(np.unique(nsd_id, return_counts=True)[1] >= 2)
    if n_images < 3:
        raise DataError(
            f"{n_images} images have at least two trials; expected 3. Read more sessions."
        )
    found = _reliability_of(betas, nsd_id, rng, n_splits)
    for trials, voxels in groups_with_data(betas):
        with_data, own_rng = betas[np.ix_(trials, voxels)], rng.spawn(1)[0]
        found[voxels] = _reliability_of(with_data, nsd_id[trials], own_rng, n_splits)
    return found


def _reliability_of(
    betas: np.ndarray, nsd_id: np.ndarray, rng: np.random.Generator, n_splits: int
) -> np.ndarray:
    """Correlation of single trials; NaN if fewer than three images have two."""
    total = np.zeros(betas.shape[1])
    for _ in range(n_splits):
        order = rng.permutation(nsd_id.size)
        order = order[np.argsort(nsd_id[order], kind="stable")]
        _, starts, counts = np.unique(nsd_id[order], return_index=True, return_counts=True)
        starts = starts[counts >= 2]
        if starts.size < 3:
            return np.full(betas.shape[1], np.nan, np.float32)
        first, second = (_unit(betas[order[starts + i]]) for i in (0, 1))
        total += np.einsum("iv,iv->v", first, second)
    return (total / n_splits).astype(np.float32)


def _unit(responses: np.ndarray) -> np.ndarray:
    """Centre and scale each column to length 1; NaN if it is constant."""
    centred = responses - responses.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=0)
    length[np.ptp(responses, axis=0) == 0] = np.nan
    return centred / length


class NoiseLikeSignal(NamedTuple):
    """Noise that varies over voxels as the signal does: more voxels do not average it out.

    Attributes
    ----------
    ratio : float
        Its variance as a multiple of the signal's, in a single trial.
    share : float
        Its share of the noise variance of all voxels.
    """

    ratio: float
    share: float


def noise_like_signal(
    betas: np.ndarray, nsd_id: np.ndarray, coordinates: np.ndarray, rng: np.random.Generator
) -> NoiseLikeSignal:
    """How much of the noise lies along the signal's own patterns (Moreno-Bote et al., 2014).

    What the repeats of an image have in common is signal, what they differ by is noise. The
    covariance over voxels of the one is projected on that of the other: if the noise covariance
    is ``ratio`` times the signal's, and beside it only neighbours share noise, then ``ratio`` is
    sum(N S) / sum(S S) over pairs of voxels more than :data:`FAR_MM` apart. N and S come from
    different halves of the images, as do the two S, or their own errors would be multiplied.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Standardised within sessions. A thousand voxels will do: matrices are voxels x voxels.
    nsd_id : array_like of int, shape (n_trials,)
        Image of each trial. Images with one trial are left out.
    coordinates : ndarray, shape (n_voxels, 3)
        From :func:`~fmri_utils.nsd.quality.voxel_coordinates`, in millimetres.
    rng : numpy.random.Generator
        Divides the images.

    Returns
    -------
    NoiseLikeSignal
        NaN without distant voxels that share a signal. Voxels that lack a trial are left out.

    Raises
    ------
    DataError
        If fewer than four images have two trials.
    """
    ids, counts = np.unique(nsd_id, return_counts=True)
    ids = rng.permutation(ids[counts >= 2])
    if ids.size < 4:
        raise DataError(f"{ids.size} images have two trials; expected 4. Read more sessions.")
    halves = [np.isin(nsd_id, ids[start::2]) for start in (0, 1)]
    found = [_noise_and_signal(betas[rows], nsd_id[rows]) for rows in halves]
    (noise, signal), (other_noise, other_signal) = found
    far = cdist(coordinates, coordinates) > FAR_MM
    along = np.nansum((noise * other_signal + other_noise * signal)[far])
    common = 2 * np.nansum((signal * other_signal)[far])
    ratio = float(along / common) if common > 0 else np.nan
    variance = np.nansum(np.diag(signal + other_signal)) / np.nansum(np.diag(noise + other_noise))
    return NoiseLikeSignal(ratio, ratio * float(variance))


def _noise_and_signal(betas: np.ndarray, nsd_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariances over voxels of noise and signal, (V, V) each; NaN where a voxel lacks a trial."""
    residuals, _ = noise_residuals(betas, nsd_id)
    noise = residuals.T @ residuals / np.float32(len(residuals))
    means, _, counts = average_repeats(betas, nsd_id)
    means = means - means.mean(axis=0)
    signal = means.T @ means / (len(means) - 1) - noise * np.mean(1 / counts)
    return noise, signal
