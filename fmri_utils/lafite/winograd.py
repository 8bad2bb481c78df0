"""3 x 3 convolutions with a quarter of the multiplications, for inference on a CPU.

Winograd's minimal filtering F(4 x 4, 3 x 3): a tile of 4 x 4 outputs depends on 6 x 6 inputs.
Along each axis inputs and kernel are evaluated as polynomials at the points 0, 1, -1, 2, -2 and
infinity and multiplied there (36 products for 16 outputs instead of 144), and the outputs are
interpolated. At each of the 36 points the sum over channels is a matrix product. The transforms
are additions, made on a few rows of tiles at a time so that they stay in the cache. It is the same
function; float32 loses about one decimal to the interpolation.

Not differentiable: results are written in place. Channels come last throughout.

References
----------
Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

TILE = 4  # outputs of a tile along one axis
POINTS = TILE + 2
KERNEL = (  # values of a kernel of three taps at the six points
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
MIN_CHANNELS = 128
MIN_PIXELS = 32**2
# Tiles times channels that are transformed at once: 4.7 MB at the 36 points in float32.
CACHED = 2**15


def pays(weight: Tensor, height: int, width: int) -> bool:
    """Whether the fewer multiplications are worth the transforms, as measured.

    ``benchmarks/generator.py`` gives the times by layer. With few channels the transforms cost as
    much as they save, on few pixels the products have too few rows, and a GPU's library chooses
    for itself.
    """
    large = min(weight.shape[:2]) >= MIN_CHANNELS and height * width >= MIN_PIXELS
    return large and weight.device.type == "cpu"


def transform_kernel(weight: Tensor) -> Tensor:
    """Kernels (n_out, n_in, 3, 3) at the 6 x 6 points: (36, n_in, n_out)."""
    n_out, n_in = weight.shape[:2]
    one = weight.new_tensor(KERNEL)
    taps = weight.permute(2, 3, 1, 0).reshape(9, n_in * n_out)
    return (torch.kron(one, one) @ taps).view(POINTS**2, n_in, n_out)


def _evaluate(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Six neighbouring inputs to their values at the six points, along one axis."""
    even, odd = x[4] - x[2], x[3] - x[1]
    torch.add(even, x[0] - x[2], alpha=4, out=out[0])
    torch.sub(x[5] - x[3], odd, alpha=4, out=out[5])
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.sub(x[4], x[2], alpha=4, out=even)
    torch.sub(x[3], x[1], alpha=4, out=odd)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])


def _interpolate(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Products at the six points to the four outputs, along one axis."""
    even, odd = x[1] + x[2], x[1] - x[2]
    even_2, odd_2 = x[3] + x[4], x[3] - x[4]
    torch.add(odd, odd_2, alpha=2, out=out[1])
    torch.add(even, even_2, alpha=4, out=out[2])
    torch.add(even.add_(even_2), x[0], out=out[0])
    torch.add(odd.add_(odd_2, alpha=8), x[5], out=out[3])


def convolve(
    x: Tensor, kernel: Tensor, style: Tensor, demodulation: Tensor, bias: Tensor
) -> Tensor:
    """``F.conv2d(x * style, weight, padding=1) * demodulation + bias`` for one sample.

    Parameters
    ----------
    x : Tensor, (1, n_in, H, W)
    kernel : Tensor, (36, n_in, n_out)
        From :func:`transform_kernel`.
    style : Tensor, (n_in,)
    demodulation, bias : Tensor, (n_out,)

    Returns
    -------
    Tensor, (1, n_out, H, W), channels last
    """
    _, n_in, height, width = x.shape
    n_out = kernel.shape[2]
    x = x[0].permute(1, 2, 0)  # (H, W, n_in)
    down, across = -(-height // TILE), -(-width // TILE)  # tiles
    rows = max(1, min(down, CACHED // (across * n_in)))  # of tiles at once
    out = x.new_empty(-(-down // rows) * rows * TILE, across * TILE, n_out)
    padded = x.new_zeros(rows * TILE + 2, across * TILE + 2, n_in)
    half = x.new_empty(POINTS, rows, padded.shape[1], n_in)  # rows transformed, columns not
    values = x.new_empty(POINTS, POINTS, rows, across, n_in)
    products = x.new_empty(POINTS, POINTS, rows, across, n_out)
    half_out = x.new_empty(POINTS, TILE, rows, across, n_out)
    for start in range(0, down * TILE, rows * TILE):
        first, last = max(start - 1, 0), min(start + rows * TILE + 1, height)
        offset = first - start + 1  # the row above the picture stays zero
        torch.mul(x[first:last], style, out=padded[offset : offset + last - first, 1 : width + 1])
        padded[offset + last - first :].zero_()
        _evaluate([padded[k : k + rows * TILE - 3 : TILE] for k in range(POINTS)], half)
        columns = [half[:, :, k : k + across * TILE - 3 : TILE] for k in range(POINTS)]
        _evaluate(columns, values.unbind(1))
        shape = POINTS**2, rows * across
        torch.bmm(values.view(*shape, n_in), kernel, out=products.view(*shape, n_out))
        _interpolate(products.unbind(1), half_out.unbind(1))
        part = out[start : start + rows * TILE]
        tiles = part.view(rows, TILE, across, TILE, n_out).permute(1, 3, 0, 2, 4)
        _interpolate(half_out, tiles)
        torch.addcmul(bias, part, demodulation, out=part)
    return out[None, :height, :width].permute(0, 3, 1, 2)
