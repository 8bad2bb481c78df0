"""What the names in a released checkpoint stand for, as records; tensors from checked bytes.

None of the functions that the file names is called, nor imported for it. Storages alone pass
through ``torch.load(weights_only=True)``, after their header was read here and their size compared
with the bytes that are there.
"""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ...project.errors import WeightsError
from .inert_pickle import InertReader, Recorder, Stateful, shown

# The constants of torch's format before the zip files: pickles of these two, a description of the
# machine, the storage's persistent id, the list of keys; then a count and the numbers.
MAGIC, FORMAT_VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGE_OPCODES = 200  # over twice what the header of one storage has
MAX_AXES = 8
STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
NUMBER_TYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


def refuse(name: str, came: str, expected: str) -> WeightsError:
    """The error for a known name with arguments that no checkpoint has."""
    return WeightsError(
        f"the checkpoint calls {name} with {came}; expected {expected}. Refused: the file is "
        "damaged or made to do harm."
    )


def _is_sizes(value: object) -> bool:
    """A tuple of a few integers that are not negative."""
    return (
        type(value) is tuple
        and len(value) <= MAX_AXES
        and all(type(n) is int and 0 <= n < 2**62 for n in value)
    )


# -- numbers and containers -----------------------------------------------------------------------


class NumberType(Stateful):
    """Record of a numpy dtype: one of the plain number types, and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        self.code, self.order = code, "="

    def take_state(self, state: object) -> None:
        """Numpy's (version, byte order, no subtype, no names, no fields, -1, -1, 0)."""
        rest = (None, None, None, -1, -1, 0)
        if type(state) is not tuple or state[2:] != rest or state[:1] not in ((3,), (4,)):
            raise refuse("numpy.dtype", "the state of a structured type", "a plain number type")
        if type(state[1]) is not str or state[1] not in ("<", ">", "=", "|"):
            raise refuse("numpy.dtype", "an unknown byte order", "'<', '>' or '|'")
        self.order = state[1]


def _number_type(arguments: tuple) -> NumberType:
    """numpy.dtype("f8", False, True)."""
    code = arguments[0] if arguments else None
    if type(code) is not str or code not in NUMBER_TYPES or len(arguments) > 3:
        raise refuse("numpy.dtype", shown(code), f"one of {sorted(NUMBER_TYPES)}")
    return NumberType(code)


def _number(arguments: tuple) -> int | float | bool:
    """numpy's scalar(dtype, bytes), as a Python number."""
    if len(arguments) != 2 or type(arguments[0]) is not NumberType:
        raise refuse("numpy's scalar", f"{len(arguments)} arguments", "a dtype and its bytes")
    kind, data = arguments
    dtype = np.dtype(kind.order.replace("|", "=") + kind.code)
    if type(data) is not bytes or len(data) != dtype.itemsize:
        raise refuse("numpy's scalar", shown(data), f"{dtype.itemsize} bytes")
    return np.frombuffer(data, dtype)[0].item()


def _empty_dict(arguments: tuple, name: str) -> dict:
    """OrderedDict() and EasyDict(): the entries follow by SETITEMS."""
    if arguments:
        raise refuse(name, f"{len(arguments)} arguments", "none")
    return {}


def _text_set(arguments: tuple) -> set:
    """set([...]): pickle protocols below 4 write sets so."""
    values = arguments[0] if len(arguments) == 1 else None
    if type(values) is not list or len(values) > 1000 or any(type(v) is not str for v in values):
        raise refuse("builtins.set", f"{len(arguments)} arguments", "one list of texts")
    return set(values)


# -- storages and tensors -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StorageHeader:
    """What a storage's persistent id says."""

    dtype: torch.dtype
    key: str
    n: int


def _storage_header(identifier: object) -> StorageHeader:
    """The persistent id ("storage", type, key, location, number of elements, no view)."""
    if type(identifier) is tuple and len(identifier) == 6 and identifier[0] == "storage":
        _, kind, key, location, n, view = identifier
        texts = type(key) is str and type(location) is str
        if isinstance(kind, torch.dtype) and texts and _is_sizes((n,)) and view is None:
            return StorageHeader(kind, key, n)
    raise refuse("torch.storage._load_from_bytes", "another persistent id", "that of a storage")


def checked_storage(data: bytes) -> StorageHeader:
    """Read the header of an embedded storage and compare its size with the bytes that follow.

    Raises
    ------
    WeightsError
        If this is not one storage in torch's old format, or longer or shorter than it says.
    """
    stream, parts = io.BytesIO(data), []
    for _ in range(5):
        reader = InertReader(
            {},
            constants={f"torch {name}": dtype for name, dtype in STORAGE_TYPES.items()},
            persistent=_storage_header,
            what="a storage of the checkpoint",
            max_opcodes=STORAGE_OPCODES,
        )
        parts.append(reader.read(stream))
    magic, version, machine, header, keys = parts
    name = "torch.storage._load_from_bytes"
    if magic != MAGIC or version != FORMAT_VERSION or type(machine) is not dict:
        raise refuse(name, "another format", "one storage in torch's format before the zip files")
    if machine.get("little_endian") is not True:
        raise refuse(name, "numbers in big-endian order", "little-endian")
    if type(header) is not StorageHeader or type(keys) is not list or keys != [header.key]:
        raise refuse(name, "several storages, or none", "one")
    n, there = int.from_bytes(stream.read(8), "little"), len(data) - stream.tell()
    if n != header.n or there != n * header.dtype.itemsize:
        raise refuse(
            name,
            f"{there} bytes for {n} (or {header.n}) numbers of {header.dtype}",
            f"{header.n * header.dtype.itemsize} bytes",
        )
    return header


