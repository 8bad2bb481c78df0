"""Betas: one session at a time, only the voxels of a mask, never a whole volume as floats.

A volume stored as (X, Y, Z, trial) in NIfTI's Fortran order has the bytes of a C-ordered array
(trial, Z, Y, X), which is also what HDF5 shows. So both formats are addressed by one flat index,
and give the same matrix: columns in the order in which ``array[mask]`` takes voxels from the
(X, Y, Z) volume of nibabel.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from isal import igzip
from tqdm.auto import tqdm

from ..project.artifacts import atomic_path, check_manifest, explained, sha256_json, write_manifest
from ..project.errors import ArtifactError, DataError
from ..project.reading import reading
from .paths import PSC_SCALE, REMEDY, TRIALS_PER_SESSION, NSDLayout, check_sessions
from .roi_betas import check_roi_files, is_roi_file, roi_blocks
from .volumes import check_axes, check_mask

BLOCK_BYTES = 32 * 2**20
"""Memory for one block of volumes while a NIfTI file is streamed."""


def beta_file(layout: NSDLayout, session: int, prefer: str = "auto") -> Path:
    """Choose the file of a session.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    session : int
        From 1.
    prefer : {"auto", "nifti", "hdf5", "roi"}
        ``"auto"`` takes HDF5 where it exists (a mask touches a small part of that file), then
        NIfTI, then the file of some voxels only; the others insist on one of these. The numbers
        are the same.

    Raises
    ------
    DataError
        If there is no such file.
    """
    files = {
        "hdf5": layout.betas_hdf5(session),
        "nifti": layout.betas_nifti(session),
        "roi": layout.betas_roi(session),
    }
    candidates = {"auto": tuple(files.values()), **{kind: (f,) for kind, f in files.items()}}
    if prefer not in candidates:
        raise DataError(f"prefer is {prefer!r}; expected one of {list(candidates)}.")
    with reading(layout.betas, "the folder of betas", damaged=REMEDY):
        for path in candidates[prefer]:
            if path.is_file():
                return path
    names = " or ".join(path.name for path in candidates[prefer])
    raise DataError(
        f"the betas of session {session} of {layout.subject_name} are missing: no {names} in "
        f"{layout.betas}. {REMEDY} Or leave the session out."
    )


def read_betas(
    layout: NSDLayout,
    mask: np.ndarray,
    sessions: Iterable[int] | None = None,
    *,
    prefer: str = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Read single-trial betas of the voxels of a mask.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to read.
    sessions : iterable of int, optional
        Sessions, from 1, in increasing order. By default all that are in the folder.
    prefer : {"auto", "nifti", "hdf5", "roi"}
        Which format to read; see :func:`beta_file`.
    progress : bool
        Show a bar over sessions.

    Returns
    -------
    ndarray of float32, shape (n_trials, n_voxels)
        Percent signal change. Rows as in :func:`trial_table`, columns in the order of
        ``volume[mask]``.

    Raises
    ------
    DataError
        If a file is missing, damaged, lacks voxels of the mask, or has another shape, type or
        number of trials.
    """
    mask = check_mask(mask)
    sessions = check_sessions(layout, sessions)
    paths = [beta_file(layout, session, prefer) for session in sessions]
    check_roi_files(layout, paths, mask)
    n_voxels = np.count_nonzero(mask)
    betas = np.empty((len(paths) * TRIALS_PER_SESSION, n_voxels), dtype=np.float32)
    bar = tqdm(paths, desc="betas", unit="session", disable=not progress)
    for i, path in enumerate(bar):
        rows = slice(i * TRIALS_PER_SESSION, (i + 1) * TRIALS_PER_SESSION)
        read_session(path, mask, out=betas[rows])
    return betas


