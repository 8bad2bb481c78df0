"""The prior between encoder and generator: Bayes' rule over a bank of embeddings."""

import copy

import numpy as np
import pytest
import torch
from refusals import refused

from fmri_utils.encoders import unit
from fmri_utils.lafite import Generator, GeneratorConfig
from fmri_utils.perturbation.jacobian import picture_function, picture_jacobian
from fmri_utils.pictures import reconstruction
from fmri_utils.pictures.prior import (
    EmbeddingPrior,
    GeneratorWithPrior,
    fit_prior,
    load_bank,
    load_prior,
    save_prior,
)
from fmri_utils.project.errors import WeightsError
from fmri_utils.project.tensors import write_safetensors

C = 8
rng = np.random.default_rng(0)
KINDS = unit(rng.normal(size=(6, C)))  # pictures come in kinds
MAP = np.diag(np.r_[np.ones(4), np.full(C - 4, 0.1)])  # the brain hardly tells half of them


def pictures(n):
    return unit(KINDS[rng.integers(6, size=n)] + 0.1 * rng.normal(size=(n, C)))


def predicted_from(true, noise=0.2):
    return true @ MAP + noise * rng.normal(size=true.shape) + 0.3


TRUE, BANK, TEST = pictures(300), pictures(2000), pictures(100)
PRIOR = fit_prior(predicted_from(TRUE), TRUE, BANK)


def cosine(a, b):
    return (unit(a) * b).sum(1).mean()


def test_it_brings_predictions_nearer_to_what_is_meant_and_adds_nothing_without_a_brain():
    read = predicted_from(TEST)
    assert cosine(PRIOR.condition(read), TEST) > cosine(read, TEST) + 0.1
    blind = fit_prior(rng.normal(size=TRUE.shape), TRUE, BANK)
    flat = blind.condition(rng.normal(size=TEST.shape))
    assert (flat @ unit(BANK.mean(0))).min() > 0.9


def test_weights_are_those_of_the_formula():
    p = torch.from_numpy(unit(predicted_from(TEST[:5])).astype(np.float32))
    residual = p @ PRIOR.whitening
    distance = ((residual[:, None] - PRIOR.expected[None]) ** 2).sum(2) / 2
    weights = torch.softmax(-distance, dim=1)
    expected = torch.nn.functional.normalize(weights @ PRIOR.bank, dim=1)
    torch.testing.assert_close(PRIOR(p), expected, atol=1e-5, rtol=1e-4)


def test_an_embedding_of_the_bank_does_not_vouch_for_itself():
    scrambled = rng.normal(size=TRUE.shape)  # nothing to learn: the broadest prior is the best
    broad = fit_prior(scrambled, TRUE, TRUE)
    weights = torch.softmax(broad.logits(torch.from_numpy(unit(scrambled)).float()), dim=1)
    assert weights.max() < 0.1


def test_the_picture_is_differentiable_through_it():
    config = dict(z_dim=4, w_dim=8, condition_dim=C, hidden_dim=8, inner_dim=8, resolution=8)
    generator = Generator(GeneratorConfig(**config, channel_base=64, channel_max=8)).eval()
    both = GeneratorWithPrior(generator, PRIOR)
    z, read = reconstruction.draw_z(both, 3, 0), unit(predicted_from(TEST[:3])).astype(np.float32)
    drawn = reconstruction.draw(both, z, read)
    alone = reconstruction.draw(generator, z, PRIOR.condition(read))
    np.testing.assert_allclose(drawn, alone, atol=1e-6)
    assert both.synthesis is generator.synthesis
    both = copy.deepcopy(both).double()
    draw = picture_function(both, z[:1].double())
    where = torch.from_numpy(read[0]).double()
    jacobian = picture_jacobian(draw, where)
    step = 1e-6 * torch.eye(C, dtype=torch.float64)
    measured = (draw(where + step) - draw(where - step)) / 2e-6
    torch.testing.assert_close(jacobian, measured, atol=1e-5, rtol=1e-3)


def test_files(tmp_path):
    save_prior(PRIOR, tmp_path / "prior.safetensors")
    again = load_prior(tmp_path / "prior.safetensors")
    assert np.array_equal(again.condition(TEST), PRIOR.condition(TEST))
    write_safetensors(tmp_path / "bank.safetensors", {"bank": torch.tensor(BANK).half()})
    assert cosine(load_bank(tmp_path / "bank.safetensors"), BANK) == pytest.approx(1, abs=1e-5)
    for load, name in ((load_prior, "bank"), (load_bank, "prior")):
        refused(f"{name}.safetensors", load, tmp_path / f"{name}.safetensors", error=WeightsError)


def test_what_does_not_fit_is_refused():
    assert isinstance(PRIOR, EmbeddingPrior)
    refused("Expected: \\(n, C\\)", fit_prior, TRUE[:, :3], TRUE, BANK)
    refused("bank", fit_prior, TRUE, TRUE, np.where(BANK > 0.9, np.nan, BANK))
