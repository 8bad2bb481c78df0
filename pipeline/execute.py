"""Run one notebook of a run: ``python -m pipeline.execute 03 PROFILE=demo``.

The engine starts this for every notebook that is not up to date, and for those after it. A notebook
that was made from the same as now is not run again: what came before it was, and gave the same.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fmri_utils.project.artifacts import OUTPUTS_MIME, atomic_path, sha256_file
from fmri_utils.project.command import command
from fmri_utils.project.errors import FmriUtilsError, ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from .kernels import IpcKernelManager, end_with
from .locks import at_work, own_gpus, visible_gpus
from .pairing import notebook_from_source
from .request import Request, parse_request
from .steps import Step, made_from, reasons, steps

TIMEOUT_SECONDS = 6 * 3600  # of one cell: a wedged kernel must not hold a night's run
START_SECONDS = 300  # of a kernel, on a machine with much else to do
FAILED = "failed"
GPUS = "FMRI_UTILS_GPUS"  # of this machine, for one notebook


def write_state(profile: Profile, step: Step, **about: object) -> None:
    """Say how far a notebook is, for whoever watches."""
    with atomic_path(step.beside(profile, "state")) as tmp:
        tmp.write_text(json.dumps({"node": platform.node(), **about}))


def execute(
    source: Path,
    executed: Path,
    parameters: dict[str, object],
    tell: Callable[[int, int, str], None] = lambda *_: None,
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
        Called before each cell with its number, the number of cells, and the heading it is under.

    Returns
    -------
    list of str
        Files that the notebook declared in its last cell, relative to the project.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    failed = executed.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    with atomic_path(executed) as tmp:
        given = tmp.with_name("given.ipynb")
        given.write_text(notebook_from_source(source))
        known = _parameters(given)
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ProfileError(f"{source.name} has no parameter {unknown}. Valid: {sorted(known)}.")
        papermill.engines.papermill_engines.register("telling", telling(tell))
        try:
            papermill.execute_notebook(
                str(given),
                str(tmp),
                parameters=parameters,
                engine_name="telling",
                kernel_name="python3",
                kernel_manager_class=IpcKernelManager,
                progress_bar=False,
                execution_timeout=TIMEOUT_SECONDS,
                start_timeout=START_SECONDS,
                iopub_timeout=START_SECONDS,  # for a figure to arrive; a busy kernel needs longer
                cwd=str(source.parent),
            )
        except (PapermillExecutionError, CellTimeoutError, RuntimeError) as err:  # a dead kernel
            message = f"{source.name} stopped: {_last_line(err)}"
            if tmp.is_file():
                os.replace(tmp, failed)
                message += f"\nThe notebook up to there: {failed}"
            raise FmriUtilsError(message) from err
        return [*_declared_outputs(tmp), executed.relative_to(PROJECT_ROOT).as_posix()]


def _parameters(notebook: Path) -> set[str]:
    """Names that the cell tagged ``parameters`` sets; papermill knows some forms only."""
    cells = json.loads(notebook.read_text())["cells"]
    sources = [
        "".join(cell["source"])
        for cell in cells
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    return {
        node.id
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _last_line(err: Exception) -> str:
    name, value = getattr(err, "ename", type(err).__name__), getattr(err, "evalue", str(err))
    return f"{name}: {value}"


def telling(tell: Callable[[int, int, str], None]) -> type:
    """Papermill's own engine, which says which cell it runs."""
    from papermill.engines import NBClientEngine

    class TellingEngine(NBClientEngine):
        """Says what runs, then runs it."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, *args, **kwargs):
            """As papermill's own."""
            begin, cells = nb_man.cell_start, nb_man.nb.cells

            def cell_start(cell, cell_index, **more):
                lines = [
                    line.removeprefix("## ")
                    for earlier in cells[:cell_index]
                    for line in earlier.source.splitlines()
                    if earlier.cell_type == "markdown" and line.startswith("## ")
                ]
                tell(cell_index + 1, len(cells), lines[-1] if lines else "")
                begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            super().execute_managed_notebook(nb_man, *args, **kwargs)

    return TellingEngine


def _declared_outputs(executed: Path) -> list[str]:
    """Files that the last cell's output names; where pictures are described, there are some."""
    notebook = json.loads(executed.read_text())
    described = [c["metadata"]["alt"] for c in notebook["cells"] if "alt" in c["metadata"]]
    if described and '"image/' not in executed.read_text():
        raise FmriUtilsError(
            f"{executed.name} shows no picture. Expected: {described[0]}. Does something redirect "
            "matplotlib's figures?"
        )
    for cell in reversed(notebook["cells"]):
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get(OUTPUTS_MIME)
            if data and "written" in data:
                return data["written"]
    raise FmriUtilsError(
        f"{executed.name} did not say what it wrote. Expected: its last cell is files.finish(...)."
    )


def run(step: Step, request: Request) -> bool:
    """Execute a notebook unless it is up to date; whether it was executed."""
    profile, executed, begun = request.profile, step.executed(request.profile), time.time()
    if not reasons(profile, step):
        for path in (executed, *(profile.derived / name for name in step.writes)):
            os.utime(path)  # newer than its inputs again
        write_state(profile, step, state="same", begun=begun)
        return False

    def tell(cell: int, of: int, heading: str) -> None:
        where = {"cell": cell, "of": of, "heading": heading}
        write_state(profile, step, state="running", begun=begun, **where)

    tell(0, 0, "starting")
    origin = made_from(profile, step)
    try:
        written = execute(step.source, executed, request.parameters, tell)
        hashes = {name: sha256_file(PROJECT_ROOT / name) for name in written}
    except BaseException as err:
        why = str(err) if isinstance(err, FmriUtilsError) else f"{type(err).__name__}: {err}"
        write_state(profile, step, state=FAILED, begun=begun, why=why)
        raise
    with atomic_path(step.beside(profile, "record")) as tmp:
        record = {"made_from": origin, "written": hashes, "seconds": time.time() - begun}
        tmp.write_text(json.dumps(record, indent=1) + "\n")
    write_state(profile, step, state="done", begun=begun, seconds=time.time() - begun)
    return True


@contextlib.contextmanager
def as_job() -> Iterator[None]:
    """For no longer than the engine, on GPUs of its own; on a cluster the scheduler gives them."""
    end_with(os.getppid())
    number = int(os.environ.get(GPUS, 0))
    if not number:
        yield
        return
    with own_gpus(number, visible_gpus(), PROJECT_ROOT / "runs") as mine:
        os.environ["CUDA_VISIBLE_DEVICES"] = mine
        yield


@command
def main(arguments: list[str]) -> None:
    """A notebook's number and the settings of a run."""
    number, *rest = arguments
    request = parse_request(rest)
    step = next(step for step in steps() if step.number == number)
    with as_job(), at_work(request.profile.runs):
        run(step, request)


if __name__ == "__main__":
    sys.exit(main())
