"""The Makefile hands settings on as they came, in any folder, and stops where something fails."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAYS = """#!/bin/sh
case "$*" in *broken*) exit 3;; esac
printf '<%s>' "$@"; echo
"""
UV = """#!/bin/sh
printf '<%s>' "$VIRTUAL_ENV" "$@"; echo
mkdir -p .venv/bin
"""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def folder(tmp_path):
    """A checkout in a folder with a space, whose Python says what it was called with."""
    root = tmp_path / "my files"
    for name in ("notebooks", "benchmarks"):
        (root / name).mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    (root / "notebooks" / "03_encoder_training.py").touch()
    for name in ("a_broken", "b"):
        (root / "benchmarks" / f"{name}.py").touch()
    program(root / ".venv/bin/python", SAYS)
    (root / ".venv/ready").touch()
    return root


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make(folder, *arguments, code=0, **variables):
    names = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CONDA_DEFAULT_ENV")  # `make test` set some
    environment = {k: v for k, v in os.environ.items() if k not in names} | variables
    how = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(["make", *arguments], **how, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "setting",
    [
        'perturbation.pictured=["V1 to V3: V1 V2 V3"]',
        'SBATCH=--comment="my run" --account=x,y',
        "SBATCH=--comment='it is'",
        "FILE=`touch executed`$(touch executed)$$(touch executed) $HOME \\ #; touch executed",
        "AREAS=",
    ],
)
def test_settings_arrive_as_they_were_given(folder, setting):
    said = make(folder, "compare", f"A=my {setting}", "B=it's $(x)")
    assert said == f"<-m><pipeline.compare><my {setting}><it's $(x)>\n"
    given = "><".join(sorted(["DEVICE=cpu", setting]))
    assert make(folder, "all", "DEVICE=cpu", setting) == f"<-m><pipeline><all><{given}>\n"
    assert not (folder / "executed").exists()


def test_what_jupyterlab_leaves_is_no_target(folder):
    said = make(folder, "help")
    for name in ("04_x.py", ".ipynb_checkpoints"):
        (folder / "notebooks" / name).mkdir()
    for name in ("03_encoder_training-Copy1.py", "03_x (copy).py", "Untitled.ipynb", ".DS_Store"):
        (folder / "notebooks" / name).touch()
    assert make(folder, "help") == said
    assert make(folder, "03_encoder_training") == "<-m><pipeline><03>\n"
    make(folder, "04", code=2)


@pytest.mark.parametrize("flags", ["-eu -o pipefail -c", "-c"], ids=["", "make 3.81"])
def test_what_fails_in_a_loop_ends_it(folder, flags):
    """Make 3.81, that of macOS, does not know .SHELLFLAGS."""
    path = folder / "Makefile"
    path.write_text(re.sub(r"(?m)^\.SHELLFLAGS.*$", f".SHELLFLAGS := {flags}", path.read_text()))
    assert make(folder, "bench", code=2) == "benchmarks/a_broken.py\n"
    assert make(folder, "study", "PROFILE=broken", code=2) == ""
    assert make(folder, "study", "SUBJECTS=1,2") == "<-m><pipeline.studies><SUBJECTS=1,2>\n"


def test_the_environment_is_made_in_the_folder_itself_or_is_condas(folder):
    program(folder / "conda env/bin/python", SAYS)
    conda = {"CONDA_DEFAULT_ENV": "fmri-utils", "CONDA_PREFIX": str(folder / "conda env")}
    assert "<-m><pipeline><03>\n" in make(folder, "03", **conda)
    (folder / ".venv/ready").unlink()
    program(folder / "programs" / "uv", UV)
    said = make(folder, "env", PATH=f"{folder / 'programs'}:{os.environ['PATH']}")
    assert f"<{folder}/.venv><pip><install>" in said


def test_help_is_aligned_and_names_every_target(folder):
    lines = [line for line in make(folder, "help").splitlines() if line.startswith("  make ")]
    assert {line.index(line[7:].split("  ")[-1].strip()) for line in lines} == {23}
    targets = re.findall(r"(?m)^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text())
    assert [line.split()[1] for line in lines] == [*targets, "03"]
