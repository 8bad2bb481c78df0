"""What to download, as given to ``make nsd-download``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fmri_utils.nsd.paths import SPACES
from fmri_utils.project.errors import DataError
from fmri_utils.project.settings import checked, settings

NSD_URL = "https://natural-scenes-dataset.s3.amazonaws.com"
COCO_URL = "https://s3.amazonaws.com/images.cocodataset.org"
"""COCO's own bucket. The name images.cocodataset.org has no certificate, so no HTTPS."""

N_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)
"""Sessions of subjects 1 to 8 (Allen et al., 2022)."""

N_IMAGES = 10_000
"""Different images that a subject sees in 40 sessions."""

ATLASES = (
    *("nsdgeneral", "prf-visualrois", "prf-eccrois", "floc-faces", "floc-words", "floc-places"),
    *("floc-bodies", "streams", "Kastner2015", "HCP_MMP1", "MTL", "corticalsulc", "thalamus"),
)
"""Atlases in the volume spaces, as the bucket lists them for subject 1."""

HELP = {
    "SUBJECT": "1 to 8; must be given",
    "SESSIONS": "such as 1-3 or 1,4,7-9; all of the subject by default",
    "BETAS": "roi (only the voxels of ROI; the default), hdf5, nifti or none",
    "ROI": "such as nsdgeneral+floc-faces+Kastner2015:V3A,V3B; nsdgeneral by default",
    "STIMULI": "coco (cropped from COCO's images; the default), brick (39.6 GB, exact) or none",
    "VERSION": "beta version; betas_fithrf_GLMdenoise_RR by default",
    "SPACE": "func1pt8mm (the default) or func1mm",
    "ROOT": "the data folder; data/nsd by default",
    "DRY_RUN": "1 to list files and bytes only",
    "VERIFY": "1 to hash every file that is here again",
    "CONNECTIONS": "requests at the same time, 1 to 64; 32 by default",
    "NSD_URL": f"address of NSD's bucket; {NSD_URL} by default",
    "COCO_URL": f"address of COCO's bucket; {COCO_URL} by default",
}


def atlases_of(roi: str) -> list[str]:
    """Names of the atlases in a union such as ``nsdgeneral+lh.streams:early``."""
    terms = re.split(r"\+(?=\s*[A-Za-z])", roi)  # a label may end in a plus: ecc4+
    names = [term.partition(":")[0].strip() for term in terms]
    return [name.removeprefix("lh.").removeprefix("rh.") for name in names]


def _known_atlases(roi: str) -> str:
    unknown = [name for name in atlases_of(roi) if name not in (*ATLASES, "brainmask")]
    if unknown:
        raise ValueError(
            f"it names the atlas {unknown[0]!r}; valid are {', '.join(ATLASES)} and brainmask, "
            "several joined by +, also single areas: prf-visualrois:V1v,V1d"
        )
    return roi.replace(" ", "")


def _address(url: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        raise ValueError(f"it is {url!r}; expected an address such as {NSD_URL}")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


MAY_BE_EMPTY = ("ROOT", "SESSIONS", "DRY_RUN", "VERIFY")  # as if not given


@settings
class Request:
    """One call of the downloader.

    Attributes
    ----------
    root : pathlib.Path
        The data folder.
    subject : int
        From 1.
    sessions : tuple of int
        From 1, increasing.
    betas, stimuli, space, version : str
        See :data:`HELP`.
    roi : str
        Whose voxels are fetched with ``betas="roi"``, as :func:`fmri_utils.nsd.roi_mask` takes it.
    dry_run, verify : bool
        List only; hash again what is here.
    connections : int
        Requests at the same time.
    nsd_url, coco_url : str
        Without a slash at the end.
    """

    root: Path
    subject: Annotated[int, Field(ge=1, le=len(N_SESSIONS))]
    sessions: tuple[int, ...]
    betas: Literal["roi", "hdf5", "nifti", "none"] = "roi"
    roi: Annotated[str, AfterValidator(_known_atlases)] = "nsdgeneral"
    stimuli: Literal["coco", "brick", "none"] = "coco"
    space: Literal[tuple(SPACES)] = "func1pt8mm"
    version: str
    dry_run: bool = False
    verify: bool = False
    connections: Annotated[int, Field(ge=1, le=64)] = 32
    nsd_url: Address = NSD_URL
    coco_url: Address = COCO_URL


def parse_request(arguments: Sequence[str], default_root: Path) -> Request:
    """Read ``NAME=value`` settings, refusing what is not known.

    Parameters
    ----------
    arguments : sequence of str
        As make hands them on, e.g. ``["SUBJECT=1", "SESSIONS=1-3"]``.
    default_root : pathlib.Path
        The data folder if ``ROOT`` is not given.

    Raises
    ------
    DataError
        On an unknown or repeated name, or a value out of range.
    """
    named: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in HELP or not equals or name in named:
            raise DataError(
                f"{argument!r} is {'given twice' if name in named else 'no setting'}. Valid "
                "settings:\n" + "\n".join(f"  {key:<12} {text}" for key, text in HELP.items())
            )
        named[name] = value.strip()
    if "SUBJECT" not in named:
        raise DataError(f"SUBJECT is not given; expected 1 to {len(N_SESSIONS)}.")
    given = {name.lower(): v for name, v in named.items() if v or name not in MAY_BE_EMPTY}
    versions = SPACES.get(given.get("space", "func1pt8mm"), ("",))
    given = {"sessions": "", "version": versions[-1], "root": default_root} | given
    request = checked(Request, given | {"sessions": ()}, "the settings", DataError)
    if request.version not in versions:
        raise DataError(f"VERSION is {request.version!r}; valid are {', '.join(versions)}.")
    sessions = parse_sessions(given["sessions"], request.subject)
    return replace(request, root=request.root.absolute(), sessions=sessions)


def parse_sessions(text: str, subject: int) -> tuple[int, ...]:
    """Read ``1-3`` or ``1,4,7-9``; an empty text stands for all sessions of the subject.

    Raises
    ------
    DataError
        If the text is anything else, or names a session that the subject does not have.
    """
    n = N_SESSIONS[subject - 1]
    if not text:
        return tuple(range(1, n + 1))
    sessions: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise DataError(f"SESSIONS is {text!r}; expected such as 1-3 or 1,4,7-9.")
        sessions.update(range(first, last + 1))
    if max(sessions) > n:
        raise DataError(
            f"SESSIONS is {text!r}, but subject {subject} has the sessions 1-{n}. (Subjects 1 to "
            f"{len(N_SESSIONS)} have {', '.join(map(str, N_SESSIONS))}.)"
        )
    return tuple(sorted(sessions))


def sessions_text(sessions: Sequence[int]) -> str:
    """Write sessions as :func:`parse_sessions` reads them, e.g. ``1-3,7``."""
    runs: list[list[int]] = []
    for session in sessions:
        if runs and session == runs[-1][-1] + 1:
            runs[-1].append(session)
        else:
            runs.append([session])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
