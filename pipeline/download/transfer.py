"""Whole files: into ``.part``, resumed, checked, and only then given their name.

A list in the data folder, ``downloads.json``, tells files that were fetched and checked, with their
sizes and hashes, from anything else that lies there.
"""

import datetime
import functools
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
from filelock import FileLock, Timeout
from isal import igzip
from tqdm.auto import tqdm

from fmri_utils.project.artifacts import atomic_path, sha256_file
from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import outer_cause, reading

from .client import Remote, get_range, parallel
from .consent import say

LIST = "downloads.json"
N_FILES = 4  # whole files at the same time
SPARE_BYTES = 200e6  # of disk that stay free
PIECE = 2**24  # bytes of one request; what a killed download loses at most

gigabytes = functools.partial(tqdm.format_sizeof, suffix="B")  # for people: 1.09GB


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Refuse a second download into the same folder; the lock dies with its process."""
    try:
        with FileLock(root / ".download.lock", timeout=0):
            yield
    except Timeout:
        raise DataError(
            f"another download is at work in {root}. Wait for its end, or use another ROOT=."
        ) from None


class Records:
    """The list of finished files of a data folder.

    Parameters
    ----------
    root : pathlib.Path
        The data folder.
    thorough : bool
        Hash files again even if size and time of change are as they were.

    Raises
    ------
    DataError
        If there is a list that cannot be read.
    """

    def __init__(self, root: Path, *, thorough: bool):
        self.root, self.thorough = root, thorough
        self.files: dict[str, dict] = {}
        path = root / LIST
        if path.exists():
            again = "delete it. Files are then compared with the server's and listed again."
            with reading(path, "the list of downloads", damaged=again):
                self.files = dict(json.loads(path.read_text())["files"])

    def add(self, path: Path, remote: Remote) -> None:
        """List a finished file, and what it was made from; files that are gone are taken off."""
        about, today = path.stat(), datetime.date.today().isoformat()
        entry = {"url": remote.url, "etag": remote.etag, "fetched": today}
        entry |= {"bytes": about.st_size, "mtime_ns": about.st_mtime_ns}
        self.files[self._name(path)] = entry | {"sha256": sha256_file(path)}
        here = {name: entry for name, entry in self.files.items() if (self.root / name).exists()}
        with atomic_path(self.root / LIST) as part:
            part.write_text(json.dumps({"files": here}, indent=1, sort_keys=True) + "\n")

    def get(self, path: Path) -> dict | None:
        """What is recorded of a file, or None."""
        return self.files.get(self._name(path))

    def is_whole(self, path: Path) -> bool:
        """Whether a listed file is there with the bytes that were recorded.

        A file whose size and time of change are as recorded is not read again, unless the list is
        ``thorough``; one that was copied or touched is hashed.
        """
        entry = self.get(path)
        if entry is None or not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
        unchanged = path.stat().st_mtime_ns == entry["mtime_ns"] and not self.thorough
        return unchanged or sha256_file(path) == entry["sha256"]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def check_space(root: Path, n_bytes: float) -> None:
    """Check that so many bytes fit on the disk.

    Raises
    ------
    DataError
        If they do not.
    """
    free = shutil.disk_usage(root).free
    if n_bytes > 0 and n_bytes + SPARE_BYTES > free:
        raise DataError(
            f"the disk of {root} has {gigabytes(free)} free; {gigabytes(n_bytes)} are to be "
            "written. Make room, or fetch less (SESSIONS=1-3), or to another disk (ROOT=)."
        )


def part_of(path: Path, remote: Remote) -> Path:
    """Name of a file while it is not whole; it tells the version of the file on the server."""
    version = re.sub("[^0-9A-Za-z-]", "", remote.etag or "")
    return path.with_name(f"{path.name}.{version}.part")


def fetch_all(jobs: Sequence[tuple[Remote, Path]], records: Records) -> None:
    """Bring whole files that are not here, some at the same time, list them, and say what was done.

    Parameters
    ----------
    jobs : sequence of (Remote, pathlib.Path)
        What to bring, and where it goes.
    records : Records
        List of finished files.

    Raises
    ------
    DataError
        If one cannot be had, arrives damaged, changes meanwhile, or another file is in its place;
        or if they do not fit on the disk.
    """
    total = sum(remote.size for remote, _ in jobs)
    begun = [file for remote, path in jobs for file in (path, part_of(path, remote))]
    check_space(records.root, total - sum(f.stat().st_size for f in begun if f.is_file()))
    with tqdm(total=total, desc="files", unit="B", unit_scale=True, disable=None) as bar:

        async def bring(job: tuple[Remote, Path]) -> str:
            remote, path = job
            entry = records.get(path)
            if records.is_whole(path):
                bar.update(remote.size)
                if entry["etag"] == remote.etag:
                    return "here"
                return f"here ({path.name}: the server has another version now; delete to fetch it)"
            if path.exists() and entry is None:  # brought by hand, or finished just before a kill
                if problem := _damage(path, remote, path.name):
                    raise DataError(
                        f"{path} was not brought by this command and is not what the server has: "
                        f"{problem}. It is left alone. Delete it or move it away to fetch it anew."
                    )
                bar.update(remote.size)
                state = "brought by other means, and what the server has"
            else:
                await _fetch(remote, path, bar.update)
                state = "fetched and checked"
            records.add(path, remote)
            return state

        states = parallel(bring, jobs, N_FILES)
    say("Files: " + "; ".join(f"{n} {state}" for state, n in Counter(states).items()))


async def _fetch(remote: Remote, path: Path, on_bytes: Callable[[int], object]) -> None:
    """Fetch a file, or go on with it; tells the bytes of each step."""
    part = part_of(path, remote)
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f"{path.name}.*.part"):
        of_this_version = other == part and remote.etag and part.stat().st_size <= remote.size
        if not of_this_version:
            other.unlink()
    with open(part, "ab") as file:
        on_bytes(file.tell())
        while (start := file.tell()) < remote.size:
            on_bytes(file.write(await get_range(remote, start, min(start + PIECE, remote.size))))
        file.flush()
        os.fsync(file.fileno())
    if problem := _damage(part, remote, path.name):
        part.unlink()
        raise DataError(
            f"{remote.url} came damaged: {problem}. Run the same command again. If that does not "
            "help, it is damaged on the server or changed on the way: try another network."
        )
    part.replace(path)


def _damage(path: Path, remote: Remote, name: str) -> str:
    """Why a file is not what the server has; empty if nothing is wrong.

    Its length and, where the server tells it, its MD5 are compared. A ``.gz`` has a checksum of
    its own, and an HDF5 file knows its length.
    """
    size = path.stat().st_size
    if size != remote.size:
        return f"it has {size} bytes, not {remote.size}"
    try:
        if remote.md5:
            with open(path, "rb") as file:
                md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
            if md5.hexdigest() != remote.md5:
                return f"its MD5 is {md5.hexdigest()}, not {remote.md5}"
        if name.endswith(".gz"):
            with igzip.open(path) as file:
                while file.read(PIECE):
                    pass  # gzip verifies its checksum when it reaches the end
        elif name.endswith(".hdf5"):
            h5py.File(path, "r").close()
    except Exception as err:  # libraries raise many types on damaged files
        said = f"{name} cannot be read ({type(err).__name__}: {err})"
        if cause := outer_cause(path, err):
            raise DataError(f"{said}. {cause}") from err
        return said
    return ""
