"""Which image was shown in which trial, and the check that all sources agree on it.

NSD numbers images and trials from 1, except in ``nsd_stim_info_merged.csv``, which numbers images
from 0. Everything that leaves this module is numbered from 0, but for sessions, which keep the
number in their file name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.io

from ..errors import DataError
from .layout import TRIALS_PER_SESSION, NSDLayout, check_sessions, require

N_REPEAT_COLUMNS = 3


@dataclass(frozen=True, eq=False)
class Design:
    """One subject's experiment, numbered from 0.

    Attributes
    ----------
    image_of_trial : ndarray of int64, shape (n_trials,)
        Position in ``nsd_id_of_image`` of the image shown in each trial of the whole plan.
    nsd_id_of_image : ndarray of int64, shape (n_images,)
        NSD id (row of ``imgBrick``) of each of the subject's images.
    shared_ids : ndarray of int64, shape (n_shared,)
        NSD ids of the images that all subjects see, increasing.
    """

    image_of_trial: np.ndarray
    nsd_id_of_image: np.ndarray
    shared_ids: np.ndarray

    @property
    def n_sessions(self) -> int:
        """Sessions in the plan; a subject may have stopped earlier."""
        return self.image_of_trial.size // TRIALS_PER_SESSION


def _whole(mat: dict, name: str, path) -> np.ndarray:
    """Return a variable of the .mat file as int64, whatever type it was saved with."""
    if name not in mat:
        found = sorted(k for k in mat if not k.startswith("__"))
        raise DataError(f"{path} lacks the variable {name}; it holds {found}. Fetch it again.")
    values = np.asarray(mat[name])
    # MATLAB packs whole doubles as small integers; other writers leave floats, which fail as
    # indices much later. Whole numbers are safe to convert, anything else is not an index.
    if values.dtype.kind not in "iuf" or not np.all(np.isfinite(values)):
        raise DataError(f"{name} in {path} is {values.dtype}, not whole numbers. Fetch it again.")
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise DataError(
            f"{name} in {path} holds fractions ({values.dtype}); expected whole numbers from 1. "
            "The file was changed by a conversion: fetch it again."
        )
    return whole


def _load_mat(path) -> dict:
    try:
        return scipy.io.loadmat(path)
    except NotImplementedError as err:
        raise DataError(
            f"{path} is a MATLAB 7.3 (HDF5) file; NSD's is an older MAT file. Fetch the original."
        ) from err
    except Exception as err:  # scipy raises many types on damaged files
        raise DataError(f"{path} cannot be read ({err}). It is damaged: fetch it again.") from err


def read_design(layout: NSDLayout) -> Design:
    """Read ``nsd_expdesign.mat`` and check that it is consistent in itself.

    Variables that were saved as floats (SciPy and other writers do that) are accepted if every
    value is a whole number, and refused otherwise.

    Raises
    ------
    DataError
        If the file is missing or damaged, an index is out of its range, the shared images are not
        the first columns of ``subjectim``, or a session does not have 750 trials.
    """
    path = require(layout.expdesign, "the experimental design")
    mat = _load_mat(path)
    order = _whole(mat, "masterordering", path).ravel()
    images = _whole(mat, "subjectim", path)
    shared = _whole(mat, "sharedix", path).ravel()
    if images.ndim != 2 or layout.subject > len(images):
        raise DataError(
            f"subjectim in {path} has the shape {images.shape}: no row for subject "
            f"{layout.subject}. Expected (n_subjects, n_images)."
        )
    own = images[layout.subject - 1]
    if order.size == 0 or order.size % TRIALS_PER_SESSION:
        raise DataError(
            f"masterordering in {path} has {order.size} trials: not a whole number of sessions "
            f"of {TRIALS_PER_SESSION}."
        )
    if order.min() < 1 or order.max() > own.size:
        raise DataError(
            f"masterordering in {path} spans {order.min()}-{order.max()}; expected indices from 1 "
            f"to {own.size}, the number of columns of subjectim."
        )
    if own.min() < 1 or np.unique(own).size != own.size:
        raise DataError(f"row {layout.subject} of subjectim in {path} repeats ids, or has one < 1.")
    if np.any(np.diff(shared) <= 0) or not np.array_equal(own[: shared.size], shared):
        raise DataError(
            f"sharedix in {path} is not the first {shared.size} columns of subjectim in increasing "
            "order. Fetch the original file."
        )
    if "stimpattern" in mat:
        _check_pattern(_whole(mat, "stimpattern", path), order.size, path)
    return Design(order - 1, own - 1, shared - 1)


def _check_pattern(pattern: np.ndarray, n_trials: int, path) -> None:
    counts = pattern.reshape(len(pattern), -1).sum(axis=1)
    if len(counts) * TRIALS_PER_SESSION != n_trials or np.any(counts != TRIALS_PER_SESSION):
        raise DataError(
            f"stimpattern in {path} has sessions of {np.unique(counts).tolist()} stimuli, "
            f"{counts.sum()} in all; expected {TRIALS_PER_SESSION} in each and, as in "
            f"masterordering, {n_trials} in all."
        )


def trial_table(layout: NSDLayout, sessions: Iterable[int] | None = None) -> pd.DataFrame:
    """List the trials of some sessions; row i belongs to row i of :func:`read_betas`.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    sessions : iterable of int, optional
        Sessions, from 1, in increasing order. By default all whose betas are in the folder.

    Returns
    -------
    pandas.DataFrame
        Columns ``trial`` (in the whole experiment, from 0), ``session`` (from 1), ``row`` (in its
        session, from 0), ``nsd_id`` (from 0: the row of ``imgBrick``), ``shared`` (True if all
        subjects see the image), ``repeat`` (0 at an image's first showing in the whole experiment,
        then 1, 2, also if the earlier showings are in other sessions).

    Raises
    ------
    DataError
        As :func:`read_design`, or if a session is not in the plan.
    """
    design = read_design(layout)
    sessions = check_sessions(layout, sessions)
    if sessions[-1] > design.n_sessions:
        raise DataError(
            f"session {sessions[-1]} is not in {layout.expdesign}, which plans "
            f"{design.n_sessions} sessions. Ask for fewer, or remove files that do not belong."
        )
    nsd_id = design.nsd_id_of_image[design.image_of_trial]
    table = pd.DataFrame({"trial": np.arange(nsd_id.size), "nsd_id": nsd_id})
    table["session"] = table["trial"] // TRIALS_PER_SESSION + 1
    table["row"] = table["trial"] % TRIALS_PER_SESSION
    table["shared"] = np.isin(nsd_id, design.shared_ids)
    table["repeat"] = table.groupby("nsd_id").cumcount()
    table = table[table["session"].isin(sessions)].reset_index(drop=True)
    return table[["trial", "session", "row", "nsd_id", "shared", "repeat"]]


def read_stim_info(layout: NSDLayout) -> pd.DataFrame:
    """Read ``nsd_stim_info_merged.csv``, one row per image in the order of NSD ids (from 0).

    Raises
    ------
    DataError
        If the file is missing, lacks a column, or its ``nsdId`` do not count from 0.
    """
    path = require(layout.stim_info, "the table of stimuli")
    try:
        table = pd.read_csv(path, index_col=0)
    except ValueError as err:
        raise DataError(f"{path} cannot be read as CSV ({err}). Fetch it again.") from err
    _need_columns(table, ["cocoId", "cocoSplit", "nsdId", "shared1000"], path)
    if not np.array_equal(table["nsdId"].to_numpy(), np.arange(len(table))):
        raise DataError(f"nsdId in {path} does not count 0, 1, 2, ... Fetch the original file.")
    return table


def read_responses(layout: NSDLayout) -> pd.DataFrame:
    """Read the subject's ``responses.tsv`` as it is: one row per trial, ids from 1.

    Raises
    ------
    DataError
        If the file is missing or lacks a column.
    """
    path = require(layout.responses, "the table of responses")
    try:
        table = pd.read_csv(path, sep="\t")
    except ValueError as err:
        raise DataError(f"{path} cannot be read as TSV ({err}). Fetch it again.") from err
    _need_columns(table, ["SUBJECT", "SESSION", "73KID", "10KID"], path)
    return table


def _need_columns(table: pd.DataFrame, names: list[str], path) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}; it has {list(table)[:12]} ...")


def check_design(layout: NSDLayout, sessions: Iterable[int] | None = None) -> dict[str, int | None]:
    """Check that every source in the folder names the same image for every trial.

    ``nsd_expdesign.mat`` is compared with ``responses.tsv``, with the ``subjectX_repN`` columns
    of ``nsd_stim_info_merged.csv`` and with the design matrices of the time series.

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

    Raises
    ------
    DataError
        At the first trial on which two sources disagree.
    """
    table = trial_table(layout, sessions)
    checks = {
        layout.responses.name: (layout.responses.is_file(), _check_responses),
        layout.stim_info.name: (layout.stim_info.is_file(), _check_stim_info),
        "design tables": (
            any(layout.design_tables(s) for s in table["session"].unique()),
            _check_design_tables,
        ),
    }
    return {
        name: check(layout, table) if there else None for name, (there, check) in checks.items()
    }


def _compare(table: pd.DataFrame, found: np.ndarray, path, what: str = "nsd_id") -> None:
    """Raise at the first trial whose image differs from the design; all ids from 0."""
    expected = table[what].to_numpy()
    wrong = np.flatnonzero(found != expected)
    if wrong.size == 0:
        return
    first = table.iloc[wrong[0]]
    shift = set((found - expected)[wrong].tolist())
    hint = ""
    if wrong.size == len(table) and shift in ({1}, {-1}):
        hint = " All differ by one: ids were shifted between counting from 0 and 1."
    shown = "no image" if found[wrong[0]] < 0 else f"{what} {found[wrong[0]]}"
    raise DataError(
        f"{path} disagrees with nsd_expdesign.mat in {wrong.size} of {len(table)} trials, first in "
        f"trial {first['trial']} (session {first['session']}, row {first['row']}; from 0): "
        f"{shown}, expected {expected[wrong[0]]}.{hint} Fetch both files again."
    )


def _check_responses(layout: NSDLayout, table: pd.DataFrame) -> int:
    path = layout.responses
    responses = read_responses(layout)
    if np.any(responses["SUBJECT"] != layout.subject):
        raise DataError(f"{path} belongs to subject {responses['SUBJECT'].unique().tolist()}.")
    if len(responses) <= table["trial"].max():
        raise DataError(
            f"{path} has {len(responses)} trials, but session {table['session'].max()} ends with "
            f"trial {table['trial'].max()} (from 0). The file is cut off, or the betas are not "
            "this subject's."
        )
    rows = responses.iloc[table["trial"]]
    if not np.array_equal(rows["SESSION"].to_numpy(), table["session"].to_numpy()):
        raise DataError(f"{path} is not in the order of trials: SESSION differs. Fetch it again.")
    _compare(table, rows["73KID"].to_numpy() - 1, path)
    image = read_design(layout).image_of_trial[table["trial"]]
    _compare(table.assign(image=image), rows["10KID"].to_numpy() - 1, f"10KID in {path}", "image")
    return len(table)


def _check_stim_info(layout: NSDLayout, table: pd.DataFrame) -> int:
    path = layout.stim_info
    info = read_stim_info(layout)
    columns = [f"subject{layout.subject}_rep{i}" for i in range(N_REPEAT_COLUMNS)]
    _need_columns(info, columns, path)
    trials = info[columns].fillna(0).to_numpy()  # 1-based trial numbers, 0 where not shown
    nsd_id, _ = np.nonzero(trials)
    numbers = trials[trials != 0].astype(int) - 1
    if np.unique(numbers).size != numbers.size:
        raise DataError(f"{path} shows two images in one trial to subject {layout.subject}.")
    # The table plans all sessions for all subjects, also for those who stopped earlier, so the
    # trials asked for are looked up in it, never the other way round.
    found = pd.Series(nsd_id, index=numbers).reindex(table["trial"], fill_value=-1).to_numpy()
    _compare(table, found, path)
    shared = info["shared1000"].to_numpy().astype(bool)[table["nsd_id"]]
    _compare(table.astype({"shared": int}), shared.astype(int), f"shared1000 in {path}", "shared")
    return len(table)


def _check_design_tables(layout: NSDLayout, table: pd.DataFrame) -> int:
    n_compared = 0
    for session, rows in table.groupby("session"):
        paths = layout.design_tables(session)
        if not paths:
            continue
        # Rest runs hold zeros only, so they add nothing, wherever they stand.
        onsets = np.concatenate([np.loadtxt(path, dtype=int, ndmin=1) for path in paths])
        found = onsets[onsets != 0] - 1
        if found.size != len(rows):
            raise DataError(
                f"the {len(paths)} design tables of session {session} in {paths[0].parent} show "
                f"{found.size} stimuli; expected {len(rows)}. Fetch the missing runs."
            )
        _compare(rows, found, paths[0].parent)
        n_compared += len(rows)
    return n_compared
