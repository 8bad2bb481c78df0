"""Splits: by image, at NSD's own size."""

import numpy as np
import pytest

from fmri_utils.nsd import NSDLayout, split_by_image, trial_table
from fmri_utils.nsd.splits import Split, leave_cluster_out, split_from_ids
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


def test_a_split_by_trial_is_refused():
    ids = np.arange(4)
    with pytest.raises(DataError, match="both the training and the test set"):
        Split(ids, ids + 4, ids, ids[3:], "by trial")
    with pytest.raises(DataError, match="both"):
        split_from_ids(ids, [0, 1], [1, 2], rule="overlap")
    with pytest.raises(DataError, match="is empty"):
        split_from_ids(ids, [0, 1], [9], rule="none")


def test_rules_without_images_are_refused(nsd):
    table = trial_table(NSDLayout(nsd.root, 1))
    with pytest.raises(DataError, match="empty"):
        split_by_image(table, min_repeats=4)


def test_clusters_are_left_out_whole():
    rng = np.random.default_rng(0)
    centres = 10 * np.linalg.qr(rng.normal(size=(6, 6)))[0][:3]
    group = rng.integers(0, 3, 90)
    embeddings = (centres[group] + rng.normal(size=(90, 6))) * rng.uniform(1, 9, (90, 1))
    ids = rng.permutation(1000)[:90]
    splits = leave_cluster_out(embeddings, ids, 3, seed=0)
    assert len(splits) == 3
    for split in splits:
        check_partition(ids, split)
        assert np.unique(group[split.test_trials]).size == 1
        assert split.train_ids.size + split.test_ids.size == 90
    np.testing.assert_array_equal(
        np.sort(np.concatenate([s.test_ids for s in splits])), np.sort(ids)
    )
    again = leave_cluster_out(embeddings, ids, 3, seed=0)
    for a, b in zip(splits, again, strict=True):
        np.testing.assert_array_equal(a.test_ids, b.test_ids)
    with pytest.raises(DataError, match="2 to 90"):
        leave_cluster_out(embeddings, ids, 91, seed=0)
