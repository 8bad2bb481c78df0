"""All notebooks, headlessly, in the smoke profile; then what is up to date, and what is refused."""

import json

import pytest
from test_regions import assert_no_empty_cell

from fmri_utils.project.artifacts import check_manifest, load_arrays
from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT
from pipeline.engine import make
from pipeline.execute import execute
from pipeline.request import parse_request
from pipeline.steps import steps
from pipeline.sweep import atlas

PARAMETERS = {"PROFILE": "smoke", "SEED": 971, "INTERACTIVE": False}
FIGURES = ("fig1_model", "fig2_reconstructions", "fig3_joint_embedding", "fig4_leave_one_out")
FIGURES += ("fig5_student_teacher", "fig6_visual_areas")


def test_every_notebook_runs_and_leaves_its_files(smoke):
    profile, _, done = smoke
    assert sorted(done) == [step.stem for step in steps()]
    for name in FIGURES:
        assert (profile.figures / f"{name}.png").stat().st_size > 20_000
        assert (profile.figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    for manifest in profile.derived.glob("*.json"):
        if manifest.name.count(".") > 1:
            check_manifest(manifest.with_suffix(""), remedy="")


def test_the_table_has_no_empty_cell_and_says_simulated(smoke):
    text = (smoke[0].figures / "results.md").read_text()
    assert "simulated" in text
    assert_no_empty_cell(text)


def test_a_second_run_does_nothing(smoke):
    _, arguments, _ = smoke
    assert make(parse_request(arguments), progress=False) == []


def test_a_figure_deleted_is_made_again_with_the_same_bytes(smoke):
    profile, arguments, _ = smoke
    figure = profile.figures / "fig2_reconstructions.png"
    before = figure.read_bytes()
    figure.unlink()
    assert make(parse_request(arguments), progress=False) == ["08_figures"]
    assert figure.read_bytes() == before


def test_a_damaged_input_is_named_before_it_is_used(smoke):
    profile, _, _ = smoke
    damaged = profile.derived / "predictions.h5"
    whole = damaged.read_bytes()
    try:
        damaged.write_bytes(whole[: len(whole) // 2])
        source = PROJECT_ROOT / "notebooks" / "04_lafite_reconstruction.py"
        with pytest.raises(FmriUtilsError, match=r"predictions\.h5 cannot be read.*Run `make 03`"):
            execute(source, profile.runs / "trial.ipynb", PARAMETERS)
    finally:
        damaged.write_bytes(whole)
    assert not (profile.runs / "trial.ipynb").exists()


def test_the_shuffled_control_is_at_chance_and_the_oracle_perfect(smoke):
    scores = json.loads((smoke[0].derived / "encoder_scores.json").read_text())
    rows = scores["table"]["rows"]
    assert rows["two-way identification"]["scores"]["oracle"]["value"] == 1
    assert rows["two-way identification"]["scores"]["ridge"]["low"] > 0.5
    control = {(r["method"], r["score"]): r for r in scores["validity"]}
    assert control["oracle, shifted by one", "brain_to_image top-1"]["value"] == 0
    shuffled = control["shuffled pairing", "two-way"]
    assert shuffled["low"] - 0.1 < 0.5 < shuffled["high"] + 0.1


def test_the_explorer_shows_a_static_view_headlessly(smoke):
    profile, source = smoke[0], PROJECT_ROOT / "notebooks" / "explore.py"
    executed = profile.runs / "explore.ipynb"
    picture, notebook = execute(source, executed, PARAMETERS)
    assert PROJECT_ROOT / notebook == executed
    assert (PROJECT_ROOT / picture).read_bytes().startswith(b"\x89PNG")
    cells = json.loads(executed.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    shown = [output["data"].keys() for output in outputs if "data" in output]
    assert sum("image/png" in kinds for kinds in shown) == 1
    assert not any("application/vnd.jupyter.widget-view+json" in kinds for kinds in shown)


def test_an_atlas_of_all_test_pictures_is_made_in_blocks(smoke):
    profile = smoke[0]
    before = set(profile.derived.rglob("*"))
    assert atlas.main(["PROFILE=smoke", "SEEDS=971", "WORKERS=2"]) == 0
    found = load_arrays(profile.derived / atlas.RESULT, remedy="")
    predicted = load_arrays(profile.derived / "predictions.h5", remedy="")
    assert found["sensitivity"].shape == predicted["pattern"].shape
    assert (found["sensitivity"] > 0).all()
    logs = [path.name for path in (profile.runs / "jobs").glob("*.log")]
    assert sorted(logs) == ["atlas-0-of-2.log", "atlas-1-of-2.log"]
    for path in sorted(set(profile.derived.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()  # as the run alone leaves it
