"""ROIs, areas, noise ceiling and pRF maps."""

import numpy as np
import pytest

from fmri_utils.nsd import (
    NSDLayout,
    noise_ceiling,
    read_brainmask,
    read_mean_volume,
    read_ncsnr,
    read_prf,
    read_roi,
    roi_mask,
    split_by_image,
    trial_table,
    visual_areas,
)
from fmri_utils.project.errors import DataError

pytest_plugins = ["nsd_fixture"]

VISUAL = ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"]
STREAMS = ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]


@pytest.fixture
def layout(nsd):
    return NSDLayout(nsd.root, 1)


@pytest.fixture
def damaged(nsd_copy):
    return NSDLayout(nsd_copy.root, 1)


def test_labels_and_names(nsd, layout):
    labels, names = read_roi(layout, "prf-visualrois")
    np.testing.assert_array_equal(labels, nsd.subjects[1].rois["prf-visualrois"])
    assert labels.dtype == np.int16
    assert names == dict(enumerate(VISUAL, start=1))  # parsed in spite of trailing white space
    assert names.label_source == "ctab"


def test_published_names_are_used_only_without_a_table_and_say_so(layout):
    _, names = read_roi(layout, "floc-faces")
    assert names.label_source == "published"
    assert names[2] == "FFA-1"
    assert len(names) == 5


def test_mask_is_the_labelled_voxels_only(nsd, layout):
    volume = nsd.subjects[1].rois["nsdgeneral"]
    mask = roi_mask(layout, "nsdgeneral")
    assert mask.sum() == (volume == 1).sum()
    assert mask.sum() < (volume != -1).sum()
    left = roi_mask(layout, "nsdgeneral", hemisphere="lh")
    np.testing.assert_array_equal(left, mask & nsd.subjects[1].left)
    v1 = roi_mask(layout, "prf-visualrois", areas=["V1v", "V1d"])
    np.testing.assert_array_equal(v1, np.isin(nsd.subjects[1].rois["prf-visualrois"], [1, 2]))
    with pytest.raises(DataError, match=r"V9.*hV4"):
        roi_mask(layout, "prf-visualrois", areas=["V9"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: np.where(v == 3, 3.5, v), "resampled"),
        (lambda v: np.where(v == 3, np.nan, v), "other values"),
        (lambda v: v - 1, "other values"),
        (lambda v: np.where(v == 3, 12, v), r"\[12\]"),
        (lambda v: v[..., None].repeat(2, -1), r"expected \(X, Y, Z\)"),
    ],
)
def test_strange_label_volumes_are_refused(nsd, damaged, change, message):
    path = damaged.roi("prf-visualrois")
    nsd.save_nifti(path, change(nsd.subjects[1].rois["prf-visualrois"]))
    with pytest.raises(DataError, match=message):
        read_roi(damaged, "prf-visualrois")


def test_missing_and_damaged_rois_are_named(nsd, damaged):
    with pytest.raises(DataError, match=r"floc-words.*floc-words\.nii\.gz"):
        read_roi(damaged, "floc-words")
    nsd.save_nifti(damaged.roi("HCP_MMP1"), np.zeros(nsd.shape))
    with pytest.raises(DataError, match=r"HCP_MMP1\.mgz\.ctab"):
        read_roi(damaged, "HCP_MMP1")
    damaged.ctab("streams").write_text("early one\n")
    with pytest.raises(DataError, match="early one"):
        visual_areas(damaged, roi_mask(damaged), ["streams"])
    path = damaged.roi("streams")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"streams\.nii\.gz.*delete it"):
        read_roi(damaged, "streams")


def test_areas_are_masks_over_the_voxels(nsd, layout):
    mask, truth = roi_mask(layout), nsd.subjects[1]
    areas = visual_areas(layout, mask)
    visual, faces = truth.rois["prf-visualrois"][mask], truth.rois["floc-faces"][mask]
    for name, ids in {"V1": [1, 2], "V2": [3, 4], "V3": [5, 6], "hV4": [7]}.items():
        np.testing.assert_array_equal(areas[name], np.isin(visual, ids))
    np.testing.assert_array_equal(areas["faces"], faces > 0)
    np.testing.assert_array_equal(areas["unassigned"], (faces <= 0) & (visual <= 0))
    np.testing.assert_array_equal(areas["parietal"], truth.rois["streams"][mask] == 7)
    np.testing.assert_array_equal(areas["lh"], truth.left[mask])
    np.testing.assert_array_equal(areas["rh"], ~truth.left[mask])
    assert all(a.shape == (mask.sum(),) and a.dtype == bool for a in areas.values())
    assert list(areas) == ["V1", "V2", "V3", "hV4", "faces", *STREAMS, "lh", "rh", "unassigned"]
    assert areas.missing == ("eccentricity", "places", "bodies", "words")
    assert areas.label_source == {"visual": "ctab", "faces": "published", "streams": "ctab"}


