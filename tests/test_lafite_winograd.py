"""Convolutions with fewer multiplications: the library's convolution, at any size and in chunks."""

import pytest
import torch
import torch.nn.functional as F

from fmri_utils.lafite import Generator, GeneratorConfig, winograd

SIXTEEN = dict.fromkeys(("z_dim", "w_dim", "condition_dim", "hidden_dim"), 16)
WIDE = GeneratorConfig(**SIXTEEN, resolution=32, channels=(8, 8, 8, 128), mapping_layers=2)
SIZES = [(3, 5, 1, 2), (2, 2, 4, 4), (5, 7, 13, 9), (40, 24, 18, 33), (1, 3, 100, 6)]


def layer(n_in, n_out, height, width, dtype):
    rng = torch.Generator().manual_seed(n_in)
    shapes = (1, n_in, height, width), (n_out, n_in, 3, 3), (n_in,), (n_out,), (n_out,)
    return [torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.mark.parametrize("cached", [1, 2**15])  # one row of tiles at a time, or all of them
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 3e-5)])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_the_librarys_convolution(sizes, dtype, limit, cached, monkeypatch):
    monkeypatch.setattr(winograd, "CACHED", cached)
    x, weight, style, demodulation, bias = layer(*sizes, dtype)
    found = winograd.convolve(x, winograd.transform_kernel(weight), style, demodulation, bias)
    given = x, weight, style, demodulation, bias
    x, weight, style, demodulation, bias = (value.double() for value in given)
    expected = F.conv2d(x * style[:, None, None], weight, padding=1)
    expected = expected * demodulation[:, None, None] + bias[:, None, None]
    assert found.shape == expected.shape
    assert found.dtype == dtype
    assert (found - expected).abs().max() < limit * expected.abs().max()


def test_small_or_narrow_layers_and_gpus_keep_the_library():
    weight = torch.empty(128, 128, 3, 3)
    assert winograd.pays(weight, 32, 32)
    assert not winograd.pays(weight, 16, 16)
    assert not winograd.pays(weight[:64], 256, 256)
    assert not winograd.pays(weight[:, :64], 256, 256)
    assert not winograd.pays(weight.to("meta"), 256, 256)


def test_wide_generators_use_it_and_draw_the_same(monkeypatch):
    """One layer is wide and large enough; a sample's picture does not depend on the batch."""
    monkeypatch.setattr("fmri_utils.lafite.generator.LARGE_BYTES", 1)
    torch.manual_seed(0)
    network = Generator(WIDE)
    z, condition = torch.randn(8, 16), F.normalize(torch.randn(8, 16), dim=1)
    sizes, original = [], winograd.convolve
    monkeypatch.setattr(
        winograd, "convolve", lambda x, *rest: sizes.append(x.shape[2]) or original(x, *rest)
    )
    with torch.no_grad():
        expected = network(z, condition)
        assert sizes == []
    with torch.inference_mode():
        found = network(z, condition)
        assert sizes == [32] * 8
        alone = torch.cat([network(z[i : i + 1], condition[i : i + 1]) for i in range(8)])
    scale = expected.abs().max()
    assert (found - expected).abs().max() < 1e-5 * scale
    assert (found - alone).abs().max() < 1e-5 * scale
