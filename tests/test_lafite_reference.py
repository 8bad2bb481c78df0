"""Agreement with what the original LAFITE computes; see tests/data/README.md."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fmri_utils.lafite import (
    Generator,
    GeneratorConfig,
    discriminator_from_state,
    generator_from_state,
)  # fmt: skip
from fmri_utils.lafite.training import gan_losses

PART = Path(__file__).parent / "data" / "lafite_res32.npz"
WHOLE = os.environ.get("LAFITE_REFERENCE")
TOLERANCE = 1e-4


def close(actual, expected, tolerance=TOLERANCE):
    """Largest difference, relative to the largest expected value."""
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
    assert error < tolerance, f"relative error {error:.2e}"


@pytest.fixture(scope="module")
def part():
    arrays = np.load(PART)
    groups = {"weights": {}, "io": {}}
    for key in arrays.files:
        group, name = key.split("/", 1)
        groups[group][name] = torch.from_numpy(arrays[key])
    return groups["weights"], groups["io"]


@pytest.fixture(scope="module")
def generator(part):
    """The reference generator; condition layers that the file leaves out are random."""
    sizes = dict.fromkeys(("z_dim", "w_dim", "condition_dim", "resolution", "channel_max"), 32)
    config = GeneratorConfig(**sizes, channel_base=512, mapping_layers=4)
    state = {f"G_ema.{key}": value for key, value in Generator(config).state_dict().items()}
    return generator_from_state(state | part[0])


@pytest.fixture(scope="module")
def discriminator(part):
    return discriminator_from_state(part[0])


def test_mapping_and_truncation(generator, part):
    close(generator.mapping(part[1]["z"]), part[1]["ws"])
    close(generator.mapping(part[1]["z"], 0.7), part[1]["ws_psi0.7"])


def test_style_of_the_layer_that_is_complete(generator, part):
    _, io = part
    styles = generator.synthesis.styles(io["ws"], io["fts"])
    close(styles[0], io["style_00"])
    assert [s.shape for s in styles] == [io[f"style_{i:02d}"].shape for i in range(11)]


@pytest.mark.parametrize("mode", ["const", "none"])
def test_image_from_styles(generator, part, mode):
    _, io = part
    styles = [io[f"style_{i:02d}"] for i in range(11)]
    noise = generator.synthesis.noise_images(mode, 4)
    close(generator.synthesis.render(styles, noise), io[f"img_noise_{mode}"])


def test_discriminator_alone_and_in_a_batch(discriminator, part):
    _, io = part
    images, conditions = io["img_noise_const"], io["fts"]
    single = [discriminator(images[i : i + 1], conditions[i : i + 1]) for i in range(4)]
    close(torch.cat([logit for logit, _ in single]), io["d_logits_single"])
    close(torch.cat([features for _, features in single]), io["d_fts_single"])
    logits, features = discriminator(images, conditions, batch_summed=True)
    close(logits, io["d_logits_batch_summed"])
    close(features, io["d_fts"])


def test_per_sample_logits_differ_from_the_published_sum(discriminator, part):
    _, io = part
    images, conditions = io["img_noise_const"], io["fts"]
    right, features = discriminator(images, conditions)
    published, _ = discriminator(images, conditions, batch_summed=True)
    own = (features * conditions).sum(dim=1, keepdim=True)
    close(published - right, own.sum() - own, 1e-3)


def test_r1(discriminator, part):
    _, io = part
    penalties = []
    for i in range(4):
        image = io["img_noise_const"][i : i + 1].clone().requires_grad_()
        logits, _ = discriminator(image, io["fts"][i : i + 1])
        penalties.append(gan_losses.r1_penalty(logits, image))
    close(torch.cat(penalties).detach(), io["r1_penalty_single"])


@pytest.mark.parametrize("temperature", [0.5, 0.1])
@pytest.mark.parametrize("form", ["published", "infonce"])
def test_contrastive_forms(part, form, temperature):
    _, io = part
    score = gan_losses.contrastive_score(
        io["con_a"], io["con_b"], temperature=temperature, lam=0.5, published=form == "published"
    )
    close(score, io[f"con_{form}_lam0.5_temp{temperature}"])


@pytest.fixture(scope="module")
def whole():
    if WHOLE is None:
        pytest.skip("LAFITE_REFERENCE is not set")
    weights, io = np.load(Path(WHOLE) / "weights.npz"), np.load(Path(WHOLE) / "io.npz")
    return dict(weights), {key: torch.from_numpy(io[key]) for key in io.files}


def test_whole_generator(whole):
    weights, io = whole
    generator = generator_from_state(weights)
    for mode in ("const", "none"):
        close(generator(io["z"], io["fts"], mode), io[f"img_noise_{mode}"])
    for i, style in enumerate(generator.synthesis.styles(io["ws"], io["fts"])):
        close(style, io[f"style_{i:02d}"])


def test_whole_generator_gradients_and_path_lengths(whole):
    """In double precision: one unit of sample 0 lies within 1e-7 of the leaky ReLU's kink, so in
    float32 its side, and 1e-3 of the gradient, hang on the order of additions."""
    weights, io = whole
    io = {key: value.double() for key, value in io.items()}
    generator = generator_from_state(weights).double()
    z, fts = io["z"].requires_grad_(), io["fts"].requires_grad_()
    image = generator(z, fts)
    grad_z, grad_fts = torch.autograd.grad((image * io["probe"]).sum(), (z, fts))
    close(grad_z, io["grad_z"])
    close(grad_fts, io["grad_fts"])
    ws = io["ws"].clone().requires_grad_()
    lengths = gan_losses.path_lengths(generator.synthesis(ws, fts.detach()), ws, io["pl_noise"])
    close(lengths.detach(), io["pl_lengths"])
