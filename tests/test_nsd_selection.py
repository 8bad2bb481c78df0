"""Choosing voxels by training trials: test trials cannot change the choice."""

import numpy as np
import pytest

from fmri_utils.nsd import (
    NSDLayout,
    estimate_ncsnr,
    hold_out_images,
    score_voxels,
    select_voxels,
    split_by_image,
    split_half_reliability,
    trial_table,
    zscore_sessions,
)
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture"]


@pytest.fixture
def data(nsd):
    """Betas of the folder's trials with voxels of increasing signal, their table and split."""
    table = trial_table(NSDLayout(nsd.root, 1))
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(nsd.n_all, 12)) * np.linspace(0, 2, 12)
    betas = signal[table["nsd_id"]] + rng.normal(size=(len(table), 12))
    split = split_by_image(table)
    betas = zscore_sessions(betas, table["session"], ~table["shared"].to_numpy())
    return betas, table, split


@pytest.mark.parametrize("measure", ["reliability", "ncsnr"])
def test_scores_are_those_of_the_training_trials(data, measure):
    betas, table, split = data
    score = score_voxels(betas, table, split, np.random.default_rng(1), measure=measure)
    rows = split.train_trials
    nsd_id, session = (table[name].to_numpy()[rows] for name in ("nsd_id", "session"))
    expected = {
        "reliability": lambda: split_half_reliability(
            betas[rows], nsd_id, np.random.default_rng(1)
        ),
        "ncsnr": lambda: estimate_ncsnr(betas[rows], session, nsd_id),
    }[measure]()
    np.testing.assert_array_equal(score, expected)
    assert np.corrcoef(score, np.arange(12))[0, 1] > 0.9


@pytest.mark.parametrize("measure", ["reliability", "ncsnr"])
def test_test_trials_cannot_change_the_choice(data, measure):
    betas, table, split = data
    scores = []
    for test in (betas[split.test_trials], 1e3, np.nan):
        changed = betas.copy()
        changed[split.test_trials] = test
        scores.append(
            score_voxels(changed, table, split, np.random.default_rng(1), measure=measure)
        )
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    assert select_voxels(scores[2], top=4)[-4:].sum() >= 3


def test_validation_images_are_left_out_too(data):
    betas, table, split = data
    inner = hold_out_images(table, split, 0.3, np.random.default_rng(0))
    scores = []
    for scale in (1, 50):
        changed = betas.copy()
        changed[inner.test_trials] *= scale
        changed[split.test_trials] *= scale
        scores.append(score_voxels(changed, table, inner, np.random.default_rng(1)))
    np.testing.assert_array_equal(*scores)


def test_a_split_of_other_trials_is_refused(data):
    betas, table, split = data
    rng = np.random.default_rng(0)
    order = rng.permutation(len(table))
    for b, t in (
        (betas[:750], table.iloc[:750]),
        (betas[split.train_trials], table.iloc[split.train_trials]),
        (betas[order], table.iloc[order]),
    ):
        with pytest.raises(DataError, match="was not made from this table"):
            score_voxels(b, t, split, rng)
    with pytest.raises(DataError, match="one value for each"):
        score_voxels(betas[1:], table, split, rng)
    with pytest.raises(DataError, match="'reliability' or 'ncsnr'"):
        score_voxels(betas, table, split, rng, measure="variance")
