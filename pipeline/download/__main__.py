"""Command line of ``make nsd-download``: settings as ``NAME=value``; see :mod:`.settings`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fmri_utils.project.profiles import PROJECT_ROOT

from .client import Client
from .command import exit_status, say
from .consent import ensure_consent
from .job import download, list_files
from .settings import parse_request


def _run(arguments: Sequence[str]) -> None:
    request = parse_request(arguments, PROJECT_ROOT / "data" / "nsd")
    client = Client(n_connections=request.connections)
    if request.dry_run:
        list_files(request, client)
        return
    ensure_consent(request.root)
    download(request, client)
    say(
        f"Subject {request.subject} is in {request.root}. Please cite Allen et al. (2022), and do "
        "not pass the data on."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Download, or list with ``DRY_RUN=1``; see :func:`.command.exit_status`."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status(lambda: _run(given))


if __name__ == "__main__":
    raise SystemExit(main())
