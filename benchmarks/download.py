"""Voxels of one area out of a remote session of real size: bytes, requests and rounds.

Run with ``make bench``. Writes a session of subject 1's size (81 x 104 x 83 voxels x 750 trials,
int16, noise; 1.1 GB) in a temporary folder, serves it on this computer with 50 ms before every
answer, and reads as many voxels as nsdgeneral has, in the shape of a folded sheet. Compared with
the whole file, and with h5py reading the same voxels one request after the other. Writes
``download.json`` beside this file. Client and server share one Python process, so the seconds are
an upper bound; bytes and requests are exact.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import platform
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from betas import GRID, N_TRIALS, make_masks
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from download_server import Server

from fmri_utils.nsd.roi_betas import flat_voxels
from fmri_utils.project.artifacts import atomic_path
from pipeline.download.area_betas import GAP_BYTES, SparseFile, read_voxels
from pipeline.download.client import head

DELAY = 0.05  # seconds
CONNECTIONS = 32  # the downloader's default


def make_session(path: Path) -> None:
    """Write noise with NSD's chunks: one voxel in all trials, no compression."""
    rng = np.random.default_rng(0)
    plane = rng.integers(-3000, 3000, (N_TRIALS, GRID[1], GRID[0]), dtype=np.int16)
    with h5py.File(path, "w") as file:
        shape = (N_TRIALS, *GRID[::-1])
        betas = file.create_dataset("betas", shape, np.int16, chunks=(N_TRIALS, 1, 1, 1))
        for z in tqdm(range(GRID[2]), desc="writing a session"):
            betas[:, z] = np.roll(plane, z * 7919) + np.int16(z)


class CountingSparseFile(SparseFile):
    """Counts its rounds of parallel requests."""

    n_rounds = 0

    def fetch_wanted(self) -> None:
        self.n_rounds += bool(self.wanted.any())
        super().fetch_wanted()


class CountingFile:
    """A local file that counts how often h5py reads from it."""

    def __init__(self, path: Path):
        self.file, self.n_reads = open(path, "rb"), 0  # noqa: SIM115, closed with the process

    def readinto(self, buffer) -> int:
        self.n_reads += 1
        return self.file.readinto(buffer)

    def __getattr__(self, name):
        return getattr(self.file, name)


def one_after_the_other(path: Path, voxels: np.ndarray) -> tuple[np.ndarray, int]:
    """The plain way: h5py asks for one piece at a time; returns values and number of reads."""
    source = CountingFile(path)
    with h5py.File(source) as file:
        z, y, x = np.unravel_index(voxels, GRID[::-1])
        stored = np.stack([file["betas"][:, *place] for place in zip(z, y, x, strict=True)], 1)
    return stored, source.n_reads


def measure(path: Path) -> dict:
    """Read the area from a server and from disk; both must agree."""
    voxels = np.sort(flat_voxels(make_masks()[1]))
    expected, n_reads = one_after_the_other(path, voxels)
    server = Server()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        server.files["/betas"], server.etags["/betas"], server.delay = data, '"1-2"', DELAY
        remote = asyncio.run(head(f"{server.url}/betas"))
        start = time.perf_counter()
        source = CountingSparseFile(remote, CONNECTIONS, int)
        stored = read_voxels(source, voxels, GRID)
        seconds = time.perf_counter() - start
        n_bytes, n_requests = sum(e.sent for e in server.log), len(server.asked())
        server.close()
    assert np.array_equal(stored, expected)
    return {
        "file_bytes": remote.size,
        "n_voxels": voxels.size,
        "bytes": n_bytes,
        "share_of_the_file": round(n_bytes / remote.size, 4),
        "requests": n_requests,
        "rounds": source.n_rounds,
        "requests_one_after_the_other": n_reads,
        "seconds_at_50_ms": round(seconds, 1),
        "seconds_one_after_the_other_at_50_ms": round(n_reads * DELAY),
        "connections": CONNECTIONS,
        "gap_bytes": GAP_BYTES,
        "machine": platform.machine(),
    }


def main() -> None:
    """Make the session, measure, write the result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "betas_session01.hdf5"
        make_session(path)
        result = measure(path)
    with atomic_path(Path(__file__).with_suffix(".json")) as tmp:
        tmp.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
