"""The areas of a subject: their masks from ds001499, and their betas from Release 2.0.

Masks are volumes, betas are tables without places: which column is which voxel is nowhere written
down. Columns most likely follow the mask as ``volume[mask]`` does, and :mod:`.column_order` proves
or disproves that on the data.
"""

import gzip
import io
import re
from typing import NamedTuple

import nibabel as nib
import numpy as np

from ...project.errors import DataError
from ...project.reading import reading
from ..area_masks import BOLD5000_AREAS as AREAS
from ..maps import check_axes
from .archive import DAMAGED, NamedFiles

SIDES = ("LH", "RH")
OTHER_SPELLINGS = {"LHLOC": "LHLO", "RHLOC": "RHLO", "RHRSC": "RHRRSC"}
# Whose masks in ds001499 are spelled otherwise. Betas may be spelled either way: not known.
SPELLED_OTHERWISE = {2: ("LHLOC", "RHLOC", "RHRSC"), 3: ("LHLOC", "RHLOC")}
BETAS = "GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_allses"  # the version that its authors recommend
ORIGINAL = "Fetch the original file."


class Area(NamedTuple):
    """One area of one hemisphere.

    Attributes
    ----------
    side, name : str
        "LH" and "EarlyVis", for instance.
    mask : ndarray of bool, shape (X, Y, Z)
        Its voxels.
    betas : ndarray of float, shape (n_trials, n_voxels)
        Percent signal change; columns as in the file.
    """

    side: str
    name: str
    mask: np.ndarray
    betas: np.ndarray


def _spellings(area: str) -> tuple[str, ...]:
    """How files may name an area of one side: ("LHLOC", "LHLO")."""
    return (area, *([OTHER_SPELLINGS[area]] if area in OTHER_SPELLINGS else []))


def published_mask(subject: int, area: str) -> str:
    """Name of the file of a mask in ds001499."""
    otherwise = area in SPELLED_OTHERWISE.get(subject, ())
    return _mask_name(subject, OTHER_SPELLINGS[area] if otherwise else area)


def _mask_name(subject: int, spelling: str) -> str:
    return f"sub-CSI{subject}_mask-{spelling}.nii.gz"


def read_areas(
    files: NamedFiles, subject: int, n_trials: int, areas: tuple[str, ...] = AREAS
) -> tuple[list[Area], np.ndarray]:
    """Read masks and betas of areas, and check that they belong together.

    Parameters
    ----------
    files : NamedFiles
        Where to look for them.
    subject : int
        1 for CSI1, and so on.
    n_trials : int
        Of the whole experiment, from the event files.
    areas : tuple of str
        Some of :data:`AREAS`; both sides are read.

    Returns
    -------
    areas : list of Area
        Left before right.
    affine : ndarray, shape (4, 4)
        Voxel indices to mm.

    Raises
    ------
    DataError
        If a file is missing or damaged, masks differ in grid, sides are exchanged, or betas do not
        have a row for each trial and a column for each voxel of their mask.
    """
    found, grids = [], {}
    for name in areas:
        for side in SIDES:
            mask, affine, place = _read_mask(files, subject, side + name)
            grids[place] = (mask.shape, affine.tobytes())
            betas = _read_betas(files, subject, side + name, (n_trials, np.count_nonzero(mask)))
            found.append(Area(side, name, mask, betas))
    if len(set(grids.values())) > 1:
        said = "; ".join(f"{place.name} {shape}" for place, (shape, _) in grids.items())
        raise DataError(f"the masks of CSI{subject} have different grids: {said}. {ORIGINAL}")
    _check_sides(found, affine, subject)
    return found, affine


def _check_sides(areas: list[Area], affine: np.ndarray, subject: int) -> None:
    """Left areas must lie to the left of right ones: x grows from left to right."""
    x = {area.side + area.name: np.median(np.argwhere(area.mask) @ affine[0, :3]) for area in areas}
    for area in areas:
        if area.side == "LH" and x["LH" + area.name] >= x["RH" + area.name]:
            raise DataError(
                f"the left {area.name} of CSI{subject} does not lie to the left of the right one. "
                f"Left and right are exchanged in the masks. {ORIGINAL}"
            )


def _one_spelling(files: NamedFiles, what: str, names: list[str], like: str) -> str:
    """The one of some file names that is there; the others are listed if it is none or several."""
    there = [name for name in names if name in files]
    if len(there) != 1:
        others = list(files.matching(re.compile(like)))
        raise DataError(
            f"{what}: expected one file of the name {' or '.join(names)} below {files.root}, found "
            f"{len(there)}. Files like it: {others[:12] or 'none'}. Run `make bold5000-download`; "
            "if a file that is listed is the right one under another name, rename it."
        )
    return there[0]


def _read_mask(files: NamedFiles, subject: int, area: str):
    what = f"the mask of {area} of CSI{subject}"
    names = [_mask_name(subject, spelling) for spelling in _spellings(area)]
    name = _one_spelling(files, what, names, rf"sub-CSI{subject}_mask-.*")
    data, place = files.read(name, what)
    with reading(place.path, what, damaged=DAMAGED):
        image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
        volume = image.get_fdata(dtype=np.float32)
    check_axes(image.affine, place.path)
    # Some masks are of bytes, others of floats from 0 to 1 where they were resampled.
    if volume.ndim != 3 or not np.isfinite(volume).all() or not (volume > 0).any():
        raise DataError(
            f"{what}: {place} has the shape {volume.shape} and {np.count_nonzero(volume > 0)} "
            f"values above 0; expected finite numbers (X, Y, Z), some above 0. {ORIGINAL}"
        )
    return volume > 0, image.affine, place.path


def _read_betas(files: NamedFiles, subject: int, area: str, shape: tuple[int, int]) -> np.ndarray:
    what = f"the betas of {area} of CSI{subject}"
    names = [f"CSI{subject}_{BETAS}_{spelling}.npy" for spelling in _spellings(area)]
    name = _one_spelling(files, what, names, rf"CSI{subject}_.*{area[:4]}.*\.(npy|mat)")
    data, place = files.read(name, what)
    damaged = f"{DAMAGED} Arrays of Python objects are never opened."
    with reading(place.path, what, damaged=damaged):
        betas = np.load(io.BytesIO(data), allow_pickle=False)
    if betas.shape != shape or betas.dtype.kind != "f":
        turned = " They are turned round." if betas.shape == shape[::-1] else ""
        raise DataError(
            f"{what}: {place} holds {betas.dtype} of the shape {betas.shape}; expected floats of "
            f"{shape}: a row for each trial of the event files, a column for each voxel of the "
            f"mask.{turned} Fetch both again. If they are the originals, Release 2.0 is not as "
            "this reader expects: please tell us."
        )
    return betas
