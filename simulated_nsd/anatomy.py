"""A small brain on a voxel grid: folded cortex, white matter, cerebellum, and how it looks in EPI.

Each hemisphere is a star-shaped body around its own centre. Its surface is known in every
direction, so the direction from the centre is a coordinate on the cortical sheet, much as on
FreeSurfer's sphere: areas and maps are laid out there and keep their neighbourhood in the volume.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

OUTSIDE, FLUID, CORTEX, WHITE, CEREBELLUM, VENTRICLE = range(6)

RIBBON = 1.7  # thickness of cortex in voxels
FOLD_SPACING = 6.5  # voxels between neighbouring sulci
N_WAVES = 40
CALCARINE = np.array([[0.25, -0.95, -0.1], [-0.6, -0.72, -0.02], [-0.92, -0.3, 0.12]])
SYLVIAN = np.array([[0.75, 0.62, -0.32], [0.97, 0.15, -0.12], [0.95, -0.2, 0.14]])
# Mean EPI and T1 intensity of OUTSIDE ... VENTRICLE, arbitrary scanner units.
EPI_LEVEL = np.array([40.0, 1250.0, 1120.0, 860.0, 1050.0, 1420.0])
T1_LEVEL = np.array([25.0, 230.0, 620.0, 930.0, 640.0, 180.0])


@dataclass(frozen=True)
class Anatomy:
    """Tissue and cortical coordinates.

    Attributes
    ----------
    tissue : ndarray of int8, shape (X, Y, Z)
        One of OUTSIDE, FLUID, CORTEX, WHITE, CEREBELLUM, VENTRICLE.
    brainmask : ndarray of bool, shape (X, Y, Z)
        Brain and the fluid next to it, as liberal as NSD's.
    side : ndarray of int8, shape (X, Y, Z)
        -1 in the left half (low X), +1 in the right half.
    direction : ndarray of float32, shape (X, Y, Z, 3)
        Unit vector from the hemisphere's centre: lateral (away from the midline), anterior,
        superior. The same in both hemispheres, so one template serves both.
    depth : ndarray of float32, shape (X, Y, Z)
        Distance to the nearest voxel outside the cerebrum, in voxels.
    """

    tissue: np.ndarray
    brainmask: np.ndarray
    side: np.ndarray
    direction: np.ndarray
    depth: np.ndarray

    @property
    def cortex(self) -> np.ndarray:
        """Grey matter of the cerebrum, bool, shape (X, Y, Z)."""
        return self.tissue == CORTEX


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., n) of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _arc_distance(direction: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Angle in radians from each direction (..., 3) to a line through ``corners`` (n, 3)."""
    steps = np.linspace(0, 1, 12)[:, None]
    points = np.concatenate([a * (1 - steps) + b * steps for a, b in pairwise(corners)])
    closest = np.max(direction @ unit(points).T, axis=-1)
    return np.arccos(np.clip(closest, -1, 1))


