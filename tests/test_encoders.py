"""Linear encoders on data whose answer is known."""

import numpy as np
import pytest
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV
from refusals import refused
from sklearn.linear_model import Ridge

from fmri_utils import encoders
from fmri_utils.encoders.gradient_fit import Training
from fmri_utils.encoders.ridge import make_folds, out_of_fold, ridge_basis
from fmri_utils.metrics import retrieval_scores
from fmri_utils.project.errors import DataError
from pipeline.studies.encoder_cells import restandardise

ALPHAS = np.logspace(-2, 4, 7)


def planted(n_images=120, n_voxels=60, dim=10, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(n_images), 3)
    embeddings = encoders.unit(rng.standard_normal((n_images, dim)))[image]
    betas = embeddings @ rng.standard_normal((dim, n_voxels))
    betas += noise * rng.standard_normal(betas.shape)
    return betas.astype(np.float32), embeddings.astype(np.float32), image


def top1(truth, prediction):
    return retrieval_scores(truth, prediction)["brain_to_image"]["top1"].mean()


@pytest.mark.parametrize("seed", [None, 3])
def test_repeats_of_an_image_never_fall_into_two_folds(seed):
    _, _, image = planted()
    shuffled = np.random.default_rng(0).permutation(image)
    folds = make_folds(shuffled, 4, seed)
    assert sorted(np.concatenate(folds)) == list(range(len(image)))
    for held in folds:
        assert not set(shuffled[held]) & set(np.delete(shuffled, held))


@pytest.mark.parametrize(
    ("n_voxels", "model"), [(60, RidgeCV), (400, KernelRidgeCV)], ids=["primal", "kernel"]
)
def test_himalaya_finds_the_same_penalties_and_weights(n_voxels, model):
    betas, embeddings, image = planted(n_images=100, n_voxels=n_voxels, noise=3.0)
    unrelated = np.random.default_rng(1).standard_normal((100, 4))
    embeddings[:, 6:] = unrelated[image]
    own, report = encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=5)
    rows = np.arange(len(image))
    folds = [(np.setdiff1d(rows, held), held) for held in make_folds(image, 5)]
    other = model(alphas=ALPHAS, fit_intercept=True, cv=folds).fit(betas, embeddings)
    weights = other.coef_ if model is RidgeCV else other.get_primal_coef()
    np.testing.assert_allclose(report["best_alphas"], other.best_alphas_, rtol=1e-4)
    np.testing.assert_allclose(report["cv_loss"], -other.cv_scores_.reshape(-1), rtol=1e-4)
    np.testing.assert_allclose(own.weights, weights, atol=2e-5)
    np.testing.assert_allclose(own.intercept, other.intercept_, atol=2e-5)
    assert len(np.unique(report["best_alphas"])) > 1  # a penalty for each dimension


@pytest.mark.parametrize("n_voxels", [60, 400], ids=["primal", "kernel"])
def test_out_of_fold_predictions_equal_refitting_without_the_fold(n_voxels):
    betas, embeddings, image = planted(n_voxels=n_voxels)
    alphas = np.logspace(0, 2, 10)
    found = out_of_fold(betas, embeddings, image, alphas=alphas, n_folds=4)
    for held in make_folds(image, 4):
        rest = np.setdiff1d(np.arange(len(image)), held)
        again = encoders.refit_ridge(betas[rest], embeddings[rest], alphas=alphas)
        # Both round in float32, by 2**-24 times the condition number: 26,000 at the lowest penalty.
        np.testing.assert_allclose(found[held], again.predict(betas[held]), atol=2e-3)


@pytest.mark.parametrize("n_voxels", [60, 400], ids=["primal", "kernel"])
@pytest.mark.parametrize("n_penalties", [2, 10])
def test_refitting_solves_the_normal_equations_for_every_penalty(n_voxels, n_penalties):
    betas, embeddings, _ = planted(n_voxels=n_voxels)
    alphas = np.resize(np.logspace(0.5, 2, n_penalties), 10)
    encoder = encoders.refit_ridge(betas, embeddings, alphas=alphas)
    for d in (0, 1, 7):
        other = Ridge(alpha=alphas[d]).fit(betas.astype(float), embeddings[:, d])
        # Weights below 0.02, a condition number of 8,200: 2**-23 of their product are 2e-5.
        np.testing.assert_allclose(encoder.weights[:, d], other.coef_, atol=2e-5)
        np.testing.assert_allclose(encoder.intercept[d], other.intercept_, atol=2e-5)


