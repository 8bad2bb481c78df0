"""Closed forms against plain recomputation, and planted truths."""

import numpy as np
import pytest
import torch
from refusals import refused

from fmri_utils import perturbation
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.perturbation.picture_effects import PictureEffect
from fmri_utils.project.errors import DataError

N, V, C = 7, 40, 12


@pytest.fixture
def encoder(rng):
    return LinearEncoder(rng.standard_normal((V, C)), rng.standard_normal(C), "ridge")


@pytest.fixture
def betas():
    return np.random.default_rng(1).standard_normal((N, V))


def cosine(a, b):
    return (unit(a) * unit(b)).sum(-1)


def replaced(betas, v, values):
    changed = betas.copy()
    changed[:, v] = values
    return changed


@pytest.mark.parametrize("single", [False, True])  # weights of less precision than the betas
@pytest.mark.parametrize("kind", ["zero", "per_voxel", "per_trial"])
def test_embedding_effect_equals_recomputation(encoder, betas, kind, single):
    values = {
        "zero": np.zeros((N, V)),
        "per_voxel": np.tile(np.linspace(-2, 2, V), (N, 1)),
        "per_trial": np.random.default_rng(2).standard_normal((N, V)),
    }[kind]
    if single:
        weights = (a.astype(np.float32) for a in (encoder.weights, encoder.intercept))
        encoder = LinearEncoder(*weights, "ridge")
    effect = perturbation.embedding_effect(encoder, betas, replacement=values)
    before = encoder.predict(betas)
    for v in range(V):
        after = encoder.predict(replaced(betas, v, values[:, v]))
        np.testing.assert_allclose(effect[:, v], 1 - cosine(before, after), atol=1e-12, rtol=0)


def test_embedding_effect_keeps_its_digits_for_tiny_perturbations(encoder, betas):
    # 1 - cos computed naively is rounding noise here; the effect is quadratic in the step.
    small = perturbation.embedding_effect(encoder, betas, replacement=betas + 1e-7)
    large = perturbation.embedding_effect(encoder, betas, replacement=betas + 1e-3)
    np.testing.assert_allclose(small * 1e8, large, rtol=1e-2)


def test_concept_shift_and_contribution_equal_recomputation(encoder, betas, monkeypatch):
    monkeypatch.setattr("fmri_utils.perturbation.concepts.BATCH", 3)
    rng = np.random.default_rng(3)
    directions, truth = unit(rng.standard_normal((5, C))), unit(rng.standard_normal((N, C)))
    shift = perturbation.concept_shift(encoder, betas, directions, replacement=betas + 1.5)
    gain = perturbation.contribution(encoder, betas, truth)
    before = encoder.predict(betas)
    for v in range(V):
        raised = encoder.predict(replaced(betas, v, betas[:, v] + 1.5))
        for d, direction in enumerate(directions):
            expected = (cosine(raised, direction) - cosine(before, direction)).mean()
            np.testing.assert_allclose(shift[v, d], expected, atol=1e-12)
        without = encoder.predict(replaced(betas, v, 0))
        expected = cosine(before, truth) - cosine(without, truth)
        np.testing.assert_allclose(gain[:, v], expected, atol=1e-12)
    area = {"one voxel": np.arange(V) == 4}
    stimulated = perturbation.area_shifts(encoder, betas, area, directions, k=1.5)
    np.testing.assert_allclose(stimulated.mean(1)[0], shift[4], atol=1e-12)


