"""ROIs, areas, noise ceiling and pRF maps."""

import numpy as np
import pytest
from nsd_fixture import STREAMS
from refusals import refused

from fmri_utils import nsd as reader
from fmri_utils.project.errors import DataError


def test_areas_are_masks_over_the_voxels(nsd, layout):
    mask, truth = reader.roi_mask(layout), nsd.subjects[1]
    areas = reader.visual_areas(layout, mask)
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


def test_areas_of_another_grid_or_other_names_are_refused(damaged):
    refused("transposed", reader.visual_areas, damaged, reader.roi_mask(damaged).T)
    damaged.ctab("prf-visualrois").write_text("".join(f"{i} area{i}\n" for i in range(8)))
    with pytest.raises(DataError, match=r"prf-visualrois names no \['V1d', 'V1v'"):
        reader.visual_areas(damaged, reader.roi_mask(damaged))


def test_areas_without_visual_areas_have_none_that_is_unassigned(damaged):
    mask = reader.roi_mask(damaged)
    for name in ("prf-visualrois", "floc-faces"):
        damaged.roi(name).unlink()
    areas = reader.visual_areas(damaged, mask)
    assert list(areas) == [*STREAMS, "lh", "rh"]
    assert areas.missing[:2] == ("visual", "eccentricity")


def test_noise_ceiling_gives_the_published_medians():
    """NSD's median ncsnr and noise ceiling of three trials, of several subjects."""
    for ncsnr, percent in ((0.361, 28.1), (0.324, 24.0), (0.296, 20.8), (0.226, 13.3)):
        assert reader.noise_ceiling(ncsnr, 3) == pytest.approx(percent, abs=0.06)


def test_impossible_repeats_and_ratios_are_refused():
    for bad in (0, [3, 0], []):
        refused("at least 1", reader.noise_ceiling, 0.3, bad)
    refused("negative", reader.noise_ceiling, [-0.1], 3)


def test_ncsnr_keeps_nan(nsd, layout):
    mask = np.ones(nsd.shape, bool)
    values = reader.read_ncsnr(layout, mask)
    np.testing.assert_array_equal(values, nsd.subjects[1].ncsnr[mask])
    assert np.isnan(values).sum() == (~nsd.subjects[1].brain).sum()


def test_prf_table(nsd, layout):
    mask, truth = nsd.subjects[1].cortex, nsd.subjects[1].prf
    table = reader.read_prf(layout, mask)
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


def test_brainmask_and_mean_volume(nsd, layout):
    np.testing.assert_array_equal(reader.read_brainmask(layout), nsd.subjects[1].brain)
    image = reader.read_mean_volume(layout)
    assert image.shape == nsd.shape
    np.testing.assert_allclose(image.affine[:3, 3], -1.8 * (np.array(nsd.shape) - 1) / 2)
