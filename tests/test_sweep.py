"""Many runs at once: settings, states, dead workers, failing runs, the table over subjects."""

import io
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from fmri_utils import nsd
from fmri_utils.metrics import paired_difference
from fmri_utils.plots.over_subjects import fig_sweep
from fmri_utils.project import profiles
from fmri_utils.project.artifacts import save_arrays, save_json
from fmri_utils.project.devices import choose_device
from fmri_utils.project.errors import DataError, FmriUtilsError, ProfileError
from fmri_utils.project.parts import Parts
from fmri_utils.project.profiles import load_profile
from fmri_utils.project.provenance import figure_origin
from pipeline import runner
from pipeline.sweep import __main__ as command
from pipeline.sweep import gather as gathering
from pipeline.sweep import settings, spread_atlas
from pipeline.sweep.board import CURRENT, DONE, FAILED, RUNNING, Board
from pipeline.sweep.engines import check_device, open_client, worker_resources
from pipeline.sweep.settings import Resources, parse
from pipeline.verify import Report

SCORES = "encoder_scores.json"
MAPPER, TWO_WAY = "contrastive-linear", "two-way identification"  # what the figure shows


def test_names_of_the_field_are_regions():
    assert nsd.region("V1") == "prf-visualrois:V1v,V1d"
    assert nsd.region("nsdgeneral") == "nsdgeneral"
    assert nsd.region("V1+faces + PPA") == "prf-visualrois:V1v,V1d+floc-faces+floc-places:PPA"
    assert nsd.region("prf-eccrois:ecc4+") == "prf-eccrois:ecc4+"
    assert nsd.region("lh.HCP_MMP1:FFC") == "lh.HCP_MMP1:FFC"
    with pytest.raises(DataError, match=r"no area 'V9' in 'V1\+V9'. Expected: a name such as"):
        nsd.region("V1+V9")
    with pytest.raises(DataError, match=r"streams has no labels \['V1'\]; it has early"):
        nsd.region("streams:V1")


def test_every_combination_is_a_run_with_folders_of_its_own():
    sweep = parse(
        ["PROFILE=smoke", "SUBJECTS=1 2", "AREAS=nsdgeneral V1", "SEEDS=0,1", "TARGET=03"]
        + ["ENGINE=slurm", "GPUS=1", "SBATCH=--account=x --exclusive", "encoder.n_folds=4"]
    )
    assert [run.name for run in sweep.runs][:4] == [
        *("subj01 nsdgeneral seed 0", "subj01 nsdgeneral seed 1"),
        *("subj01 V1 seed 0", "subj01 V1 seed 1"),
    ]
    assert len({run.profile.derived for run in sweep.runs}) == 8
    assert {run.profile.encoder.n_folds for run in sweep.runs} == {4}
    assert sweep.runs[2].profile.data.roi == "prf-visualrois:V1v,V1d"
    assert sweep.resources.sbatch == ("--account=x", "--exclusive")
    assert worker_resources(sweep.resources) == {"GPU": 1}
    assert sweep.resources.for_tasks(len(sweep.runs)).workers == 8
    # The profile's own area, seed and subject is the run of `make all`.
    one = parse(["PROFILE=smoke", "AREAS=nsdgeneral"]).runs[0]
    assert one.profile.derived == load_profile("smoke").derived


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("SUBJECTS=1 nine", "SUBJECTS is '1 nine'. Expected: whole numbers"),
        ("SUBJECTS=9", "subject is 9"),
        ("SUBJECT=1", "unknown setting 'SUBJECT=1'. Settings of a sweep: SUBJECTS, AREAS"),
        ("AREAS=V1 prf-visualrois:V1v,V1d", "2 runs, but 1 different ones"),
        ("ENGINE=cloud", "engine is 'cloud'.*Expected: 'local' or 'slurm'"),
        ("WORKERS=0", "workers is '0'.*Expected: greater than or equal to 1"),
        ("TARGET=99", "no notebook '99'"),
        ("data.roi=V1", "Expected: AREAS= only"),
        ("COLOUR=red", "Settings of a sweep: SUBJECTS"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting, message):
    with pytest.raises(ProfileError, match=message.replace("(", r"\(")):
        parse(["PROFILE=smoke", setting])


@pytest.fixture
def started(monkeypatch):
    """Resources of every client that was asked for; none is started."""
    asked = []

    def refuse(resources, logs):
        asked.append(resources)
        raise FmriUtilsError("no workers in this test")

    for name in ("engines", "spread_atlas"):
        monkeypatch.setattr(f"pipeline.sweep.{name}.open_client", refuse)
    return asked


