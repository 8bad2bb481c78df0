"""Generators in small files: half precision, with their sizes and a card in the metadata."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save

from ..project.artifacts import atomic_path
from ..project.errors import WeightsError
from ..project.tensors import read_safetensors
from .generator import Generator, GeneratorConfig
from .released.reader import WHERE
from .state import generator_from_state

FORMAT = "fmri_utils.lafite.generator"
REMEDY = (
    "`make lafite-import FILE=x.pkl` makes one of a released checkpoint, `make pretrain` the "
    f"demo's. {WHERE}."
)


def save_generator(path: str | os.PathLike, generator: Generator, card: dict) -> None:
    """Write a generator as float16 safetensors, atomically.

    Parameters
    ----------
    path : path-like
        Ends in ``.safetensors``.
    generator : Generator
    card : dict
        JSON-serialisable description: data, settings, scores, licence.

    Raises
    ------
    WeightsError
        If a value is not finite, or does not fit into float16.
    """
    tensors = {}
    for key, value in generator.state_dict().items():
        tensor = value.detach().cpu().to(torch.float16).contiguous()
        if not torch.isfinite(tensor).all():
            raise WeightsError(
                f"{key} reaches {value.abs().max().item():.4g}; expected finite values that fit "
                "float16 (below 65504). The training diverged; take an earlier checkpoint."
            )
        tensors[key] = tensor
    metadata = {
        "format": FORMAT,
        "config": json.dumps(dataclasses.asdict(generator.config), sort_keys=True),
        "card": json.dumps(card, sort_keys=True),
    }
    with atomic_path(path) as tmp:
        tmp.write_bytes(in_fixed_order(save(tensors, metadata)))


def in_fixed_order(data: bytes) -> bytes:
    """The same safetensors file with its metadata sorted, so that equal content is equal bytes.

    The library writes metadata in random order. A file is the header's length (8 bytes, little
    endian), a JSON header padded with blanks to a multiple of 8, and the tensors.
    """
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + n :]


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a weights file."""
    tensors, metadata = read_safetensors(
        path,
        what="a generator's weights file",
        remedy=REMEDY,
    )
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} has format {metadata.get('format')!r}; expected {FORMAT!r}. For a converted "
            "LAFITE checkpoint use generator_from_state."
        )
    return tensors, metadata


def load_generator(path: str | os.PathLike, device: str | torch.device = "cpu") -> Generator:
    """Read what :func:`save_generator` wrote.

    Parameters
    ----------
    path : path-like
    device : str or torch.device

    Returns
    -------
    Generator
        float32, in eval mode, gradients of the parameters off.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, of another format, or its tensors do not fit the
        architecture or the sizes in its metadata.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    try:
        config = GeneratorConfig(**json.loads(metadata["config"]))
        if config.mapping_layers > len(tensors):
            raise ValueError(f"{config.mapping_layers} mapping layers in {len(tensors)} tensors")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as err:
        raise WeightsError(f"{path} has no usable configuration ({err}). {REMEDY}") from err
    try:
        generator = generator_from_state(tensors, config=config)
    except WeightsError as err:
        raise WeightsError(f"{path}: {err}") from err
    return generator.to(device)


def read_card(path: str | os.PathLike) -> dict:
    """The card of a weights file.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, or of another format.
    """
    _, metadata = _read(Path(path))
    try:
        return json.loads(metadata["card"])
    except (KeyError, ValueError) as err:
        raise WeightsError(f"{path} has no usable card ({err}). {REMEDY}") from err
