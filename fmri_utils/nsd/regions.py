"""The field's names of areas ("V1", "FFA") as regions that :func:`roi_mask` can read."""

from __future__ import annotations

from ..project.errors import DataError
from .rois import BRAINMASK, PUBLISHED_LABELS, parse_term, split_union

MORE_ATLASES = ("HCP_MMP1", "MTL", "corticalsulc", "thalamus", BRAINMASK)
"""Atlases of NSD whose labels are read from the subject's folder only."""

_SINGLE = ("prf-visualrois", "floc-faces", "floc-places", "floc-bodies", "floc-words", "streams")

FIELD_NAMES = (
    {label: f"{atlas}:{label}" for atlas in _SINGLE for label in PUBLISHED_LABELS[atlas]}
    | {name: f"prf-visualrois:{name}v,{name}d" for name in ("V1", "V2", "V3")}
    | {name: f"floc-{name}" for name in ("faces", "places", "bodies", "words")}
    | {"FFA": "floc-faces:FFA-1,FFA-2", "FBA": "floc-bodies:FBA-1,FBA-2"}
    | {"VWFA": "floc-words:VWFA-1,VWFA-2"}
)
"""Name of an area to the atlas and labels that hold it."""


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
