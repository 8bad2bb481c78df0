"""Regions of interest: label volumes, their names, and masks of them and of their unions.

In NSD's label volumes -1 is outside cortex (or, in files of one hemisphere, in the other), 0 is
cortex without a label, and 1 to N are the labels. Only labels above 0 are areas.
"""

import re

import numpy as np

from ..project.artifacts import own_files
from ..project.errors import DataError
from ..project.reading import reading
from .maps import read_brainmask, read_volume
from .paths import REMEDY, NSDLayout

# Label names in the order of their ids, as NSD's documentation and colour tables give them. Used
# where the colour table (``.ctab``) of an atlas is not in the folder.
PUBLISHED_LABELS = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "streams": (
        *("early", "midventral", "midlateral", "midparietal", "ventral", "lateral"),
        "parietal",
    ),
    "Kastner2015": (
        *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2"),
        *("PHC1", "PHC2", "TO2", "TO1", "LO2", "LO1", "V3B", "V3A"),
        *("IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
    ),
}

# Name by which :func:`roi_mask` gives the whole brain.
BRAINMASK = "brainmask"

# An id, a name that may hold spaces, and in FreeSurfer's own tables a colour of three or four
# numbers. Real lines of NSD end in tabs and spaces.
CTAB_LINE = re.compile(r"\s*(-?\d+)\s+(\S.*?)(?:(?:\s+\d+){3,4})?\s*")


def available_rois(layout: NSDLayout) -> list[str]:
    """Names of the atlases whose volumes are in the folder, in alphabetical order."""
    files = own_files(layout.roi("any").parent, "*.nii.gz")
    names = [path.name.removesuffix(".nii.gz") for path in files]
    return sorted(name for name in names if not name.startswith(("lh.", "rh.")))


def read_labels(layout: NSDLayout, name: str) -> dict[int, str]:
    """Read the label names of an atlas: the subject's table, or :data:`PUBLISHED_LABELS`.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        The atlas, e.g. ``"prf-visualrois"``.

    Returns
    -------
    dict of int to str
        Name of each label id, from 1.

    Raises
    ------
    DataError
        If the colour table cannot be parsed, names an id twice, or is missing and the names are not
        published.
    """
    path = layout.ctab(name)
    if not path.is_file():
        if name not in PUBLISHED_LABELS:
            raise DataError(
                f"the label names of {name} are missing: {path} does not exist. {REMEDY} Or use "
                "the atlas as a whole."
            )
        return dict(enumerate(PUBLISHED_LABELS[name], start=1))
    names = {}
    with reading(path, f"the label names of {name}", damaged=REMEDY):
        text = path.read_text(errors="replace")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = CTAB_LINE.fullmatch(line)
        if not match or int(match[1]) in names:
            raise DataError(f"{path} has the line {line!r}; expected a new id and a name. {REMEDY}")
        names[int(match[1])] = match[2]
    return {i: label for i, label in names.items() if i > 0}


def read_roi(
    layout: NSDLayout, name: str, hemisphere: str | None = None
) -> tuple[np.ndarray, dict[int, str]]:
    """Read the label volume of an atlas and the names of its labels.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        The atlas, e.g. ``"nsdgeneral"``, ``"prf-visualrois"``, ``"Kastner2015"``, ``"HCP_MMP1"``.
    hemisphere : {"lh", "rh"}, optional
        Read one hemisphere; both by default, with the same ids.

    Returns
    -------
    labels : ndarray of int16, shape (X, Y, Z)
        -1 outside cortex (or hemisphere), 0 cortex without a label, 1 to N labels.
    names : dict of int to str
        Name of each label; some may have no voxel in this subject.

    Raises
    ------
    DataError
        If the file is missing or damaged, or holds anything but -1, 0 and the named labels.
    """
    labels = _read_label_volume(layout, name, hemisphere)
    names = read_labels(layout, name)
    unnamed = sorted(set(np.unique(labels[labels > 0]).tolist()) - set(names))
    if unnamed:
        raise DataError(
            f"{layout.roi(name, hemisphere)} has the labels {unnamed}, without a name in "
            f"{layout.ctab(name).name}. Fetch both again."
        )
    return labels, names


def _read_label_volume(layout: NSDLayout, name: str, hemisphere: str | None) -> np.ndarray:
    path = layout.roi(name, hemisphere)
    if not path.is_file():
        raise DataError(
            f"the atlas {name} is missing: {path} does not exist. In its folder are "
            f"{available_rois(layout)}. Choose one of these. {REMEDY}"
        )
    volume, _ = read_volume(path, f"the atlas {name}")
    with np.errstate(invalid="ignore"):
        labels = volume.astype(np.int16)
    if not np.array_equal(labels, volume) or labels.min() < -1:
        raise DataError(
            f"{path} holds other values than -1, 0 and labels from 1. Was it resampled? Fetch the "
            "original."
        )
    return labels


