"""Standardising without looking at test trials, averaging, and the reliability of voxels."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from refusals import refused

from fmri_utils import nsd as reader
from fmri_utils.project.errors import DataError


@pytest.fixture
def trials(rng):
    """Betas of 3 sessions x 60 trials x 8 voxels, with session gains and offsets."""
    session = np.repeat([1, 2, 5], 60)
    gain, offset = rng.uniform(0.5, 3, (3, 8)), rng.normal(0, 4, (3, 8))
    index = np.repeat([0, 1, 2], 60)
    betas = rng.normal(size=(180, 8)) * gain[index] + offset[index]
    return betas.astype(np.float32), session, rng.random(180) < 0.8


def test_zscore_has_unit_statistics_on_training_trials(trials):
    betas, session, fit = trials
    z = reader.zscore_sessions(betas, session, fit)
    for s in np.unique(session):
        rows = (session == s) & fit
        np.testing.assert_allclose(z[rows].mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(z[rows].std(0, ddof=1), 1, rtol=1e-6)
        expected = scipy.stats.zmap(betas[session == s], betas[rows], ddof=1)
        np.testing.assert_allclose(z[session == s], expected, atol=1e-5)
    labelled = reader.zscore_sessions(betas, pd.Series(session), pd.Series(fit))
    np.testing.assert_array_equal(labelled, z)


def test_zscore_of_training_trials_ignores_test_trials(trials):
    betas, session, fit = trials
    changed = betas.copy()
    changed[~fit] *= 100  # the units of training trials only are looked at
    before, after = (reader.zscore_sessions(b, session, fit) for b in (betas, changed))
    np.testing.assert_array_equal(before[fit], after[fit])
    other = betas.copy()
    other[session == 2] += 7
    after = reader.zscore_sessions(other, session, fit)
    np.testing.assert_array_equal(after[session == 1], before[session == 1])


def test_voxel_without_data_in_one_session_is_zero_there_only(trials):
    betas, session, fit = trials
    betas[session == 2, 3] = 0
    betas[session == 5, 4] = np.float32(0.1)  # its mean is rounded: the range must decide
    betas[(session == 1) & fit, 5] = 1
    z = reader.zscore_sessions(betas, session, fit)
    assert np.all(z[session == 2, 3] == 0)
    assert np.all(z[session == 5, 4] == 0)
    assert np.all(z[session == 1, 5] == 0)  # test trials too: there is no scale for them
    assert np.all(z[session != 2, 3] != 0)
    report = reader.voxel_report(betas, session)
    assert report["all_zero"].tolist() == [0, 1, 0]
    assert report["constant"].tolist() == [0, 1, 1]
    assert report["saturated"].tolist() == [0, 0, 0]
    betas[5, 1], betas[70, 2], betas[70, 0] = -(2**15) / 300, (2**15 - 1) / 300, np.nan
    report = reader.voxel_report(betas, session)
    assert report["saturated"].tolist() == [1, 1, 0]
    assert report["not_finite"].tolist() == [0, 1, 0]


def test_zscore_refuses_wrong_input(trials):
    betas, session, fit = trials
    with pytest.raises(DataError, match="session 2 has 0 training trials"):
        reader.zscore_sessions(betas, session, fit & (session != 2))
    refused("booleans", reader.zscore_sessions, betas, session, fit.astype(int))
    refused("one value for each of the 180 trials", reader.zscore_sessions, betas, session[1:], fit)
    refused("int16", reader.zscore_sessions, (betas * 300).astype(np.int16), session, fit)
    with pytest.raises(DataError, match=r"all 8 voxels are constant in session 2.*leave it out"):
        reader.zscore_sessions(np.where(session[:, None] == 2, 0, betas), session, fit)
    for value in (np.nan, np.inf):
        betas[np.flatnonzero(session == 2)[4], 6] = value
        with pytest.raises(DataError, match=r"1 voxels .* session 2, first voxel 6"):
            reader.zscore_sessions(betas, session, fit)
        assert reader.voxel_report(betas, session)["not_finite"].tolist() == [0, 1, 0]


def test_undivided_integers_are_refused(trials):
    """Stored integers are 300 times percent signal change; no voxel can reach their SD."""
    betas, session, fit = trials
    with pytest.raises(DataError, match=r"session 1 have a standard deviation.*divide them by 300"):
        reader.zscore_sessions(betas * 300, session, fit)
    betas[:, :3] *= 300  # a few voxels of such a size are artefacts, not another unit
    assert np.isfinite(reader.zscore_sessions(betas, session, fit)).all()


def test_average_repeats_is_a_group_mean(rng):
    nsd_id, betas = rng.integers(100, 130, 70), rng.normal(size=(70, 5)).astype(np.float32)
    means, ids, counts = reader.average_repeats(betas, nsd_id)
    groups = pd.DataFrame(betas).groupby(nsd_id)
    np.testing.assert_array_equal(ids, groups.mean().index)
    np.testing.assert_allclose(means, groups.mean(), atol=1e-6)
    np.testing.assert_array_equal(counts, groups.size())
    assert means.dtype == np.float32


def test_estimated_ncsnr_follows_the_recipe(rng):
    """Equals the slow way: variance over each image's trials, averaged, then compared with 1.

    That it finds what was planted: test_nsd_lacking.py, test_simulation.py.
    """
    # Three trials per image over 4 sessions, of voxels with a known SNR; last: constant.
    nsd_id = rng.permutation(np.repeat(np.arange(50), 3))
    session = np.arange(150) * 4 // 150 + 1
    signal = rng.normal(size=(50, 6)) * np.linspace(0, 1, 6)
    betas = 3 * (signal[nsd_id] + rng.normal(size=(150, 6))) + session[:, None]
    betas = np.column_stack([betas, np.full(150, 0.1)]).astype(np.float32)
    kept = ~np.isin(nsd_id, [3, 4]) | (np.arange(nsd_id.size) <= 100)  # others have fewer trials
    betas, session, nsd_id = betas[kept], session[kept], nsd_id[kept]
    z = reader.zscore_sessions(betas, session, np.ones(len(betas), bool))
    groups = [z[nsd_id == i] for i in np.unique(nsd_id) if np.sum(nsd_id == i) == 3]
    noise = np.mean([g.var(0, ddof=1) for g in groups], axis=0)[:-1]
    expected = np.sqrt(np.maximum(0, 1 - noise)) / np.sqrt(noise)
    found = reader.estimate_ncsnr(betas, session, nsd_id)
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-4)
    assert np.isnan(found[-1])
    pairs = np.flatnonzero(pd.Series(nsd_id).groupby(nsd_id).cumcount() < 2)
    with pytest.raises(DataError, match="no image has 3 trials"):
        reader.estimate_ncsnr(betas[pairs], session[pairs], nsd_id[pairs])


def test_noise_ceiling_is_what_the_best_model_reaches(rng):
    """The variance of averages that the true signal explains is the ceiling."""
    ncsnr = np.array([0.2, 0.4, 0.8])
    signal = rng.normal(size=(20_000, 3)) * ncsnr
    counts = rng.integers(1, 4, 20_000)
    mean = signal + rng.normal(size=signal.shape) / np.sqrt(counts)[:, None]
    explained = 100 * (signal.var(0) / mean.var(0))
    np.testing.assert_allclose(explained, reader.noise_ceiling(ncsnr, counts), rtol=0.04)


def test_reliability_uses_two_different_trials(rng):
    """Images with one trial would correlate with themselves. Planted: test_nsd_lacking.py."""
    nsd_id = np.r_[np.arange(500), np.arange(40)]
    betas = rng.normal(size=(540, 30)).astype(np.float32)
    assert abs(np.mean(reader.split_half_reliability(betas, nsd_id, rng))) < 0.1
    refused("at least two trials", reader.split_half_reliability, betas[:500], nsd_id[:500], rng)
