"""The reader at the experiment's own size: splits by rule, all sessions, published counts."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from refusals import refused

from fmri_utils import nsd as reader
from fmri_utils.nsd import published as published_module
from fmri_utils.nsd.betas import read_session
from fmri_utils.nsd.design import read_design
from fmri_utils.nsd.published import SHARED_COUNTS, check_published, is_nsd
from fmri_utils.project.errors import DataError


@pytest.mark.parametrize("subject", range(1, 9))
@pytest.mark.parametrize("n_sessions", [12, 30, 32, 37, 40])
def test_shared_rule_is_the_brute_force_count(full_nsd, subject, n_sessions):
    table = reader.trial_table(reader.NSDLayout(full_nsd.root, subject), range(1, n_sessions + 1))
    shared, seen, own = set(full_nsd.shared_ids.tolist()), Counter(), Counter()
    for image in full_nsd.nsd_id[subject][: 750 * n_sessions].tolist():
        (seen if image in shared else own)[image] += 1
    for least in (1, 2, 3):
        split = reader.split_by_image(table, min_repeats=least)
        test = {image for image, n in seen.items() if n >= least}
        assert set(split.test_ids.tolist()) == test
        assert split.test_trials.size == sum(seen[image] for image in test)
        assert set(split.train_ids.tolist()) == set(own)
        assert split.train_trials.size == sum(own.values())


def test_too_few_repeats_for_a_test_set_are_refused(full_nsd):
    table = reader.trial_table(reader.NSDLayout(full_nsd.root, 1), [1])
    refused("the test set is empty", reader.split_by_image, table, min_repeats=4)


@pytest.mark.parametrize("n_sessions", [30, 32, 37, 40])
@pytest.mark.parametrize("file_of", [reader.NSDLayout.betas_nifti, reader.NSDLayout.betas_hdf5])
def test_every_beta_names_the_image_of_its_trial(full_nsd, n_sessions, file_of):
    layout = reader.NSDLayout(full_nsd.root, 1)
    sessions = reader.first_sessions(layout, n_sessions)
    assert sessions == list(range(1, n_sessions + 1))
    mask = reader.roi_mask(layout)
    betas = np.concatenate([read_session(file_of(layout, s), mask) for s in sessions])
    nsd_id = reader.trial_table(layout, sessions)["nsd_id"].to_numpy()
    np.testing.assert_array_equal(betas, full_nsd.stored_betas(nsd_id)[mask].T / np.float32(300))


def test_a_simulated_design_is_never_compared_with_published_counts(full_nsd, monkeypatch):
    layout = reader.NSDLayout(full_nsd.root, 1)
    design, table = read_design(layout), reader.trial_table(layout)
    assert not is_nsd(design)
    monkeypatch.setattr(published_module, "SHARED_COUNTS", {40: SHARED_COUNTS[30]})
    assert check_published(layout, design, table) == {}
    assert "published counts" not in reader.check_design(layout)


@pytest.fixture
def like_real(full_nsd, tmp_path, rng):
    """A design that is recognised as NSD's own, in a folder of subject 4 without betas."""
    folder = tmp_path / "nsddata" / "experiments" / "nsd"
    folder.mkdir(parents=True)
    middle = rng.choice(np.arange(3000, 46_000), 998, replace=False) + 1
    shared = np.r_[2951, np.sort(middle), 72_949]
    own = rng.permutation(np.setdiff1d(np.arange(1, 73_001), shared))
    subjectim = np.column_stack([np.tile(shared, (8, 1)), own.reshape(8, 9000)])
    first = full_nsd.order[0] - 1
    assert first >= 1000
    place = np.argwhere(subjectim == 46_003)[0]
    subjectim[tuple(place)], subjectim[0, first] = subjectim[0, first], 46_003
    changed = full_nsd.expdesign | {"subjectim": subjectim, "sharedix": shared}
    scipy.io.savemat(folder / "nsd_expdesign.mat", changed)
    return lambda subject: reader.NSDLayout(tmp_path, subject)


@pytest.mark.parametrize("n_sessions", SHARED_COUNTS)
@pytest.mark.parametrize("subject", [1, 4])
def test_real_data_are_recognised_and_their_counts_agree(like_real, subject, n_sessions):
    layout = like_real(subject)
    design = read_design(layout)
    assert is_nsd(design)
    table = reader.trial_table(layout, range(1, n_sessions + 1))
    found = check_published(layout, design, table)
    assert found["shared images shown"] == SHARED_COUNTS[n_sessions][0]
    assert found["trials of shared images"] == SHARED_COUNTS[n_sessions][1]
    assert ("first image" in found) == (subject == 1)
    assert reader.check_design(layout, range(1, n_sessions + 1))["published counts"] == len(found)
    # nothing is published of other selections
    other = reader.trial_table(layout, range(2, n_sessions + 1))
    assert "shared images shown" not in check_published(layout, design, other)


def test_wrong_counts_on_real_data_are_an_error(like_real, full_nsd):
    layout = like_real(1)
    design = read_design(layout)
    table = reader.trial_table(layout, range(1, 38))
    with pytest.raises(DataError, match=r"2769 in .*nsd_expdesign\.mat, but NSD's own is 2770"):
        check_published(layout, design, table.drop(index=np.flatnonzero(table["shared"])[0]))
    shifted = replace(design, image_of_trial=np.roll(design.image_of_trial, 1))
    refused("first image of subj01", check_published, layout, shifted, table)


def test_real_nsdgeneral_of_another_size_is_an_error(like_real, full_nsd):
    layout = like_real(8)
    path = layout.roi("nsdgeneral")
    path.parent.mkdir(parents=True)
    path.write_bytes(reader.NSDLayout(full_nsd.root, 8).roi("nsdgeneral").read_bytes())
    refused(r"nsdgeneral voxels of subj08.*14386", reader.check_design, layout, range(1, 31))
