"""Requests over HTTP by obstore: what a file is (size, ETag), its bytes, or a part of them.

obstore repeats an answer 5xx or 429, a dropped connection and one that stalls, with growing pauses,
and goes on in the middle of a body where it broke. What is added here: a part is asked for with
the ETag of the version that was begun, so bytes of two versions of a file never meet; and each
error says what to do next.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import HTTPStore
from tqdm.auto import tqdm

from fmri_utils.project.errors import DataError

PATIENCE = timedelta(minutes=10)  # for one request, all its repetitions together
CAUSE = r'message: "([^"]+)"|(InvalidCertificate)'  # in what obstore tells for debugging
J, T = TypeVar("J"), TypeVar("T")


class Missing(DataError):
    """The server has no such file (404)."""


class Denied(DataError):
    """The server does not give this file away (403)."""


class Changed(DataError):
    """The file on the server is no longer the one that was begun."""


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


class Client:
    """Connections to the servers of NSD and COCO.

    Parameters
    ----------
    n_connections : int
        Requests that may run at the same time.
    timeout : float
        Seconds without a byte after which a connection counts as dropped.
    n_retries : int
        How often a request is repeated.
    backoff : float
        Seconds of the first pause; each further one is about twice as long.
    """

    def __init__(
        self,
        *,
        n_connections: int = 32,
        timeout: float = 30.0,
        n_retries: int = 6,
        backoff: float = 0.5,
    ):
        self.n_connections = n_connections
        options = {
            "client_options": {
                "allow_http": True,  # only if the address says so
                "timeout": PATIENCE,
                "read_timeout": timedelta(seconds=timeout),
                "default_headers": {"User-Agent": "fmri-utils"},
            },
            "retry_config": {
                "max_retries": n_retries,
                "retry_timeout": PATIENCE,
                "backoff": {"init_backoff": timedelta(seconds=backoff)},
            },
        }
        self._store = functools.cache(lambda server: HTTPStore.from_url(server, **options))

    def parallel(
        self,
        function: Callable[[J], Awaitable[T]],
        jobs: Sequence[J],
        n_at_once: int | None = None,
        **bar,
    ) -> list[T]:
        """Call ``function`` on all jobs at the same time; gives the results in the jobs' order.

        At the first error, or when the user stops, the other calls are cancelled at once. ``bar``
        goes to tqdm, which shows nothing by default.
        """

        async def run() -> list[T]:
            gate = asyncio.Semaphore(n_at_once or self.n_connections)

            async def one(job: J) -> T:
                async with gate:
                    result = await function(job)
                shown.update()
                return result

            with suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(job)) for job in jobs]
            return [task.result() for task in tasks if not task.cancelled()]  # or its error

        with tqdm(total=len(jobs), **{"disable": True, **bar}) as shown:
            return asyncio.run(run())

    async def head(self, url: str) -> Remote:
        """Ask for size and version of a file, without its bytes.

        Raises
        ------
        DataError
            :class:`Missing`, :class:`Denied`, or if the server cannot be reached.
        """
        with _clear_errors(url):
            return _remote(url, await obstore.head_async(*self._place(url)))

    async def get(self, url: str) -> tuple[bytes, Remote]:
        """Fetch a small file into memory."""
        with _clear_errors(url):
            answer = await obstore.get_async(*self._place(url))
            return bytes(await answer.bytes_async()), _remote(url, answer.meta)

    async def get_range(self, remote: Remote, start: int, stop: int) -> bytes:
        """Fetch bytes ``start`` to ``stop`` (exclusive) of one version of a file.

        Raises
        ------
        DataError
            :class:`Changed` if the server now has another version, or if it does not give parts.
        """
        # obstore's own get_ranges asks for no version and for ten parts at a time.
        options = {"range": (start, stop)} | ({"if_match": remote.etag} if remote.etag else {})
        with _clear_errors(remote.url):
            answer = await obstore.get_async(*self._place(remote.url), options=options)
            data = bytes(await answer.bytes_async())
        if _remote(remote.url, answer.meta) != remote:  # a server may pass over the condition
            raise _changed(remote.url)
        if len(data) != stop - start:
            raise DataError(
                f"{len(data)} bytes of {remote.url} came; expected {stop - start}. Check whether a "
                "proxy stands between, and run the same command again."
            )
        return data

    def _place(self, url: str) -> tuple[HTTPStore, str]:
        parts = urlsplit(url)
        return self._store(f"{parts.scheme}://{parts.netloc}"), parts.path.lstrip("/")


def _remote(url: str, found: dict) -> Remote:
    etag = found["e_tag"]
    return Remote(url, found["size"], etag if etag and etag.startswith('"') else None)


def _changed(url: str) -> Changed:
    return Changed(
        f"{url} has changed on the server while it was being fetched. Run the same command again: "
        "the file is begun anew."
    )


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    """Turn obstore's errors into this module's."""
    try:
        yield
    except FileNotFoundError as err:
        raise Missing(
            f"{url} does not exist on the server (404). Not every subject has every file and "
            "session; check SUBJECT, SESSIONS, ROI and the address."
        ) from err
    except PermissionDeniedError as err:
        raise Denied(
            f"the server denies access to {url} (403). NSD and COCO can be read without an "
            "account, so either this file is withheld (as the last three sessions of every NSD "
            "subject were until August 2023), or there is none of this name, or a proxy stands "
            "between. Leave it out, for instance with SESSIONS=1-37, or ask the authors of NSD."
        ) from err
    except PreconditionError as err:
        raise _changed(url) from err
    except NotSupportedError as err:
        raise DataError(
            f"the server ignores ranges: {url} was answered whole, though a part was asked for. "
            "Check the address, and whether a proxy stands between."
        ) from err
    except (BaseError, ValueError) as err:
        causes = ["".join(found) for found in re.findall(CAUSE, str(err))]
        said = "; ".join([str(err).splitlines()[0], *causes])
        raise DataError(
            f"{url} could not be fetched ({said}). Check the address, the network and the date of "
            "this computer, then run the same command again: it goes on where it stopped."
        ) from err
