"""Linear maps that are fitted by gradient steps: contrastive-linear, and Mind Reader's loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .common import check_training
from .embedding_losses import info_nce, mind_reader_loss, mind_reader_target, per_target
from .gradient_fit import Check, Training, seeded, train
from .linear import LinearEncoder


def linear_layer(betas: np.ndarray, embeddings: np.ndarray, seed: int) -> nn.Linear:
    """A layer that starts near the mean embedding, so that it learns deviations from it."""
    with seeded(seed, 0, device=torch.device("cpu")):
        layer = nn.Linear(betas.shape[1], embeddings.shape[1])
        nn.init.normal_(layer.weight, std=1e-3)
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(embeddings.mean(0)))
    return layer


def _encoder(layer: nn.Linear, method: str) -> LinearEncoder:
    weights, bias = (p.detach().cpu().numpy() for p in (layer.weight, layer.bias))
    return LinearEncoder(np.ascontiguousarray(weights.T), bias, method)


def fit_contrastive(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    temperature: float,
    seed: int,
    voxel_dropout: float = 0.0,
    validation_share: float = 0.1,
    patience: int = 300,
    n_targets: int = 1,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """A linear map trained with InfoNCE, stopped where held-out training images score best.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    n_steps, batch_size, learning_rate, weight_decay, voxel_dropout, validation_share, patience
        As in :class:`fmri_utils.encoders.Training`.
    temperature : float
        Of InfoNCE.
    seed : int
    n_targets : int
        Embeddings that :func:`fmri_utils.encoders.stack_targets` put beside each other.
    device, folder, progress
        As for :func:`fmri_utils.encoders.gradient_fit.train`.

    Returns
    -------
    encoder : LinearEncoder
    report : dict
        ``step``, ``train_loss``, ``validation_loss`` at each check, ``best_step``, ``held``.
    """
    loss = per_target(info_nce, n_targets)

    def loss_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor, _: float) -> torch.Tensor:
        return loss(network(x), y, temperature)

    training = Training(
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        voxel_dropout=voxel_dropout,
        validation_share=validation_share,
        patience=patience,
    )
    layer = linear_layer(betas, embeddings, seed)
    report = train(
        layer,
        loss_of,
        contrast_check(temperature, n_targets),
        betas,
        embeddings,
        groups,
        training=training,
        seed=seed,
        name="contrastive",
        device=device,
        folder=folder,
        settings={"temperature": temperature, "n_targets": n_targets},
        progress=progress,
    )
    return _encoder(layer, "contrastive"), report


def contrast_check(temperature: float, n_targets: int) -> Check:
    """InfoNCE of all held-out images at once, as a check for :func:`training.train`."""
    loss = per_target(info_nce, n_targets)

    @torch.no_grad()
    def check(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
        return loss(network(x), y, temperature).item()

    return check


def fit_mind_reader(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    n_epochs: int = 40,
    batch_size: int = 32,
    learning_rate: float = 2e-4,
    voxel_dropout: float = 0.0,
    contrastive_share: float = 0.0,
    temperature: float = 0.5,
    seed: int,
    validation_share: float = 0.1,
    n_targets: int = 1,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """A linear map trained with Mind Reader's loss (Lin, Sprague & Singh 2022) on the same inputs.

    Loss, targets, optimiser and number of epochs are the paper's; its network is not, so that this
    compares losses. The paper's two mappers, to image and to caption, are ``n_targets=2``.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    n_epochs : int
        Passes through the training trials.
    batch_size, learning_rate, voxel_dropout, validation_share
        As in :class:`fmri_utils.encoders.Training`; the weight decay is 0 (plain Adam).
    contrastive_share, temperature
        As in :func:`fmri_utils.encoders.mind_reader_loss`.
    seed, n_targets, device, folder, progress
        As for :func:`fit_contrastive`.

    Returns
    -------
    encoder : LinearEncoder
    report : dict
        As of :func:`fit_contrastive`.
    """
    check_training(betas, embeddings, groups)  # before a constant dimension is scaled away
    blocks = torch.from_numpy(np.asarray(embeddings, np.float32)).chunk(n_targets, 1)
    targets = torch.cat([mind_reader_target(block) for block in blocks], 1).numpy()
    loss = per_target(mind_reader_loss, n_targets)
    options = {"contrastive_share": contrastive_share, "temperature": temperature}

    def loss_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor, _: float) -> torch.Tensor:
        return loss(network(x), y, **options)

    @torch.no_grad()
    def check(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
        return loss(network(x), y, **options).item()

    per_epoch = max(1, round(len(betas) * (1 - validation_share) / batch_size))
    n_steps = n_epochs * per_epoch
    training = Training(
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.0,
        voxel_dropout=voxel_dropout,
        validation_share=validation_share,
        check_every=per_epoch,
        patience=n_steps,
    )
    layer = linear_layer(betas, targets, seed)
    report = train(
        layer,
        loss_of,
        check,
        betas,
        targets,
        groups,
        training=training,
        seed=seed,
        name="mind_reader",
        device=device,
        folder=folder,
        settings={**options, "n_targets": n_targets},
        progress=progress,
    )
    return _encoder(layer, "mind_reader"), report
