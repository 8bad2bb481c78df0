"""SIGKILL while converting, and at random moments of fine-tuning. They go on, or begin again;
what is in its place is whole. Searches go on after an interrupt: test_search.py."""

import multiprocessing
import random
import signal
import time

import kill_jobs
import pytest
import torch
from nsd_standins import write_lafite
from safetensors import safe_open

from fmri_utils.lafite.training.checkpoints import checkpoint_files

N_KILLS = 4


@pytest.fixture(scope="module")
def processes():
    """A server that has loaded everything and forks a fresh process for each job."""
    context = multiprocessing.get_context("forkserver")
    rooms = ("pictures.finetuning", "lafite.released.convert")
    context.set_forkserver_preload([f"fmri_utils.{room}" for room in rooms])
    return context


@pytest.fixture
def started(processes):
    """Start jobs; whatever still runs at the end of the test is ended."""
    running = []

    def started(*job):
        process = processes.Process(target=kill_jobs.run, args=job)
        process.start()
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.join()


def undisturbed(started, *job):
    """Do a job to its end; returns the seconds that it takes."""
    started("nothing", None).join()  # the first process also waits for the server
    begin = time.monotonic()
    process = started(*job)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begin


def contents(folder):
    """Bytes of what is in its place; unfinished files lie in hidden folders."""
    return {p.name: p.read_bytes() for p in folder.glob("*") if p.is_file()}


def killed_repeatedly(started, seconds, check, *job):
    """Kill a job at random moments, look at what is left each time, then let it finish."""
    moments, endings = random.Random(7), []
    for _ in range(N_KILLS):
        process = started(*job)
        process.join(moments.uniform(0, seconds))
        process.kill()
        process.join()
        endings.append(process.exitcode)
        check()
    assert -signal.SIGKILL in endings, endings
    process = started(*job)
    process.join()
    assert process.exitcode == 0


def test_a_conversion_killed_while_it_writes_begins_again(started, tmp_path):
    source, folder, whole = tmp_path / "released.pkl", tmp_path / "killed", tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        write_lafite(source, patch)  # 20 MB, so that there is time to kill
    kill_jobs.run("convert", whole, source)
    process = started("convert", folder, source)
    while process.is_alive() and not [p for p in folder.rglob("*.safetensors") if p.is_file()]:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (folder / "lafite.safetensors").exists()
    assert contents(folder).items() <= contents(whole).items()  # finished ones, if any
    kill_jobs.run("convert", folder, source)
    assert contents(folder) == contents(whole)
    assert not [*folder.glob(".part-*")]  # what the killed one left is cleared away


def test_killed_fine_tuning_ends_with_the_same_weights(started, tmp_path):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    seconds = undisturbed(started, "tune", whole)
    tuned = kill_jobs.tune(whole)

    def check():
        for path in checkpoint_files(folder) if folder.is_dir() else ():
            with safe_open(path, "pt") as file:
                names = file.keys()
                assert all(torch.isfinite(file.get_tensor(name)).all() for name in names)

    killed_repeatedly(started, seconds, check, "tune", folder)
    assert torch.equal(kill_jobs.tune(folder), tuned)