def test_a_basis_is_reused_for_other_targets_and_refused_for_other_betas():
    betas, embeddings, image = planted()
    basis = ridge_basis(betas)
    settings = dict(alphas=ALPHAS, n_folds=4)
    again, _ = encoders.fit_ridge(betas, -embeddings, image, basis=basis, **settings)
    fresh, _ = encoders.fit_ridge(betas, -embeddings, image, **settings)
    np.testing.assert_array_equal(again.weights, fresh.weights)
    with pytest.raises(DataError, match=r"basis is of betas of shape \(360, 60\)"):
        encoders.fit_ridge(betas[:300], embeddings[:300], image[:300], basis=basis, **settings)


def fit_contrastive(*data):
    training = Training(n_steps=300, batch_size=60, learning_rate=3e-3, weight_decay=0.01)
    return encoders.contrastive.fit_contrastive(*data, training=training, temperature=0.1, seed=0)


def test_contrastive_maps_retrieve_images_never_seen():  # ridge: test_controls.py
    betas, embeddings, image = planted(noise=0.7)
    train = image < 100
    encoder, _ = fit_contrastive(betas[train], embeddings[train], image[train])
    average = betas[~train].reshape(20, 3, -1).mean(1)
    truth = embeddings[~train][::3]
    assert top1(truth, encoder.predict(average)) > 0.6  # chance is 0.05
    shuffled = np.random.default_rng(0).permutation(20)
    assert top1(truth, encoder.predict(average[shuffled])) < 0.3


def test_an_encoder_survives_the_disk(tmp_path):
    betas, embeddings, image = planted()
    encoder, _ = encoders.fit_ridge(betas, embeddings, image, alphas=ALPHAS, n_folds=3)
    encoders.save_encoder(encoder, tmp_path / "ridge.safetensors")
    again = encoders.load_encoder(tmp_path / "ridge.safetensors")
    np.testing.assert_array_equal(again.predict(betas), encoder.predict(betas))
    assert again.method == "ridge"


def test_bad_training_data_are_refused():
    betas, embeddings, image = planted(n_images=10)
    fit = lambda *a, n_folds=3: encoders.fit_ridge(*a, alphas=ALPHAS, n_folds=n_folds)  # noqa: E731
    refused("11 folds of 10 images", fit, betas, embeddings, image, n_folds=11)
    constant = embeddings.copy()
    constant[:, 2] = 1
    refused(r"dimensions \[2\] are constant", fit, betas, constant, image)
    refused("Expected: as many", fit, betas[1:], embeddings, image)


def test_matched_predictions_vary_like_embeddings_and_keep_their_direction():
    betas, embeddings, image = planted(n_images=200, noise=3.0)
    train = image < 160
    data = betas[train], embeddings[train], image[train]
    encoder, report = encoders.fit_ridge(*data, alphas=ALPHAS, n_folds=4)
    matched, scale = encoders.match_spread(encoder, *data, alphas=report["best_alphas"], n_folds=4)
    average = betas[~train].reshape(40, 3, -1).mean(1)
    spread = [e.predict(average).var(0).sum() for e in (encoder, matched)]
    true = embeddings[~train].var(0).sum()
    assert scale > 1
    assert spread[0] < 0.8 * true
    assert spread[1] == pytest.approx(true, rel=0.35)
    mean = embeddings[train].mean(0)
    expected = mean + scale * (encoder.predict(average) - mean)
    np.testing.assert_allclose(matched.predict(average), expected, atol=1e-4)


def test_restandardised_predictions_have_the_spread_of_embeddings_whatever_else_is_tested(rng):
    train = rng.standard_normal((500, 4))
    shrunk = train * [0.1, 0.2, 0.3, 0.4] + 1
    found = restandardise(shrunk[:50], shrunk, train)
    np.testing.assert_allclose(found, train[:50], atol=1e-9)
    np.testing.assert_allclose(restandardise(shrunk[:1], shrunk, train), found[:1])
