"""`make verify`: what was changed by hand, what is missing, what would be made anew."""

import json
import shutil

import matplotlib.pyplot as plt
import pytest

from fmri_utils import plots
from fmri_utils.project import artifacts, provenance
from fmri_utils.project.profiles import load_profile
from pipeline import steps, verify

REMEDY = "Run `make all`."


def figure(profile, name="fig1", **about):
    configuration = artifacts.sha256_json(profile.as_dict())[:12]
    about = {"notebook": "08_figures", "configuration": configuration, "seed": "0", **about}
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    gif = plots.save_animation([plt.figure()], profile.figures, name, about=about)
    return [*plots.save_figure(fig, profile.figures, name, about=about), gif]


def describe(profile, files, weights=()):
    inputs = {"betas.h5": artifacts.sha256_file(profile.derived / "betas.h5")}
    about = {"made_by": "08_figures", "config": profile.as_dict()}
    provenance.write_provenance(profile.figures, files, **about, weights=weights, inputs=inputs)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two derived files and a folder of figures, all as written."""
    for module in ("fmri_utils.project.profiles", "pipeline.steps", "pipeline.verify"):
        monkeypatch.setattr(f"{module}.PROJECT_ROOT", tmp_path)
    profile = load_profile("demo")
    config = profile.as_dict()
    betas = profile.derived / "betas.h5"
    artifacts.save_arrays(betas, {"x": [1.0, 2.0]}, config=config)
    inputs = {"betas.h5": artifacts.sha256_file(betas), "elsewhere.h5": "123"}
    artifacts.save_json(profile.derived / "scores.json", {"a": 1}, config=config, inputs=inputs)
    describe(profile, figure(profile))
    return profile


def report_on(profile):
    return verify.Report(profile.derived.parents[3])


def found(profile):
    report = report_on(profile)
    return {(kind, name.rsplit("/", 1)[-1]): why for (kind, name), why in report.findings.items()}


def test_what_is_as_written_passes_and_absent_inputs_are_named(project):
    report = report_on(project)
    assert not report.findings and len(report.checked) == 5
    assert not any("inputs.json" in note for note in report.notes)
    assert any("elsewhere.h5" in note for note in report.notes)
    assert "0 changed, 0 missing, 0 stale" in report.text()


def test_a_file_changed_by_hand_and_what_was_made_from_it(project):
    betas = project.derived / "betas.h5"
    betas.write_bytes(betas.read_bytes() + b"\0")
    stale = {("stale", "scores.json"), ("stale", "provenance.json")}
    assert set(found(project)) == {("changed", "betas.h5"), *stale}
    artifacts.save_arrays(betas, {"x": [1.0, 3.0]}, config=project.as_dict())
    findings = found(project)
    assert set(findings) == stale
    assert "another betas.h5" in findings["stale", "scores.json"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "gif"])
def test_a_figure_changed_exchanged_or_removed(project, suffix):
    path = project.figures / f"fig1.{suffix}"
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    assert set(found(project)) == {("changed", path.name)}
    path.unlink()
    assert set(found(project)) == {("missing", path.name)}
    files = figure(project, seed="7")  # of another run, and put into the list by hand
    describe(project, files)
    findings = found(project)
    assert {name for kind, name in findings if kind == "changed"} == {p.name for p in files}
    assert "seed=7; provenance.json says otherwise" in findings["changed", path.name]


def test_a_figure_says_what_made_it(project):
    for suffix in ("png", "pdf", "gif"):
        origin = provenance.figure_origin(project.figures / f"fig1.{suffix}")
        assert origin["notebook"] == "08_figures" and origin["seed"] == "0"
        assert set(origin) == {"notebook", "configuration", "seed"}
    silent = project.figures / "fig2.png"
    plt.figure().savefig(silent)
    describe(project, [silent])
    assert "does not say what made it" in found(project)["changed", "fig2.png"]


def test_figures_of_a_fresh_clone(project):
    """Where no run has made them there is no list of inputs; bytes, settings and weights are
    compared."""
    weights = project.path(project.lafite.weights)
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    describe(project, figure(project), {weights.name: artifacts.sha256_file(weights)})
    (project.figures / "inputs.json").unlink()
    report = report_on(project)
    assert not report.findings
    assert "figures/inputs.json is not here: no run here has made these figures" in report.notes
    weights.write_bytes(b"others")
    (project.figures / "fig1.png").write_bytes(b"by hand")
    findings = found(project)
    assert set(findings) == {("changed", "fig1.png"), ("stale", "provenance.json")}
    assert f"another {weights.name}" in findings["stale", "provenance.json"]
    (project.figures / "provenance.json").unlink()
    assert ("missing", "provenance.json") in found(project)


def test_what_jupyterlab_and_macos_leave_is_not_compared(project):
    """Copies in dot folders, dot files, and a folder with the name of a figure."""
    before = report_on(project).text()
    for folder in (project.figures, project.derived, project.runs):
        (folder / ".ipynb_checkpoints").mkdir(parents=True)
        for name in ("provenance.json", "scores.json.json", "fig1.png", "01_a-record.json"):
            (folder / ".ipynb_checkpoints" / name).write_text("{")
            (folder / f"._{name}").write_bytes(b"\0")
        (folder / "fig9.png").mkdir()
        (folder / "x.y.json").mkdir()
    assert report_on(project).text() == before


def test_other_settings_make_files_stale_and_later_settings_do_not(project):
    path = project.derived / "scores.json.json"
    manifest = json.loads(path.read_text())
    del manifest["config"]["dino"], manifest["config"]["encoder"]["n_folds"]
    path.write_text(json.dumps(manifest))
    assert not found(project)
    manifest["config"]["encoder"]["n_steps"] = 7
    path.write_text(json.dumps(manifest))
    assert "encoder.n_steps was 7, is" in found(project)["stale", "scores.json"]
    manifest["config"]["name"] = "gone"
    path.write_text(json.dumps(manifest))
    assert "no longer valid" in found(project)["stale", "scores.json"]


def test_a_study_answers_for_the_settings_it_reads_and_for_the_weights(project):
    weights = project.path(project.lafite.weights)
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    inputs = {"betas.h5": "of another machine", weights.name: artifacts.sha256_file(weights)}
    config = project.as_dict("encoder", "lafite")
    assert set(config) == {
        "name", "subject", "seed", "device", "overridden", "encoder", "lafite",
    }  # fmt: skip
    path = project.figures / "study_encoders.json"
    artifacts.save_json(path, {"a": 1}, config=config, inputs=inputs)
    report = report_on(project)
    assert not report.findings
    assert any("study_encoders.json was made from another betas.h5" in n for n in report.notes)
    weights.write_bytes(b"others")
    assert "another lafite" in found(project)["stale", "study_encoders.json"]
    config["encoder"]["n_steps"] = 7
    artifacts.save_json(path, {"a": 1}, config=config)
    assert "encoder.n_steps was 7, is" in found(project)["stale", "study_encoders.json"]


def test_manifests_that_cannot_be_read(project):
    figures = (project.figures / f"{name}.json" for name in ("provenance", "inputs"))
    for path in (project.derived / "scores.json.json", *figures):
        whole = path.read_text()
        for text in ("", "[]", "{", '{"config": 3, "inputs": {}}'):
            path.write_text(text)
            assert ("changed", path.name) in found(project)
        path.write_text(whole)


def test_a_run_whose_notebooks_would_run_again(project):
    root = project.derived.parents[3]
    (root / "notebooks").mkdir()
    sources = [root / "notebooks" / f"0{i}_x.py" for i in (1, 2)]
    for source in sources:
        source.write_text("x = 1\n")
    written = root / "out.txt"
    written.write_text("result")
    project.runs.mkdir(parents=True)
    for step in steps.steps():
        record = {"made_from": steps.made_from(project, step), "seconds": 1.0}
        record["written"] = {"out.txt": artifacts.sha256_file(written)}
        record["config"] = json.loads(json.dumps(project.as_dict()))
        step.beside(project, "record").write_text(json.dumps(record))
    assert not found(project)
    sources[1].write_text("x = 2\n")
    assert found(project) == {
        ("stale", "02_x-record.json"): "it would run again: changed since are "
        "code of notebooks/02_x.py"
    }
    written.write_text("by hand")
    assert ("changed", "out.txt") in found(project)


def test_the_command_says_it_by_its_exit_code(project, capsys):
    assert verify.main([]) == 0
    (project.derived / "betas.h5").unlink()
    assert verify.main([]) == 1
    assert "missing  data/derived/demo/subj01/betas.h5" in capsys.readouterr().out
    assert verify.main(["PROFILE=demo"]) == 2


def test_the_smoke_run_verifies(smoke, tmp_path):
    """A real run, in a folder of its own beside a link to the rest."""
    profile = smoke[0]
    for folder in (profile.derived, profile.figures, profile.runs):
        there = tmp_path / folder.relative_to(verify.PROJECT_ROOT)
        shutil.copytree(folder, there)
    report = verify.Report(tmp_path)
    kinds = {kind for kind, _ in report.findings}
    assert len(report.checked) > 40
    assert kinds <= {verify.MISSING}, report.text()  # notebooks are not in this folder
