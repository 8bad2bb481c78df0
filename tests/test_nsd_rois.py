"""Masks of any atlas, area, hemisphere, of unions of them, and of the whole brain."""

import numpy as np
import pytest
from refusals import refused

from fmri_utils.nsd import NSDLayout, read_betas, roi_mask, visual_areas
from fmri_utils.nsd.paths import REMEDY
from fmri_utils.nsd.rois import available_rois, read_labels, read_roi
from fmri_utils.project.errors import DataError

KASTNER = [
    *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2", "PHC1", "PHC2", "TO2", "TO1"),
    *("LO2", "LO1", "V3B", "V3A", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
]
ALL = range(1, 200)  # labels
FAMILIES = {
    "prf-eccrois": "ecc0pt5 ecc1 ecc2 ecc4 ecc4+",
    "floc-words": "OWFA VWFA-1 VWFA-2 mfs-words mTL-words",
    "floc-places": "OPA PPA RSC",
    "floc-bodies": "EBA FBA-1 FBA-2 mTL-bodies",
}


@pytest.fixture(scope="module")
def atlases(nsd, tmp_path_factory):
    """A folder with all of NSD's atlases; returns its layout and the label volumes."""
    root = tmp_path_factory.mktemp("atlases")
    (root / "nsddata").mkdir()
    layout, rng = NSDLayout(root, 1), np.random.default_rng(3)
    truth = nsd.subjects[1]
    volumes = dict(truth.rois)
    sizes = {name: len(labels.split()) for name, labels in FAMILIES.items()}
    for name, n in (sizes | {"Kastner2015": 25, "HCP_MMP1": 180, "corticalsulc": 28}).items():
        volumes[name] = np.where(truth.cortex, rng.integers(0, n + 1, nsd.shape), -1.0)
    for name, volume in volumes.items():
        nsd.save_nifti(layout.roi(name), volume, tr=1)
        for side, where in (("lh", truth.left), ("rh", ~truth.left)):
            nsd.save_nifti(layout.roi(name, side), np.where(where, volume, -1.0), tr=1)
    nsd.save_nifti(layout.brainmask, truth.brain.astype(np.int16))
    layout.ctab("HCP_MMP1").parent.mkdir(parents=True)
    names = ["Unknown", "V1", "MST", "55b", "9-46d", "4", *(f"area {i}" for i in range(6, 181))]
    lines = [f"{i} {name}\t   \t" for i, name in enumerate(names)]
    layout.ctab("HCP_MMP1").write_text("\n".join(lines) + "\n\n")
    kastner = [f"{i}\t{name} \t" for i, name in enumerate(["Unknown", *KASTNER])]
    layout.ctab("Kastner2015").write_text("\n".join(kastner))
    return layout, volumes


UNIONS = {
    "nsdgeneral+streams+Kastner2015": {"nsdgeneral": ALL, "streams": ALL, "Kastner2015": ALL},
    "floc-faces + floc-words": {"floc-faces": ALL, "floc-words": ALL},
    "prf-visualrois:V1v,V1d+floc-faces:FFA-1": {"prf-visualrois": [1, 2], "floc-faces": [2]},
    "prf-eccrois:ecc4,ecc4++nsdgeneral": {"prf-eccrois": [4, 5], "nsdgeneral": ALL},
    "prf-eccrois:ecc4+nsdgeneral": {"prf-eccrois": [4], "nsdgeneral": ALL},
    "HCP_MMP1:55b,area 18+nsdgeneral": {"HCP_MMP1": [3, 18], "nsdgeneral": ALL},
    "HCP_MMP1:4": {"HCP_MMP1": [5]},
    "Kastner2015:FEF,IPS0": {"Kastner2015": [25, 18]},
}


@pytest.mark.parametrize("name", UNIONS)
def test_unions(atlases, name):
    layout, volumes = atlases
    mask = roi_mask(layout, name)
    assert mask.any()
    parts = [np.isin(volumes[atlas], labels) for atlas, labels in UNIONS[name].items()]
    np.testing.assert_array_equal(mask, np.any(parts, axis=0))


def test_unions_of_hemispheres(nsd, atlases):
    layout, volumes = atlases
    left, truth = nsd.subjects[1].left, volumes["nsdgeneral"] > 0
    np.testing.assert_array_equal(roi_mask(layout, "lh.nsdgeneral"), truth & left)
    np.testing.assert_array_equal(roi_mask(layout, "lh.nsdgeneral+rh.nsdgeneral"), truth)
    both = truth & left | ~left & (volumes["floc-faces"] == 1)
    np.testing.assert_array_equal(roi_mask(layout, "lh.nsdgeneral+rh.floc-faces:OFA"), both)
    union = (truth | (volumes["floc-faces"] > 0)) & ~left
    np.testing.assert_array_equal(roi_mask(layout, "rh.nsdgeneral+rh.floc-faces"), union)


def test_whole_brain(nsd, atlases, layout):
    brain = nsd.subjects[1].brain
    np.testing.assert_array_equal(roi_mask(atlases[0], "brainmask"), brain)
    np.testing.assert_array_equal(roi_mask(layout, "brainmask+nsdgeneral"), brain)
    betas = read_betas(layout, brain, [1], progress=False)
    np.testing.assert_array_equal(betas, nsd.subjects[1].stored[0][brain].T / np.float32(300))


def test_impossible_names_are_refused(atlases):
    for name, message in {
        "": "expected a name such as 'nsdgeneral",
        "+nsdgeneral": "expected a name",
        "streams:early,late": r"no labels \['late'\]; it has \['early', ",
        "brainmask:V1": "no areas",
        "lh.brainmask": "no hemispheres",
        "nsdgeneral+floc-facez": r"floc-facez\.nii\.gz.*'floc-bodies', 'floc-faces'",
    }.items():
        refused(message, roi_mask, atlases[0], name)


def test_atlases_of_two_subjects_are_refused(nsd, damaged):
    nsd.save_nifti(damaged.roi("streams"), np.zeros((5, 5, 5)), tr=1)
    refused(r"different shapes.*Fetch those of subj01", roi_mask, damaged, "nsdgeneral+streams")


def test_an_absent_roi_names_its_file_and_those_that_are_there(damaged):
    there = ["floc-faces", "nsdgeneral", "prf-visualrois", "streams"]
    folder = damaged.roi("any").parent
    (folder / "._streams.nii.gz").write_bytes(b"macOS leaves this on a disk of another system")
    (folder / "a-folder.nii.gz").mkdir()
    assert available_rois(damaged) == there
    with pytest.raises(DataError) as caught:
        roi_mask(damaged, "nsdgeneral+floc-words")
    for part in ("roi/floc-words.nii.gz", str(there), f"Choose one of these. {REMEDY}"):
        assert part in str(caught.value)
    damaged.roi("nsdgeneral", "lh").unlink()
    refused(r"lh\.nsdgeneral\.nii\.gz", roi_mask, damaged, "lh.nsdgeneral")


def test_an_atlas_without_names_is_a_mask_but_has_no_areas(atlases):
    layout, volumes = atlases
    np.testing.assert_array_equal(roi_mask(layout, "corticalsulc"), volumes["corticalsulc"] > 0)
    for function, name in ((roi_mask, "corticalsulc:calcarine"), (read_roi, "corticalsulc")):
        refused(r"corticalsulc\.mgz\.ctab.*as a whole", function, layout, name)


def test_names_of_kastner_and_hcp(atlases):
    layout, _ = atlases
    assert list(read_labels(layout, "Kastner2015").values()) == KASTNER
    hcp = read_labels(layout, "HCP_MMP1")
    assert len(hcp) == 180
    assert [hcp[i] for i in (1, 3, 4, 5, 18)] == ["V1", "55b", "9-46d", "4", "area 18"]
    for name, labels in FAMILIES.items():
        assert list(read_labels(layout, name).values()) == labels.split()
    layout.ctab("Kastner2015").unlink()
    assert list(read_labels(layout, "Kastner2015").values()) == KASTNER  # as published


def test_colours_and_comments_in_a_table_are_no_part_of_the_names(damaged):
    path = damaged.ctab("streams")
    path.write_text("# FreeSurfer\n  0  Unknown   0 0 0 0\n 1  early   10 20 30 0\n\n2 mid 9\n")
    assert read_labels(damaged, "streams") == {1: "early", 2: "mid 9"}
    for text in ("1 early\n1 late\n", "1\n", "early 1\n"):
        path.write_text(text)
        refused(r"streams\.mgz\.ctab has the line", read_labels, damaged, "streams")


def test_labels_that_share_a_name_are_one_area(nsd, damaged):
    damaged.ctab("streams").write_text("".join(f"{i} {'ab'[i % 2]}\n" for i in range(1, 8)))
    volume, mask = nsd.subjects[1].rois["streams"], roi_mask(damaged)
    areas = visual_areas(damaged, mask)
    np.testing.assert_array_equal(areas["b"], np.isin(volume, [1, 3, 5, 7])[mask])
    np.testing.assert_array_equal(roi_mask(damaged, "streams:a"), np.isin(volume, [2, 4, 6]))
