"""``python -m pipeline.pages PROFILE=demo SUBJECT=1``, which is what ``make html`` calls."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT

from ..runner import Request, parse_request
from .build import build_site, check_executed, run_explorer, write_sources

OUTPUT = PROJECT_ROOT / "build" / "html"


def make(request: Request) -> None:
    """Check what was executed, add the explorer's first view, and render all of it."""
    profile = request.profile
    check_executed(profile)
    run_explorer(request)
    sources = profile.runs / "html-sources"
    write_sources(profile, sources)
    build_site(sources, OUTPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: the settings of ``make all``; 0 on success, 2 on a clear error."""
    try:
        make(parse_request(sys.argv[1:] if arguments is None else arguments))
    except FmriUtilsError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    sys.stdout.write(f"open {OUTPUT.relative_to(PROJECT_ROOT)}/index.html\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
