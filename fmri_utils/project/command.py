"""One way for every command line to begin and to end."""

import functools
import sys
from collections.abc import Callable

from .errors import FmriUtilsError


def command(function: Callable[[list[str]], int | None]) -> Callable[..., int]:
    """Make a command line of a function that takes its arguments.

    Parameters
    ----------
    function : callable
        ``function(arguments)`` returns an exit code, or None for 0.

    Returns
    -------
    callable
        ``main(arguments)``, with those of the process by default. It returns the function's exit
        code; 2 on a clear error, which is told without a traceback; or 130 if the user stopped it.
    """

    @functools.wraps(function)
    def main(arguments: list[str] | None = None) -> int:
        say = functools.partial(print, file=sys.stderr)
        try:
            return function(sys.argv[1:] if arguments is None else list(arguments)) or 0
        except FmriUtilsError as err:
            say(f"error: {err}")
            return 2
        except OSError as err:
            say(
                f"error: {type(err).__name__}: {err}. Check disk and permissions, then run the "
                "same command again: it goes on where it stopped."
            )
            return 2
        except (KeyboardInterrupt, EOFError):
            say("\nstopped. What is finished stays; the same command goes on where it stopped.")
            return 130

    return main
