"""What the reader promises, and what it tells of each classic mistake.

The first part are the consistency tests of the data format, (a) to (f). The second part makes the
mistakes that users of NSD make most often, or another program in the files: the error says what is
wrong.
"""

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io

from fmri_utils import nsd
from fmri_utils.nsd import betas, design, rois
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture"]


@pytest.fixture
def folder(nsd_copy):
    """A folder of its own with every source of the design; ``folder.layout`` reads subject 1."""
    nsd_copy.write_design_tables(nsd_copy)
    nsd_copy.layout = nsd.NSDLayout(nsd_copy.root, 1)
    return nsd_copy


def test_12a_every_source_names_the_same_images(folder):
    compared = nsd.check_design(folder.layout)
    assert compared == {
        "responses.tsv": 1500,
        "nsd_stim_info_merged.csv": 1500,
        "design tables": 1500,
    }
    table = nsd.trial_table(folder.layout)
    np.testing.assert_array_equal(table["nsd_id"], folder.nsd_id[1][:1500])
    images = nsd.read_images(folder.layout, table["nsd_id"][:20].to_numpy(), progress=False)
    np.testing.assert_array_equal(images, folder.images[folder.nsd_id[1][:20]])


def test_12b_both_formats_hold_the_same_voxels(folder):
    volume = np.asanyarray(nib.load(folder.layout.betas_nifti(1)).dataobj)
    with h5py.File(folder.layout.betas_hdf5(1)) as file:
        np.testing.assert_array_equal(volume.transpose(3, 2, 1, 0), file["betas"][()])
    mask = np.random.default_rng(0).random(folder.shape) < 0.3
    for path in (folder.layout.betas_nifti(1), folder.layout.betas_hdf5(1)):
        found = betas.read_session(path, mask)
        np.testing.assert_array_equal(found, volume[mask].T / np.float32(300))


def test_12c_a_region_has_the_voxels_that_are_labelled(folder):
    labels = nib.load(folder.layout.roi("nsdgeneral")).get_fdata()
    mask = nsd.roi_mask(folder.layout, "nsdgeneral")
    assert mask.sum() == np.count_nonzero(labels == 1)
    halves = [nsd.roi_mask(folder.layout, f"{h}.nsdgeneral").sum() for h in ("lh", "rh")]
    assert sum(halves) == mask.sum()
    assert nsd.read_betas(folder.layout, mask, [1], progress=False).shape[1] == mask.sum()


def test_12d_the_noise_ceiling_is_nsds_formula(folder):
    mask = folder.subjects[1].brain
    ncsnr = nsd.read_ncsnr(folder.layout, mask).astype(float)
    np.testing.assert_allclose(
        nsd.noise_ceiling(ncsnr, 3), 100 * ncsnr**2 / (ncsnr**2 + 1 / 3), rtol=1e-6
    )
    counts, inverse = np.repeat([3, 2, 1], [4, 2, 1]), (4 / 3 + 2 / 2 + 1) / 7
    np.testing.assert_allclose(
        nsd.noise_ceiling(ncsnr, counts), 100 * ncsnr**2 / (ncsnr**2 + inverse), rtol=1e-6
    )
    # and NSD's own pair of medians, of subject 1: ncsnr .361, 28.1 percent
    assert abs(nsd.noise_ceiling(0.361, 3) - 28.1) < 0.06


def test_12e_no_image_is_in_both_sets(folder):
    table = nsd.trial_table(folder.layout)
    split = nsd.split_by_image(table)
    nsd_id = table["nsd_id"].to_numpy()
    assert not set(nsd_id[split.train_trials]) & set(nsd_id[split.test_trials])
    assert set(nsd_id[split.test_trials]) == set(folder.shared_ids.tolist())


def test_12f_a_mat_saved_as_floats_gives_the_same_integers(folder):
    floats = {name: value.astype(float) for name, value in folder.expdesign.items()}
    scipy.io.savemat(folder.layout.expdesign, floats)
    table = nsd.trial_table(folder.layout)
    assert table["nsd_id"].dtype == np.int64
    np.testing.assert_array_equal(table["nsd_id"], folder.nsd_id[1][:1500])
    floats["masterordering"][0, 5] += 0.5
    scipy.io.savemat(folder.layout.expdesign, floats)
    with pytest.raises(DataError, match=r"masterordering .*nsd_expdesign\.mat holds fractions"):
        nsd.trial_table(folder.layout)


