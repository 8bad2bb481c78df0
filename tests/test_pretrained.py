"""The shipped networks do on scenes never seen what their cards say, and fit the repository."""

import json

import numpy as np
import pytest
from refusals import refused

from fmri_utils.clip.space import open_clip_space
from fmri_utils.lafite import load_generator
from fmri_utils.metrics.judge import load_judge
from fmri_utils.pictures.reconstruction import draw, draw_z, growing_pictures
from fmri_utils.project.artifacts import own_files
from fmri_utils.project.errors import WeightsError
from fmri_utils.project.profiles import PROJECT_ROOT
from simulated_nsd.training import report
from simulated_nsd.training.drawn_data import drawn_scenes

SHIPPED = PROJECT_ROOT / "data" / "pretrained"
HELD_OUT, SEED, N = 2, 77, 500  # neither the subjects' stream nor the one of training


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return drawn_scenes(folder, stream=HELD_OUT, seed=SEED, n=N, size=64)


@pytest.fixture(scope="module")
def generator():
    return load_generator(SHIPPED / "lafite.safetensors")


def test_weights_are_small_enough_to_ship():
    sizes = {p: p.stat().st_size for p in own_files(SHIPPED, "**/*")}
    assert sum(sizes.values()) < 40e6
    assert sizes[SHIPPED / "lafite.safetensors"] < 12e6


def test_clip_matches_images_and_captions_and_knows_the_main_thing(space, held_out):
    scores = report.clip_report(space, held_out)
    assert scores["image_to_caption_top1_of_100"] >= 0.80
    assert scores["zero_shot_main_thing"] >= 0.90


def test_the_judge_sees_what_was_drawn(judge, held_out):
    scores = report.judge_report(judge, held_out)
    assert scores["background"] >= 0.95 and min(scores["kind"], scores["colour"]) >= 0.9


def test_the_generator_draws_what_an_embedding_says(space, judge, generator, held_out):
    condition = space.encode_images(held_out["images"])
    z = draw_z(generator, 1, 0).expand(N, -1)
    drawn = draw(generator, z, condition)
    scores = report.ceiling_report(judge, drawn, held_out, held_out["images"][::-1])
    floor = scores["frechet_distance_in_judge_space, real scenes"]
    assert floor == pytest.approx(0, abs=1e-3)  # the same scenes in another order
    assert scores["two_way"] >= 0.80
    shifted = draw(generator, z, np.roll(condition, 1, axis=0))
    shifted = report.ceiling_report(judge, shifted, held_out)
    assert abs(shifted["two_way"] - 0.5) < 0.08


def test_cards_tell_data_training_and_scores():
    for card in ("clip/card.json", "judge-card.json", "lafite-card.json"):
        text = (SHIPPED / card).read_text()
        assert "training" in json.loads(text) and "stream" in text
        assert "scores" in text or "ceiling" in text


def test_partial_sums_grow_into_the_picture(generator, space, held_out):
    condition = space.encode_images(held_out["images"][:1])
    z = draw_z(generator, 1, 0)
    stages = growing_pictures(generator, z, condition)
    assert [len(s) for s in stages] == [4, 8, 16, 32, 64]
    np.testing.assert_allclose(stages[-1], draw(generator, z, condition)[0], atol=1e-6)


def test_missing_and_foreign_weights_give_one_clear_error(tmp_path):
    refused("make pretrain", open_clip_space, f"local-dir:{tmp_path}", error=WeightsError)
    refused("cannot be opened", open_clip_space, "ViT-Z-99", "openai", error=WeightsError)
    refused("is not a judge", load_judge, SHIPPED / "lafite.safetensors", error=WeightsError)


def test_the_judge_refuses_other_sizes(judge):
    refused("64 pixels only", judge.look, np.zeros((2, 32, 32, 3), np.uint8))
