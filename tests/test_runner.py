"""The runner: what is up to date, what a failure leaves, and strict parameters."""

import dataclasses
import json
import os
import platform

import pytest
from jupyter_client.kernelspec import KernelSpec

from fmri_utils.project.errors import DataError, FmriUtilsError, ProfileError
from fmri_utils.project.profiles import load_profile
from pipeline import runner
from pipeline.kernels import IpcKernelManager
from pipeline.pairing import notebook_from_source, sync
from simulated_nsd.on_demand import prepare

NOTEBOOK = """# %% [markdown]
# # {title}

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
from pathlib import Path
from fmri_utils.project.artifacts import atomic_path, list_outputs
root = Path.cwd().parent
with atomic_path(root / "out" / "{title}.txt") as tmp:
    tmp.write_text(f"{title} {{PROFILE}} {{SEED}}")
{extra}

# %%
list_outputs([root / "out" / "{title}.txt"], root=root, next_notebook="none")
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two tiny notebooks, in a folder of its own."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "fmri_utils").mkdir()
    for title in ("01_a", "02_b"):
        write(tmp_path, title)
    monkeypatch.setattr(runner, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(runner.numbered_notebooks, "__defaults__", (tmp_path / "notebooks",))
    monkeypatch.setattr("fmri_utils.project.profiles.PROJECT_ROOT", tmp_path)
    return tmp_path


def write(root, title, extra=""):
    path = root / "notebooks" / f"{title}.py"
    path.write_text(NOTEBOOK.format(title=title, extra=extra))
    return path


def run(*arguments):
    return runner.run(runner.parse_request(arguments), progress=False)


def test_only_what_changed_and_what_follows_runs_again(project):
    assert run("all", "PROFILE=smoke") == ["01_a", "02_b"]
    assert (project / "out" / "02_b.txt").read_text() == "02_b smoke 0"
    assert run("all", "PROFILE=smoke") == []
    write(project, "02_b", extra="# changed")
    assert run("all", "PROFILE=smoke") == ["02_b"]
    write(project, "01_a", extra="# changed")
    assert run("all", "PROFILE=smoke") == ["01_a", "02_b"]
    (project / "out" / "01_a.txt").write_text("changed by hand")
    assert run("01", "PROFILE=smoke") == ["01_a"]


def test_a_failing_notebook_is_kept_apart_and_named(project, capsys):
    write(project, "02_b", extra='raise ValueError("wrong voxel")')
    assert runner.main(["all", "PROFILE=smoke"]) == 2
    message = capsys.readouterr().err
    assert "error: 02_b.py stopped: ValueError: wrong voxel" in message
    runs = load_profile("smoke").runs
    assert (runs / "02_b.failed.ipynb").is_file()
    assert not (runs / "02_b.ipynb").exists()
    assert not list(runs.glob(".part-*"))
    write(project, "02_b")
    assert run("all", "PROFILE=smoke") == ["02_b"]
    assert not (runs / "02_b.failed.ipynb").exists()


def test_a_parameter_that_the_notebook_lacks_is_refused(project):
    source = write(project, "01_a")
    with pytest.raises(ProfileError, match=r"has no parameter \['SUBJEKT'\]. Valid: \['DEVICE'"):
        runner.execute(source, project / "x.ipynb", {"SUBJEKT": 1})
    assert not (project / "x.ipynb").exists()


def test_a_notebook_that_hides_its_outputs_is_refused(project):
    source = project / "notebooks" / "01_a.py"
    source.write_text("# %% tags=['parameters']\nPROFILE = 1\n\n# %%\n1 + 1\n")
    with pytest.raises(FmriUtilsError, match="calls list_outputs"):
        runner.execute(source, project / "x.ipynb", {})


def test_two_runs_in_one_folder_are_refused(project, monkeypatch, capsys):
    monkeypatch.setattr(runner, "LOCK_SECONDS", 0.2)
    with runner._one_run_at_a_time(load_profile("smoke").runs / "lock"):
        assert runner.main(["all", "PROFILE=smoke"]) == 2
    waiting, refused = capsys.readouterr().err.splitlines()
    me = f"process {os.getpid()} on {platform.node()}"
    assert waiting == f"waiting up to 0.2 s for {me} to end ..."
    assert refused.startswith(
        f"error: another run ({me}) is at work in {load_profile('smoke').runs}."
    )
    assert run("all", "PROFILE=smoke") == ["01_a", "02_b"]


def test_keys_depend_on_the_profile(project):
    notebooks = runner.numbered_notebooks()
    one = runner.plan(load_profile("smoke"), notebooks)
    two = runner.plan(dataclasses.replace(load_profile("smoke"), seed=1), notebooks)
    assert one != two
    assert one == runner.plan(load_profile("smoke"), notebooks)


def test_new_results_of_a_study_run_the_notebooks_that_show_them(project):
    write(project, "02_b", extra='# open_study(cfg, "b")')
    profile, notebooks = load_profile("smoke"), runner.numbered_notebooks()

    def keys():
        return [key for _, key in runner.plan(profile, notebooks)]

    found = [keys()]
    profile.figures.mkdir(parents=True)
    for name, content in (("study_other.json", "1"), ("study_b.json", "1"), ("study_b.json", "2")):
        (profile.figures / name).write_text(content)
        found.append(keys())
    assert len({first for first, _ in found}) == 1
    assert [second == found[0][1] for _, second in found] == [True, True, False, False]
    assert found[2] != found[3]


def test_a_twin_is_determined_by_its_source(project):
    source = write(project, "01_a")
    text = notebook_from_source(source)
    assert text == notebook_from_source(source)
    cells = json.loads(text)["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    folder = project / "notebooks"
    assert len(sync(folder, check=True)) == 2
    assert len(sync(folder, check=False)) == 2
    assert sync(folder, check=True) == []
    write(project, "01_a", extra="# new")
    assert [p.name for p in sync(folder, check=True)] == ["01_a.ipynb"]


def test_what_jupyterlab_leaves_is_no_notebook(project):
    """Only the collection's own notebooks run and have twins."""
    notebooks = project / "notebooks"
    before = runner.numbered_notebooks()
    assert [path.stem for path in before] == ["01_a", "02_b"]
    sync(notebooks, check=False)
    for folder in (".ipynb_checkpoints", "03_x.py", "explore.py"):
        (notebooks / folder).mkdir()
    names = ("Untitled.ipynb", "untitled.py", "01_a-Copy1.py", "01_a (copy).py", ".DS_Store")
    for name in (*names, "._01_a.py", ".ipynb_checkpoints/01_a-checkpoint.py"):
        (notebooks / name).write_bytes(b"\xff not a notebook")
    assert runner.numbered_notebooks() == before
    assert sync(notebooks, check=True) == []
    assert run("all", "PROFILE=smoke") == ["01_a", "02_b"]


