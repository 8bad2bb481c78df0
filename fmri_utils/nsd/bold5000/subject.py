"""One subject of BOLD5000: trials, areas, betas of all their voxels; and the pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from ...project.errors import DataError
from ...project.reading import reading
from ..area_masks import Areas
from ..rois import split_union
from .archive import DAMAGED, NamedFiles
from .area_files import AREAS, SIDES, Area, read_areas
from .column_order import NUMPY, in_column_order
from .event_trials import RUNS, read_events

ALL = "all"
PRESENTED = "Presented_Stimuli"  # the folder of the pictures as shown, beside the originals
FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True, eq=False)
class Subject:
    """What the files say of one subject.

    Attributes
    ----------
    files : NamedFiles
        Where everything was found.
    table : pandas.DataFrame
        Trials of the sessions that were read; see :func:`.event_trials.read_events`.
    images : ndarray of str, shape (n_images,)
        File names of all the subject's pictures; ``nsd_id`` of the table counts them from 0.
    betas : ndarray of float32, shape (n_trials, n_voxels)
        Percent signal change; rows as in ``table``, columns in the order of ``volume[mask]``.
    mask : ndarray of bool, shape (X, Y, Z)
        The union of the areas.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm.
    areas : Areas
        EarlyVis, LOC, OPA, PPA, RSC (those that were read), lh and rh, over the voxels of ``mask``.
    n_left_out : int
        Voxels of the areas whose betas are not finite: they are not in ``mask``.
    """

    files: NamedFiles
    table: pd.DataFrame
    images: np.ndarray
    betas: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    areas: Areas
    n_left_out: int


def read_subject(
    root: Path, subject: int, region: str = ALL, n_sessions: int = 0, *, order: str = NUMPY
) -> Subject:
    """Read a subject, and check all that is assumed of the files.

    Parameters
    ----------
    root : path-like
        A folder with the files anywhere below it, also in zip archives.
    subject : int
        1 to 4: CSI1 to CSI4.
    region : str
        "all", or areas joined by ``+``: "EarlyVis+LOC".
    n_sessions : int
        Only the first sessions; 0 for all.
    order : str
        In which order the columns of betas follow the voxels of a mask; see
        :data:`.column_order.ORDERS`.

    Raises
    ------
    DataError
        If a file is missing, damaged, or not as expected.
    """
    if subject not in RUNS:
        raise DataError(f"subject is {subject!r}; expected one of {list(RUNS)} (CSI1 to CSI4).")
    runs = RUNS[subject]
    if not 0 <= n_sessions <= len(runs):
        raise DataError(
            f"CSI{subject} has {len(runs)} sessions; {n_sessions} were asked for. Ask for at most "
            f"{len(runs)}, or for all (0)."
        )
    files = NamedFiles(root)
    table = read_events(files, subject)
    found, affine = read_areas(files, subject, len(table), _areas_of(region))
    found = in_column_order(found, order, np.random.default_rng(0))
    betas, mask = _joined(found)
    finite = np.isfinite(betas).all(axis=0)
    mask[mask] = finite
    if not finite.any():
        raise DataError(f"no voxel of {region} of CSI{subject} has finite betas. {DAMAGED}")
    images = np.unique(table["image"].to_numpy(str))
    kept = table["session"] <= (n_sessions or len(runs))
    return Subject(
        files=files,
        table=table[kept].reset_index(drop=True),
        images=images,
        betas=betas[kept.to_numpy()][:, finite],
        mask=mask,
        affine=affine,
        areas=_over_voxels(found, mask),
        n_left_out=int(np.count_nonzero(~finite)),
    )


def _areas_of(region: str) -> tuple[str, ...]:
    names = AREAS if region == ALL else tuple(split_union(region))
    if unknown := [name for name in names if name not in AREAS]:
        raise DataError(
            f"BOLD5000 has no areas {unknown}. Expected: {ALL}, or some of {', '.join(AREAS)}, "
            "joined by +."
        )
    return names


def _joined(areas: list[Area]) -> tuple[np.ndarray, np.ndarray]:
    """Betas of the union of areas, columns as ``volume[mask]``, and its mask."""
    mask = np.logical_or.reduce([area.mask for area in areas])
    betas = np.empty((len(areas[0].betas), np.count_nonzero(mask)), dtype=np.float32)
    for area in areas:  # a voxel in two areas has the same betas in both: this was checked
        betas[:, area.mask[mask]] = area.betas
    return betas, mask


def _over_voxels(areas: list[Area], mask: np.ndarray) -> Areas:
    """Names to voxels: each area with both its sides, then the hemispheres."""
    over = Areas()
    for area in areas:
        for name in (area.name, area.side.lower()):
            over[name] = over.get(name, False) | area.mask[mask]
    sides = [side.lower() for side in SIDES]
    return Areas({name: over[name] for name in sorted(over, key=sides.__contains__)})


def read_pictures(
    files: NamedFiles, names: Sequence[str], size: int | None = None, *, progress: bool = True
) -> np.ndarray:
    """Read pictures as they were shown, by their names.

    Parameters
    ----------
    files : NamedFiles
        Where to look. Where both are there, those in a folder ``Presented_Stimuli`` are read, and
        not the originals, which were not yet cropped.
    names : sequence of str, shape (n_images,)
        As the event files name them.
    size : int, optional
        Side in pixels to resize to (antialiased, bicubic); as stored by default.
    progress : bool
        Show a bar over images.

    Returns
    -------
    ndarray of uint8, shape (n_images, height, width, 3)
        RGB.

    Raises
    ------
    DataError
        If some are missing, damaged, not square, or of different sizes.
    """
    if absent := [name for name in names if name not in files]:
        raise DataError(
            f"{len(absent)} of {len(names)} pictures are not below {files.root}; the first is "
            f"{absent[0]}. Fetch them with `make bold5000-download`, or put the authors' "
            "BOLD5000_Stimuli.zip there."
        )
    pictures, stored = [], None
    for name in tqdm(names, desc="images", disable=not progress):
        data, place = files.read(name, "a picture", folder=PRESENTED)
        with reading(place.path, f"the picture {name}", damaged=DAMAGED):
            picture = Image.open(io.BytesIO(data), formats=FORMATS).convert("RGB")
        stored = stored or picture.size
        if picture.size != stored or picture.width != picture.height:
            raise DataError(
                f"{place} has {picture.width} x {picture.height} pixels, the first picture "
                f"{stored[0]} x {stored[1]}; expected squares of one size, as shown. The original "
                f"photographs were not shown: give the folder {PRESENTED}."
            )
        if size and picture.height != size:
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        pictures.append(np.asarray(picture))
    return np.stack(pictures)
