"""One subject of BOLD5000: trials, areas, betas of all their voxels; and the pictures."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ...project.errors import DataError
from ...project.reading import reading
from ..area_masks import Areas
from ..dataset import Dataset
from ..rois import split_union
from .archive import DAMAGED, NamedFiles
from .area_files import AREAS, SIDES, Area, read_areas
from .column_order import NUMPY, in_column_order
from .event_trials import RUNS, read_events

ALL = "all"
PRESENTED = "Presented_Stimuli"  # the folder of the pictures as shown, beside the originals
FORMATS = ("JPEG", "PNG")


ABSENT = {
    "captions": "they were written for COCO's pictures only",
    "prf": "receptive fields were not measured",
    "ncsnr": "no map is published; repeats of the test images give one",
    "background": "the union of the areas stands in",
}
NO_PICTURES = {"images": "they are not in the folder: `make bold5000-download PICTURES=yes`"}


def open_bold5000(
    root: Path, subject: int, *, region: str = ALL, n_sessions: int = 0, version: str = NUMPY
) -> Dataset:
    """Open a subject, and check all that is assumed of the files.

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
    version : str
        In which order the columns of betas follow the voxels of a mask; see
        :data:`.column_order.ORDERS`.

    Raises
    ------
    DataError
        If a file is missing, damaged, or not as expected.
    """
    if subject not in RUNS:
        raise DataError(f"subject is {subject!r}; expected one of {list(RUNS)} (CSI1 to CSI4).")
    n_all = len(RUNS[subject])
    if not 0 <= n_sessions <= n_all:
        raise DataError(
            f"CSI{subject} has {n_all} sessions; {n_sessions} were asked for. Ask for at most "
            f"{n_all}, or for all (0)."
        )
    files = NamedFiles(root)
    table = read_events(files, subject)
    found, affine = read_areas(files, subject, len(table), _areas_of(region))
    betas, mask, left_out = _joined(in_column_order(found, version, np.random.default_rng(0)))
    kept = (table["session"] <= (n_sessions or n_all)).to_numpy()
    betas = betas[kept]
    names = np.unique(table["image"].to_numpy(str))  # numbered from 0 by the trial table
    pictured = any(name in files for name in names)
    return Dataset(
        name="BOLD5000",
        made_of=(region, "2 mm", "Release 2.0, GLMsingle TYPED"),
        coverage=f"{n_sessions or n_all} of {n_all} sessions{left_out}",
        checked={"stim_file": int(kept.sum())},
        table=table[kept].reset_index(drop=True),
        set_apart="images shown more than once",
        mask=mask,
        brain=mask,
        background=nib.Nifti1Image(mask.astype(np.float32), affine),
        areas=_over_voxels(found, mask),
        named=AREAS,
        read_betas=lambda: betas,
        read_images=partial(_numbered_pictures, files, names) if pictured else None,
        absent=ABSENT if pictured else ABSENT | NO_PICTURES,
    )


def _areas_of(region: str) -> tuple[str, ...]:
    names = split_union(region)
    if ALL in names:
        return AREAS
    if unknown := [name for name in names if name not in AREAS]:
        raise DataError(
            f"BOLD5000 has no areas {unknown}. Expected: {ALL}, or some of {', '.join(AREAS)}, "
            "joined by +."
        )
    return tuple(dict.fromkeys(names))


def _joined(areas: list[Area]) -> tuple[np.ndarray, np.ndarray, str]:
    """Betas of the union of areas, its mask, and what is to be said of voxels left out."""
    mask = np.logical_or.reduce([area.mask for area in areas])
    betas = np.empty((len(areas[0].betas), np.count_nonzero(mask)), dtype=np.float32)
    for area in areas:  # a voxel in two areas has the same betas in both: this was checked
        betas[:, area.mask[mask]] = area.betas
    finite = np.isfinite(betas).all(axis=0)
    if finite.all():
        return betas, mask, ""
    mask[mask] = finite
    if not mask.any():
        raise DataError(f"no voxel of these areas has finite betas. {DAMAGED}")
    left_out = f"; {np.count_nonzero(~finite)} voxels are left out: their betas are not finite"
    return betas[:, finite], mask, left_out


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


def _numbered_pictures(
    files: NamedFiles, names: np.ndarray, ids: Sequence[int], size: int | None = None
) -> np.ndarray:
    return read_pictures(files, names[np.asarray(ids)].tolist(), size)
