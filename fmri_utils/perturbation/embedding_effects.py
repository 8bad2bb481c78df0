"""Embedding effects of all voxels, and what else a voxel can be asked.

Three different questions. *Effect*: how far does the predicted embedding turn without the voxel?
*Contribution*: does the prediction come closer to the truth with it? *Encoding pattern*: does the
voxel carry anything about the image, whatever the decoder does with it?
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders import LinearEncoder, unit
from ..encoders.common import REMEDY
from ..project.checks import check_finite
from ..project.errors import DataError
from .change import EmbeddingChange, check_replacement


def embedding_effect(
    encoder: LinearEncoder, betas: np.ndarray, *, replacement: np.ndarray | float = 0.0
) -> np.ndarray:
    """Embedding effect of every voxel on every trial, in closed form.

    With d = replacement - x_v and the predicted embedding f, replacing voxel v gives f + d W_v, so

        cos(f, f + d W_v) = (f.f + d f.W_v) / (|f| sqrt(f.f + 2 d f.W_v + d^2 W_v.W_v)),

    which needs only f.f, the matrix f W' and the norms of W's rows.

    Parameters
    ----------
    encoder : LinearEncoder
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored, so that 0 is a voxel's mean.
    replacement : float or numpy.ndarray
        What a voxel's value is replaced by: 0 (its mean), or an array of values, per voxel or of
        the shape of ``betas``; see :mod:`fmri_utils.perturbation.replacement`.

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels)
        1 - cosine between the embeddings before and after; 0 is no effect.
    """
    return EmbeddingChange.by_value(encoder, betas, replacement).effect()


def signed_shift(
    encoder: LinearEncoder,
    betas: np.ndarray,
    directions: np.ndarray,
    *,
    replacement: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Shift of the cosine with given directions (captions, say) when a voxel is replaced.

    Parameters
    ----------
    directions : numpy.ndarray, (n_directions, C)
        Unit length.

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels, n_directions)
        cos(after, direction) - cos(before, direction). For a whole vocabulary take
        :func:`fmri_utils.perturbation.concept_shift`, which keeps the mean over trials only.
    """
    check_finite(directions, "directions", ("direction", "dimension"))
    change = EmbeddingChange.by_value(encoder, betas, replacement)
    return np.stack([change.shift(direction) for direction in directions], axis=-1)


def contribution(
    encoder: LinearEncoder,
    betas: np.ndarray,
    truth: np.ndarray,
    *,
    replacement: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Contribution of every voxel to the accuracy: cos(f(x), t) - cos(f(x without v), t).

    Parameters
    ----------
    truth : numpy.ndarray, (n_trials, C)
        True embedding of each trial's image, unit length.

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels)
        Positive where the voxel helps.
    """
    check_finite(truth, "truth", ("trial", "dimension"))
    return -EmbeddingChange.by_value(encoder, betas, replacement).shift(truth)


def network_effect(
    first: nn.Linear,
    rest: Callable[[Tensor], Tensor],
    beta: np.ndarray,
    *,
    replacement: np.ndarray | float = 0.0,
    batch_size: int = 1024,
) -> np.ndarray:
    """Embedding effect of every voxel for an encoder that begins with a linear layer.

    Replacing one voxel is a rank-one change of the first layer's output, so only the rest of the
    network runs once per voxel.

    Parameters
    ----------
    first : torch.nn.Linear
        From voxels to hidden units.
    rest : callable
        ``rest(hidden (B, H)) -> embeddings (B, C)``, in evaluation mode.
    beta : numpy.ndarray, (n_voxels,)
        One trial, or the mean of an image's repeats.
    replacement : float or numpy.ndarray, (n_voxels,)
    batch_size : int
        Voxels at once.

    Returns
    -------
    numpy.ndarray, (n_voxels,)
    """
    beta = np.asarray(beta)
    if beta.shape != (first.in_features,):
        raise DataError(f"beta has shape {beta.shape}. Expected: ({first.in_features},).")
    check_finite(beta, "beta", ("voxel",), remedy=REMEDY)
    like = first.weight
    x = torch.as_tensor(beta).to(like)
    step = torch.as_tensor(np.ascontiguousarray(check_replacement(beta, replacement))).to(like) - x
    with torch.inference_mode():
        hidden = first(x[None])
        before = rest(hidden).double()
        parts = []
        for start in range(0, len(beta), batch_size):
            rows = slice(start, start + batch_size)
            after = rest(hidden + step[rows, None] * like.T[rows]).double()
            # |a - b|^2 / 2 of unit vectors is 1 - cosine, without its cancellation.
            gap = nn.functional.normalize(after) - nn.functional.normalize(before)
            parts.append(gap.square().sum(1) / 2)
    return torch.cat(parts).cpu().numpy()


def encoding_pattern(betas: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Encoding (Haufe) pattern: covariance of every voxel with the true embedding.

    Decoder weights show what a decoder uses, not what a voxel carries (Haufe et al. 2014): a voxel
    without signal can have a large weight because it cancels another's noise.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials, z-scored.
    embeddings : numpy.ndarray, (n_trials, C)
        Their true embeddings.

    Returns
    -------
    numpy.ndarray, (n_voxels,)
        Norm of the covariance with the whitened embedding dimensions; a multivariate correlation.
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    check_finite(embeddings, "embeddings", ("trial", "dimension"))
    x = betas - betas.mean(0)
    y = embeddings - embeddings.mean(0)
    left, singular, _ = np.linalg.svd(y, full_matrices=False)
    kept = left[:, singular > singular[0] * 1e-6]
    explained = ((kept.T @ x) ** 2).sum(0) / np.maximum((x**2).sum(0), 1e-12)  # R2 of each voxel
    return np.sqrt(explained)


def condition_jacobian(encoder: LinearEncoder, beta: np.ndarray) -> np.ndarray:
    """Derivative of the condition, as the generator receives it, with respect to every voxel.

    The generator gets the embedding scaled to unit length, so a voxel's row of weights loses its
    part along the embedding e = f / |f| and is divided by |f|:

        d condition / d x_v = (I - e e') W_v / |f|.

    Parameters
    ----------
    encoder : LinearEncoder
    beta : numpy.ndarray, (n_voxels,)
        One trial, or the mean of an image's repeats.

    Returns
    -------
    numpy.ndarray, (n_voxels, C)
    """
    f = encoder.predict(np.asarray(beta)[None])[0]
    e = unit(f)
    return (encoder.weights - np.outer(encoder.weights @ e, e)) / np.linalg.norm(f)


def network_condition_jacobian(
    network: Callable[[Tensor], Tensor], beta: np.ndarray, *, like: Tensor
) -> np.ndarray:
    """As :func:`condition_jacobian`, for any differentiable encoder: its Jacobian at one trial.

    Parameters
    ----------
    network : callable
        ``network(betas (B, n_voxels)) -> embeddings (B, C)``, in evaluation mode.
    beta : numpy.ndarray, (n_voxels,)
    like : torch.Tensor
        Device and type to compute with, such as one of the network's weights.

    Returns
    -------
    numpy.ndarray, (n_voxels, C)
        Of the embedding scaled to unit length.
    """

    def condition(x: Tensor) -> Tensor:
        return nn.functional.normalize(network(x[None])[0], dim=0)

    check_finite(beta, "beta", ("voxel",), remedy=REMEDY)
    x = torch.as_tensor(np.asarray(beta)).to(like)
    return torch.func.jacrev(condition)(x).detach().T.cpu().numpy()  # one backward pass per row
