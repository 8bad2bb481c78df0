"""What the commands of this room share: a voice, and the question of consent."""

from __future__ import annotations

import functools
import sys

from fmri_utils.project.errors import DataError

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
