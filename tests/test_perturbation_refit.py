"""Refits in closed form against actual refits, and what voxels are replaced by."""

import numpy as np
import pytest
import torch
from refusals import refused
from sklearn.linear_model import LinearRegression, Ridge
from torch.nn.functional import normalize

from fmri_utils import encoders, perturbation
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.encoders.gradient_fit import hold_out
from fmri_utils.encoders.ridge import make_folds

C = 6


def ridge(x, y, alphas):
    """Reference: one scikit-learn fit per dimension."""
    fits = [Ridge(alpha=a).fit(x, column) for a, column in zip(alphas, y.T, strict=True)]
    weights = np.stack([f.coef_ for f in fits], axis=1)
    return LinearEncoder(weights, np.array([f.intercept_ for f in fits]), "ridge")


@pytest.fixture(params=[(60, 25), (20, 25)], ids=["more_trials", "more_voxels"])
def fitted(request, rng):
    n, v = request.param
    x = rng.standard_normal((n, v)) + 0.5 * rng.standard_normal((n, 1))
    y = rng.standard_normal((n, C))
    alphas = np.array([3.0, 3.0, 40.0, 3.0, 40.0, 40.0])
    return x, y, alphas, ridge(x, y, alphas), rng.standard_normal((4, v))


def test_refit_without_a_voxel_equals_an_actual_refit(fitted):
    x, y, alphas, encoder, pattern = fitted
    precision = perturbation.fit_precision(x)
    change = perturbation.refit_change(encoder, precision, pattern, alphas)
    direction = unit(np.random.default_rng(1).standard_normal(C))
    before = encoder.predict(pattern)
    for v in range(x.shape[1]):
        rest = np.delete(np.arange(x.shape[1]), v)
        after = ridge(x[:, rest], y, alphas).predict(pattern[:, rest])
        cosine = (unit(before) * unit(after)).sum(1)
        np.testing.assert_allclose(change.effect()[:, v], 1 - cosine, atol=1e-8, rtol=0)
        shift = unit(after) @ direction - unit(before) @ direction
        np.testing.assert_allclose(change.shift(direction)[:, v], shift, atol=1e-8, rtol=0)


def test_penalties_are_read_off_the_weights(fitted):
    x, y, alphas, encoder, _ = fitted
    found = perturbation.ridge_penalties(encoder, x, y)
    np.testing.assert_allclose(found, alphas, rtol=1e-6)
    assert len(np.unique(found)) == 2  # rounding makes no new ones
    tilted = encoder.weights * np.linspace(0.8, 1.2, len(encoder.weights))[:, None]
    for weights in (encoder.weights + 0.1, tilted):
        other = LinearEncoder(weights, encoder.intercept, "contrastive")
        refused("miss the equations of ridge regression", perturbation.ridge_penalties, other, x, y)
    refused("the very trials", perturbation.ridge_penalties, encoder, x[::-1], y)


def test_conditional_mean_is_the_regression_on_all_other_voxels(rng):
    x = rng.standard_normal((200, 8)) @ rng.standard_normal((8, 8)) + 3
    new = rng.standard_normal((5, 8))
    guess = perturbation.conditional_mean(perturbation.fit_precision(x), new, alpha=1e-9)
    for v in range(8):
        rest = np.delete(np.arange(8), v)
        expected = LinearRegression().fit(x[:, rest], x[:, v]).predict(new[:, rest])
        np.testing.assert_allclose(guess[:, v], expected, rtol=1e-6)


def test_the_penalty_predicts_left_out_patterns_best(rng):
    images, sources = np.repeat(np.arange(90), 3), rng.standard_normal((4, 30))
    x = (rng.standard_normal((90, 4)) @ sources)[images] + 2 * rng.standard_normal((270, 30))
    alphas = np.logspace(-1, 6, 8)
    alpha = perturbation.prediction_penalty(x.astype(np.float32), images, alphas=alphas, seed=1)
    held = hold_out(images, 0.5, 1)
    precision = perturbation.fit_precision(x[~held])
    pattern = x[held].reshape(-1, 3, 30).mean(1)
    guesses = [perturbation.conditional_mean(precision, pattern, a) for a in alphas]
    assert alpha == alphas[np.argmin([((g - pattern) ** 2).sum() for g in guesses])]
    assert 1 < alpha < 1e5


def test_other_repeat_stays_within_the_image_and_leaves_out_single_trials():
    nsd_id = np.array([7, 3, 7, 5, 3, 7])
    values, rows = perturbation.other_repeat(np.arange(6.0)[:, None], nsd_id)
    assert rows.tolist() == [0, 1, 2, 4, 5]
    assert values[:, 0].tolist() == [2, 4, 5, 1, 0]


def test_condition_jacobian_includes_the_projection_to_unit_length(rng):
    encoder = LinearEncoder(rng.standard_normal((9, C)), rng.standard_normal(C), "ridge")
    beta = rng.standard_normal(9)
    rows = perturbation.condition_jacobian(encoder, beta)
    weights, bias, x = map(torch.tensor, (encoder.weights, encoder.intercept, beta))
    same = torch.func.jacrev(lambda x: normalize(x @ weights + bias, dim=0))(x)
    np.testing.assert_allclose(rows, same.T, atol=1e-12)
    f = encoder.predict(beta[None])[0]
    np.testing.assert_allclose(rows @ f, 0, atol=1e-12)  # nothing along the embedding itself


def test_cross_fit_equals_fits_without_the_fold_and_tests_every_image_once(rng):
    groups = np.repeat(np.arange(20), 3)
    x, y = (rng.standard_normal((60, n)).astype(np.float32) for n in (7, C))
    alphas = np.array([1.0, 1.0, 10.0, 10.0, 1.0, 10.0])
    tested = []
    for encoder, held in perturbation.cross_fit(x, y, groups, alphas, n_folds=4):
        rest = ~np.isin(np.arange(60), held)
        assert not np.isin(groups[held], groups[rest]).any()
        expected = encoders.refit_ridge(x[rest], y[rest], alphas=alphas)
        np.testing.assert_allclose(encoder.predict(x), expected.predict(x), atol=1e-4)
        tested.append(held)
    assert sorted(np.concatenate(tested)) == list(range(60))


def test_half_decoders_share_no_image_and_have_the_scale_of_the_whole(rng):
    groups = np.repeat(np.arange(20), 2)
    x, y = (rng.standard_normal((40, n)).astype(np.float32) for n in (7, C))
    alphas, mean = np.ones(C), y.mean(0)
    pairs = perturbation.half_decoders(x, y, groups, alphas, scale=2.0, n_halvings=2)
    assert [len(pair) for pair in pairs] == [2, 2]
    for rows, half in zip(make_folds(groups, 2, 1), pairs[1], strict=True):
        assert len(np.unique(groups[rows])) == 10
        single = encoders.refit_ridge(x[rows], y[rows], alphas=alphas)
        expected = mean + 2 * (single.predict(x) - mean)
        np.testing.assert_allclose(half.predict(x), expected, atol=1e-5)
    assert not np.allclose(pairs[0][0].weights, pairs[1][0].weights)
    [quarters] = perturbation.half_decoders(x, y, groups, alphas, n_halvings=1, n_parts=4)
    assert len(quarters) == 4
