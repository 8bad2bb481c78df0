"""Shipped weights of a teacher, with the record of its training."""

import json
from pathlib import Path

import numpy as np
import torch

from ..project.errors import WeightsError
from ..project.reading import reading
from ..project.settings import checked
from ..project.tensors import read_safetensors
from .networks import Learner
from .on_pictures import ImageSettings
from .student_teacher import DinoSettings

RECORD = "record/"


def load_teacher(path: Path) -> tuple[Learner, ImageSettings, dict[str, np.ndarray]]:
    """Open shipped weights: teacher, settings, and the record of the training.

    :mod:`simulated_nsd.training.demo_dino` writes them.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or something else.
    """
    remedy = "Restore data/pretrained from the repository, or run `make pretrain`."
    state, about = read_safetensors(
        path, what="a teacher's weights", remedy=remedy, with_gaps=RECORD
    )
    with reading(path, "a teacher's weights", damaged=remedy, error=WeightsError):
        kept = json.loads(about["settings"])
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
        of_dino = checked(DinoSettings, kept["dino"], str(path), WeightsError)
        settings = ImageSettings(**{**kept, "dino": of_dino})
        if not 1 <= settings.depth <= len(state):
            raise ValueError(f"{settings.depth} layers in {len(state)} tensors")
        record, weights = {}, {}
        for name, value in state.items():
            value = value if value.dtype == torch.uint8 else value.float()
            if name.startswith(RECORD):
                record[name.removeprefix(RECORD)] = value.numpy()
            elif name != "centre":
                weights[name] = value
        with torch.device("meta"):  # sizes are compared before memory is taken for them
            settings.learner().load_state_dict(weights, assign=True)
        teacher = settings.learner()
        teacher.load_state_dict(weights)
    return teacher.eval().requires_grad_(False), settings, record
