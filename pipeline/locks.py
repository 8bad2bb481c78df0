"""One call at a time in a run's folder. The kernel's locks: they end with who holds them."""

import contextlib
import fcntl
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from fmri_utils.project.artifacts import explained
from fmri_utils.project.errors import FmriUtilsError

LOCK_SECONDS = 10  # what a killed call has started may need one or two to end


@contextlib.contextmanager
def one_call_at_a_time(folder: Path, *, progress: bool = True) -> Iterator[None]:
    """Wait a little for another call in the same folder, then refuse.

    Raises
    ------
    FmriUtilsError
        If another one, or a notebook of one that was killed, is still at work.
    """
    with _open(folder / "lock") as handle:
        _wait_for(handle, progress)
        with explained(folder / "lock"):
            handle.truncate(0)
            handle.write(f"{os.getpid()} on {platform.node()}".encode())
        with _open(folder / "notebooks.lock") as notebooks:
            _wait_for(notebooks, progress)
            fcntl.flock(notebooks, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Held by a notebook that runs, with others of its folder. Its kernel inherits it."""
    with _open(folder / "notebooks.lock") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.set_inheritable(handle.fileno(), True)
        yield


def _open(path: Path) -> IO[bytes]:
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return open(path, "r+b", buffering=0)


def _wait_for(handle: IO[bytes], progress: bool) -> None:
    """Take the lock of an open file, or say which process has it."""
    folder, until, told = Path(handle.name).parent, time.monotonic() + LOCK_SECONDS, False
    while not _taken(handle):
        holder = (folder / "lock").read_text() or "unknown"
        if time.monotonic() > until:
            raise FmriUtilsError(
                f"another run (process {holder}) is at work in {folder}. Wait for it to end, or "
                "choose another SUBJECT, SEED or PROFILE."
            )
        if progress and not told:
            sys.stderr.write(f"waiting up to {LOCK_SECONDS} s for process {holder} to end ...\n")
            told = True
        time.sleep(0.1)


def _taken(handle: IO[bytes]) -> bool:
    """Take the lock of an open file if nobody has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def visible_gpus() -> list[str]:
    """Ids of this machine's GPUs that may be used."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [part for part in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if part]
    import torch  # takes seconds, and only GPUs need it

    return [str(number) for number in range(torch.cuda.device_count())]


@contextlib.contextmanager
def own_gpus(number: int, ids: Sequence[str], folder: Path) -> Iterator[str]:
    """The first GPUs of this machine that no other notebook holds, as CUDA_VISIBLE_DEVICES."""
    with contextlib.ExitStack() as stack:
        mine = []
        for name in ids:
            handle = stack.enter_context(_open(folder / f"gpu-{name}.lock"))
            if len(mine) < number and _taken(handle):
                os.set_inheritable(handle.fileno(), True)
                mine.append(name)
        if len(mine) < number:
            raise FmriUtilsError(
                f"{number} GPUs were to be free, and {len(mine)} of {len(ids)} are. Wait for the "
                "other runs on this machine to end."
            )
        yield ",".join(mine)
