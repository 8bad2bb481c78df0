"""Snakemake, started for the notebooks that are not up to date, and how far each of them is."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from fmri_utils.project.artifacts import atomic_path, sha256_json
from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT

from .locks import one_call_at_a_time
from .request import Request
from .resources import HERE, Resources
from .steps import Step, check_there, last_record, reasons

LOOK_SECONDS = 0.25
END_SECONDS = 20  # for notebooks to end after Ctrl-C
RUNNING = "--nolock", "--rerun-incomplete", "--keep-going", "--rerun-triggers", "mtime"
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
        Folders of the runs that it belongs to; all runs of the call if none is named.
    """

    name: str
    command: tuple[str, ...]
    reads: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    def of(self, request: Request) -> bool:
        """Whether it belongs to a run."""
        return not self.runs or request.folder in self.runs


@dataclass
class Outcome:
    """What one call did in a run.

    Attributes
    ----------
    executed, same : list of str
        Notebooks that ran, and those that turned out to be up to date.
    failed : dict of str to str
        Notebook to why it stopped.
    """

    executed: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> set[str]:
        """All that were looked at."""
        return {*self.executed, *self.same, *self.failed}


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
    requests: Sequence[Request],
    resources: Resources = HERE,
    *,
    jobs: Sequence[Job] = (),
    progress: bool = True,
) -> list[Outcome]:
    """Run what is not up to date, and jobs whatever they are.

    Parameters
    ----------
    requests : sequence of Request
    resources : Resources
    jobs : sequence of Job
    progress : bool

    Returns
    -------
    list of Outcome
        For each request.

    Raises
    ------
    FmriUtilsError
        If the engine stopped and no notebook says why: its own words.
    """
    with contextlib.ExitStack() as stack:
        for request in requests:
            check_there(request.profile, request.steps)
            folder = request.profile.runs
            stack.enter_context(one_call_at_a_time(folder, progress=progress))
        stale = [out_of_date(request) for request in requests]
        if not any(stale) and not jobs:
            return [Outcome() for _ in requests]
        measured = [request.benchmark(step) for request in requests for step in request.steps]
        kept = {path: path.read_bytes() for path in measured if path.is_file()}
        begun = time.time()
        settings = settings_file(requests, resources, jobs)
        log = settings.with_suffix(".log")
        wanted = _wanted(requests, stale, jobs)
        call = [*snakemake(settings), *RUNNING, *resources.options, *wanted]
        code = _watched(call, log, requests, progress)
        outcomes = [_outcome(request, begun, kept, jobs) for request in requests]
        if code and not any(outcome.ended for outcome in outcomes):
            raise FmriUtilsError(_last_words(log))
        for outcome, steps in zip(outcomes, stale, strict=True):
            left = [step.stem for step in steps if step.stem not in outcome.ended]
            if code and left and not outcome.failed:
                outcome.failed[left[0]] = _last_words(log)
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
    return outcome.executed


def check(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """The same, if nothing failed.

    Raises
    ------
    FmriUtilsError
        Why each that failed did.
    """
    failed = [why for outcome in outcomes for why in outcome.failed.values()]
    if failed:
        raise FmriUtilsError("\n".join(failed))
    return outcomes


def settings_file(
    requests: Sequence[Request], resources: Resources = HERE, jobs: Sequence[Job] = ()
) -> Path:
    """The file from which the Snakefile takes what is wanted."""
    runs = {request.folder: request.arguments for request in requests}
    content = {"started_by": os.getpid(), "runs": runs, "each": resources.each}
    content["jobs"] = {job.name: asdict(job) for job in jobs}
    path = PROJECT_ROOT / "runs" / "engine" / f"{sha256_json(sorted(runs))[:12]}.json"
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _wanted(
    requests: Sequence[Request], stale: Sequence[dict[Step, list[str]]], jobs: Sequence[Job]
) -> list[str]:
    """What Snakemake is asked for: what is stale must run, and what needs it follows."""
    others = [
        request.job(job.name, "done").relative_to(PROJECT_ROOT).as_posix()
        for request in requests
        for job in jobs
        if job.of(request)
    ]
    wanted = {
        request.target(step): why
        for request, steps in zip(requests, stale, strict=True)
        for step, why in steps.items()
    }
    forced = [target for target, why in wanted.items() if not why[0].startswith("after ")]
    return ["--forcerun", *forced, *others, "--", *wanted, *others]


def snakemake(settings: Path) -> list[str]:
    """The engine, with the collection's rules and a file of settings."""
    rules = Path(__file__).with_name("Snakefile")
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(rules)),
        *("--directory", str(PROJECT_ROOT), "--configfile", str(settings)),
    ]


