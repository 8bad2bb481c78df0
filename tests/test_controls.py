"""Controls on data where it is known whether, and what, the brain says."""

import numpy as np
import pytest
from refusals import refused
from test_encoders import top1

from fmri_utils import encoders
from fmri_utils.encoders import controls
from fmri_utils.metrics import retrieval_scores, two_way_identification
from fmri_utils.project.errors import DataError

ALPHAS = np.logspace(0, 4, 5)


ridge = controls.fitter(encoders.fit_ridge, alphas=ALPHAS, n_folds=4)


def subject(*, fine=1.0, n_images=200, n_voxels=80, noise=0.5, seed=0):
    """Images in 5 clear kinds; ``fine`` is how much voxels say beyond the kind."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(5, size=n_images)
    detail = rng.standard_normal((n_images, 12))
    embeddings = encoders.unit(4 * np.eye(5, 12)[kind] + 0.6 * detail)
    code = np.concatenate([3 * np.eye(5)[kind], fine * detail], 1)
    clean = code @ rng.standard_normal((code.shape[1], n_voxels))
    image = np.repeat(np.arange(n_images), 3)
    betas = clean[image] + noise * rng.standard_normal((len(image), n_voxels)) * clean.std()
    train = image < n_images - 50
    pattern = betas[~train].reshape(50, 3, -1).mean(1)
    truth, test_ids = embeddings[-50:], np.arange(n_images - 50, n_images)
    data = (betas[train], embeddings[image[train]], image[train])
    return data, pattern, truth, test_ids, kind[-50:]


def test_shuffling_moves_every_image_and_keeps_repeats_together():
    data, *_ = subject()
    shuffled = controls.shuffle_pairing(data[1], data[2], np.random.default_rng(0))
    assert not (shuffled == data[1]).all(1).any()
    for image in (0, 7):
        assert len(np.unique(shuffled[data[2] == image], axis=0)) == 1
    np.testing.assert_allclose(np.sort(shuffled, 0), np.sort(data[1], 0))
    refused("1 image", controls.shuffle_pairing, data[1][:3], data[2][:3], np.random.default_rng(0))


def test_a_fit_to_shuffled_pairs_is_at_chance_and_a_true_one_is_not():
    data, pattern, truth, *_ = subject()
    scores = []
    for seed in range(5):
        wrong = controls.shuffle_pairing(data[1], data[2], np.random.default_rng(seed))
        scores.append(top1(truth, ridge(data[0], wrong, data[2]).predict(pattern)))
    assert np.mean(scores) < 0.06  # chance is 0.02
    assert top1(truth, ridge(*data).predict(pattern)) > 0.4


def test_left_out_clusters_are_never_trained_on_and_the_control_has_as_many_images():
    data, pattern, truth, test_ids, kind = subject()
    fitted, mapped = [], []

    def fit(betas, embeddings, groups):
        fitted.append((embeddings, np.unique(groups)))
        mapped.append(ridge(betas, embeddings, groups))
        return mapped[-1]

    found = controls.leave_clusters_out(fit, *data, pattern, truth, test_ids, n_clusters=5, seed=0)
    # the five clusters are the five planted kinds
    assert len(np.unique(found["cluster"] * 10 + kind)) == 5
    for number, (left, control) in enumerate(zip(fitted[::2], fitted[1::2], strict=True)):
        rows = found["cluster"] == number
        assert (left[0] @ truth[rows].T).max() < 0.7  # nothing of this kind
        assert (control[0] @ truth[rows].T).max() > 0.9
        assert len(left[1]) == len(control[1]) == 150 - found["n_left_out"][number]
        centre = left[0].mean(0)
        read = truth - centre, mapped[2 * number].predict(pattern) - centre
        expected = controls.scores_per_image(*read, found["cluster"])
        for score, values in found["left_out"].items():
            np.testing.assert_array_equal(values[rows], expected[score][rows])
    assert found["n_left_out"].sum() == 150


def test_leaving_clusters_out_hurts_a_decoder_of_kinds():
    data, pattern, truth, test_ids, _ = subject(fine=0.0)
    how = {"n_clusters": 5, "seed": 0}
    found = controls.leave_clusters_out(ridge, *data, pattern, truth, test_ids, **how)
    control = found["control"]["two-way"].mean()
    assert control > 0.8
    assert found["left_out"]["two-way"].mean() < control - 0.2
    with pytest.raises(DataError, match="test images are among"):
        controls.leave_clusters_out(ridge, *data, pattern, truth, data[2][:50], **how)


def test_shrinkage_is_not_taken_for_a_missing_kind(rng):
    """A shrunken map of a brain that says all finds also a kind that it was not trained on."""
    kind = np.repeat(np.arange(5), 40)
    embeddings = 4 * np.eye(5, 12)[kind] + rng.standard_normal((200, 12))
    rows = np.arange(200) % 4 > 0

    def shrunken(betas, embeddings, groups):
        mean = embeddings.mean(0)
        return encoders.LinearEncoder(0.1 * np.eye(12), 0.9 * mean, "shrunken")

    data = embeddings[rows], embeddings[rows], np.flatnonzero(rows)
    test = embeddings[~rows], embeddings[~rows], np.flatnonzero(~rows)
    found = controls.leave_clusters_out(shrunken, *data, *test, n_clusters=5, seed=0)
    for side in ("left_out", "control"):
        np.testing.assert_array_equal(found[side]["brain_to_image top-1"], 1)


def test_prototypes_read_the_class_and_nothing_else():
    data, pattern, truth, _, kind = subject()
    how = {"alphas": ALPHAS, "n_folds": 4, "seed": 0}
    encoder, report = controls.fit_prototypes(*data, n_classes=5, **how)
    assert report["n_images"].sum() == 150
    read = encoder.classes(pattern)
    assert len(np.unique(read * 10 + kind)) == 5  # every class is one planted kind
    prediction = encoder.predict(pattern)
    assert len(np.unique(prediction, axis=0)) == 5
    mine = data[1][::3][(data[1][::3] @ prediction[0]).argsort()[::-1][: report["n_images"].max()]]
    assert np.linalg.norm(prediction[0] - mine.mean(0)) < 0.2
    assert two_way_identification(truth, prediction) > 0.85
    assert top1(truth, prediction) < top1(truth, ridge(*data).predict(pattern)) - 0.2
    refused("151 classes of 150 images", controls.fit_prototypes, *data, n_classes=151, **how)


def test_a_bottleneck_lets_exactly_k_dimensions_through():
    data, pattern, truth, *_ = subject()
    encoder = ridge(*data)
    prediction, fitted = encoder.predict(pattern), encoder.predict(data[0])
    curve = controls.bottleneck(prediction, fitted, (1, 2, 5, 100))
    assert list(curve) == [1, 2, 5, 12]
    for k, narrow in curve.items():
        assert np.linalg.matrix_rank(narrow - narrow.mean(0), tol=1e-4) == k
    np.testing.assert_allclose(curve[12], prediction, atol=1e-5)
    errors = [np.linalg.norm(narrow - prediction) for narrow in curve.values()]
    assert errors == sorted(errors, reverse=True)
    assert top1(truth, curve[1]) < top1(truth, curve[12])
    refused("numbers of 1 or more", controls.bottleneck, prediction, fitted, (0, 3))


def test_the_table_has_every_method_and_score_with_chance():
    data, pattern, truth, _, kind = subject()
    hub = ridge(*data).predict(pattern) + 0.5 * truth[0]  # tells the two directions apart
    alone = np.where(np.arange(50) == 0, 9, kind)  # has no rival of its own cluster
    scores = {"ridge": controls.scores_per_image(truth, hub)}
    scores["oracle"] = controls.scores_per_image(truth, truth, alone)
    table = controls.validity_table(scores, rng=np.random.default_rng(0), n_resamples=100)
    rows = {(row["method"], row["score"]): row for row in table}
    assert len(rows) == len(table) == 2 * len(controls.SCORES) + 2
    for (method, score), row in rows.items():
        assert row["low"] <= row["value"] <= row["high"]
        assert row["chance"] < row["value"] <= 1
        assert row["n_images"] == 50 - (score == "two-way within clusters")
        if method == "oracle":
            assert row["value"] == pytest.approx(1)
    found = {d: rows["ridge", f"{d} MRR"]["value"] for d in retrieval_scores(truth, hub)}
    expected = retrieval_scores(truth, hub)
    assert found == {d: pytest.approx((1 / s["rank"]).mean()) for d, s in expected.items()}
    assert abs(found["brain_to_image"] - found["image_to_brain"]) > 0.02
