"""What has been downloaded: a list with sizes and hashes, kept in the data folder.

The list, ``downloads.json``, is what tells a file that was fetched and checked from anything else
that lies there.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fmri_utils.project.artifacts import atomic_path, sha256_file
from fmri_utils.project.errors import DataError

from .client import Remote

LIST = "downloads.json"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Refuse a second download into the same folder; the lock dies with its process."""
    try:
        with FileLock(root / ".download.lock", timeout=0):
            yield
    except Timeout:
        raise DataError(
            f"another download is at work in {root}. Wait for it to end, or use another folder "
            "(ROOT=)."
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

    def __init__(self, root: Path, *, thorough: bool = False):
        self.root, self.thorough = root, thorough
        self.files: dict[str, dict] = {}
        path = root / LIST
        if path.exists():
            try:
                self.files = dict(json.loads(path.read_text())["files"])
            except (ValueError, KeyError, TypeError) as err:
                raise DataError(
                    f"{path} cannot be read ({err}). Delete it: the files that are here are then "
                    "compared with the server's and listed again."
                ) from err

    def add(self, path: Path, remote: Remote) -> None:
        """List a finished file, and what it was made from."""
        stat = path.stat()
        self.files[self._name(path)] = {
            "url": remote.url,
            "etag": remote.etag,
            "bytes": stat.st_size,
            "sha256": sha256_file(path),
            "mtime_ns": stat.st_mtime_ns,
            "fetched": datetime.date.today().isoformat(),
        }
        self._save()

    def forget(self, path: Path) -> None:
        """Take a file off the list."""
        del self.files[self._name(path)]
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
        return path.relative_to(self.root).as_posix()

    def _save(self) -> None:
        with atomic_path(self.root / LIST) as part:
            part.write_text(json.dumps({"files": self.files}, indent=1, sort_keys=True) + "\n")
