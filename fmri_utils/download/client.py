"""Requests over HTTP: what a file is (size, ETag), its whole stream, or a part of it.

Every answer is checked against the version that was asked for, so bytes of two versions of a file
never meet. Answers 5xx, dropped connections and bodies that end early are tried again with growing
pauses; whatever will not get better by waiting is a clear error at once.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    LocationParseError,
    SSLError,
    URLSchemeUnknown,
)

from ..errors import DataError

TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_PAUSE = 60.0  # seconds, also where a server's Retry-After asks for more
BLOCK = 2**20
J, T = TypeVar("J"), TypeVar("T")


class Missing(DataError):
    """The server has no such file (404)."""


class Denied(DataError):
    """The server does not give this file away (403)."""


class Changed(DataError):
    """The file on the server is no longer the one that was begun."""


class Transient(Exception):
    """Something that may pass: try again.

    Attributes
    ----------
    pause : float
        Seconds that the server asked to wait.
    """

    def __init__(self, message: str, pause: float = 0.0):
        super().__init__(message)
        self.pause = pause


class Stopped(Exception):
    """The user stopped the download; raised in the threads that still work."""


@dataclass(frozen=True)
class Remote:
    """One version of a file on a server.

    Attributes
    ----------
    url : str
        Its address.
    size : int or None
        Bytes; None if the server does not say.
    etag : str or None
        The server's name for this version, with its quotes. Weak ones are not kept.
    modified : str or None
        Date of the last change, as sent.
    encrypted : str or None
        Server-side encryption. With a key of its own (``aws:kms``) the ETag is no MD5.
    """

    url: str
    size: int | None
    etag: str | None = None
    modified: str | None = None
    encrypted: str | None = None

    @property
    def validator(self) -> str | None:
        """What tells this version from another one: the ETag, or else the date."""
        return self.etag or self.modified

    @property
    def md5(self) -> str | None:
        """MD5 of the bytes where the ETag is one: S3 makes others for uploads in several parts."""
        name = (self.etag or "").strip('"')
        plain = re.fullmatch(r"[0-9a-f]{32}", name) and self.encrypted in (None, "AES256")
        return name if plain else None


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

        At the first error, or when the user stops, the other threads leave at their next step.
        """
        pool = ThreadPoolExecutor(min(n_threads or self.n_connections, max(1, len(jobs))))
        try:
            for future in as_completed([pool.submit(function, job) for job in jobs]):
                yield future.result()
        except BaseException:
            self.stopped.set()
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
                return _remote(url, response, whole=True)

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
                _check_part(remote, response, start, stop)
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
                _check_part(begun, response, start, begun.size)
                yield begun, start, self._blocks(response)
            else:
                yield _remote(url, response, whole=True), 0, self._blocks(response)

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
            _check_status(url, response)
            yield response
        finally:
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


def _remote(url: str, response, *, whole: bool) -> Remote:
    headers = response.headers
    size = headers.get("Content-Length") if whole else None
    etag = headers.get("ETag")
    return Remote(
        url,
        int(size) if size and size.isdigit() else None,
        etag if etag and etag.startswith('"') else None,
        headers.get("Last-Modified"),
        headers.get("x-amz-server-side-encryption"),
    )


def _check_status(url: str, response) -> None:
    status = response.status
    if status in (200, 206):
        return
    if status == 404:
        raise Missing(
            f"{url} does not exist on the server (404). Not every subject has every file and "
            "session; check SUBJECT, SESSIONS, ROI and the address."
        )
    if status == 403:
        raise Denied(
            f"the server denies access to {url} (403). NSD and COCO can be read without an "
            "account, so either this file is withheld (as the last three sessions of every NSD "
            "subject were until August 2023), or there is none of this name, or a proxy stands "
            "between. Leave it out, for instance with SESSIONS=1-37, or ask the authors of NSD."
        )
    if status in (412, 416):
        raise Changed(
            f"{url} has changed on the server while it was being fetched (answer {status}). Run "
            "the same command again: the file is begun anew."
        )
    if status in TRY_AGAIN:
        raise Transient(f"the server answered {status}", _retry_after(response))
    target = response.headers.get("Location")
    raise DataError(
        f"{url} was answered with status {status}{f' (moved to {target})' if target else ''}; "
        "expected 200. Check the address and the network."
    )


def _retry_after(response) -> float:
    value = response.headers.get("Retry-After")
    try:
        return urllib3.Retry().parse_retry_after(value) if value else 0.0
    except InvalidHeader:
        return 0.0


def _check_part(remote: Remote, response, start: int, stop: int | None) -> None:
    """Check that an answer 206 holds the bytes asked for, of the same version."""
    now = _remote(remote.url, response, whole=False)
    same = now.etag == remote.etag if remote.etag else now.modified == remote.modified
    found = response.headers.get("Content-Range", "")
    parts = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", found.strip())
    size = int(parts[3]) if parts else None
    if not same or (parts and size != remote.size):
        raise Changed(
            f"{remote.url} has changed on the server: it was {remote.size} bytes, {remote.etag}; "
            f"now {size} bytes, {now.etag}. Run the same command again: the file is begun anew."
        )
    if not parts or (int(parts[1]), int(parts[2]) + 1) != (start, stop):
        raise Transient(f"bytes {start}-{stop} were asked for, {found or 'no range'} came")
