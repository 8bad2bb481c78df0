"""LAFITE's networks and an image encoder, small enough for tests."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from fmri_utils.lafite import DiscriminatorConfig, Generator, GeneratorConfig

SIZES = {"condition_dim": 8, "resolution": 16, "channel_base": 64, "channel_max": 8}
GENERATOR = GeneratorConfig(z_dim=6, w_dim=7, hidden_dim=10, mapping_layers=2, **SIZES)
WIDER = dataclasses.replace(GENERATOR, z_dim=12, w_dim=10)
DISCRIMINATOR = DiscriminatorConfig(**SIZES)


def unit_rows(rng, *shape):
    rows = rng.standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_encoder(size):
    """A fixed random linear map of pictures, averaged to ``size`` pixels, to embeddings (B, 8)."""
    weight = torch.randn(8, 3 * size**2, generator=seeded(1))

    def encode(images):
        small = images if images.shape[-1] == size else F.adaptive_avg_pool2d(images, size)
        return F.normalize(small.flatten(1) @ weight.T, dim=1)

    return encode


def lively(network, seed=0):
    """Move biases and noise strengths off zero, so that every parameter counts."""
    rng = seeded(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return network


def noisy_generator(config):
    """A fresh generator whose noise images count."""
    torch.manual_seed(0)
    network = Generator(config).eval().requires_grad_(False)
    for layer in network.synthesis.convolutions():
        layer.noise_strength.fill_(0.3)
    return network


def drawing_generator():
    """One for embeddings (B, 12), whose pictures lie mostly within [-1, 1]."""
    sizes = {"condition_dim": 12, "channel_base": 128, "channel_max": 16}
    network = noisy_generator(dataclasses.replace(GENERATOR, **sizes))
    for name, layer, *_ in network.synthesis.layers():
        if name.endswith("torgb"):
            layer.weight.mul_(0.6)
    return network


def assert_same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
