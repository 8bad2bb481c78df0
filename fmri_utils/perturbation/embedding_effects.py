"""Embedding effects of all voxels, and what else a voxel can be asked.

Three different questions. *Effect*: how far does the predicted embedding turn without the voxel?
*Contribution*: does the prediction come closer to the truth with it? *Encoding pattern*: does the
voxel carry anything about the image, whatever the decoder does with it?
"""

from __future__ import annotations

import numpy as np

from ..encoders import LinearEncoder, unit
from ..encoders.common import REMEDY
from ..project.checks import check_finite
from .change import EmbeddingChange


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


def contribution(encoder: LinearEncoder, betas: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Contribution of every voxel to the accuracy: cos(f(x), t) - cos(f(x without v), t).

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored: a voxel is left out by setting it to 0.
    truth : numpy.ndarray, (n_trials, C)
        True embedding of each trial's image, unit length.

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels)
        Positive where the voxel helps.
    """
    check_finite(truth, "truth", ("trial", "dimension"))
    return -EmbeddingChange.by_value(encoder, betas, 0.0).shift(truth)


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