def test_other_weights_or_more_data_are_another_run(project):
    """What lies outside the repository is part of the key: bytes of weights, sizes of data."""

    def key(**overrides):
        profile = load_profile("nsd", overrides=[f"{k}={v}" for k, v in overrides.items()])
        return runner.plan(profile, runner.numbered_notebooks())[0][1]

    betas = project / "data/nsd/nsddata_betas/ppdata/subj01/betas_session01.nii.gz"
    other = project / "data/nsd/nsddata_betas/ppdata/subj02/betas_session01.nii.gz"
    weights = project / "data/weights/lafite.safetensors"
    keys = [key()]
    for path, data in ((weights, b"1"), (weights, b"2"), (betas, b"session")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        keys.append(key())
    assert len(set(keys)) == 4
    for path in (other, betas.with_name("betas_session02.nii.gz.part")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not this subject's, or not whole")
    assert key() == keys[-1]
    bundle = project / "clip" / "open_clip_model.safetensors"
    bundle.parent.mkdir()
    bundle.write_bytes(b"1")
    before = key(**{"clip.model": "local-dir:clip"})
    bundle.write_bytes(b"2")
    assert key(**{"clip.model": "local-dir:clip"}) != before


@pytest.mark.parametrize("folder", ["out", "runs"])
def test_folders_may_be_links_to_another_disk(project, tmp_path_factory, folder):
    (project / folder).symlink_to(tmp_path_factory.mktemp("disk"))
    assert run("01", "PROFILE=smoke") == ["01_a"]
    assert run("01", "PROFILE=smoke") == []


def test_what_a_mac_or_a_killed_writer_leaves_is_no_other_run(project):
    """Names that begin with a dot, beside weights, sources, a bundle and real data."""
    (project / "clip").mkdir()
    overrides = ["clip.model=local-dir:clip"]
    profile = load_profile("nsd", overrides=overrides)
    before = runner.plan(profile, runner.numbered_notebooks())
    pretrained, data = project / "data/pretrained", profile.data_root / "nsddata/ppdata/subj01"
    for folder in (project / "fmri_utils", pretrained, pretrained / ".cache", project / "clip"):
        for name in (".DS_Store", "._x.py"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"1")
    for name in (".DS_Store", "._x.nii.gz", ".part-x.tsv-1/x.tsv", ".cache/x.tsv"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"1")
    (pretrained / ".cache" / "x.bin").write_bytes(b"1")
    assert runner.plan(profile, runner.numbered_notebooks()) == before
    for path in (pretrained / "x.bin", project / "clip" / "x.json", data / "x.tsv"):
        path.write_bytes(b"1")
        after = runner.plan(profile, runner.numbered_notebooks())
        assert after != before
        before = after


def test_other_weights_of_the_teacher_are_another_run(project):
    profile = load_profile("smoke", overrides=["dino.weights=data/weights/dino.safetensors"])
    weights = project / "data/weights/dino.safetensors"
    weights.parent.mkdir(parents=True)
    digests = set()
    for content in (b"1", b"2"):
        weights.write_bytes(content)
        digests.add(runner.outside_digest(profile))
    assert len(digests) == 2


def test_a_profile_for_real_data_refuses_simulated_ones(tmp_path):
    assert prepare(tmp_path, None, 1) is None
    (tmp_path / "simulation.json").write_text("{}")
    with pytest.raises(DataError, match="would call them the Natural Scenes Dataset"):
        prepare(tmp_path, None, 1)


@pytest.mark.parametrize("when", ["starting", "at work"])
def test_a_kernel_that_dies_is_told(project, monkeypatch, when):
    if when == "starting":
        monkeypatch.setattr(IpcKernelManager, "kernel_spec", KernelSpec(argv=["false"]))
    else:
        write(project, "01_a", extra="import os; os._exit(9)")
    with pytest.raises(FmriUtilsError, match=r"01_a\.py stopped: .*[Kk]ernel died"):
        run("01", "PROFILE=smoke")
    assert not list((project / "runs").rglob(".part-*"))
