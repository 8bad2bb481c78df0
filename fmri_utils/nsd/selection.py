"""Choose voxels, without looking at the test images.

:func:`score_voxels` takes the split and looks at training trials only. The functions that it is
made of look at every trial that they are given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..project.errors import DataError
from .preprocessing import average_repeats, check_betas, groups_with_data, zscore_sessions
from .splits import Split


def score_voxels(
    betas: np.ndarray,
    table: pd.DataFrame,
    split: Split,
    rng: np.random.Generator,
    *,
    measure: str = "reliability",
) -> np.ndarray:
    """Score voxels for :func:`select_voxels`, from the training trials of a split only.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Of all trials of the table; test trials are not looked at. Standardise them first with
        statistics of the training trials (:func:`zscore_sessions`).
    table : pandas.DataFrame
        From :func:`trial_table`, with the same rows.
    split : Split
        Made from ``table``.
    rng : numpy.random.Generator
        Draws the trials that reliability compares.
    measure : {"reliability", "ncsnr"}
        :func:`split_half_reliability`, or :func:`estimate_ncsnr` over images with three trials.

    Returns
    -------
    ndarray of float32, shape (n_voxels,)
        Higher is better; NaN for voxels that are constant.

    Raises
    ------
    DataError
        If the split was not made from this table, or a training trial shows a test image.
    """
    betas, nsd_id = check_betas(betas, nsd_id=table["nsd_id"].to_numpy())
    split.check_fits(nsd_id)
    rows = split.train_trials
    if measure == "reliability":
        return split_half_reliability(betas[rows], nsd_id[rows], rng)
    if measure == "ncsnr":
        return estimate_ncsnr(betas[rows], table["session"].to_numpy()[rows], nsd_id[rows])
    raise DataError(f"measure is {measure!r}; expected 'reliability' or 'ncsnr'.")


def estimate_ncsnr(
    betas: np.ndarray, session: np.ndarray, nsd_id: np.ndarray, *, n_repeats: int = 3
) -> np.ndarray:
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
        Session and image of each trial.
    n_repeats : int
        Only images with exactly this many trials are used, at least 2.

    Returns
    -------
    ndarray of float32, shape (n_voxels,)
        sd(signal) / sd(noise); NaN for voxels that are constant, or have no image with that many
        trials.

    Raises
    ------
    DataError
        If there is no image with that many trials.
    """
    betas, session, nsd_id = check_betas(betas, session=session, nsd_id=nsd_id)
    scaled = zscore_sessions(betas, session, np.ones(len(betas), dtype=bool))
    counts = np.unique(nsd_id, return_counts=True)[1]
    if n_repeats < 2 or not np.any(counts == n_repeats):
        raise DataError(
            f"no image has {n_repeats} trials (found {np.unique(counts).tolist()}); noise is "
            "measured between repeats. Read more sessions, or choose another n_repeats from 2."
        )
    ncsnr = _ncsnr_of(scaled, nsd_id, n_repeats)
    for trials, voxels in groups_with_data(betas, session):
        ncsnr[voxels] = _ncsnr_of(scaled[np.ix_(trials, voxels)], nsd_id[trials], n_repeats)
    return ncsnr


def _ncsnr_of(scaled: np.ndarray, nsd_id: np.ndarray, n_repeats: int) -> np.ndarray:
    """The noise-ceiling SNR of z-scored betas; NaN without an image with that many trials."""
    ids, counts = np.unique(nsd_id, return_counts=True)
    rows = np.isin(nsd_id, ids[counts == n_repeats])
    ncsnr = np.full(scaled.shape[1], np.nan, dtype=np.float32)
    if not rows.any():
        return ncsnr
    means, ids, _ = average_repeats(scaled[rows], nsd_id[rows])
    squares = np.einsum("tv,tv->v", scaled[rows], scaled[rows], dtype=np.float64)
    between = np.einsum("iv,iv->v", means, means, dtype=np.float64) * n_repeats
    noise = np.maximum(0, squares - between) / (len(ids) * (n_repeats - 1))
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
            f"{n_images} images have at least two trials; a reliability needs more. Read more "
            "sessions."
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


def select_voxels(
    score: np.ndarray, *, threshold: float | None = None, top: int | None = None
) -> np.ndarray:
    """Choose voxels by a score that was computed from training trials.

    Parameters
    ----------
    score : array_like, shape (n_voxels,)
        E.g. of :func:`split_half_reliability` or :func:`estimate_ncsnr`. NaN is never chosen.
    threshold : float, optional
        Choose voxels with at least this score.
    top : int, optional
        Choose this many voxels, of highest score. Give exactly one of the two.

    Returns
    -------
    ndarray of bool, shape (n_voxels,)

    Raises
    ------
    DataError
        If neither or both are given, or no voxel (or too few) qualifies.
    """
    score = np.asarray(score, dtype=float)
    if (threshold is None) == (top is None):
        raise DataError("give either threshold or top to choose voxels.")
    valid = np.isfinite(score)
    if threshold is not None:
        chosen = valid & (np.where(valid, score, -np.inf) >= threshold)
    else:
        if not 1 <= top <= valid.sum():
            raise DataError(f"top is {top}; expected 1 to {valid.sum()}, the voxels with a score.")
        chosen = np.zeros(score.shape, dtype=bool)
        chosen[np.argsort(np.where(valid, -score, np.inf), kind="stable")[:top]] = True
    if not chosen.any():
        raise DataError(f"no voxel has a score of at least {threshold}: lower the threshold.")
    return chosen


def select_by_ncsnr(
    ncsnr: np.ndarray, *, threshold: float | None = None, top: int | None = None
) -> np.ndarray:
    """Choose voxels by NSD's own map of :func:`read_ncsnr`. This map has seen the test set.

    NSD computed it from all trials, those of the shared images included, so a decoder's score on
    shared images is optimistic after this choice. Papers do it nevertheless; use it to compare
    with them, and otherwise :func:`select_voxels` on a score of the training trials.

    Parameters, results and errors are those of :func:`select_voxels`.
    """
    return select_voxels(ncsnr, threshold=threshold, top=top)
