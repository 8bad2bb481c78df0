"""Run one notebook of a run: ``python -m pipeline.execute 03 PROFILE=demo``.

The engine starts this for every notebook that is not up to date, and for those after it. A notebook
that was made from the same as now is not run again: what came before it was, and gave the same.
"""

import ast
import contextlib
import functools
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbclient.exceptions import CellControlSignal

from fmri_utils.project.artifacts import OUTPUTS_MIME, atomic_path, name_in, sha256_file, write_json
from fmri_utils.project.command import command
from fmri_utils.project.errors import FmriUtilsError, ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT, WHICH_RUN, Profile

from .kernels import IpcKernelManager, end_with
from .locks import at_work, own_gpus, visible_gpus
from .pairing import notebook_from_source
from .request import Request, parse_request
from .steps import Step, last_record, made_from, reasons

# Seconds for one cell (a wedged kernel must not hold a night's run), for a kernel to start, and for
# a figure to arrive, on a machine with much else to do.
PATIENCE = {"execution_timeout": 6 * 3600, "start_timeout": 300, "iopub_timeout": 300}
GPUS = "FMRI_UTILS_GPUS"  # of this machine, for one notebook


def write_state(profile: Profile, step: Step, **about: object) -> None:
    """Say how far a notebook is, for whoever watches."""
    write_json(step.beside(profile, "state"), {"node": platform.node(), **about})


def execute(
    source: Path, executed: Path, parameters: dict, tell: Callable[..., None] = lambda **_: None
) -> list[str]:
    """Run one notebook in a fresh kernel and keep the executed copy.

    Parameters
    ----------
    source : pathlib.Path
        The ``.py`` (py:percent) notebook.
    executed : pathlib.Path
        Where the executed ``.ipynb`` goes; it appears only on success. After a failure the
        notebook, with its traceback, is kept as ``<name>.failed.ipynb``.
    parameters : dict
        Values for the notebook's ``parameters`` cell; an unknown name is refused.
    tell : callable, optional
        Called before each cell with its number (``cell``), the number of cells (``of``), and the
        ``heading`` it is under.

    Returns
    -------
    list of str
        Files that the notebook declared in its last cell, relative to the project.
    """
    import papermill  # takes a second, and a notebook that is up to date does not need it

    failed = executed.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    notebook = nbformat.reads(notebook_from_source(source), as_version=4)
    _check_parameters(notebook, parameters, source.name)
    under = [""]  # headings so far

    def begin(cell: dict, cell_index: int) -> None:
        if cell.cell_type == "markdown":
            under.extend(re.findall(r"^## (.*)", cell.source, re.MULTILINE))
        of = len(notebook.cells) + 1  # and the cell of the values
        tell(cell=cell_index + 1, of=of, heading=under[-1])

    with atomic_path(executed) as tmp:
        given = tmp.with_name("given.ipynb")
        nbformat.write(notebook, given)
        try:
            done = papermill.execute_notebook(
                str(given),
                str(tmp),
                parameters=parameters,
                kernel_manager_class=IpcKernelManager,
                on_cell_start=begin,
                progress_bar=False,
                cwd=str(source.parent),
                **PATIENCE,
            )
        except (papermill.PapermillExecutionError, CellControlSignal, RuntimeError) as err:
            name, value = getattr(err, "ename", type(err).__name__), getattr(err, "evalue", err)
            message = f"{source.name} stopped: {name}: {value}"  # RuntimeError: a dead kernel
            if tmp.is_file():
                os.replace(tmp, failed)
                message += f"\nThe notebook up to there: {failed}"
            raise FmriUtilsError(message) from err
        return [*_declared_outputs(done, source), name_in(PROJECT_ROOT, executed)]


def _check_parameters(notebook: dict, parameters: dict[str, object], name: str) -> None:
    """Refuse values that the notebook does not ask for; papermill would set them all the same."""
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    nodes = [node for cell in tagged for node in ast.walk(ast.parse(cell.source))]
    known = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if unknown := sorted(set(parameters) - known):
        raise ProfileError(f"{name} has no parameter {unknown}. Valid: {sorted(known)}.")


def _declared_outputs(notebook: dict, source: Path) -> list[str]:
    """Files that the last cell's output names; where pictures are described, there are some."""
    described = [c.metadata["alt"] for c in notebook.cells if "alt" in c.metadata]
    shown = [output.get("data", {}) for c in notebook.cells for output in c.get("outputs", [])]
    if described and not any(kind.startswith("image/") for data in shown for kind in data):
        raise FmriUtilsError(
            f"{source.name} shows no picture. Expected: {described[0]}. Is matplotlib redirected?"
        )
    for data in reversed(shown):
        if "written" in data.get(OUTPUTS_MIME, ()):
            return data[OUTPUTS_MIME]["written"]
    raise FmriUtilsError(
        f"{source.name} did not say what it wrote. Expected: its last cell is files.finish(...)."
    )


def run(step: Step, request: Request) -> bool:
    """Execute a notebook unless it is up to date; whether it was executed."""
    profile, executed, begun = request.profile, step.executed(request.profile), time.time()
    say = functools.partial(write_state, profile, step, begun=begun)
    if not reasons(profile, step):
        for path in (executed, *(profile.derived / name for name in step.writes)):
            os.utime(path)  # newer than its inputs again
        say(state="same")
        return False
    tell = functools.partial(say, state="running", last=last_record(profile, step)["seconds"])
    tell(cell=0, of=0, heading="starting")
    origin = made_from(profile, step)
    try:
        written = execute(step.source, executed, request.parameters, tell)
        hashes = {name: sha256_file(PROJECT_ROOT / name) for name in written}
    except BaseException as err:
        why = str(err) if isinstance(err, FmriUtilsError) else f"{type(err).__name__}: {err}"
        say(state="failed", why=why)
        raise
    config, seconds = {name: getattr(profile, name) for name in WHICH_RUN}, time.time() - begun
    record = {"made_from": origin, "written": hashes, "config": config, "seconds": seconds}
    write_json(step.beside(profile, "record"), record)
    say(state="done", seconds=seconds)
    return True


@contextlib.contextmanager
def as_job() -> Iterator[None]:
    """For no longer than the engine, on GPUs of its own; on a cluster the scheduler gives them."""
    end_with(os.getppid())
    with contextlib.ExitStack() as stack:
        if number := int(os.environ.get(GPUS, 0)):
            mine = own_gpus(number, visible_gpus(), PROJECT_ROOT / "runs")
            os.environ["CUDA_VISIBLE_DEVICES"] = stack.enter_context(mine)
        yield


@command
def main(arguments: list[str]) -> None:
    """A notebook's number and the settings of a run."""
    request = parse_request(arguments)
    with as_job(), at_work(request.profile.runs):
        run(request.steps[-1], request)


if __name__ == "__main__":
    sys.exit(main())
