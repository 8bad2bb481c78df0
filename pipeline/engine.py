"""Snakemake, started for the notebooks that are not up to date, and how far each of them is."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm.auto import tqdm

from fmri_utils.project.artifacts import name_in, sha256_json, write_json
from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT

from .locks import one_call_at_a_time
from .request import Request
from .resources import Resources
from .steps import Step, check_there, content, reasons

LOOK_SECONDS = 0.25
BAR = "{desc} {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
END_SECONDS = 20  # for notebooks to end after Ctrl-C
RUNNING = "--nolock", "--rerun-incomplete", "--keep-going", "--force", "--rerun-triggers", "mtime"
Outcome = dict[str, str]
TAIL_LINES = 15  # of the engine's log, where no notebook says what went wrong


@dataclass(frozen=True)
class Job:
    """What is no notebook and belongs to a run: a part of a study, a block of an atlas.

    Attributes
    ----------
    name : str
    command : tuple of str
        A module and its arguments, of ``python -m``; those of the run follow.
    reads : tuple of str
        Derived files.
    runs : tuple of str
        Folders of the runs that it belongs to.
    """

    name: str
    command: tuple[str, ...]
    reads: tuple[str, ...]
    runs: tuple[str, ...]


def out_of_date(request: Request) -> dict[Step, list[str]]:
    """Notebooks that would run, in order, and why; those that only may run say after which."""
    found: dict[Step, list[str]] = {}
    for step in request.steps:
        why = reasons(request.profile, step)
        after = [s.number for s in found if set(s.writes) & set(step.reads)]
        if why or after:
            found[step] = why or [f"after {', '.join(after)}, if their files come out changed"]
    return found


def run(
    requests: list[Request], resources: Resources, jobs: Sequence[Job] = (), progress: bool = True
) -> list[Outcome]:
    """Run what is not up to date, and jobs whatever they are.

    Parameters
    ----------
    requests : list of Request
    resources : Resources
    jobs : sequence of Job
    progress : bool

    Returns
    -------
    list of dict of str to str
        For each request, what came of each notebook that was looked at: "done", "same" (as before),
        or why it stopped; and of jobs that stopped.

    Raises
    ------
    FmriUtilsError
        If the engine stopped and no notebook says why: its own words.
    """
    with contextlib.ExitStack() as stack:
        for request in requests:
            check_there(request.profile, request.steps)
            stack.enter_context(one_call_at_a_time(request.profile.runs, progress=progress))
        stale = [out_of_date(request) for request in requests]
        if not any(stale) and not jobs:
            return [{} for _ in requests]
        measured = [request.benchmark(step) for request in requests for step in request.steps]
        kept = {path: path.read_bytes() for path in measured if path.is_file()}
        begun = time.time()
        call, log = snakemake(requests, resources, jobs)
        pairs = zip(requests, stale, strict=True)
        paths = [step.executed(request.profile) for request, steps in pairs for step in steps]
        paths += [r.job(job.name, "done") for job in jobs for r in requests if r.folder in job.runs]
        wanted = [name_in(PROJECT_ROOT, path) for path in paths]
        call += [*RUNNING, *resources.options, "--", *wanted]
        code = _watched(call, log, requests if progress else [], begun)
        outcomes = [_outcome(request, begun, kept, jobs) for request in requests]
        if code and not any(outcomes):
            raise FmriUtilsError(_last_words(log))
        for outcome, steps in zip(outcomes, stale, strict=True):
            left = [step.stem for step in steps if step.stem not in outcome]
            if code and left and not failures(outcome):
                outcome[left[0]] = _last_words(log)
        return outcomes


def make(request: Request, *, progress: bool = True) -> list[str]:
    """Run what is not up to date in one run; names of the notebooks that were executed.

    Raises
    ------
    FmriUtilsError
        If a notebook stopped: which, why, and where it is kept. What does not need it has run.
    """
    cores = len(os.sched_getaffinity(0))
    resources = Resources(threads=max(1, cores // 4), threads_alone=cores)  # 04 to 07: side by side
    (outcome,) = check(run([request], resources, progress=progress))
    return [name for name, state in outcome.items() if state == "done"]


def failures(outcome: Outcome) -> list[str]:
    """Why what failed did."""
    return [state for state in outcome.values() if state not in ("done", "same")]


def check(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """The same, if nothing failed.

    Raises
    ------
    FmriUtilsError
        Why each that failed did.
    """
    if failed := [why for outcome in outcomes for why in failures(outcome)]:
        raise FmriUtilsError("\n".join(failed))
    return outcomes


def snakemake(
    requests: Sequence[Request], resources: Resources, jobs: Sequence[Job] = ()
) -> tuple[list[str], Path]:
    """The engine's command line, with a file of what its rules are to know, and its log."""
    runs = {request.folder: request.arguments for request in requests}
    known = {"started_by": os.getpid(), "runs": runs, "each": resources.each}
    known["jobs"] = {job.name: asdict(job) for job in jobs}
    path = PROJECT_ROOT / "runs" / "engine" / f"{sha256_json(sorted(runs))[:12]}.json"
    write_json(path, known)
    rules = Path(__file__).with_name("Snakefile")
    call = [sys.executable, "-m", "snakemake", "--snakefile", rules, "--directory", PROJECT_ROOT]
    return [*map(str, call), "--configfile", str(path)], path.with_suffix(".log")


