"""Sessions without data: every statistic of repeats leaves their trials out, voxel by voxel."""

import numpy as np
import pytest

from fmri_utils import nsd
from fmri_utils.nsd import quality
from fmri_utils.nsd.preprocessing import groups_with_data, lacking_data

N_SESSIONS, N_VOXELS = 4, 60


@pytest.fixture(scope="module")
def subject():
    """Images shown three times in four sessions; the first 20 voxels lack session 2, ten more 3.

    Of each twenty voxels the signals have an ncsnr of 0 and 0.8 by turns.
    """
    rng = np.random.default_rng(0)
    nsd_id = rng.permutation(np.repeat(np.arange(2000), 3))
    session = np.arange(nsd_id.size) * N_SESSIONS // nsd_id.size + 1
    ncsnr = np.tile([0.0, 0.8], N_VOXELS // 2)
    signal = rng.standard_normal((2000, N_VOXELS)) * ncsnr
    whole = signal[nsd_id] + rng.standard_normal((nsd_id.size, N_VOXELS))
    whole = (2 * whole + session[:, None]).astype(np.float32)
    raw = whole.copy()
    raw[session == 2, :20] = 0
    raw[np.isin(session, (2, 3)), 10:20] = 0
    raw[:, 59] = 0  # and one that has no data at all
    fit = np.ones(nsd_id.size, bool)
    z = nsd.zscore_sessions(raw, session, fit)
    return {"raw": raw, "z": z, "whole": whole, "session": session, "id": nsd_id, "ncsnr": ncsnr}


def without(subject, name, voxel, *labels):
    """One voxel's betas and its labels, without the sessions that it lacks."""
    kept = subject["raw"][:, voxel] != 0
    return subject[name][kept][:, [voxel]], *(subject[label][kept] for label in labels)


def test_both_ways_to_find_what_is_lacking_agree(subject):
    by_session = lacking_data(subject["raw"], subject["session"])
    by_zeros = lacking_data(subject["z"])
    for found in (by_session, by_zeros):
        np.testing.assert_array_equal(found[0], [*range(20), 59])
        np.testing.assert_array_equal(found[1], subject["raw"][:, found[0]] == 0)
    groups = [(len(trials), voxels.tolist()) for trials, voxels in groups_with_data(subject["z"])]
    expected = [(0, [59]), (3000, [*range(10, 20)]), (4500, [*range(10)])]
    assert sorted(groups) == sorted(expected)


def test_a_few_zeros_are_responses():
    z = np.random.default_rng(1).standard_normal((2000, 3)).astype(np.float32)
    z[:19, 0] = 0  # one in a hundred would be 20
    z[5, 1] = np.nan
    voxels, lacking = lacking_data(z)
    assert voxels.tolist() == [1] and np.flatnonzero(lacking).tolist() == [5]
    assert not lacking_data(np.zeros((9, 2), np.float32))[0].size


@pytest.mark.parametrize("name", ["raw", "z"])
def test_ncsnr_is_that_of_the_sessions_with_data(subject, name):
    found = nsd.estimate_ncsnr(subject[name], subject["session"], subject["id"])
    for voxel in (0, 1, 12, 13, 30, 31):
        own = nsd.estimate_ncsnr(*without(subject, name, voxel, "session", "id"))
        assert found[voxel] == pytest.approx(own[0], abs=1e-5)
    assert np.isnan(found[59])
    noise, tuned = found[:20:2], found[1:20:2]
    assert noise.mean() < 0.15  # 0.58 to 1 if zeros counted as trials
    assert tuned.mean() == pytest.approx(0.8, abs=0.05)


def test_residuals_have_the_variance_of_the_noise(subject):
    residuals, rows = quality.noise_residuals(subject["z"], subject["id"])
    np.testing.assert_array_equal(rows, np.arange(6000))
    assert np.isnan(residuals[:, 59]).all() and np.isfinite(residuals[:, 20:59]).all()
    assert np.isnan(residuals[subject["session"] == 2, :20]).all()
    variance = np.nanvar(residuals[:, :20], axis=0)
    np.testing.assert_allclose(variance[::2], 1, atol=0.06)  # 0.69 if zeros counted as trials
    np.testing.assert_allclose(variance[1::2], 1 / 1.64, atol=0.06)
    voxel, ids = without(subject, "z", 3, "id")
    own, kept = quality.noise_residuals(voxel, ids)
    mine = residuals[:, 3]
    np.testing.assert_allclose(mine[np.isfinite(mine)], own[:, 0], atol=1e-6)
    assert len(kept) < len(voxel)  # images with one trial left are left out


def test_two_trials_correlate_as_the_ncsnr_says_without_the_session(subject):
    rng = np.random.default_rng(2)
    found = nsd.split_half_reliability(subject["z"], subject["id"], rng)
    expected = subject["ncsnr"] ** 2 / (1 + subject["ncsnr"] ** 2)
    np.testing.assert_allclose(found[:59], expected[:59], atol=0.09)
    assert found[1:20:2].mean() == pytest.approx(expected[1], abs=0.02)  # 0.22 with zeros
    assert np.isnan(found[59])
    # Voxels that lack nothing get what they get without the others.
    rng = np.random.default_rng(2)
    alone = nsd.split_half_reliability(subject["z"][:, 20:59], subject["id"], rng)
    np.testing.assert_array_equal(found[20:59], alone)


def test_noise_correlation_is_that_of_voxels_that_have_the_same_trials(subject, rng):
    shared = rng.standard_normal((6000, 1))
    noise = np.sqrt(0.5) * (shared + rng.standard_normal((6000, 27))).astype(np.float32)
    noise[subject["session"] == 2, :14] = 0
    noise[subject["session"] == 3, 14:20] = 0
    residuals, _ = quality.noise_residuals(noise, subject["id"])
    places = quality.voxel_coordinates(np.ones((3, 3, 3), bool), np.diag([1.8, 1.8, 1.8, 1]))
    table = quality.noise_correlation(residuals, places, rng, areas={}, n_pairs=2000)
    n_pairs = 14 * 13 + 6 * 5 + 7 * 6  # each seen from both ends
    assert table["n_pairs"].sum() == n_pairs
    np.testing.assert_allclose(table["correlation"], 0.5, atol=0.02)


def test_noise_of_trials_that_follow_is_measured_where_there_are_data(subject, rng):
    noise = rng.standard_normal((6000, 40)).astype(np.float32)
    for t in range(1, 6000):
        noise[t] = 0.6 * noise[t - 1] + 0.8 * noise[t]
    noise[subject["session"] == 2, :30] = 0
    noise[:, 39] = 0
    residuals, rows = quality.noise_residuals(noise, subject["id"])
    labels = rows, subject["session"][rows], subject["id"][rows]
    found = quality.noise_autocorrelation(residuals, *labels)
    np.testing.assert_allclose(found[:3], [0.6, 0.36, 0.216], atol=0.02)


def test_drift_is_that_of_the_sessions_with_data(subject):
    session = subject["session"]
    found = quality.session_drift(subject["raw"], session)
    whole = quality.session_drift(subject["whole"], session)
    np.testing.assert_array_equal(found[20:59], whole[20:59])
    for voxel in (0, 1, 12):
        own = quality.session_drift(*without(subject, "raw", voxel, "session"))
        assert found[voxel] == pytest.approx(own[0])
    assert np.isnan(found[59])
    one = np.where(session[:, None] == 1, subject["raw"], 0)
    assert np.isnan(quality.session_drift(one, session)).all()


def test_images_are_ranked_by_trials_with_data(subject):
    ranked = quality.rank_images(subject["z"][:, 1], subject["id"], np.random.default_rng(5))
    kept = subject["session"] != 2
    n_trials = np.bincount(subject["id"][kept], minlength=2000)
    assert len(ranked) == np.count_nonzero(n_trials >= 2)
    np.testing.assert_array_equal(ranked["n_trials"], n_trials[ranked["nsd_id"]])
