"""COCO captions of the images."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..project.errors import DataError
from ..project.reading import reading
from .design import read_stim_info
from .paths import NSDLayout, require
from .stimuli import check_nsd_ids

REMEDY = (
    "Unpack COCO's annotations_trainval2017.zip there (from cocodataset.org), or write the "
    "simulated folder again."
)


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
    for nsd_id, coco_id, split in zip(
        chosen["nsdId"], chosen["cocoId"], chosen["cocoSplit"], strict=True
    ):
        if coco_id not in captions[split]:
            raise DataError(
                f"image {nsd_id} (COCO {coco_id}) has no caption in {layout.captions(split)}. "
                f"{REMEDY}"
            )
        found.append(list(captions[split][coco_id]))
    return found


def _captions_by_image(layout: NSDLayout, split: str, wanted: set[int]) -> dict[int, list[str]]:
    path = require(layout.captions(split), f"the file of COCO captions of {split}", REMEDY)
    captions: dict[int, list[str]] = {}
    with reading(path, "COCO captions", damaged=REMEDY):
        for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
            if (image := annotation["image_id"]) in wanted:
                # COCO's texts have stray line ends and double spaces.
                text = " ".join(annotation["caption"].split())
                if not text:
                    raise ValueError(f"image {image} has an empty caption")
                captions.setdefault(image, []).append(text)
    return captions
