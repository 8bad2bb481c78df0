"""Reading files: what the system or a library raises becomes one error with cause and remedy.

Only a file that is damaged may be deleted. One that another process is writing, that this user may
not read, that lies on a disk that does not answer, or that does not fit in memory, may be whole.
"""

import contextlib
import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import DataError, FmriUtilsError

MOST_PER_BYTE = 10_000  # numbers take at most 8 bytes for one stored, and deflate packs 1032 : 1
KEEP = "The file may be whole: keep it"
# errno 524 is Linux's own ENOTSUPP, which file systems of clusters give.
CAUSES = {
    (errno.ENOENT, errno.ENOTDIR): "It does not exist. Look for it, or make or fetch it again.",
    (errno.EISDIR,): "It is a folder. Expected: a file. Give another name, or move the folder.",
    (errno.EAGAIN, errno.EBUSY, errno.ETXTBSY): "Another process is writing it. Wait until that "
    f"process has finished, or end it, and run again. {KEEP}.",
    (errno.EACCES, errno.EPERM): "This user may not read it. Ask its owner, or change the "
    f"permissions: r on the file, and x on all folders above it. {KEEP}.",
    (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524): "Its file system has no locks, which HDF5 "
    f"asks for. Set HDF5_USE_FILE_LOCKING=FALSE in the environment and run again. {KEEP}.",
    (errno.EMFILE, errno.ENFILE): "Too many files are open. Close other programs, or raise the "
    f"limit (ulimit -n 4096), and run again. {KEEP}.",
    (errno.EIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN): "The disk or the "
    f"network did not deliver it. Check both and run again. {KEEP}.",
}
MARKED = (
    "It is marked as open for writing. Wait until the process that writes it has finished. If that "
    "process was killed, take the mark away: h5clear -s FILE."
)
MEMORY = ("out of memory", "allocate memory", "memory allocation failed")


@contextlib.contextmanager
def reading(
    path: str | os.PathLike, what: str, *, damaged: str, error: type[FmriUtilsError] = DataError
) -> Iterator[None]:
    """Turn whatever is raised while a file is read into an error that names cause and remedy.

    Libraries raise many types on damaged files, so all are turned. Errors of this package pass.

    Parameters
    ----------
    path : path-like
        The file.
    what : str
        What it holds, for the message.
    damaged : str
        What to do if the file itself is at fault: cut off, damaged or of another kind.
    error : type
        Of the error that is raised.

    Raises
    ------
    FmriUtilsError
        An ``error``: "``what``: ``path`` cannot be read", why, and what to do next.
    """
    try:
        yield
    except FmriUtilsError:
        raise
    except Exception as err:
        said = f"{type(err).__name__}: {err}".splitlines()[0].split(". ")[0][:300]
        why = outer_cause(path, err) or f"It is cut off, damaged or of another kind: {damaged}"
        raise error(f"{what}: {path} cannot be read ({said}). {why}") from err


def require(
    path: str | os.PathLike, what: str, remedy: str, error: type[FmriUtilsError] = DataError
) -> Path:
    """Return ``path`` if it is a file that this user may read; say what is the matter otherwise.

    Parameters
    ----------
    path, what, error
        As for :func:`reading`.
    remedy : str
        What to do if it is missing.

    Raises
    ------
    FmriUtilsError
        An ``error``.
    """
    with reading(path, what, damaged=remedy, error=error):
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise error(f"{what} is missing: {path} does not exist. {remedy}") from None
        if not stat.S_ISREG(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        open(path, "rb").close()
    return Path(path)


def outer_cause(path: str | os.PathLike, err: BaseException) -> str:
    """What stood in the way of reading a file that may be whole, with its remedy; "" if nothing.

    Parameters
    ----------
    path : path-like
    err : BaseException
        What was raised while it was read.
    """
    text = str(err).lower()
    if isinstance(err, MemoryError) or any(sign in text for sign in MEMORY):
        if _more_than_it_can_hold(path, err):
            return ""
        return f"Memory ran out. Read less at once, or close other programs. {KEEP}."
    if "already open for" in text:  # HDF5's own mark in the file
        return f"{MARKED} {KEEP}."
    number = _system_error(path, err)
    if number is None:
        return ""
    for numbers, cause in CAUSES.items():
        if number in numbers:
            return cause
    return f"The system says: {os.strerror(number)}. Mend that and run again. {KEEP}."


def _system_error(path: str | os.PathLike, err: BaseException) -> int | None:
    """The system's error number, if it was the system that would not give the file."""
    if os.path.isfile(path) or not os.path.exists(path):  # what is no file may block
        try:
            with open(path, "rb") as file:
                file.read(1)
        except OSError as found:  # libraries call a file that may not be read missing, or no file
            return found.errno
    number = getattr(err, "errno", None)
    if number is None and (named := re.search(r"(?:errno = |os error )(\d+)", str(err))):
        number = int(named[1])
    # A place before the start of a file is what damaged archives and tables point to.
    return None if number in (None, 0, errno.EINVAL, errno.EOVERFLOW) else number


def _more_than_it_can_hold(path: str | os.PathLike, err: BaseException) -> bool:
    """Whether NumPy was asked for more than any compression packs into a file of this size."""
    shape, dtype = getattr(err, "shape", None), getattr(err, "dtype", None)
    if shape is None or dtype is None:
        return False
    return math.prod(shape) * dtype.itemsize > MOST_PER_BYTE * max(1, os.path.getsize(path))
