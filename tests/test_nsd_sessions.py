"""Which sessions are there: gaps are errors, early ends are told."""

import functools
import re

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from fmri_utils import nsd as reader
from fmri_utils.nsd.paths import REMEDY
from fmri_utils.nsd.sessions import available_sessions


@pytest.fixture
def layout(nsd_copy):
    """A subject that took part in four sessions (the plan has two, so no trial table of it)."""
    layout = reader.NSDLayout(nsd_copy.root, 1)
    for session in (3, 4):
        layout.betas_hdf5(session).write_bytes(layout.betas_hdf5(1).read_bytes())
    table = pd.read_csv(layout.responses, sep="\t")
    later = table.assign(SESSION=table["SESSION"] + 2)
    pd.concat([table, later]).to_csv(layout.responses, sep="\t", index=False)
    return layout


def remove(layout, session):
    for path in (layout.betas_hdf5(session), layout.betas_nifti(session)):
        path.unlink(missing_ok=True)


def test_a_gap_is_an_error_that_names_the_file(layout):
    mask = reader.roi_mask(layout)
    assert available_sessions(layout) == [1, 2, 3, 4]
    remove(layout, 3)
    read = functools.partial(reader.read_betas, mask=mask, progress=False)
    calls = (available_sessions, reader.first_sessions, reader.trial_table, reader.check_design)
    pattern = (
        r"session 3 of subj01 are missing: no betas_session03\.hdf5 or betas_session03\.nii\.gz in "
        rf".*betas_fithrf_GLMdenoise_RR, .*{re.escape(REMEDY)}.*=\[1, 2, 4\], or only the first 2"
    )
    for call in (*calls, read):
        refused(pattern, call, layout)
    assert available_sessions(layout, allow_gaps=True) == [1, 2, 4]
    assert len(reader.read_betas(layout, mask, [1, 2, 4], progress=False)) == 2250  # asked for


def test_an_early_end_is_allowed_and_told(layout):
    assert reader.session_coverage(layout) == "4 of 4 sessions"
    remove(layout, 4)
    assert available_sessions(layout) == [1, 2, 3]
    assert reader.session_coverage(layout) == "3 of 4 sessions, without 4"
    remove(layout, 2)
    assert reader.session_coverage(layout) == "2 of 4 sessions, without 2, 4"
    layout.responses.unlink()
    unknown = "2 sessions (of how many is unknown: no responses.tsv), without 2"
    assert reader.session_coverage(layout) == unknown


def test_first_sessions_are_those_with_the_first_numbers(layout):
    assert reader.first_sessions(layout) == [1, 2, 3, 4]
    remove(layout, 3)
    assert reader.first_sessions(layout, 2) == [1, 2]
    for n in (3, 4):
        refused(r"session03\.hdf5 .*the first 2 are there", reader.first_sessions, layout, n)
    refused(r"has 4 by .*responses", reader.first_sessions, layout, 5)
    layout.responses.unlink()
    refused(r"sessions \[3, 5\] of subj01 are missing", reader.first_sessions, layout, 5)


def test_a_table_of_responses_that_is_cut_off_is_found(layout):
    whole = pd.read_csv(layout.responses, sep="\t")
    whole.iloc[:2300].to_csv(layout.responses, sep="\t", index=False)
    refused(r"responses\.tsv has 2300 trials.*fetch it again", reader.session_coverage, layout)
    whole.iloc[:1500].to_csv(layout.responses, sep="\t", index=False)
    refused(r"session 4, but .*ends with session 2", reader.session_coverage, layout)
    whole.iloc[np.arange(3000) >= 750].to_csv(layout.responses, sep="\t", index=False)
    refused("every session from 1", reader.session_coverage, layout)
