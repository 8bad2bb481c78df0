"""Whole files: into ``.part``, resumed, checked, and only then given their name."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
from isal import igzip
from tqdm.auto import tqdm

from fmri_utils.project.artifacts import sha256_file
from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import outer_cause

from .answers import Changed, Remote, Transient
from .client import BLOCK, Client
from .download_log import Records, claim, move_into_place, part_of

N_FILES = 4  # whole files at the same time
N_VERSIONS = 3  # a file that changes more often than this while it is fetched is given up

OnBytes = Callable[[int], None]


def fetch(
    client: Client,
    remote: Remote,
    path: Path,
    records: Records,
    on_bytes: OnBytes = lambda n: None,
    *,
    sha256: str = "",
) -> str:
    """Bring a whole file, unless it is here already.

    Parameters
    ----------
    client : Client
        Connections.
    remote : Remote
        What the server holds, from :meth:`Client.head`.
    path : pathlib.Path
        Where it goes.
    records : Records
        List of finished files.
    on_bytes : callable
        Told the number of bytes of each step; negative if bytes were thrown away.
    sha256 : str
        Start of the SHA-256 that its publisher gives, if any.

    Returns
    -------
    str
        ``"here"``, ``"known"`` (it lay there without being listed, and is what the server has),
        ``"newer"`` (the whole file is here, but the server has another version now) or
        ``"fetched"``.

    Raises
    ------
    DataError
        If it cannot be had, arrives damaged twice, keeps changing, or another file is in its place.
    """
    if records.is_whole(path):
        on_bytes(path.stat().st_size)
        entry = records.get(path)
        return "here" if entry["etag"] == remote.etag else "newer"
    if path.exists() and records.get(path) is None:
        _adopt(path, remote, records, sha256)
        on_bytes(path.stat().st_size)
        return "known"
    if remote.size is None:
        raise DataError(
            f"the server does not say how long {remote.url} is, so it cannot be checked. Expected: "
            "a Content-Length. Check the address and whether a proxy stands between."
        )
    damaged = 0
    for _ in range(N_VERSIONS):
        try:
            digest = _download(client, remote, path, on_bytes, sha256)
            break
        except _Damaged as err:
            damaged += 1
            if damaged > 1:
                raise DataError(
                    f"{remote.url} came damaged twice: {err}. It is damaged on the server, or "
                    "something on the way changes it. Try another network."
                ) from err
        except Changed as err:
            last = err
            _notes(part_of(path)).unlink(missing_ok=True)  # so that it begins anew
            remote = client.head(remote.url)
    else:
        raise DataError(f"{remote.url} changed {N_VERSIONS} times while it was fetched. {last}")
    records.add(path, remote, digest)
    return "fetched"


class _Damaged(Exception):
    """A whole file does not have the bytes that it should have."""


def _adopt(path: Path, remote: Remote, records: Records, sha256: str) -> None:
    """List a file that was brought by hand, or finished just before a kill."""
    size = path.stat().st_size
    digest = sha256_file(path)
    unsure = remote.md5 is None or sha256
    same = size == remote.size and (unsure or _md5(path) == remote.md5)
    try:
        if not same:
            raise _Damaged(f"{size} bytes of other content than the {remote.size} of the server")
        _check_digest(digest, sha256)
        check_content(path, path.name)
    except _Damaged as err:
        raise DataError(
            f"{path} was not brought by this command and is not what the server has ({err}). It is "
            f"left alone. Delete it or move it away to fetch {remote.url}."
        ) from err
    _notes(part_of(path)).unlink(missing_ok=True)
    records.add(path, remote, digest)


def _check_digest(found: str, wanted: str) -> None:
    if not found.startswith(wanted):
        raise _Damaged(f"its SHA-256 is {found}, not {wanted}{'...' * (len(wanted) < 64)}")


def _md5(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, _new_md5).hexdigest()


def _new_md5():
    return hashlib.md5(usedforsecurity=False)  # also where the system forbids MD5 for security


class _Part:
    """The unfinished file, the version that it is of, and the hashes of its bytes so far."""

    def __init__(self, path: Path, remote: Remote, on_bytes: OnBytes):
        self.path, self.remote, self.on_bytes = part_of(path), remote, on_bytes
        self.size = 0
        self._new_hashes()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "ab")  # noqa: SIM115, closed by `with`
        claim(self.file, f"on {path}")  # the caches of libraries are shared by projects

    def __enter__(self):
        if self._is_of_this_version():
            with open(self.path, "rb") as file:
                while block := file.read(BLOCK):
                    self._count(block)
        else:
            self.begin()
        return self

    def __exit__(self, *_):
        self.file.close()

    def _is_of_this_version(self) -> bool:
        if self.remote.validator is None or self.path.stat().st_size > self.remote.size:
            return False
        try:
            return json.loads(_notes(self.path).read_text()) == vars(self.remote)
        except (FileNotFoundError, ValueError):  # another error of the system is no new version
            return False

    def _new_hashes(self) -> None:
        self.sha256, self.md5 = hashlib.sha256(), _new_md5()

    def begin(self) -> None:
        """Throw away what is there."""
        # The bytes go before the notes are written, so the notes never name another version's.
        self.file.truncate(0)
        _notes(self.path).write_text(json.dumps(vars(self.remote)))
        self.on_bytes(-self.size)
        self.size = 0
        self._new_hashes()

    def append(self, block: bytes) -> None:
        self.file.write(block)
        self._count(block)

    def _count(self, block: bytes) -> None:
        self.size += len(block)
        self.sha256.update(block)
        self.md5.update(block)
        self.on_bytes(len(block))


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _download(client: Client, remote: Remote, path: Path, on_bytes: OnBytes, sha256: str) -> str:
    """Fetch the rest of a file, check it and move it into place; returns its SHA-256."""
    with _Part(path, remote, on_bytes) as part:
        failures = 0
        while part.size != remote.size:
            before = part.size
            try:
                _append_stream(client, part)
                failures = 0
            except Transient as err:
                failures = 1 if part.size > before else failures + 1
                client.pause(failures, err, remote.url)
        part.file.flush()
        try:
            if remote.md5 and not sha256 and part.md5.hexdigest() != remote.md5:
                raise _Damaged(f"its MD5 is {part.md5.hexdigest()}, not {remote.md5}")
            _check_digest(part.sha256.hexdigest(), sha256)
            check_content(part.path, path.name)
        except _Damaged:
            part.begin()
            raise
    move_into_place(part.path, path)
    _notes(part.path).unlink()
    return part.sha256.hexdigest()


def _append_stream(client: Client, part: _Part) -> None:
    wanted = part.remote
    if wanted.validator is None and part.size:
        part.begin()  # nothing would tell whether the rest is of the same version
    with client.stream(wanted.url, part.size, wanted) as (version, start, blocks):
        if (version.size, version.validator) != (wanted.size, wanted.validator):
            raise Changed(
                f"It was {wanted.size} bytes, {wanted.etag}; now {version.size}, {version.etag}."
            )
        if start != part.size:
            part.begin()  # the server does not know ranges
        for block in blocks:
            part.append(block)
    if part.size < wanted.size:
        raise Transient(f"the answer ended after {part.size} of {wanted.size} bytes")


def fetch_all(
    client: Client,
    jobs: Sequence[tuple[Remote, Path]],
    records: Records,
    *,
    progress: bool = True,
) -> dict[Path, str]:
    """Bring many whole files, some at the same time; see :func:`fetch`.

    Parameters
    ----------
    client, records
        As for :func:`fetch`.
    jobs : sequence of (Remote, pathlib.Path)
        What to bring, and where it goes.
    progress : bool
        Show a bar over bytes.

    Returns
    -------
    dict of pathlib.Path to str
        What :func:`fetch` says of each.
    """
    total = sum(remote.size or 0 for remote, _ in jobs)
    lock = threading.Lock()
    with tqdm(total=total, desc="files", unit="B", unit_scale=True, disable=not progress) as bar:

        def count(n_bytes: int) -> None:
            with lock:
                bar.update(n_bytes)

        def one(job: tuple[Remote, Path]) -> tuple[Path, str]:
            return job[1], fetch(client, *job, records, count)

        return dict(client.parallel(one, jobs, N_FILES))


def check_content(path: Path, name: str) -> None:
    """Read a file's own checksum or structure, by its name.

    Raises
    ------
    _Damaged
        If a ``.gz`` fails its checksum, or an HDF5 file is cut off.
    DataError
        If the file may be whole, but the system does not let it be read.
    """
    try:
        if name.endswith(".gz"):
            with igzip.open(path) as file:
                while file.read(BLOCK):
                    pass  # gzip verifies its checksum when it reaches the end
        elif name.endswith(".hdf5"):
            # Compares the file's length with its own record of it. The lock on it is our own.
            h5py.File(path, "r", locking=False).close()
    except Exception as err:  # libraries raise many types on damaged files
        said = f"{name} cannot be read ({type(err).__name__}: {err})"
        if cause := outer_cause(path, err):
            raise DataError(f"{said}. {cause}") from err
        raise _Damaged(said) from err
