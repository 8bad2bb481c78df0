"""Where a noise vector and noise images may go, and still be what the generator was trained on."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

SMALLEST_MAP = 8  # pixels; coarser maps hold too few values to have a texture


def shell_penalty(z: Tensor) -> Tensor:
    """How unlikely the length of z is, in nats above the likeliest length.

    The squared length of a standard normal vector of d dimensions follows the chi-squared
    distribution with d degrees of freedom: nearly all of its mass lies on a thin shell around
    sqrt(d), its typical set, although the density is highest at 0. The penalty is the negative
    log-density of the length (chi distribution), least at ``|z|^2 = d - 1`` (Samuel et al. 2023,
    arXiv 2306.08687). A penalty on ``|z|^2`` (Bora et al. 2017, arXiv 1703.00537) would pull z to
    0, where no draw ever is.

    StyleGAN2's mapping network divides z by its length, so the picture depends on its direction
    only, and all directions are equally likely. The penalty keeps z a draw like any other for
    whoever uses it next, and the steps from shrinking as z grows. For a generator without that
    division it is what keeps the picture plausible.

    Parameters
    ----------
    z : Tensor, (B, d)
        d is 2 or more.

    Returns
    -------
    Tensor, (B,)
        0 or more.
    """
    d = z.shape[1]
    assert d >= 2, f"z {tuple(z.shape)}"
    squared = z.square().sum(dim=1).clamp(min=1e-12)
    least = (d - 1) / 2 - (d - 1) / 2 * math.log(d - 1)
    return squared / 2 - (d - 1) / 2 * squared.log() - least


def typical_range(d: int) -> tuple[float, float]:
    """Between which values ``|z|^2`` of a standard normal z (d,) lies in 99 of 100 draws."""
    low, high = stats.chi2.interval(0.99, d)
    return float(low), float(high)


def noise_penalty(noise: Sequence[Tensor]) -> Tensor:
    """How far noise images are from white: 1 for white noise, more where neighbours agree.

    A gradient would draw the picture into the noise images. As in the projection of images by
    Karras et al. 2020 (arXiv 1912.04958, appendix D) the correlation of each pixel with its
    neighbour to the left and above is squared, at every scale down to 8 x 8 (averaged over 2 x 2
    pixels and doubled, which keeps white noise white). Here each is measured in units of its
    standard deviation for white noise, one over the number of pixels on a side, and averaged.

    Parameters
    ----------
    noise : sequence of Tensor, (B, 1, r, r)
        One per convolution.

    Returns
    -------
    Tensor, (B,)
    """
    parts = []
    for image in noise:
        while True:
            side = image.shape[-1]
            for axis in (2, 3):
                agreement = (image * image.roll(1, dims=axis)).mean(dim=(1, 2, 3))  # wraps around
                parts.append((agreement * side).square())
            if side <= SMALLEST_MAP:
                break
            image = 2 * F.avg_pool2d(image, 2)
    return torch.stack(parts).mean(dim=0)


def standardised(noise: Sequence[Tensor]) -> list[Tensor]:
    """Noise images with mean 0 and variance 1 each, as a draw has on average."""
    out = []
    for image in noise:
        centred = image - image.mean(dim=(2, 3), keepdim=True)
        out.append(centred / centred.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=1e-8))
    return out
