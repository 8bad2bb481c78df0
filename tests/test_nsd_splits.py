"""Splits: by image, at NSD's own size."""

import numpy as np
import pytest

from fmri_utils.nsd import NSDLayout, split_by_image, trial_table
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture", "nsd_fullsize"]


def test_all_subjects_see_shared_images_in_the_same_trials(full_nsd):
    first, *others = (
        split_by_image(trial_table(NSDLayout(full_nsd.root, s), range(1, 31))) for s in range(1, 9)
    )
    own = set(first.train_ids)
    for split in others:
        np.testing.assert_array_equal(split.test_trials, first.test_trials)
        np.testing.assert_array_equal(split.test_ids, first.test_ids)
        assert not own & set(split.train_ids)
        own |= set(split.train_ids)


def check_partition(nsd_id, split):
    """Rows belong to the ids, and no image is on both sides."""
    nsd_id = np.asarray(nsd_id)
    assert not set(split.train_ids) & set(split.test_ids)
    assert not set(split.train_trials) & set(split.test_trials)
    for trials, ids in (
        (split.train_trials, split.train_ids),
        (split.test_trials, split.test_ids),
    ):
        np.testing.assert_array_equal(np.unique(nsd_id[trials]), ids)
        np.testing.assert_array_equal(trials, np.flatnonzero(np.isin(nsd_id, ids)))


@pytest.mark.parametrize("subject", [1, 2])
def test_no_image_is_in_both_sets(nsd, subject):
    table = trial_table(NSDLayout(nsd.root, subject))
    split = split_by_image(table)
    check_partition(table["nsd_id"], split)
    assert set(split.test_ids) <= set(nsd.shared_ids)


def test_rules_without_images_are_refused(nsd):
    table = trial_table(NSDLayout(nsd.root, 1))
    with pytest.raises(DataError, match="empty"):
        split_by_image(table, min_repeats=4)
