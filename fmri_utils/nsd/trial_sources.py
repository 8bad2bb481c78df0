"""The check that every source of which image was shown when says the same."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..project.errors import DataError
from ..project.reading import reading
from .design import need, read_design, read_responses, read_stim_info, trial_table
from .paths import NSDLayout
from .published import check_published

N_REPEAT_COLUMNS = 3


def check_design(layout: NSDLayout, sessions: Iterable[int] | None = None) -> dict[str, int | None]:
    """Check that every source in the folder names the same image for every trial.

    ``nsd_expdesign.mat`` is compared with ``responses.tsv``, with the ``subjectX_repN`` columns
    of ``nsd_stim_info_merged.csv`` and with the design matrices of the time series. If it is the
    real experiment, its published numbers are checked as well (see :func:`check_published`).

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    sessions : iterable of int, optional
        Sessions, from 1, in increasing order. By default all whose betas are in the folder.

    Returns
    -------
    dict of str to int or None
        Number of trials compared with each source; None for a source that is not in the folder.
        With real data also ``published counts``, how many numbers were compared.

    Raises
    ------
    DataError
        At the first trial on which two sources disagree, or if a published number differs.
    """
    table = trial_table(layout, sessions)
    compared = {
        layout.responses.name: _check_responses(layout, table),
        layout.stim_info.name: _check_stim_info(layout, table),
        "design tables": _check_design_tables(layout, table),
    }
    published = check_published(layout, read_design(layout), table)
    return compared | ({"published counts": len(published)} if published else {})


def _compare(table: pd.DataFrame, expected, found, path, what: str = "nsd_id") -> None:
    """Raise at the first trial at which another source has something else; all ids from 0.

    Parameters
    ----------
    table : pandas.DataFrame
        Trials, as :func:`trial_table` gives them.
    expected, found : ndarray of int, shape (n_trials,)
        What ``nsd_expdesign.mat`` and the other source say.
    path : path-like
        The other source, for the message.
    what : str
        What is compared, for the message.

    Raises
    ------
    DataError
        If they differ.
    """
    wrong = np.flatnonzero(found != expected)
    if wrong.size == 0:
        return
    first = table.iloc[wrong[0]]
    shift = set((found - expected)[wrong].tolist())
    by_one = wrong.size == len(table) and shift in ({1}, {-1})
    hint = " All differ by one: ids were shifted between counting from 0 and 1." * by_one
    shown = "no image" if found[wrong[0]] < 0 else f"{what} {found[wrong[0]]}"
    raise DataError(
        f"{path} disagrees with nsd_expdesign.mat in {wrong.size} of {len(table)} trials, first in "
        f"trial {first['trial']} (session {first['session']}, row {first['row']}; from 0): "
        f"{shown}, expected {expected[wrong[0]]}.{hint} Fetch both files again."
    )


def _check_responses(layout: NSDLayout, table: pd.DataFrame) -> int | None:
    path = layout.responses
    if not path.is_file():
        return None
    responses = read_responses(layout)
    if np.any(responses["SUBJECT"] != layout.subject):
        raise DataError(f"{path} is another subject's. Fetch that of subject {layout.subject}.")
    if len(responses) <= table["trial"].max():
        raise DataError(
            f"{path} has {len(responses)} trials, but session {table['session'].max()} ends with "
            f"trial {table['trial'].max()} (from 0). It is cut off: fetch it again."
        )
    rows = responses.iloc[table["trial"]]
    if not np.array_equal(rows["SESSION"].to_numpy(), table["session"].to_numpy()):
        raise DataError(f"{path} is not in the order of trials: SESSION differs. Fetch it again.")
    _compare(table, table["nsd_id"].to_numpy(), rows["73KID"].to_numpy() - 1, path)
    image = read_design(layout).image_of_trial[table["trial"]]
    _compare(table, image, rows["10KID"].to_numpy() - 1, f"10KID in {path}", "image")
    return len(table)


def _check_stim_info(layout: NSDLayout, table: pd.DataFrame) -> int | None:
    path = layout.stim_info
    if not path.is_file():
        return None
    columns = [f"subject{layout.subject}_rep{i}" for i in range(N_REPEAT_COLUMNS)]
    info = read_stim_info(layout).fillna(dict.fromkeys(columns, 0))
    need(info, columns, path)
    trials = info[columns].to_numpy()  # 1-based trial numbers, 0 where not shown
    nsd_id, _ = np.nonzero(trials)
    numbers = trials[trials != 0].astype(int) - 1
    if np.unique(numbers).size != numbers.size:
        raise DataError(
            f"{path} shows two images in one trial to subject {layout.subject}. Fetch it again."
        )
    # The table plans all sessions for all subjects, also for those who stopped earlier, so the
    # trials asked for are looked up in it, never the other way round.
    found = pd.Series(nsd_id, index=numbers).reindex(table["trial"], fill_value=-1).to_numpy()
    _compare(table, table["nsd_id"].to_numpy(), found, path)
    shared = info["shared1000"].to_numpy()[table["nsd_id"]].astype(int)
    _compare(table, table["shared"].to_numpy(int), shared, f"shared1000 in {path}", "shared")
    return len(table)


def _check_design_tables(layout: NSDLayout, table: pd.DataFrame) -> int | None:
    n_compared = 0
    for session, rows in table.groupby("session"):
        paths = layout.design_tables(session)
        if not paths:
            continue
        # Rest runs hold zeros only, so they add nothing, wherever they stand.
        onsets = np.concatenate([_read_onsets(path) for path in paths])
        found = onsets[onsets != 0] - 1
        if found.size != len(rows):
            raise DataError(
                f"the {len(paths)} design tables of session {session} in {paths[0].parent} show "
                f"{found.size} stimuli; expected {len(rows)}. Fetch the missing runs."
            )
        _compare(rows, rows["nsd_id"].to_numpy(), found, paths[0].parent)
        n_compared += len(rows)
    return n_compared or None


def _read_onsets(path) -> np.ndarray:
    """Read a run's design: one number per volume, the image's id (from 1) at its onset or 0."""
    damaged = "expected one whole number per volume. Fetch it again."
    with reading(path, "the design of a run", damaged=damaged):
        return np.loadtxt(path, dtype=int).reshape(-1)
