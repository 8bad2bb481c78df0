"""What a worker does: one run, as a process of its own, with its own log and its own threads."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from distributed import get_worker

from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT

TOPIC = "fmri-utils-sweep"
STARTED = re.compile(r"(\d\d_\w+) \.\.\.")  # what the runner says when it begins a notebook
TAIL_LINES = 4  # of a log, as the reason of a failure
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class RunFailed(FmriUtilsError):
    """A run ended with an error; the message has its last words and the place of its log."""


def run_in_child(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    threads: int,
    local_gpus: tuple[int, Sequence[str]] | None = None,
) -> dict:
    """Do a run, or simulate a subject, and report its notebooks while they go by.

    Parameters
    ----------
    name : str
        For the table of states.
    command : sequence of str
        As for :func:`pipeline.sweep.child.main`.
    log : pathlib.Path
        Its output is appended here.
    threads : int
        That its libraries may use.
    local_gpus : (int, sequence of str), optional
        GPUs of a run, and all GPUs of this machine. Slurm gives out its GPUs itself.

    Returns
    -------
    dict
        ``node`` and ``seconds``.

    Raises
    ------
    RunFailed
        If it ended with another code than 0.
    """
    start, node = time.monotonic(), platform.node()
    where = os.environ.get("SLURMD_NODENAME", node)
    _report(name, "started", where)
    log.parent.mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "pipeline.sweep.child", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=PROJECT_ROOT,
        env={**os.environ, **_environment(threads, local_gpus)},
    )
    with child, open(log, "a", buffering=1) as file:
        file.write(f"\n== {time.strftime('%Y-%m-%d %H:%M:%S')} on {where}: {' '.join(command)}\n")
        lines = []
        for line in child.stdout:
            file.write(line)
            lines.append(line.rstrip())
            if found := STARTED.match(line):
                _report(name, "notebook", found[1])
        code = child.wait()
    if code:
        last = " / ".join(line for line in lines[-TAIL_LINES:] if line) or "it said nothing"
        raise RunFailed(
            f"exit code {code} on {where}: {last} (log: {log.relative_to(PROJECT_ROOT)})"
        )
    return {"node": where, "seconds": time.monotonic() - start}


def _report(name: str, what: str, detail: str) -> None:
    get_worker().log_event(TOPIC, {"said": (name, what, detail)})


def _environment(threads: int, local_gpus: tuple[int, Sequence[str]] | None) -> Mapping[str, str]:
    """Threads and GPUs of one run."""
    variables = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if local_gpus is not None:
        variables["CUDA_VISIBLE_DEVICES"] = own_gpus(*local_gpus)
    return variables


def own_gpus(each: int, ids: Sequence[str]) -> str:
    """A local worker's share of this machine's GPUs, as CUDA_VISIBLE_DEVICES."""
    first = int(get_worker().name) * each  # LocalCluster counts its workers from 0
    return ",".join(ids[first : first + each])
