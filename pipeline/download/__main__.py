"""``make nsd-download``: which files a request stands for, and all that lists or brings them.

Settings are given as ``NAME=value``; see :mod:`.settings`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmri_utils.nsd.paths import COCO_SPLITS, NSDLayout
from fmri_utils.nsd.rois import parse_term, split_union
from fmri_utils.project.command import command
from fmri_utils.project.errors import DataError

from .area_betas import fetch_sessions
from .client import Absent, Remote, head, parallel
from .coco import JPEG_BYTES, SIDE, fetch_pictures, unpack_captions
from .consent import ensure_consent, say
from .settings import ATLASES, N_IMAGES, Request, parse_request
from .transfer import Records, alone, fetch_all, gigabytes

PRF = ("R2", "angle", "eccentricity", "size", "exponent", "gain", "meanvol")
SOME_VOXELS, CAPTIONS = "betas, only some voxels", "captions"
ANNOTATIONS = "annotations/annotations_trainval2017.zip"
ROI_SHARE = 0.05  # of a whole file's bytes, for an area of nsdgeneral's size; see benchmarks


class Bucket(NSDLayout):
    """The paths of a subject's files in the bucket: those of the folder, but nothing to look at."""

    def __post_init__(self):
        object.__setattr__(self, "root", Path())


@dataclass(frozen=True)
class Wanted:
    """A file that belongs to a request.

    Attributes
    ----------
    key : str
        Its place in the bucket, and below the data folder.
    url : str
        Its address.
    what : str
        Heading for lists.
    optional : bool
        Not every subject has it.
    """

    key: str
    url: str
    what: str
    optional: bool


def wanted_files(request: Request) -> list[Wanted]:
    """All files of a request but COCO's photographs, whole ones first."""
    bucket = Bucket(Path(), request.subject, request.space, request.version)
    files: list[Wanted] = []

    def add(what: str, *paths: Path, optional: bool = False) -> None:
        keys = [path.as_posix() for path in paths]
        files.extend(Wanted(key, f"{request.nsd_url}/{key}", what, optional) for key in keys)

    add("design", bucket.expdesign, bucket.stim_info)
    add("behaviour", bucket.responses)
    add("maps", bucket.brainmask, bucket.mean_volume, bucket.ncsnr())
    folder = bucket.ppdata / bucket.space
    valid = (folder / f"valid_session{session:02d}.nii.gz" for session in request.sessions)
    halves = bucket.ncsnr(1), bucket.ncsnr(2)
    add("maps", *map(bucket.prf, PRF), *halves, *valid, optional=True)
    terms = split_union(request.roi if request.betas == "roi" else "nsdgeneral")
    needed = {"nsdgeneral", *(parse_term(term)[1] for term in terms)}
    for atlas in ATLASES:
        add("ROIs", bucket.roi(atlas), optional=atlas not in needed)
        add("ROIs", bucket.roi(atlas, "lh"), bucket.roi(atlas, "rh"), optional=True)
    for brain in (bucket.subject_name, "fsaverage"):  # programs by others read the latter
        add("label names", *(bucket.ctab(atlas, brain) for atlas in ATLASES), optional=True)
    if request.betas == "nifti":
        add("betas", *map(bucket.betas_nifti, request.sessions))
    if request.betas == "hdf5":
        add("betas", *map(bucket.betas_hdf5, request.sessions))
    if request.stimuli == "brick":
        add("stimuli", bucket.stimuli)
    if request.betas == "roi":
        add(SOME_VOXELS, *map(bucket.betas_hdf5, request.sessions))
    if request.stimuli != "none":
        key = (bucket.stimuli.parent / ANNOTATIONS).as_posix()
        files.append(Wanted(key, f"{request.coco_url}/{ANNOTATIONS}", CAPTIONS, optional=False))
    return files


def ask_all(files: Sequence[Wanted], n_connections: int) -> dict[Wanted, Remote | Absent]:
    """Ask the servers for size and version of files.

    Raises
    ------
    DataError
        If a server does not answer.
    """

    async def ask(wanted: Wanted) -> Remote | Absent:
        try:
            return await head(wanted.url)
        except Absent as err:
            return err

    return dict(zip(files, parallel(ask, files, n_connections), strict=True))


