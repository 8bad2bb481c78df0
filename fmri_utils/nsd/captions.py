"""COCO captions of the images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

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
    ids = check_nsd_ids(nsd_ids, len(info))
    chosen = info[["cocoId", "cocoSplit"]].iloc[ids]
    captions = {
        split: _captions_by_image(layout, split, images["cocoId"])
        for split, images in chosen.groupby("cocoSplit")
    }
    found = [
        captions[split][coco_id]
        for coco_id, split in zip(chosen["cocoId"], chosen["cocoSplit"], strict=True)
    ]
    for nsd_id, texts in zip(ids, found, strict=True):
        if not texts:
            row = info.iloc[nsd_id]
            raise DataError(
                f"image {nsd_id} (COCO {row['cocoId']}) has no caption in "
                f"{layout.captions(row['cocoSplit'])}. The file is of another COCO release. "
                f"{REMEDY}"
            )
    return [list(texts) for texts in found]


def _captions_by_image(
    layout: NSDLayout, split: str, coco_ids: pd.Series
) -> defaultdict[int, list[str]]:
    path = require(layout.captions(split), f"the file of COCO captions of {split}", REMEDY)
    wanted = set(coco_ids.tolist())
    captions: defaultdict[int, list[str]] = defaultdict(list)
    with reading(path, "COCO captions", damaged=REMEDY):
        with open(path, encoding="utf-8") as file:
            annotations = json.load(file)["annotations"]
        for annotation in annotations:
            if annotation["image_id"] in wanted:
                # COCO's texts have stray line ends and double spaces.
                text = " ".join(annotation["caption"].split())
                if not text:
                    raise ValueError(f"image {annotation['image_id']} has an empty caption")
                captions[annotation["image_id"]].append(text)
    return captions