def roi_mask(layout: NSDLayout, name: str = "nsdgeneral") -> np.ndarray:
    """Mask of the voxels of an atlas, of some of its areas, of a union of these, or of the brain.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    name : str
        ``"nsdgeneral"`` is all that this atlas labels, ``"lh.nsdgeneral"`` (as the file is named)
        one hemisphere of it, ``"prf-visualrois:V1v,V1d"`` some of its areas, ``"brainmask"`` every
        voxel that holds betas. Joined by ``+`` they are united:
        ``"nsdgeneral+floc-faces+HCP_MMP1:FFC"``.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)

    Raises
    ------
    DataError
        As :func:`read_roi`, or if the atlas has no label of a given name.
    """
    masks = {term: _term_mask(layout, *parse_term(term)) for term in split_union(name)}
    shapes = {term: mask.shape for term, mask in masks.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"the atlases of {name!r} have different shapes {shapes}. Fetch those of "
            f"{layout.subject_name} in {layout.space}."
        )
    return np.logical_or.reduce(list(masks.values()))


def split_union(name: str) -> list[str]:
    """Take "a+b" apart; a label may end in a plus ("ecc4+"), an atlas starts with a letter."""
    terms = [term.strip() for term in re.split(r"\+(?=\s*[A-Za-z])", name)]
    if not all(terms):
        raise DataError(f"the ROI is {name!r}; expected a name such as 'nsdgeneral+floc-faces'.")
    return terms


def parse_term(term: str) -> tuple[str | None, str, list[str] | None]:
    """Take "lh.atlas:area,area" apart: hemisphere, atlas, areas."""
    side, atlas, areas = re.fullmatch(r"(?:([lr]h)\.)?([^:]*)(?::(.*))?", term, re.S).groups()
    return side, atlas.strip(), areas if areas is None else [a.strip() for a in areas.split(",")]


def _term_mask(
    layout: NSDLayout, side: str | None, atlas: str, areas: list[str] | None
) -> np.ndarray:
    if atlas == BRAINMASK:
        if areas is not None or side:
            raise DataError("brainmask has no areas and no hemispheres. Expected: brainmask alone.")
        return read_brainmask(layout)
    if areas is None and not layout.ctab(atlas).is_file() and atlas not in PUBLISHED_LABELS:
        return _read_label_volume(layout, atlas, side) > 0  # needs no names
    labels, names = read_roi(layout, atlas, side)
    if areas is None:
        return labels > 0
    unknown = set(areas) - set(names.values())
    if unknown:
        raise DataError(f"{atlas} has no labels {sorted(unknown)}; it has {list(names.values())}.")
    return np.isin(labels, [i for i, label in names.items() if label in areas])


# Atlases of NSD whose labels are read from the subject's folder only.
MORE_ATLASES = ("HCP_MMP1", "MTL", "corticalsulc", "thalamus", BRAINMASK)

_SINGLE = ("prf-visualrois", "floc-faces", "floc-places", "floc-bodies", "floc-words", "streams")

# Name of an area to the atlas and labels that hold it.
FIELD_NAMES = (
    {label: f"{atlas}:{label}" for atlas in _SINGLE for label in PUBLISHED_LABELS[atlas]}
    | {name: f"prf-visualrois:{name}v,{name}d" for name in ("V1", "V2", "V3")}
    | {name: f"floc-{name}" for name in ("faces", "places", "bodies", "words")}
    | {"FFA": "floc-faces:FFA-1,FFA-2", "FBA": "floc-bodies:FBA-1,FBA-2"}
    | {"VWFA": "floc-words:VWFA-1,VWFA-2"}
)


def region(name: str) -> str:
    """Say where the voxels of an area are, in the words of ``data.roi``.

    Parameters
    ----------
    name : str
        A name of the field (a key of :data:`FIELD_NAMES`), an atlas as in ``data.roi``
        (``"nsdgeneral"``, ``"lh.streams:early"``), or several joined by ``+``: ``"V1+faces"``.

    Returns
    -------
    str
        Such as ``"prf-visualrois:V1v,V1d+floc-faces"``.

    Raises
    ------
    DataError
        If a part is neither; the message lists the valid names.
    """
    return "+".join(_term(term, name) for term in split_union(name))


def _term(term: str, name: str) -> str:
    if term in FIELD_NAMES:
        return FIELD_NAMES[term]
    _, atlas, areas = parse_term(term)
    atlases = (*PUBLISHED_LABELS, *MORE_ATLASES)
    if atlas not in atlases:
        raise DataError(
            f"no area {term!r} in {name!r}. Expected: a name such as {', '.join(FIELD_NAMES)}; an "
            f"atlas ({', '.join(atlases)}); some of its labels, as HCP_MMP1:FFC; or a union by +."
        )
    known = PUBLISHED_LABELS.get(atlas, areas or ())
    unknown = [area for area in areas or () if area not in known]
    if unknown:
        raise DataError(f"{atlas} has no labels {unknown}; it has {', '.join(known)}.")
    return term
