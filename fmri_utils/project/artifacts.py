"""Files that notebooks hand to each other: written atomically, described by a manifest.

A derived file ``x.h5`` has a manifest ``x.h5.json`` beside it with its own hash, the hashes of the
inputs, the configuration and the package versions. A file without a matching manifest is never
read, so a run that was killed cannot leave something half-written behind that looks whole.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
from filelock import FileLock, Timeout

from .errors import ArtifactError, FmriUtilsError
from .reading import reading, require

LOCK = ".lock"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
FULL_BYTES = 2**20  # libraries that do not say "no space left": less than this is left then
OUTPUTS_MIME = "application/vnd.fmri-utils.outputs+json"
PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "nilearn", "nibabel"),
    *("numpy", "scipy", "scikit-image", "scikit-learn"),
)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path``; move it to ``path`` if the block succeeds.

    The temporary file keeps the suffixes of ``path`` (writers choose formats by suffix) and is
    removed if the block fails. If the process is killed, the next one that writes ``path`` removes
    it.

    Parameters
    ----------
    path : path-like
        Final place of the file. Missing parent folders are made.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    ArtifactError
        If nothing was written, the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
    tmp = folder / path.name
    try:
        with FileLock(folder / LOCK):
            yield tmp
            if not tmp.is_file():
                raise ArtifactError(f"nothing was written to the temporary file for {path}")
            with open(tmp, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(tmp, path)
    except FmriUtilsError:
        raise
    except Exception as err:
        # The system says so, or a library (safetensors) repeats what the system said.
        said = {getattr(err, "errno", None), *(n for n in NO_ROOM if os.strerror(n) in str(err))}
        if said & NO_ROOM or _free(path) < FULL_BYTES:
            raise _not_written(path, err) from err
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's error about the place of a file into one that says what to do."""
    try:
        yield
    except OSError as err:
        raise _not_written(path, err) from err


def _not_written(path: Path, err: Exception) -> ArtifactError:
    errno_ = getattr(err, "errno", None)
    reason = os.strerror(errno_) if errno_ else f"no room ({err})"
    return ArtifactError(
        f"{path} could not be written: {reason}. Free there: {_free(path) / 1e6:.1f} MB. Expected: "
        "a folder that can be written to, with enough room. Make room and run again: what is "
        "finished is kept."
    )


def _free(path: Path) -> int:
    """Bytes that are left where a file is to be written."""
    return shutil.disk_usage(next(p for p in path.absolute().parents if os.path.exists(p))).free


def _prefix(path: Path) -> str:
    """How the names of the temporary folders of a file begin."""
    return f".part-{path.name}-"


def _remove_abandoned(path: Path) -> None:
    """Remove unfinished versions of a file whose writers were killed: their locks are free."""
    for folder in path.parent.glob(".part-*"):
        lock = folder / LOCK
        if folder.name.startswith(_prefix(path)) and lock.exists():  # not: about to be locked
            with contextlib.suppress(OSError, Timeout), FileLock(lock, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def own_files(folder: str | os.PathLike, pattern: str) -> list[Path]:
    """Files below a folder that match a pattern, in order of their names; no folders.

    Names that begin with a dot are left out, of files and of folders on the way to them:
    JupyterLab leaves ``.ipynb_checkpoints`` behind, macOS ``.DS_Store`` and ``._x``, and
    :func:`atomic_path` ``.part-x`` where it was killed. None of them belongs to the project.
    """
    with reading(folder, "a folder", damaged="", error=ArtifactError):
        if Path(folder).is_dir():
            os.scandir(folder).close()  # glob takes a folder that is closed for an empty one
        found = [path for path in sorted(Path(folder).glob(pattern)) if path.is_file()]
    return [p for p in found if not any(n.startswith(".") for n in p.relative_to(folder).parts)]


def sha256_file(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """Hexadecimal SHA-256 of a JSON-serialisable value, independent of key order."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def manifest_path(path: str | os.PathLike) -> Path:
    """Place of the manifest that belongs to ``path``."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def write_manifest(
    path: str | os.PathLike, *, config: Mapping, inputs: Mapping[str, str] = (), **extra: object
) -> dict:
    """Describe a finished file: its hash, its inputs' hashes, configuration and versions.

    Parameters
    ----------
    path : path-like
        The finished file.
    config : mapping
        JSON-serialisable settings that made it (profile, subject, seed, ...).
    inputs : mapping of str to str
        Name of each input file and its SHA-256.
    **extra
        Further JSON-serialisable entries.

    Returns
    -------
    dict
        The manifest, as written to ``<path>.json``.
    """
    path = Path(path)
    manifest = {"file": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
    manifest |= {"config": dict(config), "inputs": dict(inputs), "versions": package_versions()}
    manifest |= extra
    write_json(manifest_path(path), manifest, sort_keys=True)
    return manifest


def check_manifest(path: str | os.PathLike, *, remedy: str) -> dict:
    """Return the manifest of ``path`` after checking that the file is whole and unchanged.

    Raises
    ------
    ArtifactError
        If the file or its manifest is missing, or the bytes differ from the manifest.
    """
    path, beside = Path(path), manifest_path(path)
    require(path, path.name, remedy, ArtifactError)
    require(beside, f"the manifest of {path.name}", remedy, ArtifactError)
    with reading(path, "what an earlier step wrote", damaged=remedy, error=ArtifactError):
        found = sha256_file(path)
    with reading(beside, "a manifest", damaged=remedy, error=ArtifactError):
        manifest = json.loads(beside.read_text())
        if not isinstance(manifest, dict) or not isinstance(manifest.get("config"), dict):
            raise ValueError("it names no configuration")
    if manifest.get("sha256") != found:
        if path.suffix == ".h5":  # who has it open for writing has changed it, and will be done
            with reading(path, "what an earlier step wrote", damaged=remedy, error=ArtifactError):
                h5py.File(path).close()
        raise ArtifactError(
            f"{path} differs from its manifest: damaged, or changed by hand. Delete it. {remedy}"
        )
    return manifest


def save_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], **about) -> dict:
    """Write named arrays to one HDF5 file, atomically, with its manifest.

    Parameters
    ----------
    path : path-like
        Ends in ``.h5``.
    arrays : mapping of str to array-like
        Numeric, boolean or string arrays of any shape; "a/b" puts array b into group a.
    **about
        ``config`` and ``inputs`` of :func:`write_manifest`.
    """
    write_arrays(path, arrays)
    return write_manifest(path, **about)


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """As :func:`save_arrays`, without a manifest."""
    with atomic_path(path) as tmp, h5py.File(tmp, "w", track_order=True) as file:
        for name, value in arrays.items():
            value = np.asarray(value)
            if value.dtype.kind in "UO":
                value = value.astype(h5py.string_dtype("utf-8"))
            file.create_dataset(name, data=value, track_times=False)


