"""The images, as the subjects saw them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import h5py
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..project.artifacts import own_files
from ..project.errors import DataError
from ..project.reading import reading
from .paths import NSDLayout, require

AGAIN = "It is another file, or was changed: fetch it again."


def check_nsd_ids(nsd_ids: Sequence[int], n_images: int) -> np.ndarray:
    """Return ids as int64 if all are rows of a table of ``n_images`` images, from 0.

    Raises
    ------
    DataError
        If they are not whole numbers from 0 to ``n_images - 1``.
    """
    ids = np.asarray(nsd_ids)
    if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise DataError(
            f"nsd_ids have the type {ids.dtype} and shape {ids.shape}; expected whole numbers in a "
            "list that is not empty."
        )
    if ids.min() < 0 or ids.max() >= n_images:
        from_one = ids.max() == n_images
        hint = " Ids count from 0 here; NSD's 73KID counts from 1." if from_one else ""
        raise DataError(
            f"nsd_ids span {ids.min()} to {ids.max()}; expected 0 to {n_images - 1}.{hint}"
        )
    return ids.astype(np.int64)


def read_images(
    layout: NSDLayout,
    nsd_ids: Sequence[int],
    size: int | None = None,
    *,
    progress: bool = True,
) -> np.ndarray:
    """Read images from ``nsd_stimuli.hdf5``.

    Where that is not in the folder, they are read from ``nsd_stimuli_coco.hdf5``, if
    ``make nsd-download`` has made it: cropped from COCO's images, near to what was shown but not
    bit-identical.

    Parameters
    ----------
    layout : NSDLayout
        Any subject; the images are common to all.
    nsd_ids : sequence of int, shape (n_images,)
        NSD ids from 0, in any order, also repeated.
    size : int, optional
        Side in pixels to resize to (antialiased, bicubic); as stored by default (425 in NSD).
    progress : bool
        Show a bar over images.

    Returns
    -------
    ndarray of uint8, shape (n_images, height, width, 3)
        RGB, in the order of ``nsd_ids``.

    Raises
    ------
    DataError
        If the file is missing, damaged or not as NSD writes it, an id is out of range, or its
        image was not downloaded.
    """
    path = layout.stimuli
    if not path.is_file() and layout.stimuli_coco.is_file():
        path = layout.stimuli_coco
    require(path, "the file of stimuli")
    if size is not None and size < 1:
        raise DataError(f"size is {size}; expected at least one pixel.")
    damaged = "delete it and fetch it again."
    with reading(path, "the images", damaged=damaged), h5py.File(path) as file:
        if path == layout.stimuli_coco:
            return _read_cropped(file, layout, nsd_ids, size, progress)
        return _read(_brick(file, path), nsd_ids, size, progress)


def _brick(file: h5py.File, path) -> h5py.Dataset:
    if "imgBrick" not in file:
        raise DataError(f"{path} has no dataset 'imgBrick'; it holds {sorted(file)}. {AGAIN}")
    brick = file["imgBrick"]
    if brick.ndim != 4 or brick.shape[3] != 3 or brick.dtype != np.uint8:
        raise DataError(
            f"imgBrick in {path} is {brick.dtype} of shape {brick.shape}; expected uint8 of "
            "(image, row, column, RGB). Fetch the original."
        )
    if brick.shape[1] != brick.shape[2]:
        raise DataError(f"the images in {path} are not square: {brick.shape[1:3]} pixels. {AGAIN}")
    return brick


def _read(brick: h5py.Dataset, nsd_ids, size: int | None, progress: bool) -> np.ndarray:
    ids = check_nsd_ids(nsd_ids, len(brick))
    return load_pictures(brick.__getitem__, ids, brick.shape[1], size, progress)


def _read_cropped(
    file: h5py.File, layout: NSDLayout, nsd_ids, size: int | None, progress: bool
) -> np.ndarray:
    """Read images of the file that holds only some, cropped from COCO's."""
    ids = check_nsd_ids(nsd_ids, int(file.attrs["n_nsd_ids"]))
    images, stored = file["images"], file["nsd_ids"][()]
    if images.shape != (stored.size, *images.shape[1:2] * 2, 3) or images.dtype != np.uint8:
        raise ValueError(f"{images.dtype} of {images.shape} for {stored.size} images")
    rows = np.minimum(np.searchsorted(stored, ids), stored.size - 1)
    absent = np.unique(ids[stored[rows] != ids])
    if absent.size:
        raise DataError(
            f"{absent.size} of {np.unique(ids).size} images were not downloaded, the first is "
            f"{absent[0]}: {layout.stimuli_coco} holds {stored.size}, those of some sessions or "
            f"subjects. Fetch them: `make nsd-download SUBJECT={layout.subject} BETAS=none "
            f"STIMULI=coco ROOT={layout.root}`, or all images as shown with STIMULI=brick."
        )
    return load_pictures(images.__getitem__, rows, images.shape[1], size, progress)


