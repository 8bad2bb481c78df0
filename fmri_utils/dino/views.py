"""Views: what student and teacher are shown of one picture, or of one brain pattern."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from ..project.checks import check_finite, check_range
from ..project.errors import DataError

JITTER = 0.4  # largest change of brightness, contrast and saturation
GREY = 0.2  # share of the views without colour
N_LOCAL = 4  # local views of a brain pattern
DROPOUT = (0.2, 0.3)  # share of voxels set to zero (their mean over trials), global and local views
KEPT_REGIONS = 0.5  # share of the regions that a local view keeps


class Views(NamedTuple):
    """Views of a batch of things; row i of every view belongs to thing i.

    Attributes
    ----------
    shared : tuple of torch.Tensor, (B, ...)
        Global views, for student and teacher.
    own : tuple of torch.Tensor, (B, ...)
        Local views, for the student only.
    """

    shared: tuple[torch.Tensor, ...]
    own: tuple[torch.Tensor, ...] = ()


def check_inputs(inputs: torch.Tensor) -> None:
    """Refuse pictures (n, 3, H, W) of another range than [0, 1], and patterns (n, V) with NaN.

    Raises
    ------
    DataError
    """
    if inputs.ndim == 4:
        check_range(inputs, "pictures")
    else:
        check_finite(inputs, "patterns", ("trial", "voxel"))


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Uniform random numbers, (n,)."""
    return low + (high - low) * torch.rand(n, generator=generator)


