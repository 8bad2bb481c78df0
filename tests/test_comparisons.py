"""Comparisons of searches and of fine-tuned generators: fair, paired, resumable, readable."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refusals import refused
from small_lafite import WIDER, linear_encoder, noisy_generator, seeded

from fmri_utils import encoders
from fmri_utils.lafite import Generator, load_generator
from fmri_utils.metrics.pixels import pixcorr_scores
from fmri_utils.metrics.scores import Score
from fmri_utils.pictures import finetuning, strategies
from fmri_utils.pictures.reconstruction import as_pictures, draw, mean_picture
from fmri_utils.pictures.search import Blurred, Objective
from fmri_utils.pictures.strategies import (
    BEST,
    BY_NOISE,
    BY_Z,
    LOW_LEVEL,
    PLAIN,
    compare_fine_tuning,
    compare_searches,
    compared,
    gains_markdown,
    mean_scores,
    study_remark,
)  # fmt: skip
from fmri_utils.project import artifacts
from fmri_utils.project.profiles import load_profile
from pipeline.studies import __main__ as studies
from pipeline.studies import study_generator

N = 4
# In float32 each of the generator's ten layers adds up to 9 x 8 products, in an order that depends
# on the batch and the processor. Pictures lie in [0, 1].
ROUNDING = 10 * (9 * 8) ** 0.5 * 2.0**-24


@pytest.fixture(scope="module")
def generator():
    return noisy_generator(WIDER)


@pytest.fixture(scope="module")
def encoder():
    return linear_encoder(16)


@pytest.fixture
def condition():
    return encoders.unit(np.random.default_rng(3).standard_normal((N, 8))).astype(np.float32)


def test_all_searches_spend_the_same_and_start_alike(generator, encoder, condition, tmp_path):
    blurred = Blurred(np.full((N, 2, 2, 3), 0.5, np.float32), np.ones((2, 2, 3)))
    settings = {"passes": 13, "blurred": blurred, "folder": tmp_path}
    found = compare_searches(generator, condition, Objective(encoder), rng=seeded(), **settings)
    assert set(found.draws) == {PLAIN, BEST, BY_Z, BY_NOISE, LOW_LEVEL}
    assert found.passes == {PLAIN: 1, BEST: 13, BY_Z: 13, BY_NOISE: 13, LOW_LEVEL: 13}
    first = [found.trajectories[name]["cosine"][0] for name in (BY_Z, LOW_LEVEL)]
    np.testing.assert_allclose(first[0], first[1], rtol=1e-5)
    shown = torch.tensor(found.draws[PLAIN][0]).permute(0, 3, 1, 2) * 2 - 1
    plain = (encoder(shown) * torch.tensor(condition)).sum(1)
    np.testing.assert_allclose(first[0], plain, rtol=1e-4, atol=1e-5)
    assert "low_level" in found.trajectories[LOW_LEVEL]
    again = compare_searches(generator, condition, Objective(encoder), rng=seeded(), **settings)
    for name, (pictures, *_) in found.draws.items():
        np.testing.assert_array_equal(again.draws[name][0], pictures)
    other = compare_searches(generator, condition, Objective(encoder), rng=seeded(1), **settings)
    assert not np.array_equal(other.draws[BEST][0], found.draws[BEST][0])
    few = compare_searches(generator, condition, Objective(encoder), rng=seeded(), passes=4)
    assert LOW_LEVEL not in few.draws  # nothing to guide with


def test_scores_are_means_over_draws_and_differences_are_paired(rng):
    seen = rng.random((N, 16, 16, 3))
    draws = {"a": [rng.random((N, 16, 16, 3)) for _ in range(2)], "b": [seen]}
    scores = mean_scores(seen, draws, judge=None)
    mean = (pixcorr_scores(seen, draws["a"][0]) + pixcorr_scores(seen, draws["a"][1])) / 2
    np.testing.assert_allclose(scores["a"]["PixCorr"].per_image, mean)
    table = compared([scores], "a", rng=rng)
    assert table["PixCorr"]["b"]["value"] == pytest.approx(1)
    assert table["PixCorr"]["b"]["difference"]["value"] == pytest.approx(1 - mean.mean())
    assert table["PixCorr"]["b"]["difference"]["low"] > 0.5
    assert "difference" not in table["PixCorr"]["a"]
    assert "no judge" in table["judge kind"]["b"]["not_available"]
    lines = gains_markdown(table, "a").splitlines()
    assert lines[0] == "|  | PixCorr | SSIM |"  # the judge's rows are not there
    assert lines[2].startswith(f"| a | {mean.mean():.3f} [")
    assert lines[3].startswith(f"| b | {1 - mean.mean():+.3f} [+0.") and " ± 0." in lines[3]
    gains = strategies.gain_intervals(table, "a", ["b"])
    assert gains["b"]["PixCorr"].value == pytest.approx(1 - mean.mean())


def test_the_mean_picture_is_the_mean_over_all_blocks_of_some_rows():
    images = np.random.default_rng(0).integers(0, 256, (250, 6, 5, 3), dtype=np.uint8)
    rows = np.flatnonzero(np.arange(250) % 10)
    found = mean_picture(images, rows)
    np.testing.assert_allclose(found, images[rows].mean(0) / 255, atol=1e-7)
    refused("one row or more", mean_picture, images, rows[:0])


def test_seeds_are_resampled_with_the_images(rng):

    def scores(gain):
        first = rng.random(50)
        sets = {"a": first, "b": first + gain + 0.01 * rng.standard_normal(50)}
        return {name: {"SSIM": Score("higher", value, 0.0)} for name, value in sets.items()}

    repeats = [scores(gain) for gain in (0.1, 0.2, 0.3)]
    table = compared(repeats, "a", rng=rng)
    gain = table["SSIM"]["b"]["difference"]
    np.testing.assert_allclose(gain["by_seed"], [0.1, 0.2, 0.3], atol=0.01)
    assert gain["value"] == pytest.approx(0.2, abs=0.01)
    assert gain["high"] - gain["low"] > 0.1  # images alone would give about 0.005
    one = compared(repeats[:1], "a", rng=rng)["SSIM"]["b"]["difference"]
    assert one["high"] - one["low"] < 0.01


def test_a_study_of_another_generator_says_so():
    assert "no results" in study_remark({}, "a")
    assert "other weights" in study_remark({"weights": "b"}, "a")
    same = {"weights": "a", "seeds": [0, 1]}
    assert "with this generator, seeds [0, 1]" in study_remark(same, "a")


def test_fine_tuned_generators_draw_as_they_were_trained(generator, condition):
    torch.manual_seed(1)
    two = Generator(dataclasses.replace(WIDER, n_conditions=2)).eval()
    conditions = {"brain": [condition, -condition], "ceiling": [condition[::-1], condition]}
    two_at_once = finetuning.FineTuning(two_conditions=True, zero_z=True)
    options, asked = {"two": two_at_once, "one": finetuning.FineTuning()}, []

    def trained(option, name):
        asked.append(name)
        return two if option.two_conditions else generator

    z = torch.randn(3, N, 12, generator=seeded())
    pictures = compare_fine_tuning(generator, trained, options, conditions, z=z, batch_size=3)
    assert asked == ["two", "one"]
    numbers = {kind: {k: len(v) for k, v in d.items()} for kind, d in pictures.items()}
    assert list(numbers.values()) == [{"before": 3, "two": 1, "one": 3}] * 2
    # Each of the two conditions is scaled to unit length by itself.
    wide = np.concatenate([condition, -condition], 1)
    with torch.no_grad():
        expected = as_pictures(two(torch.zeros(N, 12), torch.tensor(wide)))
    uneven = np.concatenate([3 * condition, -0.5 * condition], 1)
    np.testing.assert_allclose(draw(two, torch.zeros(N, 12), uneven), expected, atol=ROUNDING)
    np.testing.assert_allclose(pictures["brain"]["two"][0], expected, atol=ROUNDING)
    expected = draw(generator, z[1], condition[::-1])
    np.testing.assert_allclose(pictures["ceiling"]["one"][1], expected, atol=ROUNDING)


@pytest.fixture
def material(generator, encoder, tmp_path, monkeypatch, rng):
    """Material of a few random images and networks of tests."""
    ids = np.repeat(np.arange(20), 2)
    image = encoders.unit(rng.standard_normal((20, 8))).astype(np.float32)
    betas = (image @ rng.standard_normal((8, 30)))[ids] + rng.standard_normal((40, 30))
    test = ids < N
    areas = {"area_names": ["V1", "V2", "V3"], "areas": np.eye(3, 30, dtype=bool)}
    pictures = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    pattern = betas[test].reshape(N, 2, 30).mean(1)
    content = (
        {"betas": betas, "nsd_id": ids, "is_train": ~test, **areas},
        {"nsd_id": np.arange(20), "images": pictures},
        {"nsd_id": np.arange(20), "image": image, "caption": np.roll(image, 1, 1)},
        {
            "test_ids": np.arange(N),
            "pattern": pattern,
            "truth": image[:N],
            "conditions": {"spread matched": image[:N]},
        },
        Path("weights"),
    )
    sizes = {"study_passes": 4, "study_images": 8, "study_rest_images": 8}
    overrides = [f"reconstruction.{name}={size}" for name, size in sizes.items()]
    cfg = load_profile("smoke", overrides=[*overrides, "encoder.n_alphas=3", 'lafite.judge=""'])

    def embed(images):
        return encoder(torch.as_tensor(images).permute(0, 3, 1, 2) / 127.5 - 1).numpy()

    space = SimpleNamespace(image_size=16, name="tiny", encode_images=embed)
    monkeypatch.setattr("fmri_utils.project.profiles.PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(study_generator, "load_generator", lambda *_, **__: generator)
    monkeypatch.setattr(study_generator, "open_clip_space", lambda *_, **__: space)
    monkeypatch.setattr(study_generator.search, "clip_encoder", lambda space: encoder)
    files = SimpleNamespace(cfg=cfg, hashes={"weights": "0" * 64}, values=lambda: content)
    return study_generator.Material(files)


def quick_scores(truth, pictures, **_):
    """Stand-in for the scores, which are tested elsewhere and take a minute here."""
    rows = {}
    for name, images in pictures.items():
        distance = -np.abs(truth - images).mean((1, 2, 3))
        rows[name] = {row: Score("higher", distance, 0.0) for row in ("PixCorr", "SSIM")}
    return rows


def test_both_studies_run_and_resume(material, tmp_path, monkeypatch):
    monkeypatch.setattr(strategies.metrics, "picture_scores", quick_scores)
    searches = study_generator.study_searches(material)
    assert len(searches["rows"]["PixCorr"][BY_Z]["difference"]["by_seed"]) == 2
    assert {"ceiling", "mean training image"} <= set(searches["rows"]["SSIM"])
    names = ("predicted", "predicted, two conditions, z = 0")
    options = {name: finetuning.OPTIONS[name] for name in names}
    monkeypatch.setattr(finetuning, "OPTIONS", options)
    study = study_generator.study_fine_tuning(material)
    assert set(study["rows"]["brain"]["PixCorr"]) == {"before", *names}
    assert study["n_training_images"] == 16 and study["n_images"] == N

    def times():
        kept = [*tmp_path.rglob("*.safetensors"), *tmp_path.rglob("*.h5")]
        return {path: path.stat().st_mtime_ns for path in kept}

    before = times()
    # Of each seed: a batch of each search, a checkpoint and the weights of each option.
    assert len(before) == 2 * (4 + 2 * 2)
    assert study_generator.study_fine_tuning(material) == study
    assert times() == before
    folder = material.folder / "fine-tuning" / "seed-1" / "predicted"
    names = {p.name for p in folder.glob("*.png")}
    assert names == {"grid-000000008.png", "grid-000000016.png", "losses.png"}
    tuned = load_generator(folder / "generator.safetensors")
    assert tuned.config == material.generator.config
    seeds = [folder.parents[1] / f"seed-{seed}" / "predicted" for seed in (0, 1)]
    digests = [artifacts.sha256_file(one / "generator.safetensors") for one in seeds]
    assert digests[0] != digests[1]


def test_the_study_names_what_is_missing(capsys):
    assert studies.main(["one=generator", "PROFILE=smoke", "SEED=969696"]) == 2
    assert "Run `make 01`" in capsys.readouterr().err
    assert studies.main(["one=generator", "PROFILE=nothing"]) == 2
    assert "Valid profiles" in capsys.readouterr().err
