"""Requests over HTTP by obstore: what a file is (size, ETag), its bytes, or a part of them.

obstore repeats an answer 5xx or 429, a dropped connection and one that stalls, with growing pauses,
and goes on in the middle of a body where it broke. What is added here: a part is asked for with
the ETag of the version that was begun, so bytes of two versions of a file never meet; and each
error says what to do next.
"""

import asyncio
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import HTTPStore
from tqdm.auto import tqdm

from fmri_utils.project.errors import DataError

PATIENCE = timedelta(minutes=10)  # for one request, all its repetitions together
CLIENT_OPTIONS = {
    "allow_http": True,  # only if the address says so
    "timeout": PATIENCE,
    "read_timeout": timedelta(seconds=30),  # without a byte: the connection counts as dropped
    "default_headers": {"User-Agent": "fmri-utils"},
}
RETRIES = {
    "max_retries": 6,
    "retry_timeout": PATIENCE,
    "backoff": {"init_backoff": timedelta(seconds=0.5)},  # each further pause is twice as long
}
CAUSE = r'message: "([^"]+)"|(InvalidCertificate)'  # in what obstore tells for debugging


class Absent(DataError):
    """The server has no such file (404), or does not give it away (403)."""


class Changed(DataError):
    """The file on the server is no longer the one that was begun."""


CHANGED = (
    "has changed on the server while it was being fetched, or a proxy stands between. Run the same "
    "command again: the file is begun anew."
)
ERRORS = {
    FileNotFoundError: (
        Absent,
        "does not exist on the server (404). Not every subject has all files: check SUBJECT, "
        "SESSIONS, ROI and the address.",
    ),
    exceptions.PermissionDeniedError: (
        Absent,
        "is denied by the server (403): withheld, as the last three sessions of NSD were until "
        "2023, or not there, or hidden by a proxy. Leave it out (SESSIONS=1-37), or ask NSD.",
    ),
    exceptions.PreconditionError: (Changed, CHANGED),
}


@dataclass(frozen=True)
class Remote:
    """One version of a file on a server.

    Attributes
    ----------
    url : str
        Its address.
    size : int
        Bytes.
    etag : str or None
        The server's name for this version, with its quotes. Weak ones are not kept.
    """

    url: str
    size: int
    etag: str | None

    @property
    def md5(self) -> str | None:
        """MD5 of the bytes where the ETag is one: S3 makes others for uploads in several parts."""
        name = (self.etag or "").strip('"')
        return name if re.fullmatch(r"[0-9a-f]{32}", name) else None


def parallel(function: Callable, jobs: Sequence, n_at_once: int, **bar) -> list:
    """Await ``function`` of all jobs, some at the same time; gives the results in the jobs' order.

    At the first error, or when the user stops, the other calls are cancelled at once. ``bar`` goes
    to tqdm, which shows nothing by default.
    """

    async def run() -> list:
        gate = asyncio.Semaphore(n_at_once)

        async def one(job: object) -> object:
            async with gate:
                result = await function(job)
            shown.update()
            return result

        tasks = [asyncio.create_task(one(job)) for job in jobs]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.1)  # what obstore's threads still have to say needs an open loop
            raise

    with tqdm(total=len(jobs), **{"disable": True, **bar}) as shown:
        return asyncio.run(run())


async def get(url: str, **options) -> tuple[bytes, Remote]:
    """Fetch a small file, or a part of one, into memory.

    Parameters
    ----------
    url : str
        Its address.
    **options
        As for :func:`obstore.get`: a ``range``, for instance.

    Raises
    ------
    DataError
        :class:`Absent`, :class:`Changed`, or if the server cannot be reached.
    """
    parts = urlsplit(url)
    try:
        store = _store(f"{parts.scheme}://{parts.netloc}")
        answer = await obstore.get_async(store, parts.path.lstrip("/"), options=options)
        data, meta = bytes(await answer.bytes_async()), answer.meta
    except tuple(ERRORS) as err:
        kind, text = next(ERRORS[known] for known in ERRORS if isinstance(err, known))
        raise kind(f"{url} {text}") from err
    except (exceptions.BaseError, ValueError) as err:
        causes = ["".join(found) for found in re.findall(CAUSE, str(err))]
        said = "; ".join([str(err).splitlines()[0], *causes])
        raise DataError(
            f"{url} could not be fetched from the server {parts.netloc} ({said}). Check the "
            "address, the network and the date of this computer, then run the same command again: "
            "it goes on where it stopped."
        ) from err
    etag = meta["e_tag"]
    return data, Remote(url, meta["size"], etag if etag and etag.startswith('"') else None)


@functools.cache
def _store(server: str) -> HTTPStore:
    return HTTPStore.from_url(server, client_options=CLIENT_OPTIONS, retry_config=RETRIES)


async def head(url: str) -> Remote:
    """Ask for size and version of a file, without its bytes; errors as in :func:`get`."""
    return (await get(url, head=True))[1]


async def get_range(remote: Remote, start: int, stop: int) -> bytes:
    """Fetch bytes ``start`` to ``stop`` (exclusive) of one version of a file.

    Raises
    ------
    DataError
        :class:`Changed` if the server has another version now; also if it does not give parts.
    """
    # obstore's own get_ranges asks for no version and for ten parts at a time.
    condition = {"if_match": remote.etag} if remote.etag else {}
    data, found = await get(remote.url, range=(start, stop), **condition)
    if found != remote or len(data) != stop - start:  # a server may pass over the condition
        raise Changed(f"{remote.url} {CHANGED}")
    return data
