"""Generators in small files: half precision, with their sizes and a card in the metadata."""

import dataclasses
import json
import os

import torch

from ..project.artifacts import atomic_path
from ..project.errors import WeightsError
from ..project.tensors import read_safetensors, write_safetensors
from .generator import Generator, GeneratorConfig
from .released.reader import WHERE
from .state import generator_from_state

FORMAT = "fmri_utils.lafite.generator"
REMEDY = (
    "`make lafite-import FILE=x.pkl` makes one of a released checkpoint, `make lafite-train "
    f"PROFILE=nsd` trains one on NSD's stimuli, `make pretrain` the demo's. {WHERE}."
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
    tensors = {
        key: value.detach().cpu().to(torch.float16).contiguous()
        for key, value in generator.state_dict().items()
    }
    with atomic_path(path) as tmp:
        write_safetensors(tmp, tensors, described(dataclasses.asdict(generator.config), card))


def described(config: dict, card: dict) -> dict[str, str]:
    """The metadata of a file of weights."""
    config, card = (json.dumps(value, sort_keys=True) for value in (config, card))
    return {"format": FORMAT, "config": config, "card": card}


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
    tensors, metadata = read_safetensors(path, what="a generator's weights file", remedy=REMEDY)
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path} has format {metadata.get('format')!r}; expected {FORMAT!r}.")
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
