"""Whole files: into ``.part``, resumed, checked, and only then given their name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
from isal import igzip
from tqdm.auto import tqdm

from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import outer_cause

from .client import Client, Remote
from .download_log import Records

N_FILES = 4  # whole files at the same time
PIECE = 2**24  # bytes of one request; what a killed download loses at most


def part_of(path: Path, remote: Remote) -> Path:
    """Name of a file while it is not whole; it tells the version of the file on the server."""
    version = re.sub("[^0-9A-Za-z-]", "", remote.etag or "")
    return path.with_name(f"{path.name}.{version}.part")


async def fetch(
    client: Client, remote: Remote, path: Path, records: Records, on_bytes: Callable[[int], object]
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
        Told the number of bytes of each step.

    Returns
    -------
    str
        ``"here"``, ``"known"`` (it lay there without being listed, and is what the server has),
        ``"newer"`` (the whole file is here, but the server has another version now) or
        ``"fetched"``.

    Raises
    ------
    DataError
        If it cannot be had, arrives damaged, changes meanwhile, or another file is in its place.
    """
    entry = records.get(path)
    if records.is_whole(path):
        on_bytes(remote.size)
        return "here" if entry["etag"] == remote.etag else "newer"
    if path.exists() and entry is None:  # brought by hand, or finished just before a kill
        if problem := _damage(path, remote, path.name):
            raise DataError(
                f"{path} was not brought by this command and is not what the server has: "
                f"{problem}. It is left alone. Delete it or move it away to fetch {remote.url}."
            )
        on_bytes(remote.size)
        records.add(path, remote)
        return "known"
    part = part_of(path, remote)
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f"{path.name}.*.part"):
        of_this_version = other == part and remote.etag and part.stat().st_size <= remote.size
        if not of_this_version:
            other.unlink()
    with open(part, "ab") as file:
        on_bytes(file.tell())
        while (start := file.tell()) < remote.size:
            file.write(await client.get_range(remote, start, min(start + PIECE, remote.size)))
            on_bytes(file.tell() - start)
        file.flush()
        os.fsync(file.fileno())
    if problem := _damage(part, remote, path.name):
        part.unlink()
        raise DataError(
            f"{remote.url} came damaged: {problem}. Run the same command again. If that does not "
            "help, it is damaged on the server or changed on the way: try another network."
        )
    part.replace(path)
    records.add(path, remote)
    return "fetched"


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


def fetch_all(
    client: Client, jobs: Sequence[tuple[Remote, Path]], records: Records
) -> dict[Path, str]:
    """Bring many whole files, some at the same time; see :func:`fetch`.

    Parameters
    ----------
    client, records
        As for :func:`fetch`.
    jobs : sequence of (Remote, pathlib.Path)
        What to bring, and where it goes.

    Returns
    -------
    dict of pathlib.Path to str
        What :func:`fetch` says of each.
    """
    total = sum(remote.size for remote, _ in jobs)
    with tqdm(total=total, desc="files", unit="B", unit_scale=True, disable=None) as bar:

        async def one(job: tuple[Remote, Path]) -> tuple[Path, str]:
            return job[1], await fetch(client, *job, records, bar.update)

        return dict(client.parallel(one, jobs, N_FILES))
