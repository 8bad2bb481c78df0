"""Fine-tuning on predicted embeddings: held out, mixed as asked, two conditions, resumable."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from small_lafite import GENERATOR, assert_same_weights, linear_encoder, unit_rows

from fmri_utils import encoders
from fmri_utils.lafite import (
    Generator,
    TrainingData,
    generator_from_state,
    load_generator,
    save_generator,
)
from fmri_utils.lafite.training.data import Batches
from fmri_utils.lafite.training.steps import TrainingState
from fmri_utils.pictures.finetuning import (
    OPTIONS,
    FineTuning,
    adapted_config,
    fine_tune,
    fine_tuning_config,
    predict_held_out,
    with_second_branch,
)
from fmri_utils.project.errors import DataError, WeightsError

TWO = dataclasses.replace(GENERATOR, n_conditions=2)
BASE = fine_tuning_config(GENERATOR, n_images=24, rest_images=8, clip_size=12)
BASE = dataclasses.replace(BASE, batch_size=4, checkpoint_images=4, log_images=4)
N = 10


@pytest.fixture(scope="module")
def encoder():
    return linear_encoder(12)


@pytest.fixture
def data(rng):
    images = rng.integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
    return images, unit_rows(rng, N, 8), unit_rows(rng, N, 2, 8), unit_rows(rng, N, 1, 8)


@pytest.fixture
def start():
    torch.manual_seed(0)
    return Generator(GENERATOR)


@pytest.fixture
def tune(data, start, encoder):
    images, embeddings, given, captions = data

    def tune(config=BASE, option=FineTuning(), predicted=given, encoder=encoder, **more):  # noqa: B008
        arguments = (start, images, embeddings, predicted, encoder)
        return fine_tune(*arguments, config=config, option=option, **{"captions": captions} | more)

    return tune


def beside(one, other):
    """Predictions of images and of captions, as two conditions."""
    return np.concatenate([one, other], 2)


# -- held-out predictions ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brain():
    rng = np.random.default_rng(1)
    groups = rng.permutation(np.repeat(np.arange(100, 140), 3))[:-5]
    embedding = unit_rows(rng, 40, 6)[groups - 100]
    betas = embedding @ rng.standard_normal((6, 30)) + 0.6 * rng.standard_normal((115, 30))
    return betas, embedding, groups


def test_no_image_is_predicted_by_a_model_that_saw_it(brain):
    """An image whose embedding is noise: predicted well only by a model that was fitted to it."""
    betas, embedding, groups = brain
    alphas = np.full(6, 1e-3)
    held = predict_held_out(betas, embedding, groups, alphas=alphas, n_folds=5)
    assert held.ids.tolist() == np.unique(groups).tolist()
    assert held.predicted.shape == (len(held.ids), 1, 6)
    assert held.cosine.mean() > 0.7  # there is something to predict
    noise = unit_rows(np.random.default_rng(2), 40, 6)[groups - 100]
    wide = np.random.default_rng(3).standard_normal((115, 300))  # more voxels than trials
    wide = wide + 3 * np.random.default_rng(4).standard_normal((40, 300))[groups - 100]
    leaky = encoders.refit_ridge(wide, noise, alphas=alphas).predict(wide)
    assert (encoders.unit(leaky) * noise).sum(1).mean() > 0.9
    held = predict_held_out(wide, noise, groups, alphas=alphas, n_folds=5)
    assert abs(held.cosine.mean()) < 0.2


def test_held_out_predictions_are_like_those_of_the_matched_encoder(brain):
    betas, embedding, groups = brain
    settings = {"alphas": np.full(6, 5.0), "n_folds": 5}
    ridge = encoders.refit_ridge(betas, embedding, alphas=settings["alphas"])
    _, scale = encoders.match_spread(ridge, betas, embedding, groups, **settings)
    held = predict_held_out(betas, embedding, groups, **settings)
    assert held.scale == pytest.approx(scale)
    np.testing.assert_allclose(np.linalg.norm(held.predicted, axis=2), 1, rtol=1e-5)
    # By hand, of an image with three repeats.
    single = encoders.ridge.out_of_fold(betas, embedding, groups, **settings)
    image = np.flatnonzero(np.bincount(groups - 100) == 3)[4]
    trials = np.flatnonzero(groups - 100 == image)
    expected = single[trials].mean(0) * scale + (1 - scale) * embedding.mean(0)
    np.testing.assert_allclose(held.predicted[image, 0], encoders.unit(expected), rtol=1e-4)


# -- two conditions ------------------------------------------------------------------------------


def test_two_conditions_by_definition(start):
    state = with_second_branch(start.state_dict())
    rng = torch.Generator().manual_seed(0)
    for key in [k for k in state if "second" in k]:
        state[key] = state[key] + torch.randn(state[key].shape, generator=rng) * 30
    network = generator_from_state(state)
    base = network.config.channel_base
    assert network.config == dataclasses.replace(TWO, change=16, channel_base=base)
    condition = F.normalize(torch.randn(3, 2, 8, generator=rng), dim=2).flatten(1)
    w = torch.randn(3, 7, generator=rng)
    layer = network.synthesis.b8.conv0

    def dense(name, x):
        out = F.linear(x, layer.state_dict()[f"{name}.weight"] * 0.01 / np.sqrt(x.shape[1]))
        return F.leaky_relu(out + 0.01 * layer.state_dict()[f"{name}.bias"], 0.2) * np.sqrt(2)

    first = dense("pre_1", dense("pre_0", condition[:, :8]))
    second = dense("second_1", dense("second_0", condition[:, 8:]))
    assert ((first > second).any(), (second > first).any()) == (True, True)
    style = layer.affine_0(torch.cat([torch.maximum(first, second), w], 1))
    torch.testing.assert_close(layer.style(w, condition), style)


def test_a_copied_branch_changes_nothing_and_survives_a_file(start, tmp_path):
    network = Generator(TWO)
    network.load_state_dict(with_second_branch(start.state_dict()))
    z, condition = torch.randn(2, 6), F.normalize(torch.randn(2, 8), dim=1)
    twice = network(z, condition.repeat(1, 2))
    torch.testing.assert_close(twice, start(z, condition))
    save_generator(tmp_path / "two.safetensors", network, {})
    again = load_generator(tmp_path / "two.safetensors")
    assert again.config == TWO
    torch.testing.assert_close(again(z, condition.repeat(1, 2)), twice, rtol=0.05, atol=0.05)


def test_two_conditions_need_structure_2_and_captions(data, tune):
    for change in ({"change": 8}, {"structure_1": ("b4.conv1",)}):
        refused("structure 2", dataclasses.replace, TWO, error=ValueError, **change)
    option = FineTuning(two_conditions=True)
    refused("no captions", tune, option=option, predicted=beside(data[2], data[2]), captions=None)
    refused(r"K, 16\)", tune, option=option)


# -- what the networks are conditioned on --------------------------------------------------------


def batch_of(config, data):
    images, embeddings, predicted, captions = data
    if config.generator.n_conditions == 2:
        predicted = beside(predicted, -predicted)
    given = TrainingData(images, embeddings, captions=captions, predicted=predicted)
    drawn = Batches(config, given)
    state = TrainingState(config, None, None, torch.device("cpu"))
    return drawn, state, drawn.batch(0, state.rng)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_asked_share_is_conditioned_on_the_brain(data, share):
    config = dataclasses.replace(BASE, batch_size=8, predicted_share=share, noise_level=0.0)
    drawn, state, batch = batch_of(config, data)
    index = drawn._indices(0, 8).tolist()
    count = 0
    for _ in range(40):
        condition = state.conditions(batch, 6)
        brain = (condition == batch.predicted).all(dim=1)
        own = torch.isclose(condition, batch.embeddings).all(dim=1)
        assert (brain | own).all()
        count += brain.sum().item()
    assert count / 320 == pytest.approx(share, abs=0.1)
    for row, i in zip(batch.predicted, index, strict=True):
        assert any(np.array_equal(row, variant) for variant in data[2][i])


def test_two_conditions_only_the_first_of_which_is_judged_and_zero_z(data, encoder):
    config = adapted_config(BASE, FineTuning(predicted_share=0.5, two_conditions=True))
    config = dataclasses.replace(config, noise_level=0.0, zero_z=True)
    _, state, batch = batch_of(config, data)
    condition = state.conditions(batch, 4)
    own = torch.cat([batch.embeddings, batch.captions], 1)
    assert ((condition == batch.predicted).all(1) | torch.isclose(condition, own).all(1)).all()
    ws = state.latents(3, torch.arange(3))
    torch.testing.assert_close(ws, state.generator.mapping(torch.zeros(3, 6)))
    judged = []
    state.discriminator.register_forward_pre_hook(lambda _, given: judged.append(given[1].shape))
    state.image_encoder = encoder
    state.images = 8
    state.train_step(batch)
    assert set(judged) == {(4, 8)} and len(judged) >= 4


def test_a_fresh_discriminator_learns_alone_first(start, tune):
    result = tune(dataclasses.replace(BASE, n_images=12, rest_images=8))
    rows = [set(row) for row in result.history]
    assert "d_adversarial" in rows[0] & rows[1]
    assert not {"adversarial", "reconstruction"} & (rows[0] | rows[1])
    assert {"adversarial", "reconstruction", "iic"} <= rows[2]
    before = dict(start.named_parameters())
    result = tune(dataclasses.replace(BASE, n_images=8, rest_images=8))
    for name, value in result.raw_generator.named_parameters():
        assert torch.equal(value, before[name]), name


def test_impossible_settings_are_refused(data, tune):
    for changes, message in (
        ({"mirror": True, "predicted_share": 0.5}, "nobody saw"),
        ({"warmup_images": 4}, "neither network"),
        ({"generator": TWO, "caption_probability": 0.1}, "second one already"),
    ):
        refused(message, dataclasses.replace, BASE, error=ValueError, **changes)
    refused("norms", tune, predicted=2 * data[2])
    with pytest.raises(DataError, match="no predicted embeddings"):
        Batches(dataclasses.replace(BASE, predicted_share=0.5), TrainingData(*data[:2]))


# -- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_trains(data, tune, name):
    option, predicted = OPTIONS[name], data[2]
    if option.two_conditions:
        predicted = beside(predicted, predicted)
    result = tune(dataclasses.replace(BASE, n_images=16, rest_images=4), option, predicted)
    assert result.images == (12 if option.reconstruction_only else 16)
    assert result.generator.config.n_conditions == 1 + option.two_conditions
    assert ("adversarial" in result.history[-1]) != option.reconstruction_only


def test_fine_tuning_learns_what_predictions_mean(encoder):
    """Predictions that are systematically turned: a generator has to learn to undo it."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)
    images = np.broadcast_to(colours[:, None, None], (4, 16, 16, 3)).copy()
    own = np.eye(8, dtype=np.float32)[:4]
    settings = {"n_images": 320, "rest_images": 0, "clip_size": 12, "learning_rate": 0.01}
    config = fine_tuning_config(GENERATOR, **settings)
    config = dataclasses.replace(config, batch_size=4, perceptual_weight=0.0)
    torch.manual_seed(0)
    true = FineTuning(predicted_share=0.0, reconstruction_only=True)
    turned = np.roll(own, 1, axis=0)[:, None]
    arrays = (images, own, turned, encoder)
    before = fine_tune(Generator(GENERATOR), *arrays, config=config, option=true).generator
    option = FineTuning(reconstruction_only=True)
    after = fine_tune(before, *arrays, config=config, option=option).generator

    def nearest(network, condition):
        with torch.no_grad():
            drawn = network(torch.zeros(4, 6), torch.tensor(condition)).mean(dim=(2, 3))
        return torch.cdist(drawn, torch.tensor(colours / 127.5 - 1).float()).argmin(1).tolist()

    assert nearest(before, own) == [0, 1, 2, 3]
    assert nearest(before, turned[:, 0]) == [3, 0, 1, 2]
    assert nearest(after, turned[:, 0]) == [0, 1, 2, 3]


def test_fine_tuning_goes_on_but_only_from_its_own_weights_and_data(data, start, tune, tmp_path):
    whole = tune()
    assert tune(out_dir=tmp_path, max_seconds=0).images < whole.images
    assert_same_weights(tune(out_dir=tmp_path).generator, whole.generator)
    changed = r"data\. data: \S+ then, \S+ now\. Use"
    refused(changed, tune, predicted=-data[2], error=WeightsError, out_dir=tmp_path)
    next(start.parameters()).data += 0.1
    refused("began with other weights", tune, error=WeightsError, out_dir=tmp_path)
