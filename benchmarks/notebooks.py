"""Time and peak memory of every notebook of the demo, from the engine's own records.

Run by ``make bench``. A notebook that is up to date is not run again: what is written down is its
last execution, beside others or alone.
"""

from __future__ import annotations

import json
import os
import platform

import pandas as pd

from fmri_utils.project.artifacts import atomic_path, sha256_file
from pipeline.engine import make
from pipeline.request import parse_request
from pipeline.steps import PROJECT_ROOT


def main() -> None:
    """Run what is not up to date and write the table."""
    request = parse_request(["all", "PROFILE=demo"])
    make(request)
    notebooks = {}
    for step in request.steps:
        [row] = pd.read_csv(request.benchmark(step), sep="\t").to_dict("records")
        megabytes = round(row["max_rss"])
        notebooks[step.stem] = {"seconds": round(row["s"], 1), "peak_megabytes": megabytes}
    report = {
        "machine": {"cpu": platform.machine(), "cores": len(os.sched_getaffinity(0))},
        "pins": sha256_file(PROJECT_ROOT / "constraints.txt")[:12],
        "notebooks": notebooks,
    }
    print(json.dumps(report, indent=1))
    with atomic_path(PROJECT_ROOT / "benchmarks" / "notebooks.json") as tmp:
        tmp.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
