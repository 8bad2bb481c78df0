"""Image effects of all voxels for many test images: in batches, resumable, bounded in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..encoders import LinearEncoder, unit
from ..lafite import Generator
from ..project.checks import check_finite
from ..project.parts import Parts
from .embedding_effects import check_betas, condition_jacobian
from .jacobian import Draw, picture_function, picture_jacobian, picture_sketch, rms_from_sketch
from .picture_locations import cell_grams, effect_maps

BATCH = 16  # products at once


class ImageEffects(NamedTuple):
    """First-order image effects of all voxels.

    Attributes
    ----------
    sensitivity : numpy.ndarray, float32 (n_images, n_voxels)
        Pixel RMS of the picture's change per standard deviation of the voxel. Times a step (such
        as |x_v| for replacing by 0) it is the effect of that step.
    maps : numpy.ndarray, float32 (n_voxels, n_cells^2)
        Share of a voxel's squared effect in each cell, mean over images; (n_voxels, 0) without
        cells.
    """

    sensitivity: np.ndarray
    maps: np.ndarray

    def typical(self) -> np.ndarray:
        """Geometric mean of the sensitivity over images, (n_voxels,).

        Some pictures change ten times as easily as others; in an ordinary mean they alone would
        rank the voxels.
        """
        with np.errstate(divide="ignore"):  # a voxel without weight has no effect
            return np.exp(np.log(self.sensitivity.astype(np.float64)).mean(0))


def image_effects(
    generator: Generator,
    encoder: LinearEncoder,
    betas: np.ndarray,
    z: Tensor,
    *,
    folder: Path,
    key: Mapping,
    n_probes: int = 32,
    n_cells: int = 0,
    psi: float = 1.0,
    seed: int = 0,
    progress: bool = False,
    only: Sequence[int] | None = None,
) -> ImageEffects | None:
    """Sensitivity of the picture to every voxel, for every image, to first order.

    By random projections, or exactly, where maps are asked for. Memory is that of one image: one
    batch of probes, or the Jacobian (C x 3 x H x W numbers). Each image is stored when it is
    finished; a killed run goes on.

    Parameters
    ----------
    generator : Generator
        LAFITE.
    betas : numpy.ndarray, (n_images, n_voxels)
        Mean of each image's repeats, z-scored.
    z : torch.Tensor, (n_z, z_dim)
        Squared effects are averaged over these; the noise buffers are the stored ones.
    folder : pathlib.Path
        Where unfinished results are kept.
    key : mapping
        What names the inputs: hashes of the generator, encoder and betas.
    n_probes : int
        Random pictures per image and z, for random projections.
    n_cells : int
        Cells per side of the maps; 0 for none.
    seed : int
        Of the random pictures.
    only : sequence of int, optional
        Images to do, of which nothing is returned: other processes or machines that see the folder
        do others, and a call without it then finds all of them finished.

    Returns
    -------
    ImageEffects or None
    """
    betas = check_betas(encoder, betas)
    check_finite(z, "z", ("draw", "dimension"), remedy="Draw z anew.")
    settings = {"n_probes": n_probes, "n_cells": n_cells, "psi": psi, "seed": seed}
    settings |= {"n_images": len(betas), "n_z": len(z)}
    parts = Parts(folder, {**key, **settings})
    place = next(generator.parameters())

    def compute(image: int) -> dict[str, np.ndarray]:
        f = encoder.predict(betas[image : image + 1])[0]
        condition = torch.as_tensor(unit(f)).to(place)
        rows = torch.as_tensor(condition_jacobian(encoder, betas[image])).to(place)
        squared, maps = 0.0, 0.0
        for k, one in enumerate(z):
            draw = picture_function(generator, one[None].to(place), psi=psi)
            rng = torch.Generator().manual_seed(_seed(seed, image, k))
            total, cells = _one_picture(draw, condition, rows, rng, n_probes, n_cells)
            squared, maps = squared + total / len(z), maps + cells / len(z)
        share = np.divide(maps, squared[:, None], out=np.zeros_like(maps), where=maps > 0)
        return {"sensitivity": np.sqrt(squared).astype(np.float32), "maps": share}

    numbers = range(len(betas)) if only is None else only
    parts.run(numbers, compute, progress=progress, what="images")
    if only is not None:
        return None
    sensitivity, maps = [], np.zeros((betas.shape[1], n_cells**2))
    for number in numbers:
        part = parts.load(number)
        sensitivity.append(part["sensitivity"])
        maps += part["maps"] / len(numbers)
    return ImageEffects(np.stack(sensitivity), maps.astype(np.float32))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _one_picture(
    draw: Draw, condition: Tensor, rows: Tensor, rng: torch.Generator, n_probes: int, n_cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean-square change per squared unit, (V,), and its maps, (V, n_cells^2)."""
    if n_cells:
        jacobian = picture_jacobian(draw, condition, batch_size=BATCH)
        maps = effect_maps(rows, cell_grams(jacobian, n_cells)).cpu().numpy()
        return maps.sum(1), maps
    sketch = picture_sketch(draw, condition, n_probes=n_probes, rng=rng, batch_size=BATCH)
    none = np.zeros((len(rows), 0), np.float32)
    return rms_from_sketch(rows, sketch).square().cpu().numpy(), none
