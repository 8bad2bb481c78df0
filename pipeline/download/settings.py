"""What to download, as given to ``make nsd-download``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, HttpUrl, ValidationInfo

from fmri_utils.nsd.paths import SPACES
from fmri_utils.nsd.rois import BRAINMASK, MORE_ATLASES, PUBLISHED_LABELS, region
from fmri_utils.project.errors import DataError
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.settings import checked, settings

from .. import setting

NSD_URL = "https://natural-scenes-dataset.s3.amazonaws.com"
COCO_URL = "https://s3.amazonaws.com/images.cocodataset.org"
# COCO's own bucket. The name images.cocodataset.org has no certificate, so no HTTPS.
N_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)  # of subjects 1 to 8 (Allen et al., 2022)
N_IMAGES = 10_000  # different ones that a subject sees in 40 sessions
# Atlases in the volume spaces, as the bucket lists them for subject 1.
ATLASES = (*PUBLISHED_LABELS, *(name for name in MORE_ATLASES if name != BRAINMASK))


def _session_numbers(text: str, info: ValidationInfo) -> tuple[int, ...]:
    """Read ``1-3`` or ``1,4,7-9``; an empty text stands for all sessions of the subject."""
    n = N_SESSIONS[info.data.get("subject", 1) - 1]
    sessions: set[int] = set()
    for part in (text or f"1-{n}").split(","):
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= n:
            raise ValueError(
                f"it is {text!r}; expected such as 1-3 or 1,4,7-9, of the sessions 1-{n}"
            )
        sessions.update(range(first, last + 1))
    return tuple(sorted(sessions))


def _known_version(text: str, info: ValidationInfo) -> str:
    versions = SPACES[info.data.get("space", "func1pt8mm")]
    if text not in ("", *versions):
        raise ValueError(f"it is {text!r}; valid are {', '.join(versions)}")
    return text or versions[-1]


Sessions = Annotated[tuple[int, ...], BeforeValidator(_session_numbers)]
Region = Annotated[str, AfterValidator(region)]
Version = Annotated[str, AfterValidator(_known_version)]
Address = Annotated[HttpUrl, AfterValidator(lambda url: str(url).rstrip("/"))]
Folder = Annotated[Path, AfterValidator(Path.absolute)]


@settings
class Request:
    """One call of the downloader; what each setting may be is said beside it.

    Attributes
    ----------
    subject : int
        From 1.
    sessions : tuple of int
        From 1, increasing.
    roi : str
        Whose voxels are fetched with ``betas="roi"``, as :func:`fmri_utils.nsd.roi_mask` takes it.
    root : pathlib.Path
        The data folder.
    nsd_url, coco_url : str
        Without a slash at the end.
    """

    subject: int = setting(0, "1 to 8; must be given", ge=1, le=len(N_SESSIONS))
    sessions: Sessions = setting("", "such as 1-3 or 1,4,7-9; all of the subject by default")
    betas: Literal["roi", "hdf5", "nifti", "none"] = setting(
        "roi", "roi (only the voxels of ROI), hdf5, nifti or none"
    )
    roi: Region = setting("nsdgeneral", "such as nsdgeneral+floc-faces+Kastner2015:V3A,V3B")
    stimuli: Literal["coco", "brick", "none"] = setting(
        "coco", "coco (cropped from COCO's images), brick (39.6 GB, exact) or none"
    )
    space: Literal[tuple(SPACES)] = setting("func1pt8mm", "func1pt8mm or func1mm")
    version: Version = setting("", "of the betas; betas_fithrf_GLMdenoise_RR by default")
    root: Folder = setting(PROJECT_ROOT / "data/nsd", "the data folder")
    dry_run: bool = setting(False, "1 to list files and bytes only")
    verify: bool = setting(False, "1 to hash every file that is here again")
    connections: int = setting(32, "requests at the same time, 1 to 64", ge=1, le=64)
    nsd_url: Address = setting(NSD_URL, "address of NSD's bucket")
    coco_url: Address = setting(COCO_URL, "address of COCO's bucket")


HELP = {name.upper(): field.description for name, field in Request.__pydantic_fields__.items()}


def parse_request(arguments: Sequence[str]) -> Request:
    """Read ``NAME=value`` settings, refusing what is not known; an empty value is as none.

    Parameters
    ----------
    arguments : sequence of str
        As make hands them on, e.g. ``["SUBJECT=1", "SESSIONS=1-3"]``.

    Raises
    ------
    DataError
        On an unknown or repeated name, or a value out of range.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in HELP or not equals or name.lower() in given:
            raise DataError(
                f"{argument!r} is {'no setting' if name not in HELP else 'given twice'}. Valid "
                "settings:\n" + "\n".join(f"  {key:<12} {text}" for key, text in HELP.items())
            )
        given[name.lower()] = value.strip()
    given = {name: value for name, value in given.items() if value}
    if "subject" not in given:
        raise DataError(f"SUBJECT is not given; expected 1 to {len(N_SESSIONS)}.")
    return checked(Request, given, "the settings", DataError)
