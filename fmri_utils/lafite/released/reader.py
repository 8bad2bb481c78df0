"""Released LAFITE checkpoints (``.pkl``), read without running anything that is in them.

Such a file is a pickle of whole objects, with the source code that an ordinary unpickler would
execute. Here it is read as data (:mod:`.inert_pickle`); only the names that a checkpoint needs are
known (:mod:`.records`), everything else is refused by name.
"""

import hashlib
import itertools
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...project.errors import WeightsError
from ...project.reading import require
from .inert_pickle import MAX_QUOTED, quoted, read_inert
from .records import KNOWN, PersistentObject

MAX_BYTES = 2 * 2**30  # a 1024 px checkpoint with three networks has about a quarter of that
MAX_MODULES = 5_000  # of all networks; a 1024 px checkpoint has about 700
MAX_MEMBERS = 1_000  # parameters, buffers or modules of one module
MAX_DEPTH = 16
MAX_SETTINGS = 200  # values and dictionaries; also how deep they can lie
COPIES = 4  # the tensors together, relative to the file: shared storages are copied out
MEMBER = re.compile(r"[A-Za-z0-9_]{1,64}")
MEMBERS = {
    "_parameters": (Tensor, "a tensor"),
    "_buffers": (Tensor, "a tensor"),
    "_modules": (PersistentObject, "a saved module"),
}
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


def read_official_pickle(path: str | os.PathLike) -> dict[str, dict[str, Tensor]]:
    """Read the tensors of a released checkpoint; nothing in the file is executed.

    Parameters
    ----------
    path : path-like
        A pickle as StyleGAN2-ADA and LAFITE write it.

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
    return read_official(path).networks


def read_official(path: str | os.PathLike) -> OfficialCheckpoint:
    """As :func:`read_official_pickle`, with the settings and the file's SHA-256."""
    path = Path(path)
    require(path, "a LAFITE checkpoint", f"{EXPECTED} {WHERE}.", WeightsError)
    try:
        return _read(path, path.stat().st_size)
    except WeightsError as err:
        raise WeightsError(f"{path}: {err} {EXPECTED} {WHERE}.") from err


def _read(path: Path, n_bytes: int) -> OfficialCheckpoint:
    """The file's networks and settings."""
    if n_bytes == 0:
        raise WeightsError("the file is empty.")
    if n_bytes > MAX_BYTES:
        raise WeightsError(f"the file has {n_bytes} bytes; expected at most {MAX_BYTES}.")
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _refuse_other_formats(data[:64])
        sha256 = hashlib.sha256(data).hexdigest()
        content = read_inert(data, KNOWN, what="the file")
        if data.tell() != n_bytes:
            raise WeightsError(f"{n_bytes - data.tell()} bytes after the end of its pickle.")
    if type(content) is not dict:
        raise WeightsError(f"the pickle holds {quoted(content)}; expected a dictionary.")
    objects = {
        key: value
        for key, value in content.items()
        if type(value) is PersistentObject and type(key) is str and MEMBER.fullmatch(key)
    }
    if not {"G", "G_ema", "D"} & set(objects):
        keys = ", ".join(quoted(key) for key in list(content)[:8])
        raise WeightsError(f"the pickle holds the entries {keys or 'none'}, and no network.")
    settings = {name: _settings(value) for name, value in objects.items()}
    return OfficialCheckpoint(_copied(objects, COPIES * n_bytes), settings, sha256, n_bytes)


def _refuse_other_formats(head: bytes) -> None:
    """Say what came, if it is no pickle of whole objects."""
    for begin, what in OTHER_FORMATS:
        if head.lstrip().startswith(begin):
            raise WeightsError(f"the file is {what}.")
    if head[8:10] == b'{"':
        raise WeightsError("a safetensors file: already converted? Use it as `lafite.weights`.")
    if head[:1] != b"\x80":
        raise WeightsError(f"no pickle of protocol 2 or later; it begins with {head[:24]!r}.")
    if head[1:2] > b"\x05":
        raise WeightsError(f"the file has pickle protocol {head[1]}; expected 2 to 5.")


def _copied(objects: dict[str, PersistentObject], budget: int) -> dict[str, dict[str, Tensor]]:
    """The networks' persistent tensors under dotted names, as ``state_dict`` gives them.

    ``budget`` bounds how many bytes are copied out of the file; networks without any are left out.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    modules_left = iter(range(MAX_MODULES))
    for network, top in objects.items():
        for name, tensor in _tensors(network, top, modules_left, 0):
            budget -= tensor.nbytes + OVERHEAD
            if budget < 0:
                raise WeightsError(
                    f"the tensors up to {name} are together over {COPIES} times as large as the "
                    "file, by sharing its bytes. Refused."
                )
            copy = tensor.clone(memory_format=torch.contiguous_format)
            networks.setdefault(network, {})[name.removeprefix(f"{network}.")] = copy
    return networks


def _tensors(
    name: str, module: PersistentObject, modules_left: Iterator[int], depth: int
) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and the modules in it, with the name of the network in front."""
    if depth > MAX_DEPTH or next(modules_left, None) is None:
        raise WeightsError(
            f"{name[:MAX_QUOTED]}: more than {MAX_MODULES} modules or {MAX_DEPTH} levels. Refused."
        )
    skipped = module.state.get("_non_persistent_buffers_set")
    for kind, (expected, called) in MEMBERS.items():
        for key, value in _members(module, kind, name):
            if type(value) is not expected:
                raise WeightsError(f"{name}.{key} is {quoted(value)}; expected {called}.")
            if expected is PersistentObject:
                yield from _tensors(f"{name}.{key}", value, modules_left, depth + 1)
            elif kind != "_buffers" or type(skipped) is not set or key not in skipped:
                yield f"{name}.{key}", value


def _members(module: PersistentObject, kind: str, name: str) -> list[tuple[str, object]]:
    """Named parameters, buffers or modules of a module, without those that are None."""
    members = module.state.get(kind)
    if type(members) is not dict or len(members) > MAX_MEMBERS:
        raise WeightsError(
            f"{name} (class {quoted(module.class_name)}) has {quoted(members)} for {kind}; "
            f"expected a dictionary of at most {MAX_MEMBERS}, as a module of torch has."
        )
    for key in members:
        if type(key) is not str or not MEMBER.fullmatch(key):
            raise WeightsError(
                f"{name} has a member called {quoted(key)}; expected up to 64 letters or digits."
            )
    return [(key, value) for key, value in members.items() if value is not None]


def _settings(module: PersistentObject) -> dict[str, object]:
    """Keyword arguments an object was made with, flattened; only plain values are kept."""
    out: dict[str, object] = {}
    for name, value in itertools.islice(_nodes("", module.state.get("_init_kwargs")), MAX_SETTINGS):
        if type(value) is str:
            out[name] = value[:200]
        elif value is None or (type(value) in (bool, int, float) and abs(value) < 2**62):
            out[name] = value  # neither infinite nor not-a-number, which JSON does not have
    return out


def _nodes(name: str, value: object) -> Iterator[tuple[str, object]]:
    """A value and, if it is a dictionary, all that is in it, under dotted names."""
    yield name, value
    for key, inner in value.items() if type(value) is dict else ():
        yield from _nodes(f"{name}.{key}".lstrip(".")[:200], inner)
