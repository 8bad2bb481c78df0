"""Which image was shown in which trial, and the check that all sources agree on it.

NSD numbers images and trials from 1, except in ``nsd_stim_info_merged.csv``, which numbers images
from 0. Everything that leaves this module is numbered from 0, but for sessions, which keep the
number in their file name.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from ..project.errors import DataError
from ..project.reading import reading, require
from .paths import REMEDY, TRIALS_PER_SESSION, NSDLayout, check_sessions


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
    whole = values.dtype.kind in "iuf" and np.all(np.isfinite(values))
    if not whole or not np.array_equal(values, np.round(values)):
        raise DataError(
            f"{name} in {path} holds fractions or no numbers ({values.dtype}); expected whole "
            "numbers from 1. The file was changed by a conversion: fetch it again."
        )
    return values.astype(np.int64)


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
    path = require(layout.expdesign, "the experimental design", REMEDY)
    with reading(path, "the experimental design", damaged="fetch it again."):
        mat = scipy.io.loadmat(path)
    names = ("masterordering", "subjectim", "sharedix")
    order, images, shared = (_whole(mat, name, path) for name in names)
    order, shared = order.ravel(), shared.ravel()
    pattern = _whole(mat, "stimpattern", path) if "stimpattern" in mat else None
    for problem in _problems(order, images, shared, pattern, layout.subject):
        raise DataError(f"{path}: {problem}. Fetch the original file.")
    return Design(order - 1, images[layout.subject - 1] - 1, shared - 1)


def _problems(order, images, shared, pattern, subject: int) -> Iterator[str]:
    """What is inconsistent in an experimental design, all indices from 1."""
    if images.ndim != 2 or subject > len(images):
        yield f"subjectim has the shape {images.shape}; expected a row for subject {subject}"
    own = images[subject - 1]
    if order.size == 0 or order.size % TRIALS_PER_SESSION:
        yield f"masterordering has {order.size} trials: not a whole number of sessions of 750"
    if order.min() < 1 or order.max() > own.size:
        yield f"masterordering spans {order.min()} to {order.max()}; expected 1 to {own.size}"
    if own.min() < 1 or np.unique(own).size != own.size:
        yield f"row {subject} of subjectim repeats ids, or has one below 1"
    first = own[: shared.size]
    if not shared.size or np.any(np.diff(shared) <= 0) or not np.array_equal(first, shared):
        yield f"sharedix is not the first {shared.size} columns of subjectim in increasing order"
    if pattern is not None:
        counts = pattern.sum(axis=tuple(range(1, pattern.ndim)))
        if counts.size * TRIALS_PER_SESSION != order.size or np.any(counts != TRIALS_PER_SESSION):
            yield f"stimpattern shows {counts.tolist()} stimuli; expected 750 in each session"


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
            f"session {sessions[-1]} is not among the {design.n_sessions} sessions of "
            f"{layout.expdesign}. Ask for fewer, or remove files that do not belong."
        )
    nsd_id = design.nsd_id_of_image[design.image_of_trial]
    table = pd.DataFrame({"trial": np.arange(nsd_id.size)})
    table["session"] = table["trial"] // TRIALS_PER_SESSION + 1
    table["row"] = table["trial"] % TRIALS_PER_SESSION
    table["nsd_id"] = nsd_id
    table["shared"] = np.isin(nsd_id, design.shared_ids)
    table["repeat"] = table.groupby("nsd_id").cumcount()
    return table[table["session"].isin(sessions)].reset_index(drop=True)


def read_stim_info(layout: NSDLayout) -> pd.DataFrame:
    """Read ``nsd_stim_info_merged.csv``, one row per image in the order of NSD ids (from 0).

    Raises
    ------
    DataError
        If the file is missing, lacks a column, or its ``nsdId`` do not count from 0.
    """
    path = layout.stim_info
    table = _read_table(path, "the table of stimuli", index_col=0)
    need(table, ["cocoId", "nsdId", "shared1000"], path)
    splits = table.get("cocoSplit", ())
    if not len(splits) or not all(isinstance(split, str) for split in splits):
        raise DataError(f"{path} has images of no COCO split. Fetch the original file.")
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
    table = _read_table(layout.responses, "the table of responses", sep="\t")
    need(table, ["SUBJECT", "SESSION", "73KID", "10KID"], layout.responses)
    return table


def _read_table(path: Path, what: str, **how: object) -> pd.DataFrame:
    require(path, what, REMEDY)
    with reading(path, what, damaged="fetch it again."):
        return pd.read_csv(path, **how)


def need(table: pd.DataFrame, names: list[str], path) -> None:
    """Raise :class:`DataError` if a table lacks columns of whole numbers."""
    missing = [name for name in names if name not in table]
    if missing:
        raise DataError(
            f"{path} lacks the columns {missing}; it has {list(table)[:12]} ... Fetch it again."
        )
    for name in names:
        values = table[name].to_numpy()
        if values.dtype.kind not in "biuf" or not np.array_equal(values, np.round(values)):
            raise DataError(
                f"the column {name} of {path} holds other than whole numbers: fetch it again."
            )
