"""What has been downloaded: a list with sizes and hashes, kept in the data folder.

The list, ``downloads.json``, is what tells a file that was fetched and checked from anything else
that lies there.
"""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fmri_utils.project.artifacts import sha256_file
from fmri_utils.project.errors import DataError

from .answers import Remote

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two downloads apart
    fcntl = None

LIST = "downloads.json"


@contextmanager
def finished_file(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Give ``<path>.part`` to write to; move it to ``path`` if the block succeeds.

    Unlike that of :func:`~fmri_utils.project.artifacts.atomic_path`, the temporary name is always
    the same, so that gigabytes left by a killed download are overwritten by the next one. One
    download at a time works in a folder; see :func:`alone`. ``flush`` waits until the bytes are
    on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    yield part
    move_into_place(part, path, flush=flush)


def part_of(path: Path) -> Path:
    """Name of a file while it is not whole."""
    return path.with_name(path.name + ".part")


def move_into_place(part: Path, path: Path, *, flush: bool = True) -> None:
    """Give a file its own name, after its bytes are on disk."""
    if flush:
        with open(part, "rb") as handle:
            os.fsync(handle.fileno())
    os.replace(part, path)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Refuse a second download into the same folder; the lock dies with its process."""
    with open(root / ".download.lock", "w") as handle:
        claim(handle, f"in {root}")
        yield


def claim(handle: IO, what: str) -> None:
    """Lock an open file for this process, or say that another download has it."""
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(
            f"another download is at work {what}. Wait for it to end, or use another folder "
            "(ROOT=)."
        ) from None


class Records:
    """The list of finished files of a data folder.

    Parameters
    ----------
    root : pathlib.Path
        The data folder.
    thorough : bool
        Hash files again even if size and time of change are as recorded.

    Raises
    ------
    DataError
        If the list cannot be read.
    """

    def __init__(self, root: Path, *, thorough: bool = False):
        self.root, self.thorough = root, thorough
        self._lock = threading.Lock()
        self.files: dict[str, dict] = {}
        path = root / LIST
        if path.is_file():
            try:
                self.files = json.loads(path.read_text())["files"]
            except (ValueError, KeyError, TypeError) as err:
                raise DataError(
                    f"{path} cannot be read ({err}). It lists what has been downloaded. Delete it: "
                    "the files are then compared with the server's and listed again."
                ) from err

    def add(self, path: Path, remote: Remote, sha256: str) -> None:
        """List a finished file."""
        stat = path.stat()
        with self._lock:
            self.files[self._name(path)] = {
                "url": remote.url,
                "etag": remote.etag,
                "bytes": stat.st_size,
                "sha256": sha256,
                "mtime_ns": stat.st_mtime_ns,
                "fetched": datetime.date.today().isoformat(),
            }
            self._save()

    def forget(self, path: Path) -> None:
        """Take a file off the list."""
        with self._lock:
            if self.files.pop(self._name(path), None):
                self._save()

    def get(self, path: Path) -> dict | None:
        """What is recorded of a file, or None."""
        return self.files.get(self._name(path))

    def is_whole(self, path: Path) -> bool:
        """Whether a listed file is there with the bytes that were recorded.

        A file whose size and time of change are as recorded is not read again, unless the list is
        ``thorough``; one that was copied or touched is hashed.
        """
        entry = self.get(path)
        if entry is None or not path.is_file():
            return False
        stat = path.stat()
        if stat.st_size != entry["bytes"]:
            return False
        if stat.st_mtime_ns == entry["mtime_ns"] and not self.thorough:
            return True
        return sha256_file(path) == entry["sha256"]

    def _name(self, path: Path) -> str:
        inside = path.is_relative_to(self.root)  # weights lie in the caches of their libraries
        return (path.relative_to(self.root) if inside else path).as_posix()

    def _save(self) -> None:
        # It is written after every file and can be made again: no need to wait for the disk.
        with finished_file(self.root / LIST, flush=False) as part:
            part.write_text(json.dumps({"files": self.files}, indent=1, sort_keys=True) + "\n")
