"""Linear encoders on data whose answer is known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from fmri_utils import encoders
from fmri_utils.errors import DataError, WeightsError
from fmri_utils.metrics import retrieval_ranks

ALPHAS = np.logspace(-2, 4, 7)


def planted(n_images=120, n_voxels=60, dim=10, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(n_images), 3)
    embeddings = encoders.unit(rng.standard_normal((n_images, dim)))[image]
    betas = embeddings @ rng.standard_normal((dim, n_voxels))
    betas += noise * rng.standard_normal(betas.shape)
    return betas.astype(np.float32), embeddings.astype(np.float32), image


def test_ridge_equals_scikit_learn_at_the_chosen_penalties():
    betas, embeddings, image = planted()
    encoder, report = encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=5)
    assert encoder.weights.shape == (60, 10)
    for d in (0, 7):
        other = Ridge(alpha=report["best_alphas"][d]).fit(betas, embeddings[:, d])
        np.testing.assert_allclose(encoder.weights[:, d], other.coef_, atol=2e-4)
        np.testing.assert_allclose(encoder.intercept[d], other.intercept_, atol=2e-4)


def test_repeats_of_an_image_never_fall_into_two_folds(monkeypatch):
    betas, embeddings, image = planted()
    seen = []

    class Spy(encoders.RidgeCV):
        def fit(self, X, y):
            seen.extend(self.cv)
            return super().fit(X, y)

    monkeypatch.setattr(encoders, "RidgeCV", Spy)
    encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=4)
    assert len(seen) == 4
    for train, test in seen:
        assert not set(image[train]) & set(image[test])


def test_penalty_grows_with_noise():
    chosen = []
    for noise in (0.1, 5.0):
        betas, embeddings, image = planted(noise=noise)
        _, report = encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=5)
        chosen.append(np.median(report["best_alphas"]))
    assert chosen[1] > chosen[0]


def fit_contrastive(betas, embeddings, image, **changes):
    settings = dict(
        n_steps=300,
        batch_size=60,
        learning_rate=3e-3,
        weight_decay=0.01,
        temperature=0.1,
        seed=0,
    )
    return encoders.fit_contrastive(betas, embeddings, image, **{**settings, **changes})


@pytest.mark.parametrize("method", ["ridge", "contrastive"])
def test_both_methods_retrieve_images_never_seen(method):
    betas, embeddings, image = planted(noise=0.7)
    train = image < 100
    if method == "ridge":
        encoder, _ = encoders.fit_ridge(
            betas[train], embeddings[train], image[train], alphas=ALPHAS, n_folds=5
        )
    else:
        encoder, _ = fit_contrastive(betas[train], embeddings[train], image[train])
    average = betas[~train].reshape(20, 3, -1).mean(1)
    ranks = retrieval_ranks(embeddings[~train][::3], encoder.predict(average))["brain_to_image"]
    assert (ranks < 0.5).mean() > 0.6  # chance is 0.05
    shuffled = np.random.default_rng(0).permutation(20)
    ranks = retrieval_ranks(embeddings[~train][::3], encoder.predict(average[shuffled]))
    assert (ranks["brain_to_image"] < 0.5).mean() < 0.3


def test_contrastive_repeats_with_its_seed_and_stops_at_its_best():
    betas, embeddings, image = planted()
    first, report = fit_contrastive(betas, embeddings, image, n_steps=100)
    second, _ = fit_contrastive(betas, embeddings, image, n_steps=100)
    np.testing.assert_array_equal(first.weights, second.weights)
    best = report["step"][np.argmin(report["validation_loss"])]
    assert report["best_step"] == best


def test_info_nce_has_its_known_values():
    eye = torch.eye(8)
    assert encoders.info_nce(eye, eye, 0.01).item() == pytest.approx(0, abs=1e-6)
    same = torch.ones(8, 3)
    assert encoders.info_nce(same, same, 0.1).item() == pytest.approx(np.log(8))


def test_an_encoder_survives_the_disk(tmp_path):
    betas, embeddings, image = planted()
    encoder, _ = encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=3)
    encoders.save_encoder(encoder, tmp_path / "ridge.safetensors")
    again = encoders.load_encoder(tmp_path / "ridge.safetensors", remedy="")
    np.testing.assert_array_equal(again.predict(betas), encoder.predict(betas))
    assert again.method == "ridge"


def test_bad_weights_files_give_one_clear_error(tmp_path):
    with pytest.raises(WeightsError, match="Run `make 03`"):
        encoders.load_encoder(tmp_path / "none.safetensors", remedy="Run `make 03`.")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match="is not an encoder"):
        encoders.load_encoder(broken, remedy="")


def test_bad_training_data_are_refused():
    betas, embeddings, image = planted(n_images=10)
    fit = lambda *a, n_folds=3: encoders.fit_ridge(*a, alphas=ALPHAS, n_folds=n_folds)  # noqa: E731
    with pytest.raises(DataError, match="11 folds, but only 10 images"):
        fit(betas, embeddings, image, n_folds=11)
    holed = betas.copy()
    holed[0, 0] = np.nan
    with pytest.raises(DataError, match="betas hold NaN"):
        fit(holed, embeddings, image)
    constant = embeddings.copy()
    constant[:, 2] = 1
    with pytest.raises(DataError, match=r"dimensions \[2\] are constant"):
        fit(betas, constant, image)
    with pytest.raises(DataError, match="one of each per trial"):
        fit(betas[1:], embeddings, image)


def test_refitting_with_the_chosen_penalties_gives_the_same_encoder():
    betas, embeddings, image = planted()
    encoder, report = encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=4)
    again = encoders.refit_ridge(betas, embeddings, alphas=report["best_alphas"])
    np.testing.assert_allclose(again.weights, encoder.weights, atol=1e-5)


def test_matched_predictions_vary_like_embeddings_and_keep_their_direction():
    betas, embeddings, image = planted(n_images=200, noise=3.0)
    train = image < 160
    encoder, report = encoders.fit_ridge(
        betas[train], embeddings[train], image[train], alphas=ALPHAS, n_folds=4
    )
    matched, scale = encoders.match_spread(
        encoder,
        betas[train],
        embeddings[train],
        image[train],
        alphas=report["best_alphas"],
        n_folds=4,
    )
    average = betas[~train].reshape(40, 3, -1).mean(1)
    spread = [e.predict(average).var(0).sum() for e in (encoder, matched)]
    true = embeddings[~train].var(0).sum()
    assert scale > 1
    assert spread[0] < 0.8 * true
    assert spread[1] == pytest.approx(true, rel=0.35)
    mean = embeddings[train].mean(0)
    np.testing.assert_allclose(
        matched.predict(average) - mean, scale * (encoder.predict(average) - mean), atol=1e-4
    )
