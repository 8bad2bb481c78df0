"""Betas of the voxels of some areas, session by session, out of HDF5 files on a server.

NSD's beta files hold one chunk per voxel, of all 750 trials, and an index that says where each of
the 700,000 chunks is. HDF5 itself does the reading here, from a file object that knows only the
bytes that were fetched so far. A read that needs others fails and leaves a note of what it
needed. All voxels are tried, then everything noted is fetched at the same time, and those that
failed are tried again: each round goes one level down the index, and the last one fetches the
chunks. So a session needs about five rounds, whatever the latency, and any index that HDF5 knows
will do.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import h5py
import numpy as np
from tqdm.auto import tqdm

from fmri_utils.nsd.paths import TRIALS_PER_SESSION, NSDLayout
from fmri_utils.nsd.roi_betas import (
    RoiBetas,
    flat_voxels,
    load_roi_betas,
    load_voxels,
    save_roi_betas,
)
from fmri_utils.nsd.rois import roi_mask
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError

from .client import Remote, get_range, parallel
from .consent import say
from .settings import Request
from .transfer import Records, check_space, gigabytes

BLOCK = 512  # bytes; what is known of the file is counted in these
FIRST_BYTES = 2**15  # superblock, groups and the dataset's header are at the start
GAP_BYTES = 2**14  # a gap up to this long costs less to fetch than another request
P, T = TypeVar("P"), TypeVar("T")


def fetch_sessions(
    request: Request, layout: NSDLayout, remotes: dict[int, Remote], records: Records
) -> None:
    """Bring the voxels of the areas of all sessions that do not have them yet.

    A session whose whole file is here is passed over. Voxels that were fetched earlier stay.

    Parameters
    ----------
    request : Request
        Its sessions and areas.
    layout : NSDLayout
        The folder, with the ROI files.
    remotes : dict of int to Remote
        Each session's whole file on the server.
    records : Records
        The list of finished files.
    """
    mask = roi_mask(layout, request.roi)
    voxels = np.sort(flat_voxels(mask))
    todo, n_wholes, traffic = [], 0, Counter()
    for session in remotes:
        path = layout.betas_roi(session)
        if layout.betas_hdf5(session).is_file() or layout.betas_nifti(session).is_file():
            n_wholes += 1
        elif not records.is_whole(path) or np.setdiff1d(voxels, load_voxels(path)).size:
            todo.append(session)
    if n_wholes:
        say(f"{n_wholes} sessions are here as whole files; of these no voxels are fetched.")
    check_space(layout.root, len(todo) * voxels.size * 1500)
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        for i, session in enumerate(todo, start=1):
            bar.set_description(f"betas, session {i} of {len(todo)}")
            path, remote = layout.betas_roi(session), remotes[session]
            here = load_roi_betas(path) if records.is_whole(path) else None
            names, wanted = request.roi, voxels
            if here is not None:
                names = names if here.rois == names else f"{here.rois}+{names}"
                wanted = np.union1d(here.voxels, voxels)
            # Voxels of two versions of the file never go together: another is fetched anew.
            keep = here if here and here.etag == remote.etag else None
            new = np.setdiff1d(wanted, keep.voxels) if keep else wanted
            stored, cost = read_voxels(remote, new, mask.shape, request.connections, bar.update)
            if keep:
                order = np.argsort(np.concatenate([keep.voxels, new]))
                stored = np.concatenate([keep.stored, stored], axis=1)[:, order]
            source = remote.url, remote.etag, remote.size
            with atomic_path(path) as part:
                save_roi_betas(part, RoiBetas(stored, wanted, mask.shape, names, *source))
            records.add(path, remote)
            traffic += cost
    if traffic:
        say(
            f"Voxels of {request.roi}: {gigabytes(traffic['n_bytes'])} in {traffic['n_requests']} "
            f"requests and {traffic['n_rounds']} rounds."
        )


class SparseFile:
    """The bytes of a remote file that were fetched so far, as a file for h5py.

    Parameters
    ----------
    remote : Remote
        The file; all bytes are of this version.
    n_connections : int
        Requests at the same time.
    on_bytes : callable
        Told the number of bytes that came.
    """

    def __init__(self, remote: Remote, n_connections: int, on_bytes: Callable[[int], object]):
        self.remote, self.n_connections, self.on_bytes = remote, n_connections, on_bytes
        # Memory is taken only where bytes have come.
        self.bytes = mmap.mmap(-1, max(1, remote.size))
        self.seek, self.tell = self.bytes.seek, self.bytes.tell
        self.here = np.zeros(-(-remote.size // BLOCK), dtype=bool)
        self.wanted = np.zeros_like(self.here)
        self.traffic = Counter()

    def read(self, size: int) -> bytes:
        """Read at the position, or note what is missing and raise."""
        start = self.tell()
        blocks = _blocks(start, min(start + size, self.remote.size))
        if not self.here[blocks].all():
            self.wanted[blocks] = True
            raise BlockingIOError("bytes that have not been fetched are needed")
        return self.bytes.read(size)

    def read_all(self, read: Callable[[P], T], places: Sequence[P]) -> list[T]:
        """Call ``read`` on all places, again and again, each time with what was missing before."""
        results = {}
        while True:
            for place in places:
                try:
                    if place not in results:
                        results[place] = read(place)
                except Exception:  # HDF5 may report a failed read as an error of its own
                    if not self.wanted.any():
                        raise
            if len(results) == len(places):
                return [results[place] for place in places]
            self.fetch_wanted()

    def fetch_wanted(self) -> None:
        """Fetch everything noted, neighbours together, all at the same time."""
        numbers = np.flatnonzero(self.wanted & ~self.here)
        self.wanted[:] = False
        ends = np.flatnonzero(np.diff(numbers) > GAP_BYTES // BLOCK + 1) + 1
        runs = [run for run in np.split(numbers, ends) if run.size]

        async def get(run: np.ndarray) -> None:
            start, stop = int(run[0]) * BLOCK, min(int(run[-1] + 1) * BLOCK, self.remote.size)
            self.bytes[start:stop] = await get_range(self.remote, start, stop)
            self.here[_blocks(start, stop)] = True
            self.traffic.update(n_bytes=stop - start, n_requests=1)
            self.on_bytes(stop - start)

        parallel(get, runs, self.n_connections)
        self.traffic["n_rounds"] += 1


def _blocks(start: int, stop: int) -> slice:
    return slice(start // BLOCK, -(-stop // BLOCK))


def read_voxels(
    remote: Remote,
    voxels: np.ndarray,
    grid: tuple[int, int, int],
    n_connections: int,
    on_bytes: Callable[[int], object],
) -> tuple[np.ndarray, Counter]:
    """Read single voxels of one session from a server.

    Parameters
    ----------
    remote : Remote
        The session's HDF5 file.
    voxels : ndarray of int64, shape (n_voxels,)
        Flat indices into the (Z, Y, X) volume, increasing.
    grid : tuple of int
        (X, Y, Z).
    n_connections : int
        Requests at the same time.
    on_bytes : callable
        Told the number of bytes that came.

    Returns
    -------
    stored : ndarray of int16, shape (750, n_voxels)
        300 times percent signal change, as stored.
    traffic : collections.Counter
        What it took: ``n_bytes``, ``n_requests`` and ``n_rounds`` of parallel requests.

    Raises
    ------
    DataError
        If the file is not as NSD writes it, is cut off, or changed meanwhile (:class:`Changed`).
    """
    if remote.etag is None:
        raise DataError(
            f"the server does not tell the version of {remote.url}, so parts of it cannot be "
            "trusted to belong together. Fetch whole files instead: BETAS=hdf5."
        )
    source = SparseFile(remote, n_connections, on_bytes)
    source.wanted[_blocks(0, FIRST_BYTES)] = True
    source.fetch_wanted()
    indices = np.unravel_index(voxels, grid[::-1])
    places = list(zip(*map(np.ndarray.tolist, indices), strict=True))
    try:
        # The file must be closed before Python ends, or HDF5 calls back into a dead interpreter.
        with source.read_all(h5py.File, [source])[0] as file:
            (dataset,) = source.read_all(file.get, ["betas"])
            _check_dataset(remote, dataset, grid)
            read = source.read_all(lambda place: dataset[(slice(None), *place)], places)
    except (OSError, RuntimeError, KeyError) as err:
        raise DataError(
            f"{remote.url} cannot be read as HDF5 ({type(err).__name__}: {err}). It is cut off or "
            "damaged on the server, or no HDF5 file. Try BETAS=nifti."
        ) from err
    return np.stack(read, axis=1), source.traffic


def _check_dataset(remote: Remote, dataset: object, grid: tuple[int, int, int]) -> None:
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{remote.url} has no dataset 'betas'. Expected one of NSD's beta files.")
    shape, chunks = (TRIALS_PER_SESSION, *grid[::-1]), (TRIALS_PER_SESSION, 1, 1, 1)
    if dataset.shape != shape or dataset.dtype.str[1:] != "i2" or dataset.chunks != chunks:
        raise DataError(
            f"betas in {remote.url} are {dataset.dtype} of shape {dataset.shape} in chunks "
            f"{dataset.chunks}; expected int16 of {shape}, the grid of the ROI files, in chunks of "
            f"one voxel in all trials, {chunks}. If subject and space are right, use BETAS=hdf5."
        )
