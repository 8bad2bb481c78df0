"""What the commands of this room share: a voice, the question of consent, and one way to end."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from fmri_utils.project.errors import DataError, FmriUtilsError

ANSWER = "I agree"
say = functools.partial(print, flush=True)


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def agree(question: str, remedy: str) -> None:
    """Ask for consent; return only if the answer is :data:`ANSWER`.

    Raises
    ------
    DataError
        On any other answer; ``remedy`` says what to do then.
    """
    if input(question).strip().strip("`'\"").lower() != ANSWER.lower():
        raise DataError(
            f"the terms were not accepted, so nothing was downloaded. Expected: {ANSWER}. {remedy}"
        )


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
        print(f"error: {err}", file=sys.stderr)
        return 2
    except OSError as err:
        print(
            f"error: {type(err).__name__}: {err}. Check disk and permissions, then run the same "
            "command again: it goes on where it stopped.",
            file=sys.stderr,
        )
        return 2
    except (KeyboardInterrupt, EOFError):
        print(
            "\nstopped. Finished files stay; the same command goes on where it stopped.",
            file=sys.stderr,
        )
        return 130
    return 0