def _folds(direction: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Depth of folding in every direction, from 0 (crown of a gyrus) to 1 (fundus of a sulcus).

    The zero crossings of a random field with one spatial frequency form a labyrinth of lines of
    equal spacing, which is what sulci look like. Calcarine and Sylvian fissure are put in.
    """
    frequency = np.pi * radius / FOLD_SPACING  # zero crossings lie half a wavelength apart
    waves = frequency * unit(rng.standard_normal((N_WAVES, 3)))
    phases = rng.uniform(0, 2 * np.pi, N_WAVES)
    field = np.zeros(direction.shape[:-1])
    for wave, phase in zip(waves, phases, strict=True):
        field += np.cos(direction @ wave + phase)
    field *= np.sqrt(2 / N_WAVES)
    sulcus = np.exp(-((field / 0.26) ** 2))
    for line, width in ((CALCARINE, 0.9), (SYLVIAN, 1.4)):
        width *= min(1.0, radius / 17)  # a fissure must not swallow a very small brain
        distance = _arc_distance(direction, line) * radius  # in voxels
        own = np.exp(-((distance / width) ** 2))
        # A main fissure keeps a gyrus on each side: no other sulcus within two voxels of it.
        clear = 1 - np.exp(-((distance / (width + 1.6)) ** 4))
        sulcus = np.maximum(sulcus * clear, own)
    return sulcus


def make_anatomy(grid: tuple[int, ...], rng: np.random.Generator) -> Anatomy:
    """Build a brain that fills a grid, except for a border of about two voxels.

    Parameters
    ----------
    grid : tuple of int
        X, Y, Z; first voxel left, posterior, inferior (axes R, A, S).
    rng : numpy.random.Generator
        Draws the folding.

    Returns
    -------
    Anatomy
    """
    centred = [np.arange(n) - (n - 1) / 2 for n in grid]
    x, y, z = np.meshgrid(*centred, indexing="ij")
    half = np.array(grid) / 2 - 2.2  # semi-axes of the brain
    side = np.where(x < 0, -1, 1).astype(np.int8)
    m, z = np.abs(x), z - 0.08 * half[2]  # distance from the midline; brain sits a little high
    # Frontal lobes are narrower than the back of the head.
    wide = half[0] * (1 - 0.16 * np.clip(y / half[1], 0, 1) ** 2)
    centre_m = 0.40 * half[0]
    scaled = np.stack([(m - centre_m) / (0.60 * wide), y / half[1], z / half[2]], axis=-1)
    distance = np.linalg.norm(scaled, axis=-1)
    direction = scaled / np.maximum(distance, 1e-6)[..., None]

    surface = _surface(direction, centre_m, half)
    left, right = (_folds(direction, half.mean(), rng) for _ in range(2))
    sulcus = np.where(side < 0, left, right)
    # Folds are shallower where the hemispheres face each other and near the poles of the grid.
    reach = np.minimum(0.62, 7.0 / half.mean()) * np.where(direction[..., 0] < -0.5, 0.8, 1.0)
    cerebrum = (distance < surface * (1 - reach * sulcus)) & (m > 0.4)
    return _tissues(cerebrum, distance, surface, side, direction, (m, y, z), half)


def _surface(direction: np.ndarray, centre_m: float, half: np.ndarray) -> np.ndarray:
    """Distance, in scaled units, from the centre to the unfolded surface in each direction."""
    # The medial wall: the plane m = 0.7, reached at this distance in medial directions.
    inward = np.maximum(-direction[..., 0], 1e-6)
    wall = (centre_m - 0.7) / (0.60 * half[0] * inward)
    # Flat underside: the brain is less deep below its centre than above it.
    below = np.maximum(-direction[..., 2], 1e-6)
    base = np.where(direction[..., 1] > 0.35, 0.62, 0.86) / below
    return np.minimum(np.minimum(1.0, wall), base)


def _tissues(cerebrum, distance, surface, side, direction, position, half) -> Anatomy:
    """Sort voxels into tissues once the cerebrum's outline is known."""
    m, y, z = position
    low = (m / (0.70 * half[0])) ** 2 + ((y + 0.50 * half[1]) / (0.34 * half[1])) ** 2
    low = low + ((z + 0.80 * half[2]) / (0.27 * half[2])) ** 2
    cerebellum = low < 1
    stem = (m / (0.19 * half[0])) ** 2 + ((y + 0.1 * half[1]) / (0.17 * half[1])) ** 2 < 1
    stem &= z < 0
    cerebrum &= (low > 1.35) & ~stem
    depth = ndimage.distance_transform_edt(cerebrum | stem).astype(np.float32)
    tissue = np.full(cerebrum.shape, OUTSIDE, np.int8)
    tissue[(distance < surface + 1.3 / half.mean()) | (low < 1.35)] = FLUID
    tissue[cerebrum] = CORTEX
    tissue[cerebrum & (depth > RIBBON)] = WHITE
    # Deep grey nuclei and the callosum would need a real atlas; the core is white matter.
    core = (m / (0.40 * half[0])) ** 2 + (y / (0.48 * half[1])) ** 2 + (z / (0.34 * half[2])) ** 2
    tissue[core < 1] = WHITE
    horns = ((m - 0.17 * half[0]) / (0.09 * half[0])) ** 2 + (y / (0.38 * half[1])) ** 2
    tissue[(horns + ((z - 0.12 * half[2]) / (0.16 * half[2])) ** 2) < 1] = VENTRICLE
    tissue[cerebellum] = CEREBELLUM
    tissue[stem & (z > -0.98 * half[2])] = WHITE
    brainmask = ndimage.binary_closing(tissue > FLUID, iterations=2)
    brainmask = ndimage.binary_dilation(brainmask) & ndimage.binary_fill_holes(tissue > OUTSIDE)
    tissue[~brainmask] = OUTSIDE
    return Anatomy(tissue, brainmask, side, direction.astype(np.float32), depth)


def mean_volumes(anatomy: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean EPI and T1-weighted volumes with blur, coil sensitivity, dropout and noise.

    Parameters
    ----------
    anatomy : Anatomy
        The brain.
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    epi, t1 : ndarray of float32, shape (X, Y, Z)
        Arbitrary scanner units.
    """
    grid = anatomy.tissue.shape
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid), indexing="ij")
    radius2 = sum(a**2 for a in axes) / 3
    epi = ndimage.gaussian_filter(EPI_LEVEL[anatomy.tissue], 0.45) * (0.82 + 0.5 * radius2)
    # Air in the sinuses takes signal from orbitofrontal cortex, as in every gradient-echo EPI.
    sinus = (axes[0] / 0.35) ** 2 + ((axes[1] - 0.72) / 0.3) ** 2 + ((axes[2] + 0.62) / 0.35) ** 2
    epi *= 1 - 0.75 * np.exp(-sinus)
    t1 = ndimage.gaussian_filter(T1_LEVEL[anatomy.tissue], 0.35) * (1.05 - 0.15 * radius2)
    epi += rng.normal(0, 18, grid)
    t1 += rng.normal(0, 12, grid)
    return np.abs(epi).astype(np.float32), np.abs(t1).astype(np.float32)
