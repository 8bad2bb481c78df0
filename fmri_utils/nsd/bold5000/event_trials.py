"""Which image was shown in which trial, from the event files of OpenNeuro's ds001499.

Sessions, runs and trials count from 1 in the files. Rows of the betas follow all trials of a
subject in the order of sessions, runs and trials, so none may be missing.
"""

import io
import re

import numpy as np
import pandas as pd

from ...project.errors import DataError
from ...project.reading import reading
from .archive import DAMAGED, REMEDY, NamedFiles

# Runs of each session; every run has 37 trials (counted in all 510 event files).
RUNS = {
    1: (10, 10, 10, 9, 10, 9, 10, 9, 9, 10, 9, 9, 9, 9, 10),
    2: (10, 9, 10, 10, 10, 9, 9, 9, 9, 9, 10, 10, 9, 10, 9),
    3: (10, 9, 10, 9, 10, 10, 10, 9, 9, 9, 10, 9, 9, 9, 10),
    4: (10, 9, 9, 10, 9, 9, 9, 9, 10),
}
TRIALS_PER_RUN = 37
KINDS = ("coco", "imagenet", "scenes")  # where a picture comes from; "rep_" before repeated ones
COLUMNS = ("Subj", "Sess", "Run", "Trial", "ImgName", "ImgType")


def event_name(subject: int, session: int, run: int) -> str:
    """Name of a run's event file; all from 1."""
    person = f"sub-CSI{subject}_ses-{session:02d}"
    return f"{person}_task-5000scenes_run-{run:02d}_events.tsv"


def read_events(files: NamedFiles, subject: int) -> pd.DataFrame:
    """List all trials of a subject; row i belongs to row i of the betas.

    Parameters
    ----------
    files : NamedFiles
        Where to look for the event files.
    subject : int
        1 for CSI1, and so on.

    Returns
    -------
    pandas.DataFrame
        Columns ``trial`` (in the whole experiment, from 0), ``session`` and ``run`` (from 1),
        ``row`` (in its session, from 0), ``image`` (file name), ``kind`` (coco, imagenet or
        scenes), ``nsd_id`` (number of the image from 0, in the order of the names), ``shared``
        (True if the image is shown more than once: never trained on), ``repeat`` (0 at an image's
        first showing, then 1, 2, ...).

    Raises
    ------
    DataError
        If a run is missing, is not of this subject, session and run, or does not have its 37
        trials in order.
    """
    sessions = enumerate(RUNS[subject], start=1)
    wanted = [(session, run) for session, n in sessions for run in range(1, n + 1)]
    absent = [name for s, r in wanted if (name := event_name(subject, s, r)) not in files]
    if absent:
        raise DataError(
            f"{len(absent)} of the {len(wanted)} event files of CSI{subject} are not below "
            f"{files.root}; the first is {absent[0]}. {REMEDY} Without all of them no row of the "
            "betas has a known image."
        )
    table = pd.concat([_read_run(files, subject, *run) for run in wanted], ignore_index=True)
    table.insert(0, "trial", table.index)
    table["row"] = table.groupby("session").cumcount()
    table["nsd_id"] = np.unique(table["image"].to_numpy(str), return_inverse=True)[1]
    table["shared"] = table.groupby("nsd_id")["nsd_id"].transform("size") > 1
    table["repeat"] = table.groupby("nsd_id").cumcount()
    return table


def _read_run(files: NamedFiles, subject: int, session: int, run: int) -> pd.DataFrame:
    name = event_name(subject, session, run)
    data, place = files.read(name, "the events of a run")
    with reading(place.path, "the events of a run", damaged=DAMAGED):
        events = pd.read_csv(io.BytesIO(data), sep="\t")
    for problem in _problems(events, subject, session, run):
        raise DataError(f"{place}: {problem}. Fetch the original file of ds001499.")
    kind = events["ImgType"].str.removeprefix("rep_")
    return pd.DataFrame({"session": session, "run": run, "image": events["ImgName"], "kind": kind})


def _problems(events: pd.DataFrame, subject: int, session: int, run: int):
    """What is not as in all 510 files that we have seen."""
    missing = [name for name in COLUMNS if name not in events]
    if missing:
        yield f"it lacks the columns {missing}; it has {list(events)}"
    for name, value in (("Subj", subject), ("Sess", session), ("Run", run)):
        if not (events[name] == value).all():
            yield f"{name} is {events[name].unique().tolist()}; expected {value}, as in its name"
    if events["Trial"].tolist() != list(range(1, TRIALS_PER_RUN + 1)):
        found = events["Trial"].tolist()
        yield f"it has the trials {found}; expected 1 to {TRIALS_PER_RUN} in order"
    names = events["ImgName"].astype(str)
    if events["ImgName"].isna().any() or not names.map(_is_file_name).all():
        bad = names[~names.map(_is_file_name)].tolist()[:3]
        yield f"ImgName is {bad}; expected names of picture files without folders"
    elif "stim_file" in events and (differ := events["stim_file"] != names).any():
        first = events[differ].iloc[0]
        yield f"ImgName is {first['ImgName']!r}, but stim_file {first['stim_file']!r}"
    kinds = set(events["ImgType"].astype(str).str.removeprefix("rep_")) - set(KINDS)
    if kinds:
        yield f"ImgType has {sorted(kinds)}; expected {', '.join(KINDS)}, also with rep_ before it"


def _is_file_name(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+\.(jpe?g|png)", name, re.IGNORECASE) is not None
