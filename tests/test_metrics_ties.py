"""What ties shares the places that it covers: who says nothing is at chance, exactly."""

import itertools

import numpy as np
import pytest

from fmri_utils import metrics, visual_areas
from fmri_utils.dino import probes
from fmri_utils.encoders import controls
from fmri_utils.metrics.identification import find_places
from simulated_nsd.training.report import caption_retrieval

N = 40
MRR = sum(1 / k for k in range(1, N + 1)) / N  # 0.107


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).standard_normal((N, 768)) + 0.3


CONSTANTS = {
    "zero": lambda truth: np.zeros(truth.shape[1]),
    "one number": lambda truth: np.full(truth.shape[1], 0.1),
    "mean of the truth": lambda truth: truth.mean(0),
    "a large vector": lambda truth: 1e6 * truth[5],
    "a small vector": lambda truth: 1e-6 * truth[5],
    "float32": lambda truth: truth[7].astype(np.float32),
}


def test_places_are_the_mean_over_all_orders_of_what_ties(rng):
    orders = list(itertools.permutations(range(5)))
    for table in rng.integers(0, 3, (20, 5, 5)).astype(float):
        found = find_places(table)
        for i, row in enumerate(table):
            # A stable sort keeps what ties in the order in which it comes.
            ranked = [sorted(order, key=lambda j, row=row: -row[j]) for order in orders]
            places = np.array([order.index(i) + 1 for order in ranked])
            assert found.rank[i] == pytest.approx(places.mean())
            assert found.reciprocal_rank[i] == pytest.approx((1 / places).mean())
            assert found.two_way[i] == pytest.approx(1 - (places - 1).mean() / 4)
            for k in (1, 2, 5):
                assert found.top(k)[i] == pytest.approx((places <= k).mean())


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_table_of_scores_puts_a_constant_at_the_chance_that_it_prints(name, truth, rng):
    prediction = np.tile(CONSTANTS[name](truth), (N, 1))
    (rows,) = metrics.embedding_scores(truth, {"constant": prediction}, rng=rng).values()
    assert sum("CSLS" in row for row in rows) == 2
    for row, score in rows.items():
        value = {"mean": np.mean, "median": np.median}[score.statistic](score.per_image)
        assert value == pytest.approx(score.chance, abs=1e-12), row
    for found in metrics.retrieval(truth, prediction, n_candidates=20, rng=rng).values():
        assert found["top1"] == pytest.approx(1 / N, abs=1e-12)
        assert found["top5"] == pytest.approx(5 / N, abs=1e-12)
        assert found["top1_drawn"] == pytest.approx(1 / 20, abs=1e-12)
    found = controls.scores_per_image(truth, prediction)
    assert list(found) == list(controls.SCORES)
    for row, chance in controls.chance_levels(N).items():
        assert found[row].mean() == pytest.approx(chance, abs=1e-12), row
    probed = probes.probe_scores(truth, prediction)
    expected = {"two-way": 0.5, "MRR": metrics.chance(N)["reciprocal_rank"]}
    assert {k: v.mean() for k, v in probed.items()} == pytest.approx(expected, abs=1e-12)
    unit = truth / np.linalg.norm(truth, axis=1, keepdims=True)
    by_area = visual_areas.embedding_scores_of(np.stack([prediction, unit]), unit)
    np.testing.assert_allclose(by_area["top1"].mean(1), [1 / N, 1], atol=1e-12)
    np.testing.assert_allclose(by_area["reciprocal_rank"].mean(1), [MRR, 1], atol=1e-12)
    clusters = np.arange(N) % 4
    for values in metrics.clustered_two_way_scores(truth, prediction, clusters).values():
        assert values.mean() == pytest.approx(0.5, abs=1e-12)


def test_a_constant_ties_whatever_its_size_and_type(rng):
    """Matrix products round by position: the more numbers, the more there is to round."""
    for n, size, kind in ((301, 5000, float), (301, 5000, "f4"), (77, 50_000, "f4")):
        truth = (rng.standard_normal((n, size)) + 1).astype(kind)
        prediction = np.tile((rng.standard_normal(size) + 100).astype(kind), (n, 1))
        scores = metrics.retrieval_scores(truth, prediction)["image_to_brain"]
        np.testing.assert_allclose(scores["top1"], 1 / n, rtol=1e-12)
        np.testing.assert_allclose(scores["rank"], (n + 1) / 2)


def test_two_identical_test_images_share_their_places(truth):
    twice = truth.copy()
    twice[31] = twice[3]
    for scores in metrics.retrieval_scores(twice, twice).values():
        expected = np.ones(N)
        expected[[3, 31]] = 0.5
        np.testing.assert_array_equal(scores["top1"], expected)
        expected[[3, 31]] = (1 + 1 / 2) / 2
        np.testing.assert_allclose(scores["reciprocal_rank"], expected)
        np.testing.assert_array_equal(scores["top5"], 1)
    expected = np.ones(N)
    expected[[3, 31]] = (N - 2 + 0.5) / (N - 1)
    np.testing.assert_allclose(metrics.two_way_scores(twice, twice), expected)


def test_a_difference_in_the_seventh_digit_is_no_tie(truth):
    """Predictions that are nearly the same for all images still say what they say."""
    faint = truth.mean(0) + 1e-6 * (truth - truth.mean(0))
    scores = metrics.retrieval_scores(truth, faint)["image_to_brain"]
    assert scores["top1"].mean() == 1


def test_captions_are_found_by_chance_by_embeddings_that_say_nothing():
    class Space:
        def encode_texts(self, texts):
            rng = np.random.default_rng(len(texts))
            return rng.standard_normal((len(texts), 16)).astype(np.float32)

    captions = np.array([[f"caption {i} {j}" for j in range(5)] for i in range(120)])
    for embeddings in (np.zeros((120, 16), np.float32), np.ones((120, 16), np.float32)):
        found = caption_retrieval(Space(), embeddings, captions, seed=0)
        assert found == pytest.approx(1 / 100, abs=1e-12)
