"""Image effects of all voxels to first order, from the generator's derivative.

The generator sees a voxel through its condition only, which has C dimensions (128 in the demo, 512
in LAFITE). With J the Jacobian of the picture with respect to the condition and w_v the derivative
of the condition with respect to voxel v (:func:`fmri_utils.perturbation.condition_jacobian`), one
unit of voxel v changes the picture by J w_v. Two ways to its size for every voxel:

* exactly, from the Gram matrix M = J'J / P over the P values of the picture: |J w|^2 / P = w'M w
  (:func:`fmri_utils.perturbation.picture_locations.effect_maps`, in parts of the picture).
  J comes from C forward-mode products, whatever the number of voxels.
* by random projections: a random picture r of +-1 has E[(r'J w)^2] = |J w|^2, and r'J is one
  reverse-mode product. k of them give all voxels with a relative error near sqrt(1 / 2k).

In this one direction the picture function is plain torch, so both are torch.func.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..encoders import LinearEncoder, unit
from ..lafite import Generator
from ..project.checks import check_finite
from ..project.errors import DataError
from .embedding_effects import condition_jacobian

Draw = Callable[[Tensor], Tensor]


def picture_function(
    generator: Generator, z: Tensor, *, psi: float = 1.0, noise: Sequence[Tensor] | None = None
) -> Draw:
    """The picture as a function of the condition alone: the same z and the same noise buffers.

    Parameters
    ----------
    generator : Generator
        LAFITE. Its parameters count as constants.
    z : torch.Tensor, (1, z_dim)
    psi : float
        Truncation.
    noise : sequence of torch.Tensor, optional
        Noise images, from ``generator.synthesis.draw_noise(1, rng)``; the stored ones by default.

    Returns
    -------
    callable
        ``draw(condition (B, C), unit length) -> pictures (B, 3, H, W)`` in [0, 1].
    """
    if z.ndim != 2 or len(z) != 1:
        raise DataError(f"z has shape {tuple(z.shape)}. Expected: (1, z_dim), one draw for all.")
    check_finite(z, "z", ("picture", "dimension"), remedy="Draw z anew.")
    constants = {name: value.detach() for name, value in generator.named_parameters()}
    options = {"truncation_psi": psi, "noise": noise}

    def draw(condition: Tensor) -> Tensor:
        inputs = (z.expand(len(condition), -1), condition)
        image = torch.func.functional_call(generator, constants, inputs, options)
        return image.clamp(-1, 1) / 2 + 0.5

    return draw


def picture_derivative(
    draw: Draw, condition: Tensor, directions: Tensor, *, batch_size: int = 32
) -> Tensor:
    """Derivative of a picture along directions of the condition, by forward-mode products.

    Parameters
    ----------
    draw : callable
        From :func:`picture_function`.
    condition : torch.Tensor, (C,)
        Where, unit length.
    directions : torch.Tensor, (n, C)
    batch_size : int
        Directions at once. The picture itself is computed once per batch.

    Returns
    -------
    torch.Tensor, (n, 3, H, W)
        Change of the picture per unit of each direction.
    """

    def along(direction: Tensor) -> Tensor:
        return torch.func.jvp(lambda c: draw(c[None])[0], (condition,), (direction,))[1]

    with torch.no_grad(), warnings.catch_warnings():
        # The first forward product compiles torch's decompositions by a call that it deprecates.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        return torch.func.vmap(along, chunk_size=batch_size)(directions)


def picture_jacobian(draw: Draw, condition: Tensor, *, batch_size: int = 32) -> Tensor:
    """The whole Jacobian of a picture, (C, 3, H, W): one forward-mode product per dimension."""
    every = torch.eye(len(condition), dtype=condition.dtype, device=condition.device)
    return picture_derivative(draw, condition, every, batch_size=batch_size)


def picture_sketch(
    draw: Draw, condition: Tensor, *, n_probes: int, rng: torch.Generator, batch_size: int = 8
) -> Tensor:
    """Random projections of the Jacobian, by reverse-mode products of random pictures.

    Parameters
    ----------
    draw, condition
        As for :func:`picture_derivative`.
    n_probes : int
        Random pictures of +1 and -1 (Hutchinson 1990). 64 give effects to about 6 %.
    rng : torch.Generator
        On the CPU, so that the probes do not depend on the device.
    batch_size : int
        Probes at once.

    Returns
    -------
    torch.Tensor, (n_probes, C)
        S with E[S'S] = M, the Gram matrix.
    """
    if n_probes < 1:
        raise DataError(f"n_probes is {n_probes}. Expected: 1 or more.")
    picture, pull = torch.func.vjp(lambda c: draw(c[None])[0], condition)
    signs = torch.randint(0, 2, (n_probes, *picture.shape), generator=rng).to(picture) * 2 - 1
    rows = torch.func.vmap(lambda r: pull(r)[0], chunk_size=batch_size)(signs)
    return rows.detach() / (n_probes * picture.numel()) ** 0.5


def rms_from_sketch(rows: np.ndarray | Tensor, sketch: Tensor) -> Tensor:
    """Pixel RMS per unit of every voxel, (n_voxels,), from condition Jacobian rows and S."""
    return torch.linalg.vector_norm(torch.as_tensor(rows).to(sketch) @ sketch.T, dim=1)


def eps_curve(
    draw: Draw,
    encoder: LinearEncoder,
    beta: np.ndarray,
    voxels: Sequence[int],
    eps: Sequence[float],
    *,
    like: Tensor,
) -> np.ndarray:
    """Relative difference between first-order effect and finite difference, for several steps.

    Large steps leave the range in which the generator is linear (its leaky ReLUs switch); small
    steps drown in rounding. Where the curve is lowest, the two agree best.

    Parameters
    ----------
    draw : callable
        From :func:`fmri_utils.perturbation.picture_function`.
    beta : numpy.ndarray, (n_voxels,)
    voxels : sequence of int
        A sample of the voxels.
    eps : sequence of float
        Steps, in the unit of the betas (standard deviations).
    like : torch.Tensor
        Device and type of the generator.

    Returns
    -------
    numpy.ndarray, (n_eps, n_voxels)
        Norm of the difference over the norm of the first-order effect.
    """
    beta = np.asarray(beta, np.float64)
    f = encoder.predict(beta[None])[0].astype(np.float64)
    condition = torch.as_tensor(unit(encoder.predict(beta[None])[0])).to(like)
    rows = torch.as_tensor(condition_jacobian(encoder, beta)[np.asarray(voxels)]).to(like)
    first_order = picture_derivative(draw, condition, rows).flatten(1)  # (n_voxels, P)
    error = np.empty((len(eps), len(voxels)))
    for i, size in enumerate(eps):
        for j, voxel in enumerate(voxels):
            step = size * encoder.weights[voxel].astype(np.float64)
            pair = torch.as_tensor(unit(np.stack([f + step, f - step]))).to(like)
            with torch.no_grad():
                above, below = draw(pair)  # in one batch
            measured = ((above - below) / (2 * size)).flatten()
            gap = torch.linalg.vector_norm(measured - first_order[j])
            error[i, j] = float(gap / torch.linalg.vector_norm(first_order[j]))
    return error
