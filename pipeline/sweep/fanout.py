"""Who waits for what: simulated data first, once; then all runs, none of which stops another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distributed import Client, Future, KilledWorker, as_completed

from fmri_utils.project.profiles import PROJECT_ROOT

from ..runner import is_current, plan, wanted_notebooks
from .board import CURRENT, DONE, FAILED, LOST, Board
from .engines import local_gpus, worker_resources
from .settings import Run, Sweep
from .tasks import TOPIC, run_in_child


def up_to_date(run: Run) -> bool:
    """Whether all of a run's notebooks have been run and what they wrote is still there."""
    steps = plan(run.profile, wanted_notebooks(run.request))
    return all(is_current(run.profile, notebook, key) for notebook, key in steps)


def fan_out(client: Client, sweep: Sweep, runs: Sequence[Run], board: Board) -> None:
    """Hand runs to the workers and wait for all of them; what became of each is on the board.

    Parameters
    ----------
    client : distributed.Client
    sweep : Sweep
    runs : sequence of Run
        Those that are not up to date.
    board : Board
        Knows these runs, and one row for each of :func:`subjects_to_simulate`.
    """
    client.subscribe_topic(TOPIC, lambda event: board.heard(*event[1]["said"]))
    for name, run in subjects_to_simulate(runs).items():
        # One after the other: all subjects share the folder's designs, stimuli and captions.
        rest = [a for a in run.arguments[1:] if not a.startswith("data.roi=")]
        log = PROJECT_ROOT / "runs" / run.profile.name / f"{name.replace(' ', '-')}.log"
        _collect(board, {_submit(client, sweep, name, ["data", *rest], log): name})
    ready = []
    for run in runs:
        data = board.rows.get(_own_data(run))
        if data is not None and data.reason:
            board.ended(run.name, FAILED, reason=f"there are no data: {data.reason}")
        else:
            ready.append(run)
    tasks = {_submit(client, sweep, r.name, ["run", *r.arguments], r.log): r.name for r in ready}
    _collect(board, tasks)


def subjects_to_simulate(runs: Sequence[Run]) -> dict[str, Run]:
    """Name of a row of the board to a run whose simulated subject it is; empty for real data."""
    return {_own_data(run): run for run in runs if run.profile.simulation is not None}


def _own_data(run: Run) -> str:
    return f"data of subj{run.profile.subject:02d}"


def _submit(client: Client, sweep: Sweep, name: str, command: list[str], log: Path) -> Future:
    needs = sweep.resources
    return client.submit(
        run_in_child,
        name,
        command,
        log,
        threads=needs.threads,
        local_gpus=local_gpus(needs),
        key=name,
        retries=needs.retries,
        resources=worker_resources(needs),
        pure=False,
    )


def _collect(board: Board, futures: dict) -> None:
    """Wait for each run; a failure is written down, and the others go on."""
    for future in as_completed(futures):
        name = futures[future]
        if future.cancelled():
            board.ended(name, LOST, reason="Dask's scheduler has lost it")
            continue
        error = future.exception()
        if error is None:
            board.ended(name, DONE)
        elif isinstance(error, KilledWorker):
            board.ended(name, LOST, reason=f"its worker was lost again and again: {error}")
        else:
            board.ended(name, FAILED, reason=str(error))


def mark_current(board: Board, runs: Sequence[Run]) -> list[Run]:
    """Write down which runs are up to date; returns the others."""
    left = []
    for run in runs:
        if up_to_date(run):
            board.ended(run.name, CURRENT)
        else:
            left.append(run)
    return left