def random_crops(
    images: torch.Tensor,
    size: int,
    scale: tuple[float, float],
    generator: torch.Generator,
    *,
    mirrored: float = 0.5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random rectangle of each picture, some of them mirrored, resized to a square.

    Parameters
    ----------
    images : torch.Tensor, (B, 3, H, W)
    size : int
        Pixels on a side of the result.
    scale : (float, float)
        Smallest and largest share of the picture's area.
    mirrored : float
        Share of the crops that are mirrored.

    Returns
    -------
    crops : torch.Tensor, (B, 3, size, size)
    boxes : torch.Tensor, (B, 4)
        Centre x, centre y, half width and half height, in units where the picture spans -1 to 1.
    """
    n = len(images)
    area = uniform(n, *scale, generator)
    aspect = torch.exp(uniform(n, math.log(3 / 4), math.log(4 / 3), generator))
    half_w = (area * aspect).sqrt().clamp(max=1.0)
    half_h = (area / aspect).sqrt().clamp(max=1.0)
    x = (1 - half_w) * uniform(n, -1, 1, generator)
    y = (1 - half_h) * uniform(n, -1, 1, generator)
    flip = torch.where(torch.rand(n, generator=generator) < mirrored, -1.0, 1.0)
    zero = torch.zeros(n)
    theta = torch.stack(
        [torch.stack([half_w * flip, zero, x], 1), torch.stack([zero, half_h, y], 1)], 1
    )  # (B, 2, 3)
    grid = functional.affine_grid(theta, [n, 3, size, size], align_corners=False)
    crops = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return crops, torch.stack([x, y, half_w, half_h], 1)


def jitter_colours(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation and hue at random, a share without colour.

    Hue may turn all the way round: what is left to recognise a scene by is shape.

    Parameters
    ----------
    images : torch.Tensor, (B, 3, H, W)
        RGB in [0, 1]; so is the result.
    """
    n = len(images)

    def factor() -> torch.Tensor:
        return uniform(n, 1 - JITTER, 1 + JITTER, generator).view(n, 1, 1, 1)

    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * factor() + mean * factor()
    luminance = images.mean(1, keepdim=True)
    saturation = factor() * (torch.rand(n, generator=generator) >= GREY).view(n, 1, 1, 1)
    colour = images - luminance  # a rotation about the grey axis turns the hue
    angle = uniform(n, -1, 1, generator) * math.pi
    cos, sin = angle.cos().view(n, 1, 1, 1), angle.sin().view(n, 1, 1, 1)
    across = (colour.roll(1, 1) - colour.roll(-1, 1)) / math.sqrt(3)
    return (luminance + saturation * (cos * colour + sin * across)).clamp(0, 1)


def multi_crop(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    n_local: int,
    global_size: int = 32,
    local_size: int = 16,
    global_scale: tuple[float, float] = (0.5, 1.0),
    local_scale: tuple[float, float] = (0.3, 0.6),
    mirrored: float = 0.5,
) -> Views:
    """Two large and several small crops of each picture (multi-crop, Caron et al. 2020).

    Parameters
    ----------
    images : torch.Tensor, (B, 3, H, W)
        RGB in [0, 1]; anything else is a DataError.
    n_local : int
        Small crops for each picture.
    global_size, local_size : int
        Pixels on a side of the crops.
    global_scale, local_scale : (float, float)
        Smallest and largest share of the picture's area.
    mirrored : float
        Share of the crops that are mirrored.
    """
    check_range(images, "images")
    kinds = [(global_size, global_scale)] * 2 + [(local_size, local_scale)] * n_local
    crops = []
    for size, scale in kinds:
        crop, _ = random_crops(images, size, scale, generator, mirrored=mirrored)
        crops.append(jitter_colours(crop, generator))
    return Views(tuple(crops[:2]), tuple(crops[2:]))


class RepeatSampler:
    """Views of brain patterns: two repeats of an image, and parts of them.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Single trials of training images.
    nsd_id : numpy.ndarray of int, (n_trials,)
        Image of each trial.
    regions : numpy.ndarray of int, (n_voxels,)
        Region of each voxel; a local view keeps some regions whole.
    test_ids : numpy.ndarray of int
        Images that no view may come from.

    Raises
    ------
    DataError
        If a trial of a test image is among ``betas``, an image has one trial only, or a beta is NaN
        or infinite.
    """

    def __init__(
        self, betas: np.ndarray, nsd_id: np.ndarray, regions: np.ndarray, test_ids: Sequence[int]
    ):
        self.betas, self.nsd_id = betas, nsd_id
        leaked = np.intersect1d(nsd_id, np.asarray(test_ids))
        if len(leaked):
            raise DataError(
                f"{len(leaked)} test images are among the trials to learn from (first: "
                f"{leaked[0]}). Expected: training images only. Leave out every trial of these."
            )
        check_finite(betas, "betas", ("trial", "voxel"))
        ids, counts = np.unique(nsd_id, return_counts=True)
        ids = ids[counts >= 2]
        if not len(ids):
            raise DataError("no image has two trials. Expected: repeats. Read more sessions.")
        self.rows = [np.flatnonzero(nsd_id == i) for i in ids]  # trials of each image
        self.tensor = torch.from_numpy(np.asarray(betas, np.float32))
        _, self.region = np.unique(regions, return_inverse=True)  # of each voxel, from 0

    def draw(self, n: int, generator: torch.Generator) -> tuple[Views, np.ndarray]:
        """Views of ``n`` different images, and the row of the trial behind each, (n_views, n)."""
        which = torch.randperm(len(self.rows), generator=generator)[:n].tolist()
        picks = [
            self.rows[i][torch.randperm(len(self.rows[i]), generator=generator)[:2].numpy()]
            for i in which
        ]
        pairs = np.stack(picks, 1)  # (2, n)
        shared = tuple(
            self._drop(self.tensor[torch.from_numpy(row)], DROPOUT[0], generator) for row in pairs
        )
        sources = [pairs[v % 2] for v in range(N_LOCAL)]
        own = []
        for row in sources:
            seen = self.tensor[torch.from_numpy(row)] * self._region_mask(len(which), generator)
            own.append(self._drop(seen, DROPOUT[1], generator))
        return Views(shared, tuple(own)), np.stack([*pairs, *sources])

    @staticmethod
    def _drop(patterns: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
        """Silence a share of the voxels, others in each row; the rest are scaled up for it."""
        kept = torch.rand(patterns.shape, generator=generator) >= share
        return patterns * kept / (1 - share)

    def _region_mask(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Keep a random half of the regions in each row, (n, n_voxels)."""
        n_regions = self.region.max() + 1
        n_kept = max(1, round(KEPT_REGIONS * n_regions))
        order = torch.rand(n, n_regions, generator=generator).argsort(1)
        return (order < n_kept).float()[:, torch.from_numpy(self.region)]
