"""Pictures of another range, NaN and infinite numbers are refused where they come in."""

import numpy as np
import pytest
import torch
from refusals import refused

from fmri_utils import dino, metrics
from fmri_utils.dino import on_pictures
from fmri_utils.dino.student_teacher import StudentTeacher
from fmri_utils.pictures import reconstruction, search
from fmri_utils.project import checks
from fmri_utils.project.errors import DataError
from simulated_nsd import scenes


@pytest.fixture(scope="module")
def pictures():
    """Drawn scenes, uint8 (4, 64, 64, 3)."""
    return np.stack([scenes.draw_scene(s, 64) for s in scenes.sample_scenes(2, 78, 4)])


# -- the checks themselves -----------------------------------------------------------------------


def test_what_is_not_finite_is_counted_and_located():
    betas = np.zeros((10, 400))
    checks.check_finite(betas, "betas", ("trial", "voxel"))
    betas[3, 17] = np.nan
    said = r"^betas: 1 of 4000 values is NaN, first at trial 3, voxel 17\. Expected: .*\. A$"
    refused(said, checks.check_finite, betas, "betas", ("trial", "voxel"), remedy="A")
    betas[9, 0] = -np.inf
    with pytest.raises(DataError, match="2 of 4000 values are NaN or infinite, first at trial 3"):
        checks.check_finite(betas, "betas", ("trial", "voxel"))
    with pytest.raises(DataError, match=r"1 of 2 values is infinite, first at index \[1\]\."):
        checks.check_finite(torch.tensor([0.0, np.inf]).bfloat16(), "z")
    refused(r"^k: 1 of 1 values is NaN\. Expected", checks.check_finite, np.float64("nan"), "k")
    for fine in (np.arange(3), np.ones(2, bool), torch.arange(3), torch.ones(0)):
        checks.check_finite(fine, "numbers")


def test_pictures_pass_as_bytes_and_as_floats_with_a_little_overshoot(pictures):
    assert checks.check_pictures(pictures, "images") is pictures
    for fine in (pictures / 255, np.clip(pictures / 255 * 1.2 - 0.1, -0.1, 1.1), pictures > 99):
        np.testing.assert_array_equal(checks.check_pictures(fine, "images"), fine)
    with pytest.raises(DataError, match=r"shape \(1, 64, 64, 3\)\. Expected: at least two"):
        checks.check_pictures(pictures[:1], "images", at_least=2)
    refused(r"shape \(0, 64, 64, 3\)", checks.check_pictures, pictures[:0], "images")


def test_a_picture_far_back_is_looked_at_too():
    many = np.zeros((130, 2, 2, 3), np.float32)
    many[129, 1, 1, 2] = np.nan
    refused("values from nan to nan", checks.check_pictures, many, "images")
    refused("values from nan to nan", checks.check_range, torch.from_numpy(many), "images")


# -- pictures of another range -------------------------------------------------------------------


def as_tensors(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def as_floats(pictures):
    return as_tensors(pictures).float()


def students():
    settings = dino.ImageSettings(dino.DinoSettings(n_steps=1), size=64, width=12, depth=1)
    return StudentTeacher(settings.learner(), settings.n_outputs, settings.dino)


WRONG = {
    "0 to 255 as floats": lambda p: p.astype(np.float32),
    "-1 to 1": lambda p: p / 127.5 - 1,
    "NaN": lambda p: np.where(np.arange(p.size).reshape(p.shape) == 777, np.nan, p / 255),
}
FLOATS_TOO = {
    "encode_images": lambda p, space, judge: space.encode_images(p),
    "look": lambda p, space, judge: judge.look(p),
    "shrink": lambda p, space, judge: search.low_level.shrink(p, 8),
    "multi_crop": lambda p, *_: dino.multi_crop(as_tensors(p), torch.Generator(), n_local=0),
    "fixed_views": lambda p, *_: on_pictures.fixed_views(
        as_tensors(p), dino.ImageSettings(dino.DinoSettings(n_steps=1))
    ),
    "features": lambda p, space, judge: students().features(as_floats(p)),
    "features_of": lambda p, space, judge: dino.features_of(
        students().teacher.backbone, p.transpose(0, 3, 1, 2)
    ),
    "snapshot": lambda p, space, judge: on_pictures.snapshot(students(), as_floats(p), None),
    "ssim": lambda p, space, judge: metrics.ssim_scores(p, p),
}
SETTINGS = dino.ImageSettings(
    dino.DinoSettings(n_steps=1, batch_size=4), size=16, width=12, depth=1
)
ONLY_BYTES = {
    "as_tensor": lambda p, space: dino.as_tensor(p, 64),
    "train_images": lambda p, space: dino.train_images(
        p, SETTINGS, shown=np.zeros((1, 64, 64, 3), np.uint8)
    ),
    "at_resolution": lambda p, space: reconstruction.at_resolution(p, 32),
    "training_monitor": lambda p, space: metrics.training_monitor(p, space.encode_images),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("entry", FLOATS_TOO)
def test_pictures_of_another_range_are_refused(pictures, space, judge, entry, wrong):
    with pytest.raises(DataError, match=r"values from .* rescale or convert the pictures first"):
        FLOATS_TOO[entry](WRONG[wrong](pictures), space, judge)


@pytest.mark.parametrize("wrong", [*WRONG, "0 to 1"])
@pytest.mark.parametrize("entry", ONLY_BYTES)
def test_floats_are_refused_where_bytes_are_meant(pictures, space, entry, wrong):
    change = WRONG.get(wrong, lambda p: p / 255)
    refused(r"Expected: uint8 in \[0, 255\]", ONLY_BYTES[entry], change(pictures), space)


def test_bytes_and_floats_are_the_same_pictures(pictures, space, judge):
    as_bytes, as_floats = (space.encode_images(p) for p in (pictures, pictures / 255))
    np.testing.assert_allclose((as_bytes * as_floats).sum(1), 1, atol=1e-6)
    seen, again = judge.look(pictures), judge.look((pictures / 255).astype(np.float32))
    np.testing.assert_allclose(seen["features"], again["features"], atol=1e-4)
    np.testing.assert_allclose(
        search.low_level.shrink(pictures, 8), search.low_level.shrink(pictures / 255, 8), atol=1e-6
    )
    # A little overshoot, as resizing leaves it, is what it would be when shown.
    over = np.where(pictures == 255, 1.1, pictures / 255)
    np.testing.assert_allclose(space.encode_images(over), as_bytes, atol=1e-5)
