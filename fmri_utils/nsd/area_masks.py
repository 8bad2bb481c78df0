"""The areas that voxels belong to, as masks over the voxels of a region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from ..project.errors import DataError
from .paths import NSDLayout
from .rois import LabelTable, read_roi
from .volumes import check_mask

FAMILIES = MappingProxyType(
    {
        "visual": "prf-visualrois",
        "eccentricity": "prf-eccrois",
        "faces": "floc-faces",
        "places": "floc-places",
        "bodies": "floc-bodies",
        "words": "floc-words",
        "streams": "streams",
        "hemispheres": "nsdgeneral",
    }
)
"""Families of :func:`visual_areas` and the atlas that each is read from."""

FLOC = ("faces", "places", "bodies", "words")
NAMED_AREAS = ("V1", "V2", "V3", "hV4", "faces", "bodies", "places", "words")
MAIN_AREAS = (*NAMED_AREAS, "unassigned")
MERGED = MappingProxyType({"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")})


class Areas(dict):
    """Areas by name, each a bool array over voxels.

    Attributes
    ----------
    label_source : dict of str to str
        Where each family's names come from; see :class:`LabelTable`.
    missing : tuple of str
        Families that were not asked for by name and whose files are not in the folder.
    """

    def __init__(self):
        super().__init__()
        self.label_source: dict[str, str] = {}
        self.missing: tuple[str, ...] = ()


def atlas_areas(
    layout: NSDLayout, name: str, mask: np.ndarray, hemisphere: str | None = None
) -> Areas:
    """Say for every voxel of a mask in which label of one atlas it is, e.g. of HCP_MMP1.

    The labels of several atlases have the same names (V1, RSC), so each is a set of its own.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        The atlas.
    mask : ndarray of bool, shape (X, Y, Z)
        The voxels.
    hemisphere : {"lh", "rh"}, optional
        Only this hemisphere.

    Returns
    -------
    Areas
        Dict of label name to bool array (n_voxels,), in the order of the ids and of
        ``volume[mask]``. A label without a voxel in the mask is all False.
    """
    labels, names = read_roi(layout, name, hemisphere)
    areas = Areas()
    areas.label_source[name] = names.label_source
    areas.update(_by_name(labels[check_mask(mask, labels.shape, f"the atlas {name}")], names))
    return areas


def _by_name(labels: np.ndarray, names: LabelTable) -> dict[str, np.ndarray]:
    """Where each name is; labels that share a name are united."""
    found: dict[str, np.ndarray] = {}
    for number, name in names.items():
        found[name] = found.get(name, False) | (labels == number)
    return found


def visual_areas(
    layout: NSDLayout,
    mask: np.ndarray,
    families: Iterable[str] | None = None,
    *,
    detail: bool = False,
) -> Areas:
    """Say for every voxel of a mask to which visual areas it belongs.

    Areas overlap between families, and extend outside nsdgeneral: here they are intersected with
    the mask. An area without a voxel in the mask is all False.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    mask : ndarray of bool, shape (X, Y, Z)
        The voxels, e.g. ``roi_mask(layout, "nsdgeneral")``.
    families : iterable of str, optional
        Any of :data:`FAMILIES`. By default those whose files are in the folder; the others are
        listed in ``missing`` of the result.
    detail : bool
        Also give the single labels (V1v, FFA-1, ...) of merged areas.

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
        If a family that was asked for by name is unknown or not in the folder.
    """
    wanted = list(FAMILIES) if families is None else _check_families(families)
    areas = Areas()
    there = [f for f in wanted if families is not None or _is_there(layout, f)]
    areas.missing = tuple(f for f in wanted if f not in there)
    assigned, any_assigned = np.zeros(np.count_nonzero(mask), dtype=bool), False
    for family in there:
        if family == "hemispheres":
            for side in ("lh", "rh"):
                labels, _ = read_roi(layout, FAMILIES[family], side)
                areas[side] = labels[check_mask(mask, labels.shape, "the atlas")] >= 0
            continue
        labels, names = read_roi(layout, FAMILIES[family])
        labels = labels[check_mask(mask, labels.shape, "the atlas")]
        areas.label_source[family] = names.label_source
        areas.update(_family_areas(family, labels, names, detail))
        if family == "visual" or family in FLOC:
            assigned, any_assigned = assigned | (labels > 0), True
    if any_assigned:
        areas["unassigned"] = ~assigned
    return areas


def _check_families(families: Iterable[str]) -> list[str]:
    wanted = [families] if isinstance(families, str) else list(families)
    unknown = [f for f in wanted if f not in FAMILIES]
    if unknown:
        raise DataError(f"unknown families of areas {unknown}; expected any of {list(FAMILIES)}.")
    return wanted


def _is_there(layout: NSDLayout, family: str) -> bool:
    sides = ("lh", "rh") if family == "hemispheres" else (None,)
    return all(layout.roi(FAMILIES[family], side).is_file() for side in sides)


def _family_areas(
    family: str, labels: np.ndarray, names: LabelTable, detail: bool
) -> dict[str, np.ndarray]:
    """Areas of one family; ``labels`` has one id per voxel, shape (n_voxels,)."""
    single = _by_name(labels, names)
    if family in FLOC:
        return {family: labels > 0} | (single if detail else {})
    if family != "visual":
        return single
    parts = {part for merged in MERGED.values() for part in merged}
    absent = parts - set(single)
    if absent:
        raise DataError(f"{FAMILIES[family]} names no {sorted(absent)}; it has {list(single)}.")
    areas = {name: single[a] | single[b] for name, (a, b) in MERGED.items()}
    areas |= {name: where for name, where in single.items() if detail or name not in parts}
    return areas


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