def _load_storage(data: bytes) -> torch.UntypedStorage:
    """Bytes that :func:`checked_storage` has passed, through torch's own restricted reader."""
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            return torch.load(stream, map_location="cpu", weights_only=True).untyped()
    except Exception as err:  # whatever it does not like, the file is not a checkpoint
        raise refuse("torch.storage._load_from_bytes", ascii(str(err)[:120]), "a storage") from err


class Storage:
    """Record of an embedded storage; read when the first tensor asks for it."""

    __slots__ = ("_data", "_flat")

    def __init__(self, data: bytes):
        self._data: bytes | None = data
        self._flat: Tensor | None = None

    def flat(self) -> Tensor:
        """All its numbers, (n,)."""
        if self._flat is None:
            header = checked_storage(self._data)
            raw = _load_storage(self._data)
            self._flat = torch.empty(0, dtype=header.dtype).set_(raw)
            if len(self._flat) != header.n:
                raise refuse("torch.storage._load_from_bytes", "a confusing header", "a plain one")
            self._data = None  # half the memory
        return self._flat


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A view on a storage: offset, shape and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def tensor(self) -> Tensor:
        """A contiguous tensor of its own, after comparing the view with the storage.

        Raises
        ------
        WeightsError
            If the view reaches beyond the storage or repeats its elements.
        """
        flat = self.storage.flat()
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if self.n > len(flat) or self.offset > len(flat) or (self.n and last >= len(flat)):
            raise refuse(
                "torch._utils._rebuild_tensor_v2",
                f"shape {self.shape}, strides {self.strides} and offset {self.offset} on "
                f"{len(flat)} numbers",
                "a view that lies within them and is not larger",
            )
        view = flat.as_strided(self.shape, self.strides, self.offset)
        return view.clone(memory_format=torch.contiguous_format)


def _tensor(arguments: tuple) -> TensorRecord:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    name = "torch._utils._rebuild_tensor_v2"
    if len(arguments) not in (6, 7):
        raise refuse(name, f"{len(arguments)} arguments", "6 or 7")
    storage, offset, shape, strides, _, hooks = arguments[:6]
    if type(storage) is not Storage:
        raise refuse(name, shown(storage), "a storage")
    if not (_is_sizes((offset,)) and _is_sizes(shape) and _is_sizes(strides)):
        raise refuse(name, "an offset, shape or strides that are none", "whole numbers from 0 on")
    if len(shape) != len(strides):
        raise refuse(name, f"{len(shape)} axes and {len(strides)} strides", "equally many")
    if any(value not in ({}, None) for value in (hooks, *arguments[6:])):
        raise refuse(name, "backward hooks or metadata", "none")
    return TensorRecord(storage, offset, shape, strides)


def _parameter(arguments: tuple) -> TensorRecord:
    """_rebuild_parameter(data, requires_grad, hooks): its data."""
    if (
        len(arguments) != 3
        or type(arguments[0]) is not TensorRecord
        or arguments[2] not in (None, {})
    ):
        raise refuse(
            "torch._utils._rebuild_parameter", "other arguments", "a tensor, without hooks"
        )
    return arguments[0]


# -- persistent objects ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class PersistentObject:
    """An object saved together with its source code: class name and state; the code is dropped."""

    class_name: str
    state: dict


def _persistent_object(arguments: tuple) -> PersistentObject:
    """_reconstruct_persistent_obj(meta)."""
    name = "torch_utils.persistence._reconstruct_persistent_obj"
    meta = arguments[0] if len(arguments) == 1 else None
    if type(meta) is not dict or meta.get("type") != "class":
        raise refuse(name, f"{len(arguments)} arguments", "one dictionary that describes a class")
    class_name, state = meta.get("class_name"), meta.get("state")
    if type(class_name) is not str or type(state) is not dict:
        raise refuse(name, f"class {shown(class_name)}, state {shown(state)}", "a name and a dict")
    return PersistentObject(class_name, state)


def known_names() -> dict[str, Recorder]:
    """Every name that a released checkpoint may contain, for :class:`InertReader`.

    One call per file: equal bytes of one file become one storage.
    """
    storages: dict[int, Storage] = {}

    def storage(arguments: tuple) -> Storage:
        data = arguments[0] if len(arguments) == 1 else None
        if type(data) is not bytes:
            raise refuse("torch.storage._load_from_bytes", shown(data), "bytes")
        # By identity, which stays unique: the record in this dictionary keeps the bytes alive.
        return storages.setdefault(id(data), Storage(data))

    return {
        "torch_utils.persistence _reconstruct_persistent_obj": _persistent_object,
        "dnnlib.util EasyDict": partial(_empty_dict, name="dnnlib.util.EasyDict"),
        "collections OrderedDict": partial(_empty_dict, name="collections.OrderedDict"),
        "builtins set": _text_set,
        "torch._utils _rebuild_parameter": _parameter,
        "torch._utils _rebuild_tensor_v2": _tensor,
        "torch.storage _load_from_bytes": storage,
        "numpy dtype": _number_type,
        "numpy.core.multiarray scalar": _number,
        "numpy._core.multiarray scalar": _number,
    }
