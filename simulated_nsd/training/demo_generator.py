"""Train the demo generator: redrawing of scenes, against a discriminator."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmri_utils.clip.space import ClipSpace
from fmri_utils.lafite import (
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    Observers,
    TrainingConfig,
    TrainingData,
    TrainingResult,
    train,
)

from . import demo_clip

GENERATOR = GeneratorConfig(
    z_dim=64,
    w_dim=128,
    condition_dim=128,
    hidden_dim=128,
    inner_dim=128,
    resolution=64,
    channel_base=2048,
    channel_max=128,
    mapping_layers=4,
    clamp=None,  # float32 needs no clamp, and a CPU is a third faster without
)
TRAINING = TrainingConfig(
    generator=GENERATOR,
    discriminator=DiscriminatorConfig(
        condition_dim=128, resolution=64, channel_base=2048, channel_max=128
    ),
    batch_size=32,
    n_images=900_000,
    # Most samples redraw their scene under its own noise vector; the others, of blurred
    # embeddings and fresh noise vectors, have to please the discriminator only.
    clean_fraction=0.75,
    noise_level=0.3,
    style_mixing=0.0,
    warmup_images=300_000,
    reconstruction_weight=1.5,
    reconstruction_decay_images=100_000,
    reconstruction_floor=0.4,
    reconstruction_scales=(1, 4),
    perceptual_weight=0.5,
    outline_weight=0.5,
    itd=0.5,
    itc=1.0,
    lam=1.0,
    clip_size=64,
    smallest_crop=0.8,
    r1_gamma=4.0,  # with less, edges get halos and planes get grain
    path_weight=0.0,
    learning_rate_g=0.0006,
    learning_rate_d=0.001,
    condition_rate=5.0,
    noise_rate=0.02,
    ema_images=10_000,
    reuse_fakes=True,
    log_images=2000,
    grid_images=20_000,
    checkpoint_images=4000,
)
WHITENING = 0.03  # floor of the variances, as a share of their mean


class EarlyMaps(nn.Module):
    """What the first three stages of the demo CLIP's image tower (a small ResNet) see."""

    def __init__(self, space: ClipSpace):
        super().__init__()
        self.visual, self.size = space.model.visual, space.image_size

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps at 16, 8 and 4 pixels, channels of unit length.

        Parameters
        ----------
        images : torch.Tensor, (B, 3, R, R)
            From -1 to 1; enlarged to the tower's input if they are smaller.
        """
        if images.shape[-1] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear")
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (demo_clip.MEAN, demo_clip.STD))
        maps = [self.visual.layer1(self.visual.stem((images / 2 + 0.5 - mean) / std))]
        for layer in (self.visual.layer2, self.visual.layer3):
            maps.append(layer(maps[-1]))
        return [functional.normalize(m, dim=1) for m in maps]

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """Mean squared distance of the maps of two sets of pictures, a scalar.

        As LPIPS (Zhang et al. 2018, arXiv 1801.03924), without learned weights.
        """
        with torch.no_grad():
            targets = self(real)
        seen = self(fake.clamp(-1.2, 1.2))
        return sum((a - b).square().sum(1).mean() for a, b in zip(seen, targets, strict=True))


@torch.no_grad()
def whiten_condition(generator: Generator, embeddings: Tensor) -> None:
    """Begin with condition layers whose inputs are equally strong in all directions.

    A few directions of CLIP space (place, colour) vary a hundred times as much as those that tell a
    cat's ears from a dog's, and a short training would never hear of the latter. The first
    condition layers start as random projections of the whitened embeddings.

    Parameters
    ----------
    embeddings : torch.Tensor, (N, C)
        Of the training images.
    """
    mean = embeddings.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov((embeddings - mean).T))
    floor = WHITENING * variances.mean()
    whitening = axes @ torch.diag((variances + floor).rsqrt()) @ axes.T  # (C, C)
    for name, layer in generator.named_modules():
        if name.endswith("pre_0"):
            weight = torch.randn(layer.weight.shape) @ whitening / len(mean) ** 0.5
            layer.weight.copy_(weight / layer.weight_gain)
            layer.bias.copy_(-(weight @ mean) / layer.bias_gain)


def train_to_draw(
    data: TrainingData,
    space: ClipSpace,
    folder: Path,
    *,
    config: TrainingConfig = TRAINING,
    observers: Observers | None = None,
) -> TrainingResult:
    """Train the demo generator; the same call goes on from what ``folder`` holds.

    First it only learns to redraw scenes under their noise vectors (``config.warmup_images``), then
    against a discriminator as well, which adds the edges that redrawing blurs, and by the contrast
    of CLIP's view of a picture with its condition. The judge has no part in it.

    Parameters
    ----------
    data : TrainingData
        Images of 64 px, their embeddings, and noise vectors of :mod:`.noise_vectors`.
    space : ClipSpace
        Gives the feature maps of the loss.
    folder : pathlib.Path
        Checkpoints.

    Returns
    -------
    TrainingResult

    Raises
    ------
    DataError, DivergedError
        See :func:`fmri_utils.lafite.train`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        first = Generator(config.generator)
        whiten_condition(first, torch.as_tensor(data.embeddings))
    return train(
        config,
        data,
        lambda pictures: space.embed(pictures / 2 + 0.5),
        perceptual=EarlyMaps(space).distance,
        initial=first.state_dict(),
        observers=observers or Observers(),
        out_dir=folder,
    )
