"""Requests over HTTP: what a file is (size, ETag), its whole stream, or a part of it.

Every answer is checked against the version that was asked for, so bytes of two versions of a file
never meet. Answers 5xx, dropped connections and bodies that end early are tried again with growing
pauses; whatever will not get better by waiting is a clear error at once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    SSLError,
    URLSchemeUnknown,
)

from fmri_utils.project.errors import DataError

from .answers import Remote, Stopped, Transient, check_part, check_status, remote_of

LONGEST_PAUSE = 60.0  # seconds, also where a server's Retry-After asks for more
BLOCK = 2**20
J, T = TypeVar("J"), TypeVar("T")


class Client:
    """A pool of connections with patience.

    Parameters
    ----------
    n_connections : int
        Requests that may run at the same time.
    timeout : float
        Seconds without an answer after which a connection counts as dropped.
    n_attempts : int
        Attempts in a row without any progress before it gives up.
    backoff : float
        Seconds of the first pause; each further one is twice as long.
    n_redirects : int
        How often a file may be said to lie elsewhere; NSD and COCO do not do that.
    """

    def __init__(
        self,
        *,
        n_connections: int = 32,
        timeout: float = 30.0,
        n_attempts: int = 6,
        backoff: float = 0.5,
        n_redirects: int = 0,
    ):
        self.n_connections = n_connections
        self.n_attempts = n_attempts
        self.backoff, self.n_redirects = backoff, n_redirects
        self.stopped = threading.Event()
        self.n_requests = self.n_bytes = 0
        self._lock = threading.Lock()
        self._open: set[urllib3.BaseHTTPResponse] = set()  # their bodies are being read
        self._options = {
            "maxsize": n_connections,
            "block": True,
            "timeout": urllib3.Timeout(connect=timeout, read=timeout),
            "retries": False,
            # Bytes are wanted as they are stored, or sizes and sums would not fit.
            "headers": {"Accept-Encoding": "identity", "User-Agent": "fmri-utils"},
        }
        self._pools: dict[tuple, urllib3.PoolManager] = {}

    def parallel(
        self, function: Callable[[J], T], jobs: Sequence[J], n_threads: int | None = None
    ) -> Iterator[T]:
        """Call ``function`` on all jobs in threads; yields results in the order they come.

        At the first error, or when the user stops, the other threads leave at their next step, and
        their connections are shut, so that none waits for bytes that do not come.
        """
        pool = ThreadPoolExecutor(min(n_threads or self.n_connections, max(1, len(jobs))))
        try:
            for future in as_completed([pool.submit(function, job) for job in jobs]):
                yield future.result()
        except BaseException:
            self.stopped.set()
            for response in self._open.copy():
                with suppress(ValueError, RuntimeError, OSError):  # it has just ended
                    response.shutdown()  # a thread that waits for its bytes comes back at once
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.stopped.clear()

    def head(self, url: str) -> Remote:
        """Ask for size and version of a file, without its bytes.

        Raises
        ------
        DataError
            :class:`Missing`, :class:`Denied`, or if the server cannot be reached.
        """

        def ask() -> Remote:
            with self._answer("HEAD", url, {}) as response:
                return remote_of(url, response, whole=True)

        return self.retry(ask, url)

    def get(self, url: str) -> tuple[bytes, Remote]:
        """Fetch a small file into memory."""

        def ask() -> tuple[bytes, Remote]:
            with self.stream(url) as (remote, _, blocks):
                return b"".join(blocks), remote

        return self.retry(ask, url)

    def get_range(self, remote: Remote, start: int, stop: int) -> bytes:
        """Fetch bytes ``start`` to ``stop`` (exclusive) of one version of a file.

        Raises
        ------
        DataError
            :class:`Changed` if the server now has another version, or if it does not give parts.
        """

        def ask() -> bytes:
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            if remote.etag:
                headers["If-Match"] = remote.etag
            with self._answer("GET", remote.url, headers) as response:
                if response.status == 200:
                    raise DataError(
                        f"the server ignores ranges: {remote.url} was answered whole. Fetch whole "
                        "files instead: BETAS=hdf5 or BETAS=nifti."
                    )
                check_part(remote, response, start, stop)
                data = b"".join(self._blocks(response))
            if len(data) != stop - start:
                raise Transient(f"{len(data)} bytes came, {stop - start} were asked for")
            return data

        return self.retry(ask, remote.url)

    @contextmanager
    def stream(
        self, url: str, start: int = 0, begun: Remote | None = None
    ) -> Iterator[tuple[Remote, int, Iterator[bytes]]]:
        """Open a file from byte ``start`` of the version ``begun``; one attempt.

        Yields
        ------
        remote : Remote
            The version that answers.
        start : int
            Where its bytes begin: 0 if the server sends the file from its beginning, because it
            has another version or does not know ranges.
        blocks : iterator of bytes
            Its bytes.
        """
        headers = {}
        if start:
            headers = {"Range": f"bytes={start}-", "If-Range": begun.validator}
        with self._answer("GET", url, headers) as response:
            if start and response.status == 206:
                check_part(begun, response, start, begun.size)
                yield begun, start, self._blocks(response)
            else:
                yield remote_of(url, response, whole=True), 0, self._blocks(response)

    def retry(self, attempt: Callable[[], T], what: str) -> T:
        """Call ``attempt`` until it raises no :class:`Transient`."""
        for failures in range(1, self.n_attempts + 1):
            try:
                return attempt()
            except Transient as err:
                self.pause(failures, err, what)
        raise AssertionError("pause() raises after the last attempt")

    def pause(self, failures: int, err: Transient, what: str) -> None:
        """Wait before the next attempt, or give up after the last one."""
        if failures >= self.n_attempts:
            raise DataError(
                f"{what} could not be fetched in {failures} attempts; the last one: {err}. Check "
                "the network and run the same command again: it goes on where it stopped."
            ) from err
        wait = max(err.pause, self.backoff * 2 ** (failures - 1) * random.uniform(0.5, 1))
        if self.stopped.wait(min(wait, LONGEST_PAUSE)):
            raise Stopped

    @contextmanager
    def _answer(self, method: str, url: str, headers: dict[str, str]) -> Iterator:
        """One request; its body has not been read yet."""
        response, place = self._request(method, url, headers), url
        for _ in range(self.n_redirects):
            if target := response.get_redirect_location():
                place = urljoin(place, target)
                response.drain_conn()
                response.release_conn()
                response = self._request(method, place, headers)
        try:
            check_status(url, response)
            self._open.add(response)
            if self.stopped.is_set():  # asked after it is among those that will be shut
                raise Stopped
            yield response
        finally:
            self._open.discard(response)
            if method == "HEAD" or response.status >= 400:
                response.drain_conn()  # little is left, and the connection can be used again
            response.close()  # closes the connection only if bytes are left in it
            response.release_conn()

    def _request(self, method: str, url: str, headers: dict[str, str]):
        with self._lock:
            self.n_requests += 1
        with _as_own_errors(url):
            return self._pool(url).request(
                method,
                url,
                headers={**self._options["headers"], **headers},
                preload_content=False,
                redirect=False,
            )

    def _blocks(self, response) -> Iterator[bytes]:
        # A body that ends before its Content-Length raises: that is urllib3's default.
        with _as_own_errors("the body of an answer"):
            for block in response.stream(BLOCK, decode_content=False):
                if self.stopped.is_set():
                    raise Stopped
                with self._lock:
                    self.n_bytes += len(block)
                yield block

    def _pool(self, url: str) -> urllib3.PoolManager:
        """The pool for a server, through the proxy that the system names for it, if any."""
        parts = urllib3.util.parse_url(url)
        server = (parts.scheme, parts.netloc)
        with self._lock:
            if server not in self._pools:
                proxy = None if proxy_bypass(parts.host or "") else getproxies().get(parts.scheme)
                self._pools[server] = (
                    urllib3.ProxyManager(proxy, **self._options)
                    if proxy
                    else urllib3.PoolManager(**self._options)
                )
            return self._pools[server]


@contextmanager
def _as_own_errors(what: str) -> Iterator[None]:
    """Turn urllib3's errors into this module's: what waiting may help against, and the rest."""
    try:
        yield
    except (LocationParseError, URLSchemeUnknown) as err:
        raise DataError(f"{what} is no address ({err}). Expected: https://...") from err
    except SSLError as err:
        raise DataError(
            f"the identity of the server of {what} cannot be verified ({err}). Check the date of "
            "this computer, and whether a proxy needs a certificate (SSL_CERT_FILE)."
        ) from err
    except HTTPError as err:
        raise Transient(f"{type(err).__name__}: {err}") from err
