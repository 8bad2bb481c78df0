"""The engine: what is up to date, what a failure leaves, what an environment may not change."""

import itertools
import json
import os
import platform
import re
import signal
import time

import pytest
from refusals import refused
from tiny_project import TinyProject

from fmri_utils.project import profiles
from fmri_utils.project.errors import FmriUtilsError, WeightsError
from fmri_utils.project.profiles import PROJECT_ROOT, load_profile
from pipeline import locks, steps
from pipeline.dependencies import code_digests
from pipeline.execute import execute
from pipeline.pairing import notebook_from_source, sync
from pipeline.request import parse_request
from pipeline.steps import Step, made_from
from simulated_nsd.on_demand import prepare

CHAIN = {"01_a": (), "02_b": ("01_a",), "03_c": ()}
ALL = list(CHAIN)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Three notebooks, the second of which reads the first's file; run once."""
    project = TinyProject(tmp_path_factory.mktemp("chain"), CHAIN)
    assert project.run("all") == ALL
    return project


def test_rules_have_the_files_of_the_table_in_each_opening():
    ending = re.compile(r"\.(h5|json|safetensors)$")
    for step in steps.steps():
        for what, names in (("reads", step.reads), ("writes", step.writes)):
            [row] = re.findall(rf"^# \| {what} \| (.*) \|$", step.source.read_text(), re.MULTILINE)
            told = re.findall(r"`([\w.]+)`", row)
            files = {n if ending.search(n) else f"{n}.safetensors" for n in told if n != "data/nsd"}
            files = {name for name in files if not name.startswith(("study_", "fig", "results"))}
            assert files >= set(names), (step.stem, what)
            assert {f for f in files if any(f in s.writes for s in steps.steps())} <= set(names)


def test_only_sections_that_a_notebook_names_count_because_no_module_reads_a_section():
    """Modules get values, not the profile; `notebook_files` looks at weights for 08 alone."""
    sections = "data|clip|embedding|encoder|lafite|reconstruction|perturbation|dino|simulation"
    found = [
        path.name
        for path in (PROJECT_ROOT / "fmri_utils").rglob("*.py")
        if re.search(rf"\b(cfg|profile)\.({sections})\b", path.read_text())
        and "explorer" not in path.parts
    ]
    assert found == ["notebook_files.py"]


def test_code_counts_by_module_and_words_do_not(tmp_path):
    package = tmp_path / "fmri_utils"
    package.mkdir()
    (package / "__init__.py").write_text("from .used import one\nfrom .other import two\n")
    (package / "used.py").write_text('"""Words."""\ndef one():\n    return 1\n')
    (package / "other.py").write_text("def two():\n    return 2\n")
    source = tmp_path / "03_x.py"
    source.write_text("import fmri_utils\nfrom fmri_utils import one\none()\n")
    before = code_digests(source, tmp_path)
    assert set(before) == {"03_x.py", "fmri_utils/used.py"}
    (package / "other.py").write_text("def two():\n    return 3\n")
    (package / "used.py").write_text('"""Other words."""\n\n# Why.\ndef one():\n    return 1\n')
    assert code_digests(source, tmp_path) == before
    (package / "used.py").write_text("def one():\n    return 4\n")
    assert code_digests(source, tmp_path) != before


def test_plots_and_settings_concern_those_who_use_them():
    """An edited figure reruns no training; a setting of the encoder neither 01 nor 02."""
    by_number = {step.number: step for step in steps.steps()}
    for number in ("01", "02", "03", "04", "05", "06"):
        named = code_digests(by_number[number].source, PROJECT_ROOT)
        assert "fmri_utils/plots/students.py" not in named
    assert "fmri_utils/plots/students.py" in code_digests(by_number["07"].source, PROJECT_ROOT)
    changed = {
        number: made_from(load_profile("smoke"), step)
        != made_from(load_profile("smoke", overrides=["encoder.n_steps=17"]), step)
        for number, step in by_number.items()
    }
    assert changed == {n: n not in ("01", "02") for n in by_number}


def test_a_touched_file_a_comment_and_the_same_bytes_run_nothing_more(chain):
    assert chain.run("all") == []
    (chain.derived / "01_a.txt").touch()
    assert chain.run("all") == []
    chain.write("01_a", "# a comment")
    assert chain.run("all") == []
    measured = (chain.runs / "02_b-benchmark.tsv").read_text()
    chain.write("01_a", "nothing_else = 1")
    assert chain.run("all") == ["01_a"]  # and not 02_b: it would read the same
    assert json.loads((chain.runs / "02_b-state.json").read_text())["state"] == "same"
    assert (chain.runs / "02_b-benchmark.tsv").read_text() == measured  # of its last execution


def test_other_bytes_run_what_reads_them(chain):
    more = '(cfg.derived / "01_a.txt").write_text("other")'
    chain.write("01_a", more)
    _, said = chain.call("plan", "PROFILE=smoke")
    assert said.splitlines() == [
        "01_a: code of notebooks/01_a.py has changed",
        "02_b: after 01, if their files come out changed",
    ]
    assert chain.run("02") == ["01_a", "02_b"]
    (chain.derived / "02_b.txt").write_text("changed by hand")
    (chain.derived / "03_c.txt").unlink()
    assert chain.run("02") == ["02_b"]
    assert chain.run("all") == ["03_c"]


