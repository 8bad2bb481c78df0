"""Voxels out of an HDF5 file on a server, without fetching the file.

NSD's beta files hold one chunk per voxel, of all 750 trials, and an index that says where each of
the 700,000 chunks is. HDF5 itself does the reading here, from a file object that knows only the
bytes that were fetched so far. A read that needs others fails and leaves a note of what it
needed. All voxels are tried, then everything noted is fetched at the same time, and those that
failed are tried again: each round goes one level down the index, and the last one fetches the
chunks. So a session needs about five rounds, whatever the latency, and any index that HDF5 knows
will do.
"""

from __future__ import annotations

import io
import mmap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import h5py
import numpy as np

from fmri_utils.nsd.paths import TRIALS_PER_SESSION
from fmri_utils.project.errors import DataError

from .client import Client, Remote

BLOCK = 512  # bytes; what is known of the file is counted in these
FIRST_BYTES = 2**15  # superblock, groups and the dataset's header are at the start
GAP_BYTES = 2**14  # a gap up to this long costs less to fetch than another request
P, T = TypeVar("P"), TypeVar("T")


class _NotYet(Exception):
    """A read needs bytes that have not been fetched."""


class SparseFile(io.RawIOBase):
    """The bytes of a remote file that were fetched so far, as a file for h5py.

    Parameters
    ----------
    client : Client
        Connections.
    remote : Remote
        The file; all bytes are of this version.
    on_bytes : callable
        Told the number of bytes that came.
    """

    def __init__(self, client: Client, remote: Remote, on_bytes: Callable[[int], object]):
        super().__init__()
        self.client, self.remote, self.on_bytes = client, remote, on_bytes
        self.position = 0
        self.fell_short = False
        self.bytes = mmap.mmap(-1, remote.size + 1)  # memory is taken only where bytes have come
        self.here = np.zeros(-(-remote.size // BLOCK), dtype=bool)
        self.wanted = np.zeros_like(self.here)
        self.traffic = Counter()

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.remote.size}
        self.position = origins[whence] + offset
        return self.position

    def readinto(self, buffer) -> int:
        """Read at the position, or note what is missing and raise."""
        stop = min(self.position + len(buffer), self.remote.size)
        size = max(0, stop - self.position)
        if not self.here[blocks := _blocks(self.position, stop)].all():
            self.wanted[blocks] = True
            self.fell_short = True
            raise _NotYet
        buffer[:size] = self.bytes[self.position : self.position + size]
        self.position += size
        return size

    def read_all(self, read: Callable[[P], T], places: Sequence[P]) -> list[T]:
        """Call ``read`` on all places, again and again, each time with what was missing before."""
        results = {}
        while True:
            for place in places:
                self.fell_short = False
                try:
                    if place not in results:
                        results[place] = read(place)
                except Exception:  # HDF5 may report a failed read as an error of its own
                    if not self.fell_short:
                        raise
            if len(results) == len(places):
                return [results[place] for place in places]
            self.fetch_wanted()

    def fetch_wanted(self) -> None:
        """Fetch everything noted, neighbours together, all at the same time."""
        numbers = np.flatnonzero(self.wanted & ~self.here)
        self.wanted[:] = False
        ends = np.flatnonzero(np.diff(numbers) > GAP_BYTES // BLOCK + 1) + 1
        runs = np.split(numbers, ends)
        spans = [(run[0] * BLOCK, min((run[-1] + 1) * BLOCK, self.remote.size)) for run in runs]

        async def get(span: tuple[int, int]) -> None:
            start, stop = map(int, span)
            self.bytes[start:stop] = await self.client.get_range(self.remote, start, stop)
            self.here[_blocks(start, stop)] = True
            self.traffic.update(n_bytes=stop - start, n_requests=1)
            self.on_bytes(stop - start)

        self.client.parallel(get, spans)
        self.traffic["n_rounds"] += 1


def _blocks(start: int, stop: int) -> slice:
    return slice(start // BLOCK, -(-stop // BLOCK))


def read_voxels(
    client: Client,
    remote: Remote,
    voxels: np.ndarray,
    grid: tuple[int, int, int],
    on_bytes: Callable[[int], object] = lambda n: None,
) -> tuple[np.ndarray, Counter]:
    """Read single voxels of one session from a server.

    Parameters
    ----------
    client : Client
        Connections.
    remote : Remote
        The session's HDF5 file.
    voxels : ndarray of int64, shape (n_voxels,)
        Flat indices into the (Z, Y, X) volume, increasing.
    grid : tuple of int
        (X, Y, Z).
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
    source = SparseFile(client, remote, on_bytes)
    source.wanted[_blocks(0, FIRST_BYTES)] = True
    source.fetch_wanted()
    # The file must be closed before Python ends, or HDF5 calls back into a dead interpreter.
    with _as_data_errors(remote), source.read_all(h5py.File, [source])[0] as file:
        (dataset,) = source.read_all(file.get, ["betas"])
        _check_dataset(remote, dataset, grid)
        places = zip(*map(np.ndarray.tolist, np.unravel_index(voxels, grid[::-1])), strict=True)
        read = source.read_all(lambda place: dataset[(slice(None), *place)], list(places))
        return np.stack(read, axis=1), source.traffic


@contextmanager
def _as_data_errors(remote: Remote) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError) as err:
        raise DataError(
            f"{remote.url} cannot be read as HDF5 ({type(err).__name__}: {err}). It is cut off or "
            "damaged on the server, or no HDF5 file. Try BETAS=nifti."
        ) from err


def _check_dataset(remote: Remote, dataset: object, grid: tuple[int, int, int]) -> None:
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{remote.url} has no dataset 'betas'. Expected one of NSD's beta files.")
    shape = (TRIALS_PER_SESSION, *grid[::-1])
    if dataset.shape != shape or dataset.dtype.kind != "i" or dataset.dtype.itemsize != 2:
        raise DataError(
            f"betas in {remote.url} are {dataset.dtype} of shape {dataset.shape}; expected int16 "
            f"of {shape}, the grid of the ROI files. They belong to another subject or space."
        )
    if dataset.chunks != (TRIALS_PER_SESSION, 1, 1, 1):
        raise DataError(
            f"betas in {remote.url} have chunks {dataset.chunks}; expected one voxel in all trials "
            f"{(TRIALS_PER_SESSION, 1, 1, 1)}. Single voxels cannot be fetched: use BETAS=hdf5."
        )