def test_workers_are_bounded_by_runs_in_a_sweep_and_by_missing_pictures_in_an_atlas(
    started, monkeypatch, tmp_path
):
    arguments = ["PROFILE=smoke", "SEEDS=978", "TARGET=01", "ENGINE=slurm", "WORKERS=16"]
    assert command.main(arguments, io.StringIO()) == 2
    assert started.pop().workers == 1

    def pictures(profile, spread):
        missing = list(range(9))
        Parts(tmp_path, {}).run(missing, lambda number: {"a": np.zeros(1)}, spread=spread)

    monkeypatch.setattr(spread_atlas, "voxel_atlas", pictures)
    assert spread_atlas.main(arguments) == 2
    assert started.pop().workers == 9
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for device, gpus in (("auto", 1), ("cuda", 1), ("cpu", 0)):
        assert spread_atlas.main(["PROFILE=smoke", f"DEVICE={device}"]) == 2
        assert started.pop().gpus == gpus  # two workers, not one for each core
    Parts(tmp_path, {}).run(range(9), lambda number: {"a": np.zeros(1)})
    assert spread_atlas.main(["PROFILE=smoke", "ENGINE=slurm"]) == 0  # nothing is missing
    assert not started


@pytest.mark.parametrize("main", [command.main, spread_atlas.main])
def test_a_gpu_that_is_not_there_is_refused_before_workers_start(
    main, started, monkeypatch, capsys
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    monkeypatch.setattr(command.main, "__defaults__", (stream,))
    run = ["PROFILE=smoke", "SEEDS=978", "TARGET=01"]
    assert main([*run, "DEVICE=cuda"]) == 2
    assert "torch finds no GPU on this machine" in stream.getvalue()
    assert main([*run, "DEVICE=gpu", "ENGINE=slurm"]) == 2
    assert "DEVICE is 'gpu'. Expected: auto, cpu, cuda" in stream.getvalue()
    assert not started
    check_device(Resources(engine="slurm"), "cuda")  # a login node needs none


def test_each_local_worker_of_an_atlas_has_gpus_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    resources = Resources(gpus=1, workers=2, dashboard=0)

    def mine(number):
        time.sleep(0.5)
        return int(os.environ["CUDA_VISIBLE_DEVICES"])

    with open_client(resources, tmp_path) as client:
        client.wait_for_workers(2, timeout=60)
        assert {*spread_atlas.spread_over(client, resources)(mine, range(6))} == {3, 5}


def test_a_worker_without_the_gpu_asked_for_says_where_and_what_to_set(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ProfileError, match=r"on .+: device 'cuda:99' is not .*GPUS=1 gives"):
        spread_atlas._block(0, lambda number: choose_device("cuda:99"), 1, None)


def test_the_board_knows_attempts_and_ignores_what_comes_late():
    stream = io.StringIO()
    board = Board(["a", "b"], stream)
    board.heard("a", "started", "node1")
    board.heard("a", "notebook", "01_data_prep")
    assert board.rows["a"].state == RUNNING
    assert "node1        01_data_prep" in stream.getvalue().splitlines()[-1]
    board.heard("a", "started", "node2")
    assert "attempt 2" in stream.getvalue().splitlines()[-1]
    board.ended("a", DONE)
    board.heard("a", "notebook", "02_joint_embedding")
    assert (board.rows["a"].state, board.rows["a"].notebook) == (DONE, "")
    board.ended("b", FAILED, reason="x")
    assert board.counts() == "1 done, 1 failed"


def test_on_a_terminal_the_table_is_drawn_over_itself():
    stream = io.StringIO()
    stream.isatty = lambda: True
    board = Board(["a", "b"], stream)
    board.heard("a", "started", "node1")
    board.ended("b", CURRENT)
    first, second = stream.getvalue().split("\x1b[3A\x1b[J")
    assert len(first.splitlines()) == len(second.splitlines()) == 3
    assert second.splitlines()[-1] == "1 running, 1 up to date"


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
    [notebook] = [path for path in runner.numbered_notebooks() if path.name.startswith(number)]
    runner.write_stamp(run.profile, notebook, "key", [derived / name])


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Runs of two subjects, areas and seeds with scores, in a project of their own."""
    for module in (profiles, runner, settings, command):
        monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path)
    sweep = parse(["PROFILE=smoke", "SUBJECTS=1 2", "AREAS=nsdgeneral V1", "SEEDS=0 1"])
    rng = np.random.default_rng(0)
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
    assert difference["area"] == "V1 - nsdgeneral"
    assert len(table["inputs"]) == 8
    text = gathering.page(table, "simulated", {"subj03 V1 seed 0": "no data"})
    assert "1 runs are not in this table" in text
    assert f"| {TWO_WAY} | ridge | V1 | higher | 0.500 | {wanted} |" in text


def test_one_subject_has_an_interval_over_images(scored):
    sweep, _ = scored
    table = gathering.gather([run for run in sweep.runs if run.profile.subject == 1])
    assert {row["interval_over"] for row in table["rows"]} == {"images"}
    assert gathering.gather(parse(["PROFILE=smoke", "SUBJECTS=5"]).runs)["rows"] == []


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


def test_what_a_sweep_writes_verifies_until_a_run_has_other_scores(scored, tmp_path):
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


def test_a_sweep_with_other_settings_is_stale_and_its_figure_answers_for_it(scored, tmp_path):
    sweep, _ = scored
    command.save_results(sweep, sweep.runs, {})
    path = sweep.folder / "provenance.json"
    provenance = json.loads(path.read_text())
    provenance["config"]["runs"]["subj01 V1 seed 0"]["encoder"]["n_steps"] = 7
    path.write_text(json.dumps(provenance))
    found = findings(tmp_path)
    assert (
        "settings of subj01 V1 seed 0 are others now: encoder.n_steps was 7"
        in (found["stale", "provenance.json"])
    )
    assert "provenance.json says otherwise" in found["changed", "fig_sweep.png"]


def test_the_figure_shows_each_subject():
    row = {"area": "V1", "value": 0.7, "low": 0.6, "high": 0.8, "chance": 0.5}
    rows = [row | {"subjects": {1: 0.65, 2: 0.75}}, row | {"area": "V2", "subjects": {1: 0.7}}]
    figure = fig_sweep({"two-way": rows}, label="simulated")
    [ax] = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["V1", "V2"]
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert list(ticks[0].get_xdata()) == [0.65, 0.75]


@pytest.fixture(scope="module")
def sweep_arguments():
    """Two runs of notebook 01: one that works, one of an atlas that the folder lacks."""
    arguments = ["PROFILE=smoke", "AREAS=V1 MTL", "SEEDS=977", "TARGET=01", "RETRIES=0"]
    arguments += ["WORKERS=2", "DASHBOARD=0"]
    folders = [
        folder
        for run in parse(arguments).runs
        for folder in (run.profile.derived, run.profile.runs)
    ]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    yield arguments
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def kill_worker_of(name, killed):
    """SIGKILL to the worker of the first process that does a run; in a thread of its own."""
    while not killed:
        for process in psutil.Process().children(recursive=True):
            try:
                if {"pipeline.sweep.child", "run", name} <= set(process.cmdline()):
                    process.parent().kill()
                    killed.append(process)
                    break
            except psutil.Error:
                continue
        time.sleep(0.2)


def test_a_dead_worker_and_a_failing_run_stop_nobody(sweep_arguments):
    """The run of a killed worker is done by another; the failed one is named, and done again."""
    stream, killed = io.StringIO(), []
    area = "data.roi=prf-visualrois:V1v,V1d"
    thread = threading.Thread(target=kill_worker_of, args=(area, killed), daemon=True)
    thread.start()
    assert command.main(sweep_arguments, stream) == 1
    thread.join()
    said = stream.getvalue()
    assert "dashboard: http" in said
    assert "1 of 2 runs have their results" in said
    [line] = [x for x in said.splitlines() if x.startswith("failed: subj01 MTL seed 977: ")]
    assert "the atlas MTL is missing" in line
    log = parse(sweep_arguments).runs[1].log
    assert f"log: {log.relative_to(log.parents[3])}" in line
    assert "attempt 2" in said  # the first worker was killed
    assert not killed[0].is_running()  # and what it had started ended with it

    stream = io.StringIO()
    assert command.main(sweep_arguments, stream) == 1
    said = stream.getvalue()
    assert "subj01 V1 seed 977               up to date" in said
    assert "subj01 V1 seed 977               running" not in said
    assert "subj01 MTL seed 977              failed" in said


def test_without_dask_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    monkeypatch.delitem(sys.modules, "pipeline.sweep.engines", raising=False)
    stream = io.StringIO()
    assert command.main(["PROFILE=smoke", "TARGET=01"], stream) == 2
    assert "is not installed" in stream.getvalue()
    assert 'install -c constraints.txt -e ".[sweep]"' in stream.getvalue()
