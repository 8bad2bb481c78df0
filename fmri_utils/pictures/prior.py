"""From the embedding that was predicted to the one that is meant: Bayes' rule over known pictures.

A prediction from noisy betas lies where no picture's embedding lies, and a generator that has seen
embeddings of pictures only draws it badly. Naselaris et al. (2009) reconstruct by weighting a large
bank of pictures that the subject never saw by how well each explains the brain's answer. Here the
answer is the encoder's prediction p. Over training images, each predicted without its fold,

    p = A e + b + noise,    noise ~ N(0, T S),

with e the true embedding. An embedding e_i of the bank then has the weight

    w_i ~ exp(-(p - A e_i - b)' S^-1 (p - A e_i - b) / 2T),

and the generator gets the mean of the bank under these weights, scaled to unit length. All of it is
smooth in p, so that the derivative of a picture runs through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from torch import Tensor, nn

from ..encoders import unit
from ..lafite import Generator, GeneratorConfig, load_generator
from ..project.artifacts import atomic_path
from ..project.checks import check_finite
from ..project.errors import DataError, WeightsError
from ..project.tensors import read_safetensors, write_safetensors

GET_BANK = "Restore the file, or set lafite.bank= (empty: the training images are the bank)."
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
SAME = 1 - 1e-4  # cosine from which an embedding of the bank is the image's own


class EmbeddingPrior(nn.Module):
    """Mean of a bank of embeddings given a prediction, as a differentiable function.

    Parameters
    ----------
    bank : torch.Tensor, (N, C)
        Embeddings of pictures that no test image is among, unit length.
    expected : torch.Tensor, (N, C)
        What the encoder would predict for each, whitened by the noise.
    whitening : torch.Tensor, (C, C)
        Times a prediction.
    """

    def __init__(self, bank: Tensor, expected: Tensor, whitening: Tensor):
        super().__init__()
        for name, values in (("bank", bank), ("expected", expected), ("whitening", whitening)):
            self.register_buffer(name, values)

    def logits(self, predicted: Tensor) -> Tensor:
        """Log weights (B, N), up to a constant of each row, of unit predictions (B, C)."""
        return predicted @ self.whitening @ self.expected.T - self.expected.square().sum(1) / 2

    def forward(self, predicted: Tensor) -> Tensor:
        """Conditions (B, C) of unit length for a generator, of unit predictions (B, C)."""
        weights = torch.softmax(self.logits(predicted), dim=1)
        return nn.functional.normalize(weights @ self.bank, dim=1)

    def condition(self, predicted: np.ndarray) -> np.ndarray:
        """Conditions (n, C), float32, of predictions (n, C) of any length."""
        return self(torch.from_numpy(unit(predicted).astype(np.float32))).numpy()


class GeneratorWithPrior(nn.Module):
    """A generator that takes predictions: the prior, then LAFITE; used like a generator.

    Parameters
    ----------
    generator : Generator
        Of one condition.
    prior : EmbeddingPrior
    """

    def __init__(self, generator: Generator, prior: EmbeddingPrior):
        super().__init__()
        self.generator = generator
        self.prior = prior.to(next(generator.parameters()).device)

    def forward(self, z: Tensor, predicted: Tensor, **options) -> Tensor:
        """Pictures of unit predictions; everything else as :class:`fmri_utils.lafite.Generator`."""
        return self.generator(z, self.prior(predicted), **options)

    @property
    def config(self) -> GeneratorConfig:
        """Of the generator."""
        return self.generator.config

    @property
    def synthesis(self) -> nn.Module:
        """Of the generator."""
        return self.generator.synthesis


def fit_prior(predicted: np.ndarray, true: np.ndarray, bank: np.ndarray) -> EmbeddingPrior:
    """Learn from training images how predictions err, and keep a bank of what may be meant.

    Parameters
    ----------
    predicted : numpy.ndarray, (n, C)
        Training images as predicted without their fold
        (:func:`fmri_utils.encoders.held_out_means`).
    true : numpy.ndarray, (n, C)
        Their embeddings, unit length.
    bank : numpy.ndarray, (N, C)
        Embeddings of pictures, unit length. They may be those of the training images; test images
        must not be among them.

    Returns
    -------
    EmbeddingPrior
        With the one of :data:`TEMPERATURES` whose conditions of the training images are nearest to
        their embeddings; an image's own embedding has no weight there.

    Raises
    ------
    DataError
        If sizes do not fit or a value is NaN or infinite.
    """
    for name, values in (("predicted", predicted), ("true", true), ("bank", bank)):
        check_finite(values, name, ("picture", "dimension"))
    if predicted.shape != true.shape or bank.ndim != 2 or bank.shape[1:] != true.shape[1:]:
        raise DataError(
            f"predicted {predicted.shape}, true {true.shape} and bank {bank.shape} came. Expected: "
            "(n, C), (n, C) and (N, C)."
        )
    x = unit(predicted)
    ridge = RidgeCV(np.logspace(-4, 2, 13))
    noise = x - cross_val_predict(ridge, true, x, cv=5)
    whitening = np.linalg.cholesky(LedoitWolf().fit(noise).precision_)
    expected = ridge.fit(true, x).predict(bank) @ whitening
    own = torch.as_tensor(true @ bank.T > SAME)
    arrays = (bank, expected, whitening, x, true)
    bank, expected, whitening, x, true = (torch.as_tensor(a, dtype=torch.float32) for a in arrays)
    found = {}
    for temperature in TEMPERATURES:
        prior = EmbeddingPrior(bank, expected / temperature**0.5, whitening / temperature**0.5)
        weights = torch.softmax(prior.logits(x).masked_fill(own, -torch.inf), dim=1)
        found[torch.cosine_similarity(weights @ bank, true).mean().item()] = prior
    return found[max(found)]


def save_prior(prior: EmbeddingPrior, path: Path) -> None:
    """Write a prior as safetensors; the file appears whole or not at all."""
    with atomic_path(path) as tmp:
        write_safetensors(tmp, {k: v.contiguous() for k, v in prior.state_dict().items()}, {})


def load_prior(path: Path) -> EmbeddingPrior:
    """Read what :func:`save_prior` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not a prior.
    """
    tensors, _ = read_safetensors(path, what="the prior", remedy="Run `make 03`.")
    try:
        return EmbeddingPrior(**tensors)
    except TypeError as err:
        raise WeightsError(f"{path} is not a prior ({err}). Run `make 03`.") from err


def load_bank(path: Path) -> np.ndarray:
    """A bank of unit embeddings (N, C), float32, from a safetensors file with one tensor."""
    tensors, _ = read_safetensors(path, what="the prior's bank", remedy=GET_BANK)
    if list(tensors) != ["bank"]:
        raise WeightsError(f"{path} holds {sorted(tensors)}. Expected: bank. {GET_BANK}")
    return unit(tensors["bank"].float().numpy())


def open_generator(files: Mapping, *, device: str | torch.device) -> GeneratorWithPrior:
    """The profile's generator behind the prior, from the opened files of a run."""
    generator = load_generator(files["generator"], device=device)
    return GeneratorWithPrior(generator, load_prior(files["prior"])).eval()
