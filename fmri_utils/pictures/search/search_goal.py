"""What a search wants of a picture: to agree with the prediction, as far as that can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...clip.space import ClipSpace
from ...lafite.training.gan_losses import random_square_crops
from ...project.checks import check_finite, check_pictures
from ...project.errors import DataError

ImageEncoder = Callable[[Tensor], Tensor]


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


def make_target(
    embedding: np.ndarray | Tensor,
    picture: np.ndarray | None = None,
    error_variance: np.ndarray | None = None,
) -> Target:
    """Check and collect what was predicted.

    Parameters
    ----------
    embedding : array, (N, C)
        Predicted embeddings, scaled to unit length here.
    picture : numpy.ndarray, (N, s, s, 3), optional
        Predicted blurred pictures in [0, 1]; see :class:`~fmri_utils.pictures.search.LowLevel`.
    error_variance : numpy.ndarray, (s, s, 3), optional
        Mean squared error of such predictions on images that were left out; with ``picture``.

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
    if picture is None and error_variance is None:
        return Target(embedding)
    shapes = [None if x is None else np.shape(x) for x in (picture, error_variance)]
    if None in shapes or len(shapes[0]) != 4 or shapes[0] != (len(embedding), *shapes[1]):
        raise DataError(
            f"{len(embedding)} embeddings, pictures of shape {shapes[0]}, errors of shape "
            f"{shapes[1]}. Expected: pictures (n_images, s, s, 3) and errors (s, s, 3), both."
        )
    picture = as_rows(check_pictures(picture, "blurred pictures")).permute(0, 3, 1, 2)
    error = as_rows(error_variance).permute(2, 0, 1)
    check_finite(error, "error variances")
    if not (error > 0).all():
        raise DataError("error variances must be positive; fit them again.")
    return Target(embedding, picture.contiguous(), (1 / error).contiguous())


@dataclass(frozen=True)
class Objective:
    """How far pictures are from what was predicted.

    Parameters
    ----------
    image_encoder : callable
        Pictures (B, 3, R, R) in [-1, 1] to unit embeddings (B, C); see :func:`clip_encoder`.
    embedding_weight : float
        Of 1 - cosine with the predicted embedding.
    low_level_weight : float
        Of the mean squared difference from the predicted blurred picture, in units of its error
        variance: about 1 for the true image, if the errors are as large as on training images.
    enough : float, optional
        Cosine above which coming closer gains nothing. A prediction has errors; a picture that
        agrees with it better than the true image would is fitted to them (the discrepancy principle
        of Morozov 1966). Measure it as the cosine of held-out training predictions with the truth.
    n_crops : int
        Random crops that the encoder sees beside the whole picture in every gradient step, so that
        one pattern in one place does not suffice.
    smallest_crop : float
        Side of the smallest crop, as a fraction of the picture.
    """

    image_encoder: ImageEncoder
    embedding_weight: float = 1.0
    low_level_weight: float = 0.0
    enough: float | None = None
    n_crops: int = 1
    smallest_crop: float = 0.8

    def __post_init__(self):
        if min(self.embedding_weight, self.low_level_weight) < 0 or self.n_crops < 0:
            raise ValueError(f"weights and n_crops must be 0 or more; got {self.numbers()}.")
        if self.embedding_weight == self.low_level_weight == 0:
            raise ValueError("both weights are 0: every picture would be as good as any other.")

    def numbers(self) -> dict[str, float | None]:
        """The settings without the encoder, to recognise a run by."""
        return {k: v for k, v in vars(self).items() if k != "image_encoder"}

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
        cosine = self._cosine(images, target)
        views = [cosine]
        for _ in range(self.n_crops if rng is not None else 0):
            crop = random_square_crops(images, images.shape[-1], rng, self.smallest_crop)
            views.append(self._cosine(crop, target))
        views = torch.stack(views)  # (1 + n_crops, B)
        if self.enough is not None:
            views = views.clamp(max=self.enough)
        losses = self.embedding_weight * (1 - torch.stack([views[0], views.mean(dim=0)]))
        out = {"cosine": cosine}
        if self.low_level_weight > 0:
            out["low_level"] = _low_level_distance(images, target)
            losses = losses + self.low_level_weight * out["low_level"]
        return {"loss": losses[0], **out, "views_loss": losses[1]}

    def _cosine(self, images: Tensor, target: Target) -> Tensor:
        return (self.image_encoder(images) * target.embedding).sum(dim=1)


def _low_level_distance(images: Tensor, target: Target) -> Tensor:
    """Mean over the blurred picture of squared difference times precision, (B,)."""
    if target.picture is None:
        raise DataError(
            "low_level_weight is above 0, but the target has no blurred picture. Give make_target "
            "one, or set the weight to 0."
        )
    blurred = F.adaptive_avg_pool2d(images / 2 + 0.5, target.picture.shape[-2:])
    return ((blurred - target.picture).square() * target.precision).mean(dim=(1, 2, 3))
