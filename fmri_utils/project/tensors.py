"""Tensors from files, and nothing else from them: a damaged or foreign file is a clear error.

Two formats are read. Safetensors hold numbers and texts only. What PyTorch saves is a pickle; it is
read by PyTorch's restricted reader (``weights_only=True``), which builds tensors, numbers, texts,
lists and dicts, and refuses everything else without running it.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from .artifacts import atomic_path
from .errors import WeightsError
from .reading import reading, require


def read_safetensors(
    path: str | os.PathLike,
    *,
    what: str,
    remedy: str,
    device: str | torch.device = "cpu",
    with_gaps: str | None = None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Parameters
    ----------
    path : path-like
    what : str
        What it should hold, for messages: "the judge's weights".
    remedy : str
        What to do if it cannot be read.
    device : str or torch.device
    with_gaps : str, optional
        Tensors whose names begin so may hold NaN, for what was not measured (a history).

    Returns
    -------
    tensors : dict of str to Tensor
    metadata : dict of str to str

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another kind, or holds a number that is not finite.
    """
    require(path, what, remedy, WeightsError)
    with (
        reading(path, what, damaged=remedy, error=WeightsError),
        safe_open(path, "pt", device=str(device)) as file,
    ):
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if bad := _not_finite(tensors, with_gaps):
        raise WeightsError(
            f"{path} holds numbers that are not finite, in {', '.join(bad[:3])}. Expected: {what}. "
            f"The file is damaged, or its training diverged. {remedy}"
        )
    return tensors, metadata


def _not_finite(tensors: Mapping[str, Tensor], with_gaps: str | None) -> list[str]:
    """Names of the tensors that hold a number that is not finite, and may not."""
    return [
        name
        for name, value in tensors.items()
        if value.is_floating_point()
        and not value.isfinite().all()
        and not (with_gaps and name.startswith(with_gaps) and not value.isinf().any())
    ]


def write_safetensors(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    with_gaps: str | None = None,
) -> None:
    """Write a safetensors file; what is the same gives the same bytes.

    The library writes metadata in a random order, and files here are compared by their hashes, so
    it is put in order.

    Parameters
    ----------
    path : path-like
    tensors : mapping of str to Tensor
    metadata : mapping of str to str, optional
    with_gaps : str, optional
        As for :func:`read_safetensors`, which would refuse what is refused here.

    Raises
    ------
    WeightsError
        If a number is not finite. Nothing is written.
    """
    if bad := _not_finite(tensors, with_gaps):
        raise WeightsError(
            f"{', '.join(bad[:3])} would be written with numbers that are not finite, or too large "
            f"for {tensors[bad[0]].dtype}. The training diverged: lower its learning rate. What "
            "was saved before stays as it is."
        )
    data = save(dict(tensors), dict(metadata) if metadata else None)
    size = int.from_bytes(data[:8], "little")  # of the header, which a blank or more may end
    header = json.loads(data[8 : 8 + size])
    texts = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(texts.items()))} if texts else {}
    text = json.dumps(ordered | header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def read_saved_state(
    path: str | os.PathLike, *, remedy: str, device: str | torch.device = "cpu"
) -> dict:
    """Read a dict that ``torch.save`` wrote, by the restricted reader: nothing in it is executed.

    Parameters
    ----------
    path : path-like
    remedy : str
        What to do if it cannot be read.
    device : str or torch.device

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or holds anything else.
    """
    with reading(path, "a saved state", damaged=remedy, error=WeightsError):
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()  # PyTorch does not compare its checksums
        if damaged:
            raise ValueError(f"the checksum of its part {damaged} is wrong")
        state = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds a {type(state).__name__}; expected a dict. {remedy}")
    return state


def save_state(path: str | os.PathLike, state: Mapping, settings: Mapping) -> None:
    """Write what a training needs to go on, atomically, with the settings that it depends on.

    Parameters
    ----------
    path : path-like
    state : mapping
        Tensors, numbers, texts, lists and dicts under names other than "settings".
    settings : mapping
        JSON-serialisable: everything that the training's result depends on.
    """
    with atomic_path(path) as tmp:
        torch.save({**state, "settings": json.dumps(settings)}, tmp)


def load_state(
    path: str | os.PathLike,
    settings: Mapping,
    *,
    free: Collection[str] = (),
    device: str | torch.device = "cpu",
) -> dict:
    """Read what :func:`save_state` wrote, after checking that it belongs to these settings.

    Parameters
    ----------
    path : path-like
    settings : mapping
        Those of the training that is to go on.
    free : collection of str
        Settings that may differ.
    device : str or torch.device

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of a training with other settings.
    """
    remedy = "Delete it to begin again."
    state = read_saved_state(path, remedy=remedy, device=device)
    with reading(path, "the state of a training", damaged=remedy, error=WeightsError):
        saved = dict(json.loads(state.pop("settings")))
    settings = json.loads(json.dumps(settings))
    differing = [
        f"{key}: {saved.get(key)!r} then, {settings.get(key)!r} now"
        for key in sorted({*saved, *settings} - {*free})
        if saved.get(key) != settings.get(key)
    ]
    if differing:
        raise WeightsError(
            f"{path} was made with other settings or data. {'; '.join(differing)}. Use another "
            "folder or the same settings, or delete it."
        )
    return state


def tensor_hash(*tensors: Tensor | None) -> str:
    """Hexadecimal SHA-256 of tensors' values and shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(None if tensor is None else tuple(tensor.shape)).encode())
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
