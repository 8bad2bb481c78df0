"""A region of one's own: every notebook runs to its end, and names what the region lacks."""

import contextlib
import io
import json
import re
import shutil

import jupytext
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from fmri_utils import encoders, nsd, perturbation, visual_areas
from fmri_utils.encoders import LinearEncoder
from fmri_utils.project.artifacts import load_arrays
from fmri_utils.project.profiles import PROJECT_ROOT
from pipeline.request import parse_request
from pipeline.steps import steps
from simulated_nsd import against_truth, ground_truth
from simulated_nsd.on_demand import planted_truth

MISSING = "not available for this region: "
RNG = np.random.default_rng(0)
NOWHERE, SOME = np.zeros(6, bool), np.arange(6) < 2
ENCODER = LinearEncoder(RNG.standard_normal((6, 4)), RNG.standard_normal(4), "ridge")
BETAS = RNG.standard_normal((5, 6))

# What a run costs does not depend on the region: as little as the profile allows.
CHEAP = [
    *("embedding.n_images=60", "embedding.n_steps=2", "embedding.batch_size=20"),
    *("encoder.n_steps=4", "encoder.n_folds=2", "encoder.n_alphas=3", "encoder.n_bootstrap=10"),
    *("reconstruction.n_passes=4", "reconstruction.n_shown=4", "reconstruction.n_z=2"),
    *("reconstruction.tuning_images=8", "perturbation.n_images=2", "perturbation.n_maps=1"),
    *("perturbation.n_probes=2", "perturbation.n_cells=2", "perturbation.n_z=2"),
    *("perturbation.n_permutations=5", "perturbation.n_random=5"),
    *("perturbation.n_retrained=2", "perturbation.n_pictured=1", "dino.image_steps=1"),
    *("dino.voxel_steps=2", "dino.n_frames=1"),
]
# Neither training nor pictures are asked which voxels there are: one region's serve the others.
TAKEN_OVER = ("embeddings.*", "joint.*", "reconstructions.*", "picture_scores.*", "student_*")
OWN = ("01", "03", "05", "06", "08", "ex")
EXPLORE = PROJECT_ROOT / "notebooks" / "explore.py"
V1_PARTS = "prf-visualrois:V1v,V1d"
UNNAMED = "HCP_MMP1:LO1"  # in the smoke profile no voxel of it is in a named area
NO_PLACE = "correlation with planted values (0 voxels; it takes 30)"
EXPECTED = {
    "floc-faces": {
        "01": ["V1, V2, V3, hV4 (no voxel)"],
        "04": ["the blurred picture (no voxel in V1, V2, V3)"],
        "05": ["early, midparietal, parietal (no voxel)", "V1 (no voxel)", *[NO_PLACE] * 2],
        "06": ["V1, V2, V3, hV4, places (no voxel)"],
    },
    V1_PARTS: {
        "01": ["V2, V3, hV4 (no voxel)"],
        "05": ["midventral, midlateral, midparietal, ventral, lateral, parietal (no voxel)"]
        + ["faces (no voxel)"],
        "06": ["V2, V3, hV4, faces, bodies, places, words (no voxel)", "faces, words (no voxel)"],
    },
    UNNAMED: {
        "01": ["areas within the region (no voxel in a named one)", "V1, V2, V3, hV4 (no voxel)"],
        "05": ["early, midventral, midparietal, ventral, lateral, parietal (no voxel)"]
        + ["V1, faces (no voxel)", *[NO_PLACE] * 2],
        "06": ["V1, V2, V3, hV4, faces, bodies, places, words (no voxel)"]
        + ["stimulated areas (no voxel in a named one)", "faces, words (no voxel)"],
        "08": ["stimulated areas (no voxel in a named one)"],
    },
}


def run_notebook(path, parameters):
    """The cells of a notebook in this process, without a kernel; returns what they print."""
    names, said = {"display": lambda shown: None}, io.StringIO()
    with contextlib.redirect_stdout(said), mpl.rc_context():
        for cell in jupytext.read(path).cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", ()):
                names |= parameters
            plt.close("all")
    return said.getvalue()


