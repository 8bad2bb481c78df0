"""A new user's folder: what notebook 01 calls, in its order, on a download that went wrong."""

import numpy as np
import pytest

from fmri_utils import nsd
from fmri_utils.nsd.paths import REMEDY
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture"]


@pytest.fixture
def folder(nsd_copy):
    """A folder of its own; ``folder.layout`` reads subject 1."""
    nsd_copy.layout = nsd.NSDLayout(nsd_copy.root, 1)
    return nsd_copy


def prepare_data(root, *, n_sessions=0, roi="nsdgeneral"):
    """Do what notebook 01 does."""
    layout = nsd.NSDLayout(root, 1)
    sessions = nsd.first_sessions(layout, n_sessions)
    told = nsd.session_coverage(layout)
    nsd.check_design(layout, sessions)
    table = nsd.trial_table(layout, sessions)
    split = nsd.split_by_image(table)
    mask = nsd.roi_mask(layout, roi)
    raw = nsd.read_betas(layout, mask, sessions, progress=False)
    is_train = np.isin(np.arange(len(table)), split.train_trials)
    z = nsd.zscore_sessions(raw, table["session"], is_train)
    nsd.visual_areas(layout, mask)
    nsd.noise_ceiling(nsd.read_ncsnr(layout, mask), 3)
    ids = np.unique(table["nsd_id"])
    nsd.read_images(layout, ids, progress=False)
    nsd.read_captions(layout, ids)
    nsd.read_mean_volume(layout)
    return told, z


def test_a_whole_folder_goes_through(folder):
    told, z = prepare_data(folder.root, roi="nsdgeneral+floc-faces")
    assert told == "2 of 2 sessions"
    assert z.shape[0] == 1500


@pytest.mark.parametrize("kind", ["betas_nifti", "betas_hdf5"])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_folder_with_one_file_cut_off_names_it_and_what_to_do(folder, kind, share):
    path = getattr(folder.layout, kind)(2)
    if kind == "betas_nifti":
        folder.layout.betas_hdf5(2).unlink()
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError) as caught:
        prepare_data(folder.root)
    assert str(path) in str(caught.value)
    assert "delete it and fetch it again" in str(caught.value)


def test_a_folder_without_one_roi_names_its_file_and_what_to_do(folder):
    folder.layout.roi("nsdgeneral").unlink()
    with pytest.raises(DataError) as caught:
        prepare_data(folder.root)
    for part in (str(folder.layout.roi("nsdgeneral")), "'prf-visualrois'", REMEDY):
        assert part in str(caught.value)
    told, _ = prepare_data(folder.root, roi="prf-visualrois")
    assert told == "2 of 2 sessions"
