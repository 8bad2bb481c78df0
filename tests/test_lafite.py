"""LAFITE's networks: the same function as a literal implementation, and states that are refused."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from lafite_fixture import TINY, TINY_D, lafite_state
from literal_lafite import literal_image
from refusals import refused
from small_lafite import lively

from fmri_utils.lafite import (
    Discriminator,
    Generator,
    discriminator_from_state,
    generator_from_state,
    load_generator,
    save_generator,
)  # fmt: skip
from fmri_utils.lafite.discriminator import minibatch_deviation
from fmri_utils.lafite.training import gan_losses
from fmri_utils.project.errors import WeightsError
from fmri_utils.project.tensors import read_safetensors

CONFIGS = [
    TINY,
    dataclasses.replace(TINY, change=4, hidden_dim=512, mapping_layers=8),
    dataclasses.replace(TINY, change=256, resolution=32, channels=(8, 12, 6, 4), inner_dim=3),
    dataclasses.replace(TINY, change=2, z_dim=9, resolution=8, channel_base=1024),
    dataclasses.replace(TINY, structure_1=("b4.torgb", "b16.conv0"), change=256),
]


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return lively(Generator(TINY))


@pytest.fixture
def inputs():
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(8, 5, generator=rng)
    return z, F.normalize(torch.randn(8, 6, generator=rng), dim=1)


# -- against a literal implementation ------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_generator_is_the_literal_function_with_its_derivatives(config):
    torch.manual_seed(0)
    network = lively(Generator(config)).double()
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    ws = torch.randn(3, config.num_ws, config.w_dim, dtype=torch.float64, requires_grad=True)
    condition = torch.randn(3, config.condition_dim, dtype=torch.float64, requires_grad=True)
    ours = network.synthesis(ws, condition)
    literal = literal_image(state, config.resolution, ws, condition)
    torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-9)
    # First derivatives of everything, and second ones through the path lengths.
    noise = torch.randn_like(ours)
    used = [ws, condition, *network.synthesis.parameters()]
    results = []
    for image in (ours, literal):
        first = torch.autograd.grad((image * noise).sum(), used, retain_graph=True)
        lengths = gan_losses.path_lengths(image, ws, noise).sum()
        second = torch.autograd.grad(lengths, used, allow_unused=True)
        results.append((*first, *(s for s in second if s is not None)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


def test_normalised_features_have_length_one():
    torch.manual_seed(0)
    small = dataclasses.replace(TINY_D, resolution=8, channels=(3, 2), normalize_features=True)
    network = lively(Discriminator(small)).double()
    condition = torch.randn(2, 6, dtype=torch.float64)
    _, features = network(torch.randn(2, 3, 8, 8, dtype=torch.float64), condition)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("noise", ["none", "const", "random", "own"])
@pytest.mark.parametrize("config", CONFIGS[:3], ids=range(3))
def test_inference_gives_the_same_pictures_sample_by_sample(config, noise, tiled, monkeypatch):
    monkeypatch.setattr("fmri_utils.lafite.generator.LARGE_BYTES", 1)
    monkeypatch.setattr("fmri_utils.lafite.winograd.pays", lambda *_: tiled)
    torch.manual_seed(0)
    network = lively(Generator(config)).double()
    z = torch.randn(3, config.z_dim, dtype=torch.float64)
    condition = torch.randn(3, config.condition_dim, dtype=torch.float64)

    def images():
        settings = {"noise_mode": noise, "rng": torch.Generator().manual_seed(1)}
        if noise == "own":
            buffers = network.synthesis.draw_noise(3, torch.Generator().manual_seed(2))
            settings = {"noise": [None, *buffers[1:]]}
        return network(z, condition, **settings)

    with torch.no_grad():
        expected = images()
    with torch.inference_mode():
        found = images()
        assert found.is_inference()
    torch.testing.assert_close(found.clone(), expected, rtol=1e-9, atol=1e-9)


def test_minibatch_deviation_of_strided_groups():
    x = torch.zeros(8, 1, 2, 2)
    x[0::2] = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1)  # group 0 deviates, 1 not
    out = minibatch_deviation(x, 4)[:, 1, 0, 0]
    torch.testing.assert_close(out, torch.tensor([1.0, 1e-4] * 4))
    refused("multiple", minibatch_deviation, torch.zeros(6, 1, 2, 2), 4, error=ValueError)


# -- noise, truncation, scale: torch.func is in test_perturbation_images.py -----------------------


def test_noise_modes(generator, inputs):
    z, condition = inputs
    const = generator(z, condition)
    explicit = [layer.noise_const for layer in generator.synthesis.convolutions()]
    torch.testing.assert_close(generator(z, condition, noise=explicit), const)
    silent = generator(z, condition, "none")
    torch.testing.assert_close(generator(z, condition, noise=[None] * len(explicit)), silent)
    first = generator(z, condition, "random", rng=torch.Generator().manual_seed(4))
    drawn = generator.synthesis.draw_noise(8, torch.Generator().manual_seed(4))
    assert torch.equal(generator(z, condition, noise=drawn), first)
    assert not torch.allclose(const, silent)
    drawn[0].requires_grad_()
    generator(z, condition, noise=drawn).sum().backward()
    assert drawn[0].grad.abs().sum() > 0
    for arguments, message in (
        ({"noise_mode": "loud"}, "expected one of"),
        ({"noise_mode": "random"}, "rng"),
        ({"noise": explicit[1:]}, "one per convolution"),
    ):
        refused(message, generator, z, condition, **arguments, error=ValueError)


def test_truncation_and_the_running_mean(generator, inputs):
    z, _ = inputs
    full = generator.mapping(z)
    generator.mapping.update_average(full[:, 0])
    torch.testing.assert_close(generator.mapping.w_avg, 0.005 * full[:, 0].mean(0))
    half = generator.mapping(z, 0.5)
    torch.testing.assert_close(half, (full + generator.mapping.w_avg) / 2)
    assert full.shape == (8, TINY.num_ws, 7)


def test_fresh_networks_keep_the_signal_at_unit_scale(inputs):
    torch.manual_seed(0)
    config = dataclasses.replace(TINY, resolution=64, channel_base=2048, channel_max=32)
    image = Generator(config)(*inputs)
    assert 0.3 < image.std() < 10
    judge = Discriminator(dataclasses.replace(TINY_D, resolution=64, channel_base=2048))
    logits, features = judge(torch.randn(8, 3, 64, 64), inputs[1])
    assert logits.abs().max() < 30
    assert features.shape == (8, 6)


# -- sizes and states ----------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_sizes_are_inferred_from_tensors(config, inputs):
    torch.manual_seed(0)
    original = lively(Generator(config)).eval()
    state = lafite_state(original)
    assert "synthesis.b8.conv0.resample_filter" in state
    rebuilt = generator_from_state({f"G_ema.{key}": value for key, value in state.items()})
    assert rebuilt.config.block_channels == config.block_channels
    for name, _, _ in original.synthesis.layers():
        assert rebuilt.config.structure(name) == config.structure(name)
    for field in ("z_dim", "w_dim", "condition_dim", "hidden_dim", "inner_dim", "mapping_layers"):
        assert getattr(rebuilt.config, field) == getattr(config, field)
    z = torch.randn(2, config.z_dim)
    assert torch.equal(rebuilt(z, inputs[1][:2]), original(z, inputs[1][:2]))
    assert not any(p.requires_grad for p in rebuilt.parameters())
    # And once more, from the bare state, as arrays.
    again = generator_from_state({k: v.numpy() for k, v in rebuilt.state_dict().items()})
    assert again.config == rebuilt.config


@pytest.mark.parametrize("channels", [None, (6, 5, 4)])
def test_discriminator_sizes_are_inferred(channels, inputs):
    torch.manual_seed(0)
    original = lively(Discriminator(dataclasses.replace(TINY_D, channels=channels)))
    both = {f"D.{key}": value for key, value in lafite_state(original).items()}
    both |= {f"G.{key}": value for key, value in Generator(TINY).state_dict().items()}
    rebuilt = discriminator_from_state(both)
    assert rebuilt.config.block_channels == original.config.block_channels
    image = torch.randn(4, 3, 16, 16)
    for a, b in zip(rebuilt(image, inputs[1][:4]), original(image, inputs[1][:4]), strict=True):
        assert torch.equal(a, b)
    assert generator_from_state(both).config.resolution == 16


def without(part):
    return lambda state: {key: value for key, value in state.items() if part not in key}


def changed(key, change):
    return lambda state: state | {key: change(state.get(key))}


CONST, BIAS = "synthesis.b4.const", "synthesis.b8.conv1.bias"
SPOILED = {
    "missing": (without(BIAS), f"Missing key.*{BIAS}"),
    "missing size": (without("mapping.fc0.weight"), "mapping.fc0.weight is missing"),
    "unexpected": (changed("b7.bias", lambda _: torch.zeros(3)), "Unexpected key.*b7.bias"),
    "shape": (changed(BIAS, lambda x: x[1:]), r"shape torch.Size\(\[7\]\)"),
    "axes": (changed("mapping.fc0.weight", lambda x: x[0]), "expected 2 axes"),
    "nan": (changed(CONST, lambda x: x * float("nan")), "NaN or infinite"),
    "integers": (changed(CONST, lambda x: x.int()), "floating point"),
    "block gap": (without("synthesis.b8."), r"blocks at \[4, 16\]"),
    "odd block": (changed("synthesis.b24.x", lambda _: torch.zeros(1)), "power of two"),
    "filter": (changed("synthesis.b8.resample_filter", lambda x: x.T * 0), "another filter"),
    "mixed prefixes": (changed("G_ema.x", lambda _: torch.zeros(7)), "without the name"),
    "nothing known": (lambda _: {"weight": torch.ones(2)}, "not a LAFITE"),
    "no channels": (changed("synthesis.b16.conv1.weight", lambda x: x[:0]), "channel_base is 0"),
    "empty": (lambda _: {}, "empty"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_malformed_states_give_one_clear_error(case):
    state = lafite_state(Generator(dataclasses.replace(TINY, channels=(12, 8, 4), change=256)))
    change, message = SPOILED[case]
    refused(message, generator_from_state, change(state), error=WeightsError)


def test_the_wrong_network_is_named():
    state = {f"D.{key}": value for key, value in Discriminator(TINY_D).state_dict().items()}
    labelled = state | {"D.mapping.embed.weight": torch.zeros(3, 3)}
    for read, given, message in (
        (generator_from_state, state, r"holds \['D'\]; expected G_ema or G"),
        (discriminator_from_state, labelled, "no class labels"),
        (generator_from_state, [1], "a list"),
    ):
        refused(message, read, given, error=WeightsError)


def test_bad_sizes_are_refused():
    wrong = {"resolution": 48, "z_dim": 0, "channels": (4, 4), "hidden_dim": 1.5}
    for name, value in [*wrong.items(), ("resolution", 4)]:
        refused(r"(?i)expected", dataclasses.replace, TINY, **{name: value}, error=ValueError)


# -- weights files -------------------------------------------------------------------------------


def test_weights_file_round_trip(generator, inputs, tmp_path):
    unclamped = Generator(dataclasses.replace(TINY, clamp=None))
    unclamped.load_state_dict(generator.state_dict())
    path = tmp_path / "generator.safetensors"
    save_generator(path, unclamped, {"data": "made up", "images": 12})
    loaded = load_generator(path)
    assert loaded.config == unclamped.config
    _, about = read_safetensors(path, what="a generator", remedy="")
    assert json.loads(about["card"]) == {"data": "made up", "images": 12}
    assert not loaded.training
    assert loaded.synthesis.b4.const.dtype == torch.float32
    torch.testing.assert_close(loaded(*inputs), generator(*inputs), rtol=0.02, atol=0.02)
    save_generator(tmp_path / "again.safetensors", loaded, {"data": "made up", "images": 12})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_numbers_too_large_for_a_file_are_refused(generator, tmp_path):
    """Other files that are refused: test_malformed_checkpoints.py."""
    with torch.no_grad():
        generator.synthesis.b4.const.fill_(1e6)
    refused("float16", save_generator, tmp_path / "x", generator, {}, error=WeightsError)