def test_areas_in_detail(nsd, layout):
    mask = roi_mask(layout)
    areas = visual_areas(layout, mask, ["visual", "faces"], detail=True)
    np.testing.assert_array_equal(areas["V1v"] | areas["V1d"], areas["V1"])
    assert areas["FFA-2"].any()
    assert not areas["mTL-faces"].any()  # this subject has none: the area is empty, not absent
    assert "early" not in areas


def test_areas_asked_for_by_name_must_be_there(layout):
    with pytest.raises(DataError, match="floc-places"):
        visual_areas(layout, roi_mask(layout), ["visual", "places"])
    with pytest.raises(DataError, match="hemispheres"):
        visual_areas(layout, roi_mask(layout), ["cerebellum"])
    with pytest.raises(DataError, match="transposed"):
        visual_areas(layout, roi_mask(layout).T)
    assert "unassigned" not in visual_areas(layout, roi_mask(layout), ["streams"])


@pytest.mark.parametrize(
    ("ncsnr", "percent"),
    [(0.361, 28.1), (0.324, 24.0), (0.296, 20.8), (0.415, 34.1), (0.343, 26.1), (0.226, 13.3)],
)
def test_noise_ceiling_gives_the_published_medians(ncsnr, percent):
    """NSD's median ncsnr and noise ceiling of three trials, of several subjects."""
    assert noise_ceiling(ncsnr, 3) == pytest.approx(percent, abs=0.06)


def test_noise_ceiling_of_mixed_repeats():
    """NSD's manual: 1/n becomes (A/3 + B/2 + C/1) / (A + B + C)."""
    a, b, c = 515, 251, 141
    counts = np.repeat([3, 2, 1], [a, b, c])
    ncsnr = np.array([0.0, 0.3, np.nan, 1.2])
    inverse = (a / 3 + b / 2 + c) / (a + b + c)
    ceiling = noise_ceiling(ncsnr, counts)
    np.testing.assert_allclose(ceiling, 100 * ncsnr**2 / (ncsnr**2 + inverse))
    assert noise_ceiling(0.3, 1) < ceiling[1] < noise_ceiling(0.3, 3)
    for bad in (0, [3, 0], []):
        with pytest.raises(DataError, match="at least 1"):
            noise_ceiling(ncsnr, bad)
    with pytest.raises(DataError, match="negative"):
        noise_ceiling([-0.1], 3)


def test_noise_ceiling_of_the_test_images_of_a_split(nsd):
    table = trial_table(NSDLayout(nsd.root, 2))
    split = split_by_image(table)
    counts = split.test_repeats(table["nsd_id"])
    assert len(set(counts.tolist())) > 1  # mixed, as in NSD's first 37 sessions
    inverse = np.mean([1 / np.sum(table["nsd_id"] == i) for i in split.test_ids])
    expected = 100 * 0.3**2 / (0.3**2 + inverse)
    assert noise_ceiling(0.3, counts) == pytest.approx(expected)


def test_ncsnr_keeps_nan(nsd, layout):
    mask = np.ones(nsd.shape, bool)
    values = read_ncsnr(layout, mask)
    np.testing.assert_array_equal(values, nsd.subjects[1].ncsnr[mask])
    assert np.isnan(values).sum() == (~nsd.subjects[1].brain).sum()
    with pytest.raises(DataError, match=r"ncsnr_split1\.nii\.gz"):
        read_ncsnr(layout, mask, split=1)


def test_prf_table(nsd, layout):
    mask, truth = nsd.subjects[1].cortex, nsd.subjects[1].prf
    table = read_prf(layout, mask)
    for name in ("angle", "eccentricity", "size", "R2"):
        np.testing.assert_array_equal(table[name], truth[name][mask])
    np.testing.assert_allclose(np.hypot(table["x"], table["y"]), table["eccentricity"], rtol=1e-5)
    up = table["angle"].between(1, 179)
    right = (table["angle"] < 89) | (table["angle"] > 271)
    assert (table["y"][up] > 0).all()
    assert (table["x"][right] > 0).all()
    # in the fovea the angle is undefined, but not the position
    assert np.isnan(table["angle"][0])
    assert (table["x"][0], table["y"][0]) == (0, 0)


def test_prf_is_nan_where_there_are_no_data(layout):
    table = read_prf(layout, ~read_brainmask(layout))
    assert table.isna().all(axis=None)


def test_brainmask_and_mean_volume(nsd, layout):
    np.testing.assert_array_equal(read_brainmask(layout), nsd.subjects[1].brain)
    image = read_mean_volume(layout)
    assert image.shape == nsd.shape
    np.testing.assert_allclose(image.affine[:3, 3], -1.8 * (np.array(nsd.shape) - 1) / 2)
