"""What the demo generator is trained towards: pictures like the original, and like any original."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from ..clip_space import ClipSpace
from . import clip

CONDITION_DIM, Z_DIM = 128, 64
POSTERIOR_SIZE = 32  # pixels that the posterior network sees


class ClipFeatures(nn.Module):
    """What the demo CLIP's image tower (a small ResNet) sees: two early maps and the embedding."""

    def __init__(self, space: ClipSpace):
        super().__init__()
        self.visual, self.size = space.model.visual, space.image_size
        self.register_buffer("mean", torch.tensor(clip.MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(clip.STD).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Maps at 16 and 8 pixels, channels of unit length, and the embedding, unit length.

        Parameters
        ----------
        images : torch.Tensor, (B, 3, R, R)
            In [0, 1]; enlarged to the tower's input if they are smaller.
        """
        if images.shape[-1] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear")
        tower = self.visual
        early = tower.layer1(tower.stem((images - self.mean) / self.std))
        middle = tower.layer2(early)
        embedding = tower.attnpool(tower.layer4(tower.layer3(middle)))
        maps = [functional.normalize(m, dim=1) for m in (early, middle)]
        return maps, functional.normalize(embedding, dim=1)


class NoisePosterior(nn.Module):
    """Mean and log-variance of the noise vector that would redraw an image.

    The encoder of a conditional variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114;
    Sohn et al. 2015): what the embedding does not tell, such as where a thing stands, is read from
    the image into z, so that the generator need not draw the mean of all places. Used in training
    only.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.look = nn.Sequential(*layers, nn.Flatten())
        side = POSTERIOR_SIZE // 8
        self.hidden = nn.Linear(widths[-1] * side**2 + CONDITION_DIM, 256)
        self.out = nn.Linear(256, 2 * Z_DIM)

    def forward(
        self, images: torch.Tensor, embedding: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance, (B, 64) each, of images (B, 3, R, R) from -1 to 1."""
        images = functional.interpolate(images, POSTERIOR_SIZE, mode="area")
        features = torch.cat([self.look(images), embedding * CONDITION_DIM**0.5], dim=1)
        mean, log_variance = self.out(functional.leaky_relu(self.hidden(features), 0.2)).chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Nats from N(0, 1) for each sample, (B,) from (B, Z); Kingma and Welling 2014, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class Critics(nn.Module):
    """Small discriminators of patches: of the pixels, and of two of CLIP's frozen maps.

    On the frozen features of a trained network a discriminator learns from far fewer images
    (Projected GANs, Sauer et al. 2021, arXiv 2111.01007). Spectral norm keeps them smooth.
    """

    def __init__(self, early: int = 64, middle: int = 128) -> None:
        super().__init__()

        def conv(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Module:
            return spectral_norm(nn.Conv2d(n_in, n_out, size, stride, padding=size // 2))

        leak = nn.LeakyReLU(0.2)
        self.pixels = nn.Sequential(
            conv(3, 32, 3, 2), leak, conv(32, 64, 3, 2), leak, conv(64, 64, 3), leak, conv(64, 1, 1)
        )
        self.early = nn.Sequential(conv(early, 64, 3), leak, conv(64, 64, 3, 2), leak, conv(64, 1, 1))
        self.middle = nn.Sequential(conv(middle, 64, 3), leak, conv(64, 64, 3), leak, conv(64, 1, 1))
        self.kind = nn.Sequential(conv(middle, 128, 3, 2), leak, conv(128, CONDITION_DIM, 3), leak)

    def forward(
        self, images: torch.Tensor, maps: list[torch.Tensor], embedding: torch.Tensor
    ) -> list[torch.Tensor]:
        """Logits, one map for each critic; the last one judges picture and embedding together.

        Parameters
        ----------
        images : torch.Tensor, (B, 3, R, R)
            From -1 to 1.
        maps : list of torch.Tensor
            CLIP's two early maps of the same images.
        embedding : torch.Tensor, (B, C)
            The condition.
        """
        early, middle = (m * m.shape[1] ** 0.5 for m in maps)
        fit = (self.kind(middle).mean(dim=(2, 3)) * embedding).sum(1)
        return [self.pixels(images), self.early(early), self.middle(middle), fit]


def hinge(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """The critics' loss: mean of max(0, 1 - real) + max(0, 1 + fake), summed over critics."""
    pairs = zip(real, fake, strict=True)
    return sum((functional.relu(1 - r).mean() + functional.relu(1 + f).mean()) for r, f in pairs)


def pixel_loss(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of pictures (B, 3, R, R), at full and at a quarter of the size."""
    coarse = [functional.avg_pool2d(x, 4) for x in (fake, real)]
    return functional.l1_loss(fake, real) + functional.l1_loss(*coarse)


def texture_loss(maps: list[torch.Tensor], targets: list[torch.Tensor]) -> torch.Tensor:
    """Mean squared distance of early feature maps: LPIPS (Zhang et al. 2018), weights not learned.

    The features are those of the CLIP that conditions the generator; the judge knows nothing of it.
    """
    return sum((a - b).square().sum(1).mean() for a, b in zip(maps, targets, strict=True))
