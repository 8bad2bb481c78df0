"""Leave one voxel out: what one voxel contributes to the predicted embedding and the picture.

This is sensitivity of a model, not causality in a brain. For a linear encoder f(x) = x W + b the
effect of replacing the value of one voxel is a rank-one change of the embedding, so all voxels
cost one matrix product and nothing has to be sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .encoders import LinearEncoder
from .errors import DataError
from .lafite import Generator
from .reconstruction import generate


def _check(encoder: LinearEncoder, betas: np.ndarray) -> np.ndarray:
    betas = np.asarray(betas)
    if betas.ndim != 2 or betas.shape[1] != len(encoder.weights):
        raise DataError(
            f"betas have shape {betas.shape}. Expected: (n_trials, {len(encoder.weights)})."
        )
    return betas


def _replacement(betas: np.ndarray, replacement: np.ndarray | float) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(replacement, betas.dtype), betas.shape)
    except ValueError:
        raise DataError(
            f"replacement has shape {np.shape(replacement)}. Expected: a number, one value per "
            f"voxel, or the shape of the betas {betas.shape}."
        ) from None


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
        the shape of ``betas`` (another repeat's values).

    Returns
    -------
    numpy.ndarray, (n_trials, n_voxels)
        1 - cosine between the embeddings before and after; 0 is no effect.
    """
    betas = _check(encoder, betas)
    step = _replacement(betas, replacement) - betas  # (n, V)
    f = encoder.predict(betas)  # (n, C)
    own = (f * f).sum(1)[:, None]  # f.f
    along = f @ encoder.weights.T  # (n, V) f.W_v
    norms = (encoder.weights**2).sum(1)  # (V,) W_v.W_v
    # With u = d W_v: 1 - cos = 1 - (f.f + f.u) / (|f| |f + u|). Writing the numerator as
    # (|u|^2 - (f.u)^2 / f.f) / ... avoids the cancellation of two numbers close to one.
    f_u = step * along
    u_u = step**2 * norms
    moved = own + 2 * f_u + u_u
    across = np.maximum(u_u - f_u**2 / own, 0)  # squared part of u that is orthogonal to f
    root = np.sqrt(own * moved)
    towards = own + f_u
    # sin^2 = across / moved; 1 - cos = sin^2 / (1 + cos) while cos is not close to -1.
    cosine = towards / root
    return np.where(cosine > 0, across / moved / (1 + np.maximum(cosine, 0)), 1 - cosine)


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
        cos(after, direction) - cos(before, direction).
    """
    betas = _check(encoder, betas)
    step = _replacement(betas, replacement) - betas
    f = encoder.predict(betas)
    own = (f * f).sum(1)[:, None]
    moved = own + 2 * step * (f @ encoder.weights.T) + step**2 * (encoder.weights**2).sum(1)
    before = f @ directions.T  # (n, D)
    change = step[..., None] * (encoder.weights @ directions.T)  # (n, V, D)
    after = (before[:, None, :] + change) / np.sqrt(moved)[..., None]
    return after - (before / np.sqrt(own))[:, None, :]


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
    betas = _check(encoder, betas)
    step = _replacement(betas, replacement) - betas
    f = encoder.predict(betas)
    own = (f * f).sum(1)[:, None]
    moved = own + 2 * step * (f @ encoder.weights.T) + step**2 * (encoder.weights**2).sum(1)
    before = (f * truth).sum(1)[:, None]
    after = before + step * (truth @ encoder.weights.T)
    return before / np.sqrt(own) - after / np.sqrt(moved)


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
    x = betas - betas.mean(0)
    y = embeddings - embeddings.mean(0)
    left, singular, _ = np.linalg.svd(y, full_matrices=False)
    kept = left[:, singular > singular[0] * 1e-6]
    explained = ((kept.T @ x) ** 2).sum(0) / np.maximum((x**2).sum(0), 1e-12)  # R2 of each voxel
    return np.sqrt(explained)


@dataclass(frozen=True)
class PictureEffect:
    """Pictures of one image before and after a perturbation, and under other noise.

    Attributes
    ----------
    baseline : numpy.ndarray, (H, W, 3)
        In [0, 1].
    perturbed : numpy.ndarray, (n_voxels, H, W, 3)
        The same z and noise buffers; one voxel replaced at a time.
    noise : numpy.ndarray, (n_noise, H, W, 3)
        The same embedding; only z and the noise buffers are drawn anew.
    floor : float
        RMS difference between the baseline and itself in another batch: rounding.
    """

    baseline: np.ndarray
    perturbed: np.ndarray
    noise: np.ndarray
    floor: float

    def rms(self) -> np.ndarray:
        """Pixel RMS of each perturbation, (n_voxels,); below the rounding floor reported as 0."""
        rms = np.sqrt(((self.perturbed - self.baseline) ** 2).mean((1, 2, 3)))
        return np.where(rms > self.floor, rms, 0.0)

    def noise_rms(self) -> np.ndarray:
        """Pixel RMS of each new draw of the noise alone, (n_noise,)."""
        return np.sqrt(((self.noise - self.baseline) ** 2).mean((1, 2, 3)))


def renderer(generator: Generator, *, psi: float, seed: int) -> Callable:
    """A function ``(z, condition, fresh_noise) -> (B, H, W, 3)`` for :func:`picture_effect`.

    Parameters
    ----------
    generator : Generator
        LAFITE.
    psi : float
        Truncation.
    seed : int
        Of the fresh noise buffers.
    """
    device = next(generator.parameters()).device
    noise_rng = torch.Generator(device).manual_seed(seed)

    def draw(z: torch.Tensor, condition: torch.Tensor, fresh_noise: bool) -> np.ndarray:
        return generate(
            generator,
            z,
            condition,
            truncation_psi=psi,
            noise_rng=noise_rng if fresh_noise else None,
            batch_size=len(z),
        )

    return draw


def picture_effect(
    draw: Callable,
    encoder: LinearEncoder,
    beta: np.ndarray,
    voxels: np.ndarray,
    *,
    z: torch.Tensor,
    other_z: torch.Tensor,
    replacement: np.ndarray | float = 0.0,
) -> PictureEffect:
    """Generated picture with and without each of some voxels, beside a noise-only control.

    Parameters
    ----------
    draw : callable
        ``draw(z, condition, fresh_noise) -> (B, H, W, 3)`` float in [0, 1]; with
        ``fresh_noise=False`` the noise buffers are the generator's fixed ones.
    beta : numpy.ndarray, (n_voxels,)
        One trial, or the mean of an image's repeats; z-scored.
    voxels : numpy.ndarray of int
        Which voxels are replaced, one at a time.
    z : torch.Tensor, (1, z_dim)
        The latent noise of the baseline and of every perturbed picture.
    other_z : torch.Tensor, (n_noise, z_dim)
        Latent noise of the control.
    replacement : float or numpy.ndarray
        As for :func:`embedding_effect`.
    """
    changed = np.repeat(np.asarray(beta)[None], len(voxels) + 2, axis=0)
    value = _replacement(changed[:1], replacement)[0]
    changed[np.arange(len(voxels)), voxels] = value[voxels]
    condition = _condition(encoder, changed)  # the last two rows are the baseline, twice
    # One batch for all, so that baseline and perturbed differ by the voxel and not by rounding.
    pictures = draw(z.expand(len(condition), -1), condition, False)
    baseline, again = pictures[-1], pictures[-2]
    floor = float(np.sqrt(((baseline - again) ** 2).mean()))
    control = draw(other_z, condition[-1:].expand(len(other_z), -1), True)
    return PictureEffect(baseline, pictures[:-2], control, floor)


def _condition(encoder: LinearEncoder, betas: np.ndarray) -> torch.Tensor:
    """Unit-length predicted embeddings as the generator receives them, (n, C)."""
    prediction = encoder.predict(betas)
    norm = np.linalg.norm(prediction, axis=1, keepdims=True)
    return torch.from_numpy((prediction / norm).astype(np.float32))
