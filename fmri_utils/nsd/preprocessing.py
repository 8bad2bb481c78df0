"""From single-trial betas to responses: standardise, average repeats, choose voxels.

Nothing here looks at trials that the caller did not mark: statistics come from training trials,
so that the test images leave no trace in what is done to them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse

from ..errors import DataError


def _check_betas(betas: np.ndarray, **labels: np.ndarray) -> tuple[np.ndarray, ...]:
    betas = np.asarray(betas)
    if betas.ndim != 2 or betas.dtype.kind != "f":
        raise DataError(
            f"betas are {betas.dtype} of shape {betas.shape}; expected floats of "
            "(n_trials, n_voxels), in percent signal change or standardised."
        )
    checked = {name: np.asarray(values) for name, values in labels.items()}
    for name, values in checked.items():
        if values.shape != betas.shape[:1]:
            raise DataError(
                f"{name} has the shape {values.shape}; expected one value for each of the "
                f"{len(betas)} trials. Take both from the same sessions."
            )
    return betas, *checked.values()


def zscore_sessions(
    betas: np.ndarray,
    session: np.ndarray,
    fit: np.ndarray,
    *,
    nan_policy: str = "raise",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Standardise every voxel within every session, with statistics of the training trials.

    The scanner's gain and the subject's state differ between sessions, so NSD's authors compare
    sessions only after this step. Mean and standard deviation (n - 1) come from the trials marked
    in ``fit``, and are applied to all trials of the session.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Percent signal change.
    session : array_like of int, shape (n_trials,)
        Session of each trial.
    fit : array_like of bool, shape (n_trials,)
        True for training trials.
    nan_policy : {"raise", "zero"}
        What to do with a voxel that has NaN or infinite values in a session: raise, or set it to 0
        in that session. :func:`voxel_report` counts such voxels.
    out : ndarray of float32, shape (n_trials, n_voxels), optional
        Where to write; ``betas`` itself, to save memory.

    Returns
    -------
    ndarray of float32, shape (n_trials, n_voxels)
        Standardised betas. A voxel that is constant over a session's training trials, as those
        outside the field of view are, is 0 in that session.

    Raises
    ------
    DataError
        If a session has fewer than two training trials, or a value is not finite.
    """
    betas, session, fit = _check_betas(betas, session=session, fit=fit)
    if fit.dtype != bool:
        raise DataError(f"fit is {fit.dtype}; expected booleans, True for training trials.")
    if nan_policy not in ("raise", "zero"):
        raise DataError(f"nan_policy is {nan_policy!r}; expected 'raise' or 'zero'.")
    if out is None:
        out = np.empty(betas.shape, dtype=np.float32)
    for number in np.unique(session):
        rows = np.flatnonzero(session == number)
        if np.count_nonzero(fit[rows]) < 2:
            raise DataError(
                f"session {number} has {np.count_nonzero(fit[rows])} training trials; at least 2 "
                "are needed to standardise it. Leave the session out, or mark more trials."
            )
        block = betas[rows]
        bad = ~np.isfinite(block).all(axis=0)
        if bad.any() and nan_policy == "raise":
            raise DataError(
                f"{bad.sum()} voxels have NaN or infinite betas in session {number}, first voxel "
                f"{np.flatnonzero(bad)[0]}. Leave them out of the mask, or set nan_policy='zero'."
            )
        block[:, bad] = 0
        out[rows] = _standardise(block, block[fit[rows]])
    return out


def _standardise(block: np.ndarray, training: np.ndarray) -> np.ndarray:
    # Constant voxels are found by their range: their standard deviation may be a rounding error,
    # and dividing by that would turn it into an activity.
    constant = np.ptp(training, axis=0) == 0
    mean = training.mean(axis=0, dtype=np.float64)
    sd = training.std(axis=0, ddof=1, dtype=np.float64)
    sd[constant] = 1
    block = (block - mean) / sd
    block[:, constant] = 0
    return block


