"""Noise ceilings against planted noise, and learning curves that train on what they say."""

import numpy as np
import pytest
from refusals import refused
from test_controls import ridge, subject

from fmri_utils.encoders import ceilings


def noisy(n_repeats, *, noise=1.5, shared=0.0, said=0.6, n=1500, dim=12, seed=0):
    """Predictions whose noiseless part correlates with the truth by ``said``.

    ``shared`` is the SD of an error that all repeats of an image have in common.
    """
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, dim))
    clean = said * truth + np.sqrt(1 - said**2) * rng.standard_normal((n, dim))
    clean += shared * rng.standard_normal((n, dim))
    return truth, clean[:, None] + noise * rng.standard_normal((n, n_repeats, dim))


def test_repeats_are_stacked_by_image_and_images_with_too_few_are_left_out():
    groups = np.array([5, 3, 5, 8, 3, 5, 3])
    betas = np.arange(14.0).reshape(7, 2)
    stacked, ids = ceilings.stack_repeats(betas, groups, 2)
    np.testing.assert_array_equal(ids, [3, 5])
    np.testing.assert_array_equal(stacked[0], betas[[1, 4]])
    np.testing.assert_array_equal(stacked[1], betas[[0, 2]])
    refused("0 images have 4 trials", ceilings.stack_repeats, betas, groups, 4)


def test_without_noise_the_planted_ceiling_comes_out():
    truth, predictions = noisy(3)
    curve = ceilings.repeat_curve(truth, predictions)
    assert curve["n_repeats"].tolist() == [1, 2, 3, np.inf]
    expected = [0.36 / (1 + 1.5**2 / k) for k in (1, 2, 3)]
    np.testing.assert_allclose(curve["explained"], [*expected, 0.36], atol=0.02)
    assert (np.diff(curve["mrr"][:3]) > 0).all() and np.isnan(curve["mrr"][-1])


def test_an_error_that_repeats_share_lowers_the_limit():
    """Nobody can tell it from signal, so the limit is not what a noiseless pattern gives."""
    limit = ceilings.repeat_curve(*noisy(3, shared=1.0))["explained"][-1]
    assert limit == pytest.approx(0.36 / 2, abs=0.02)


def test_predictions_that_say_nothing_explain_nothing():
    truth, predictions = noisy(3, said=0.0, n=40, dim=400)  # 1 / 39 by chance if not taken off
    curve = ceilings.repeat_curve(truth, predictions)
    np.testing.assert_allclose(curve["explained"], 0, atol=0.015)


def test_the_curve_over_sessions_trains_on_the_first_sessions_only():
    data, pattern, truth, *_ = subject(noise=2.0)
    session = np.repeat([3, 1, 2], 150)
    fitted = []

    def fit(betas, embeddings, groups):
        fitted.append(len(betas))
        return ridge(betas, embeddings, groups)

    curve = ceilings.curve_over_sessions(fit, *data, session, pattern, truth)
    assert curve["n_sessions"].tolist() == [1, 2, 3]
    assert curve["n_trials"].tolist() == fitted == [150, 300, 450]
    assert curve["n_images"].tolist() == [50, 100, 150]
    mrr = curve["scores"]["brain_to_image MRR"]
    assert mrr.shape == (3, 50)
    assert mrr[0].mean() < mrr[2].mean()
    expected = ridge(*(a[session == 1] for a in data)).predict(pattern)
    again = ceilings.scores_per_image(truth, expected)["brain_to_image MRR"]
    np.testing.assert_allclose(mrr[0], again)


def test_the_curve_over_voxels_rises():
    data, pattern, truth, *_ = subject(noise=1.5)
    nothing = np.random.default_rng(3).standard_normal((len(data[0]), 80))
    betas = np.concatenate([nothing, data[0]], 1)
    wide = np.concatenate([np.zeros((50, 80)), pattern], 1)
    given, how = (ridge, betas, *data[1:], wide, truth), {"rng": np.random.default_rng(0)}
    curve = ceilings.curve_over_voxels(*given, n_voxels=[10, 40, 160], n_draws=2, **how)
    mrr = curve["scores"]["brain_to_image MRR"].mean(1)
    assert curve["n_voxels"].tolist() == [10, 40, 160]
    assert mrr[0] < mrr[1] < mrr[2]
    refused("there are 160", ceilings.curve_over_voxels, *given, n_voxels=[161], **how)