def load_pictures(
    load: Callable[[int], np.ndarray],
    ids: np.ndarray,
    stored: int,
    size: int | None,
    progress: bool,
) -> np.ndarray:
    """Load pictures by number, one at a time, and resize them if asked to.

    Parameters
    ----------
    load : callable
        Gives picture i as uint8 (stored, stored, 3).
    ids : ndarray of int, shape (n_images,)
        Which, in any order, also repeated.
    stored : int
        Side in pixels.
    size : int or None
        Side to resize to (antialiased, bicubic).
    progress : bool
        Show a bar over images.

    Returns
    -------
    ndarray of uint8, shape (n_images, side, side, 3)
    """
    # Each image is read once and in the order on disk, whatever order was asked for: h5py's own
    # indexing with a list refuses repeated and unsorted ids.
    unique, inverse = np.unique(ids, return_inverse=True)
    side = size or stored
    images = np.empty((unique.size, side, side, 3), dtype=np.uint8)
    for i, nsd_id in enumerate(tqdm(unique, desc="images", disable=not progress)):
        image = load(nsd_id)
        if side != stored:
            picture = Image.fromarray(image)
            image = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
        images[i] = image
    return images if np.array_equal(unique, ids) else images[inverse]


def check_shared_pictures(layout: NSDLayout, shared_ids: np.ndarray, *, n_pictures: int = 3) -> int:
    """Check that the shared images' own files show what ``imgBrick`` holds at their ids.

    ``nsddata/stimuli/nsd/shared1000`` has them as ``sharedNNNN_nsdMMMMM.png``, both numbers from 1.
    They are a source of their own for which row of ``imgBrick`` is which picture.

    Parameters
    ----------
    layout : NSDLayout
        Any subject; the images are common to all.
    shared_ids : ndarray of int, shape (n_shared,)
        NSD ids from 0, e.g. of :func:`read_design`.
    n_pictures : int
        How many files to compare pixel by pixel, if ``imgBrick`` is there; the names of all are
        compared.

    Returns
    -------
    int
        Number of files, 0 if there are none.

    Raises
    ------
    DataError
        At the first file that differs.
    """
    paths = own_files(layout.shared_pictures, "shared*_nsd*.png")
    for path in paths:
        number, nsd_id = (int(text) for text in re.findall(r"\d+", path.stem)[:2])
        if not 1 <= number <= len(shared_ids) or shared_ids[number - 1] != nsd_id - 1:
            raise DataError(
                f"{path} is named as shared image {number} with the id {nsd_id} (both from 1), "
                f"which is not so in {layout.expdesign.name}. Fetch both again."
            )
    for path in paths[:n_pictures] if layout.stimuli.is_file() else []:
        nsd_id = int(path.stem.split("_nsd")[1]) - 1
        stored = read_images(layout, [nsd_id], progress=False)[0]
        damaged = "delete it and fetch it again."
        with reading(path, "a shared image", damaged=damaged), Image.open(path) as picture:
            shown = np.asarray(picture.convert("RGB"))
        if not np.array_equal(shown, stored):
            raise DataError(
                f"{path} is not the picture in row {nsd_id} (from 0) of imgBrick in "
                f"{layout.stimuli}: rows are shifted, or axes exchanged. Fetch both again."
            )
    return len(paths)
