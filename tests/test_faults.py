"""Runs that are killed, orphaned, doubled, or without room: what is finished at last is whole."""

import contextlib
import os
import random
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
from fmri_utils.project.profiles import PROJECT_ROOT
from pipeline import locks

N_KILLS = 3
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
if not (root / "killed-before").exists():
    (root / "killed-before").touch()
    with runner(2, False) as run:
        list(run(time.sleep, [600] * 4, "sleeping"))
"""
SMALL_DISKS = [
    sys.executable,
    "-m",
    "pytest",
    "-x",
    str(Path(__file__).with_name("on_small_disks.py")),
]
NAMESPACE = ["unshare", "--mount"] + (["--map-root-user"] if os.geteuid() else [])


def test_a_run_that_was_killed_ends_as_if_nothing_had_been(smoke, tmp_path):
    root, tally = kill_runs.copy_project(tmp_path), kill_runs.Tally()
    wanted, seconds = kill_runs.outputs(PROJECT_ROOT), kill_runs.durations(PROJECT_ROOT)
    assert len(wanted) > 40
    kill_runs.killed_run(root, tmp_path / "log", wanted, seconds, N_KILLS, random.Random(8), tally)
    assert len(tally.done) == N_KILLS
    assert not tally.differing, tally.done
    assert not kill_runs.still_there(tally.orphans)


@pytest.mark.slow
def test_thirty_kills(tmp_path):
    tally, left = kill_runs.main(30, 0, tmp_path)
    assert len(tally.done) == 30 and tally.runs == 3
    assert not tally.differing and not left


def test_kernel_and_workers_end_with_their_run_and_the_lock_is_free(tmp_path):
    project, log = TinyProject(tmp_path, {"01_a": ()}), tmp_path / "log"
    project.write("01_a", WORKERS)
    process = kill_runs.start(tmp_path, "all", "PROFILE=smoke", log=log)
    wait_until(process, log, lambda: n_workers(process) == 2)
    time.sleep(2)  # they are at work
    orphans = kill_runs.kill(process, everything=False)
    assert len(orphans) >= 5  # engine, notebook, kernel, two workers
    assert kill_runs.finish(tmp_path, "all", "PROFILE=smoke", log=log) == 0
    assert (project.derived / "01_a.txt").read_text() == "01_a smoke 0"
    assert not kill_runs.still_there(orphans)


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


def on_small_disks(tmp_path, *options):
    """Run `on_small_disks.py` where mounting is allowed."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("file systems are mounted in a namespace of Linux")
    trial = [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounting is not allowed here: {tried.stderr.strip()}")
    command = [*NAMESPACE, *SMALL_DISKS, f"--basetemp={tmp_path / 'disks'}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_disks_that_are_full_or_read_only(tmp_path):
    on_small_disks(tmp_path)


@pytest.mark.slow
def test_all_notebooks_on_a_disk_that_grows(tmp_path):
    on_small_disks(tmp_path, "-m", "slow")
