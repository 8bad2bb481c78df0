"""What a search wants of a picture: to agree with the prediction, as far as that can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...clip.space import ClipSpace
from ...lafite.training.gan_losses import draw_crops, square_crops
from ...project.checks import check_finite, check_pictures
from ...project.errors import DataError
from .low_level import Blurred

ImageEncoder = Callable[[Tensor], Tensor]
N_CROPS = 1  # beside the whole picture in every gradient step: one pattern in one place won't do
SMALLEST_CROP = 0.8  # its side, as a fraction of the picture


def clip_encoder(space: ClipSpace) -> ImageEncoder:
    """CLIP as training and search call it: (B, 3, H, W) in [-1, 1] to unit embeddings (B, C)."""

    def encode(images: Tensor) -> Tensor:
        return space.embed(images / 2 + 0.5)

    return encode


def as_rows(values: np.ndarray | Tensor) -> Tensor:
    """Numbers of any kind as a float32 tensor on the CPU, its own copy."""
    if isinstance(values, Tensor):
        return values.detach().float().cpu().clone()
    return torch.from_numpy(np.array(values, np.float32, order="C"))


@dataclass(frozen=True, eq=False)
class Target:
    """What was predicted from brain activity, one row per picture.

    Attributes
    ----------
    embedding : Tensor, (N, C)
        Unit norm.
    picture : Tensor, (N, 3, s, s), or None
        Blurred pictures in [0, 1].
    precision : Tensor, (3, s, s), or None
        One over the variance of their errors.
    """

    embedding: Tensor
    picture: Tensor | None = None
    precision: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embedding)

    def part(self, rows: slice, device: torch.device) -> Target:
        """Some rows, on a device."""
        if self.picture is None:
            return Target(self.embedding[rows].to(device))
        pictures, precision = self.picture[rows].to(device), self.precision.to(device)
        return Target(self.embedding[rows].to(device), pictures, precision)


def make_target(embedding: np.ndarray | Tensor, blurred: Blurred | None = None) -> Target:
    """Check and collect what was predicted.

    Parameters
    ----------
    embedding : array, (N, C)
        Predicted embeddings, scaled to unit length here.
    blurred : Blurred, optional
        Predicted blurred pictures, and their errors.

    Raises
    ------
    DataError
        If shapes do not fit, pictures have another range, a value is not finite or an error not
        positive.
    """
    embedding = as_rows(embedding)
    if embedding.ndim != 2:
        raise DataError(
            f"embeddings have shape {tuple(embedding.shape)}. Expected: (n_images, n_dimensions)."
        )
    check_finite(embedding, "embeddings", ("image", "dimension"))
    if (embedding.norm(dim=1) == 0).any():
        raise DataError("an embedding is all zeros. Expected: a direction; predict it again.")
    embedding = F.normalize(embedding, dim=1)
    if blurred is None:
        return Target(embedding)
    shapes = np.shape(blurred.picture), np.shape(blurred.error_variance)
    if len(shapes[0]) != 4 or shapes[0] != (len(embedding), *shapes[1]):
        raise DataError(
            f"{len(embedding)} embeddings, pictures of shape {shapes[0]}, errors of shape "
            f"{shapes[1]}. Expected: pictures (n_images, s, s, 3) and errors (s, s, 3)."
        )
    picture = as_rows(check_pictures(blurred.picture, "blurred pictures")).permute(0, 3, 1, 2)
    error = as_rows(blurred.error_variance).permute(2, 0, 1)
    check_finite(error, "error variances")
    if not (error > 0).all():
        raise DataError("error variances must be positive; fit them again.")
    return Target(embedding, picture.contiguous(), (1 / error).contiguous())


@dataclass(frozen=True)
class Objective:
    """How far pictures are from what was predicted: 1 - cosine of the embeddings, and more.

    Parameters
    ----------
    image_encoder : callable
        Pictures (B, 3, R, R) in [-1, 1] to unit embeddings (B, C); see :func:`clip_encoder`.
    low_level_weight : float
        Of the mean squared difference from the predicted blurred picture, in units of its error
        variance: about 1 for the true image, if the errors are as large as on training images.
    """

    image_encoder: ImageEncoder
    low_level_weight: float = 0.0

    def terms(
        self, images: Tensor, target: Target, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """What is looked at in each picture.

        Parameters
        ----------
        images : Tensor, (B, 3, R, R)
            A generator's output; clamped to [-1, 1] as it will be shown, so that nothing can be
            gained outside.
        target : Target
            B rows, on the same device.
        rng : torch.Generator, optional
            Draws crops; without it only the whole picture is looked at.

        Returns
        -------
        dict of str to Tensor, (B,)
            ``loss`` and ``cosine`` of the whole picture; ``low_level`` if it has a weight;
            ``views_loss``, the loss with the embedding's part averaged over the crops as well.
        """
        images = images.clamp(-1, 1)
        views = [images]
        for _ in range(N_CROPS if rng is not None else 0):
            draw = draw_crops(len(images), rng)
            views.append(square_crops(images, images.shape[-1], draw, SMALLEST_CROP))
        cosines = torch.stack(
            [(self.image_encoder(view) * target.embedding).sum(dim=1) for view in views]
        )  # (1 + n_crops, B)
        losses = 1 - torch.stack([cosines[0], cosines.mean(dim=0)])
        out = {"cosine": cosines[0]}
        if self.low_level_weight > 0:
            out["low_level"] = _low_level_distance(images, target)
            losses = losses + self.low_level_weight * out["low_level"]
        return {"loss": losses[0], **out, "views_loss": losses[1]}


def _low_level_distance(images: Tensor, target: Target) -> Tensor:
    """Mean over the blurred picture of squared difference times precision, (B,)."""
    if target.picture is None:
        raise DataError("low_level_weight is above 0, but there is no blurred picture. Give one.")
    blurred = F.adaptive_avg_pool2d(images / 2 + 0.5, target.picture.shape[-2:])
    return ((blurred - target.picture).square() * target.precision).mean(dim=(1, 2, 3))
