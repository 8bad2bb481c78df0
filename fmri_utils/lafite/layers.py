"""Building blocks of LAFITE's networks: plain torch operations only.

Everything here can be differentiated twice and works under :mod:`torch.func` (``jvp``, ``vjp``,
``vmap``): no operation in place, no custom autograd function, no branch on a tensor's value.

References
----------
Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958.
Zhou et al. 2022, "LAFITE: Towards Language-Free Training for Text-to-Image Generation",
arXiv 2111.13792.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2  # slope of the leaky ReLU below zero
GAIN = math.sqrt(2.0)  # keeps the second moment through a leaky ReLU
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)
STRUCTURE_LR = 0.01  # learning-rate multiplier of the mapping and condition layers


def fir_filter(like: Tensor, gain: float = 1.0) -> Tensor:
    """The 4 x 4 resampling filter ``outer([1, 3, 3, 1]) / 64``, which sums to ``gain``.

    Of the type and on the device of ``like``.
    """
    taps = like.new_tensor(FIR_TAPS)
    return torch.outer(taps, taps) * (gain / sum(FIR_TAPS) ** 2)


def filter_image(
    x: Tensor, *, pad: int, gain: float = 1.0, stride: int = 1, bias: Tensor | None = None
) -> Tensor:
    """Convolve every channel with the resampling filter, zero-padded.

    Parameters
    ----------
    x : Tensor, (B, C, H, W)
    pad : int
        Zeros added on each of the four sides.
    gain : float
        Factor on the result; 4 after doubling the resolution with zeros.
    stride : int
        Keep every ``stride``-th row and column.
    bias : Tensor, (C,), optional
        Added to the result.

    Returns
    -------
    Tensor, (B, C, (H + 2 pad - 4) // stride + 1, ...)
    """
    n_channels = x.shape[1]
    # One depth-wise pass of 16 taps: memory is what costs, and two passes of 4 read it twice.
    kernel = fir_filter(x, gain).expand(n_channels, 1, 4, 4)
    return F.conv2d(x, kernel, bias, padding=pad, stride=stride, groups=n_channels)


def upsample_image(x: Tensor) -> Tensor:
    """Double height and width: zeros between the pixels, then the resampling filter, gain 4.

    Parameters
    ----------
    x : Tensor, (B, C, H, W)

    Returns
    -------
    Tensor, (B, C, 2 H, 2 W)
    """
    # A transposed convolution by the filter is exactly that. Channels move to the batch axis
    # because all share one filter.
    n, n_channels, height, width = x.shape
    kernel = fir_filter(x, 4.0).view(1, 1, 4, 4)
    flat = x.reshape(n * n_channels, 1, height, width)
    flat = F.conv_transpose2d(flat, kernel, stride=2, padding=1)
    return flat.reshape(n, n_channels, 2 * height, 2 * width)


class FullyConnected(nn.Module):
    """Fully connected layer with an equalised learning rate.

    The weight is stored as N(0, 1) / ``lr_multiplier`` and used as
    ``weight * lr_multiplier / sqrt(n_in)``; the bias is used as ``bias * lr_multiplier``.

    Parameters
    ----------
    n_in, n_out : int
    lr_multiplier : float
    active : bool
        Apply the leaky ReLU (gain sqrt(2)).
    bias : float
        Initial value of the bias as it is used.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        lr_multiplier: float = 1.0,
        active: bool = False,
        bias: float = 0.0,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in).mul_(1 / lr_multiplier))
        self.bias = nn.Parameter(torch.full((n_out,), bias / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(n_in)
        self.bias_gain = lr_multiplier
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_in) to (B, n_out)."""
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(x, LEAK) * GAIN if self.active else x


class Convolution(nn.Module):
    """Convolution of the discriminator, with an equalised learning rate.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel : {1, 3}
    down : bool
        Filter, then keep every second row and column. A 1 x 1 kernel is applied after
        decimation, a 3 x 3 kernel with stride 2.
    active : bool
        Add a bias and apply the leaky ReLU; otherwise the layer is linear without a bias.
    clamp : float, optional
        Bound of the activation.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        *,
        down: bool = False,
        active: bool = True,
        clamp: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(n_out)) if active else None
        self.weight_gain = 1.0 / math.sqrt(n_in * kernel**2)
        self.down = down
        self.clamp = clamp

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H or H / 2, W or W / 2), times ``gain``."""
        kernel = self.weight.shape[-1]
        # Leaky ReLU is homogeneous, so its gain can sit in the small tensors.
        activation = 1.0 if self.bias is None else GAIN
        weight = self.weight * (self.weight_gain * gain * activation)
        bias = None if self.bias is None else self.bias * (gain * GAIN)
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=kernel // 2)
        elif kernel == 1:
            x = F.conv2d(filter_image(x, pad=1, stride=2), weight, bias)
        else:
            x = F.conv2d(filter_image(x, pad=2), weight, bias, stride=2)
        if self.bias is None:
            return x
        x = F.leaky_relu(x, LEAK)
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)


class ConditionedStyle(nn.Module):
    """Style of one layer from the latent ``w`` and the CLIP embedding ("structure 2" or "1").

    Structure 2 (layers up to the resolution ``change``)::

        style = affine_0([pre_1(pre_0(condition)), w])

    With two conditions (Lin et al. 2022, "Mind Reader", arXiv 2210.01769) each has a branch of its
    own, and the element-wise maximum of the two goes on::

        style = affine_0([max(pre_1(pre_0(first)), second_1(second_0(second))), w])

    Structure 1 (layers above it)::

        style = bias_layers(condition) + affine(w) * scale_layers(condition)

    Parameters
    ----------
    n_out : int
        Input channels of the layer that the style modulates.
    w_dim, condition_dim, inner_dim, hidden_dim : int
        Widths of w, of the condition, and of the first and second condition layer.
    structure : {1, 2}
    n_conditions : {1, 2}
        Two only with structure 2.
    """

    def __init__(
        self,
        n_out: int,
        *,
        w_dim: int,
        condition_dim: int,
        inner_dim: int,
        hidden_dim: int,
        structure: int,
        n_conditions: int = 1,
    ):
        super().__init__()
        self.structure = structure
        self.n_conditions = n_conditions
        widths = (condition_dim, inner_dim, hidden_dim)

        def hidden(step: int) -> FullyConnected:
            n_from, n_to = widths[step], widths[step + 1]
            return FullyConnected(n_from, n_to, lr_multiplier=STRUCTURE_LR, active=True)

        if structure == 2:
            self.pre_0 = hidden(0)
            self.pre_1 = hidden(1)
            if n_conditions == 2:
                self.second_0 = hidden(0)
                self.second_1 = hidden(1)
            self.affine_0 = FullyConnected(hidden_dim + w_dim, n_out, bias=1.0)
        else:
            for kind in ("scale", "bias"):
                self.add_module(f"{kind}_layer_0", hidden(0))
                self.add_module(f"{kind}_layer_1", hidden(1))
                self.add_module(f"{kind}_layer_2", FullyConnected(hidden_dim, n_out))
            self.affine = FullyConnected(w_dim, n_out, bias=1.0)

    def style(self, w: Tensor, condition: Tensor) -> Tensor:
        """Style (B, n_out) from w (B, w_dim) and condition (B, n_conditions * condition_dim)."""
        if self.structure == 2:
            first, *other = condition.chunk(self.n_conditions, dim=1)
            inner = self.pre_1(self.pre_0(first))  # (B, hidden_dim)
            if other:
                inner = torch.maximum(inner, self.second_1(self.second_0(other[0])))
            return self.affine_0(torch.cat([inner, w], dim=1))
        scale = self.scale_layer_2(self.scale_layer_1(self.scale_layer_0(condition)))
        shift = self.bias_layer_2(self.bias_layer_1(self.bias_layer_0(condition)))
        return shift + self.affine(w) * scale


class SynthesisConvolution(ConditionedStyle):
    """Modulated 3 x 3 convolution with noise, bias, leaky ReLU and clamp.

    The weight is shared by the batch: activations are scaled by the style before the convolution
    and by the demodulation factor after it, which is the same function as convolving each sample
    with its own modulated weight.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    resolution : int
        Height and width of the output, pixels.
    up : bool
        Double the resolution.
    clamp : float, optional
    **widths
        As for :class:`ConditionedStyle`.
    """

    def __init__(
        self, n_in: int, n_out: int, *, resolution: int, up: bool, clamp: float | None, **widths
    ):
        super().__init__(n_in, **widths)
        self.weight = nn.Parameter(torch.randn(n_out, n_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution = resolution
        self.up = up
        self.clamp = clamp

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """Convolve x (B, n_in, H, W) under a style (B, n_in).

        ``noise`` is None, (H, W), or (B or 1, 1, H, W), at the output's resolution.
        """
        weight = self.weight
        energy = weight.square().sum(dim=(2, 3))  # (n_out, n_in)
        demodulation = torch.rsqrt(style.square() @ energy.t() + 1e-8)  # (B, n_out)
        x = x * style[:, :, None, None]
        if self.up:
            # The stored weight as it is: a transposed convolution, not a correlation.
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = filter_image(x, pad=1, gain=4.0)
        else:
            x = F.conv2d(x, weight, padding=1)
        # The activation's gain goes into the small tensors (leaky ReLU is homogeneous).
        offset = (self.bias * GAIN)[None, :, None, None]  # (1, n_out, 1, 1)
        if noise is not None:
            offset = offset + noise * (self.noise_strength * GAIN)  # (B or 1, n_out, H, W)
        x = torch.addcmul(offset, x, (demodulation * GAIN)[:, :, None, None])
        x = F.leaky_relu(x, LEAK)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(ConditionedStyle):
    """Modulated 1 x 1 convolution to three channels, without demodulation.

    Parameters
    ----------
    n_in : int
        Channels.
    clamp : float, optional
    **widths
        As for :class:`ConditionedStyle`.
    """

    def __init__(self, n_in: int, *, clamp: float | None, **widths):
        super().__init__(n_in, **widths)
        self.weight = nn.Parameter(torch.randn(3, n_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.clamp = clamp

    def style(self, w: Tensor, condition: Tensor) -> Tensor:
        """Style (B, n_in), its gain 1 / sqrt(n_in) included."""
        return super().style(w, condition) / math.sqrt(self.weight.shape[1])

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map x (B, n_in, H, W) under a style (B, n_in) to (B, 3, H, W)."""
        n, n_channels, height, width = x.shape
        # Three rows per sample are cheaper to modulate than the activations.
        weight = self.weight.reshape(3, n_channels) * style[:, None, :]  # (B, 3, n_in)
        rgb = weight @ x.reshape(n, n_channels, height * width)  # (B, 3, H W)
        rgb = (rgb + self.bias[:, None]).reshape(n, 3, height, width)
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)