def test_a_forward_model_finds_what_decoder_weights_miss(rng):
    # Voxel 0 carries the signal plus noise, voxel 1 only that noise: a decoder subtracts voxel 1
    # (a large weight), though it carries nothing about the signal.
    signal, noise = rng.standard_normal((2, 5000))
    betas = np.stack([signal + noise, noise, np.zeros(5000)], axis=1)
    target = np.stack([signal, -signal], axis=1)
    weights = np.linalg.lstsq(betas, target, rcond=None)[0]
    assert abs(weights[1, 0]) > 0.9
    found = perturbation.forward_model(betas, target, np.arange(5000) // 2)
    assert found[0] > 0.65
    assert abs(found[1]) < 0.05
    assert found[2] == 0  # a constant voxel
    pattern = perturbation.haufe_pattern(betas, betas @ weights)
    assert pattern[0] == pytest.approx(0.5**0.5, abs=0.03)  # the output is the signal alone
    assert pattern[1] < 0.05
    # With noise that the decoder leaves in, the pattern of the empty voxel is not small.
    assert perturbation.haufe_pattern(betas, betas @ [[1.0], [0], [0]])[1] > 0.65


def test_a_forward_model_is_not_larger_for_more_dimensions(rng):
    betas, target = rng.standard_normal((300, 200)), rng.standard_normal((300, 60))
    found = perturbation.forward_model(betas, target, np.arange(300))
    assert abs(found.mean()) < 0.02  # in the sample itself about (60 / 300) ** 0.5 = 0.45
    assert perturbation.haufe_pattern(betas, target).mean() > 0.4


def fake_generator(z, condition, fresh_noise):
    """A linear picture of the condition, plus the noise vector's own pattern."""
    rng = np.random.default_rng(5)
    from_condition = rng.standard_normal((C, 8 * 8 * 3))
    from_z = rng.standard_normal((4, 8 * 8 * 3))
    flat = condition.numpy() @ from_condition + z.numpy() @ from_z
    return 0.5 + 0.1 * flat.reshape(-1, 8, 8, 3)


def test_picture_effect_changes_the_voxel_or_the_noise_but_not_both(encoder, betas):
    z, other = torch.zeros(1, 4), torch.ones(3, 4)
    voxels = np.array([2, 5])
    noise = {"z": z, "other_z": other}
    effect = perturbation.picture_effect(fake_generator, encoder, betas[0], voxels, **noise)

    def condition(x):
        return torch.from_numpy(unit(encoder.predict(x[None])).astype(np.float32))

    expected = fake_generator(z, condition(betas[0]), False)[0]
    np.testing.assert_allclose(effect.baseline, expected, atol=1e-6)
    for k, v in enumerate(voxels):
        expected = fake_generator(z, condition(replaced(betas[:1], v, 0)[0]), False)[0]
        np.testing.assert_allclose(effect.perturbed[k], expected, atol=1e-6)
    expected = fake_generator(other[:1], condition(betas[0]), True)[0]
    np.testing.assert_allclose(effect.noise[0], expected, atol=1e-6)
    assert effect.rms().shape == (2,)
    assert (effect.noise_rms() > 0).all()
    assert 0 < effect.floor < 1e-6  # the rounding of float32


def test_one_voxel_each_equals_single_images(encoder, betas):
    given, voxels = (fake_generator, encoder), np.array([3, 1, 4, 1, 5, 9, 2])
    noise = {"z": torch.zeros(1, 4), "other_z": torch.ones(1, 4)}
    both = perturbation.voxel_against_noise(*given, betas, voxels, **noise, batch_size=3)
    for i, (voxel_rms, noise_rms) in enumerate(zip(*both, strict=True)):
        one = perturbation.picture_effect(*given, betas[i], voxels[i : i + 1], **noise)
        np.testing.assert_allclose(voxel_rms, one.rms()[0], rtol=1e-4)
        np.testing.assert_allclose(noise_rms, one.noise_rms()[0], rtol=1e-4)


def test_effects_below_the_rounding_floor_are_zero():
    baseline = np.zeros((4, 4, 3))
    changed = np.stack([baseline + 1e-8, baseline + 1e-2])
    effect = PictureEffect(baseline, changed, baseline[None] + 1, floor=1e-7)
    np.testing.assert_allclose(effect.rms(), [0, 1e-2])


def test_wrong_shapes_are_refused(encoder, betas):
    refused(r"Expected: \(n, 40\)", perturbation.embedding_effect, encoder, betas[:, :-1])
    with pytest.raises(DataError, match="replacement has shape"):
        perturbation.embedding_effect(encoder, betas, replacement=np.zeros(3))
