"""The last stage of the demo generator: LAFITE's adversarial training, with redrawing kept on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..lafite import DiscriminatorConfig, TrainingConfig, train
from . import generator

SETTINGS = TrainingConfig(
    generator=generator.CONFIG,
    discriminator=DiscriminatorConfig(
        condition_dim=128, resolution=64, channel_base=1024, channel_max=128
    ),
    batch_size=16,
    n_images=40_000,
    clean_fraction=0.75,
    noise_level=0.3,  # LAFITE's 0.75 is tuned for 512 dimensions
    itd=1.0,
    itc=0.0,  # no network that scores the pictures has a say in them
    r1_gamma=0.3,
    path_weight=0.0,
    learning_rate_g=0.001,
    condition_rate=20.0,
    reconstruction_weight=10.0,
    ema_images=2000,
    reuse_fakes=True,
    log_images=500,
    grid_images=4000,
    checkpoint_images=2000,
)


def sharpen(
    images: np.ndarray,
    embeddings: np.ndarray,
    noise: np.ndarray,
    state: dict[str, torch.Tensor],
    folder: Path,
    config: TrainingConfig = SETTINGS,
) -> dict[str, torch.Tensor]:
    """Go on with a trained generator against a discriminator; resumes from ``folder``.

    Three quarters of each batch redraw their scenes under the noise vectors of :mod:`.layout`; the
    rest, under new ones and blurred embeddings, has only the discriminator to please.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, 64, 64, 3)
    embeddings : numpy.ndarray, (N, C)
        Of the images, unit length.
    noise : numpy.ndarray, (N, z_dim)
    state : dict
        The generator so far.
    folder : pathlib.Path
        For checkpoints.

    Returns
    -------
    dict
        State of the averaged generator.
    """
    result = train(config, images, embeddings, noise=noise, out_dir=folder, initial=state)
    return result.generator.state_dict()
