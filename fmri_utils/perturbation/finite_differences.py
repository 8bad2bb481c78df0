"""Does the first-order effect hold? Finite differences of the picture, over step sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..encoders import LinearEncoder, unit
from .embedding_effects import condition_jacobian
from .jacobian import Draw, picture_derivative


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
