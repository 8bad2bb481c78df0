"""Which sessions there are: in the folder, and in all that the subject took part in."""

import numpy as np

from ..project.errors import DataError
from .design import read_responses
from .paths import REMEDY, TRIALS_PER_SESSION, NSDLayout, available_sessions, missing_betas


def session_coverage(layout: NSDLayout) -> str:
    """Compare the sessions in the folder with those that the subject took part in.

    Returns
    -------
    str
        "37 of 40 sessions", and which are missing: those that were acquired, or come before a
        later one that is there, but have no betas.

    Raises
    ------
    DataError
        If there are no betas, there are more sessions than were acquired, or ``responses.tsv`` does
        not hold whole sessions.
    """
    present = available_sessions(layout, allow_gaps=True)
    acquired = _acquired_sessions(layout)
    if acquired is not None and present[-1] > acquired:
        raise DataError(
            f"{layout.betas} holds betas of session {present[-1]}, but {layout.responses} ends "
            f"with session {acquired}. Fetch the table again, or remove files that do not belong."
        )
    missing = sorted(set(range(1, (acquired or present[-1]) + 1)) - set(present))
    told = f"{len(present)} of {acquired} sessions"
    if acquired is None:
        told = f"{len(present)} sessions (of how many is unknown: no responses.tsv)"
    return f"{told}, without {', '.join(map(str, missing))}" if missing else told


def _acquired_sessions(layout: NSDLayout) -> int | None:
    """How many sessions the subject took part in; None if ``responses.tsv`` is not there."""
    if not layout.responses.is_file():
        return None
    session = read_responses(layout)["SESSION"].to_numpy()
    numbers, trials = np.unique(session, return_counts=True)
    whole = np.array_equal(numbers, np.arange(1, numbers.size + 1)) and numbers.size > 0
    if not whole or np.any(trials != TRIALS_PER_SESSION):
        raise DataError(
            f"{layout.responses} has {len(session)} trials of sessions {numbers.tolist()}; "
            f"expected {TRIALS_PER_SESSION} of every session from 1 on: fetch it again."
        )
    return numbers.size


def first_sessions(layout: NSDLayout, n_sessions: int = 0) -> list[int]:
    """List the first sessions of a subject, none of which may be missing.

    Published results name them by number ("the first 37 sessions"), and the number of test images
    depends on it: whatever else is in the folder, the sessions are 1 to ``n_sessions``.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    n_sessions : int
        How many; 0 for all that are in the folder, which must have no gap.

    Returns
    -------
    list of int
        Sessions from 1, for :func:`trial_table` and :func:`read_betas`.

    Raises
    ------
    DataError
        If one is missing; the message names its file.
    """
    if n_sessions == 0:
        return available_sessions(layout)
    wanted = range(1, n_sessions + 1)
    there = available_sessions(layout, allow_gaps=True)
    missing = [s for s in wanted if s not in there]
    if missing:
        acquired = _acquired_sessions(layout)
        if acquired is not None and n_sessions > acquired:
            raise DataError(
                f"{layout.subject_name} has {acquired} by {layout.responses}; {n_sessions} were "
                f"asked for. Ask for at most {acquired}, or for all (0)."
            )
        fewer = f" Or ask for fewer: the first {missing[0] - 1} are there."
        more = fewer if missing[0] > 1 else ""
        raise DataError(f"{missing_betas(layout, missing)}. {REMEDY}{more}")
    return list(wanted)
