"""Many runs at once: settings, states, dead workers, failing runs, the table over subjects."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from tiny_project import TinyProject

from fmri_utils import nsd
from fmri_utils.metrics import paired_difference
from fmri_utils.plots.over_subjects import fig_sweep
from fmri_utils.project import profiles
from fmri_utils.project.artifacts import atomic_path, save_arrays, save_json, sha256_file
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import load_profile
from fmri_utils.project.provenance import figure_origin
from pipeline import resources, steps
from pipeline.resources import Resources, check_device, resources_from
from pipeline.sweep import __main__ as command
from pipeline.sweep import gather as gathering
from pipeline.sweep import runs
from pipeline.sweep.runs import parse
from pipeline.verify import Report

SCORES = "encoder_scores.json"
MAPPER, TWO_WAY = "contrastive-linear", "two-way identification"  # what the figure shows


def test_names_of_the_field_are_regions():
    assert nsd.region("V1") == "prf-visualrois:V1v,V1d"
    assert nsd.region("nsdgeneral") == "nsdgeneral"
    assert nsd.region("V1+faces + PPA") == "prf-visualrois:V1v,V1d+floc-faces+floc-places:PPA"
    assert nsd.region("prf-eccrois:ecc4+") == "prf-eccrois:ecc4+"
    assert nsd.region("lh.HCP_MMP1:FFC") == "lh.HCP_MMP1:FFC"
    refused(r"no area 'V9' in 'V1\+V9'. Expected: a name such as", nsd.region, "V1+V9")
    refused(r"streams has no labels \['V1'\]; it has early", nsd.region, "streams:V1")


def test_every_combination_is_a_run_with_folders_of_its_own():
    sweep = parse(
        ["PROFILE=smoke", "SUBJECTS=1 2", "AREAS=nsdgeneral V1", "SEEDS=0,1", "TARGET=03"]
        + ["ENGINE=slurm", "GPUS=1", "SBATCH=--account=x --exclusive", "encoder.n_folds=4"]
    )
    assert [run.name for run in sweep.runs][:4] == [
        *(f"subj01 {area} seed {seed}" for area in ("nsdgeneral", "V1") for seed in (0, 1))
    ]
    assert len({run.profile.derived for run in sweep.runs}) == 8
    assert {run.profile.encoder.n_folds for run in sweep.runs} == {4}
    assert sweep.runs[2].profile.data.roi == "prf-visualrois:V1v,V1d"
    assert sweep.resources.sbatch == ("--account=x", "--exclusive")
    assert sweep.resources.each["resources"] == {
        **{"gpu": 1, "mem_mb": 8192, "runtime": 720},
        **{"slurm_account": "x", "slurm_extra": "--exclusive"},
    }
    # The profile's own area, seed and subject is the run of `make all`.
    one = parse(["PROFILE=smoke", "AREAS=nsdgeneral"]).runs[0]
    assert one.profile.derived == load_profile("smoke").derived


def test_settings_that_do_not_fit_are_refused():
    for setting, message in (
        ("SUBJECTS=1 nine", "SUBJECTS is '1 nine'. Expected: whole numbers"),
        ("SUBJECT=1", "unknown setting 'SUBJECT=1'. Settings of a sweep: SUBJECTS, AREAS"),
        ("AREAS=V1 prf-visualrois:V1v,V1d", "2 runs, but 1 different ones"),
        ("WORKERS=-1", "workers is '-1'.*Expected: greater than or equal to 0"),
        ("MEMORY=8 apples", "memory: '8 apples' is no memory size, such as 8GB"),
        ("WALLTIME=noon", "walltime: 'noon' is no time, such as 12:00:00"),
        ("WALLTIME=0:00", "walltime: '0:00' is no time to work in"),
        ("TARGET=99", "no notebook '99'"),
        ("data.roi=V1", "Expected: AREAS= only"),
    ):
        refused(message.replace("(", r"\("), parse, ["PROFILE=smoke", setting], error=ProfileError)


def test_memory_and_time_are_asked_for_in_the_engines_units_and_left_out_if_empty():
    for memory, walltime, asked in (
        ("8GB", "12:00:00", (8192, 720)),
        ("1.5 g", "1-06:30", (1536, 1830)),
        ("2TiB", "2-0", (2 * 1024**2, 2880)),
        ("512MB", "45:30", (512, 46)),
        ("", "", (0, 0)),
    ):
        found = resources_from({"ENGINE": "slurm", "MEMORY": memory, "WALLTIME": walltime}).each
        asked_for = found["resources"]
        assert (asked_for["mem_mb"], asked_for["runtime"]) == asked


def test_an_engine_that_is_not_there_is_refused_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(resources.shutil, "which", lambda name: None)
    with pytest.raises(ProfileError, match=r"this machine has no sbatch. Expected: a login node"):
        Resources(engine="slurm").options  # noqa: B018
    with pytest.raises(ProfileError, match=r"ENGINE is 'cloud'. Expected: local, slurm, or the"):
        Resources(engine="cloud").options  # noqa: B018
    options = Resources(engine=str(tmp_path), workers=3).options
    assert options == ["--profile", str(tmp_path), "--jobs", "3"]


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ProfileError, match="torch finds no GPU on this machine"):
        check_device(Resources(), "cuda")
    with pytest.raises(ProfileError, match=r"DEVICE is 'gpu'. Expected: auto, cpu, cuda"):
        check_device(Resources(engine="slurm"), "gpu")
    check_device(Resources(engine="slurm"), "cuda")  # a login node needs none
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with pytest.raises(ProfileError, match="each notebook is to have 3 GPUs, and this machine"):
        Resources(gpus=3).options  # noqa: B018
    two = dataclasses.replace(Resources(gpus=1), workers=2)
    assert two.options == ["--cores", "2", "--resources", "gpu=2"]
    assert (two.each["gpus"], two.each["resources"]) == (1, {"gpu": 1})


def scores_file(run, values, name=SCORES, number="03"):
    """What notebook 03, or 04, writes of two mappers: scores of four images."""
    derived = run.profile.derived
    cell = {"chance": 0.5, "value": 0.0, "low": 0.0, "high": 1.0}
    row = {"better": "higher", "statistic": "mean", "scores": {"ridge": cell, MAPPER: cell}}
    median = {**row, "statistic": "median"}
    content = {"table": {"rows": {TWO_WAY: row, "median rank": median}}}
    content["per_image"] = {f"ridge/{TWO_WAY}": values, f"{MAPPER}/{TWO_WAY}": [0.5] * 4}
    content["per_image"]["ridge/median rank"] = [1.0] * 4
    save_json(derived / name, content, config={})
    save_arrays(derived / "predictions.h5", {"test_ids": np.arange(4)}, config={})
    [step] = [step for step in steps.steps() if step.number == number]
    path = derived / name
    written = {path.relative_to(profiles.PROJECT_ROOT).as_posix(): sha256_file(path)}
    record = {"made_from": {}, "written": written, "seconds": 1.0}
    with atomic_path(step.beside(run.profile, "record")) as tmp:
        tmp.write_text(json.dumps(record))


@pytest.fixture
def scored(tmp_path, monkeypatch, rng):
    """Runs of two subjects, areas and seeds with scores, in a project of their own."""
    for module in (profiles, runs, command, gathering):
        monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path)
    sweep = parse(["PROFILE=smoke", "SUBJECTS=1 2", "AREAS=nsdgeneral V1", "SEEDS=0 1"])
    values = {}
    for run in sweep.runs:
        values[run.name] = rng.random(4) + 0.2 * (run.area == "nsdgeneral")
        scores_file(run, values[run.name].tolist())
    return sweep, values


def test_the_table_has_means_and_intervals_over_subjects(scored):
    sweep, values = scored
    table = gathering.gather(sweep.runs, n_resamples=200)
    assert {row["score"] for row in table["rows"]} == {TWO_WAY}  # medians have no such mean
    row = next(r for r in table["rows"] if (r["set"], r["area"]) == ("ridge", "V1"))
    means = [
        np.mean([values[f"subj0{subject} V1 seed {seed}"] for seed in (0, 1)], axis=0)
        for subject in (1, 2)
    ]
    zero = [np.zeros(4)] * 2
    boot = dict(rng=np.random.default_rng(0), n_resamples=200, shared_images=True)
    wanted = paired_difference(means, zero, **boot)
    assert (row["value"], row["low"], row["high"]) == (wanted.value, wanted.low, wanted.high)
    assert row["subjects"] == {1: means[0].mean(), 2: means[1].mean()}
    assert (row["n_seeds"], row["interval_over"]) == (2, "subjects and images")
    [difference] = [d for d in table["differences"] if d["set"] == "ridge"]
    assert difference["area"] == "V1 - nsdgeneral" and len(table["inputs"]) == 8
    one = gathering.gather([run for run in sweep.runs if run.profile.subject == 1])
    assert {row["interval_over"] for row in one["rows"]} == {"images"}
    assert gathering.gather(parse(["PROFILE=smoke", "SUBJECTS=5"]).runs)["rows"] == []
    text = gathering.page(table, "simulated", {"subj03 V1 seed 0": "no data"})
    assert "1 runs are not in this table" in text
    assert f"| {TWO_WAY} | ridge | V1 | higher | 0.500 | {wanted} |" in text


def test_scores_of_notebooks_after_the_target_are_not_gathered(scored):
    """They may be of an encoder of before: nobody has looked whether they are up to date."""
    sweep, values = scored
    for run in sweep.runs:
        scores_file(run, values[run.name].tolist(), "picture_scores.json", "04")
    kinds = {}
    for target in ("all", "04", "03", "02"):
        runs = parse(["PROFILE=smoke", "SUBJECTS=1 2", f"TARGET={target}"]).runs
        kinds[target] = {row["kind"] for row in gathering.gather(runs, n_resamples=9)["rows"]}
    both = {"embedding", "picture"}
    assert kinds == {"all": both, "04": both, "03": {"embedding"}, "02": set()}


def findings(root):
    return {(kind, Path(name).name): why for (kind, name), why in Report(root).findings.items()}


def test_what_a_sweep_writes_verifies_until_a_run_has_other_scores_or_settings(scored, tmp_path):
    sweep, _ = scored
    assert "table and figure of 8 runs" in command.save_results(sweep, sweep.runs, {})
    report = Report(tmp_path)
    assert not report.findings, report.text()
    assert not report.notes  # all inputs were found
    names = {"results.json", "results.md", "fig_sweep.png", "fig_sweep.pdf"}
    assert names <= {Path(name).name for name in report.checked}
    origin = figure_origin(sweep.folder / "fig_sweep.png")
    assert (origin["notebook"], origin["seed"]) == ("make sweep", "0 1")

    [run] = [run for run in sweep.runs if run.name == "subj02 V1 seed 1"]
    scores_file(run, [0.5] * 4)
    found = findings(tmp_path)
    assert set(found) == {("stale", "results.json"), ("stale", "provenance.json")}
    assert found["stale", "results.json"] == f"it was made from another {run.name}/{SCORES}"
    assert figure_origin(sweep.folder / "fig_sweep.pdf") == origin
    command.save_results(sweep, sweep.runs, {})
    assert not findings(tmp_path)
    path = sweep.folder / "provenance.json"
    provenance = json.loads(path.read_text())
    provenance["config"]["runs"]["subj01 V1 seed 0"]["encoder"]["n_steps"] = 7
    path.write_text(json.dumps(provenance))
    found, said = findings(tmp_path), "settings of subj01 V1 seed 0 are others now: encoder.n_steps"
    assert f"{said} was 7" in found["stale", "provenance.json"]
    assert "provenance.json says otherwise" in found["changed", "fig_sweep.png"]


def test_the_figure_shows_each_subject():
    row = {"area": "V1", "value": 0.7, "low": 0.6, "high": 0.8, "chance": 0.5}
    rows = [row | {"subjects": {1: 0.65, 2: 0.75}}, row | {"area": "V2", "subjects": {1: 0.7}}]
    figure = fig_sweep({"two-way": rows}, label="simulated")
    [ax] = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["V1", "V2"]
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert list(ticks[0].get_xdata()) == [0.65, 0.75]


def test_a_failing_run_stops_no_other_and_is_done_again(tmp_path):
    """One of two seeds fails; it is named, and it alone runs again."""
    project = TinyProject(tmp_path, {"01_a": (), "02_b": ("01_a",)})
    project.write("02_b", "assert SEED != 2 or (root / 'mended').exists(), 'wrong voxel'")
    sweep = ("PROFILE=smoke", "SEEDS=1 2", "WORKERS=2")
    code, said = project.call(*sweep, module="pipeline.sweep")
    assert code == 1 and "1 of 2 runs have their results" in said
    assert "failed: subj01 nsdgeneral seed 2: 02_b.py stopped: AssertionError: wrong voxel" in said
    done = re.findall(r"^smoke/subj01-seed(\d) (\d\d) done in", said, re.MULTILINE)
    assert sorted(done) == [("1", "01"), ("1", "02"), ("2", "01")]
    (project.root / "mended").touch()
    code, said = project.call(*sweep, module="pipeline.sweep")
    assert code == 0
    assert re.findall(r"^smoke/subj01-seed(\d) (\d\d) done", said, re.M) == [("2", "02")]
