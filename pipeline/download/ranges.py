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
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import h5py
import numpy as np

from fmri_utils.nsd.paths import TRIALS_PER_SESSION
from fmri_utils.project.errors import DataError

from .answers import Remote
from .client import Client

BLOCK = 512  # bytes; what is known of the file is counted in these
FIRST_BYTES = 2**15  # superblock, groups and the dataset's header are at the start
GAP_BYTES = 2**14  # a gap up to this long costs less to fetch than another request
LONGEST_REQUEST = 2**20
MOST_ROUNDS = 50  # an index has a handful of levels
T = TypeVar("T")


@dataclass(frozen=True)
class Traffic:
    """What reading some voxels took: bytes and requests, and rounds of parallel requests."""

    n_bytes: int
    n_requests: int
    n_rounds: int


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

    def __init__(self, client: Client, remote: Remote, on_bytes: Callable[[int], None]):
        super().__init__()
        self.client, self.remote, self.on_bytes = client, remote, on_bytes
        self.position = 0
        self.fell_short = False
        self.blocks: dict[int, bytes] = {}
        self.wanted: set[int] = set()
        self.n_bytes = self.n_requests = self.n_rounds = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.remote.size}
        self.position = origins[whence] + offset
        return self.position

    def readinto(self, buffer) -> int:
        """Read at the position, or note what is missing and raise."""
        size = max(0, min(len(buffer), self.remote.size - self.position))
        first = self.position // BLOCK
        numbers = range(first, -(-(self.position + size) // BLOCK))
        try:
            data = b"".join([self.blocks[number] for number in numbers])
        except KeyError:
            self.want(self.position, size)
            self.fell_short = True
            raise _NotYet from None
        start = self.position - first * BLOCK
        buffer[:size] = data[start : start + size]
        self.position += size
        return size

    def want(self, start: int, size: int) -> None:
        """Note that bytes are needed."""
        stop = min(start + size, self.remote.size)
        numbers = range(start // BLOCK, -(-stop // BLOCK))
        self.wanted.update(number for number in numbers if number not in self.blocks)

    def fetch_wanted(self) -> None:
        """Fetch everything noted, neighbours together, all at the same time."""
        spans = merged(np.array(sorted(self.wanted)), self.remote.size)
        self.wanted.clear()

        def get(span: tuple[int, int]) -> tuple[int, bytes]:
            return span[0], self.client.get_range(self.remote, *span)

        for start, data in self.client.parallel(get, spans):
            for offset in range(0, len(data), BLOCK):
                self.blocks[(start + offset) // BLOCK] = data[offset : offset + BLOCK]
            self.n_bytes += len(data)
            self.on_bytes(len(data))
        self.n_requests += len(spans)
        self.n_rounds += 1
        if self.n_rounds > MOST_ROUNDS:
            raise DataError(
                f"{self.remote.url} needs more than {MOST_ROUNDS} rounds of requests: its index is "
                "not one that this can follow. Fetch whole files instead: BETAS=hdf5."
            )


def merged(numbers: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Join blocks into spans of bytes, bridging short gaps.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_blocks,)
        Blocks, increasing.
    size : int
        Length of the file.

    Returns
    -------
    list of (int, int)
        First byte and the one after the last, increasing, none longer than ``LONGEST_REQUEST``.
    """
    longest = LONGEST_REQUEST // BLOCK
    spans: list[list[int]] = []
    for number in numbers.tolist():
        near = spans and number - spans[-1][1] <= GAP_BYTES // BLOCK
        if near and number + 1 - spans[-1][0] <= longest:
            spans[-1][1] = number + 1
        else:
            spans.append([number, number + 1])
    return [(first * BLOCK, min(stop * BLOCK, size)) for first, stop in spans]


def read_voxels(
    client: Client,
    remote: Remote,
    voxels: np.ndarray,
    grid: tuple[int, int, int],
    on_bytes: Callable[[int], None] = lambda n: None,
) -> tuple[np.ndarray, Traffic]:
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
    traffic : Traffic
        What it took.

    Raises
    ------
    DataError
        If the file is not as NSD writes it, is cut off, or changed meanwhile (:class:`Changed`).
    """
    if remote.size is None or remote.validator is None:
        raise DataError(
            f"the server tells neither length nor version of {remote.url}, so parts of it cannot "
            "be trusted to belong together. Fetch whole files instead: BETAS=hdf5."
        )
    source = SparseFile(client, remote, on_bytes)
    source.want(0, FIRST_BYTES)
    source.fetch_wanted()
    # The file must be closed before Python ends, or HDF5 calls back into a dead interpreter.
    with _as_data_errors(remote, source), _until_there(source, lambda: h5py.File(source)) as file:
        dataset = _until_there(source, lambda: file.get("betas"))
        _check_dataset(remote, dataset, grid)
        stored = np.empty((voxels.size, TRIALS_PER_SESSION), dtype=np.int16)
        places = np.column_stack(np.unravel_index(voxels, grid[::-1])).tolist()  # z, y, x
        pending = list(range(voxels.size))
        while pending:
            pending = [i for i in pending if not _try(source, dataset, places[i], stored[i])]
            if pending:
                source.fetch_wanted()
    traffic = Traffic(source.n_bytes, source.n_requests, source.n_rounds)
    return np.ascontiguousarray(stored.T), traffic


def _try(source: SparseFile, dataset: h5py.Dataset, place: list[int], out: np.ndarray) -> bool:
    """Read a voxel if all its bytes are here; otherwise they are noted."""
    z, y, x = place
    source.fell_short = False
    try:
        out[:] = dataset[:, z, y, x]
    except Exception:  # HDF5 may report a failed read as an error of its own
        if not source.fell_short:
            raise
        return False
    return True


def _until_there(source: SparseFile, read: Callable[[], T]) -> T:
    """Call ``read`` again and again, with what it needed."""
    while True:
        try:
            return read()
        except Exception:
            if not source.wanted:
                raise
            source.fetch_wanted()


@contextmanager
def _as_data_errors(remote: Remote, source: SparseFile):
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
