"""Betas of some voxels only, as ``make nsd-download BETAS=roi`` writes them.

A file ``betas_sessionNN.roi.hdf5`` lies where the whole file of the session would. Its name, its
datasets and its shape are others, so that it cannot pass for the whole: a mask that needs a voxel
which is not in it is an error, which says what to fetch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..project.errors import DataError
from ..project.reading import reading
from .maps import check_mask
from .paths import TRIALS_PER_SESSION, NSDLayout
from .rois import available_rois, roi_mask

SUFFIX = ".roi.hdf5"
CONTENT = "NSD betas of some voxels, int16 of 300 times percent signal change"
BLOCK_TRIALS = 75


@dataclass(frozen=True, eq=False)
class RoiBetas:
    """One session's betas of some voxels, and where they come from.

    Attributes
    ----------
    stored : ndarray of int16, shape (750, n_voxels)
        300 times percent signal change.
    voxels : ndarray of int64, shape (n_voxels,)
        Flat indices into the (Z, Y, X) volume, increasing.
    grid : tuple of int
        (X, Y, Z).
    rois : str
        What they were fetched for, as :func:`roi_mask` takes it; for people only.
    url, etag : str
        The whole file and its version.
    source_bytes : int
        Its length.
    """

    stored: np.ndarray
    voxels: np.ndarray
    grid: tuple[int, int, int]
    rois: str
    url: str
    etag: str
    source_bytes: int


def is_roi_file(path: Path) -> bool:
    """Whether a file holds some voxels only, by its name."""
    return path.name.endswith(SUFFIX)


def flat_voxels(mask: np.ndarray) -> np.ndarray:
    """Flat indices into the (Z, Y, X) volume of a mask's voxels, in the order of ``volume[mask]``.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The voxels.
    """
    return np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F")


def save_roi_betas(path: Path, session: RoiBetas) -> None:
    """Write a file; the caller sees to it that it gets its name only when it is whole."""
    with h5py.File(path, "w") as file:
        file.create_dataset("roi_betas", data=session.stored, track_times=False)
        file.create_dataset("voxels", data=session.voxels, track_times=False)
        file.attrs["content"] = CONTENT
        file.attrs["grid"] = session.grid
        for name in ("rois", "url", "etag", "source_bytes"):
            file.attrs[name] = getattr(session, name)


def load_roi_betas(path: Path) -> RoiBetas:
    """Read a whole file.

    Raises
    ------
    DataError
        If it is damaged or of another kind.
    """
    with _opened(path) as (file, voxels, grid):
        named = {name: file.attrs[name] for name in ("rois", "url", "etag", "source_bytes")}
        return RoiBetas(file["roi_betas"][()], voxels, grid, **named)


def load_voxels(path: Path) -> np.ndarray:
    """Read which voxels a file holds: flat indices into the (Z, Y, X) volume, increasing."""
    with _opened(path) as (_, voxels, _):
        return voxels


def roi_blocks(path: Path, mask: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (trials, stored values (n, n_voxels)) of the voxels of a mask.

    Raises
    ------
    DataError
        If a voxel of the mask is not in the file.
    """
    with _opened(path) as (file, voxels, grid):
        wanted = flat_voxels(check_mask(mask, grid, str(path)))
        columns = np.searchsorted(voxels, wanted)
        found = voxels[np.minimum(columns, voxels.size - 1)] == wanted
        if not found.all():
            raise ValueError(f"{np.count_nonzero(~found)} voxels of the mask are not in it")
        for start in range(0, TRIALS_PER_SESSION, BLOCK_TRIALS):
            trials = slice(start, start + BLOCK_TRIALS)
            yield trials, file["roi_betas"][trials][:, columns]


