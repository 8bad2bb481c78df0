"""Training of the demo generator: its loss, its noise vectors, resuming to the same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import refused
from scipy.stats import kstest, spearmanr
from small_lafite import assert_same_weights

from fmri_utils.lafite import Observers, TrainingData
from fmri_utils.lafite.training.gan_losses import reconstruction_loss
from simulated_nsd import scenes
from simulated_nsd.training import demo_generator, noise_vectors

N = 1500


@pytest.fixture(scope="module")
def facts():
    return noise_vectors.SceneFacts.of(scenes.sample_scenes(1, 5, N))


@pytest.fixture(scope="module")
def embeddings(facts):
    """Unit vectors that tell where the horizon is and whether there is a sun, and nothing else."""
    rng = np.random.default_rng(0)
    told = np.stack([facts.numbers["horizon"], facts.choices["sun"]], axis=1)
    told = (told - told.mean(axis=0)) / told.std(axis=0)
    values = np.concatenate([told, rng.standard_normal((N, 6))], axis=1)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def noise(embeddings, facts):
    model = noise_vectors.fit_predictor(embeddings, facts, n_epochs=12, batch_size=100)
    return noise_vectors.noise_of(model, embeddings, facts, 64)


def column(facts, name):
    return [*facts.numbers, *facts.choices].index(name)


def test_early_maps_are_those_of_clip(space):
    images = torch.rand(2, 3, 64, 64)
    maps = demo_generator.EarlyMaps(space)(2 * images - 1)
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 16), (8, 8), (4, 4)]
    seen = []
    hook = space.model.visual.layer3.register_forward_hook(lambda _m, _i, out: seen.append(out))
    space.embed(images)
    hook.remove()
    torch.testing.assert_close(maps[2], torch.nn.functional.normalize(seen[0], dim=1))


def test_redrawing_is_best_for_the_original_itself(space):
    distance = demo_generator.EarlyMaps(space).distance
    real = torch.rand(2, 3, 32, 32) * 2 - 1
    config = demo_generator.TRAINING
    weights = {"perceptual_weight": config.perceptual_weight, "perceptual": distance}
    weights |= {"scales": config.reconstruction_scales, "outline_weight": config.outline_weight}

    def loss(fake):
        return reconstruction_loss(fake, real, **weights)

    assert loss(real) == pytest.approx(0, abs=1e-5)
    assert loss(real.flip(0)) > 0.25
    soft = torch.nn.functional.avg_pool2d(real, 3, 1, 1)
    dark = real - (soft - real).abs().mean()  # as far from the original, but with its outlines
    assert loss(dark) < loss(soft)


def test_every_column_of_the_noise_is_standard_normal(noise):
    assert noise.shape == (N, 64)
    for k in range(64):
        assert kstest(noise[:, k], "norm").pvalue > 1e-4, f"column {k}"


def test_noise_says_what_the_embedding_leaves_open(noise, facts):
    assert spearmanr(noise[:, column(facts, "x")], facts.numbers["x"])[0] > 0.9
    flipped = facts.choices["flip"] == 1
    right = (noise[:, column(facts, "flip")] > 0) == flipped
    assert right.mean() > 0.9


def test_noise_is_silent_about_what_the_embedding_says(noise, facts):
    horizon = noise[:, column(facts, "horizon")]
    told = np.abs(spearmanr(horizon, facts.numbers["horizon"])[0])
    assert told < abs(spearmanr(noise[:, column(facts, "x")], facts.numbers["x"])[0]) - 0.3


def test_facts_that_do_not_fit_are_refused(embeddings, facts):
    model = noise_vectors.FactPredictor(embeddings.shape[1], facts)
    refused("at least", noise_vectors.noise_of, model, embeddings, facts, 8)


def test_the_demo_generator_begins_with_a_whitened_condition_and_goes_on(space, tmp_path, rng):
    images = rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    embeddings = rng.standard_normal((8, 128)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    noise = rng.standard_normal((8, 64)).astype(np.float32)
    data = TrainingData(images, embeddings, noise_vectors=noise)
    config = replace(
        demo_generator.TRAINING, batch_size=4, n_images=8, warmup_images=4, checkpoint_images=4
    )

    def run(folder, **more):
        return demo_generator.train_to_draw(data, space, folder, config=config, **more)

    def stop(images, terms):
        seen.append(set(terms))
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", observers=Observers(on_step=stop))
    assert seen == [{"reconstruction"}]
    resumed = run(tmp_path / "stopped")
    assert {"adversarial", "d_adversarial"} <= resumed.history[-1].keys()
    torch.manual_seed(2)  # the global random state has no say
    assert_same_weights(run(tmp_path / "whole").generator, resumed.generator)
