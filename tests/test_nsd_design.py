"""Layout, trial table, and agreement of all sources on which image was shown when."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.io

from fmri_utils.nsd import NSDLayout, check_design, trial_table
from fmri_utils.nsd.paths import REMEDY, available_sessions
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture"]


def edit_responses(layout, change):
    table = change(pd.read_csv(layout.responses, sep="\t"))
    table.to_csv(layout.responses, sep="\t", index=False)


def test_layout_follows_the_bucket(nsd):
    layout = NSDLayout(nsd.root, 1)
    assert layout.roi("streams", "lh").relative_to(nsd.root).as_posix() == (
        "nsddata/ppdata/subj01/func1pt8mm/roi/lh.streams.nii.gz"
    )
    assert layout.betas_hdf5(3).relative_to(nsd.root).as_posix() == (
        "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session03.hdf5"
    )
    assert layout.ncsnr(2).name == "ncsnr_split2.nii.gz"
    assert available_sessions(layout) == [1, 2]
    assert available_sessions(NSDLayout(nsd.root, 2)) == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subject": 0}, "subj01"),
        ({"subject": 1, "space": "fsaverage"}, "func1pt8mm"),
        ({"subject": 1, "space": "func1mm", "beta_version": "betas_assumehrf"}, "betas_fithrf"),
    ],
)
def test_layout_refuses_what_nsd_does_not_have(nsd, arguments, message):
    with pytest.raises(DataError, match=message):
        NSDLayout(nsd.root, **arguments)


def test_layout_needs_an_nsd_folder(nsd, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        NSDLayout(tmp_path / "nowhere", 1)
    with pytest.raises(DataError, match="above"):
        NSDLayout(nsd.root / "nsddata", 1)


def test_a_missing_file_is_named_with_a_remedy(nsd_copy):
    layout = NSDLayout(nsd_copy.root, 1)
    layout.expdesign.unlink()
    pattern = rf"experimental design.*nsd_expdesign\.mat.*{re.escape(REMEDY)}"
    with pytest.raises(DataError, match=pattern):
        trial_table(layout)
    with pytest.raises(DataError, match="no betas of subj03"):
        available_sessions(NSDLayout(nsd_copy.root, 3))


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


def test_repeats_count_showings_in_sessions_that_are_left_out(nsd):
    layout = NSDLayout(nsd.root, 1)
    second, both = trial_table(layout, [2]), trial_table(layout)
    pd.testing.assert_frame_equal(second, both[both["session"] == 2].reset_index(drop=True))


@pytest.mark.parametrize("sessions", [[], [0], [2, 1], [1, 1], [1.5], [3]])
def test_impossible_sessions_are_refused(nsd, sessions):
    with pytest.raises(DataError, match="sessions"):
        trial_table(NSDLayout(nsd.root, 1), sessions)


def test_all_sources_agree(nsd):
    n = {"responses.tsv": 1500, "nsd_stim_info_merged.csv": 1500, "design tables": None}
    assert check_design(NSDLayout(nsd.root, 1)) == n
    assert check_design(NSDLayout(nsd.root, 1), [2])["responses.tsv"] == 750
    # subject 2 stopped after one session, but the table of stimuli plans two for everybody
    assert check_design(NSDLayout(nsd.root, 2))["nsd_stim_info_merged.csv"] == 750


def test_absent_sources_are_reported(nsd_copy):
    layout = NSDLayout(nsd_copy.root, 1)
    layout.responses.unlink()
    assert check_design(layout)["responses.tsv"] is None


def test_first_mismatch_in_responses_is_named(nsd_copy):
    layout = NSDLayout(nsd_copy.root, 1)

    def swap(table):
        table.loc[[1000, 1001], "73KID"] = table.loc[[1001, 1000], "73KID"].to_numpy()
        return table

    edit_responses(layout, swap)
    with pytest.raises(DataError, match=r"2 of 1500 .* trial 1000 \(session 2, row 250"):
        check_design(layout)
    assert check_design(layout, [1])["responses.tsv"] == 750
    edit_responses(layout, lambda table: table.assign(**{"73KID": swap(table)["73KID"] - 1}))
    with pytest.raises(DataError, match="counting from 0 and 1"):
        check_design(layout)


def test_a_mat_saved_as_floats_gives_the_same_integers(nsd_copy):
    layout = NSDLayout(nsd_copy.root, 1)
    floats = {name: value.astype(float) for name, value in nsd_copy.expdesign.items()}
    scipy.io.savemat(layout.expdesign, floats)
    table = trial_table(layout)
    assert table["nsd_id"].dtype == np.int64
    np.testing.assert_array_equal(table["nsd_id"], nsd_copy.nsd_id[1][:1500])
    floats["masterordering"][0, 5] += 0.5
    scipy.io.savemat(layout.expdesign, floats)
    with pytest.raises(DataError, match=r"masterordering .*nsd_expdesign\.mat holds fractions"):
        trial_table(layout)


def test_design_tables_of_the_time_series_are_compared(nsd_copy):
    layout = NSDLayout(nsd_copy.root, 1)
    folder = nsd_copy.root / "nsddata_timeseries/ppdata/subj01/func1pt8mm/design"
    folder.mkdir(parents=True)
    ids = np.split(nsd_copy.nsd_id[1][:750] + 1, np.cumsum([63, 62] * 6)[:-1])
    # a session with rest: the first and the last of 14 runs show nothing
    runs = [[], *ids, []]
    for number, shown in enumerate(runs, start=1):
        onsets = np.zeros(225, int)
        onsets[9 : 9 + 3 * len(shown) : 3] = shown
        np.savetxt(folder / f"design_session01_run{number:02d}.tsv", onsets, fmt="%d")
    assert check_design(layout)["design tables"] == 750
    path = folder / "design_session01_run05.tsv"
    right = path.read_text()
    for text in ("onset\n1.5\n", "1\t2\n3\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"design of a run: .*run05\.tsv cannot be read"):
            check_design(layout)
    onsets = np.loadtxt(folder / "design_session01_run03.tsv", dtype=int)
    np.savetxt(folder / "design_session01_run03.tsv", onsets - (onsets > 0), fmt="%d")
    path.write_text(right)
    with pytest.raises(DataError, match=r"design disagrees .* 6\d of 750 trials"):
        check_design(layout)
    np.savetxt(folder / "design_session01_run03.tsv", onsets, fmt="%d")
    path.unlink()
    with pytest.raises(DataError, match="missing runs"):
        check_design(layout)
