"""Shipped weights of a teacher, with the record of its training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from ..artifacts import atomic_path
from ..errors import WeightsError
from .images import ImageSettings
from .networks import Learner
from .training import DinoSettings, StudentTeacher

RECORD = "record/"


def save_teacher(
    path: Path, pair: StudentTeacher, settings: ImageSettings, record: dict[str, np.ndarray]
) -> None:
    """Write the teacher (float16), its centre, and the record of the training."""
    state = {name: value.half().contiguous() for name, value in pair.teacher.state_dict().items()}
    state["centre"] = pair.centre
    for name, values in record.items():
        values = np.asarray(values)
        if values.dtype != np.uint8:
            values = values.astype(np.float16 if values.ndim > 1 else np.float32)
        state[RECORD + name] = torch.from_numpy(np.ascontiguousarray(values))
    about = {"settings": json.dumps(dataclasses.asdict(settings), sort_keys=True)}
    with atomic_path(path) as tmp:
        save_file(state, tmp, metadata=about)


def shown_training(
    path: Path | None, pair: StudentTeacher, settings: ImageSettings, record: dict[str, np.ndarray]
) -> tuple[Learner, ImageSettings, dict[str, np.ndarray]]:
    """The shipped teacher with its record, or, without a path, those of a live training."""
    return (pair.teacher, settings, record) if path is None else load_teacher(path)


def load_teacher(path: Path) -> tuple[Learner, ImageSettings, dict[str, np.ndarray]]:
    """Open what :func:`save_teacher` wrote: teacher, settings, record.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or something else.
    """
    remedy = "Restore data/pretrained from the repository, or run `make pretrain`."
    if not Path(path).is_file():
        raise WeightsError(f"{path} is missing. Expected: a teacher's weights. {remedy}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            kept = json.loads(file.metadata()["settings"])
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
        settings = ImageSettings(**{**kept, "dino": DinoSettings(**kept["dino"])})
        state = load_file(path)
        record = {
            name.removeprefix(RECORD): (
                value if value.dtype == torch.uint8 else value.float()
            ).numpy()
            for name, value in state.items()
            if name.startswith(RECORD)
        }
        weights = {
            name: value.float()
            for name, value in state.items()
            if not name.startswith(RECORD) and name != "centre"
        }
        teacher = settings.learner()
        teacher.load_state_dict(weights)
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as err:
        raise WeightsError(f"{path} does not hold a teacher ({err}). {remedy}") from err
    return teacher.eval().requires_grad_(False), settings, record
