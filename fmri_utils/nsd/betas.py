"""Betas: one session at a time, only the voxels of a mask, never a whole volume as floats.

A volume stored as (X, Y, Z, trial) in NIfTI's Fortran order has the bytes of a C-ordered array
(trial, Z, Y, X), which is also what HDF5 shows. So both formats are addressed by one flat index,
and give the same matrix: columns in the order in which ``array[mask]`` takes voxels from the
(X, Y, Z) volume of nibabel.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from isal import igzip
from tqdm.auto import tqdm

from ..project.errors import DataError
from ..project.reading import reading
from .maps import check_axes, check_mask
from .paths import PSC_SCALE, REMEDY, TRIALS_PER_SESSION, NSDLayout, check_sessions
from .roi_betas import check_roi_files, flat_voxels, is_roi_file, roi_blocks

# Memory for one block of volumes while a file is read.
BLOCK_BYTES = 32 * 2**20

RUNS_AT_ONCE = 500  # rows of neighbouring voxels; one has up to 0.1 MB


def beta_file(layout: NSDLayout, session: int) -> Path:
    """Choose the file of a session, whichever of the formats is there: the numbers are the same.

    HDF5 comes first, because a mask touches a small part of that file; then NIfTI, then the file
    of some voxels only.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    session : int
        From 1.

    Raises
    ------
    DataError
        If there is none.
    """
    files = (layout.betas_hdf5(session), layout.betas_nifti(session), layout.betas_roi(session))
    with reading(layout.betas, "the folder of betas", damaged=REMEDY):
        for path in files:
            if path.is_file():
                return path
    names = " or ".join(path.name for path in files)
    raise DataError(
        f"the betas of session {session} of {layout.subject_name} are missing: no {names} in "
        f"{layout.betas}. {REMEDY} Or leave the session out."
    )


def read_betas(
    layout: NSDLayout,
    mask: np.ndarray,
    sessions: Iterable[int] | None = None,
    *,
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
    paths = [beta_file(layout, session) for session in sessions]
    check_roi_files(layout, paths, mask)
    n_voxels = np.count_nonzero(mask)
    betas = np.empty((len(paths) * TRIALS_PER_SESSION, n_voxels), dtype=np.float32)
    bar = tqdm(paths, desc="betas", unit="session", disable=not progress)
    for i, path in enumerate(bar):
        rows = slice(i * TRIALS_PER_SESSION, (i + 1) * TRIALS_PER_SESSION)
        betas[rows] = read_session(path, mask)
    return betas


def read_session(path: Path, mask: np.ndarray) -> np.ndarray:
    """Read one session's betas from one file; see :func:`read_betas`.

    Parameters
    ----------
    path : pathlib.Path
        ``.nii.gz``, ``.hdf5``, or ``.roi.hdf5`` with some voxels only.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels to read.

    Returns
    -------
    ndarray of float32, shape (750, n_voxels)
        Percent signal change.
    """
    nifti = path.name.endswith(".nii.gz")
    blocks = _nifti_blocks if nifti else roi_blocks if is_roi_file(path) else _hdf5_blocks
    out = np.empty((TRIALS_PER_SESSION, np.count_nonzero(mask)), dtype=np.float32)
    with reading(path, "the betas", damaged="delete it and fetch it again."):
        for where, stored in blocks(path, mask):
            out[where] = stored / np.float32(PSC_SCALE)
    return out


def _check_stored(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Check a file's own description; ``shape`` is (X, Y, Z, trial)."""
    if len(shape) != 4 or shape[3] != TRIALS_PER_SESSION:
        raise DataError(
            f"{path} has the shape {shape}; expected (X, Y, Z, {TRIALS_PER_SESSION}). Fetch it "
            "again."
        )
    if dtype.kind != "i" or dtype.itemsize != 2:
        raise DataError(f"{path} holds {dtype}; expected int16, as in NSD. Fetch the original.")


def _nifti_blocks(path: Path, mask: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (trials, stored values (n, n_voxels)) from a gzip stream, read once, front to back."""
    image = nib.load(path)
    check_axes(image.affine, path)  # HDF5 files say nothing of their axes
    proxy, shape, dtype = image.dataobj, image.shape, image.get_data_dtype()
    _check_stored(path, shape, dtype)
    if (proxy.slope, proxy.inter) != (1, 0):
        raise DataError(
            f"{path} scales its values by {proxy.slope} (scl_slope); expected 1. Fetch the "
            "original."
        )
    columns = flat_voxels(check_mask(mask, shape[:3], str(path)))
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
            raise DataError(f"{path} has no dataset 'betas' but {sorted(file)}. Fetch it again.")
        stored = file["betas"]
        shape = stored.shape[::-1]
        _check_stored(path, shape, stored.dtype)
        x, y, z = np.nonzero(check_mask(mask, shape[:3], str(path)))
        chunks = stored.chunks
        if chunks is not None and chunks[0] == shape[3] and np.prod(chunks[1:]) == 1:
            # Neighbours on disk are far apart in the matrix, so writing them voxel by voxel would
            # jump through all of it: they are gathered, and written trial by trial.
            runs = _runs(x, y, z)
            for start in range(0, len(runs), RUNS_AT_ONCE):
                part = runs[start : start + RUNS_AT_ONCE]
                starts = [(run[0], len(run)) for run in part]
                values = [stored[:, z[i], y[i], x[i] : x[i] + n] for i, n in starts]
                columns = np.concatenate(part)
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
