"""The images, as the subjects saw them."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..errors import DataError
from .layout import NSDLayout, require
from .volumes import DAMAGED


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
        If the file is missing, damaged or not as NSD writes it, or an id is out of range.
    """
    path = require(layout.stimuli, "the file of stimuli")
    if size is not None and size < 1:
        raise DataError(f"size is {size}; expected at least one pixel.")
    try:
        with h5py.File(path) as file:
            return _read(_brick(file, path), nsd_ids, size, progress)
    except DataError:
        raise
    except DAMAGED as err:
        raise DataError(
            f"the images in {path} cannot be read ({type(err).__name__}: {err}). The file is cut "
            "off or damaged: delete it and fetch it again."
        ) from err


def _brick(file: h5py.File, path) -> h5py.Dataset:
    if "imgBrick" not in file:
        raise DataError(f"{path} has no dataset 'imgBrick'; it holds {sorted(file)}.")
    brick = file["imgBrick"]
    if brick.ndim != 4 or brick.shape[3] != 3 or brick.dtype != np.uint8:
        raise DataError(
            f"imgBrick in {path} is {brick.dtype} of shape {brick.shape}; expected uint8 of "
            "(image, row, column, RGB). Fetch the original."
        )
    if brick.shape[1] != brick.shape[2]:
        raise DataError(f"the images in {path} are not square: {brick.shape[1:3]} pixels.")
    return brick


def _read(brick: h5py.Dataset, nsd_ids, size: int | None, progress: bool) -> np.ndarray:
    ids = check_nsd_ids(nsd_ids, len(brick))
    # Each image is read once and in the order on disk, whatever order was asked for: h5py's own
    # indexing with a list refuses repeated and unsorted ids.
    unique, inverse = np.unique(ids, return_inverse=True)
    side = size or brick.shape[1]
    images = np.empty((unique.size, side, side, 3), dtype=np.uint8)
    for i, nsd_id in enumerate(tqdm(unique, desc="images", disable=not progress)):
        image = brick[nsd_id]
        if side != brick.shape[1]:
            picture = Image.fromarray(image)
            image = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
        images[i] = image
    return images if np.array_equal(unique, ids) else images[inverse]