def present(answers: dict[Wanted, Remote | Absent]) -> dict[Wanted, Remote]:
    """The files that are on the servers.

    Raises
    ------
    DataError
        If files that are not optional are not there; it names them all.
    """
    absent = {wanted: answer for wanted, answer in answers.items() if isinstance(answer, Absent)}
    if needed := [str(error) for wanted, error in absent.items() if not wanted.optional]:
        raise DataError("\n".join(needed))
    if absent:
        names = (wanted.key.rsplit("/", 1)[-1] for wanted in absent)
        say(f"Not on the server for this subject, and left out: {', '.join(names)}.")
    return {wanted: answer for wanted, answer in answers.items() if wanted not in absent}


def download(request: Request) -> None:
    """Bring everything that a request asks for and that is not here.

    The terms must have been accepted; see :func:`pipeline.download.consent.ensure_consent`.

    Raises
    ------
    DataError
        If something cannot be had. Whatever was finished stays, and the same request goes on.
    """
    root = request.root
    if (root / "simulation.json").exists():
        raise DataError(
            f"{root} holds simulated data, which must not mix with the real. Give another ROOT=."
        )
    (root / "nsddata").mkdir(parents=True, exist_ok=True)
    with alone(root):
        records = Records(root, thorough=request.verify)
        layout = NSDLayout(root, request.subject, request.space, request.version)
        files = wanted_files(request)
        if all(records.is_whole(layout.captions(split)) for split in COCO_SPLITS):
            files = [wanted for wanted in files if wanted.what != CAPTIONS]
        found = present(ask_all(files, request.connections))
        sessions = [remote for wanted, remote in found.items() if wanted.what == SOME_VOXELS]
        whole = {w.key: remote for w, remote in found.items() if w.what != SOME_VOXELS}
        fetch_all([(remote, root / key) for key, remote in whole.items()], records)
        if sessions:
            remotes = dict(zip(request.sessions, sessions, strict=True))
            fetch_sessions(request, layout, remotes, records)
        if request.stimuli == "coco":
            fetch_pictures(request, layout, records)
        for key in (wanted.key for wanted in found if wanted.what == CAPTIONS):
            unpack_captions(layout, root / key, whole[key], records)


def list_files(request: Request) -> None:
    """Say which files a request stands for and how long they are; nothing is written.

    Raises
    ------
    DataError
        If a server does not answer, or lacks files that the request needs.
    """
    answers = ask_all(wanted_files(request), request.connections)
    sizes = {w: answer.size for w, answer in answers.items() if isinstance(answer, Remote)}
    here = {wanted for wanted in answers if (request.root / wanted.key).is_file()}
    for what, files in itertools.groupby(answers, lambda wanted: wanted.what):
        say(f"{what}:")
        for wanted in files:
            text = f"{sizes[wanted]:,}" if wanted in sizes else "not there"
            say(f"{text:>20}  {wanted.key}{'  (here)' if wanted in here else ''}")
    present(answers)
    n_bytes = sum(n for w, n in sizes.items() if w.what != SOME_VOXELS and w not in here)
    say(f"Whole files: {n_bytes:,} bytes to fetch ({gigabytes(n_bytes)}).")
    if request.betas == "roi":
        n_bytes = sum(n for wanted, n in sizes.items() if wanted.what == SOME_VOXELS)
        say(
            f"Voxels of {request.roi}, out of {gigabytes(n_bytes)}: about "
            f"{gigabytes(ROI_SHARE * n_bytes)} to fetch. (Estimated, for an area like nsdgeneral.)"
        )
    if request.stimuli == "coco":
        n = min(750 * len(request.sessions), N_IMAGES)
        say(
            f"At most {n:,} of COCO's photographs: about {gigabytes(n * JPEG_BYTES)} to fetch, "
            f"{gigabytes(n * SIDE**2 * 3)} on disk. (Estimated; their lengths are not asked for.)"
        )
    say("A dry run: nothing was downloaded.")


@command
def main(arguments: list[str]) -> None:
    """Download, or list with ``DRY_RUN=1``."""
    request = parse_request(arguments)
    if request.dry_run:
        list_files(request)
        return
    ensure_consent(request.root)
    download(request)
    say(f"The data are in {request.root}. Cite Allen et al. (2022); do not pass the data on.")


if __name__ == "__main__":
    raise SystemExit(main())
