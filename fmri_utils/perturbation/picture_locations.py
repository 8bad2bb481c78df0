"""Where in the picture a voxel acts: a map, its centroid and its spread, for every voxel."""

import numpy as np
import torch
from torch import Tensor

from ..project.checks import check_finite
from ..project.errors import DataError


def cell_grams(jacobian: Tensor, n_cells: int) -> Tensor:
    """Gram matrix of the Jacobian within each cell of a grid laid over the picture.

    Parameters
    ----------
    jacobian : torch.Tensor, (C, 3, H, W)
        From :func:`fmri_utils.perturbation.picture_jacobian`.
    n_cells : int
        Cells along height and along width.

    Returns
    -------
    torch.Tensor, (n_cells^2, C, C)
        Row by row from the upper left. They add up to the Gram matrix of the whole picture.
    """
    n, n_colours, height, width = jacobian.shape
    if n_cells < 1 or height % n_cells or width % n_cells:
        raise DataError(
            f"{height} x {width} pixels cannot be cut into {n_cells} x {n_cells} equal cells."
        )
    h, w = height // n_cells, width // n_cells
    cells = jacobian.reshape(n, n_colours, n_cells, h, n_cells, w).permute(2, 4, 0, 1, 3, 5)
    flat = cells.reshape(n_cells**2, n, n_colours * h * w)
    return flat @ flat.transpose(1, 2) / (n_colours * height * width)


def effect_maps(rows: np.ndarray | Tensor, grams: Tensor) -> Tensor:
    """How much of every voxel's squared effect falls into each cell.

    Parameters
    ----------
    rows : array, (n_voxels, C)
        From :func:`fmri_utils.perturbation.condition_jacobian`.
    grams : torch.Tensor, (n_cells^2, C, C)
        From :func:`cell_grams`.

    Returns
    -------
    torch.Tensor, (n_voxels, n_cells^2)
        Mean-square change per squared unit of the voxel; a row's sum is that of the
        whole picture.
    """
    rows = torch.as_tensor(rows).to(grams)
    return torch.stack([((rows @ gram) * rows).sum(1) for gram in grams], dim=1).clamp(min=0)


def centroid_and_spread(maps: np.ndarray, width_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre of gravity of every voxel's map, and how far around it the effect falls.

    Parameters
    ----------
    maps : numpy.ndarray, (n_voxels, n_cells^2)
        Not negative, such as :func:`effect_maps` gives.
    width_deg : float
        Width of the picture, degrees of visual angle.

    Returns
    -------
    centroid : numpy.ndarray, (n_voxels, 2)
        Degrees, right and up positive; NaN for a voxel without any effect.
    spread : numpy.ndarray, (n_voxels,)
        Root of the mean squared distance from the centroid, degrees.
    """
    maps = np.asarray(maps, float)
    check_finite(maps, "maps", ("voxel", "cell"))
    n_cells = round(maps.shape[1] ** 0.5)
    if n_cells**2 != maps.shape[1] or (maps < 0).any():
        raise DataError(
            f"maps have shape {maps.shape}. Expected: (n_voxels, n_cells^2), not negative."
        )
    total = maps.sum(1, keepdims=True)
    weight = np.divide(maps, total, out=np.full_like(maps, np.nan), where=total > 0)
    # Of the cells in degrees, right and up positive, (0, 0) the middle.
    at = ((np.arange(n_cells) + 0.5) / n_cells - 0.5) * width_deg
    centres = np.stack([axis.ravel() for axis in np.meshgrid(at, -at)], axis=1)
    centroid = weight @ centres
    distance = ((centres[None] - centroid[:, None]) ** 2).sum(2)  # (V, K)
    return centroid, np.sqrt((weight * distance).sum(1))


def relative_maps(maps: np.ndarray) -> np.ndarray:
    """Each voxel's share of the effect in a cell over the average voxel's share there.

    Most of any voxel's effect falls where the picture itself is easily changed; dividing by the
    average voxel leaves what is particular to this one.

    Parameters
    ----------
    maps : numpy.ndarray, (n_voxels, n_cells^2)

    Returns
    -------
    numpy.ndarray, (n_voxels, n_cells^2)
        1 where the voxel acts like the average one.
    """
    maps = np.asarray(maps, float)
    check_finite(maps, "maps", ("voxel", "cell"))
    share = maps / np.maximum(maps.sum(1, keepdims=True), np.finfo(float).tiny)
    return share / np.maximum(share.mean(0), np.finfo(float).tiny)
