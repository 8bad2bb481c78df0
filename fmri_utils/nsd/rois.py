"""Regions of interest: label volumes, their names, and the areas as masks over voxels.

In NSD's label volumes -1 is outside cortex (or, in files of one hemisphere, in the other), 0 is
cortex without a label, and 1 to N are the labels. Only labels above 0 are areas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from ..errors import DataError
from .layout import REMEDY, NSDLayout
from .volumes import check_mask, read_volume

PUBLISHED_LABELS = MappingProxyType(
    {
        "nsdgeneral": ("nsdgeneral",),
        "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
        "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
        "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
        "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
        "floc-places": ("OPA", "PPA", "RSC"),
        "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
        "streams": (
            "early",
            "midventral",
            "midlateral",
            "midparietal",
            "ventral",
            "lateral",
            "parietal",
        ),
    }
)
"""Label names in the order of their ids, as NSD's documentation and colour tables give them.

Used where the colour table (``.ctab``) of an atlas is not in the folder.
"""

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
MAIN_AREAS = ("V1", "V2", "V3", "hV4", "faces", "bodies", "places", "words", "unassigned")
MERGED = MappingProxyType({"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")})


class LabelTable(dict):
    """Names of an atlas by label id, from 1.

    Attributes
    ----------
    label_source : str
        ``"ctab"`` if the names were read from the subject's colour table, ``"published"`` if that
        is not in the folder and :data:`PUBLISHED_LABELS` were used.
    """

    def __init__(self, names: dict[int, str], label_source: str):
        super().__init__(names)
        self.label_source = label_source


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


def read_labels(layout: NSDLayout, name: str) -> LabelTable:
    """Read the label names of an atlas.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        The atlas, e.g. ``"prf-visualrois"``.

    Raises
    ------
    DataError
        If the colour table cannot be parsed, or is missing and the names are not published.
    """
    path = layout.ctab(name)
    if not path.is_file():
        if name not in PUBLISHED_LABELS:
            raise DataError(f"the label names of {name} are missing: no {path}. {REMEDY}")
        return LabelTable(dict(enumerate(PUBLISHED_LABELS[name], start=1)), "published")
    names = {}
    for line in path.read_text().splitlines():
        # Columns are separated by any white space, and real lines end in tabs and spaces.
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) < 2 or not parts[0].lstrip("-").isdigit():
            raise DataError(f"{path} has the line {line!r}; expected an id and a name. {REMEDY}")
        if int(parts[0]) > 0:
            names[int(parts[0])] = parts[1]
    return LabelTable(names, "ctab")


def read_roi(
    layout: NSDLayout, name: str, hemisphere: str | None = None
) -> tuple[np.ndarray, LabelTable]:
    """Read the label volume of an atlas and the names of its labels.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        The atlas, e.g. ``"nsdgeneral"``, ``"prf-visualrois"``, ``"streams"``.
    hemisphere : {"lh", "rh"}, optional
        Read one hemisphere; both by default, with the same ids.

    Returns
    -------
    labels : ndarray of int16, shape (X, Y, Z)
        -1 outside cortex (or hemisphere), 0 cortex without a label, 1 to N labels.
    names : LabelTable
        Name of each label; some may have no voxel in this subject. ``names.label_source`` says
        where the names come from.

    Raises
    ------
    DataError
        If the file is missing or damaged, or holds anything but -1, 0 and the named labels.
    """
    path = layout.roi(name, hemisphere)
    volume, _ = read_volume(path, f"the atlas {name}")
    names = read_labels(layout, name)
    with np.errstate(invalid="ignore"):
        labels = volume.astype(np.int16)
    if not np.array_equal(labels, volume) or labels.min() < -1:
        raise DataError(
            f"{path} holds other values than -1 (outside cortex), 0 (no label) and labels from 1. "
            "It is not an NSD label volume, or it was resampled. Fetch the original."
        )
    unnamed = sorted(set(np.unique(labels[labels > 0]).tolist()) - set(names))
    if unnamed:
        raise DataError(
            f"{path} has the labels {unnamed}, for which there is no name ({names.label_source}: "
            f"{dict(names)}). Fetch {layout.ctab(name).name}, or the atlas, again."
        )
    return labels, names


def roi_mask(
    layout: NSDLayout,
    name: str = "nsdgeneral",
    *,
    areas: Iterable[str] | None = None,
    hemisphere: str | None = None,
) -> np.ndarray:
    """Mask of the voxels that an atlas labels.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        The atlas.
    areas : iterable of str, optional
        Only these labels, e.g. ``["V1v", "V1d"]``; all by default.
    hemisphere : {"lh", "rh"}, optional
        Only this hemisphere.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)

    Raises
    ------
    DataError
        As :func:`read_roi`, or if the atlas has no label of a given name.
    """
    labels, names = read_roi(layout, name, hemisphere)
    if areas is None:
        return labels > 0
    wanted = {areas} if isinstance(areas, str) else set(areas)
    unknown = wanted - set(names.values())
    if unknown:
        raise DataError(f"{name} has no labels {sorted(unknown)}; it has {list(names.values())}.")
    return np.isin(labels, [i for i, label in names.items() if label in wanted])


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
    single = {name: labels == i for i, name in names.items()}
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


def voxel_names(areas: Mapping[str, np.ndarray], voxels: Iterable[int]) -> list[str]:
    """What to call voxels in figures: their main area and their number, as "V1, voxel 12"."""
    main = main_areas(areas)
    first = [next((n for n, where in main.items() if where[v]), "no area") for v in voxels]
    return [f"{name}, voxel {v}" for name, v in zip(first, voxels, strict=True)]
