"""Pictures with and without a voxel, beside the generator's own noise."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..encoders import LinearEncoder, unit
from ..lafite import Generator
from ..metrics import ssim_scores
from ..pictures import reconstruction
from ..project.checks import check_finite
from ..project.errors import DataError
from .embedding_effects import check_betas
from .jacobian import picture_function

FACTORS = ("voxel", "z", "noise")


class PictureEffect(NamedTuple):
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
        RMS change when every number of the baseline's embedding moves to the next float32:
        rounding.
    """

    baseline: np.ndarray
    perturbed: np.ndarray
    noise: np.ndarray
    floor: float

    def rms(self) -> np.ndarray:
        """Pixel RMS of each perturbation, (n_voxels,); below the rounding floor reported as 0."""
        rms = _rms(self.perturbed, self.baseline)
        return np.where(rms > self.floor, rms, 0.0)

    def noise_rms(self) -> np.ndarray:
        """Pixel RMS of each new draw of the noise alone, (n_noise,)."""
        return _rms(self.noise, self.baseline)

    def ssim(self) -> np.ndarray:
        """SSIM of each perturbed picture with the baseline, (n_voxels,); 1 is no change."""
        same = np.repeat(self.baseline[None], len(self.perturbed), axis=0)
        return ssim_scores(same, self.perturbed)


