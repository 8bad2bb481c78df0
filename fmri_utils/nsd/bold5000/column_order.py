"""Which column of an area's betas belongs to which voxel: proved on the data themselves.

Neighbouring voxels share blood vessels, blur and tuning, so their responses correlate more than
those of voxels further apart. If columns are assigned to voxels in a wrong order, "neighbours" are
pairs of any voxels, and the correlation drops.
"""

import itertools

import numpy as np

from ...project.errors import DataError
from .area_files import Area

# Axes from the slowest to the fastest, each with its direction.
ORDERS = tuple(
    "".join(sign + axis for sign, axis in zip(signs, axes, strict=True))
    for axes in itertools.permutations("xyz")
    for signs in itertools.product("+-", repeat=3)
)
NUMPY = "+x+y+z"  # as ``volume[mask]``; MATLAB's is "+z+y+x"
MOST_TRIALS = 1000  # enough for correlations; of the whole experiment, evenly spread
N_SHUFFLED = 20
N_SD = 4  # standard deviations of shuffled orders, above which a correlation is no chance
SAME_VOXEL = 0.9  # least correlation of one voxel's betas in the files of two areas
TELL = "Please tell us, with these numbers."


def columns_in_order(mask: np.ndarray, order: str) -> np.ndarray:
    """For each column of a table, the place of its voxel among ``volume[mask]``.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The area.
    order : str
        One of :data:`ORDERS`.

    Returns
    -------
    ndarray of int, shape (n_voxels,)
    """
    axes = ["xyz".index(axis) for axis in order[1::2]]
    directions = tuple(slice(None, None, int(f"{sign}1")) for sign in order[::2])
    turned = _places(mask).transpose(axes)[directions].ravel()
    return turned[turned >= 0]


def _places(mask: np.ndarray) -> np.ndarray:
    """Place of each voxel among ``volume[mask]``, -1 outside."""
    places = np.full(mask.shape, -1)
    places[mask] = np.arange(np.count_nonzero(mask))
    return places


def neighbours(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of voxels of a mask that share a face.

    Returns
    -------
    first, second : ndarray of int, shape (n_pairs,)
        Places among ``volume[mask]``.
    """
    lines = [np.moveaxis(_places(mask), axis, 0) for axis in range(3)]
    first = np.concatenate([line[:-1].ravel() for line in lines])
    second = np.concatenate([line[1:].ravel() for line in lines])
    both = (first >= 0) & (second >= 0)
    return first[both], second[both]


def neighbour_correlations(areas: list[Area], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Mean correlation of the betas of neighbouring voxels, for orders of the columns.

    Parameters
    ----------
    areas : list of Area
        Masks and betas.
    rng : numpy.random.Generator
        Draws the shuffled orders.

    Returns
    -------
    dict of str to ndarray
        Each of :data:`ORDERS`, one number; and "shuffled", shape (20,).
    """
    sums, n_pairs = dict.fromkeys((*ORDERS, "shuffled"), 0.0), 0
    for area in areas:
        first, second = neighbours(area.mask)
        correlation = _correlations(area.betas[:: -(-len(area.betas) // MOST_TRIALS)])
        n_pairs += first.size
        for order in ORDERS:
            column = np.argsort(columns_in_order(area.mask, order))  # of each voxel
            sums[order] += correlation[column[first], column[second]].sum()
        columns = rng.permuted(np.tile(np.arange(len(correlation)), (N_SHUFFLED, 1)), axis=1)
        sums["shuffled"] += correlation[columns[:, first], columns[:, second]].sum(axis=1)
    return {name: total / max(1, n_pairs) for name, total in sums.items()}


def _correlations(betas: np.ndarray) -> np.ndarray:
    """Correlations of all columns; 0 where a column is constant or not finite."""
    betas = np.where(np.isfinite(betas).all(axis=0), betas, 0).astype(np.float64)
    centred = betas - betas.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(length > 0, length, 1)
    return unit.T @ unit


def in_column_order(areas: list[Area], order: str, rng: np.random.Generator) -> list[Area]:
    """Areas whose columns follow ``volume[mask]``, after the proof that the order is right.

    Parameters
    ----------
    areas : list of Area
        As they were read.
    order : str
        One of :data:`ORDERS`, in which their columns follow the mask.
    rng : numpy.random.Generator
        Draws shuffled orders.

    Raises
    ------
    DataError
        If neighbours correlate more in another order, or not more than in shuffled ones, or if a
        voxel that lies in two areas has different betas in them.
    """
    if order not in ORDERS:
        raise DataError(f"the order of columns is {order!r}; expected one such as {NUMPY}.")
    found = neighbour_correlations(areas, rng)
    best, shuffled = max(ORDERS, key=found.get), found["shuffled"]
    said = (
        f"betas of neighbouring voxels correlate by {found[order]:.3f} on average if columns are "
        f"read in the order {order}, by {found[best]:.3f} in the order {best}, and by "
        f"{shuffled.mean():.3f} (SD {shuffled.std():.3f}) in shuffled orders"
    )
    if found[best] <= shuffled.mean() + N_SD * shuffled.std():
        raise DataError(
            f"{said}. Expected: more than in shuffled orders. So no voxel has a known place: check "
            f"that masks and betas are of the same subject. {TELL}"
        )
    if best != order:
        raise DataError(f"{said}. Expected: most in the order {order}. Read with {best}. {TELL}")
    sorted_areas = [
        area._replace(betas=area.betas[:, np.argsort(columns_in_order(area.mask, order))])
        for area in areas
    ]
    for pair in itertools.combinations(sorted_areas, 2):
        _check_overlap(*pair)
    return sorted_areas


def _check_overlap(one: Area, other: Area) -> None:
    """A voxel in two areas has one response, so the two files must agree on it."""
    both = one.mask & other.mask
    betas = [area.betas[:, both[area.mask]] for area in (one, other)]
    correlation = _correlations(np.hstack(betas))
    known = np.diag(correlation)[: both.sum()] > 0  # neither constant nor NaN
    same = np.diag(correlation, k=both.sum())[known]
    if same.size and same.mean() < SAME_VOXEL:
        raise DataError(
            f"{same.size} voxels lie in {one.side}{one.name} and in {other.side}{other.name}, but "
            f"their betas in the two files correlate by {same.mean():.2f} only; expected 1. So "
            f"columns and voxels do not belong together. {TELL}"
        )