def _watched(command: Sequence[str], log: Path, requests: Sequence[Request], progress: bool) -> int:
    """Run the engine and show how far the notebooks are; its exit status."""
    with open(log, "wb") as out:
        environment = {**os.environ, "GIT_PYTHON_REFRESH": "quiet"}  # a machine may lack git
        engine = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            with contextlib.closing(_Board(requests, progress)) as board:
                while engine.poll() is None:
                    board.look()
                    time.sleep(LOOK_SECONDS)
        finally:
            _end(engine)
    return engine.returncode


def _end(engine: subprocess.Popen) -> None:
    """Let what still runs end, by force if it takes long; kernels end with their notebooks."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if engine.poll() is None:
            os.killpg(engine.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                engine.wait(END_SECONDS)


class _Board:
    """A bar for each notebook that runs on a terminal; a line for each that has ended."""

    def __init__(self, requests: Sequence[Request], progress: bool):
        self.requests, self.progress, self.begun = requests, progress, time.time()
        self.bars: dict[Path, tqdm] = {}
        self.seconds: dict[Path, float] = {}  # of the last time
        self.said: set[tuple[Path, float]] = set()

    def close(self) -> None:
        """Draw it for the last time."""
        self.look()
        for bar in self.bars.values():
            bar.close()

    def look(self) -> None:
        """Draw what has changed."""
        if self.progress:
            for request in self.requests:
                for step, state in states(request, self.begun):
                    self._show(request, step, state)

    def _show(self, request: Request, step: Step, state: dict) -> None:
        path = step.beside(request.profile, "state")
        name = step.stem if len(self.requests) == 1 else f"{request.folder} {step.number}"
        if state["state"] == "running":
            if path not in self.bars:
                shape = "{desc} {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
                self.bars[path] = tqdm(bar_format=shape, disable=None, leave=False)
                self.seconds[path] = last_record(request.profile, step)["seconds"]
            bar = self.bars[path]
            bar.total, bar.n = state["of"], state["cell"]
            bar.set_description_str(f"{name}: {state['heading']}", refresh=False)
            if last := self.seconds[path]:
                left = max(0, last - (time.time() - state["begun"]))
                bar.set_postfix_str(f"about {left:.0f} s left, as last time", refresh=False)
            bar.refresh()
        else:
            if path in self.bars:
                self.bars.pop(path).close()
            if state["state"] != "same" and (path, state["begun"]) not in self.said:
                self.said.add((path, state["begun"]))
                after = f" in {state['seconds']:.0f} s" if state["state"] == "done" else ""
                tqdm.write(f"{name} {state['state']}{after}", file=sys.stderr)


def states(request: Request, since: float) -> list[tuple[Step, dict]]:
    """How far the notebooks of a run are that have begun since a time."""
    found = []
    for step in request.steps:
        try:
            state = json.loads(step.beside(request.profile, "state").read_text())
        except (OSError, ValueError):
            continue
        if state["begun"] >= since:
            found.append((step, state))
    return found


def _outcome(
    request: Request, since: float, kept: dict[Path, bytes], jobs: Sequence[Job]
) -> Outcome:
    outcome = Outcome()
    for step, state in states(request, since):
        if state["state"] == "done":
            outcome.executed.append(step.stem)
        elif state["state"] == "same":  # time and memory of the last execution stay
            outcome.same.append(step.stem)
            path = request.benchmark(step)
            if path in kept:
                path.write_bytes(kept[path])
        else:
            outcome.failed[step.stem] = state.get("why") or "its process was lost"
    for job in jobs:
        log, done = (request.job(job.name, ending) for ending in ("log", "done"))
        if job.of(request) and log.is_file() and not done.is_file():
            outcome.failed[job.name] = f"{job.name} stopped. {_last_words(log)}"
    return outcome


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    errors = list(dict.fromkeys(line for line in lines if re.search(r"\berror: ", line, re.I)))
    said = "\n".join(errors[-TAIL_LINES:] or list(filter(None, lines))[-TAIL_LINES:])
    return f"The last words in {log}:\n{said}"
