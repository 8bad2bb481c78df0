"""Scores of pixels and embeddings against fixtures of known value and against other libraries."""

import numpy as np
import pytest
from refusals import refused
from scipy import ndimage, stats
from skimage.metrics import structural_similarity
from skimage.transform import resize
from sklearn import metrics as sklearn_metrics

from fmri_utils import metrics
from fmri_utils.metrics.arrays import resized
from fmri_utils.metrics.identification import DIRECTIONS
from fmri_utils.metrics.pixels import pixcorr_scores
from fmri_utils.project.errors import DataError


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).random((16, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def embeddings():
    return np.random.default_rng(1).standard_normal((300, 24))


# The fixtures that must hold, by name.


def test_fixture_reconstruction_equal_to_truth_is_perfect(pictures, embeddings):
    # distance 0: test_metrics_features.py, test_fixture_equal_pictures_have_distance_zero
    assert metrics.pixcorr(pictures[:6], pictures[:6]) == pytest.approx(1)
    assert metrics.ssim(pictures[:6], pictures[:6]) == pytest.approx(1)
    assert metrics.two_way_identification(embeddings, embeddings) == 1
    names = ("top1", "top5", "median_rank", "mrr", "top1_drawn")
    for scores in metrics.retrieval(embeddings, embeddings, rng=np.random.default_rng(0)).values():
        assert [scores[name] for name in names] == [1] * 5
    # distance 0: test_metrics_features.py, test_fixture_equal_pictures_have_distance_zero


def test_fixture_random_permutation_two_way_half_and_retrieval_one_in_300(embeddings, rng):
    two_way, top1 = [], {direction: [] for direction in DIRECTIONS}
    for _ in range(100):
        shuffled = embeddings[rng.permutation(len(embeddings))]
        two_way.append(metrics.two_way_identification(embeddings, shuffled))
        for direction, scores in metrics.retrieval_scores(embeddings, shuffled).items():
            top1[direction].append(scores["top1"].mean())
    assert abs(np.mean(two_way) - 0.5) < 3 * np.std(two_way) / np.sqrt(100)
    for direction in DIRECTIONS:
        error = np.std(top1[direction]) / np.sqrt(100)
        assert abs(np.mean(top1[direction]) - 1 / 300) < 3 * error


def test_fixture_pairing_shifted_by_one_image_is_at_chance(embeddings):
    shifted, places = np.roll(embeddings, 1, axis=0), 1 / np.arange(1, 301)
    error = 3 * places.std() / np.sqrt(300)
    for scores in metrics.retrieval(embeddings, shifted, rng=np.random.default_rng(0)).values():
        assert scores["top1"] == 0
        assert scores["mrr"] == pytest.approx(places.mean(), abs=error)
    assert abs(metrics.two_way_identification(embeddings, shifted) - 0.5) < 0.05


def test_fixture_asymmetric_data_prove_the_two_retrieval_directions():
    # Two images; both brain patterns look like image 0. From brain pattern 1 the wrong image is
    # found; from image 1 the right brain pattern is.
    truth = np.array([[1.0, 0.0], [0.0, 1.0]])
    brain = np.array([[1.0, 0.0], [1.0, 0.2]])
    scores = metrics.retrieval_scores(truth, brain)
    assert scores["brain_to_image"]["rank"].tolist() == [1, 2]
    assert scores["image_to_brain"]["rank"].tolist() == [1, 1]
    scores = metrics.retrieval(truth, brain, rng=np.random.default_rng(0))
    assert scores["brain_to_image"]["top1"] == 0.5
    assert scores["image_to_brain"]["top1"] == 1
    # The similarity matrix itself: rows are brain patterns.
    assert metrics.similarity_matrix(truth, brain)[1, 0] > 0.9
    # Two-way too: the score belongs to a reconstruction j among all truths i.
    truth, brain = np.array([[0, 0, 3.0], [0, 3.0, 0]]), np.array([[0, 0, 1.0], [0, 1.0, 1.2]])
    assert metrics.two_way_scores(truth, brain).tolist() == [1, 0]


# Agreement with independent implementations, 16 seeded pairs.


def _plainly_resized(images, size):
    """The resizing of the published scores by scikit-image: to 256, then to ``size``."""
    how = {"order": 1, "mode": "edge", "anti_aliasing": False}
    images = [resize(x.clip(0, 1), (256, 256), **how) for x in images.astype(float)]
    return np.stack([resize(x, (size, size), **how) for x in images])


@pytest.fixture(scope="module")
def picture_pairs():
    rng = np.random.default_rng(3)
    truth = rng.random((16, 300, 300, 3)).astype(np.float32)
    noise = rng.random((16, 64, 64, 3)).astype(np.float32)  # another size, as generators have
    blurred = ndimage.zoom(truth, (1, 64 / 300, 64 / 300, 1), order=1)
    return truth, (1.2 * blurred - 0.1 + 0.4 * (noise - 0.5)).astype(np.float32)  # overshoots


@pytest.fixture(scope="module")
def at_425(picture_pairs):
    return [_plainly_resized(images, 425) for images in picture_pairs]


def test_resizing_is_bilinear_without_antialiasing(picture_pairs, at_425):
    # torch places its samples in float32, which moves single pixels by up to 2e-5.
    ours = resized(picture_pairs[0][:2], 425).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, at_425[0][:2], atol=5e-5)


def test_pixcorr_agrees_with_scipy_on_16_pairs(picture_pairs, at_425):
    expected = [stats.pearsonr(a.ravel(), b.ravel())[0] for a, b in zip(*at_425, strict=True)]
    np.testing.assert_allclose(pixcorr_scores(*picture_pairs), expected, atol=1e-6)


def test_ssim_agrees_with_scikit_image_on_16_pairs(picture_pairs, at_425):
    grey = [images @ np.array([0.2125, 0.7154, 0.0721]) for images in at_425]
    wang = dict(data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    expected = [structural_similarity(a, b, **wang) for a, b in zip(*grey, strict=True)]
    np.testing.assert_allclose(metrics.ssim_scores(*picture_pairs), expected, atol=1e-6)


def test_two_way_agrees_with_a_scipy_loop_on_16_pairs(embeddings):
    truth, other = embeddings[:16], 3 * embeddings[16:32] + embeddings[:16]
    expected = []
    for j in range(16):
        own = stats.pearsonr(truth[j], other[j])[0]
        rivals = [stats.pearsonr(truth[i], other[j])[0] for i in range(16) if i != j]
        expected.append(np.mean([own > r for r in rivals]))
    assert 0.5 < np.mean(expected) < 1
    np.testing.assert_allclose(metrics.two_way_scores(truth, other), expected, atol=1e-12)


def test_retrieval_agrees_with_scikit_learn_on_16_pairs(embeddings):
    truth, brain = embeddings[:16], embeddings[16:32] + 0.5 * embeddings[:16]
    cosine = sklearn_metrics.pairwise.cosine_similarity(brain, truth)
    scores = metrics.retrieval(truth, brain, rng=np.random.default_rng(0))
    for direction, table in (("brain_to_image", cosine), ("image_to_brain", cosine.T)):
        own = np.arange(16)
        expected = {
            "top1": sklearn_metrics.top_k_accuracy_score(own, table, k=1),
            "top5": sklearn_metrics.top_k_accuracy_score(own, table, k=5),
            "mrr": sklearn_metrics.label_ranking_average_precision_score(np.eye(16), table),
        }
        assert 0 < expected["top1"] < 1
        for name, value in expected.items():
            assert scores[direction][name] == pytest.approx(value, abs=1e-6)
        rank = (table > np.diag(table)[:, None]).sum(1) + 1
        assert scores[direction]["median_rank"] == np.median(rank)


def test_csls_agrees_with_its_definition_and_undoes_a_hub(rng):
    truth = rng.standard_normal((16, 8))
    brain = truth + 0.8 * rng.standard_normal((16, 8))
    ours = metrics.similarity_matrix(truth, brain, csls_neighbours=3)
    cosine = sklearn_metrics.pairwise.cosine_similarity(brain, truth)
    r_brain = np.sort(cosine, axis=1)[:, -3:].mean(1, keepdims=True)
    r_image = np.sort(cosine, axis=0)[-3:].mean(0)
    np.testing.assert_allclose(ours, 2 * cosine - r_brain - r_image, atol=1e-6)
    # Predictions shrunken towards the mean embedding are closest to the image nearest to it.
    truth = rng.standard_normal((200, 16)) + 1.0
    brain = truth.mean(0) + 0.15 * (truth - truth.mean(0)) + 0.05 * rng.standard_normal((200, 16))
    both = (metrics.retrieval_scores(truth, brain, csls_neighbours=k) for k in (0, 10))
    top1 = [scores["brain_to_image"]["top1"].mean() for scores in both]
    assert top1[1] > top1[0] + 0.1
    with pytest.raises(DataError, match="CSLS with 17 neighbours among 16"):
        metrics.similarity_matrix(truth[:16], brain[:16], csls_neighbours=17)


# Behaviour.


def test_retrieval_among_drawn_candidates_is_easier_and_says_how_many(embeddings):
    noisy = embeddings + 2 * np.random.default_rng(5).standard_normal(embeddings.shape)
    few = metrics.retrieval(embeddings, noisy, n_candidates=30, rng=np.random.default_rng(0))
    score = few["brain_to_image"]
    said = [score[name] for name in ("n_candidates", "chance_drawn", "chance")]
    assert said == [30, 1 / 30, 1 / 300]
    assert score["top1_drawn"] > score["top1"]
    assert score["top1_drawn_low"] < score["top1_drawn"] < score["top1_drawn_high"]
    # Exactly: the share of draws of 29 rivals that hold none of the better ones.
    better = metrics.retrieval_scores(embeddings, noisy)["brain_to_image"]["rank"].astype(int) - 1
    expected = stats.hypergeom.pmf(0, 299, better, 29).mean()
    assert score["top1_drawn"] == pytest.approx(expected, abs=0.05)
    all_of_them = metrics.retrieval(embeddings[:50], noisy[:50], rng=np.random.default_rng(0))
    for scores in all_of_them.values():
        assert scores["n_candidates"] == 50
        assert scores["top1_drawn"] == pytest.approx(scores["top1"])


def test_clustered_two_way_tells_category_decoding_from_identification(rng):
    clusters = np.repeat(np.arange(6), 10)
    centres = 5 * rng.standard_normal((6, 20))
    truth = centres[clusters] + rng.standard_normal((60, 20))
    category_only = centres[clusters] + rng.standard_normal((60, 20))
    scores = metrics.clustered_two_way_scores(truth, category_only, clusters)
    assert scores["across"].mean() > 0.99
    assert abs(scores["within"].mean() - 0.5) < 0.1
    both = metrics.clustered_two_way_scores(truth, truth, clusters)
    assert both["within"].min() == both["across"].min() == 1
    # Together they are the plain score.
    plain = metrics.two_way_scores(truth, category_only)
    np.testing.assert_allclose((9 * scores["within"] + 50 * scores["across"]) / 59, plain)
    alone = metrics.clustered_two_way_scores(truth, truth, np.arange(60))
    assert np.isnan(alone["within"]).all()
    refused("one for each image", metrics.clustered_two_way_scores, truth, truth, clusters[:5])


def test_a_constant_picture_scores_zero(pictures):
    assert metrics.pixcorr(pictures, np.full_like(pictures, 0.5)) == 0
    # Rounding in the mean must not be blown up to a pattern.
    flat = np.full((16, 999), 0.3)
    assert (flat - flat.mean(1, keepdims=True)).any()
    table = metrics.arrays.correlation_matrix(pictures.reshape(16, -1)[:, :999], flat)
    np.testing.assert_array_equal(table, 0)


def test_uint8_pictures_score_like_floats(pictures):
    whole = (255 * pictures[:4]).round().astype(np.uint8)
    other = np.roll(pictures[:4], 1, axis=1)
    expected = pixcorr_scores(whole / 255.0, other)
    np.testing.assert_allclose(pixcorr_scores(whole, other), expected, atol=1e-6)


def test_bad_input_is_refused():  # NaN: test_not_finite.py
    for shapes, message in (
        (((3, 2), (4, 2)), "same shape"),
        (((1, 2), (1, 2)), "at least 2"),
        (((3,), (3,)), "same shape"),
    ):
        refused(message, metrics.two_way_identification, *map(np.ones, shapes))


def test_bad_pictures_are_refused(pictures):
    for bad, message in (
        (255 * pictures, r"RGB in \[0, 1\]"),
        (2 * pictures - 1, r"values from -1 to .*RGB in \[0, 1\]"),
        (pictures[:5], "one reconstruction per truth"),
        (pictures.transpose(0, 3, 1, 2), "height, width, 3"),
    ):
        refused(message, metrics.pixcorr, pictures, bad)
