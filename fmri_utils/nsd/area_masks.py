"""The areas that voxels belong to, as masks over the voxels of a region."""

from collections.abc import Iterable, Mapping

import numpy as np

from ..project.errors import DataError
from .maps import check_mask
from .paths import NSDLayout
from .rois import read_roi

FLOC = ("faces", "places", "bodies", "words")
# Families of :func:`visual_areas` and the atlas that each is read from.
FAMILIES = {
    "visual": "prf-visualrois",
    "eccentricity": "prf-eccrois",
    **{name: f"floc-{name}" for name in FLOC},
    "streams": "streams",
    "hemispheres": "nsdgeneral",
}

NAMED_AREAS = ("V1", "V2", "V3", "hV4", "faces", "bodies", "places", "words")
MAIN_AREAS = (*NAMED_AREAS, "unassigned")
MERGED = {"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")}


class Areas(dict):
    """Areas by name, each a bool array over voxels.

    Attributes
    ----------
    missing : tuple of str
        Families whose files are not in the folder.
    """

    missing: tuple[str, ...] = ()


def visual_areas(layout: NSDLayout, mask: np.ndarray) -> Areas:
    """Say for every voxel of a mask to which visual areas it belongs.

    Areas overlap between families, and extend outside nsdgeneral: here they are intersected with
    the mask. An area without a voxel in the mask is all False.

    Parameters
    ----------
    layout : NSDLayout
        The subject. Families whose files are not in its folder are listed in ``missing`` of the
        result.
    mask : ndarray of bool, shape (X, Y, Z)
        The voxels, e.g. ``roi_mask(layout, "nsdgeneral")``.

    Returns
    -------
    Areas
        Dict of name to bool array (n_voxels,), in the order of ``volume[mask]``.
        ``visual``: V1, V2, V3, hV4. ``eccentricity``: the bands ecc0pt5 to ecc4+.
        ``faces``, ``places``, ``bodies``, ``words``: the union of that localizer's areas.
        ``streams``: early, midventral, ..., parietal. ``hemispheres``: lh, rh. With any of visual,
        faces, places, bodies and words, ``unassigned``: voxels in no area of those families.

    Raises
    ------
    DataError
        If a file is damaged, or is not of this subject and space.
    """
    areas = Areas()
    assigned = []
    for family in FAMILIES:
        sides = ("lh", "rh") if family == "hemispheres" else (None,)
        if not all(layout.roi(FAMILIES[family], side).is_file() for side in sides):
            areas.missing += (family,)
            continue
        for side in sides:
            labels, names = read_roi(layout, FAMILIES[family], side)
            labels = labels[check_mask(mask, labels.shape, "the atlas")]
            areas |= {side: labels >= 0} if side else _family_areas(family, labels, names)
        if family in ("visual", *FLOC):
            assigned.append(labels > 0)
    if assigned:
        areas["unassigned"] = ~np.logical_or.reduce(assigned)
    return areas


def _family_areas(
    family: str, labels: np.ndarray, names: Mapping[int, str]
) -> dict[str, np.ndarray]:
    """Areas of one family; ``labels`` has one id per voxel, shape (n_voxels,)."""
    if family in FLOC:
        return {family: labels > 0}
    single: dict[str, np.ndarray] = {}
    for number, name in names.items():  # labels that share a name are united
        single[name] = single.get(name, False) | (labels == number)
    if family != "visual":
        return single
    absent = {part for parts in MERGED.values() for part in parts} - set(single)
    if absent:
        raise DataError(f"{FAMILIES[family]} names no {sorted(absent)}; it has {list(single)}.")
    merged = {name: single.pop(a) | single.pop(b) for name, (a, b) in MERGED.items()}
    return merged | single


def main_areas(areas: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of :data:`MAIN_AREAS` that hold a voxel, in that order, for figures by area."""
    return {name: areas[name] for name in MAIN_AREAS if name in areas and areas[name].any()}


def not_available(what: str, why: str) -> str:
    """Print, and return, the line that stands where a region has nothing to show."""
    line = f"not available for this region: {what} ({why})"
    print(line)
    return line


def available(areas: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those of some areas that hold a voxel of the region; a printed line names the others.

    Parameters
    ----------
    areas : mapping of str to bool ndarray, shape (n_voxels,)
        From :func:`visual_areas`.
    names : iterable of str

    Returns
    -------
    dict of str to bool ndarray, shape (n_voxels,)
        In the order of ``names``; empty if none of them holds a voxel.
    """
    names = list(names)
    found = {name: areas[name] for name in names if name in areas and areas[name].any()}
    lacking = [name for name in names if name not in found]
    if lacking:
        not_available(", ".join(lacking), "no voxel")
    return found


def voxel_names(areas: Mapping[str, np.ndarray], voxels: Iterable[int]) -> list[str]:
    """What to call voxels in figures: their main area and their number, as "V1, voxel 12"."""
    main = main_areas(areas)
    first = [next((n for n, where in main.items() if where[v]), "no area") for v in voxels]
    return [f"{name}, voxel {v}" for name, v in zip(first, voxels, strict=True)]
