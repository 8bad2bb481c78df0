"""Command line of ``make nsd-download``: settings as ``NAME=value``; see :mod:`.settings`."""

from __future__ import annotations

from fmri_utils.project.command import command

from .consent import ensure_consent, say
from .job import download, list_files
from .settings import parse_request


@command
def main(arguments: list[str]) -> None:
    """Download, or list with ``DRY_RUN=1``."""
    request = parse_request(arguments)
    if request.dry_run:
        list_files(request)
        return
    ensure_consent(request.root)
    download(request)
    say(
        f"Subject {request.subject} is in {request.root}. Please cite Allen et al. (2022), and do "
        "not pass the data on."
    )


if __name__ == "__main__":
    raise SystemExit(main())