def test_a_failing_notebook_is_kept_and_stops_no_other(tmp_path):
    project = TinyProject(tmp_path, CHAIN)
    project.write("01_a", 'raise ValueError("wrong voxel")')
    project.write("03_c", "import os; os._exit(9)")
    code, said = project.call("all", "PROFILE=smoke")
    assert code == 2 and "Traceback" not in said
    assert "error: 01_a.py stopped: ValueError: wrong voxel" in said
    assert re.search(r"03_c\.py stopped: .*[Kk]ernel died", said)
    assert (project.runs / "01_a.failed.ipynb").exists()
    assert not (project.runs / "02_b.ipynb").exists()
    assert not list(tmp_path.rglob(".part-*"))
    project.write("01_a")
    project.write("03_c")
    assert project.run("all") == ALL
    assert not (project.runs / "01_a.failed.ipynb").exists()


def test_an_interrupted_run_ends_in_a_line_and_goes_on(tmp_path):
    project = TinyProject(tmp_path, {"01_a": ()})
    project.write("01_a", "import time; time.sleep(600)")
    process = project.start("all", "PROFILE=smoke")
    state = project.runs / "01_a-state.json"
    while not state.is_file() or "At work" not in state.read_text():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    stopped = "stopped. What is finished stays; the same command goes on where it stopped."
    assert said.strip() == stopped
    project.write("01_a")
    assert project.run("all") == ["01_a"]


def test_an_environment_of_ones_own_changes_nothing(tmp_path):
    """Pictures, styles, own startup files, long names of temporary folders, given parameters,
    folders that are links to another disk, and what JupyterLab leaves, which is no notebook."""
    deep = tmp_path / ("t" * 60) / ("u" * 60)
    deep.mkdir(parents=True)
    (deep / "start.py").write_text("raise SystemExit('startup')")
    (deep / "matplotlibrc").write_text("figure.figsize: 1, 1\n")
    drawing = "import matplotlib.pyplot as plt; _ = plt.plot([1, 2]); "
    drawing += "assert plt.rcParams['figure.figsize'] == [6.4, 4.8]"
    project = TinyProject(tmp_path / "project", {"01_a": ()})
    for name in ("data/derived", "runs"):
        (tmp_path / name).mkdir(parents=True)
        (project.root / name).symlink_to(tmp_path / name)
    source, notebooks = project.write("01_a", drawing), project.root / "notebooks"
    source.write_text(source.read_text().replace("= []", '= ["encoder.n_folds=4"]'))
    sync(notebooks, check=False)
    for folder in (".ipynb_checkpoints", "03_x.py", "explore.py"):
        (notebooks / folder).mkdir()
    names = ("Untitled.ipynb", "untitled.py", "01_a-Copy1.py", "01_a (copy).py", ".DS_Store")
    for name in (*names, "._01_a.py", ".ipynb_checkpoints/01_a-checkpoint.py"):
        (notebooks / name).write_bytes(b"\xff not a notebook")
    assert sync(notebooks, check=True) == []
    foreign = {"MPLBACKEND": "Agg", "MATPLOTLIBRC": str(deep), "TMPDIR": str(deep)}
    foreign |= {"PYTHONSTARTUP": str(deep / "start.py")}
    assert project.run("all", **foreign) == ["01_a"]
    assert "image/png" in (project.runs / "01_a.ipynb").read_text()
    assert not list(deep.glob("fmri-kernel-*"))
    assert project.run("all") == []


def test_a_notebook_that_hides_what_it_did_or_lacks_a_parameter_is_refused(tmp_path):
    source, out = tmp_path / "01_a.py", tmp_path / "x.ipynb"
    for opening, given, words in (
        ("", {}, r"its last cell is files\.finish"),
        (" alt='a curve'", {}, r"shows no picture\. Expected: a c"),
        ("", {"SUBJEKT": 1}, r"has no parameter \['SUBJEKT'\]. Valid: \['X'"),
    ):
        source.write_text(f"# %% tags=['parameters']\nX = 1\n\n# %%{opening}\n1 + 1\n")
        refused(words, execute, source, out, given, error=FmriUtilsError)
        assert not out.exists()


def test_two_calls_in_one_folder_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    me = f"process {os.getpid()} on {platform.node()}"
    with (
        locks.one_call_at_a_time(tmp_path),
        pytest.raises(FmriUtilsError, match=rf"another run \({me}\) is at work in {tmp_path}"),
        locks.one_call_at_a_time(tmp_path),
    ):
        pass
    assert capsys.readouterr().err == f"waiting up to 0.2 s for {me} to end ...\n"
    with locks.one_call_at_a_time(tmp_path):
        pass


def test_gpus_are_given_out_once(tmp_path):
    asked = 1, ["3", "5"], tmp_path
    with locks.own_gpus(*asked) as first, locks.own_gpus(*asked) as second:
        assert (first, second) == ("3", "5")
        with pytest.raises(FmriUtilsError, match="1 GPUs were to be free, and 0 of 2 are"):
            locks.own_gpus(*asked).__enter__()
    with locks.own_gpus(2, ["3", "5"], tmp_path) as both:
        assert both == "3,5"


