"""Command line: ``python -m pipeline.sweep SUBJECTS="1 2" AREAS="V1 V2" ENGINE=local``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO

from fmri_utils import nsd
from fmri_utils.plots import save_figure
from fmri_utils.plots.over_subjects import fig_sweep
from fmri_utils.project.artifacts import atomic_path, save_json, sha256_json
from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.provenance import write_provenance

from .board import CURRENT, DONE, Board, Row
from .gather import figure_rows, gather, page
from .settings import HELP, Run, Sweep, parse

MISSING = """{name} is not installed, and `make sweep` needs it: it belongs to the optional extra \
"sweep". Install it: {python} -m pip install -c constraints.txt -e ".[sweep]"."""


def run_sweep(sweep: Sweep, stream: IO[str] = sys.stderr) -> Board:
    """Do the runs that are not up to date; returns what became of all of them.

    Raises
    ------
    FmriUtilsError
        If Dask is not installed, workers cannot be started, or a GPU asked for is not there.
    """
    try:
        from .engines import check_device, open_client
        from .fanout import fan_out, mark_current, subjects_to_simulate
    except ModuleNotFoundError as err:
        raise FmriUtilsError(MISSING.format(name=err.name, python=sys.executable)) from err
    board = Board((run.name for run in sweep.runs), stream)
    left = mark_current(board, sweep.runs)
    if left:
        board.rows = {**{name: Row() for name in subjects_to_simulate(left)}, **board.rows}
        check_device(sweep.resources, left[0].profile.device)
        logs = PROJECT_ROOT / "runs" / left[0].profile.name / "slurm"
        with open_client(sweep.resources.for_tasks(len(left)), logs) as client:
            stream.write(f"dashboard: {client.dashboard_link}\n")
            fan_out(client, sweep, left, board)
    return board


def save_results(sweep: Sweep, finished: Sequence[Run], lacking: Mapping[str, str]) -> str:
    """Write the gathered table, its figure and what made them; returns what to tell the user."""
    profile = finished[0].profile
    table = gather(finished, n_resamples=profile.encoder.n_bootstrap)
    if not table["rows"]:
        return "no scores to gather: they come with notebook 03 (TARGET=03 or further)\n"
    config = {"runs": {run.name: run.profile.as_dict() for run in finished}}
    config["seed"] = " ".join(map(str, sorted({run.profile.seed for run in finished})))
    json_path, page_path = (sweep.folder / f"results.{ending}" for ending in ("json", "md"))
    inputs = table.pop("inputs")
    save_json(json_path, {**table, "lacking": dict(lacking)}, config=config, inputs=inputs)
    with atomic_path(page_path) as tmp:
        tmp.write_text(page(table, profile.dataset_name, lacking))
    written, made_by = [json_path, page_path], "make sweep"
    if panels := figure_rows(table):
        subjects = sorted({run.profile.subject for run in finished})
        label = f"{profile.dataset_name}, subjects {', '.join(map(str, subjects))}"
        about = {"notebook": made_by, "configuration": sha256_json(config)[:12]}
        about["seed"] = config["seed"]
        figure = fig_sweep(panels, label=label)
        written += save_figure(figure, sweep.folder, "fig_sweep", about=about)
    write_provenance(sweep.folder, written, made_by=made_by, config=config, inputs=inputs)
    return f"table and figure of {len(finished)} runs: {sweep.folder.relative_to(PROJECT_ROOT)}\n"


def main(arguments: Sequence[str], stream: IO[str] = sys.stderr) -> int:
    """0 if every run has its result, 1 if one lacks it, 2 on a clear error."""
    if not arguments or "help" in arguments:
        stream.write("".join(f"{key:<10} {text}\n" for key, text in HELP.items()))
        stream.write(f"Areas: atlases as in data.roi, and {', '.join(sorted(nsd.FIELD_NAMES))}.\n")
        return 0
    try:
        sweep = parse(arguments)
        board = run_sweep(sweep, stream)
    except FmriUtilsError as err:
        stream.write(f"error: {err}\n")
        return 2
    rows = {run.name: board.rows[run.name] for run in sweep.runs}
    lacking = {n: row.reason for n, row in rows.items() if row.state not in (DONE, CURRENT)}
    finished = [run for run in sweep.runs if run.name not in lacking]
    stream.write(f"{len(finished)} of {len(sweep.runs)} runs have their results\n")
    code = 1 if lacking else 0
    if finished:
        try:
            stream.write(save_results(sweep, finished, lacking))
        except FmriUtilsError as err:
            stream.write(f"error: {err}\n")
            code = 2
    for name, reason in lacking.items():
        stream.write(f"{rows[name].state}: {name}: {reason}\n")
    if lacking:
        stream.write("The same command does only these again.\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
