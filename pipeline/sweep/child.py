"""The process of one run. It ends when the worker that started it ends, however that happens.

The worker holds the other end of this process's standard input. When a worker is killed, the system
closes that end, and what the worker left behind must not go on writing into a run's folder that
another worker is given.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence

from fmri_utils.project.errors import FmriUtilsError
from simulated_nsd.on_demand import prepare

from .. import runner


def main(arguments: Sequence[str]) -> int:
    """``run`` and the runner's arguments, or ``data`` and those of the subject to simulate."""
    threading.Thread(target=_end_with_worker, daemon=True).start()
    what, *rest = arguments
    return runner.main(rest) if what == "run" else _simulate(rest)


def _end_with_worker() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _simulate(arguments: Sequence[str]) -> int:
    try:
        profile = runner.parse_request(arguments).profile
        prepare(profile.data_root, profile.simulation, profile.subject, progress=False)
    except FmriUtilsError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