def load_arrays(
    path: str | os.PathLike, *, remedy: str, names: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """Read what :func:`save_arrays` wrote, after checking file and manifest; groups are dicts.

    Parameters
    ----------
    path : path-like
        The ``.h5`` file.
    remedy : str
        What the user should do if the file is missing or damaged, e.g. "Run `make 01`."
    names : tuple of str
        Read only these; all by default.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged, or lacks one of ``names``.
    """
    check_manifest(path, remedy=remedy)
    return read_arrays(path, names, remedy=remedy)


def reading_derived(path: str | os.PathLike, remedy: str) -> contextlib.AbstractContextManager:
    """Errors while a derived file is read say what to do; see :func:`reading`."""
    return reading(path, "a derived file", damaged=f"delete it. {remedy}", error=ArtifactError)


def read_arrays(path: str | os.PathLike, names: tuple[str, ...], *, remedy: str) -> dict:
    """As :func:`load_arrays`, for a file whose manifest was checked before."""
    with reading_derived(path, remedy), h5py.File(path, "r") as file:
        missing = [name for name in names if name not in file]
        if missing:
            raise ArtifactError(f"{path} lacks {missing}; it holds {sorted(file)}. {remedy}")
        return {name: _read_node(file[name]) for name in names or file}


def _read_node(node: h5py.Dataset | h5py.Group) -> np.ndarray | dict:
    if isinstance(node, h5py.Group):
        return {name: _read_node(child) for name, child in node.items()}
    return node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()]


def save_json(path: str | os.PathLike, value: object, **about) -> dict:
    """Write a JSON-serialisable value atomically, with its manifest, as :func:`save_arrays`."""
    write_json(path, value)
    return write_manifest(path, **about)


def write_json(path: str | os.PathLike, value: object, **form: object) -> None:
    """As :func:`save_json`, without a manifest; ``form`` is for :func:`json.dumps`."""
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(value, indent=1, **form) + "\n")


def load_json(path: str | os.PathLike, *, remedy: str) -> object:
    """Read what :func:`save_json` wrote, after checking file and manifest."""
    check_manifest(path, remedy=remedy)
    return read_json(path, remedy=remedy)


def read_json(path: str | os.PathLike, *, remedy: str) -> object:
    """As :func:`load_json`, for a file whose manifest was checked before."""
    with reading_derived(path, remedy):
        return json.loads(Path(path).read_text())


def name_in(root: str | os.PathLike, path: str | os.PathLike) -> str:
    """Name of a file relative to a folder; a link on the way (data on another disk) is kept.

    Raises
    ------
    ArtifactError
        If the file lies outside the folder.
    """
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(root)).as_posix()
    except ValueError:
        raise ArtifactError(
            f"{path} lies outside {root}. Expected: a file of the project; a folder on another "
            "disk is linked into it (ln -s)."
        ) from None


class OutputList:
    """What a notebook wrote: shown as text, read by the pipeline as JSON."""

    def __init__(self, names: list[str], next_notebook: str):
        self.names = names
        self.next_notebook = next_notebook

    def _repr_mimebundle_(self, **_) -> dict:
        lines = ["Written:", *(f"  {name}" for name in self.names), f"Next: {self.next_notebook}"]
        return {"text/plain": "\n".join(lines), OUTPUTS_MIME: {"written": self.names}}


def list_outputs(paths: list[Path], *, root: Path, next_notebook: str) -> OutputList:
    """Declare what a notebook wrote; the value of every numbered notebook's last cell.

    Parameters
    ----------
    paths : list of path-like
        Finished files. A file with a manifest brings the manifest along.
    root : path-like
        Names are given relative to it.
    next_notebook : str
        What to open next.

    Raises
    ------
    ArtifactError
        If one of the files does not exist, or lies outside ``root``.
    """
    names = []
    for path in map(Path, paths):
        if not path.is_file():
            raise ArtifactError(f"{path} was to be written by this notebook, but does not exist.")
        both = [path, manifest_path(path)]
        names += [name_in(root, p) for p in both if p.is_file()]
    return OutputList(names, next_notebook)
