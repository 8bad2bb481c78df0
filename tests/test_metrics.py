"""Scores against fixtures whose value is known, and against other libraries."""

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity
from sklearn.metrics import pairwise

from fmri_utils import metrics
from fmri_utils.errors import DataError


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((16, 64, 64, 3)).astype(np.float32)


@pytest.fixture
def embeddings():
    return np.random.default_rng(1).standard_normal((300, 24))


def test_a_perfect_reconstruction_is_perfect(pictures, embeddings):
    assert metrics.pixcorr(pictures, pictures) == pytest.approx(1)
    assert metrics.ssim(pictures, pictures) == pytest.approx(1)
    assert metrics.two_way_identification(embeddings, embeddings) == 1
    scores = metrics.retrieval(embeddings, embeddings, rng=np.random.default_rng(0))
    for direction in metrics.DIRECTIONS:
        assert scores[direction]["top1"] == 1
        assert scores[direction]["median_rank"] == 1
        assert scores[direction]["mrr"] == 1


def test_a_random_permutation_is_at_chance(embeddings):
    scores = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(embeddings))
        scores.append(metrics.two_way_identification(embeddings, embeddings[order]))
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - 0.5) < 3 * error
    ranks = metrics.retrieval_ranks(embeddings, embeddings[order])["brain_to_image"]
    assert (ranks < 0.5).mean() < 5 / 300


def test_pairing_oracle_a_shift_by_one_is_at_chance(embeddings):
    shifted = np.roll(embeddings, 1, axis=0)
    scores = metrics.retrieval(embeddings, shifted, rng=np.random.default_rng(0))
    assert scores["brain_to_image"]["top1"] == 0
    assert abs(metrics.two_way_identification(embeddings, shifted) - 0.5) < 0.05


def test_directions_are_not_exchanged():
    # Two images; both brain patterns look like image 0. From brain pattern 1 the wrong image is
    # found; from image 1 the right brain pattern is.
    truth = np.array([[1.0, 0.0], [0.0, 1.0]])
    brain = np.array([[1.0, 0.0], [1.0, 0.2]])
    ranks = metrics.retrieval_ranks(truth, brain)
    assert ranks["brain_to_image"].tolist() == [0, 1]
    assert ranks["image_to_brain"].tolist() == [0, 0]


def test_two_way_agrees_with_a_plain_loop(embeddings):
    truth, other = embeddings[:16], embeddings[16:32] + embeddings[:16]
    expected = []
    for j in range(16):
        own = stats.pearsonr(truth[j], other[j])[0]
        rivals = [stats.pearsonr(truth[i], other[j])[0] for i in range(16) if i != j]
        expected.append(np.mean([own > r for r in rivals]))
    np.testing.assert_allclose(metrics.two_way_scores(truth, other), expected, atol=1e-12)


def test_ranks_agree_with_scikit_learn(embeddings):
    truth, brain = embeddings[:16], embeddings[16:32]
    cosine = pairwise.cosine_similarity(brain, truth)
    expected = (cosine > np.diag(cosine)[:, None]).sum(1)
    np.testing.assert_array_equal(metrics.retrieval_ranks(truth, brain)["brain_to_image"], expected)


def test_picture_scores_agree_with_other_libraries_without_resizing():
    rng = np.random.default_rng(3)
    a = rng.random((16, 425, 425, 3)).astype(np.float32)[:4]
    b = (0.5 * a + 0.5 * rng.random(a.shape)).astype(np.float32)
    # What metrics resize (to 256, then 425), the independent check is given already resized.
    ra, rb = metrics._resized(a, 425), metrics._resized(b, 425)
    pearson = [stats.pearsonr(x.ravel(), y.ravel())[0] for x, y in zip(ra, rb, strict=True)]
    np.testing.assert_allclose(metrics.pixcorr_scores(a, b), pearson, atol=1e-6)
    weights = np.array([0.2125, 0.7154, 0.0721])
    expected = [
        structural_similarity(
            x.astype(float) @ weights,
            y.astype(float) @ weights,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in zip(ra, rb, strict=True)
    ]
    np.testing.assert_allclose(metrics.ssim_scores(a, b), expected, atol=1e-6)


def test_a_constant_picture_scores_zero(pictures):
    assert metrics.pixcorr(pictures, np.full_like(pictures, 0.5)) == 0


def test_retrieval_among_fewer_candidates_is_easier_and_says_how_many(embeddings):
    noisy = embeddings + 2 * np.random.default_rng(5).standard_normal(embeddings.shape)
    few = metrics.retrieval(embeddings, noisy, n_candidates=30, rng=np.random.default_rng(0))
    score = few["brain_to_image"]
    assert score["n_candidates"] == 30
    assert score["top1_drawn"] > score["top1"]
    assert score["top1_drawn_low"] <= score["top1_drawn"] <= score["top1_drawn_high"]


def test_bootstrap_interval_covers_the_mean():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        interval = metrics.bootstrap(rng.normal(1, 1, 60), rng=rng, n_resamples=300)
        hits += interval.low <= 1 <= interval.high
    assert hits >= 86
    constant = metrics.bootstrap(np.ones(5), rng=rng)
    assert (constant.low, constant.high) == (1, 1)


@pytest.mark.parametrize(
    ("truth", "reconstruction", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), "same shape"),
        (np.ones((1, 2)), np.ones((1, 2)), "at least two"),
        (np.ones((3, 2)), np.full((3, 2), np.nan), "reconstruction holds NaN"),
    ],
)
def test_bad_input_is_refused(truth, reconstruction, message):
    with pytest.raises(DataError, match=message):
        metrics.two_way_identification(truth, reconstruction)


def test_pictures_in_0_255_are_refused(pictures):
    with pytest.raises(DataError, match=r"RGB in \[0, 1\]"):
        metrics.pixcorr(255 * pictures, 255 * pictures)
