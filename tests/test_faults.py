"""Runs that are killed, orphaned, doubled, or without room: what is finished at last is whole."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import kill_runs
import psutil
import pytest
from tiny_project import TinyProject

from fmri_utils.project.errors import FmriUtilsError
from pipeline import locks

DEAF = """
import ctypes, sys, time
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 0)  # not to be killed with the run
(root / "deaf").touch()
ctypes.PyDLL(None).sleep(600)  # holds the interpreter, so that no thread of it runs
"""
WORKERS = """
import time
from simulated_nsd.folder import runner
if not (root / "killed-{title}").exists():
    (root / "killed-{title}").touch()
    with runner(2, False) as run:
        list(run(time.sleep, [600] * 4, "sleeping"))
"""
SMALL_DISKS = [sys.executable, "-m", "pytest", "-x", Path(__file__).with_name("on_small_disks.py")]
NAMESPACE = ["unshare", "--mount"] + (["--map-root-user"] if os.geteuid() else [])


@pytest.mark.slow
def test_thirty_kills(tmp_path):
    tally, left = kill_runs.main(30, 0, tmp_path)
    assert len(tally.done) == 30 and tally.runs >= 3
    assert not tally.differing and not left


def test_a_killed_run_ends_as_if_nothing_had_been(tmp_path):
    """Its first process is killed, then all of them: kernel and workers end, the lock is free."""
    project, log = TinyProject(tmp_path, {"01_a": (), "02_b": ("01_a",)}), tmp_path / "log"
    for title in project.reads:
        project.write(title, WORKERS.format(title=title))
    orphans = []
    for everything in (False, True):
        process = kill_runs.start(tmp_path, "all", "PROFILE=smoke", log=log)
        wait_until(process, log, lambda: n_workers(process) == 2)  # noqa: B023
        time.sleep(1)  # they are at work
        orphans += kill_runs.kill(process, everything)
        assert len(orphans) >= 5  # engine, notebook, kernel, two workers
    assert kill_runs.finish(tmp_path, "all", "PROFILE=smoke", log=log) == 0
    written = {path.name: path.read_text() for path in project.derived.iterdir()}
    assert written == {f"{title}.txt": f"{title} smoke 0" for title in ("01_a", "02_b")}
    assert not kill_runs.still_there(orphans) and not [*tmp_path.rglob(".part-*")]


def wait_until(process, log, happens):
    while not happens():
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)


def n_workers(process):
    """Number of processes that a pool has started below a run."""
    found = 0
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += "spawn_main" in " ".join(child.cmdline())
    return found


def test_a_kernel_that_outlives_its_run_keeps_others_out(tmp_path, monkeypatch):
    """It inherits the lock: where it cannot be ended at once, the next call waits for it."""
    project, log = TinyProject(tmp_path, {"01_a": ()}), tmp_path / "log"
    project.write("01_a", DEAF)
    process = kill_runs.start(tmp_path, "all", "PROFILE=smoke", log=log)
    wait_until(process, log, lambda: (tmp_path / "deaf").exists())
    orphans = kill_runs.kill(process, everything=False)
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    with (
        pytest.raises(FmriUtilsError, match=r"another run \(process"),
        locks.one_call_at_a_time(project.runs, progress=False),
    ):
        pass
    for orphan in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()
    monkeypatch.setattr(locks, "LOCK_SECONDS", kill_runs.ENDING_SECONDS)
    with locks.one_call_at_a_time(project.runs, progress=False):
        assert (project.runs / "lock").read_text().startswith(f"{os.getpid()} on")


def test_disks_that_are_full_or_read_only(tmp_path):
    """Run `on_small_disks.py` where mounting is allowed."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("file systems are mounted in a namespace of Linux")
    trial = [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounting is not allowed here: {tried.stderr.strip()}")
    command = [*NAMESPACE, *SMALL_DISKS, f"--basetemp={tmp_path / 'disks'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