def _rms(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Root of the mean squared difference of pictures (n, H, W, 3), (n,)."""
    return np.sqrt(((pictures - others) ** 2).mean((1, 2, 3)))


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
        how = {"truncation_psi": psi, "noise_rng": noise_rng if fresh_noise else None}
        return reconstruction.draw(generator, z, condition, **how, batch_size=len(z))

    return draw


def picture_effect(
    draw: Callable,
    encoder: LinearEncoder,
    beta: np.ndarray,
    voxels: np.ndarray,
    *,
    z: torch.Tensor,
    other_z: torch.Tensor,
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
        Which voxels are left out (set to 0), one at a time.
    z : torch.Tensor, (1, z_dim)
        The noise vector of the baseline and of every perturbed picture.
    other_z : torch.Tensor, (n_noise, z_dim)
        Noise vectors of the control.
    """
    changed = np.repeat(check_betas(encoder, np.asarray(beta)[None]), len(voxels) + 2, axis=0)
    changed[np.arange(len(voxels)), voxels] = 0
    condition = _condition(encoder, changed)  # the last two rows are the baseline, twice,
    condition[-2] = torch.nextafter(condition[-1], torch.tensor(torch.inf))  # once rounded up
    # One batch for all, so that baseline and perturbed differ by the voxel and not by rounding.
    pictures = draw(z.expand(len(condition), -1), condition, False)
    baseline, rounded = pictures[-1], pictures[-2]
    floor = float(np.sqrt(((baseline - rounded) ** 2).mean()))
    control = draw(other_z, condition[-1:].expand(len(other_z), -1), True)
    return PictureEffect(baseline, pictures[:-2], control, floor)


def voxel_against_noise(
    draw: Callable,
    encoder: LinearEncoder,
    betas: np.ndarray,
    voxels: np.ndarray,
    *,
    z: torch.Tensor,
    other_z: torch.Tensor,
    batch_size: int = 25,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel RMS of one voxel left out and of new noise, for many images.

    Parameters
    ----------
    draw : callable
        As for :func:`picture_effect`.
    betas : numpy.ndarray, (n_images, n_voxels)
    voxels : numpy.ndarray of int, (n_images,)
        Which voxel is left out in each image, such as its strongest.
    z, other_z : torch.Tensor, (1, z_dim)
        Noise vectors of the picture and of its perturbation; of the control.
    batch_size : int
        Images at once; baseline, perturbed and control are drawn in batches of one shape.

    Returns
    -------
    voxel_rms, noise_rms : numpy.ndarray, (n_images,)
    """
    betas = check_betas(encoder, betas)
    changed = np.array(betas)
    changed[np.arange(len(betas)), voxels] = 0
    before, after = _condition(encoder, betas), _condition(encoder, changed)
    voxel_rms, noise_rms = [], []
    for start in range(0, len(betas), batch_size):
        part = slice(start, start + batch_size)
        n = len(before[part])
        baseline = draw(z.expand(n, -1), before[part], False)
        perturbed = draw(z.expand(n, -1), after[part], False)
        control = draw(other_z.expand(n, -1), before[part], True)
        voxel_rms.append(_rms(perturbed, baseline))
        noise_rms.append(_rms(control, baseline))
    return np.concatenate(voxel_rms), np.concatenate(noise_rms)


def _condition(encoder: LinearEncoder, betas: np.ndarray) -> torch.Tensor:
    """Unit-length predicted embeddings as the generator receives them, (n, C)."""
    return torch.from_numpy(unit(encoder.predict(betas)).astype(np.float32))


def crossed_pictures(
    generator: Generator,
    encoder: LinearEncoder,
    beta: np.ndarray,
    voxel: int,
    values: Sequence[float],
    *,
    z: torch.Tensor,
    n_noise: int,
    seed: int,
    psi: float = 1.0,
) -> np.ndarray:
    """Pictures for every combination of a voxel's value, z and the noise buffers.

    Parameters
    ----------
    beta : numpy.ndarray, (n_voxels,)
        One trial; ``voxel`` takes each of ``values`` in turn.
    z : torch.Tensor, (n_z, z_dim)
        At least 16 for shares that can be trusted.
    n_noise : int
        Draws of the noise buffers, from ``seed``.

    Returns
    -------
    numpy.ndarray, float32 (n_values, n_z, n_noise, 3, H, W)
        For :func:`variance_shares`.
    """
    changed = np.repeat(check_betas(encoder, np.asarray(beta)[None]), len(values), axis=0)
    changed[:, voxel] = values
    device = next(generator.parameters()).device
    condition = _condition(encoder, changed).to(device)
    rng = torch.Generator(device).manual_seed(seed)
    buffers = [generator.synthesis.draw_noise(1, rng) for _ in range(n_noise)]
    rows = []
    for one in z:
        parts = []
        for noise in buffers:
            draw = picture_function(generator, one[None].to(device), psi=psi, noise=noise)
            with torch.inference_mode():
                parts.append(draw(condition).cpu().numpy())
        rows.append(np.stack(parts, axis=1))
    return np.stack(rows, axis=1)


def variance_shares(pictures: np.ndarray) -> dict[str, float]:
    """Shares of the pictures' pixel variance due to three crossed factors and their interactions.

    Random-effects analysis of variance without replication, pooled over pixels: each component is
    estimated from the expected mean squares (Searle, Casella & McCulloch 1992), so that a factor
    with few levels is not overrated. Negative estimates count as 0.

    Parameters
    ----------
    pictures : numpy.ndarray, (n_a, n_b, n_c, ...)
        Picture for every combination of levels of :data:`FACTORS`; at least two levels each.

    Returns
    -------
    dict of str to float
        Shares that add up to 1, of each factor, each pair ("voxel x z") and all three.
    """
    levels = pictures.shape[:3]
    if pictures.ndim < 4 or min(levels) < 2:
        raise DataError(
            f"pictures have shape {pictures.shape}. Expected: three factors of two levels or more."
        )
    check_finite(pictures, "pictures")
    flat = np.asarray(pictures, np.float64).reshape(*levels, -1)
    subsets = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    squares = {s: _mean_square(flat, s) for s in subsets}
    component = {}
    for s in subsets:  # from the mean squares of all effects that hold these factors
        above = [t for t in subsets if set(s) <= set(t)]
        total = sum((-1) ** (len(t) - len(s)) * squares[t] for t in above)
        component[s] = total / np.prod([levels[i] for i in range(3) if i not in s])
    kept = {s: max(float(value), 0.0) for s, value in component.items()}
    total = sum(kept.values())
    return {" x ".join(FACTORS[i] for i in s): v / total if total else 0.0 for s, v in kept.items()}


def _mean_square(values: np.ndarray, factors: tuple[int, ...]) -> float:
    """Mean square of an effect, its margins removed; values (a, b, c, P), pooled over P."""
    rest = tuple(i for i in range(3) if i not in factors)
    effect = values.mean(rest, keepdims=True)
    for axis in factors:  # centring along each factor removes all lower-order effects
        effect = effect - effect.mean(axis, keepdims=True)
    repeats = np.prod([values.shape[i] for i in rest])
    freedom = np.prod([values.shape[i] - 1 for i in factors])
    return float((effect**2).sum() * repeats / freedom)
