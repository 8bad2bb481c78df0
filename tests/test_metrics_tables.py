"""Intervals, paired differences, diagnostics and the results table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from random_networks import randomly_initialised, write_weights
from refusals import refused
from scipy import stats

from fmri_utils import metrics
from fmri_utils.metrics.feature_networks import NETWORKS
from fmri_utils.metrics.identification import DIRECTIONS

ABOUT = {"dataset": "simulated NSD", "simulated": True, "subject": 1, "split": "shared images"}
ABOUT |= {"repeats": 3, "clip_model": "tiny"}


def rng(seed=0):
    return np.random.default_rng(seed)


TRUTH = rng(8).random((6, 64, 64, 3)).astype(np.float32)

# Intervals


def test_bootstrap_interval_covers_the_mean():
    draw, hits = rng(), 0
    for _ in range(100):
        interval = metrics.bootstrap(draw.normal(1, 1, 60), rng=draw, n_resamples=300)
        hits += interval.low <= 1 <= interval.high
    assert 86 <= hits < 100
    constant = metrics.bootstrap(np.ones(5), rng=draw)
    assert constant.low == constant.high == 1
    assert constant.excludes(0) and not constant.excludes(1)


def test_scores_without_a_number_are_refused():
    for bad in (np.array([]), np.ones((2, 2))):  # NaN: test_not_finite.py
        refused(r"\(n_images,\)", metrics.bootstrap, bad, rng=rng())


def test_paired_difference_sees_what_separate_intervals_miss():
    draw = rng(1)
    difficulty = draw.normal(0, 1, 100)
    first = difficulty + 0.1 + 0.05 * draw.standard_normal(100)
    second = difficulty + 0.05 * draw.standard_normal(100)
    separate = [metrics.bootstrap(s, rng=draw) for s in (first, second)]
    assert separate[0].low < separate[1].high  # they overlap
    paired = metrics.paired_difference(first, second, rng=draw)
    assert paired.value == pytest.approx(np.mean(first - second))
    assert paired.excludes(0) and paired.low > 0
    assert not metrics.paired_difference(first, first, rng=draw).excludes(0)


def test_half_the_width_is_found_every_second_time():
    """A true difference of this size is told from 0 in half of the samples."""
    draw = rng(4)
    size = 1.96 / np.sqrt(80)  # half the width for 80 images of SD 1
    samples = draw.normal(size, 1, (200, 80))
    found = [metrics.bootstrap(one, rng=draw, n_resamples=300) for one in samples]
    assert np.mean([i.half_width for i in found]) == pytest.approx(size, rel=0.05)
    assert np.mean([i.excludes(0) for i in found]) == pytest.approx(0.5, abs=0.1)


def test_differences_are_written_with_what_could_have_been_seen():
    gain, none = metrics.Interval(0.016, 0.001, 0.032), metrics.Interval(-0.02, -0.06, 0.02)
    assert gain.signed() == "+0.016 [+0.001, +0.032] ± 0.015"
    assert metrics.Interval(0.0, 0.0, 0.0).signed() == "+0.000, the same for every image"
    text = metrics.excluding_zero({"a": {"MRR": gain, "top-1": none}, "b": {"MRR": none}})
    first, second = text.splitlines()
    assert first == "1 of 3 intervals leave out 0, about 0.2 would if nothing differed"
    assert second.strip() == f"a, MRR {gain.signed()}"


def test_paired_difference_covers_the_truth_with_several_subjects():
    """Subjects differ in the true difference: only a bootstrap over subjects covers its mean."""
    draw, hits, naive_hits = rng(2), 0, 0
    for _ in range(40):
        gains = draw.normal(0.2, 0.2, 12)
        subjects = [gain + draw.normal(0, 0.3, 40) for gain in gains]
        zeros = [np.zeros(40)] * 12
        interval = metrics.paired_difference(subjects, zeros, rng=draw, n_resamples=200)
        hits += not interval.excludes(0.2)
        naive = metrics.bootstrap(np.concatenate(subjects), rng=draw, n_resamples=200)
        naive_hits += not naive.excludes(0.2)
    assert hits >= 33  # 95 % would be 38
    assert naive_hits < 27


def test_shared_images_carry_their_own_variance():
    draw = rng(3)
    image = draw.normal(0, 1, 50)
    subjects = [image + 0.01 * draw.standard_normal(50) for _ in range(8)]
    zeros = np.zeros((8, 50))
    width = {}
    for shared in (False, True):
        how = {"rng": rng(), "n_resamples": 500, "shared_images": shared}
        found = metrics.paired_difference(subjects, zeros, **how)
        width[shared] = found.high - found.low
    expected = 2 * 1.96 * image.std() / np.sqrt(50)
    assert width[True] == pytest.approx(expected, rel=0.15)
    assert width[False] < 0.6 * expected  # eight subjects would pass for eight times the images


def test_unpaired_scores_are_refused():
    pair, three, four = metrics.paired_difference, np.ones(3), np.ones(4)
    refused("same images", pair, three, four, rng=rng())
    refused("same subjects", pair, [three], [three, three], rng=rng())
    refused("same subjects", pair, [], [], rng=rng())
    both = [three, four]
    refused("images are shared", pair, both, both, rng=rng(), shared_images=True)


# Diagnostics


def test_effective_rank_counts_equal_directions():
    q, _ = np.linalg.qr(rng(5).standard_normal((60, 8)))
    orthogonal = np.concatenate([q, -q])  # mean zero, eight equal singular values
    for k in (1, 3, 8):
        assert metrics.effective_rank(orthogonal[:, :k] @ np.eye(k, 20) + 100) == pytest.approx(k)
    spectrum = np.array([4.0, 2.0, 1.0])
    expected = np.exp(stats.entropy(spectrum))
    assert metrics.effective_rank(orthogonal[:, :3] * spectrum) == pytest.approx(expected)
    assert metrics.effective_rank(np.tile([0.1, 0.7, 0.3], (30, 1))) == 0
    refused("n of at least 2", metrics.effective_rank, np.ones((1, 4)))


def test_bottleneck_curve_rises_and_says_how_many_dimensions_do():
    truth = rng(6).standard_normal((80, 30)) * np.logspace(0, -1.5, 30)
    predictions = {k: truth * (np.arange(30) < k) for k in (30, 1, 2, 5, 10)}
    curve = metrics.bottleneck_curve(truth, predictions, rng=rng(), n_resamples=100)
    assert curve["n_dims"].tolist() == [1, 2, 5, 10, 30]
    for name in ("two_way", "brain_to_image_top1", "brain_to_image_mrr"):
        part = curve[name]
        assert part["value"][0] < part["value"][2] < part["value"][-1] == 1
        assert (part["low"] <= part["value"]).all() and (part["value"] <= part["high"]).all()
    assert curve["brain_to_image_top1"]["chance"] == 1 / 80
    refused("at least one", metrics.bottleneck_curve, truth, {}, rng=rng())


def test_repeat_ceiling_recovers_the_noiseless_correlation():
    draw = rng(7)
    n, k = 4000, 3
    truth = draw.standard_normal((n, 2))
    clean = truth + draw.normal(0, [0.5, 2.0], (n, 2))  # what the map says without noise
    noisy = clean[:, None] + draw.normal(0, 3.0, (n, k, 2))
    found = metrics.repeat_ceiling(truth, noisy)
    for c, spread in enumerate((0.5, 2.0)):
        signal = 1 + spread**2
        assert found["reliability"][c] == pytest.approx(signal / (signal + 9 / k), abs=0.03)
        assert found["ceiling"][c] == pytest.approx(1 / np.sqrt(signal), abs=0.04)
        observed = np.corrcoef(truth[:, c], noisy[:, :, c].mean(1))[0, 1]
        assert found["r"][c] == pytest.approx(observed)
    assert (found["r"] < found["ceiling"]).all()
    constant = metrics.repeat_ceiling(truth, np.ones((n, 2, 2)))
    assert np.isnan(constant["ceiling"]).all() and (constant["reliability"] == 0).all()
    refused("at least two repeats", metrics.repeat_ceiling, truth, noisy[:, :1])


# Tables

SETTINGS = dict(about=ABOUT, baseline="random embedding", ceiling="ceiling", rng=rng())


@pytest.fixture(scope="module")
def scored(judge, tmp_path_factory):
    """Three sets of 6 pictures; of the networks one has weights, the others have none."""
    folder = tmp_path_factory.mktemp("weights")
    networks = []
    for network in NETWORKS.values():
        file = replace(network.weights(), cached=folder / network.name)
        networks.append(replace(network, weights=lambda file=file: file))
        if network.name == "CLIP":
            networks[-1] = write_weights("CLIP", randomly_initialised("CLIP"), folder)
    method = 0.3 * TRUTH + 0.7 * rng(7).random(TRUTH.shape).astype(np.float32)
    pictures = {"method": method, "ceiling": TRUTH, "random embedding": np.roll(TRUTH, 1, 0)}
    return metrics.picture_scores(TRUTH, pictures, judge=judge, networks=networks)


@pytest.fixture(scope="module")
def table(scored):
    return metrics.score_table(scored, **SETTINGS, n_resamples=100)


def test_table_has_every_row_with_its_direction(table):
    networks = "Alex(2)", "Alex(5)", "Incep", "CLIP", "EffNet-B", "SwAV"
    judged = (f"judge {row}" for row in ("two-way", "kind", "background", "colour"))
    assert list(table["rows"]) == ["PixCorr", "SSIM", *networks, *judged]
    lower = [row for row, entry in table["rows"].items() if entry["better"] == "lower"]
    assert lower == ["EffNet-B", "SwAV"]
    assert table["sets"] == ["random embedding", "method", "ceiling"]
    assert table["n_images"] == 6
    assert table["about"] == ABOUT


def test_table_keeps_the_rows_of_networks_without_weights(table):
    for row in ("Alex(2)", "Alex(5)", "Incep", "EffNet-B", "SwAV"):
        for cell in table["rows"][row]["scores"].values():
            assert "not on this machine" in cell["not_available"] and "value" not in cell
    text = metrics.table_markdown(table)
    assert "| Incep | higher | not available | not available | not available | not" in text
    assert "* SwAV: not available: the weights swav_800ep_pretrain.pth.tar are not on this" in text


def test_table_values_are_means_beside_chance_and_ceiling(table, scored, judge):
    for row in ("PixCorr", "SSIM", "CLIP", "judge two-way", "judge kind"):
        cells = table["rows"][row]["scores"]
        for name, cell in cells.items():
            assert cell["value"] == pytest.approx(scored[name][row].per_image.mean())
            assert cell["low"] <= cell["value"] <= cell["high"]
            assert cell["interval_over"] == "images"
        assert cells["ceiling"]["value"] == pytest.approx(1, abs=1e-6)
    assert table["rows"]["CLIP"]["scores"]["method"]["chance"] == 0.5
    saw = judge.look(TRUTH)["kind"]
    agree = np.mean([saw[i] == saw[j] for i in range(6) for j in range(6) if i != j])
    assert scored["ceiling"]["judge kind"].chance == pytest.approx(agree)
    # Noise pictures: unrelated pairs correlate by nothing, and chance is far below the method.
    pixcorr = table["rows"]["PixCorr"]["scores"]["method"]
    assert abs(pixcorr["chance"]) < 0.05 < 0.3 < pixcorr["value"]


def test_table_survives_json_and_names_data_and_versions(table):
    again = json.loads(json.dumps(table))
    text = metrics.table_markdown(again)
    assert text == metrics.table_markdown(table)
    head = "| score | better | chance | random embedding | method | ceiling |\n| --- |"
    versions = [f"{name} {version}" for name, version in table["versions"].items()]
    assert "torchvision" in table["versions"]
    about = "simulated NSD, subject 1, shared images, 6 images", "CLIP `tiny`"
    for part in (head, *about, *versions):
        assert part in text


def test_differences_are_paired_and_leave_out_what_is_not_available(scored):
    found = metrics.differences(scored, "ceiling", "method", rng=rng())
    assert "Incep" not in found
    gain = scored["ceiling"]["PixCorr"].per_image - scored["method"]["PixCorr"].per_image
    assert found["PixCorr"].value == pytest.approx(gain.mean())
    assert found["PixCorr"].excludes(0)
    refused("no set 'brain'", metrics.differences, scored, "brain", "method", rng=rng())


def test_compared_sets_have_a_column_of_their_own(scored):
    pair = [("ceiling", "method")]
    table = metrics.score_table(scored, **SETTINGS | {"rng": rng()}, compared=pair)
    alone = metrics.score_table(scored, **SETTINGS | {"rng": rng()})
    assert table["differences"] == ["ceiling - method"] and alone["differences"] == []
    gain = scored["ceiling"]["SSIM"].per_image - scored["method"]["SSIM"].per_image
    cell = table["rows"]["SSIM"]["scores"]["ceiling - method"]
    assert cell["value"] == pytest.approx(gain.mean()) and cell["low"] < cell["value"]
    assert "not on this" in table["rows"]["SwAV"]["scores"]["ceiling - method"]["not_available"]
    assert "| ceiling | ceiling - method |" in metrics.table_markdown(table)
    refused(
        "the compared set 'brain'",
        metrics.score_table,
        scored,
        **SETTINGS,
        compared=[("brain", "method")],
    )


def test_a_table_without_its_context_is_refused(scored):
    for change, message in (
        ({"about": {"dataset": "NSD"}}, "about lacks .*clip_model"),
        ({"baseline": "mean"}, "baseline 'mean' is not among the sets"),
        ({"ceiling": "best"}, "ceiling 'best' is not among the sets"),
    ):
        refused(message, metrics.score_table, scored, **SETTINGS | change)


def test_published_scores_stand_beside_real_data_only(table):
    refused("real NSD", metrics.published_markdown, table)
    real = table | {"about": ABOUT | {"simulated": False, "dataset": "NSD"}}
    text = metrics.published_markdown(real)
    assert "| MindEye2 | 1000 | 0.322 | 0.431 | 0.961 | 0.986 | 0.954 | 0.930 | 0.619 |" in text
    assert "| here: ceiling | 6 | 1.000 | 1.000 | not available |" in text
    assert "MindEye" not in metrics.table_markdown(table)


def test_a_missing_judge_keeps_its_rows(scored):
    scores = metrics.picture_scores(TRUTH[:2], {"a": TRUTH[:2]}, networks=[])["a"]
    assert "no judge" in scores["judge kind"].reason
    only = metrics.picture_scores(TRUTH[:2], {"a": TRUTH[:2]}, networks=[], chance_pairs=0)["a"]
    assert scores["SSIM"].chance is not None and only["SSIM"].chance is None
    np.testing.assert_array_equal(only["SSIM"].per_image, scores["SSIM"].per_image)
    assert list(scores) == ["PixCorr", "SSIM", *(r for r in scored["method"] if "judge" in r)]


def test_embedding_table_has_both_directions_with_their_numbers_of_candidates():
    draw = rng(9)
    truth = draw.standard_normal((350, 12))
    shuffled, noise = truth[draw.permutation(350)], 1.5 * draw.standard_normal(truth.shape)
    predictions = {"shuffled": shuffled, "ridge": truth + noise, "oracle": truth}
    scores = metrics.embedding_scores(truth, predictions, rng=draw)
    for direction, per_image in metrics.retrieval_scores(truth, predictions["ridge"]).items():
        for row, key in (("top-1", "top1"), ("MRR", "reciprocal_rank"), ("median rank", "rank")):
            score = scores["ridge"][f"{direction} {row} of 350"]
            np.testing.assert_array_equal(score.per_image, per_image[key])
        drawn = scores["ridge"][f"{direction} top-1 of 300"].interval.value
        assert drawn > per_image["top1"].mean()
    how = {"about": ABOUT, "baseline": "shuffled", "ceiling": "oracle", "n_resamples": 50}
    table = metrics.score_table(scores, **how, rng=draw)
    name = "brain_to_image median rank of 350"
    row, per_image = table["rows"][name], scores["ridge"][name].per_image
    assert row["better"] == "lower" and row["statistic"] == "median"
    assert row["scores"]["ridge"]["value"] == np.median(per_image)
    drawn = table["rows"]["image_to_brain top-1 of 300"]["scores"]["oracle"]
    assert drawn["interval_over"] == "draws" and drawn["value"] == 1
    assert "brain_to_image MRR of 350" in metrics.differences(scores, "ridge", "shuffled", rng=draw)
    small = metrics.embedding_scores(truth[:40], {"a": truth[:40]}, rng=draw)
    kinds = ("top-1 of 40", "top-1 of 40, CSLS")
    expected = {f"{direction} {kind}" for direction in DIRECTIONS for kind in kinds}
    assert {row for row in small["a"] if "top-1" in row} == expected
