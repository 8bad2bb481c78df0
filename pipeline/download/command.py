"""What the commands of this room share: a voice, and one way to end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fmri_utils.project.errors import FmriUtilsError


def say(text: str) -> None:
    """Show a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def exit_status(command: Callable[[], None]) -> int:
    """Run a command.

    Returns
    -------
    int
        0 on success, 2 on a clear error, which is told without a traceback, 130 if the user
        stopped it.
    """
    try:
        command()
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
    return 0
