"""``python -m pipeline.pages PROFILE=demo SUBJECT=1``, which is what ``make html`` calls."""

from __future__ import annotations

from fmri_utils.project.command import command
from fmri_utils.project.profiles import PROJECT_ROOT

from ..request import parse_request
from .build import build_site, check_executed, run_explorer, write_sources

OUTPUT = PROJECT_ROOT / "build" / "html"


@command
def main(arguments: list[str]) -> None:
    """Check what was executed, add the explorer's first view, and render all of it."""
    request = parse_request(arguments)
    profile = request.profile
    check_executed(profile)
    run_explorer(request)
    sources = profile.runs / "html-sources"
    write_sources(profile, sources)
    build_site(sources, OUTPUT)
    print(f"open {OUTPUT.relative_to(PROJECT_ROOT)}/index.html")


if __name__ == "__main__":
    raise SystemExit(main())