def read_session(path: Path, mask: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Read one session's betas from one file; see :func:`read_betas`.

    Parameters
    ----------
    path : pathlib.Path
        ``.nii.gz``, ``.hdf5``, or ``.roi.hdf5`` with some voxels only.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to read.
    out : ndarray of float32, shape (750, n_voxels), optional
        Where to write.

    Returns
    -------
    ndarray of float32, shape (750, n_voxels)
        Percent signal change.
    """
    nifti = path.name.endswith(".nii.gz")
    blocks = _nifti_blocks if nifti else roi_blocks if is_roi_file(path) else _hdf5_blocks
    if out is None:
        out = np.empty((TRIALS_PER_SESSION, np.count_nonzero(mask)), dtype=np.float32)
    with reading(path, "the betas", damaged="delete it and fetch it again."):
        if nifti:  # HDF5 files say nothing of their axes
            check_axes(nib.load(path).affine, path)
        for where, stored in blocks(path, mask):
            out[where] = stored / np.float32(PSC_SCALE)
    return out


def _check_stored(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Check a file's own description; ``shape`` is (X, Y, Z, trial)."""
    if len(shape) != 4 or shape[3] != TRIALS_PER_SESSION:
        raise DataError(
            f"{path} has the shape {tuple(shape)}; expected (X, Y, Z, {TRIALS_PER_SESSION}): every "
            f"NSD session has {TRIALS_PER_SESSION} trials. Fetch it again."
        )
    if dtype.kind != "i" or dtype.itemsize != 2:
        raise DataError(
            f"{path} holds {dtype}; NSD stores betas as int16 of {PSC_SCALE} times percent signal "
            "change. This is a converted file: its units are unknown. Fetch the original."
        )


def _nifti_blocks(path: Path, mask: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (trials, stored values (n, n_voxels)) from a gzip stream, read once, front to back."""
    image = nib.load(path)
    header, proxy = image.header, image.dataobj
    shape, dtype = image.shape, header.get_data_dtype()
    _check_stored(path, shape, dtype)
    if (proxy.slope, proxy.inter) != (1, 0):
        raise DataError(
            f"{path} scales its values by {proxy.slope} (scl_slope); NSD's betas have no scaling. "
            "This is a converted file: its units are unknown. Fetch the original."
        )
    columns = np.ravel_multi_index(
        np.nonzero(check_mask(mask, shape[:3], str(path))), shape[:3], order="F"
    )
    n_bytes = int(np.prod(shape[:3])) * dtype.itemsize
    per_block = max(1, BLOCK_BYTES // n_bytes)
    with igzip.open(path) as stream:  # inflates several times faster than zlib
        stream.seek(proxy.offset)
        for start in range(0, shape[3], per_block):
            n = min(per_block, shape[3] - start)
            data = stream.read(n * n_bytes)
            if len(data) < n * n_bytes:
                raise EOFError(f"the data end in trial {start + len(data) // n_bytes}")
            volumes = np.frombuffer(data, dtype).reshape(n, -1)  # (trial, Z*Y*X)
            yield slice(start, start + n), volumes[:, columns]
        stream.read(1)  # gzip verifies its checksum only when it reaches the end


def _hdf5_blocks(path: Path, mask: np.ndarray) -> Iterator[tuple[tuple, np.ndarray]]:
    """Yield (where in the matrix, stored values) from HDF5, reading as little as its chunks allow.

    NSD's chunks hold one voxel in all trials, so runs of neighbouring voxels are read by
    themselves. Files with other chunks are read trial by trial.
    """
    with h5py.File(path) as file:
        if "betas" not in file:
            raise DataError(
                f"{path} has no dataset 'betas'; it holds {sorted(file)}. Fetch it again."
            )
        stored = file["betas"]
        shape = stored.shape[::-1]
        _check_stored(path, shape, stored.dtype)
        x, y, z = np.nonzero(check_mask(mask, shape[:3], str(path)))
        chunks = stored.chunks
        if chunks is not None and chunks[0] == shape[3] and np.prod(chunks[1:]) == 1:
            # Neighbours on disk are far apart in the matrix, so writing them voxel by voxel would
            # jump through all of it: they are gathered, and written trial by trial.
            for runs in _groups(_runs(x, y, z), BLOCK_BYTES // (2 * shape[3] * 2)):
                starts = [(run[0], len(run)) for run in runs]
                values = [stored[:, z[i], y[i], x[i] : x[i] + n] for i, n in starts]
                columns = np.concatenate(runs)
                order = np.argsort(columns)
                for trial, row in enumerate(np.concatenate(values, axis=1)):
                    yield (trial, columns[order]), row[order]
        else:
            per_block = max(1, BLOCK_BYTES // (int(np.prod(shape[:3])) * 2))
            for start in range(0, shape[3], per_block):
                trials = slice(start, min(start + per_block, shape[3]))
                yield trials, stored[trials][:, z, y, x]


def _runs(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
    """Group voxels into runs along x, the fastest axis on disk; returns their positions."""
    order = np.lexsort((x, y, z))
    step = np.stack([np.diff(a[order]) for a in (x, y, z)])
    breaks = np.flatnonzero(np.any(step != [[1], [0], [0]], axis=0)) + 1
    return np.split(order, breaks)


def _groups(runs: list[np.ndarray], n_voxels: int) -> Iterator[list[np.ndarray]]:
    """Put runs together, up to about as many voxels; a longer run stands alone."""
    group_of = np.cumsum([len(run) for run in runs]) // max(1, n_voxels)
    bounds = np.flatnonzero(np.diff(group_of)) + 1
    for first, last in itertools.pairwise([0, *bounds, len(runs)]):
        yield runs[first:last]


def betas_to_file(
    layout: NSDLayout,
    mask: np.ndarray,
    sessions: Iterable[int] | None,
    path: Path | str,
    *,
    prefer: str = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Write the matrix of :func:`read_betas` to a ``.npy`` file, session by session.

    For matrices that do not fit in memory. A call that was killed goes on after the last session
    that was finished, and ``path`` appears only when it is whole. A file that an earlier call made
    from the same betas and mask is reused.

    Parameters
    ----------
    layout, mask, sessions, prefer, progress
        As for :func:`read_betas`.
    path : path-like
        Ends in ``.npy``. Its manifest is written beside it.

    Returns
    -------
    numpy.memmap of float32, shape (n_trials, n_voxels)
        Read-only view of the file, percent signal change.

    Raises
    ------
    DataError
        As :func:`read_betas`, or if ``path`` is a file that this function did not write.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise DataError(f"the matrix of betas is written as .npy; got the name {path.name!r}.")
    sessions = check_sessions(layout, sessions)
    sources = [beta_file(layout, session, prefer) for session in sessions]
    mask = check_mask(mask)
    check_roi_files(layout, sources, mask)
    config = _fingerprint(layout, mask, sessions, sources)
    if not _is_current(path, config):
        part = _part(path)
        shape = (len(sources) * TRIALS_PER_SESSION, int(mask.sum()))
        _fill(part, shape, sources, mask, config, progress)
        part.replace(path)
        write_manifest(path, config=config)
        _notes(part).unlink()
    return np.load(path, mmap_mode="r")


def _fingerprint(layout: NSDLayout, mask: np.ndarray, sessions: list[int], sources) -> dict:
    """Describe what a matrix is made from; a change in it means that the matrix is stale."""
    files = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sources]
    bits = np.packbits(mask).tobytes().hex()
    return {
        "content": "betas, percent signal change, (trials, voxels)",
        "subject": layout.subject,
        "space": layout.space,
        "beta_version": layout.beta_version,
        "sessions": sessions,
        "sources": sha256_json(files),
        "mask": sha256_json([list(mask.shape), bits]),
    }


def _is_current(path: Path, config: dict) -> bool:
    if not path.exists():
        return False
    try:
        manifest = check_manifest(path, remedy="")
    except ArtifactError as err:
        if _notes(_part(path)).exists():  # killed between the file and its manifest: write again
            return False
        if isinstance(err.__cause__, OSError):  # it may be the matrix, but cannot be read now
            raise
        raise DataError(
            f"{path} exists, but is no matrix of betas that was written here ({err}). Delete it or "
            "choose another name."
        ) from err
    return manifest["config"] == config


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _make_room(part: Path, shape: tuple[int, int]) -> None:
    """Start the file at its full length; a full disk is told now, later it would kill Python."""
    part.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    needed, free = shape[0] * shape[1] * 4, shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(
            f"the matrix of betas {shape} needs {needed / 1e9:.1f} GB, but {part.parent} has "
            f"{free / 1e9:.1f} GB left. Free some, choose another folder, or read fewer voxels or "
            "sessions."
        )
    np.lib.format.open_memmap(part, "w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):  # otherwise whoever writes meanwhile could take the room
        with explained(part), open(part, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)


def _fill(part: Path, shape, sources, mask, config: dict, progress: bool) -> None:
    """Fill the unfinished file; its notes say which sessions are on disk."""
    done: list[int] = []
    with suppress(OSError, ValueError, KeyError):
        notes = json.loads(_notes(part).read_text())
        if notes["config"] == config and np.load(part, mmap_mode="r").shape == shape:
            done = notes["done"]
    if not done:
        _make_room(part, shape)
    bar = tqdm(sources, desc="betas", unit="session", disable=not progress)
    for i, source in enumerate(bar):
        if i in done:
            continue
        # Opened anew for every session, so that no more than one of them is mapped into memory.
        matrix = np.load(part, mmap_mode="r+")
        rows = slice(i * TRIALS_PER_SESSION, (i + 1) * TRIALS_PER_SESSION)
        read_session(source, mask, out=matrix[rows])
        matrix.flush()  # the session must be on disk before the notes say so
        del matrix
        done.append(i)
        with atomic_path(_notes(part)) as tmp:
            tmp.write_text(json.dumps({"config": config, "done": done}))
