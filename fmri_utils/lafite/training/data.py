"""What a training run of LAFITE sees: images, embeddings and what goes with them, in batches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ...project.checks import check_finite
from ...project.errors import DataError
from .config import TrainingConfig


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    ``images`` (B, 3, R, R) in [-1, 1] (of several processes each has its own), and of the whole
    batch in every process: the images' unit-norm ``embeddings`` (B, C), and per image one
    caption's embedding (B, C) or None, one embedding predicted from brain activity, (B, C) for
    each of the generator's conditions, or None, and its noise vector (B, z_dim) or None.
    """

    images: Tensor
    embeddings: Tensor
    captions: Tensor | None
    predicted: Tensor | None
    noise_vectors: Tensor | None

    def head(self, n: int) -> Batch:
        """The first ``n`` images."""
        values = (getattr(self, field.name) for field in fields(self))
        return Batch(*(value if value is None else value[:n] for value in values))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images and what goes with each of them.

    Attributes
    ----------
    images : Tensor or ndarray, (N, R, R, 3) uint8
    embeddings : Tensor or ndarray, (N, C)
        CLIP embeddings of the images, unit norm.
    mirrored_embeddings : Tensor or ndarray, (N, C), optional
        Of the mirrored images; needed if ``mirror`` is set.
    captions : Tensor or ndarray, (N, K, C), optional
        Embeddings of K captions per image. With two conditions they are the second one. Captions
        mention left and right, so they do not go together with ``mirror``.
    predicted : Tensor or ndarray, (N, K, n_conditions * C), optional
        K embeddings of each image as predicted from brain activity (of its repeats, say), by
        models that were not fitted to that image; see :mod:`fmri_utils.pictures.finetuning`.
    noise_vectors : Tensor or ndarray, (N, z_dim), optional
        The noise vector under which each image is to be drawn, where its own embedding is the
        condition. Such samples have no style mixing.
    """

    images: Tensor | np.ndarray
    embeddings: Tensor | np.ndarray
    mirrored_embeddings: Tensor | np.ndarray | None = None
    captions: Tensor | np.ndarray | None = None
    predicted: Tensor | np.ndarray | None = None
    noise_vectors: Tensor | np.ndarray | None = None


class Batches:
    """Training data, checked, and drawn in an order that depends on seed and epoch only.

    Parameters
    ----------
    config : TrainingConfig
    data : TrainingData

    Raises
    ------
    DataError
        If a shape, type, norm or value is wrong, or something that the settings need is missing.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData):
        self.config = config
        self.images = torch.as_tensor(data.images)
        size = config.generator.resolution
        shape, kind = tuple(self.images.shape), self.images.dtype
        if kind != torch.uint8 or shape[1:] != (size, size, 3):
            raise DataError(f"images are {kind} {shape}; expected uint8 (N, {size}, {size}, 3).")
        if len(self.images) < config.batch_size:
            raise DataError(
                f"{len(self.images)} images; expected at least one batch of {config.batch_size}."
            )
        self.embeddings = self._unit("embeddings", data.embeddings, 2)
        self.mirrored = self._unit("mirrored_embeddings", data.mirrored_embeddings, 2)
        self.captions = self._unit("captions", data.captions, 3)
        self.predicted = self._unit("predicted", data.predicted, 3, config.generator.n_conditions)
        self.noise_vectors = None
        if data.noise_vectors is not None:
            self.noise_vectors = torch.as_tensor(data.noise_vectors).float()
            expected = len(self.images), config.generator.z_dim
            if (found := tuple(self.noise_vectors.shape)) != expected:
                raise DataError(f"noise_vectors have shape {found}; expected {expected}.")
            check_finite(self.noise_vectors, "noise_vectors")
        for needed, setting, given, name in (
            (config.caption_probability > 0, "caption_probability", self.captions, "captions"),
            (config.generator.n_conditions == 2, "n_conditions = 2", self.captions, "captions"),
            (config.predicted_share > 0, "predicted_share", self.predicted, "predicted embeddings"),
            (config.mirror, "mirror", self.mirrored, "mirrored_embeddings"),
        ):
            if needed and given is None:
                raise DataError(f"{setting} is asked for, but no {name} were given. Give them.")
        if config.mirror and self.captions is not None:
            raise DataError("captions were given and mirror is on: they mention left and right.")
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.long))

    def _unit(self, name: str, value, n_axes: int, n_parts: int = 1) -> Tensor | None:
        """Check embeddings of unit norm, ``n_parts`` of them beside each other."""
        if value is None:
            return None
        value = torch.as_tensor(value).float()
        width = self.config.generator.condition_dim * n_parts
        if value.ndim != n_axes or len(value) != len(self.images) or value.shape[-1] != width:
            middle = "" if n_axes == 2 else "K, "
            raise DataError(
                f"{name} have shape {tuple(value.shape)}; expected ({len(self.images)}, {middle}"
                f"{width}): one row per image, as wide as the generator's condition."
            )
        check_finite(value, name)
        norms = value.unflatten(-1, (n_parts, -1)).norm(dim=-1)
        if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
            found = f"{norms.min():.4g} to {norms.max():.4g}"
            raise DataError(f"{name} have norms from {found}; expected 1. Divide by them.")
        return value

    def fingerprint(self) -> str:
        """Hash of the embeddings and of every image's mean, to recognise the data on resuming."""
        digest = hashlib.sha256(self.embeddings.numpy(force=True).tobytes())
        sums = self.images.flatten(1)[:, ::97].long().sum(dim=1)
        digest.update(sums.numpy(force=True).tobytes())
        for more in (self.predicted, self.noise_vectors):
            if more is not None:
                digest.update(more.numpy(force=True).tobytes())
        return digest.hexdigest()

    def first(self, n: int) -> Tensor:
        """Conditions of the first ``n`` images: their own embeddings, not predicted ones."""
        if self.config.generator.n_conditions == 1:
            return self.embeddings[:n]
        return torch.cat([self.embeddings[:n], self.captions[:n, 0]], dim=1)

    def _indices(self, start: int, n: int) -> Tensor:
        """Indices of the images number ``start`` ... ``start + n`` of an endless shuffled run."""
        total, parts = len(self.images), []
        while n:
            epoch, offset = divmod(start, total)
            if self._epoch[0] != epoch:
                seed = int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0])
                order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
                self._epoch = (epoch, order)
            part = self._epoch[1][offset : offset + n]
            parts.append(part)
            start, n = start + len(part), n - len(part)
        return torch.cat(parts)

    def batch(
        self, images_seen: int, rng: torch.Generator, rows: Tensor | slice = slice(None)
    ) -> Batch:
        """The batch that follows ``images_seen`` images, on the generator's device.

        Of the images only those in ``rows`` of the batch, in several processes.
        """
        index = self._indices(images_seen, self.config.batch_size)
        device = rng.device
        images = self.images[index[rows]].to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        embeddings, captions = self.embeddings[index].to(device), None
        if self.captions is not None:
            pick = torch.randint(self.captions.shape[1], index.shape, generator=rng, device=device)
            captions = self.captions[index, pick.cpu()].to(device)
        if self.config.mirror:
            flip = torch.rand(index.shape, generator=rng, device=device) < 0.5
            images = torch.where(flip[rows, None, None, None], images.flip(3), images)
            embeddings = torch.where(flip[:, None], self.mirrored[index].to(device), embeddings)
        predicted = None
        if self.predicted is not None:
            pick = torch.randint(self.predicted.shape[1], index.shape, generator=rng, device=device)
            predicted = self.predicted[index, pick.cpu()].to(device)
        given = self.noise_vectors
        given = None if given is None else given[index].to(device)
        return Batch(images, embeddings, captions, predicted, given)
