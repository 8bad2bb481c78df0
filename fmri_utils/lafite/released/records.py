"""What stands for the names in a released checkpoint: plain values, tensors of checked bytes.

None of the functions that the file names is called, nor imported for it. Storages are read here,
after their header was compared with the bytes that are there.
"""

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...project.errors import WeightsError
from .inert_pickle import Known, quoted, read_inert

# The constants of torch's format before the zip files: pickles of these two, a description of the
# machine, the storage's persistent id, the list of keys; then a count and the numbers.
MAGIC, FORMAT_VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGE_OPCODES = 200  # over twice what the header of one storage has
MAX_AXES = 8
STORAGE_TYPES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
NUMBER_TYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


def refuse(name: str, came: str, expected: str) -> WeightsError:
    """The error for a known name with arguments that no checkpoint has."""
    return WeightsError(
        f"the checkpoint calls {name} with {came}; expected {expected}. Refused: the file is "
        "damaged or made to do harm."
    )


@dataclass(frozen=True, slots=True, eq=False)
class PersistentObject:
    """An object saved together with its source code: class name and state; the code is dropped."""

    class_name: str
    state: dict


def _persistent_object(meta: object) -> PersistentObject:
    """_reconstruct_persistent_obj(meta)."""
    name = "torch_utils.persistence._reconstruct_persistent_obj"
    if type(meta) is not dict or meta.get("type") != "class":
        raise refuse(name, quoted(meta), "one dictionary that describes a class")
    class_name, state = meta.get("class_name"), meta.get("state")
    if type(class_name) is not str or type(state) is not dict:
        came = f"class {quoted(class_name)}, state {quoted(state)}"
        raise refuse(name, came, "a name and a dict")
    return PersistentObject(class_name, state)


def _empty_dict() -> dict:
    """OrderedDict() and EasyDict(): the entries follow by SETITEMS."""
    return {}


def _text_set(values: object) -> set:
    """set([...]): pickle protocols below 4 write sets so."""
    if type(values) is not list or len(values) > 1000 or any(type(v) is not str for v in values):
        raise refuse("builtins.set", quoted(values), "one list of at most 1000 texts")
    return set(values)


def _number_type(code: object, align: object, copy: object) -> np.dtype:
    """numpy.dtype("f8", False, True)."""
    if type(code) is not str or code not in NUMBER_TYPES:
        raise refuse("numpy.dtype", quoted(code), f"one of {sorted(NUMBER_TYPES)}")
    return np.dtype(code)


def _number(kind: object, data: object) -> int | float | bool:
    """numpy's scalar(dtype, bytes), as a Python number."""
    if not isinstance(kind, np.dtype) or type(data) is not bytes or len(data) != kind.itemsize:
        raise refuse("numpy's scalar", f"{quoted(kind)} and {quoted(data)}", "a dtype and bytes")
    return np.frombuffer(data, kind)[0].item()


def read_storage(data: object) -> Tensor:
    """_load_from_bytes(data): the numbers of a storage in torch's format before the zip files.

    Returns
    -------
    Tensor, shape (n,)
        A view of ``data``: not to be written to.

    Raises
    ------
    WeightsError
        If this is not one storage, or longer or shorter than its header says.
    """
    name = "torch.storage._load_from_bytes"
    if type(data) is not bytes:
        raise refuse(name, quoted(data), "bytes")
    stream = io.BytesIO(data)
    how = {"persistent_ids": True, "max_opcodes": STORAGE_OPCODES}
    what = "a storage of the checkpoint"
    header = [read_inert(stream, STORAGE_TYPES, what=what, **how) for _ in range(5)]
    match header:
        case (
            int(magic),
            int(version),
            {"little_endian": True},
            ("storage", torch.dtype() as dtype, str(key), str(), int(n), None),
            [str(only)],
        ) if (magic, version, key) == (MAGIC, FORMAT_VERSION, only):
            count, there = int.from_bytes(stream.read(8), "little"), len(data) - stream.tell()
        case _:
            raise refuse(name, "another format", "one storage, little-endian, as torch embeds it")
    if count != n or there != n * dtype.itemsize:
        came = f"{there} bytes for {count} (or {n}) numbers of {dtype}"
        raise refuse(name, came, f"{n * dtype.itemsize} bytes")
    if n == 0:
        return torch.empty(0, dtype=dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(data, dtype=dtype, offset=stream.tell())


def _tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    metadata: object = None,
) -> Tensor:
    """_rebuild_tensor_v2: a view on a storage, all in elements; it lies within the storage."""
    name = "torch._utils._rebuild_tensor_v2"
    if type(storage) is not Tensor:
        raise refuse(name, quoted(storage), "a storage")
    numbers = (offset, *shape, *strides)
    if len(shape) > MAX_AXES or any(type(n) is not int or not 0 <= n < 2**62 for n in numbers):
        raise refuse(name, "an offset, shape or strides that are none", "whole numbers from 0 on")
    if len(shape) != len(strides):
        raise refuse(name, f"{len(shape)} axes and {len(strides)} strides", "equally many")
    if hooks or metadata:
        raise refuse(name, "backward hooks or metadata", "none")
    n = math.prod(shape)
    end = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1 if n else 0
    if max(n, offset, end) > storage.numel():
        raise refuse(
            name,
            f"shape {shape}, strides {strides} and offset {offset} on {storage.numel()} numbers",
            "a view that lies within them and is not larger",
        )
    return storage.as_strided(shape, strides, offset)


def _parameter(data: object, requires_grad: object, hooks: object) -> object:
    """_rebuild_parameter: its data."""
    return data


KNOWN: dict[str, Known] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    "dnnlib.util.EasyDict": _empty_dict,
    "collections.OrderedDict": _empty_dict,
    "builtins.set": _text_set,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": read_storage,
    "numpy.dtype": _number_type,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
