"""The images, as the subjects saw them, and their COCO captions."""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..project.errors import DataError
from ..project.reading import reading, require
from .design import read_stim_info
from .paths import REMEDY, NSDLayout

DAMAGED = "delete it and fetch it again."
AGAIN = "It is another file, or was changed: fetch it again."
CAPTIONS_REMEDY = (
    "Unpack COCO's annotations_trainval2017.zip there (from cocodataset.org), or write the "
    "simulated folder again."
)


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
            f"nsd_ids are {ids.dtype} of shape {ids.shape}; expected a list of whole numbers."
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
    path = _stimulus_file(layout)
    with reading(path, "the images", damaged=DAMAGED), h5py.File(path) as file:
        stored, rows = (_cropped if path == layout.stimuli_coco else _brick)(file, layout, nsd_ids)
        # Each image is read once and in the order on disk, whatever order was asked for: h5py's
        # own indexing with a list refuses repeated and unsorted ids.
        unique, inverse = np.unique(rows, return_inverse=True)
        side = size or stored.shape[1]
        images = np.empty((unique.size, side, side, 3), dtype=np.uint8)
        for i, row in enumerate(tqdm(unique, desc="images", disable=not progress)):
            image = Image.fromarray(stored[row])
            if side != stored.shape[1]:
                image = image.resize((side, side), Image.Resampling.BICUBIC)
            images[i] = image
    return images if np.array_equal(unique, rows) else images[inverse]


def stored_ids(layout: NSDLayout) -> np.ndarray:
    """NSD ids (from 0, ascending) of the images that the folder holds, whichever file they are in.

    Raises
    ------
    DataError
        As :func:`read_images`.
    """
    path = _stimulus_file(layout)
    with reading(path, "the images", damaged=DAMAGED), h5py.File(path) as file:
        if path == layout.stimuli_coco:
            return file["nsd_ids"][()]
        brick, _ = _brick(file, layout, [0])
        if brick.chunks is None:
            return np.arange(len(brick))
        written: set[int] = set()  # a simulated folder holds the subjects that were simulated
        each = np.arange(brick.chunks[0])
        brick.id.chunk_iter(lambda chunk: written.update(each + chunk.chunk_offset[0]))
        return np.array(sorted(written.intersection(range(len(brick)))), dtype=int)


def _stimulus_file(layout: NSDLayout) -> Path:
    """The images as they were shown, or else those cropped from COCO's."""
    path = layout.stimuli
    if not path.is_file() and layout.stimuli_coco.is_file():
        path = layout.stimuli_coco
    return require(path, "the file of stimuli", REMEDY)


def _brick(file: h5py.File, layout: NSDLayout, nsd_ids) -> tuple[h5py.Dataset, np.ndarray]:
    """All images as shown, and the rows of those asked for."""
    path = layout.stimuli
    if "imgBrick" not in file:
        raise DataError(f"{path} has no dataset 'imgBrick'; it holds {sorted(file)}. {AGAIN}")
    brick = file["imgBrick"]
    square = brick.ndim == 4 and brick.shape[1:] == (brick.shape[1], brick.shape[1], 3)
    if not square or brick.dtype != np.uint8:
        raise DataError(
            f"imgBrick in {path} is {brick.dtype} of shape {brick.shape}; expected uint8 (image, "
            f"row, column, RGB), square. {AGAIN}"
        )
    return brick, check_nsd_ids(nsd_ids, len(brick))


def _cropped(file: h5py.File, layout: NSDLayout, nsd_ids) -> tuple[h5py.Dataset, np.ndarray]:
    """Some images, cropped from COCO's, and the rows of those asked for."""
    ids = check_nsd_ids(nsd_ids, int(file.attrs["n_nsd_ids"]))
    images, stored = file["images"], file["nsd_ids"][()]
    if images.shape != (stored.size, *images.shape[1:2] * 2, 3) or images.dtype != np.uint8:
        raise ValueError(f"{images.dtype} of {images.shape} for {stored.size} images")
    rows = np.minimum(np.searchsorted(stored, ids), stored.size - 1)
    absent = np.unique(ids[stored[rows] != ids])
    if absent.size:
        raise DataError(
            f"{absent.size} of {np.unique(ids).size} images were not downloaded, the first is "
            f"{absent[0]}. Fetch them: `make nsd-download SUBJECT={layout.subject} BETAS=none "
            f"STIMULI=coco ROOT={layout.root}`, or all images as shown with STIMULI=brick."
        )
    return images, rows


def read_captions(layout: NSDLayout, nsd_ids: Sequence[int]) -> list[list[str]]:
    """Read the captions that people wrote for the images in COCO, about five for each.

    They describe COCO's whole image, of which NSD showed a square part: a thing that a caption
    names may be outside it.

    Parameters
    ----------
    layout : NSDLayout
        Any subject; the images are common to all.
    nsd_ids : sequence of int, shape (n_images,)
        NSD ids from 0, in any order, also repeated.

    Returns
    -------
    list of list of str
        The captions of each image, in the order of ``nsd_ids`` and of COCO's file.

    Raises
    ------
    DataError
        If a file is missing or damaged, an id is out of range, or an image has no caption.
    """
    info = read_stim_info(layout)
    chosen = info.iloc[check_nsd_ids(nsd_ids, len(info))]
    captions = {
        split: _captions_by_image(layout, split, set(images["cocoId"]))
        for split, images in chosen.groupby("cocoSplit")
    }
    found = []
    for nsd_id, coco_id, split in chosen[["nsdId", "cocoId", "cocoSplit"]].itertuples(index=False):
        if coco_id not in captions[split]:
            raise DataError(
                f"image {nsd_id} (COCO {coco_id}) has no caption in {layout.captions(split)}. "
                f"{CAPTIONS_REMEDY}"
            )
        found.append(list(captions[split][coco_id]))
    return found


def _captions_by_image(layout: NSDLayout, split: str, wanted: set[int]) -> dict[int, list[str]]:
    path = require(layout.captions(split), f"the file of COCO captions of {split}", CAPTIONS_REMEDY)
    captions: dict[int, list[str]] = {}
    with reading(path, "COCO captions", damaged=CAPTIONS_REMEDY):
        for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
            if (image := annotation["image_id"]) in wanted:
                # COCO's texts have stray line ends and double spaces.
                text = " ".join(annotation["caption"].split())
                if not text:
                    raise ValueError(f"image {image} has an empty caption")
                captions.setdefault(image, []).append(text)
    return captions