def remove(profile):
    for folder in (profile.derived, profile.runs, profile.figures):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def region_runs():
    """Profile of each region, and what its notebooks have printed, by their number."""
    common = ["all", "PROFILE=smoke", "SEED=973", *CHEAP]
    requests = {roi: parse_request([*common, f"data.roi={roi}"]) for roi in EXPECTED}
    notebooks = [*(step.source for step in steps()), EXPLORE]
    first, found = next(iter(requests.values())).profile, {}
    try:
        for roi, request in requests.items():
            remove(request.profile)  # what a killed test run has left
            taken = () if request.profile is first else TAKEN_OVER
            for path in (p for pattern in taken for p in first.derived.glob(pattern)):
                request.profile.derived.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, request.profile.derived)
            own = [path for path in notebooks if not taken or path.stem[:2] in OWN]
            said = {path.stem[:2]: run_notebook(path, request.parameters) for path in own}
            found[roi] = request.profile, said
        yield found
    finally:
        for request in requests.values():
            remove(request.profile)


@pytest.mark.parametrize("roi", EXPECTED)
def test_every_notebook_runs_and_names_what_the_region_lacks(region_runs, roi):
    profile, printed = region_runs[roi]
    said = {
        number: [line.removeprefix(MISSING) for line in text.splitlines() if MISSING in line]
        for number, text in printed.items()
    }
    assert {number: lines for number, lines in said.items() if lines} == EXPECTED[roi]
    assert (profile.runs / "explore" / "start.png").is_file()


@pytest.mark.parametrize("roi", EXPECTED)
def test_results_and_figures_are_complete(region_runs, roi):
    profile, _ = region_runs[roi]
    assert_no_empty_cell((profile.figures / "results.md").read_text())
    assert len([*profile.figures.glob("fig*.png")]) == 7
    assert json.loads((profile.figures / "results.json").read_text())["roi"] == roi
    areas = load_arrays(profile.derived / "areas.h5", remedy="")
    named = {"floc-faces": ["faces", "bodies", "words"], V1_PARTS: ["V1"], UNNAMED: []}[roi]
    assert areas["shift_names"].tolist() == named
    assert areas["shift"].shape == (len(named), 4)


def assert_no_empty_cell(text):
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 12
    assert all(cell.strip() for row in rows for cell in row)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


@pytest.mark.slow
def test_every_area_that_a_sweep_lists_runs_to_the_end():
    """The names of the field, and the atlases of the simulated subject as wholes."""
    atlases = ("nsdgeneral", "prf-visualrois", "prf-eccrois", "streams", "Kastner2015")
    names = [*nsd.FIELD_NAMES, *atlases, "HCP_MMP1", "brainmask", "V1+faces", UNNAMED]
    for name in names:
        settings = ["PROFILE=smoke", "SEED=974", f"data.roi={nsd.region(name)}", *CHEAP]
        request = parse_request(settings)
        try:
            for path in (*(step.source for step in steps()), EXPLORE):
                run_notebook(path, request.parameters)
            assert_no_empty_cell((request.profile.figures / "results.md").read_text())
        finally:
            remove(request.profile)


def test_without_all_voxels_the_mean_is_predicted():
    """A region of V1 alone has nothing but V1 to leave out."""
    betas, target = BETAS.repeat(4, 0) + 0.1 * RNG.random((20, 6)), RNG.random((20, 4))
    alphas, everything = np.full(1, 2.0), {"V1": np.ones(6, bool)}
    ridge, _ = encoders.fit_ridge(betas, target, np.arange(20), alphas=alphas, n_folds=2)
    precision = perturbation.fit_precision(betas)
    left = visual_areas.refit_without(ridge, precision, everything, np.full(4, 2.0))["V1"]
    np.testing.assert_allclose(left.predict(betas), np.tile(target.mean(0), (20, 1)), atol=1e-5)


def test_truth_that_nobody_knows_is_said(monkeypatch, capsys, tmp_path):
    assert planted_truth(tmp_path, None, 1, SOME) is None
    assert capsys.readouterr().out == "not available: planted truth (real data)\n"

    def refuse(*arguments):
        raise ground_truth.OutsideError("3 of 9 voxels")

    monkeypatch.setattr("simulated_nsd.on_demand.load_ground_truth", refuse)
    assert planted_truth(tmp_path, {}, 1, SOME) is None
    assert capsys.readouterr().out.startswith(f"{MISSING}planted truth (some of its voxels")
    assert against_truth.auroc(None, {"a": np.arange(6)}, rng=RNG) == {}
    assert capsys.readouterr().out == ""
    for null, said in ((NOWHERE, "0 of 6"), (~NOWHERE, "6 of 6")):
        assert against_truth.auroc(null, {"a": np.arange(6)}, rng=RNG) == {}
        assert capsys.readouterr().out == f"{MISSING}AUROC ({said} voxels carry nothing)\n"
