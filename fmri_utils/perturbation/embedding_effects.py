"""Embedding effects of all voxels, and what else a voxel can be asked.

Three different questions. *Effect*: how far does the predicted embedding turn without the voxel?
*Contribution*: does the prediction come closer to the truth with it? *Forward model*: does the
voxel carry anything about the image, whatever the decoder does with it?
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict

from ..encoders import LinearEncoder, check_patterns, unit
from ..encoders.common import REMEDY
from ..project.checks import check_finite
from ..project.errors import DataError


def check_betas(encoder: LinearEncoder, betas: np.ndarray) -> np.ndarray:
    """Betas as an array (n_trials, n_voxels) that fits the encoder, finite.

    Raises
    ------
    DataError
        If it does not fit, or a value is NaN or infinite.
    """
    return check_patterns(betas, len(encoder.weights))


class EmbeddingChange:
    """Every trial's embedding, and what happens to it when one voxel changes, in closed form.

    For a linear encoder f(x) = x W + b the replacement of voxel v by x_v + d moves the embedding by
    u = d W_v. Cosines after the move need only f.f, f.u and u.u, so all voxels and trials together
    cost two matrix products and nothing has to be sampled.

    Parameters
    ----------
    encoder : LinearEncoder
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored, so that 0 is a voxel's mean.
    steps : sequence of (columns, numpy.ndarray (n_trials, n_voxels))
        By how much a voxel's value changes, for these columns of the embedding (an index array or
        a slice). One entry with ``slice(None)`` is the ordinary case; ridge with several penalties
        has one entry per penalty (:func:`fmri_utils.perturbation.refit_change`).

    Attributes
    ----------
    before : numpy.ndarray, (n_trials, C)
        Predicted embeddings f.
    own : numpy.ndarray, (n_trials, 1)
        f.f.
    along, size : numpy.ndarray, (n_trials, n_voxels)
        f.u and u.u of the change u.
    """

    def __init__(
        self,
        encoder: LinearEncoder,
        betas: np.ndarray,
        steps: Sequence[tuple[np.ndarray | slice, np.ndarray]],
    ):
        self.before = encoder.predict(betas)
        self.own = (self.before**2).sum(1)[:, None]
        # Squares of single-precision weights would cost double-precision betas their digits.
        weights = encoder.weights.astype(self.before.dtype, copy=False)
        self._parts = [(columns, step, weights[:, columns]) for columns, step in steps]
        self.along = self.towards(self.before)
        self.size = sum(step**2 * (weights**2).sum(1) for _, step, weights in self._parts)

    @classmethod
    def by_value(
        cls, encoder: LinearEncoder, betas: np.ndarray, replacement: np.ndarray | float
    ) -> EmbeddingChange:
        """The change when a voxel's value becomes ``replacement``.

        Raises
        ------
        DataError
            If the replacement cannot be broadcast to the betas, or a value is NaN or infinite.
        """
        betas = check_betas(encoder, betas)
        replacement = np.asarray(replacement, betas.dtype)
        check_finite(replacement, "replacement")
        if replacement.shape not in ((), betas.shape[1:], betas.shape):
            raise DataError(
                f"replacement has shape {replacement.shape}. Expected: a number, one value per "
                f"voxel, or the shape of the betas {betas.shape}."
            )
        return cls(encoder, betas, [(slice(None), replacement - betas)])

    def towards(self, direction: np.ndarray) -> np.ndarray:
        """Inner product of every change u with a direction (C,), or one per trial (n, C)."""
        return sum(s * (direction[..., c] @ w.T) for c, s, w in self._parts)

    def effect(self) -> np.ndarray:
        """1 - cos(f, f + u) of every trial and voxel, (n_trials, n_voxels)."""
        # Numerator |u|^2 - (f.u)^2 / f.f, the squared part of u across f: 1 - cos computed as a
        # difference of two numbers close to one would be rounding noise.
        across = np.maximum(self.size - self.along**2 / self.own, 0)
        moved = self.own + 2 * self.along + self.size
        cosine = (self.own + self.along) / np.sqrt(self.own * moved)
        # sin^2 = across / moved; 1 - cos = sin^2 / (1 + cos) while cos is not close to -1.
        return np.where(cosine > 0, across / moved / (1 + np.maximum(cosine, 0)), 1 - cosine)

    def shift(self, direction: np.ndarray) -> np.ndarray:
        """cos(f + u, direction) - cos(f, direction), (n_trials, n_voxels).

        Parameters
        ----------
        direction : numpy.ndarray, (C,) or (n_trials, C)
            Unit length.
        """
        before = (self.before * direction).sum(1)[:, None]
        moved = self.own + 2 * self.along + self.size
        return (before + self.towards(direction)) / np.sqrt(moved) - before / np.sqrt(self.own)


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


def forward_model(betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Cross-validated accuracy of a forward (encoding) model, from the image to the voxel.

    Ridge regression predicts every voxel from the embedding of the image. It asks what a voxel
    carries, whatever a decoder does with it (Naselaris et al. 2011).

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials, z-scored.
    embeddings : numpy.ndarray, (n_trials, C)
        True embeddings, unit length.
    groups : numpy.ndarray, (n_trials,)
        Image of each trial; the repeats of an image are in one fold.

    Returns
    -------
    numpy.ndarray, (n_voxels,)
        Correlation of a voxel with what is predicted for images left out, over trials: about 0 for
        a voxel without signal, 0 for a voxel that is constant.
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    check_finite(embeddings, "embeddings", ("trial", "dimension"))
    found = cross_val_predict(Ridge(), embeddings, betas, groups=groups, cv=GroupKFold(5))
    covariance = np.einsum("tv,tv->v", found - found.mean(0), betas) / len(betas)
    return covariance / np.maximum(found.std(0) * betas.std(0), 1e-12)


def haufe_pattern(betas: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Haufe's pattern: covariance of every voxel with the output of the decoder.

    A decoder's weights show what it uses. A voxel without signal gets a large weight if it helps to
    subtract noise from other voxels. The pattern A = Cov(x) W Cov(output)^-1 shows which voxels
    vary together with the decoder's output (Haufe et al. 2014), be it with its signal or with the
    noise that is left in it.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored; trials that the decoder was not fitted to.
    outputs : numpy.ndarray, (n_trials, C)
        The embeddings that the decoder predicts from them.

    Returns
    -------
    numpy.ndarray, (n_voxels,)
        Length of a voxel's row of A, in units of the outputs' covariance: its multiple correlation
        with the outputs. It grows with C, so only voxels of the same data can be compared.
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    check_finite(outputs, "outputs", ("trial", "dimension"))
    x = betas - betas.mean(0)
    left, singular, _ = np.linalg.svd(outputs - outputs.mean(0), full_matrices=False)
    kept = left[:, singular > singular[0] * 1e-6]
    return np.sqrt(((kept.T @ x) ** 2).sum(0) / np.maximum((x**2).sum(0), 1e-12))


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