def test_a_twin_is_determined_by_its_source_and_edits_are_kept(tmp_path, capsys):
    project = TinyProject(tmp_path, {"01_a": ()})
    source, folder = project.write("01_a"), tmp_path / "notebooks"
    text = notebook_from_source(source)
    assert text == notebook_from_source(source)
    cells = json.loads(text)["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for _ in range(2):
        assert len(sync(folder, check=True)) == 1
        sync(folder, check=False)
        assert sync(folder, check=True) == []
        project.write("01_a", "# new")
    assert not list(folder.glob("*.edited.ipynb"))
    twin, kept = source.with_suffix(".ipynb"), folder / "01_a.edited.ipynb"
    changes = lambda c: c[3].update(source="mine"), lambda c: c.pop(), lambda c: c.append(c[0])
    for change in changes:
        twin.unlink()
        sync(folder, check=False)
        notebook = json.loads(twin.read_text())
        change(notebook["cells"])
        twin.write_text(json.dumps(notebook))
        sync(folder, check=False)
        assert "your version is kept as" in capsys.readouterr().out
        assert json.loads(kept.read_text()) == notebook
        twin.write_text(json.dumps(notebook))
        refused("holds earlier work", sync, folder, check=False, error=FmriUtilsError)
        kept.unlink()
    code, said = project.call("plan", "PROFILE=smoke")
    assert code == 0 and "01_a.ipynb was edited, and runs use 01_a.py" in said


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A step that reads everything, and a project without any file."""
    for module in (steps, profiles):
        monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path)
    source = tmp_path / "01_a.py"
    source.write_text("cfg.data_root, cfg.lafite, cfg.dino, cfg.clip\nopen_study(cfg, 'b')\n")
    monkeypatch.setattr(steps, "code_digests", lambda source, root: {})
    return tmp_path, Step(source, (), ())


def test_other_weights_studies_or_more_data_are_another_run(real):
    """What lies outside the repository: bytes of weights, sizes of data."""
    root, step = real
    (root / "clip").mkdir()
    overrides = ["clip.model=local-dir:clip", "dino.weights=data/weights/dino.safetensors"]
    profile = load_profile("nsd", overrides=overrides)
    betas = profile.data_root / "nsddata_betas/ppdata/subj01/betas_session01.nii.gz"
    found = [made_from(profile, step)]
    for path in (
        *(root / "data/weights" / f"{name}.safetensors" for name in ("lafite", "dino")),
        *(root / "clip" / "open_clip_model.safetensors", betas, profile.figures / "study_b.json"),
    ):
        for content in (b"1", b"22"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            found.append(made_from(profile, step))
    assert all(a != b for a, b in itertools.pairwise(found))
    other = profile.data_root / "nsddata_betas/ppdata/subj02/betas_session01.nii.gz"
    mac, part = betas.with_name("._x.nii.gz"), betas.with_name("betas_session02.nii.gz.part")
    left = [root / "clip/.DS_Store", betas.parent / ".cache/x.tsv", betas.parent / ".DS_Store"]
    for path in (other, mac, part, profile.figures / "study_c.json", *left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not this subject's, not whole, not ours, or of no one's concern")
    assert made_from(profile, step) == found[-1]


def test_what_no_notebook_makes_is_asked_for_before_anything_runs(real):
    root, step = real
    profile = load_profile("nsd")
    fetch = r"no NSD in data/nsd\. .* Fetch it: make nsd-download PROFILE=nsd SUBJECT=1"
    refused(fetch, steps.check_there, profile, [step])
    profile.data_root.mkdir(parents=True)
    refused("make lafite-import FILE=", steps.check_there, profile, [step], error=WeightsError)
    weights = root / profile.lafite.weights
    weights.parent.mkdir(parents=True)
    weights.touch()
    steps.check_there(profile, [step])


def test_a_profile_for_real_data_refuses_simulated_ones(tmp_path):
    assert prepare(tmp_path, None, 1) is None
    (tmp_path / "simulation.json").write_text("{}")
    refused("would call them the Natural Scenes Dataset", prepare, tmp_path, None, 1)


def test_a_target_runs_what_it_needs_and_no_more():
    def needed(*targets):
        return [step.number for step in parse_request([*targets, "PROFILE=smoke"]).steps]

    assert needed("03") == ["01", "02", "03"]
    assert needed("05") == ["01", "02", "03", "05"]
    assert needed("07") == ["01", "02", "07"]
    assert needed("06", "07") == ["01", "02", "03", "06", "07"]
    assert needed() == [f"{n:02d}" for n in range(1, 9)]


def test_notebooks_that_do_not_need_each_other_run_side_by_side():
    found = {s.number: [other.number for other in steps.beside(s)] for s in steps.steps()}
    assert found["05"] == ["04", "06", "07"] and found["03"] == ["07"]
    assert [number for number, others in found.items() if not others] == ["01", "02", "08"]