def test_betas_are_percent_signal_change(folder):
    mask = nsd.roi_mask(folder.layout)
    found = nsd.read_betas(folder.layout, mask, progress=False)
    table = nsd.trial_table(folder.layout)
    z = nsd.zscore_sessions(found, table["session"], ~table["shared"].to_numpy())
    fit = (~table["shared"] & (table["session"] == 2)).to_numpy()
    np.testing.assert_allclose(z[fit].std(axis=0, ddof=1), 1, rtol=1e-4)


def test_trials_and_betas_are_in_one_order(folder):
    mask = folder.subjects[1].cortex
    table = nsd.trial_table(folder.layout)
    found = nsd.read_betas(folder.layout, mask, progress=False)
    for session, stored in enumerate(folder.subjects[1].stored, start=1):
        rows = table[table["session"] == session]
        np.testing.assert_array_equal(
            found[rows.index], stored[mask].T[rows["row"]] / np.float32(300)
        )


def test_a_voxel_with_nan_is_an_error(folder):
    found = nsd.read_betas(folder.layout, folder.subjects[1].cortex, [1], progress=False)
    found[7, 3] = np.nan
    with pytest.raises(DataError, match=r"NaN .* session 1, first voxel 3\. Leave them out"):
        nsd.zscore_sessions(found, np.ones(750, int), np.ones(750, bool))


def test_a_missing_session_is_an_error(folder):
    for path in (folder.layout.betas_hdf5(1), folder.layout.betas_nifti(1)):
        path.unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"no betas_session01\.hdf5 or betas_session01\.nii\.gz"):
        nsd.available_sessions(folder.layout)
    with pytest.raises(DataError, match=r"no betas_session01\.hdf5 or betas_session01\.nii\.gz"):
        nsd.read_betas(folder.layout, folder.subjects[1].cortex, progress=False)
    assert nsd.session_coverage(folder.layout) == "1 of 2 sessions, without 1"


def read_with_h5py(folder):
    with h5py.File(folder.layout.betas_hdf5(1)) as file:
        mask = nsd.roi_mask(folder.layout)
        return file["betas"][()][:, mask.T].astype(np.float32)


def read_with(mask_of):
    return lambda f: nsd.read_betas(f.layout, mask_of(f), [1], progress=False)


def labels_of(folder):
    return rois.read_roi(folder.layout, "nsdgeneral")[0]


def ids_shifted_in(path_of, **how):
    def change(folder):
        path = path_of(folder.layout)
        table = pd.read_csv(path, **how)
        table["73KID"] -= 1
        table.to_csv(path, index=False, **how)
        nsd.check_design(folder.layout)

    return change


def fraction_in_mat(folder):
    changed = folder.expdesign["subjectim"] + 0.25
    scipy.io.savemat(folder.layout.expdesign, folder.expdesign | {"subjectim": changed})
    design.read_design(folder.layout)


def float_betas(folder):
    volume = folder.subjects[1].stored[0] / np.float32(300)
    folder.save_betas(folder.layout.betas, 1, volume)
    nsd.read_betas(folder.layout, nsd.roi_mask(folder.layout), [1], progress=False)


def nan_in_atlas(folder):
    volume = folder.subjects[1].rois["nsdgeneral"].copy()
    volume[0, 0, 0] = np.nan
    folder.save_nifti(folder.layout.roi("nsdgeneral"), volume, tr=1)
    nsd.roi_mask(folder.layout)


MISUSES = {
    "responses off by one": (
        ids_shifted_in(lambda layout: layout.responses, sep="\t"),
        r"responses\.tsv disagrees .* counting from 0 and 1",
    ),
    "mask transposed": (read_with(lambda f: nsd.roi_mask(f.layout).T), "mask is transposed"),
    "labels as a mask": (read_with(labels_of), "`labels > 0`"),
    "labels != -1 of another subject": (
        read_with(lambda f: np.ones((3, 3, 3), bool)), "same subject and space"
    ),
    "integers undivided": (
        lambda f: nsd.zscore_sessions(read_with_h5py(f), np.ones(750, int), np.ones(750, bool)),
        "divide them by 300",
    ),
    "fraction in .mat": (fraction_in_mat, r"subjectim in .* fractions .*fetch it again"),
    "betas converted": (float_betas, r"betas_session01\.hdf5 holds float32.*Fetch the original"),
    "NaN in an atlas": (nan_in_atlas, r"nsdgeneral\.nii\.gz holds other values.*resampled"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_a_mistake_of_a_user_is_told(folder, name):
    misuse, message = MISUSES[name]
    with pytest.raises(DataError, match=message):
        misuse(folder)
