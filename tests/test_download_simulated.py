"""From a simulated subject on a server to the matrices of an analysis, as a newcomer would."""

import io
import zipfile

import numpy as np
import pytest

from fmri_utils import nsd
from fmri_utils.nsd.design import read_stim_info
from fmri_utils.project.simulation_config import SimulationConfig
from simulated_nsd.subject import simulate_subject

pytest_plugins = ["nsd_fixture", "download_fixture"]

CONFIG = SimulationConfig(
    n_shared=200, n_own=50, sessions=(1,) * 8, grid=(20, 24, 18), n_nsdgeneral=280, n_null=30,
    stimulus_px=32, write_shared_png=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    simulate_subject(root, CONFIG, 1, workers=1, progress=False)
    return root


def captions_zip(layout):
    """COCO's archive, of the simulation's captions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for split in nsd.paths.COCO_SPLITS:
            file.write(layout.captions(split), f"annotations/captions_{split}.json")
    return buffer.getvalue()


def test_what_was_downloaded_is_the_subject(simulated, server, fetch):
    truth = nsd.NSDLayout(simulated, 1)
    server.files.clear()
    server.add_folder(simulated)
    server.files["/coco/annotations/annotations_trainval2017.zip"] = captions_zip(truth)
    fetch("BETAS=roi", "ROI=nsdgeneral+floc-faces", "STIMULI=brick")
    ours = nsd.NSDLayout(fetch.root, 1)
    mask = nsd.roi_mask(ours, "nsdgeneral+floc-faces")
    np.testing.assert_array_equal(mask, nsd.roi_mask(truth, "nsdgeneral+floc-faces"))
    np.testing.assert_array_equal(
        nsd.read_betas(ours, mask, progress=False), nsd.read_betas(truth, mask, progress=False)
    )
    assert nsd.trial_table(ours).equals(nsd.trial_table(truth))
    ids = nsd.trial_table(ours)["nsd_id"].unique()[:20]
    np.testing.assert_array_equal(
        nsd.read_images(ours, ids, progress=False), nsd.read_images(truth, ids, progress=False)
    )
    ids = nsd.trial_table(ours)["nsd_id"].unique()
    assert set(read_stim_info(truth)["cocoSplit"].iloc[ids]) == {"train2017", "val2017"}
    assert nsd.read_captions(ours, ids) == nsd.read_captions(truth, ids)
    for atlas in ("prf-visualrois", "streams", "floc-faces"):
        for brain in ("subj01", "fsaverage"):
            assert ours.ctab(atlas, brain).read_bytes() == truth.ctab(atlas).read_bytes()
    np.testing.assert_array_equal(nsd.read_ncsnr(ours, mask), nsd.read_ncsnr(truth, mask))
