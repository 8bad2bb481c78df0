"""Command line of ``make nsd-download``: settings as ``NAME=value``; see :mod:`.settings`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import FmriUtilsError
from ..profiles import PROJECT_ROOT
from .client import Client
from .consent import ensure_consent
from .job import download, list_files
from .settings import parse_request


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Download, or list with ``DRY_RUN=1``.

    Returns
    -------
    int
        0 on success, 2 on a clear error, 130 if the user stopped it.
    """
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        given = sys.argv[1:] if arguments is None else arguments
        request = parse_request(given, PROJECT_ROOT / "data" / "nsd")
        client = Client(n_connections=request.connections)
        if request.dry_run:
            list_files(request, client, say=_say)
            return 0
        ensure_consent(
            request.root, at_terminal=at_terminal, ask=input, say=_say, environment=os.environ
        )
        download(request, client, say=_say, progress=sys.stderr.isatty())
    except FmriUtilsError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    except OSError as err:
        sys.stderr.write(
            f"error: {type(err).__name__}: {err}. Check disk and permissions, then run the same "
            "command again: it goes on where it stopped.\n"
        )
        return 2
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write(
            "\nstopped. Finished files stay; the same command goes on where it stopped.\n"
        )
        return 130
    _say(
        f"Subject {request.subject} is in {request.root}. Please cite Allen et al. (2022), and do "
        "not pass the data on."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
