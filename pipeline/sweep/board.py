"""The table of states: redrawn on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

WAITING, RUNNING, DONE, CURRENT = "waiting", "running", "done", "up to date"
FAILED, LOST = "failed", "lost"
UP_AND_CLEAR = "\x1b[{}A\x1b[J"  # ANSI: cursor up, erase to the end


@dataclass
class Row:
    """State of one run."""

    state: str = WAITING
    node: str = ""
    notebook: str = ""
    attempts: int = 0
    begun: float = 0.0
    seconds: float = 0.0
    reason: str = ""


class Board:
    """States of all runs.

    Parameters
    ----------
    names : iterable of str
    stream : text stream
        Where the table is shown.
    """

    def __init__(self, names: Iterable[str], stream: IO[str]):
        self.rows = {name: Row() for name in names}
        self.stream = stream
        self._drawn = 0
        self._lock = threading.Lock()  # workers are heard in a thread of Dask's

    def heard(self, name: str, what: str, detail: str) -> None:
        """A worker has said that it started a run, or a notebook of it."""
        with self._lock:
            row = self.rows[name]
            if row.state not in (WAITING, RUNNING):
                return  # it has ended in the meantime
            if what == "started":
                row.state, row.node, row.notebook = RUNNING, detail, ""
                row.attempts += 1
                row.begun = time.monotonic()
            else:
                row.notebook = detail
            self.show(name)

    def ended(self, name: str, state: str, *, reason: str = "") -> None:
        """A run has ended, in one of the states above."""
        with self._lock:
            row = self.rows[name]
            row.state, row.notebook, row.reason = state, "", reason
            row.seconds = time.monotonic() - row.begun if row.begun else 0.0
            self.show(name)

    def counts(self) -> str:
        """How many runs are in each state."""
        counts = Counter(row.state for row in self.rows.values())
        return ", ".join(f"{n} {state}" for state, n in counts.items())

    def line(self, name: str) -> str:
        """One run's row as text."""
        row = self.rows[name]
        seconds = time.monotonic() - row.begun if row.state == RUNNING else row.seconds
        parts = [f"{name:<32}", f"{row.state:<10}", f"{row.node:<12}", f"{row.notebook:<24}"]
        parts.append(f"{seconds:5.0f} s" if row.attempts else " " * 7)
        parts.append(f"attempt {row.attempts}" if row.attempts > 1 else "")
        return " ".join(parts).rstrip()

    def show(self, name: str) -> None:
        """Draw the table again, or write the line of the run that has changed."""
        if not self.stream.isatty():
            self.stream.write(f"{time.strftime('%H:%M:%S')} {self.line(name)}\n")
        else:
            lines = [self.line(each) for each in self.rows] + [self.counts()]
            erase = UP_AND_CLEAR.format(self._drawn) if self._drawn else ""
            self.stream.write(erase + "\n".join(lines) + "\n")
            self._drawn = len(lines)
        self.stream.flush()
