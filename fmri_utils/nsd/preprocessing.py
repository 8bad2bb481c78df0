"""From single-trial betas to responses: standardise by session, average repeats.

Nothing here looks at trials that the caller did not mark: statistics come from training trials,
so that the test images leave no trace in what is done to them.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse

from ..project.errors import DataError
from .paths import PSC_SCALE

# Percent signal change that int16 can hold, 109.2. No voxel's standard deviation is beyond it.
MAX_PSC = 2**15 / PSC_SCALE

MIN_ZEROS, MIN_ZERO_SHARE = 10, 0.01  # more exact zeros than these are trials without data
TRIALS_AT_ONCE = 512


def check_betas(betas: np.ndarray, **labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return betas and their labels as arrays if they are floats, two-dimensional, and match.

    Raises
    ------
    DataError
        If they are not, or a label does not have one value per trial.
    """
    betas = np.asarray(betas)
    if betas.ndim != 2 or betas.dtype.kind != "f":
        raise DataError(
            f"betas are {betas.dtype} of {betas.shape}; expected floats (n_trials, n_voxels)."
        )
    checked = {name: np.asarray(values) for name, values in labels.items()}
    for name, values in checked.items():
        if values.shape != betas.shape[:1]:
            raise DataError(
                f"{name} has {values.shape}; expected one value for each of the {len(betas)} "
                "trials."
            )
    return betas, *checked.values()


def zscore_sessions(betas: np.ndarray, session: np.ndarray, fit: np.ndarray) -> np.ndarray:
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

    Returns
    -------
    ndarray of float32, shape (n_trials, n_voxels)
        Standardised betas. A voxel that is constant over a session's training trials, as those
        outside the field of view are, is 0 in that session.

    Raises
    ------
    DataError
        If a session has fewer than two training trials or no voxel that varies, a value is not
        finite, or the betas cannot be percent signal change.
    """
    betas, session, fit = check_betas(betas, session=session, fit=fit)
    if fit.dtype != bool:
        raise DataError(f"fit is {fit.dtype}; expected booleans, True for training trials.")
    out = np.empty(betas.shape, dtype=np.float32)
    for number in np.unique(session):
        rows = np.flatnonzero(session == number)
        if np.count_nonzero(fit[rows]) < 2:
            raise DataError(
                f"session {number} has {np.count_nonzero(fit[rows])} training trials; expected 2 "
                "or more. Leave the session out."
            )
        block = betas[rows]
        bad = ~np.isfinite(block).all(axis=0)
        if bad.any():
            raise DataError(
                f"{bad.sum()} voxels have NaN or infinite betas in session {number}, first voxel "
                f"{np.flatnonzero(bad)[0]}. Leave them out of the mask; voxel_report() counts them."
            )
        training = block[fit[rows]]
        # Constant voxels are found by their range: their standard deviation may be a rounding
        # error, and dividing by that would turn it into an activity.
        constant = np.ptp(training, axis=0) == 0
        if constant.all():
            raise DataError(
                f"all {constant.size} voxels are constant in session {number}. Fetch the session "
                "again, leave it out, or choose another area."
            )
        mean = training.mean(axis=0, dtype=np.float64)
        sd = training.std(axis=0, ddof=1, dtype=np.float64)
        typical = np.median(sd[~constant])
        if typical > MAX_PSC:
            raise DataError(
                f"the betas of session {number} have a standard deviation of {typical:.0f} in the "
                f"median voxel; expected at most {MAX_PSC:.0f}. These are NSD's stored integers: "
                f"divide them by {PSC_SCALE}, or read them with read_betas()."
            )
        sd[constant] = 1
        block = (block - mean) / sd
        block[:, constant] = 0
        out[rows] = block
    return out


def lacking_data(
    betas: np.ndarray, session: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels without data in some trials, as those outside a session's field of view are.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Looked at in blocks of trials.
    session : ndarray of int, shape (n_trials,), optional
        With it a voxel lacks the sessions in which it is constant. Without it the betas must be
        standardised, and a voxel lacks the trials in which it is NaN or exactly 0, as
        :func:`zscore_sessions` leaves them. Zeros in less than one trial of a hundred, or in less
        than ten, are responses that happen to be the mean of their session.

    Returns
    -------
    voxels : ndarray of int, shape (n_found,)
    lacking : ndarray of bool, shape (n_trials, n_found)
        Their trials without data.
    """
    if session is not None:
        numbers, place = np.unique(session, return_inverse=True)
        constant = np.stack([np.ptp(betas[session == n], axis=0) == 0 for n in numbers])
        voxels = np.flatnonzero(constant.any(axis=0))
        return voxels, constant[:, voxels][place]
    zeros, unknown = np.zeros((2, betas.shape[1]), int)
    for start in range(0, len(betas), TRIALS_AT_ONCE):
        block = betas[start : start + TRIALS_AT_ONCE]
        zeros += np.count_nonzero(block == 0, axis=0)
        unknown += np.count_nonzero(np.isnan(block), axis=0)
    left_out = zeros >= max(MIN_ZEROS, MIN_ZERO_SHARE * len(betas))
    voxels = np.flatnonzero(left_out | (unknown > 0))
    found = betas[:, voxels]
    return voxels, np.isnan(found) | ((found == 0) & left_out[voxels])


def groups_with_data(
    betas: np.ndarray, session: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of voxels that lack data in the same trials, for statistics without these trials.

    A statistic is computed for all voxels first, and then anew for each of these groups.

    Parameters
    ----------
    betas, session
        As for :func:`lacking_data`.

    Yields
    ------
    trials : ndarray of int, shape (n_kept,)
        Trials in which the group has data, increasing; perhaps none.
    voxels : ndarray of int, shape (n_group,)
        Voxels of the group, increasing. Voxels with data in all trials are in no group.
    """
    voxels, lacking = lacking_data(betas, session)
    patterns, group = np.unique(lacking, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        yield np.flatnonzero(~pattern), voxels[group.ravel() == number]


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
        value in all trials, all-zero ones included), ``not_finite`` (NaN or infinite) and
        ``saturated`` (some trial beyond what int16 holds, 109.22 percent, as at the brain's edge),
        in numbers of voxels.
    """
    betas, session = check_betas(betas, session=session)
    rows = {}
    for number in np.unique(session):
        block = betas[session == number]
        finite = np.isfinite(block).all(axis=0)
        extreme = np.maximum(block.max(axis=0), -block.min(axis=0))
        rows[number] = {
            "all_zero": np.count_nonzero(~block.any(axis=0)),
            "constant": np.count_nonzero((block == block[0]).all(axis=0)),
            "not_finite": np.count_nonzero(~finite),
            "saturated": np.count_nonzero(extreme[finite] >= MAX_PSC - 0.01),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("session")


def average_repeats(
    betas: np.ndarray, nsd_id: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the trials of each image.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Usually standardised by session first. A trial without data counts as what it holds, 0,
        which is the mean of a session: a decoder that was trained on such trials gets such means.
        Statistics of repeats leave these trials out (:func:`lacking_data`).
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
    betas, nsd_id = check_betas(betas, nsd_id=nsd_id)
    ids, image, counts = np.unique(nsd_id, return_inverse=True, return_counts=True)
    weights = (1 / counts[image]).astype(np.float32)
    # A sparse product needs no second copy of the betas.
    shape = ids.size, image.size
    average = scipy.sparse.csr_matrix((weights, (image, np.arange(image.size))), shape)
    return np.asarray(average @ betas, dtype=np.float32), ids, counts
