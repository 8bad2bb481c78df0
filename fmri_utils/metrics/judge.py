"""An independent judge of pictures of the simulated scenes.

The CLIP that a generator is trained against cannot score it: it can be pleased by shapeless blobs.
The judge is a small convolutional classifier of another architecture, trained from another seed on
other scenes, and is never part of a loss.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..project.checks import check_pictures
from ..project.errors import DataError, WeightsError
from ..project.tensors import read_safetensors
from .arrays import to_tensor

HEADS = ("kind", "background", "colour")
BATCH = 250  # pictures that are looked at at a time


class Judge(nn.Module):
    """Classify the main thing, the background and the main colour of a 64-pixel picture.

    Parameters
    ----------
    classes : dict of str to sequence of str
        Names of the classes of each head ("kind", "background", "colour").
    width : int
        Channels of the first stage.
    """

    def __init__(self, classes: dict[str, Sequence[str]], width: int = 24):
        super().__init__()
        self.classes = {head: tuple(classes[head]) for head in HEADS}
        self.width = width
        stages, before = [], 3
        for stage in range(4):  # 64 -> 32 -> 16 -> 8 -> 4
            after = width * 2**stage
            for n_in, stride in ((before, 2), (after, 1)):
                convolution = nn.Conv2d(n_in, after, 3, padding=1, stride=stride)
                stages += [convolution, nn.GroupNorm(4, after), nn.SiLU()]
            before = after
        self.stages = nn.Sequential(*stages)
        self.embed = nn.Linear(before * 16, 128)
        self.heads = nn.ModuleDict({h: nn.Linear(128, len(c)) for h, c in self.classes.items()})

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Features (B, 128) of images (B, 3, 64, 64), RGB in [0, 1]."""
        maps = self.stages(2 * images - 1)  # (B, 8 width, 4, 4)
        return functional.silu(self.embed(maps.flatten(1)))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of each head, (B, n_classes)."""
        features = self.features(images)
        return {head: layer(features) for head, layer in self.heads.items()}

    @torch.inference_mode()
    def look(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Judge an array of pictures.

        Parameters
        ----------
        images : numpy.ndarray, (n_images, 64, 64, 3)
            uint8 in [0, 255] or float in [0, 1].

        Returns
        -------
        dict
            ``features`` float32 (n_images, 128); for each head the most likely class, str
            (n_images,).

        Raises
        ------
        DataError
            If the pictures have another shape or range, or hold NaN.
        """
        images = check_pictures(images, "pictures")
        if images.shape[1:] != (64, 64, 3):
            raise DataError(
                f"pictures have shape {images.shape}. Expected: simulated scenes at 64 pixels only."
            )
        out: dict[str, list] = {name: [] for name in ("features", *HEADS)}
        for start in range(0, len(images), BATCH):
            features = self.features(to_tensor(images[start : start + BATCH]))
            out["features"].append(features.numpy())
            for head, layer in self.heads.items():
                best = layer(features).argmax(1).numpy()
                out[head].append(np.array(self.classes[head])[best])
        return {name: np.concatenate(parts) for name, parts in out.items()}


def load_judge(path: Path) -> Judge:
    """Open a judge, as :mod:`simulated_nsd.training.demo_judge` writes it.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not a judge.
    """
    remedy = "Restore data/pretrained from the repository, or run `make pretrain`."
    tensors, about = read_safetensors(path, what="the judge's weights", remedy=remedy)
    try:
        with torch.device("meta"):  # sizes are compared before memory is taken for them
            judge = Judge(json.loads(about["classes"]), int(about["width"]))
        judge.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError) as err:
        raise WeightsError(f"{path} is not a judge ({err!r}). {remedy}") from err
    return judge.eval().requires_grad_(False)
