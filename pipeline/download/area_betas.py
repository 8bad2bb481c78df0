"""Betas of the voxels of some areas, session by session, out of HDF5 files on a server.

NSD's beta files hold one chunk per voxel, of all 750 trials, and an index that says where each of
the 700,000 chunks is. HDF5 itself does the reading here, from a file object that knows only the
bytes that were fetched so far. A read that needs others fails and leaves a note of what it
needed. All voxels are tried, then everything noted is fetched at the same time, and those that
failed are tried again: each round goes one level down the index, and the last one fetches the
chunks. So a session needs about five rounds, whatever the latency, and any index that HDF5 knows
will do.
"""

import mmap
from collections.abc import Callable, Sequence

import h5py
import numpy as np
from tqdm.auto import tqdm

from fmri_utils.nsd import roi_betas
from fmri_utils.nsd.paths import TRIALS_PER_SESSION, NSDLayout
from fmri_utils.nsd.rois import roi_mask
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError

from .client import Remote, get_range, parallel
from .consent import say
from .settings import Request
from .transfer import Records, check_space

BLOCK = 512  # bytes; what is known of the file is counted in these
FIRST_BYTES = 2**15  # superblock, groups and the dataset's header are at the start
GAP_BYTES = 2**14  # a gap up to this long costs less to fetch than another request


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
    voxels = np.sort(roi_betas.flat_voxels(mask))
    todo, n_wholes = [], 0
    for session in remotes:
        path = layout.betas_roi(session)
        if layout.betas_hdf5(session).is_file() or layout.betas_nifti(session).is_file():
            n_wholes += 1
        elif not records.is_whole(path) or np.setdiff1d(voxels, roi_betas.load_voxels(path)).size:
            todo.append(session)
    if n_wholes:
        say(f"{n_wholes} sessions are here as whole files; of these no voxels are fetched.")
    check_space(layout.root, len(todo) * voxels.size * 1500)
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        for i, session in enumerate(todo, start=1):
            bar.set_description(f"betas, session {i} of {len(todo)}")
            path, remote = layout.betas_roi(session), remotes[session]
            here = roi_betas.load_roi_betas(path) if records.is_whole(path) else None
            names, wanted = request.roi, voxels
            if here:
                names = names if here.rois == names else f"{here.rois}+{names}"
                wanted = np.union1d(here.voxels, voxels)
            # Voxels of two versions of the file never go together: another is fetched anew.
            keep = here if here and here.etag == remote.etag else None
            new = np.setdiff1d(wanted, keep.voxels) if keep else wanted
            source = SparseFile(remote, request.connections, bar.update)
            stored = read_voxels(source, new, mask.shape)
            if keep:
                order = np.argsort(np.concatenate([keep.voxels, new]))
                stored = np.concatenate([keep.stored, stored], axis=1)[:, order]
            about = names, remote.url, remote.etag, remote.size
            with atomic_path(path) as part:
                betas = roi_betas.RoiBetas(stored, wanted, mask.shape, *about)
                roi_betas.save_roi_betas(part, betas)
            records.add(path, remote)


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

    Raises
    ------
    DataError
        If the version of the file is not known.
    """

    def __init__(self, remote: Remote, n_connections: int, on_bytes: Callable[[int], object]):
        if remote.etag is None:
            raise DataError(
                f"the server does not tell the version of {remote.url}, so parts of it cannot be "
                "trusted to belong together. Fetch whole files instead: BETAS=hdf5."
            )
        self.remote, self.n_connections, self.on_bytes = remote, n_connections, on_bytes
        # Memory is taken only where bytes have come.
        self.bytes = mmap.mmap(-1, max(1, remote.size))
        self.seek, self.tell = self.bytes.seek, self.bytes.tell
        self.here = np.zeros(-(-remote.size // BLOCK), dtype=bool)
        self.wanted = np.arange(self.here.size) < FIRST_BYTES // BLOCK
        self.fell_short = False

    def read(self, size: int) -> bytes:
        """Read at the position, or note what is missing and raise."""
        start = self.tell()
        blocks = _blocks(start, min(start + size, self.remote.size))
        if not self.here[blocks].all():
            self.wanted[blocks] = self.fell_short = True
            raise BlockingIOError("bytes that have not been fetched are needed")
        return self.bytes.read(size)

    def read_all(self, read: Callable, places: Sequence) -> list:
        """Call ``read`` on all places, again and again, each time with what was missing before."""
        results = {}
        while len(results) < len(places):
            self.fetch_wanted()
            for place in places:
                try:
                    if place not in results:
                        results[place] = read(place)
                except Exception:  # HDF5 may report a failed read as an error of its own
                    if not self.fell_short:
                        raise
        return [results[place] for place in places]

    def fetch_wanted(self) -> None:
        """Fetch everything noted, neighbours together, all at the same time."""
        numbers = np.flatnonzero(self.wanted & ~self.here)
        self.wanted[:] = self.fell_short = False
        ends = np.flatnonzero(np.diff(numbers) > GAP_BYTES // BLOCK + 1) + 1

        async def get(run: np.ndarray) -> None:
            start, stop = int(run[0]) * BLOCK, min(int(run[-1] + 1) * BLOCK, self.remote.size)
            self.bytes[start:stop] = await get_range(self.remote, start, stop)
            self.here[_blocks(start, stop)] = True
            self.on_bytes(stop - start)

        runs = [run for run in np.split(numbers, ends) if run.size]
        parallel(get, runs, self.n_connections)


def _blocks(start: int, stop: int) -> slice:
    return slice(start // BLOCK, -(-stop // BLOCK))


def read_voxels(source: SparseFile, voxels: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Read single voxels of one session from a server.

    Parameters
    ----------
    source : SparseFile
        The session's HDF5 file.
    voxels : ndarray of int64, shape (n_voxels,)
        Flat indices into the (Z, Y, X) volume, increasing.
    grid : tuple of int
        (X, Y, Z).

    Returns
    -------
    ndarray of int16, shape (750, n_voxels)
        300 times percent signal change, as stored.

    Raises
    ------
    DataError
        If the file is not as NSD writes it, is cut off, or changed meanwhile (:class:`Changed`).
    """
    url = source.remote.url
    z_y_x = np.transpose(np.unravel_index(voxels, grid[::-1]))
    places = [tuple(place) for place in z_y_x.tolist()]
    try:
        # The file must be closed before Python ends, or HDF5 calls back into a dead interpreter.
        with source.read_all(h5py.File, [source])[0] as file:
            (dataset,) = source.read_all(file.get, ["betas"])
            _check_dataset(url, dataset, grid)
            stored = source.read_all(lambda place: dataset[(slice(None), *place)], places)
            return np.stack(stored, axis=1)
    except (OSError, RuntimeError, KeyError) as err:
        raise DataError(
            f"{url} cannot be read as HDF5 ({type(err).__name__}: {err}). It is cut off or damaged "
            "on the server, or no HDF5 file. Try BETAS=nifti."
        ) from err


def _check_dataset(url: str, dataset: object, grid: tuple[int, int, int]) -> None:
    shape, chunks = (TRIALS_PER_SESSION, *grid[::-1]), (TRIALS_PER_SESSION, 1, 1, 1)
    expected = {"shape": shape, "dtype": np.dtype(np.int16), "chunks": chunks}
    found = {name: getattr(dataset, name, None) for name in expected}
    if found != expected:
        raise DataError(
            f"betas in {url} have {found}; expected {expected}: the grid of the ROI files, and "
            "chunks of one voxel in all trials. If subject and space are right, use BETAS=hdf5."
        )
