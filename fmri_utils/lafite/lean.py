"""The generator's convolutions for inference: the same function in less memory and time.

At high resolution one sample's activations are megabytes, and every pass over those of a whole
batch goes through main memory. Here each sample runs by itself from the resolution where it fills
the cache, with the style and the demodulation in its own weight, and its activation is computed in
place. Not for training or :mod:`torch.func`: those use the layers' own forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import GAIN, LEAK, SynthesisConvolution, filter_image, upsample_image

LARGE_BYTES = 2**20
"""Size of one sample's activations from which samples run one by one."""


def convolve_one(
    layer: SynthesisConvolution, x: Tensor, style: Tensor, noise: Tensor | None
) -> Tensor:
    """One layer for one sample; see :meth:`SynthesisConvolution.forward`.

    Parameters
    ----------
    layer : SynthesisConvolution
    x : Tensor, (1, n_in, H, W)
    style : Tensor, (1, n_in)
    noise : Tensor, (H, W) or (1, 1, H, W), or None

    Returns
    -------
    Tensor, (1, n_out, H or 2 H, W or 2 W)
    """
    weight = layer.weight * style[0, :, None, None]  # (n_out, n_in, 3, 3)
    energy = weight.square().sum(dim=(1, 2, 3), keepdim=True)
    weight = weight * (torch.rsqrt(energy + 1e-8) * GAIN)
    bias = layer.bias * GAIN
    if layer.up:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = filter_image(x, pad=1, gain=4.0).add_(bias[:, None, None])
    else:
        weight = weight.contiguous(memory_format=torch.channels_last)
        x = F.conv2d(x, weight, bias, padding=1)
    if noise is not None:
        x.add_(noise * (layer.noise_strength * GAIN))
    F.leaky_relu_(x, LEAK)
    return x if layer.clamp is None else x.clamp_(-layer.clamp, layer.clamp)


def render_ones(
    blocks: Sequence, x: Tensor, image: Tensor, styles: list[Tensor], noise: list[Tensor | None]
) -> Tensor:
    """Images (B, 3, R, R) through the last blocks, one sample at a time.

    Parameters
    ----------
    blocks : sequence of SynthesisBlock
        Those from the resolution at which samples part; none of 4 px.
    x : Tensor, (B, channels, r, r)
    image : Tensor, (B, 3, r, r)
    styles, noise : list of Tensor
        Of the blocks' layers, and of their convolutions, in the order of use.
    """
    out = []
    for i in range(len(x)):
        sample, picture = x[i : i + 1], image[i : i + 1]
        own = iter([style[i : i + 1] for style in styles])
        drawn = iter(
            [n[i : i + 1] if n is not None and n.ndim == 4 and len(n) > 1 else n for n in noise]
        )
        for block in blocks:
            sample = convolve_one(block.conv0, sample, next(own), next(drawn))
            sample = convolve_one(block.conv1, sample, next(own), next(drawn))
            picture = upsample_image(picture) + block.torgb(sample, next(own))
        out.append(picture)
    return torch.cat(out)
