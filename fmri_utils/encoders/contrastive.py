"""Linear maps that are fitted by gradient steps: contrastive-linear, and Mind Reader's loss."""

import numpy as np
import torch
from torch import nn

from .common import check_training
from .embedding_losses import info_nce, mind_reader_loss, mind_reader_target, per_target
from .gradient_fit import Check, Loss, Training, seeded, train
from .linear import LinearEncoder


def fit_contrastive(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    training: Training,
    temperature: float,
    n_targets: int = 1,
    **how: object,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """A linear map trained with InfoNCE, stopped where held-out training images score best.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    training : Training
    temperature : float
        Of InfoNCE.
    n_targets : int
        Embeddings of a trial that stand beside each other, all of one size.
    **how
        ``seed``, ``device`` and ``progress``, as for
        :func:`fmri_utils.encoders.gradient_fit.train`.

    Returns
    -------
    encoder : LinearEncoder
    report : dict
        ``step``, ``train_loss``, ``validation_loss`` at each check, ``best_step``, ``held``.
    """
    check = contrast_check(temperature, n_targets)
    return _fit_linear("contrastive", check, betas, embeddings, groups, training=training, **how)


def contrast_check(temperature: float, n_targets: int) -> Check:
    """InfoNCE of all held-out images at once, as a check for :func:`gradient_fit.train`."""
    loss = per_target(info_nce, n_targets)
    return lambda network, x, y: loss(network(x), y, temperature)


def fit_mind_reader(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    n_epochs: int = 40,
    voxel_dropout: float = 0.0,
    n_targets: int = 1,
    **how: object,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """A linear map trained with Mind Reader's loss (Lin, Sprague & Singh 2022) on the same inputs.

    Loss, targets, optimiser (plain Adam, 2e-4, batches of 32) and number of epochs are the paper's;
    its network is not, so that this compares losses. The paper's two mappers, to image and to
    caption, are ``n_targets=2``.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    n_epochs : int
        Passes through the training trials.
    voxel_dropout
        As in :class:`fmri_utils.encoders.Training`.
    n_targets, **how
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
    batch_size, validation_share = 32, 0.1
    per_epoch = max(1, round(len(betas) * (1 - validation_share) / batch_size))
    training = Training(
        n_steps=n_epochs * per_epoch,
        batch_size=batch_size,
        learning_rate=2e-4,
        weight_decay=0.0,
        voxel_dropout=voxel_dropout,
        validation_share=validation_share,
        check_every=per_epoch,
        patience=n_epochs * per_epoch,
    )
    check = lambda network, x, y: loss(network(x), y)  # noqa: E731
    return _fit_linear("mind_reader", check, betas, targets, groups, training=training, **how)


def _fit_linear(
    name: str, check: Check, betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray, **how
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """Train a layer that starts near the mean embedding, so that it learns deviations from it.

    The check is the loss too.
    """
    with seeded(how["seed"], 0, device=torch.device("cpu")):
        layer = nn.Linear(betas.shape[1], embeddings.shape[1])
        nn.init.normal_(layer.weight, std=1e-3)
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(embeddings.mean(0)))
    loss: Loss = lambda network, x, y, _: check(network, x, y)  # noqa: E731
    report = train(layer, loss, check, betas, embeddings, groups, name=name, **how)
    weights, bias = (p.detach().cpu().numpy() for p in (layer.weight, layer.bias))
    return LinearEncoder(np.ascontiguousarray(weights.T), bias, name), report
