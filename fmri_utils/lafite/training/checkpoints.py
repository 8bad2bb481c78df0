"""Checkpoints of a training run: weights, optimisers and random state, written atomically.

A checkpoint is two files: ``checkpoint-<images>.pt`` (settings, optimisers, random state, history)
and, written after it, ``checkpoint-<images>.safetensors`` (the three networks under LAFITE's names
with ``G.``, ``D.`` and ``G_ema.`` in front). Only a complete pair counts, so a run that is killed
while writing resumes from the pair before.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from ...project.artifacts import atomic_path
from ...project.tensors import load_state, read_safetensors, save_state, write_safetensors
from .config import RESUMABLE

PATTERN = re.compile(r"checkpoint-(\d{9})\.safetensors")


def checkpoint_files(folder: Path) -> list[Path]:
    """Weights files of complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if PATTERN.fullmatch(path.name))
    return [path for path in files if path.with_suffix(".pt").is_file()]


def write_checkpoint(
    folder: Path, images: int, tensors: dict[str, Tensor], other: dict, config: dict
) -> Path:
    """Write one checkpoint, then delete the older ones.

    Parameters
    ----------
    folder : Path
    images : int
        Images seen so far.
    tensors : dict of str to Tensor
        The networks.
    other : dict
        What ``torch.load(weights_only=True)`` can read: tensors, numbers, strings, lists, dicts.
    config : dict
        Settings of the run.

    Returns
    -------
    Path
        The weights file.
    """
    path = folder / f"checkpoint-{images:09d}.safetensors"
    save_state(path.with_suffix(".pt"), other, config)
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as tmp:
        write_safetensors(tmp, contiguous, {"images": str(images)})
    for old in folder.iterdir():
        if re.fullmatch(r"checkpoint-\d{9}\.(safetensors|pt)", old.name) and old.stem != path.stem:
            old.unlink()
    return path


def read_checkpoint(path: Path, config: dict, device: torch.device) -> tuple[dict, dict]:
    """Read a checkpoint and check that it belongs to these settings.

    Returns
    -------
    tensors, other : dict
        As given to :func:`write_checkpoint`.

    Raises
    ------
    WeightsError
        If a file is damaged, or the settings differ in more than how long and how often.
    """
    remedy = "Delete the checkpoint, both its files, to start again, or restore both."
    what = "the networks of a checkpoint"
    tensors, _ = read_safetensors(path, what=what, remedy=remedy, device=device)
    free = set(RESUMABLE) - ({"n_images"} if config.get("rate_decay_images") else set())
    return tensors, load_state(path.with_suffix(".pt"), config, free=free, device=device)
