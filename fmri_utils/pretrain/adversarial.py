"""The adversarial stage of the demo generator: LAFITE's training, with redrawing kept on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..clip_space import ClipSpace
from ..lafite import DiscriminatorConfig, TrainingConfig, train
from . import generator

N_IMAGES = 50_000
SHARE = 0.75  # of the adversarial weights in the shipped ones
SETTINGS = TrainingConfig(
    generator=generator.CONFIG,
    discriminator=DiscriminatorConfig(
        condition_dim=128, resolution=64, channel_base=1024, channel_max=128
    ),
    batch_size=16,
    n_images=N_IMAGES,
    clean_fraction=0.75,
    noise_level=0.3,  # LAFITE's 0.75 is tuned for 512 dimensions
    itd=1.0,
    itc=1.0,
    clip_size=64,
    r1_gamma=0.1,
    path_weight=0.0,
    learning_rate_g=0.0015,
    condition_rate=20.0,
    reconstruction_weight=8.0,
    perceptual_weight=0.3,
    ema_images=1000,
    reuse_fakes=True,
    log_images=500,
    grid_images=4000,
    checkpoint_images=2000,
)


def sharpen(
    images: np.ndarray,
    embeddings: np.ndarray,
    space: ClipSpace,
    state: dict[str, torch.Tensor],
    folder: Path,
    config: TrainingConfig = SETTINGS,
) -> dict[str, torch.Tensor]:
    """Go on from a warm-started generator against a discriminator; resumes from ``folder``.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, 64, 64, 3)
    embeddings : numpy.ndarray, (N, C)
        Of the images, unit length.
    space : ClipSpace
        Sees crops of the fakes, and gives the perceptual distance.
    state : dict
        The warm-started generator.

    Returns
    -------
    dict
        Weights between the warm-started and the averaged adversarial ones. So short a contest
        leaves a grain in the pictures; three quarters of the way between the two networks (network
        interpolation, Wang et al. 2018, ESRGAN) they keep the sharper outlines without most of it.
    """
    features = generator.ClipFeatures(space)

    def perceptual(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            targets, _ = features(real / 2 + 0.5)
        maps, _ = features(fake.clamp(-1.2, 1.2) / 2 + 0.5)
        parts = [(a - b).square().sum(1).mean() for a, b in zip(maps, targets, strict=True)]
        return torch.stack(parts).sum()

    result = train(
        config,
        images,
        embeddings,
        lambda fakes: space.embed(fakes / 2 + 0.5),
        out_dir=folder,
        perceptual=perceptual,
        initial=state,
    )
    return blend(state, result.generator.state_dict())


def blend(warm: dict[str, torch.Tensor], sharp: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights between those of two networks of one training."""
    return {name: torch.lerp(warm[name], sharp[name], SHARE) for name in warm}
