"""MindEye2's tables of behaviour, and the check that all its sources name the same images.

They lie in tar archives for webdataset, one small array per trial. The archives are streamed:
nothing of them is written to disk, and Python objects in them are refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ...project.errors import DataError
from ...project.reading import reading
from ..design import read_design
from ..paths import NSDLayout
from ..rois import roi_mask
from ..trial_sources import compare_trials
from .files import REMEDY, MindEye2Layout, count_voxels, load_array, trial_table

COLUMNS = (
    *("nsd_id", "subject", "session", "run", "run_trial", "trial", "time", "isold", "iscorrect"),
    *("rt", "changemind", "isoldcurrent", "iscorrectcurrent", "total1", "total2", "button"),
    "shared",
)
"""Columns of :func:`read_behaviour`, in the order of the files."""

SHARDS = ("train", "new_test", "test")
INDEX_COLUMNS = ("nsd_id", "subject", "session", "trial")
MEMBER_BYTES = 2**16  # a row has under 300; anything larger is something else


def read_behaviour(layout: MindEye2Layout, kind: str, *, progress: bool = True) -> pd.DataFrame:
    """Read the rows ``behav.npy`` of one of MindEye2's sets.

    Parameters
    ----------
    layout : MindEye2Layout
        The subject.
    kind : {"train", "new_test", "test"}
        ``"train"``: all but the shared images, one archive per session. ``"new_test"``: all trials
        of the shared images. ``"test"``: those without the last three sessions.
    progress : bool
        Show a bar over archives.

    Returns
    -------
    pandas.DataFrame
        One row per trial, in the order of the archives. Columns :data:`COLUMNS`: ``nsd_id`` and
        ``trial`` (of the whole experiment) from 0, ``subject`` and ``session`` from 1 as int64,
        ``shared`` as bool; the others as floats, NaN where the files have -1. Empty if there are no
        archives.

    Raises
    ------
    DataError
        If an archive is cut off or damaged, or a row is not as described.
    """
    if kind not in SHARDS:
        raise DataError(f"kind is {kind!r}; expected one of {list(SHARDS)}.")
    bar = tqdm(layout.shards(kind), desc=kind, unit="archive", disable=not progress)
    rows = [row for path in bar for row in _stream_rows(path)]
    table = pd.DataFrame(np.array(rows, dtype=float).reshape(-1, len(COLUMNS)), columns=COLUMNS)
    for name in (*INDEX_COLUMNS, "shared"):
        values = table[name].to_numpy()
        wrong = ~((values >= 0) & (values % 1 == 0))
        if wrong.any():
            raise DataError(
                f"{name} in {layout.shards(kind)[0].parent} has values that are no numbers from 0: "
                f"{np.unique(values[wrong])[:5].tolist()}. {REMEDY}"
            )
        table[name] = values.astype(np.int64)
    table["shared"] = table["shared"].astype(bool)
    other = [name for name in COLUMNS if name not in (*INDEX_COLUMNS, "shared")]
    table[other] = table[other].where(table[other] != -1)
    return table


def _stream_rows(path: Path) -> Iterator[np.ndarray]:
    """Yield each sample's row, shape (17,), reading the archive once and in memory."""
    with reading(path, path.name, damaged=f"delete it. {REMEDY}"):
        _check_end(path)
        with tarfile.open(path, "r|") as archive:
            for member in archive:
                # "sample000000001.behav.npy" is the row; past_, future_ and olds_behav.npy are of
                # other trials.
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and name.partition(".")[2] == "behav.npy":
                    yield _read_member(archive, member, path)


def _check_end(path: Path) -> None:
    # A tar archive that was cut off between two members reads without an error; a whole one ends in
    # two empty blocks.
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        end = file.read()
    if len(end) < 1024 or any(end):
        raise DataError(f"{path} does not end as a tar archive: it is cut off. {REMEDY}")


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> np.ndarray:
    name = f"{member.name} in {path}"
    if member.size > MEMBER_BYTES:
        raise DataError(
            f"{name} has {member.size} bytes; expected a row of {len(COLUMNS)} numbers. {REMEDY}"
        )
    row = load_array(name, archive.extractfile(member).read())
    if row.size != len(COLUMNS) or row.dtype.kind not in "iuf":
        raise DataError(
            f"{name} is {row.dtype} of shape {row.shape}; expected (1, {len(COLUMNS)}) numbers. "
            f"{REMEDY}"
        )
    return row.reshape(-1)


