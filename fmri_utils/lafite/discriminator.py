"""LAFITE's discriminator: a residual StyleGAN2 discriminator with a feature head.

The feature head's output is compared with the CLIP embedding: its inner product with the
condition is part of the logit, and its cosine with all conditions of a batch is a contrastive
loss (:mod:`fmri_utils.lafite.training.gan_losses`).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..project.settings import Count, Flag, settings
from .generator import NetworkSizes, block_resolutions
from .layers import Convolution, FullyConnected


@settings
class DiscriminatorConfig(NetworkSizes):
    """Sizes of a discriminator.

    Parameters
    ----------
    condition_dim : int
        Width of the condition and of the features.
    resolution : int
        Height and width of the image, a power of two.
    channel_base, channel_max : int
        Channels at resolution r are min(channel_base // r, channel_max).
    channels : tuple of int, optional
        Channels of the blocks 4, 8, ..., resolution, if they do not follow that rule.
    group_size : int
        Samples that share a minibatch standard deviation.
    normalize_features : bool
        Give the features unit norm before they meet the condition.
    clamp : float or None
        Bound of the activations; 256 in LAFITE. None is a little faster.

    Raises
    ------
    ProfileError
        If a size is not a positive integer or the resolution not a power of two.
    """

    group_size: Count = 4
    normalize_features: Flag = False


def minibatch_deviation(x: Tensor, group_size: int = 4) -> Tensor:
    """Append a channel with the mean standard deviation within groups of samples.

    Groups are strided as in StyleGAN2: with n groups, the samples i, i + n, i + 2 n, ... are one.

    Parameters
    ----------
    x : Tensor, (B, C, H, W)
    group_size : int
        The whole batch is one group if it is smaller than that.

    Returns
    -------
    Tensor, (B, C + 1, H, W)

    Raises
    ------
    ValueError
        If the batch is not a multiple of the group size.
    """
    n, n_channels, height, width = x.shape
    size = min(group_size, n)
    if n % size:
        raise ValueError(
            f"the batch has {n} samples; expected fewer than {group_size} or a multiple of it."
        )
    groups = x.reshape(size, n // size, n_channels, height, width)
    variance = (groups - groups.mean(dim=0)).square().mean(dim=0)  # (n groups, C, H, W)
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))  # (n groups,)
    channel = deviation.repeat(size).view(n, 1, 1, 1).expand(n, 1, height, width)
    return torch.cat([x, channel], dim=1)


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the resolution."""

    def __init__(self, n_in: int, n_out: int, *, first: bool, clamp: float | None):
        super().__init__()
        self.fromrgb = Convolution(3, n_in, 1, clamp=clamp) if first else None
        self.conv0 = Convolution(n_in, n_in, 3, clamp=clamp)
        self.conv1 = Convolution(n_in, n_out, 3, down=True, clamp=clamp)
        self.skip = Convolution(n_in, n_out, 1, down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in or 3, H, W) to (B, n_out, H / 2, W / 2)."""
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        half = math.sqrt(0.5)
        return self.skip(x, gain=half) + self.conv1(self.conv0(x), gain=half)


class DiscriminatorEpilogue(nn.Module):
    """The block at 4 x 4: minibatch deviation, one convolution, then features and logit."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        n_channels = config.block_channels[0]
        self.group_size = config.group_size
        self.conv = Convolution(n_channels + 1, n_channels, 3, clamp=config.clamp)
        self.fc = FullyConnected(n_channels * 16, n_channels, active=True)
        self.fts = FullyConnected(n_channels, config.condition_dim)
        self.out = FullyConnected(n_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, 4, 4) to the unconditional logit (B, 1) and features (B, condition_dim)."""
        x = self.conv(minibatch_deviation(x, self.group_size))
        x = self.fc(x.flatten(1))
        return self.out(x), self.fts(x)


class Discriminator(nn.Module):
    """Image and CLIP embedding to a logit (real above zero) and features.

    Parameters
    ----------
    config : DiscriminatorConfig
        A fresh network is initialised from torch's global random state.
    """

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        self.resolutions = block_resolutions(config.resolution)[::-1]
        channels = config.block_channels[::-1]
        for i, resolution in enumerate(self.resolutions[:-1]):
            block = DiscriminatorBlock(*channels[i : i + 2], first=i == 0, clamp=config.clamp)
            self.add_module(f"b{resolution}", block)
        self.b4 = DiscriminatorEpilogue(config)

    def forward(
        self, image: Tensor, condition: Tensor, batch_summed: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Judge images under their conditions.

        Parameters
        ----------
        image : Tensor, (B, 3, R, R)
            From -1 to 1. B is at most ``group_size`` or a multiple of it.
        condition : Tensor, (B, condition_dim)
        batch_summed : bool
            Add to every logit the inner products summed over the *whole batch*, as the published
            code does. Only for parity; the default adds each sample's own.

        Returns
        -------
        logits : Tensor, (B, 1)
        features : Tensor, (B, condition_dim)
        """
        config = self.config
        assert image.shape[1:] == (3, config.resolution, config.resolution), f"{image.shape}"
        assert condition.shape == (len(image), config.condition_dim), f"{condition.shape}"
        x = image.contiguous(memory_format=torch.channels_last)
        for resolution in self.resolutions[:-1]:
            x = getattr(self, f"b{resolution}")(x)
        logits, features = self.b4(x)
        if config.normalize_features:
            features = F.normalize(features, dim=1)
        match = (features * condition).sum(dim=1, keepdim=True)  # (B, 1)
        return logits + (match.sum() if batch_summed else match), features
