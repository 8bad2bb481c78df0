"""What a server answers: one version of a file, a part of it, or why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import InvalidHeader

from fmri_utils.project.errors import DataError

TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


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


def remote_of(url: str, response, *, whole: bool) -> Remote:
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


def check_status(url: str, response) -> None:
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


def check_part(remote: Remote, response, start: int, stop: int | None) -> None:
    """Check that an answer 206 holds the bytes asked for, of the same version."""
    now = remote_of(remote.url, response, whole=False)
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
