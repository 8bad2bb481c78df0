"""Which files a request stands for, and how long they are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fmri_utils.nsd.paths import NSDLayout
from fmri_utils.project.errors import DataError

from .asking import say
from .client import Client, Denied, Missing, Remote
from .settings import ATLASES, Request, atlases_of

PRF = ("R2", "angle", "eccentricity", "size", "exponent", "gain", "meanvol")
ANNOTATIONS = "annotations/annotations_trainval2017.zip"
SPARE_BYTES = 200e6  # of disk that stay free


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
    optional: bool = False


def whole_files(request: Request) -> list[Wanted]:
    """List the files that a request fetches whole, COCO's captions aside."""
    bucket = bucket_of(request)
    files: list[Wanted] = []

    def add(what: str, *paths: Path, optional: bool = False) -> None:
        files.extend(_in_bucket(request, path, what, optional) for path in paths)

    add("design", bucket.expdesign, bucket.stim_info)
    add("behaviour", bucket.responses)
    add("maps", bucket.brainmask, bucket.mean_volume)
    add("maps", *(bucket.prf(name) for name in PRF), optional=True)
    add("maps", bucket.ncsnr())
    add("maps", bucket.ncsnr(1), bucket.ncsnr(2), optional=True)
    folder = bucket.ppdata / bucket.space
    valid = (folder / f"valid_session{session:02d}.nii.gz" for session in request.sessions)
    add("maps", *valid, optional=True)
    needed = {"nsdgeneral", *(atlases_of(request.roi) if request.betas == "roi" else ())}
    for atlas in ATLASES:
        optional = atlas not in needed
        add("ROIs", bucket.roi(atlas), optional=optional)
        add("ROIs", bucket.roi(atlas, "lh"), bucket.roi(atlas, "rh"), optional=True)
    for brain in (bucket.subject_name, "fsaverage"):  # programs by others read the latter
        add("label names", *(bucket.ctab(atlas, brain) for atlas in ATLASES), optional=True)
    if request.betas in ("hdf5", "nifti"):
        path_of = bucket.betas_hdf5 if request.betas == "hdf5" else bucket.betas_nifti
        add("betas", *map(path_of, request.sessions))
    if request.stimuli == "brick":
        add("stimuli", bucket.stimuli)
    return files


def remote_sessions(request: Request) -> list[Wanted]:
    """List the HDF5 files from which only some voxels are read."""
    if request.betas != "roi":
        return []
    paths = map(bucket_of(request).betas_hdf5, request.sessions)
    return [_in_bucket(request, path, "betas, only some voxels") for path in paths]


def bucket_of(request: Request) -> Bucket:
    """The bucket's paths for a request."""
    return Bucket(Path(), request.subject, request.space, request.version)


def _in_bucket(request: Request, path: Path, what: str, optional: bool = False) -> Wanted:
    return Wanted(path.as_posix(), f"{request.nsd_url}/{path.as_posix()}", what, optional)


def annotations(request: Request) -> Wanted:
    """COCO's archive of captions."""
    path = bucket_of(request).stimuli.parent / ANNOTATIONS
    return Wanted(path.as_posix(), f"{request.coco_url}/{ANNOTATIONS}", "captions")


def ask_all(client: Client, files: Sequence[Wanted]) -> dict[Wanted, Remote | DataError]:
    """Ask the server for size and version of files; an error is the answer where there is none."""

    async def ask(wanted: Wanted) -> Remote | DataError:
        try:
            return await client.head(wanted.url)
        except DataError as err:
            return err

    return dict(zip(files, client.parallel(ask, files), strict=True))


def look_up(client: Client, files: Sequence[Wanted]) -> dict[Wanted, Remote]:
    """Ask the server for size and version of files.

    Returns
    -------
    dict of Wanted to Remote
        In the order of ``files``, without the optional ones that are not there.

    Raises
    ------
    DataError
        If files that are not optional cannot be had; it names them all.
    """
    answers = ask_all(client, files)
    failed = {wanted: answer for wanted, answer in answers.items() if isinstance(answer, DataError)}
    for error in failed.values():
        if not isinstance(error, (Missing, Denied)):
            raise error  # the same for all: there is no network, or no such server
    if needed := [str(error) for wanted, error in failed.items() if not wanted.optional]:
        raise DataError("\n".join(needed))
    if failed:
        names = (wanted.key.rsplit("/", 1)[-1] for wanted in failed)
        say(f"Not on the server for this subject, and left out: {', '.join(names)}.")
    return {wanted: answer for wanted, answer in answers.items() if wanted not in failed}


def check_space(root: Path, n_bytes: float) -> None:
    """Check that so many bytes fit on the disk.

    Raises
    ------
    DataError
        If they do not.
    """
    free = shutil.disk_usage(root).free if n_bytes > 0 else float("inf")
    if n_bytes + SPARE_BYTES > free:
        raise DataError(
            f"the disk of {root} has {gigabytes(free)} free; {gigabytes(n_bytes)} are to be "
            "written. Make room, choose another disk with ROOT=, or fetch less (SESSIONS=1-3, "
            "BETAS=roi, STIMULI=coco)."
        )


def gigabytes(n_bytes: float) -> str:
    """Write a number of bytes for people, e.g. ``1.09 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} B"
