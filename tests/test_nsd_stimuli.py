"""Images and captions."""

import functools
import json

import numpy as np
import pytest
from refusals import refused

from fmri_utils.nsd import read_captions, read_images


@pytest.mark.parametrize("ids", [[5], [3, 4, 9], [9, 3, 4], [7, 7, 0, 7, 2, 0]])
def test_images_in_any_order_and_repeated(nsd, layout, ids):
    images = read_images(layout, ids, progress=False)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, nsd.images[ids])


def test_images_are_resized_with_antialiasing(nsd, layout):
    ids = [11, 2, 11]
    images = read_images(layout, ids, size=2, progress=False)
    assert images.shape == (3, 2, 2, 3)
    # each image is of one colour and noise below 20, of which averaging leaves little
    np.testing.assert_allclose(images.mean((1, 2)), nsd.images[ids].mean((1, 2)), atol=2)
    assert np.ptp(images.astype(int), axis=(1, 2)).max() < 10
    assert read_images(layout, ids, size=16, progress=False).shape == (3, 16, 16, 3)


@pytest.mark.parametrize("ids", [[-1], [10**6], [], [0.5], [[1, 2]], [True]])
def test_impossible_ids_are_refused(nsd, layout, ids):
    for read in (functools.partial(read_images, progress=False), read_captions):
        refused("nsd_ids", read, layout, ids)
    refused("73KID counts from 1", read_images, layout, [nsd.n_all], progress=False)


def test_captions_follow_their_image_through_both_coco_splits(layout):
    ids = [7, 3, 8, 3, 0]
    captions = read_captions(layout, ids)
    assert captions == [[f"image {i}, text {k}" for k in range(5)] for i in ids]
    captions[1].append("changed")
    assert len(captions[3]) == 5  # lists of a repeated image are not the same object


def test_missing_captions_are_reported(damaged):
    path = damaged.captions("train2017")
    data = json.loads(path.read_text())
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 1007]
    path.write_text(json.dumps(data))
    refused("image 1 ", read_captions, damaged, [0, 1, 2])
    path.unlink()
    assert len(read_captions(damaged, [0, 3])) == 2  # of val2017 only
    refused(r"annotations_trainval2017\.zip", read_captions, damaged, [1])
