"""Command line: ``python -m pipeline.sweep SUBJECTS="1 2" AREAS="V1 V2" ENGINE=local``."""

import sys
from collections.abc import Mapping, Sequence

from fmri_utils import nsd
from fmri_utils.plots import save_figure
from fmri_utils.plots.over_subjects import fig_sweep
from fmri_utils.project.artifacts import atomic_path, save_json, sha256_json
from fmri_utils.project.command import command
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.provenance import write_provenance

from ..engine import failures, run
from ..resources import check_device
from .gather import figure_rows, gather, page
from .runs import HELP, Run, Sweep, parse


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


@command
def main(arguments: list[str]) -> int | None:
    """Do the runs; 1 if one lacks its results, which are named at the end."""
    if not arguments or "help" in arguments:
        print("".join(f"{key:<10} {text}\n" for key, text in HELP.items()), end="")
        print(f"Areas: atlases as in data.roi, and {', '.join(sorted(nsd.FIELD_NAMES))}.")
        return None
    sweep = parse(arguments)
    check_device(sweep.resources, sweep.runs[0].profile.device)
    outcomes = run([run.request for run in sweep.runs], sweep.resources)
    stopped = zip(sweep.runs, map(failures, outcomes), strict=True)
    lacking = {run.name: why[0] for run, why in stopped if why}
    finished = [run for run in sweep.runs if run.name not in lacking]
    sys.stderr.write(f"{len(finished)} of {len(sweep.runs)} runs have their results\n")
    if finished:
        sys.stderr.write(save_results(sweep, finished, lacking))
    for name, why in lacking.items():
        sys.stderr.write(f"failed: {name}: {why}\n")
    if lacking:
        sys.stderr.write("The same command does only these again.\n")
    return bool(lacking)


if __name__ == "__main__":
    raise SystemExit(main())