def _watched(command: Sequence[str], log: Path, requests: Sequence[Request], since: float) -> int:
    """Run the engine and show how far the notebooks are; its exit status."""
    shown, environment = ({}, set()), {**os.environ, "GIT_PYTHON_REFRESH": "quiet"}  # without git
    with open(log, "wb") as out:
        channels = {"stdout": out, "stderr": out, "start_new_session": True}
        engine = subprocess.Popen(command, env=environment, **channels)
        try:
            while engine.poll() is None:
                time.sleep(LOOK_SECONDS)
                _show(requests, since, *shown)
            _show(requests, since, *shown)
        finally:
            _end(engine)
            for bar in shown[0].values():
                bar.close()
    return engine.returncode


def _end(engine: subprocess.Popen) -> None:
    """Let what still runs end, by force if it takes long; kernels end with their notebooks."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if engine.poll() is None:
            os.killpg(engine.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                engine.wait(END_SECONDS)


def _show(requests: Sequence[Request], since: float, bars: dict[str, tqdm], said: set) -> None:
    """A bar for each notebook that runs on a terminal; a line for each that has ended."""
    found = [(request, *pair) for request in requests for pair in states(request, since)]
    for request, step, state in found:
        name = step.stem if len(requests) == 1 else f"{request.folder} {step.number}"
        if state["state"] == "running":
            if name not in bars:
                bars[name] = tqdm(bar_format=BAR, disable=None, leave=False)
            bars[name].total, bars[name].n = state["of"], state["cell"]
            if state["last"]:
                left = max(0, state["last"] - (time.time() - state["begun"]))
                bars[name].set_postfix_str(f"about {left:.0f} s left, as last time", refresh=False)
            bars[name].set_description_str(f"{name}: {state['heading']}")
            continue
        if name in bars:
            bars.pop(name).close()
        if state["state"] != "same" and (name, state["begun"]) not in said:
            said.add((name, state["begun"]))
            after = f" in {state['seconds']:.0f} s" if state["state"] == "done" else ""
            tqdm.write(f"{name} {state['state']}{after}", file=sys.stderr)


def states(request: Request, since: float) -> list[tuple[Step, dict]]:
    """How far the notebooks of a run are that have begun since a time."""
    found = [(step, content(step.beside(request.profile, "state"))) for step in request.steps]
    return [(step, state) for step, state in found if state.get("begun", 0) >= since]


def _outcome(
    request: Request, since: float, kept: dict[Path, bytes], jobs: Sequence[Job]
) -> Outcome:
    outcome = {}
    for step, state in states(request, since):
        lost = state.get("why") or "its process was lost"
        outcome[step.stem] = state["state"] if state["state"] in ("done", "same") else lost
        if state["state"] == "same" and (path := request.benchmark(step)) in kept:
            path.write_bytes(kept[path])  # of the last execution
    for job in jobs:
        log, done = (request.job(job.name, ending) for ending in ("log", "done"))
        if request.folder in job.runs and log.is_file() and not done.is_file():
            outcome[job.name] = f"{job.name} stopped. {_last_words(log)}"
    return outcome


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    errors = list(dict.fromkeys(line for line in lines if re.search(r"\berror: ", line, re.I)))
    said = "\n".join(errors[-TAIL_LINES:] or list(filter(None, lines))[-TAIL_LINES:])
    return f"The last words in {log}:\n{said}"
