"""Disks that are full or read-only; `test_faults.py` starts this where mounting is allowed.

It runs in a mount namespace of its own, so that nothing stays mounted whatever happens.
"""

import shutil
import subprocess

import kill_runs
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file
from tiny_project import TinyProject

from fmri_utils.plots import save_figure
from fmri_utils.project.artifacts import (
    ArtifactError,
    atomic_path,
    load_arrays,
    save_arrays,
    sha256_file,
)

MIB = 2**20
NOISE = np.random.default_rng(0).random((8 * MIB // 4,), np.float32)  # 8 MiB, incompressible
WRITES = """
import numpy as np, torch
from fmri_utils.project.artifacts import load_arrays, save_arrays
noise = np.random.default_rng(0).random({mib} * 2**18, np.float32)
save_arrays(cfg.derived / "{title}.h5", {{"noise": noise}}, config={{}})
"""


class Disk:
    """A small file system in memory."""

    def __init__(self, path):
        self.path = path

    def mount(self, *options):
        options = ["-o", ",".join(options), "none", str(self.path)]
        subprocess.run(["mount", "-t", "tmpfs", *options], check=True)

    def resize(self, size):
        self.mount("remount", "rw", f"size={size}")

    def read_only(self):
        self.mount("remount", "ro")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    disk = Disk(path)
    disk.mount("size=2m")
    yield disk
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def figure_of(noise):
    figure = Figure(figsize=(10, 10))
    figure.subplots().imshow(noise[: 10**6].reshape(1000, 1000), interpolation="nearest")
    return figure


def by_hand(write, name):
    def save(folder):
        with atomic_path(folder / name) as tmp:
            write(tmp)

    return save


WRITERS = {
    "arrays": lambda folder: save_arrays(folder / "x.h5", {"x": NOISE}, config={}),
    "figure": lambda folder: save_figure(figure_of(NOISE), folder, "x", about={}),
    "torch": by_hand(lambda tmp: torch.save(torch.from_numpy(NOISE), tmp), "x.pt"),
    "safetensors": by_hand(lambda tmp: save_file({"x": torch.from_numpy(NOISE)}, tmp), "x.st"),
    "text": by_hand(lambda tmp: tmp.write_text("x" * NOISE.nbytes), "x.txt"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_and_the_old_file_stays(disk, name):
    disk.resize("32m")
    WRITERS[name](disk.path)
    whole = {path.name: sha256_file(path) for path in disk.path.iterdir()}
    used = shutil.disk_usage(disk.path).used
    disk.resize(used + MIB)
    with pytest.raises(ArtifactError, match=r"x\.\w+(\.gz)? could not be written: .*Make room"):
        WRITERS[name](disk.path)
    assert {path.name: sha256_file(path) for path in disk.path.iterdir()} == whole
    disk.resize("32m")
    WRITERS[name](disk.path)
    assert {path.name: sha256_file(path) for path in disk.path.iterdir()} == whole


@pytest.fixture
def project(disk):
    """A project of three tiny notebooks on the disk; they write 1, 4 and 1 MiB."""
    disk.resize("16m")
    project = TinyProject(disk.path, {"01_a": (), "02_b": ("01_a",), "03_c": ("02_b",)})
    for title, mib in (("01_a", 1), ("02_b", 4), ("03_c", 1)):
        project.write(title, WRITES.format(title=title, mib=mib))
    return project.root


def run(root, log, target="all"):
    """Exit status of a run, and what it said."""
    log.write_text("")
    return kill_runs.finish(root, target, "PROFILE=smoke", log=log), log.read_text()


def test_a_run_on_a_disk_that_fills_up_goes_on_where_there_is_room(project, disk, tmp_path):
    log = tmp_path / "log"
    disk.resize(shutil.disk_usage(project).used + 4 * MIB)
    status, said = run(project, log)
    assert status == 2 and "Traceback" not in said, said
    assert "error: 02_b.py stopped: ArtifactError: " in said
    assert "02_b.h5 could not be written: No space left on device." in said
    derived = project / "data/derived/smoke/subj01"
    names = {path.name for path in derived.iterdir()}
    assert names == {"01_a.h5", "01_a.h5.json", "01_a.txt"}
    assert not list(project.rglob(".part-*"))
    disk.resize("32m")
    status, said = run(project, log)
    assert status == 0 and "01_a done" not in said
    for title in ("01_a", "02_b", "03_c"):
        load_arrays(derived / f"{title}.h5", remedy="")
    assert not list((project / "runs").rglob("*.failed.ipynb"))


def test_a_run_on_a_disk_that_is_read_only_or_without_any_room_says_so(project, disk, tmp_path):
    (project / "runs").mkdir()
    full = f"size={shutil.disk_usage(project).used}"
    for option, *words in (
        ("ro", "Read-only file system", "Expected: a folder that can be written to"),
        (f"rw,{full}", "No space left on device", "Make room"),
    ):
        disk.mount("remount", option)
        status, said = run(project, tmp_path / "log", "01")
        assert status == 2 and said.startswith("error: ") and said.count("\n") == 1, said
        assert all(word in said for word in words)
    disk.resize("32m")
    assert run(project, tmp_path / "log", "01")[0] == 0
