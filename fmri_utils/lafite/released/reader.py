"""Released LAFITE checkpoints (``.pkl``), read without running anything that is in them.

Such a file is a pickle of whole objects, with the source code that an ordinary unpickler would
execute. Here it is read as data (:mod:`.inert_pickle`); only the names that a checkpoint needs are
known (:mod:`.official_records`), everything else is refused by name.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...project.errors import WeightsError
from ...project.reading import require
from .inert_pickle import SHOWN, InertReader, shown
from .records import PersistentObject, TensorRecord, known_names

MAX_BYTES = 2 * 2**30  # a 1024 px checkpoint with three networks has about a quarter of that
MAX_MODULES = 5_000  # of all networks; a 1024 px checkpoint has about 700
MAX_MEMBERS = 1_000  # parameters, buffers or modules of one module
MAX_DEPTH = 16
MAX_SETTINGS = 1_000
COPIES = 4  # the tensors together, relative to the file: shared storages are copied out
MEMBER = re.compile(r"[A-Za-z0-9_]{1,64}")
OVERHEAD = 64  # bytes that a tensor counts beside its numbers

WHERE = (
    "Released files were linked (Google Drive) from the README of github.com/drboog/Lafite, for "
    "example pre-trained-google-cc-best-fid.pkl; links have been reported dead (its issue 39), so "
    "you may have to ask the authors. Nothing is downloaded here"
)
EXPECTED = "Expected a released LAFITE checkpoint, a .pkl file."
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
OTHER_FORMATS = (
    (b"PK", "a zip archive, such as a checkpoint of a newer torch.save"),
    (OLD_TORCH, "a checkpoint of an older torch.save"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"7z\xbc\xaf", "a 7-zip archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array"),
    (b"version https://git-lfs", "a pointer of git-lfs instead of the file itself"),
    (b"<", "a web page, as a download link gives that asks for a confirmation first"),
)


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What a released file holds.

    Attributes
    ----------
    networks : dict of str to (dict of str to Tensor)
        ``G_ema``, ``G``, ``D`` and, if it has tensors, ``augment_pipe``: their tensors, contiguous
        and on the CPU, under LAFITE's bare names.
    settings : dict of str to dict
        Per network, the keyword arguments that it was made with; nested names joined by dots,
        numbers, texts and None only.
    sha256 : str
    n_bytes : int
    """

    networks: dict[str, dict[str, Tensor]]
    settings: dict[str, dict[str, object]]
    sha256: str
    n_bytes: int


def read_official_pickle(
    path: str | os.PathLike, *, max_bytes: int = MAX_BYTES
) -> dict[str, dict[str, Tensor]]:
    """Read the tensors of a released checkpoint; nothing in the file is executed.

    Parameters
    ----------
    path : path-like
        A pickle as StyleGAN2-ADA and LAFITE write it.
    max_bytes : int
        A larger file is refused.

    Returns
    -------
    dict of str to (dict of str to Tensor)
        ``{"G_ema": state, "D": state, "G": state, ...}``; each state is what
        :func:`fmri_utils.lafite.generator_from_state` or ``discriminator_from_state`` take.

    Raises
    ------
    WeightsError
        If the file is missing, of another format, damaged or truncated, too large, names anything
        that a checkpoint does not need, or holds no network.
    """
    return read_official(path, max_bytes=max_bytes).networks


def read_official(path: str | os.PathLike, *, max_bytes: int = MAX_BYTES) -> OfficialCheckpoint:
    """As :func:`read_official_pickle`, with the settings and the file's SHA-256."""
    try:
        return _read(Path(path), max_bytes)
    except WeightsError as err:
        raise WeightsError(f"{err} {WHERE}.") from err


def _read(path: Path, max_bytes: int) -> OfficialCheckpoint:
    """The file's networks and settings."""
    require(path, "a LAFITE checkpoint", EXPECTED, WeightsError)
    n_bytes = path.stat().st_size
    if n_bytes == 0:
        raise WeightsError(f"{path} is empty. {EXPECTED}")
    if n_bytes > max_bytes:
        raise WeightsError(
            f"{path} has {n_bytes} bytes; expected at most max_bytes = {max_bytes}. {EXPECTED}"
        )
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _refuse_other_formats(path, data[:64])
        sha256 = hashlib.sha256(data).hexdigest()
        content = InertReader(known_names(), what=str(path)).read(data)
        if data.tell() != n_bytes:
            raise WeightsError(
                f"{path} has {n_bytes - data.tell()} bytes after the end of its pickle; expected "
                f"none. {EXPECTED}"
            )
    try:
        objects = _objects(content)
        budget = _Budget(COPIES * n_bytes)
        networks = {name: _tensors(name, value, budget) for name, value in objects.items()}
    except WeightsError as err:
        raise WeightsError(f"{path}: {err}") from err
    settings = {name: _settings(value) for name, value in objects.items()}
    networks = {name: tensors for name, tensors in networks.items() if tensors}
    return OfficialCheckpoint(networks, settings, sha256, n_bytes)


