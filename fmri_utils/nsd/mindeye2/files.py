"""MindEye2's files: where they are, the trial table, the betas, the images."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ...project.artifacts import own_files
from ...project.errors import DataError
from ...project.reading import reading
from ..betas import BLOCK_BYTES
from ..design import tabulate_trials
from ..paths import TRIALS_PER_SESSION, check_session_numbers, require
from ..stimuli import check_nsd_ids, load_pictures

REMEDY = "Check the folder and the subject, or copy the file from where you have the others."


@dataclass(frozen=True)
class MindEye2Layout:
    """Paths of one subject's files in a MindEye2 folder.

    Parameters
    ----------
    root : path-like
        The folder that holds ``COCO_73k_subj_indices.hdf5``, the betas and ``wds/``.
    subject : int
        1 for subj01, and so on.
    older : bool
        Use the older float16 betas, which lack the three sessions that were withheld at first.

    Raises
    ------
    DataError
        If there is no such folder, or subject is not a whole number from 1.
    """

    root: Path
    subject: int
    older: bool = False

    def __post_init__(self):
        object.__setattr__(self, "root", Path(self.root))
        if not isinstance(self.subject, int | np.integer) or self.subject < 1:
            raise DataError(f"subject is {self.subject!r}; expected an integer from 1 (subj01).")
        if not self.root.is_dir():
            raise DataError(f"the MindEye2 folder {self.root} does not exist. Check the path.")

    @property
    def subject_name(self) -> str:
        """``subj01`` for subject 1."""
        return f"subj{self.subject:02d}"

    @property
    def betas(self) -> Path:
        """Betas, (n_trials, n_voxels)."""
        kind = "" if self.older else "_fp32_renorm"
        return self.root / f"betas_all_{self.subject_name}{kind}.hdf5"

    @property
    def indices(self) -> Path:
        """Image of every trial, for all subjects."""
        return self.root / "COCO_73k_subj_indices.hdf5"

    @property
    def shared(self) -> Path:
        """Which images all subjects see."""
        return self.root / "shared1000.npy"

    @property
    def images(self) -> Path:
        """All images, 224 pixels wide."""
        return self.root / "coco_images_224_float16.hdf5"

    def shards(self, kind: str) -> list[Path]:
        """Archives of behaviour of ``"train"``, ``"new_test"`` or ``"test"``, in their order."""
        folder = self.root / "wds" / self.subject_name / kind
        return sorted(own_files(folder, "*.tar"), key=lambda p: (len(p.stem), p.stem))


def trial_table(layout: MindEye2Layout, sessions: Iterable[int] | None = None) -> pd.DataFrame:
    """List the trials; its ``trial`` is the row of the betas.

    Parameters
    ----------
    layout : MindEye2Layout
        The subject.
    sessions : iterable of int, optional
        Sessions, from 1, in increasing order. By default all that the betas have (all that are
        listed, if there are no betas).

    Returns
    -------
    pandas.DataFrame
        The columns of :func:`fmri_utils.nsd.trial_table`, so that the same splits work on it.

    Raises
    ------
    DataError
        If a file is missing, damaged or not as described, or lists fewer trials than betas.
    """
    shared = _read_shared(layout)
    nsd_id = _read_indices(layout, shared.size)
    if layout.betas.is_file():
        with _open(layout.betas) as file:
            n_trials = _dataset(file, layout)[0].shape[0]
        if n_trials > nsd_id.size:
            raise DataError(
                f"{layout.betas} has {n_trials} trials, but {layout.indices} lists {nsd_id.size}. "
                f"They are of different subjects or versions. {REMEDY}"
            )
        nsd_id = nsd_id[:n_trials]  # rows are in the order of time, from the first session on
    n_sessions, rest = divmod(nsd_id.size, TRIALS_PER_SESSION)
    if rest or not n_sessions:
        raise DataError(
            f"{layout.subject_name} has {nsd_id.size} trials in {layout.root}; expected whole "
            f"sessions of {TRIALS_PER_SESSION}. {REMEDY}"
        )
    chosen = range(1, n_sessions + 1) if sessions is None else check_session_numbers(sessions)
    if chosen[-1] > n_sessions:
        raise DataError(
            f"session {chosen[-1]} was asked for; {layout.root} has sessions 1 to {n_sessions} of "
            f"{layout.subject_name}. Ask for fewer."
        )
    return tabulate_trials(nsd_id, shared[nsd_id], list(chosen))


def _read_shared(layout: MindEye2Layout) -> np.ndarray:
    path = require(layout.shared, "the list of shared images", REMEDY)
    with reading(path, "the list of shared images", damaged=REMEDY):
        data = path.read_bytes()
    shared = load_array(path, data)
    if shared.dtype != bool or shared.ndim != 1 or not shared.any():
        raise DataError(
            f"{path} is {shared.dtype} of shape {shared.shape}; expected one boolean for each of "
            f"73,000 images. {REMEDY}"
        )
    return shared


def _read_indices(layout: MindEye2Layout, n_images: int) -> np.ndarray:
    path = require(layout.indices, "the list of images by trial", REMEDY)
    with _open(path) as file:
        if layout.subject_name not in file:
            raise DataError(f"{path} has no {layout.subject_name}; it holds {sorted(file)}.")
        found = np.asarray(file[layout.subject_name]).ravel()
    nsd_id = found.astype(np.int64)
    if not np.array_equal(nsd_id, found):
        raise DataError(f"{layout.subject_name} in {path} holds fractions. {REMEDY}")
    return check_nsd_ids(nsd_id, n_images)


def load_array(name, data: bytes) -> np.ndarray:
    """Read the bytes of a ``.npy`` file. Python objects in it are refused, never built."""
    try:
        array = np.load(io.BytesIO(data))
    except Exception as err:  # NumPy raises many types on damaged bytes
        raise DataError(f"{name} is no plain .npy array ({err}). {REMEDY}") from err
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} is an archive of arrays; expected one array. {REMEDY}")
    return array


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    with reading(path, path.stem, damaged=f"delete it. {REMEDY}"), h5py.File(path) as file:
        yield file


def _dataset(file: h5py.File, layout: MindEye2Layout) -> tuple[h5py.Dataset, int]:
    """The betas, and how many rows of them make a block of bounded memory."""
    if "betas" not in file:
        raise DataError(f"{layout.betas} has no dataset 'betas'; it holds {sorted(file)}.")
    stored = file["betas"]
    wanted = np.float16 if layout.older else np.float32
    if stored.ndim != 2 or stored.dtype != wanted:
        raise DataError(
            f"betas in {layout.betas} are {stored.dtype} of shape {stored.shape}; expected "
            f"{np.dtype(wanted)} of (n_trials, n_voxels). It is another version of the file. "
            f"{REMEDY}"
        )
    return stored, max(1, BLOCK_BYTES // max(1, stored.shape[1] * stored.dtype.itemsize))


def count_voxels(layout: MindEye2Layout) -> int:
    """Columns of the betas."""
    with _open(layout.betas) as file:
        return _dataset(file, layout)[0].shape[1]


def read_betas(
    layout: MindEye2Layout,
    trials: Sequence[int] | None = None,
    voxels: np.ndarray | None = None,
    *,
    progress: bool = True,
) -> np.ndarray:
    """Read standardised betas of some trials and voxels, in blocks of bounded memory.

    Parameters
    ----------
    layout : MindEye2Layout
        The subject.
    trials : sequence of int, optional
        Trials of the whole experiment, from 0, in any order: ``table["trial"]``. All by default.
    voxels : ndarray, optional
        Columns: bool of shape (n_voxels,), or numbers from 0. All by default.
    progress : bool
        Show a bar.

    Returns
    -------
    ndarray of float32, shape (len(trials), n_chosen_voxels)
        Standardised already: no second z-score. Columns as this package's description says.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another version, a trial or voxel does not exist, or a
        value that was asked for is not finite.
    """
    path = layout.betas
    if not path.is_file():
        other = MindEye2Layout(layout.root, layout.subject, not layout.older)
        hint = f" older={other.older} reads {other.betas.name}, which is there."
        hint *= other.betas.is_file()
        raise DataError(f"the betas are missing: {path} does not exist.{hint} {REMEDY}")
    with _open(path) as file:
        stored, per_block = _dataset(file, layout)
        columns = _check_voxels(voxels, stored.shape[1])
        return _read_rows(stored, per_block, trials, columns, progress)


def _check_voxels(voxels, n_voxels: int) -> np.ndarray | slice:
    if voxels is None:
        return slice(None)
    voxels = np.asarray(voxels)
    if voxels.dtype == bool and voxels.shape == (n_voxels,) and voxels.any():
        return np.flatnonzero(voxels)
    whole = voxels.dtype.kind in "iu" and voxels.ndim == 1 and voxels.size > 0
    if not whole or voxels.min() < 0 or voxels.max() >= n_voxels:
        raise DataError(
            f"voxels are {voxels.dtype} of shape {voxels.shape}; expected booleans of ({n_voxels},)"
            f", one for each column, or numbers from 0 to {n_voxels - 1}."
        )
    return voxels


def _read_rows(stored: h5py.Dataset, per_block: int, trials, columns, progress: bool) -> np.ndarray:
    trials = np.arange(len(stored)) if trials is None else np.asarray(trials)
    if trials.ndim != 1 or trials.dtype.kind not in "iu" or trials.size == 0:
        raise DataError(f"trials are {trials.dtype} of shape {trials.shape}; expected integers.")
    if trials.min() < 0 or trials.max() >= len(stored):
        raise DataError(
            f"trials span {trials.min()} to {trials.max()}; {stored.file.filename} has 0 to "
            f"{len(stored) - 1}."
        )
    n_columns = len(np.arange(stored.shape[1])[columns])
    betas = np.empty((trials.size, n_columns), dtype=np.float32)
    order = np.argsort(trials, kind="stable")  # the file is read once, front to back
    with tqdm(total=trials.size, desc="betas", unit="trial", disable=not progress) as bar:
        for positions in _spans(trials, order, per_block):
            first, last = trials[positions[0]], trials[positions[-1]]
            block = stored[first : last + 1][trials[positions] - first][:, columns]
            if not np.isfinite(block).all():
                row, column = np.argwhere(~np.isfinite(block))[0]
                raise DataError(
                    f"{stored.file.filename} has a value that is not finite in trial "
                    f"{trials[positions[row]]}, voxel {np.arange(stored.shape[1])[columns][column]}"
                    ". Leave that voxel out (voxels=...), or copy the file again."
                )
            betas[positions] = block
            bar.update(positions.size)
    return betas


def _spans(trials: np.ndarray, order: np.ndarray, per_block: int) -> Iterator[np.ndarray]:
    """Cut positions, sorted by trial, so that no group spans more than ``per_block`` rows."""
    start = 0
    while start < order.size:
        end = np.searchsorted(trials, trials[order[start]] + per_block, sorter=order)
        yield order[start:end]
        start = end


def read_images(
    layout: MindEye2Layout,
    nsd_ids: Sequence[int],
    size: int | None = None,
    *,
    progress: bool = True,
) -> np.ndarray:
    """Read images from ``coco_images_224_float16.hdf5``.

    Parameters, results and errors are those of :func:`fmri_utils.nsd.read_images`; the side is 224.
    """
    path = require(layout.images, "the file of images", REMEDY)
    with _open(path) as file:
        if "images" not in file:
            raise DataError(f"{path} has no dataset 'images'; it holds {sorted(file)}.")
        stored = file["images"]
        if stored.ndim != 4 or stored.shape[1] != 3 or stored.dtype != np.float16:
            raise DataError(
                f"images in {path} are {stored.dtype} of shape {stored.shape}; expected float16 of "
                f"(image, RGB, row, column). {REMEDY}"
            )
        ids = check_nsd_ids(nsd_ids, len(stored))
        return load_pictures(
            lambda i: _to_uint8(stored[i], path), ids, stored.shape[2], size, progress
        )


def _to_uint8(image: np.ndarray, path: Path) -> np.ndarray:
    if not (image.min() >= 0 and image.max() <= 1):
        raise DataError(f"{path} has values from {image.min()} to {image.max()}; expected 0 to 1.")
    return np.rint(image.astype(np.float32).transpose(1, 2, 0) * 255).astype(np.uint8)
