"""Layout, trial table, and agreement of all sources on which image was shown when."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.io
from refusals import refused

from fmri_utils.nsd import NSDLayout, check_design, trial_table
from fmri_utils.nsd.paths import REMEDY, available_sessions


def test_layout_refuses_what_nsd_does_not_have(nsd):
    for folder, subject, more, message in (
        ("", 0, {}, "subj01"),
        ("", 1, {"space": "fsaverage"}, "func1pt8mm"),
        ("", 1, {"space": "func1mm", "beta_version": "betas_assumehrf"}, "betas_fithrf"),
        ("nowhere", 1, {}, "does not exist"),
        ("nsddata", 1, {}, "above"),
    ):
        refused(message, NSDLayout, nsd.root / folder, subject, **more)


def test_a_missing_file_is_named_with_a_remedy(damaged):
    damaged.expdesign.unlink()
    pattern = rf"experimental design.*nsd_expdesign\.mat.*{re.escape(REMEDY)}"
    refused(pattern, trial_table, damaged)
    refused("no betas of subj03", available_sessions, NSDLayout(damaged.root, 3))


@pytest.mark.parametrize("subject", [1, 2])
def test_trial_table_counts_from_zero(nsd, subject):
    table = trial_table(NSDLayout(nsd.root, subject))
    truth = nsd.nsd_id[subject][: len(table)]
    assert list(table) == ["trial", "session", "row", "nsd_id", "shared", "repeat"]
    np.testing.assert_array_equal(table["nsd_id"], truth)
    np.testing.assert_array_equal(table["trial"], np.arange(len(truth)))
    np.testing.assert_array_equal(table["shared"], np.isin(truth, nsd.shared_ids))
    np.testing.assert_array_equal((table["session"] - 1) * 750 + table["row"], table["trial"])
    earlier = [np.count_nonzero(truth[:t] == i) for t, i in enumerate(truth)]
    np.testing.assert_array_equal(table["repeat"], earlier)


def test_repeats_count_showings_in_sessions_that_are_left_out(layout):
    second, both = trial_table(layout, [2]), trial_table(layout)
    pd.testing.assert_frame_equal(second, both[both["session"] == 2].reset_index(drop=True))


@pytest.mark.parametrize("sessions", [[], [0], [2, 1], [1, 1], [1.5], [3]])
def test_impossible_sessions_are_refused(nsd, sessions):
    refused("sessions", trial_table, NSDLayout(nsd.root, 1), sessions)


def test_all_sources_agree(nsd):
    n = {"responses.tsv": 1500, "nsd_stim_info_merged.csv": 1500, "design tables": None}
    assert check_design(NSDLayout(nsd.root, 1)) == n
    assert check_design(NSDLayout(nsd.root, 1), [2])["responses.tsv"] == 750
    # subject 2 stopped after one session, but the table of stimuli plans two for everybody
    assert check_design(NSDLayout(nsd.root, 2))["nsd_stim_info_merged.csv"] == 750


def test_first_mismatch_in_responses_is_named(damaged):
    def save(ids):
        whole.assign(**{"73KID": ids}).to_csv(damaged.responses, sep="\t", index=False)

    whole = pd.read_csv(damaged.responses, sep="\t")
    ids = whole["73KID"].to_numpy()
    save([*ids[:1000], ids[1001], ids[1000], *ids[1002:]])
    refused(r"2 of 1500 .* trial 1000 \(session 2, row 250", check_design, damaged)
    assert check_design(damaged, [1])["responses.tsv"] == 750
    save(ids - 1)
    refused("counting from 0 and 1", check_design, damaged)
    damaged.responses.unlink()
    assert check_design(damaged)["responses.tsv"] is None


def test_a_mat_saved_as_floats_gives_the_same_integers(nsd_copy, damaged):
    floats = {name: value.astype(float) for name, value in nsd_copy.expdesign.items()}
    scipy.io.savemat(damaged.expdesign, floats)
    table = trial_table(damaged)
    assert table["nsd_id"].dtype == np.int64
    np.testing.assert_array_equal(table["nsd_id"], nsd_copy.nsd_id[1][:1500])


def test_design_tables_of_the_time_series_are_compared(nsd_copy, damaged):
    # a session with rest: the first and the last of 14 runs show nothing
    folder = nsd_copy.write_design_tables(nsd_copy, sessions=[1], rest=[[]])
    assert check_design(damaged)["design tables"] == 750
    path = folder / "design_session01_run03.tsv"
    onsets = np.loadtxt(path, dtype=int)
    np.savetxt(path, onsets - (onsets > 0), fmt="%d")
    refused(r"design disagrees .* 6\d of 750 trials", check_design, damaged)
    path.write_text("1\t2\n3\n")
    refused(r"design of a run: .*run03\.tsv cannot be read", check_design, damaged)
    path.unlink()
    refused("missing runs", check_design, damaged)