def _refuse_other_formats(path: Path, head: bytes) -> None:
    """Say what came, if it is no pickle of whole objects."""
    for begin, what in OTHER_FORMATS:
        if head.lstrip().startswith(begin):
            raise WeightsError(f"{path} is {what}. {EXPECTED}")
    if head[8:10] == b'{"':
        raise WeightsError(
            f"{path} is a safetensors file: already converted? Use it as `lafite.weights`. "
            f"{EXPECTED}"
        )
    if head[:1] != b"\x80":
        raise WeightsError(
            f"{path} is no pickle of protocol 2 or later; it begins with {head[:24]!r}. {EXPECTED}"
        )


def _objects(content: object) -> dict[str, PersistentObject]:
    """The objects with code at the top of the file."""
    if type(content) is not dict:
        raise WeightsError(f"the pickle holds {shown(content)}; expected a dictionary. {EXPECTED}")
    found = {
        key: value
        for key, value in content.items()
        if type(value) is PersistentObject and type(key) is str and MEMBER.fullmatch(key)
    }
    if not {"G", "G_ema", "D"} & set(found):
        keys = ", ".join(shown(key) for key in list(content)[:8])
        raise WeightsError(
            f"the pickle holds the entries {keys or 'none'}, and no network among them; expected "
            f"G_ema, G and D. {EXPECTED}"
        )
    return found


class _Budget:
    """How much may still be copied out of one file."""

    def __init__(self, n_bytes: int):
        self.n_bytes, self.n_modules = n_bytes, MAX_MODULES

    def module(self, name: str, depth: int) -> None:
        """One more module."""
        self.n_modules -= 1
        if self.n_modules < 0 or depth > MAX_DEPTH:
            raise WeightsError(
                f"{name[:SHOWN]} has more than {MAX_MODULES} modules or {MAX_DEPTH} levels of "
                "them; expected a few hundred. Refused."
            )

    def tensor(self, name: str, record: TensorRecord) -> Tensor:
        """One more tensor."""
        self.n_bytes -= record.n + OVERHEAD  # before it is copied; an element has a byte or more
        try:
            if self.n_bytes >= 0:
                self.n_bytes -= record.n * (record.storage.flat().element_size() - 1)
            if self.n_bytes >= 0:
                return record.tensor()
        except WeightsError as err:
            raise WeightsError(f"{name}: {err}") from err
        raise WeightsError(
            f"the tensors up to {name} are together over {COPIES} times as large as the file, by "
            "sharing its bytes. Refused."
        )


def _tensors(network: str, top: PersistentObject, budget: _Budget) -> dict[str, Tensor]:
    """A network's persistent tensors under dotted names, as ``state_dict`` gives them."""
    out: dict[str, Tensor] = {}
    waiting = [("", top, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        skipped = module.state.get("_non_persistent_buffers_set", ())
        for kind in ("_parameters", "_buffers"):
            for key, record in _members(module, kind, network, prefix):
                if kind == "_buffers" and type(skipped) is set and key in skipped:
                    continue
                if type(record) is not TensorRecord:
                    raise WeightsError(
                        f"{network}.{prefix}{key} is {shown(record)}; expected a tensor."
                    )
                out[prefix + key] = budget.tensor(f"{network}.{prefix}{key}", record)
        for key, child in _members(module, "_modules", network, prefix)[::-1]:
            if type(child) is not PersistentObject:
                raise WeightsError(
                    f"{network}.{prefix}{key} is {shown(child)}; expected a saved module."
                )
            budget.module(f"{network}.{prefix}{key}", depth + 1)
            waiting.append((f"{prefix}{key}.", child, depth + 1))
    return out


def _members(
    module: PersistentObject, kind: str, network: str, prefix: str
) -> list[tuple[str, object]]:
    """Named parameters, buffers or modules of a module, without those that are None."""
    members = module.state.get(kind)
    if type(members) is not dict or len(members) > MAX_MEMBERS:
        raise WeightsError(
            f"{network}.{prefix} (class {shown(module.class_name)}) has {shown(members)} for "
            f"{kind}; expected a dictionary of at most {MAX_MEMBERS}, as a module of torch has."
        )
    for key in members:
        if type(key) is not str or not MEMBER.fullmatch(key):
            raise WeightsError(
                f"{network}.{prefix} has a member called {shown(key)}; expected up to 64 letters, "
                "digits and underscores."
            )
    return [(key, value) for key, value in members.items() if value is not None]


def _settings(module: PersistentObject) -> dict[str, object]:
    """Keyword arguments an object was made with, flattened; only plain values are kept."""
    out: dict[str, object] = {}
    waiting = [("", module.state.get("_init_kwargs"))]
    for _ in range(MAX_SETTINGS):
        if not waiting:
            break
        name, value = waiting.pop()
        if type(value) is dict:
            inner = list(value.items())[:MAX_SETTINGS]
            waiting += [(f"{name}.{key}".lstrip(".")[:200], item) for key, item in inner[::-1]]
        elif type(value) is str:
            out[name] = value[:200]
        elif value is None or (type(value) in (bool, int, float) and abs(value) < 2**62):
            out[name] = value  # neither infinite nor not-a-number, which JSON does not have
    return out
