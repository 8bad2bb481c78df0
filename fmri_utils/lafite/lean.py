"""The generator's convolutions for inference: the same function in less memory and time.

At high resolution one sample's activations are megabytes, and every pass over those of a whole
batch goes through main memory. Here each sample runs by itself from the resolution where it fills
the cache, with the style and the demodulation in its own weight, and its activation is computed in
place. Channels come last in memory, which the convolutions of a CPU, the depth-wise filter above
all, take several times faster; the large ones are made with fewer multiplications
(:mod:`.winograd`). Not for training or :mod:`torch.func`: those use the layers' own forward passes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import winograd
from .layers import GAIN, LEAK, SynthesisConvolution, ToRGB, filter_image, upsample_image

# Size of one sample's activations from which samples run one by one.
LARGE_BYTES = 2**20


def double_one(x: Tensor, weight: Tensor) -> Tensor:
    """``F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)`` as four convolutions.

    Even and odd rows and columns of the result see different taps of the kernel: two of them or
    one. Written so, no column buffer nine times the size of the result is needed.

    Parameters
    ----------
    x : Tensor, (1, n_in, H, W)
    weight : Tensor, (n_out, n_in, 3, 3)

    Returns
    -------
    Tensor, (1, n_out, 2 H + 1, 2 W + 1), channels last
    """
    n, _, height, width = x.shape
    shape = n, len(weight), 2 * height + 1, 2 * width + 1
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    weight = weight.flip((2, 3))  # F.conv2d is a correlation
    taps = slice(0, 3, 2), slice(1, 2)  # for even and for odd positions
    for row in (0, 1):
        for column in (0, 1):
            kernel = weight[:, :, taps[row], taps[column]]
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            out[:, :, row::2, column::2] = F.conv2d(x, kernel, padding=(1 - row, 1 - column))
    return out


class Modulated:
    """One layer with its styles for a whole batch: what does not depend on the activations.

    Parameters
    ----------
    layer : SynthesisConvolution
    style : Tensor, (B, n_in)
    """

    def __init__(self, layer: SynthesisConvolution, style: Tensor):
        self.layer, self.style = layer, style
        energy = layer.weight.square().sum(dim=(2, 3))  # (n_out, n_in)
        self.demodulation = torch.rsqrt(style.square() @ energy.t() + 1e-8) * GAIN  # (B, n_out)
        side = layer.resolution
        self.tiled = not layer.up and winograd.pays(layer.weight, side, side)
        if self.tiled:
            self.weight = winograd.transform_kernel(layer.weight)
        else:
            self.weight = layer.weight.contiguous(memory_format=torch.channels_last)

    def convolve(self, i: int, x: Tensor, noise: Tensor | None) -> Tensor:
        """Sample ``i``: (1, n_in, H, W) to (1, n_out, H or 2 H, W or 2 W).

        See :meth:`SynthesisConvolution.forward`; ``noise`` is (R, R), (1, 1, R, R) or None.
        """
        layer, style, demodulation = self.layer, self.style[i], self.demodulation[i]
        bias = layer.bias * GAIN
        if self.tiled:
            x = winograd.convolve(x, self.weight, style, demodulation, bias)
        else:
            weight = self.weight * (demodulation[:, None] * style)[:, :, None, None]
            if layer.up:
                x = filter_image(double_one(x, weight), pad=1, gain=4.0, bias=bias)
            else:
                x = F.conv2d(x, weight, bias, padding=1)
        if noise is not None:
            x.add_(noise * (layer.noise_strength * GAIN))
        F.leaky_relu_(x, LEAK)
        return x if layer.clamp is None else x.clamp_(-layer.clamp, layer.clamp)


def colour_one(layer: ToRGB, x: Tensor, style: Tensor) -> Tensor:
    """Colours of one sample, (1, 3, H, W) from (1, n_in, H, W); see :meth:`ToRGB.forward`."""
    rgb = F.conv2d(x, layer.weight * style[0, :, None, None], layer.bias)
    return rgb if layer.clamp is None else rgb.clamp_(-layer.clamp, layer.clamp)


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
    own = iter(styles)
    layers = []
    for block in blocks:
        pair = [Modulated(layer, next(own)) for layer in (block.conv0, block.conv1)]
        layers.append((*pair, block.torgb, next(own)))
    out = []
    for i in range(len(x)):
        sample = x[i : i + 1].contiguous(memory_format=torch.channels_last)
        picture = image[i : i + 1]
        drawn = iter(
            [n[i : i + 1] if n is not None and n.ndim == 4 and len(n) > 1 else n for n in noise]
        )
        for first, second, torgb, style in layers:
            sample = first.convolve(i, sample, next(drawn))
            sample = second.convolve(i, sample, next(drawn))
            picture = upsample_image(picture) + colour_one(torgb, sample, style[i : i + 1])
        out.append(picture)
    return torch.cat(out)