def check_roi_files(layout: NSDLayout, paths: Sequence[Path], mask: np.ndarray) -> None:
    """Check that all voxels of a mask are in those files that hold some voxels only.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    paths : sequence of pathlib.Path
        Files of sessions; whole ones are passed over.
    mask : ndarray of bool, shape (X, Y, Z)
        The voxels to be read.

    Raises
    ------
    DataError
        If some are not; it says how many, of which atlases, and the command that fetches them.
    """
    lacking, missing, held = [], np.zeros(mask.shape, bool), set()
    for path in filter(is_roi_file, paths):
        with _opened(path) as (file, voxels, grid):
            wanted = check_mask(mask, grid, str(path))
            there = np.zeros(grid[::-1], bool)
            there.ravel()[voxels] = True
            if np.any(wanted & ~there.T):
                lacking.append(path)
                missing |= wanted & ~there.T
                held.add(file.attrs["rois"])
    if lacking:
        sessions = [int(path.name[len("betas_session") : -len(SUFFIX)]) for path in lacking]
        atlases, counts, n_rest = _atlases_of(layout, missing)
        where = ", ".join(f"{n} in {atlas}" for atlas, n in counts.items())
        rest = f"{n_rest} in no atlas of the folder" if n_rest else ""
        raise DataError(
            f"{np.count_nonzero(missing)} of the {np.count_nonzero(mask)} voxels of the mask were "
            f"not downloaded for {len(lacking)} of {len(paths)} sessions: {lacking[0]} holds only "
            f"{' and '.join(sorted(held))}. Missing are: {'; '.join(filter(None, (where, rest)))}. "
            f"Fetch them: {_command(layout, sessions, '' if n_rest else '+'.join(atlases))}"
        )


def _atlases_of(layout: NSDLayout, missing: np.ndarray) -> tuple[list[str], dict[str, int], int]:
    """Atlases that cover missing voxels, as few as a greedy choice needs.

    Returns
    -------
    atlases : list of str
        The choice.
    counts : dict of str to int
        Missing voxels in each of these.
    n_rest : int
        Missing voxels that no atlas covers.
    """
    masks = {atlas: roi_mask(layout, atlas) for atlas in available_rois(layout)}
    masks = {atlas: m & missing for atlas, m in masks.items() if m.shape == missing.shape}
    rest, counts = missing.copy(), {}
    while masks and rest.any():
        best = max(masks, key=lambda atlas: np.count_nonzero(masks[atlas] & rest))
        if not np.any(masks[best] & rest):
            break
        counts[best] = int(np.count_nonzero(masks[best]))
        rest &= ~masks[best]
    return list(counts), counts, int(np.count_nonzero(rest))


def _command(layout: NSDLayout, sessions: list[int], roi: str) -> str:
    betas = f"BETAS=roi ROI={roi}" if roi else "BETAS=hdf5"
    without_gap = sessions[-1] - sessions[0] == len(sessions) - 1
    numbers = f"{sessions[0]}-{sessions[-1]}" if without_gap else ",".join(map(str, sessions))
    return (
        f"`make nsd-download SUBJECT={layout.subject} SESSIONS={numbers} {betas} STIMULI=none "
        f"SPACE={layout.space} VERSION={layout.beta_version} ROOT={layout.root}`"
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.File, np.ndarray, tuple[int, int, int]]]:
    """A file, its voxels and its grid, checked."""
    damaged = "delete it and run `make nsd-download` again."
    with reading(path, "the betas", damaged=damaged), h5py.File(path) as file:
        grid = tuple(int(n) for n in file.attrs["grid"])
        voxels, betas = file["voxels"][()], file["roi_betas"]
        whole = betas.shape == (TRIALS_PER_SESSION, voxels.size) and betas.dtype == np.int16
        sound = voxels.size > 0 and voxels[0] >= 0 and voxels[-1] < np.prod(grid)
        if not (whole and sound and np.all(np.diff(voxels) > 0) and len(grid) == 3):
            raise ValueError(f"{betas.dtype} of {betas.shape} for {voxels.size} voxels")
        yield file, voxels, grid