def check(
    layout: MindEye2Layout, nsd: NSDLayout | None = None, *, progress: bool = True
) -> dict[str, int | None]:
    """Check that MindEye2's sources, and NSD's own if it is there, name the same images.

    ``COCO_73k_subj_indices.hdf5`` is compared with every archive of behaviour, and with
    ``nsd_expdesign.mat``. Training rows must show no shared image and test rows nothing else; the
    columns of the betas must be as many as nsdgeneral has voxels.

    Parameters
    ----------
    layout : MindEye2Layout
        The subject.
    nsd : NSDLayout, optional
        The same subject in an NSD folder. Of it only the design is needed, and nsdgeneral is used
        if it is there.
    progress : bool
        Show a bar over archives of behaviour.

    Returns
    -------
    dict of str to int or None
        Number of trials (or voxels) compared with each source; None for one that is not there.

    Raises
    ------
    DataError
        At the first difference.
    """
    table = trial_table(layout)
    found = {f"wds/{kind}": _check_behaviour(layout, kind, table, progress) for kind in SHARDS}
    found |= {"nsd_expdesign.mat": None, "nsdgeneral": None}
    if nsd is None:
        return found
    if nsd.subject != layout.subject:
        raise DataError(
            f"{layout.root} is read for subject {layout.subject}, the NSD folder for subject "
            f"{nsd.subject}. Give the same subject to both."
        )
    found["nsd_expdesign.mat"] = _check_expdesign(layout, nsd, table)
    if nsd.roi("nsdgeneral").is_file() and layout.betas.is_file():
        found["nsdgeneral"] = _check_voxels(layout, nsd)
    return found


def _check_behaviour(
    layout: MindEye2Layout, kind: str, table: pd.DataFrame, progress: bool
) -> int | None:
    rows = read_behaviour(layout, kind, progress=progress)
    if rows.empty:
        return None
    folder = layout.shards(kind)[0].parent
    if np.any(rows["subject"] != layout.subject):
        raise DataError(f"{folder} holds subject {rows['subject'].unique().tolist()}. {REMEDY}")
    if rows["trial"].duplicated().any():
        raise DataError(f"{folder} holds a trial twice. {REMEDY}")
    rows = rows[rows["trial"] < len(table)]  # the older betas lack the last sessions
    trials = table.iloc[rows["trial"]]
    for name in ("nsd_id", "session", "shared"):
        pair = (trials.astype({"shared": int}), rows[name].to_numpy().astype(int))
        compare_trials(*pair, f"{name} of {folder}", name, layout.indices.name)
    if np.any(rows["shared"] == (kind == "train")):
        raise DataError(
            f"{folder} mixes training and test: expected "
            f"{'no' if kind == 'train' else 'only'} shared images in it. {REMEDY}"
        )
    if kind == "new_test" and len(rows) != table["shared"].sum():
        raise DataError(
            f"{folder} has {len(rows)} trials; {layout.indices.name} shows shared images in "
            f"{table['shared'].sum()}. {REMEDY}"
        )
    return len(rows)


def _check_expdesign(layout: MindEye2Layout, nsd: NSDLayout, table: pd.DataFrame) -> int:
    design = read_design(nsd)
    nsd_id = design.nsd_id_of_image[design.image_of_trial][: len(table)]
    if nsd_id.size < len(table):
        raise DataError(
            f"{layout.root} has {len(table)} trials, {nsd.expdesign} plans {nsd_id.size}."
        )
    compare_trials(table, nsd_id, nsd.expdesign, reference=layout.indices.name)
    shared = np.isin(nsd_id, design.shared_ids).astype(int)
    pair = (table.astype({"shared": int}), shared)
    compare_trials(*pair, nsd.expdesign, "shared", layout.shared.name)
    return len(table)


def _check_voxels(layout: MindEye2Layout, nsd: NSDLayout) -> int:
    n_voxels, n_columns = np.count_nonzero(roi_mask(nsd, "nsdgeneral")), count_voxels(layout)
    if n_voxels != n_columns:
        raise DataError(
            f"{layout.betas} has {n_columns} columns, but nsdgeneral has {n_voxels} voxels in "
            f"{nsd.roi('nsdgeneral')}. The file is an older version with another mask, or of "
            "another subject: its columns cannot be placed in the brain."
        )
    return n_columns
