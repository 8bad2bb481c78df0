"""The process of one run. It ends when the worker that started it ends, however that happens.

The worker holds the other end of this process's standard input. When a worker is killed, the system
closes that end, and what the worker left behind must not go on writing into a run's folder that
another worker is given.
"""

from __future__ import annotations

import os
import signal
import threading

from fmri_utils.project.command import command
from simulated_nsd.on_demand import prepare

from .. import runner


@command
def main(arguments: list[str]) -> int | None:
    """``run`` and the runner's arguments, or ``data`` and those of the subject to simulate."""
    threading.Thread(target=_end_with_worker, daemon=True).start()
    what, *rest = arguments
    if what == "run":
        return runner.main(rest)
    profile = runner.parse_request(rest).profile
    prepare(profile.data_root, profile.simulation, profile.subject, progress=False)
    return None


def _end_with_worker() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
