"""Random groups as large as an area: voxels scattered over the region, or contiguous patches.

The two ask different things. Any large set of voxels does well, and voxels that lie apart share
less noise and know different things. So an area that differs from *scattered* voxels may differ for
no other reason than that its voxels are neighbours. What is special about an area among pieces of
cortex shows against *patches* of its size.

One draw serves all sizes at once: it puts the voxels in an order, and the first n of them are a
group of n.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..project.checks import check_finite
from ..project.errors import DataError


class RandomGroups(NamedTuple):
    """A kind of random group.

    Attributes
    ----------
    parts : tuple of numpy.ndarray of int
        Voxels that are drawn apart from each other, such as those of the two hemispheres. A
        group has as many voxels in each part as the area that it is compared with.
    coordinates : numpy.ndarray, (n_voxels, 3), or None
        Places in mm. In each part a group is then the ball around a random voxel of it: the
        nearest voxels of that part. Without coordinates its voxels lie anywhere in the part.
    """

    parts: tuple[np.ndarray, ...]
    coordinates: np.ndarray | None = None

    def sizes(self, groups: Mapping[str, np.ndarray]) -> np.ndarray:
        """Voxels of each area in each part, int (n_groups, n_parts)."""
        found = [
            [np.count_nonzero(group[part]) for part in self.parts] for group in groups.values()
        ]
        return np.array(found, int).reshape(len(groups), len(self.parts))

    def orders(self, rng: np.random.Generator) -> list[np.ndarray]:
        """One draw: the voxels of each part in the order in which they join a group."""
        if self.coordinates is None:
            return [rng.permutation(part) for part in self.parts]
        found = []
        for part in self.parts:
            places = self.coordinates[part]
            distance = np.linalg.norm(places - places[rng.integers(len(part))], axis=1)
            # On a grid many voxels are equally far: which of them come first is drawn as well.
            found.append(part[np.lexsort((rng.random(len(part)), distance.round(3)))])
        return found

    def draw(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The voxels of one random group with so many in each part, ``sizes`` (n_parts,)."""
        pairs = zip(self.orders(rng), sizes, strict=True)
        return np.concatenate([order[:size] for order, size in pairs])

    def sums(
        self, values: np.ndarray, weights: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """What one draw's groups of all sizes add to ``values @ weights``.

        Parameters
        ----------
        values, weights : numpy.ndarray, (n_rows, n_voxels) and (n_voxels, C)
        sizes : numpy.ndarray of int, (n_groups, n_parts)
            From :meth:`sizes`.

        Returns
        -------
        numpy.ndarray, (n_groups, n_rows, C)
        """
        total = np.zeros((len(sizes), len(values), weights.shape[1]), weights.dtype)
        for order, counts in zip(self.orders(rng), sizes.T, strict=True):
            different, which = np.unique(counts, return_inverse=True)
            steps = np.split(order[: different[-1]], different[:-1])
            total += np.cumsum([values[:, v] @ weights[v] for v in steps], axis=0)[which]
        return total


def scattered(n_voxels: int) -> RandomGroups:
    """Random voxels anywhere in the region."""
    return RandomGroups((np.arange(n_voxels),))


def patches(coordinates: np.ndarray, left: np.ndarray | None = None) -> RandomGroups:
    """Contiguous patches, one in each hemisphere.

    Parameters
    ----------
    coordinates : numpy.ndarray, (n_voxels, 3)
        Millimetres, from :func:`fmri_utils.nsd.quality.voxel_coordinates`.
    left : numpy.ndarray of bool, (n_voxels,), optional
        Voxels of the left hemisphere. Without it there is one patch over both.

    Raises
    ------
    DataError
        If the two do not match, or a place is not finite.
    """
    check_finite(coordinates, "coordinates", ("voxel", "axis"))
    left = np.zeros(len(coordinates), bool) if left is None else np.asarray(left, bool)
    if left.shape != (len(coordinates),):
        raise DataError(
            f"hemispheres of shape {left.shape} came with {len(coordinates)} places. Expected: one "
            "for each voxel."
        )
    parts = (np.flatnonzero(side) for side in (left, ~left) if side.any())
    return RandomGroups(tuple(parts), np.asarray(coordinates))


def shared_noise(residuals: np.ndarray, group: np.ndarray) -> float:
    """Mean correlation of the noise of two voxels of a group.

    Averaging over n voxels with mean correlation r leaves r + (1 - r) / n of the noise variance.

    Parameters
    ----------
    residuals : numpy.ndarray, (n_trials, n_voxels)
        From :func:`fmri_utils.nsd.quality.noise_residuals`; NaN, where a voxel has no data, count
        as no noise.
    group : numpy.ndarray
        Bool (n_voxels,), or indices of voxels; two or more voxels with noise.
    """
    noise = np.nan_to_num(residuals[:, group])
    noise = noise - noise.mean(0)
    noise = noise[:, noise.any(0)] / noise[:, noise.any(0)].std(0)
    n = noise.shape[1]
    return float((n * (noise.mean(1) ** 2).mean() - 1) / (n - 1)) if n > 1 else np.nan