def voxel_report(betas: np.ndarray, session: np.ndarray) -> pd.DataFrame:
    """Count the voxels without usable data in every session.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Percent signal change.
    session : array_like of int, shape (n_trials,)
        Session of each trial.

    Returns
    -------
    pandas.DataFrame
        Index ``session``; columns ``all_zero`` (outside the field of view), ``constant`` (the same
        value in all trials, all-zero ones included) and ``not_finite`` (NaN or infinite), in
        numbers of voxels.
    """
    betas, session = _check_betas(betas, session=session)
    rows = []
    for number in np.unique(session):
        block = betas[session == number]
        finite = np.isfinite(block).all(axis=0)
        rows.append(
            {
                "session": number,
                "all_zero": np.count_nonzero(~block.any(axis=0)),
                "constant": np.count_nonzero((block == block[0]).all(axis=0)),
                "not_finite": np.count_nonzero(~finite),
            }
        )
    return pd.DataFrame(rows).set_index("session")


def average_repeats(
    betas: np.ndarray, nsd_id: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the trials of each image.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Usually standardised by session first.
    nsd_id : array_like of int, shape (n_trials,)
        Image of each trial.

    Returns
    -------
    means : ndarray of float32, shape (n_images, n_voxels)
        Mean over each image's trials.
    ids : ndarray, shape (n_images,)
        Image of each row, increasing.
    counts : ndarray of int, shape (n_images,)
        Trials averaged in each row.
    """
    betas, nsd_id = _check_betas(betas, nsd_id=nsd_id)
    ids, image, counts = np.unique(nsd_id, return_inverse=True, return_counts=True)
    weights = (1 / counts[image]).astype(np.float32)
    # A sparse product needs no second copy of the betas.
    average = scipy.sparse.csr_matrix((weights, (image, np.arange(image.size))))
    return np.asarray(average @ betas, dtype=np.float32), ids, counts


def estimate_ncsnr(
    betas: np.ndarray, session: np.ndarray, nsd_id: np.ndarray, *, n_repeats: int = 3
) -> np.ndarray:
    """Estimate the noise-ceiling SNR as NSD does, from the trials given.

    NSD's own map uses all trials. Given training trials only, this is a measure by which voxels
    may be chosen. Each voxel is standardised within each session; the variance (n - 1) over the
    repeats of an image, averaged over images, is the noise variance v^2, the rest up to 1 is
    signal: ncsnr = sqrt(max(0, 1 - v^2)) / v (Allen et al., 2022).

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
        sd(signal) / sd(noise); NaN for voxels that are constant.

    Raises
    ------
    DataError
        If there is no image with that many trials.
    """
    betas, session, nsd_id = _check_betas(betas, session=session, nsd_id=nsd_id)
    scaled = zscore_sessions(betas, session, np.ones(len(betas), dtype=bool))
    ids, counts = np.unique(nsd_id, return_counts=True)
    if n_repeats < 2 or not np.any(counts == n_repeats):
        raise DataError(
            f"no image has {n_repeats} trials (found {np.unique(counts).tolist()}); noise is "
            "measured between repeats. Read more sessions, or choose another n_repeats from 2."
        )
    rows = np.isin(nsd_id, ids[counts == n_repeats])
    means, ids, _ = average_repeats(scaled[rows], nsd_id[rows])
    squares = np.einsum("tv,tv->v", scaled[rows], scaled[rows], dtype=np.float64)
    between = np.einsum("iv,iv->v", means, means, dtype=np.float64) * n_repeats
    noise = np.maximum(0, squares - between) / (len(ids) * (n_repeats - 1))
    usable = squares > 0
    ncsnr = np.full(noise.shape, np.nan, dtype=np.float32)
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
        Standardised betas of training trials.
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
        NaN for voxels that are constant.

    Raises
    ------
    DataError
        If fewer than three images have two trials.
    """
    betas, nsd_id = _check_betas(betas, nsd_id=nsd_id)
    total = np.zeros(betas.shape[1])
    for _ in range(n_splits):
        order = rng.permutation(nsd_id.size)
        order = order[np.argsort(nsd_id[order], kind="stable")]
        _, starts, counts = np.unique(nsd_id[order], return_index=True, return_counts=True)
        starts = starts[counts >= 2]
        if starts.size < 3:
            raise DataError(
                f"{starts.size} images have at least two trials; a reliability needs more. Read "
                "more sessions."
            )
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
