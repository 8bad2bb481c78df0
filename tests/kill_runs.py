"""Kill a run of all notebooks with SIGKILL at random moments, resume it, compare what it leaves.

``python tests/kill_runs.py 30 1`` does it 30 times (seed 1), spread over several runs, and prints
a line for each. Everything happens in a copy of the project.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tiny_project import PROJECT, copy_project

from pipeline.request import parse_request

SETTINGS = ("all", "PROFILE=smoke", "SEED=971")
KILLS_PER_RUN = 10
STARTING_SECONDS = 3  # before the first notebook: imports, hashes
ENDING_SECONDS = 30  # a generous bound for what is to end by itself, on a busy machine


def start(root, *settings, log):
    """Start a run in a copy of the project; what it says is appended to a file."""
    environment = os.environ | {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pipeline", *settings]
    with open(log, "ab") as out:
        return subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=out)


def finish(root, *settings, log):
    """Run to the end; returns the exit status."""
    return start(root, *settings, log=log).wait()


def outputs(root):
    """What a run left, by name: bytes of derived files and figures, and the notebooks' records.

    Executed notebooks hold times, so they are left out, also from the hashes in the records.
    """
    profile = parse_request(SETTINGS).profile
    derived, figures, runs = (
        root / folder.relative_to(PROJECT)
        for folder in (profile.derived, profile.figures, profile.runs)
    )
    files = [p for folder in (derived, figures) for p in folder.rglob("*") if p.is_file()]
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    for path in runs.glob("*-record.json"):
        record = json.loads(path.read_text())
        kept = {k: v for k, v in record["written"].items() if not k.endswith(".ipynb")}
        found[path.name] = {"made_from": record["made_from"], "written": kept}
    return found


def kill(process, everything):
    """Kill a run, or it and all that it started, unless it has ended.

    Returns
    -------
    list of psutil.Process
        What it had started and what must now end by itself, at once or soon.
    """
    below = []
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in below if everything else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
    return below


def still_there(processes):
    """Those that have not ended by themselves."""
    _, alive = psutil.wait_procs(processes, ENDING_SECONDS)
    return [" ".join(p.cmdline()) for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@dataclass
class Tally:
    """What came of the kills."""

    done: list = field(default_factory=list)  # (seconds after the start, everything)
    runs: int = 0
    differing: list = field(default_factory=list)
    orphans: list = field(default_factory=list)


def killed_run(root, log, wanted, seconds, n, rng, tally):
    """One run, killed up to n times and resumed as often, compared with an undisturbed one."""
    for _ in range(n):
        process, begin = start(root, *SETTINGS, log=log), time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STARTING_SECONDS * rng.random() + 2 * seconds / n * rng.random())
        if process.poll() is not None:  # it came to its end before
            break
        everything = rng.random() < 0.5
        # The next run starts while the rest may still be ending, as a user would start it.
        tally.orphans += kill(process, everything)
        assert process.returncode == -signal.SIGKILL
        tally.done.append((round(time.monotonic() - begin, 2), everything))
    assert finish(root, *SETTINGS, log=log) == 0, log.read_text()[-3000:]
    tally.runs += 1
    found = outputs(root)
    tally.differing += sorted(
        name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
    )
    tally.differing += [str(path) for path in root.rglob(".part-*")]  # nothing unfinished stays


def main(n, seed, folder):
    """An undisturbed run, then runs until they have been killed n times."""
    rng, tally = random.Random(seed), Tally()
    undisturbed = copy_project(folder / "undisturbed")
    begin = time.monotonic()
    assert finish(undisturbed, *SETTINGS, log=folder / "undisturbed.log") == 0
    seconds, wanted = time.monotonic() - begin, outputs(undisturbed)
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    while (before := len(tally.done)) < n:
        root, log = copy_project(folder / f"killed-{tally.runs}"), folder / f"{tally.runs}.log"
        killed_run(root, log, wanted, seconds, min(KILLS_PER_RUN, n - before), rng, tally)
        for after, everything in tally.done[before:]:
            what = "all its processes" if everything else "its first process only"
            print(f"run {tally.runs}, after {after:.1f} s: {what}", flush=True)
        print(f"run {tally.runs}: differing: {tally.differing}", flush=True)
        shutil.rmtree(root)
    left = still_there(tally.orphans)
    print(f"{len(tally.done)} kills in {tally.runs} runs; of {len(wanted)} files compared after")
    print(f"each run {len(tally.differing)} differ; processes that did not end: {left}")
    return tally, left


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tally, left = main(int(sys.argv[1]), int(sys.argv[2]), Path(folder))
    raise SystemExit(bool(tally.differing or left))
