"""``make all``, ``make 03``, ``make plan``: ``python -m pipeline all PROFILE=demo SUBJECT=1``.

``plan`` before the targets only says what would run and why; ``report`` writes Snakemake's own
report of what has run.
"""

import subprocess
import sys

from fmri_utils.project.artifacts import name_in
from fmri_utils.project.command import command
from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT

from .engine import make, out_of_date, snakemake
from .pairing import warn_of_edits
from .request import Request, parse_request
from .resources import Resources

NOTHING = "nothing to do: every notebook and figure is up to date"
REPORT = PROJECT_ROOT / "build" / "report.html"


def plan(request: Request) -> str:
    """What would run and why, in lines."""
    stale = out_of_date(request)
    lines = [f"{step.stem}: {why}" for step, reasons in stale.items() for why in reasons]
    return "\n".join(lines) or NOTHING


def report(request: Request) -> None:
    """Snakemake's report of the run's notebooks."""
    REPORT.parent.mkdir(exist_ok=True)
    targets = [name_in(PROJECT_ROOT, step.executed(request.profile)) for step in request.steps]
    call = [*snakemake([request], Resources())[0], "--report", str(REPORT), "--", *targets]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FmriUtilsError(f"no report. Snakemake says:\n{done.stderr.strip()}")


@command
def main(arguments: list[str]) -> None:
    """Targets and NAME=value settings."""
    what = arguments[0] if arguments and arguments[0] in ("plan", "report") else ""
    request = parse_request(arguments[1:] if what else arguments)
    warn_of_edits(PROJECT_ROOT / "notebooks")
    if what == "plan":
        print(plan(request))
    elif what == "report":
        report(request)
        print(name_in(PROJECT_ROOT, REPORT))
    else:
        executed = make(request)
        done = f"{len(executed)} notebooks executed; figures in {request.profile.figures}"
        sys.stderr.write(f"{done if executed else NOTHING}\n")


if __name__ == "__main__":
    sys.exit(main())
