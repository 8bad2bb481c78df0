"""A server on this computer that stands for NSD's bucket and COCO's, and fails on demand.

Tests get it as the fixture ``server`` of ``download_fixture``. ``server.files`` maps paths to bytes
or to files on disk; ``server.fail(path, Fault(...), ...)`` spoils the next GETs of a path, one
fault each, and ``server.always[path]`` every answer; ``server.log`` lists what was asked and how
it was answered.
"""

import email.utils
import functools
import hashlib
import re
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace


@functools.lru_cache(200)
def _md5(data):
    return hashlib.md5(data).hexdigest()


@dataclass
class Fault:
    """What goes wrong in one answer."""

    status: int = 0  # answer this instead
    headers: dict = field(default_factory=dict)
    drop_after: int | None = None  # close the connection after so many bytes of the body
    say_length: int | None = None  # a Content-Length of its own, and a body of that length
    flip: int | None = None  # change the byte at this place of the body
    shift: int = 0  # send a part that lies so many bytes further on, and say so
    ignore_range: bool = False
    replace_by: bytes | None = None  # the file is another one after this answer
    stall_after: int | None = None  # send so many bytes, then wait for server.go


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.owner.n_connections += 1

    def log_message(self, *_):
        pass

    def do_GET(self):
        body, server, path = self.command == "GET", self.server.owner, self.path
        entry = SimpleNamespace(
            method=self.command, path=path, headers=dict(self.headers), sent=0, status=0
        )
        server.log.append(entry)
        time.sleep(server.delay)
        fault, data = server.always.get(path, Fault()), server.data(path)
        if body and server.faults[path]:
            fault = server.faults[path].popleft()
        tag = None if data is None else server.etag(path)
        start, stop, entry.status = self.asked(data, tag, fault)
        if fault.status or entry.status in (404, 412, 416):
            entry.status = fault.status or entry.status
            self.send_response(entry.status)
            for name, value in {"Content-Length": "5", **fault.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(b"sorry")
            return
        start, stop = start + fault.shift, stop + fault.shift
        part = bytearray(data[start:stop])
        if fault.flip is not None:
            part[fault.flip] ^= 255
        part = part[: fault.say_length]
        self.send_response(entry.status)
        self.send_header("Content-Length", str(len(part)))
        if server.send_validators:
            self.send_header("ETag", tag)
            self.send_header("Last-Modified", email.utils.formatdate(0))
        if entry.status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.send_body(bytes(part), fault, entry)
        if fault.replace_by is not None:
            server.files[path] = fault.replace_by

    do_HEAD = do_GET

    def asked(self, data, tag, fault):
        """First byte, the one after the last, and the status of the answer."""
        if data is None:
            return 0, 0, 404
        if self.headers.get("If-Match", tag) != tag and not self.server.owner.no_preconditions:
            return 0, 0, 412
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match or fault.ignore_range:
            return 0, len(data), 200
        start = int(match[1])
        stop = min(int(match[2]) + 1, len(data)) if match[2] else len(data)
        return (start, stop, 206) if start < len(data) else (0, 0, 416)

    def send_body(self, part, fault, entry):
        if fault.stall_after is not None:
            entry.sent += self.wfile.write(part[: fault.stall_after])
            self.wfile.flush()
            self.server.owner.stalled.set()
            self.server.owner.go.wait(30)
            part = part[fault.stall_after :]
        if fault.drop_after is not None:
            part = part[: fault.drop_after]
            self.close_connection = True
        try:
            entry.sent += self.wfile.write(part)
        except OSError:
            self.close_connection = True  # the other side has gone


class Server:
    """See the module's text."""

    def __init__(self):
        self.files, self.log, self.n_connections = {}, [], 0
        self.faults, self.always = defaultdict(deque), {}
        self.multipart, self.send_validators, self.no_preconditions = False, True, False
        self.etags, self.delay = {}, 0.0  # seconds before each answer, for the benchmark
        self.stalled, self.go = threading.Event(), threading.Event()
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.owner = self
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.go.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def add_folder(self, root, prefix="/nsd"):
        """Serve a folder of files."""
        for path in Path(root).rglob("*"):
            if path.is_file():
                self.files[f"{prefix}/{path.relative_to(root).as_posix()}"] = path

    def data(self, path):
        found = self.files.get(path)
        return found.read_bytes() if isinstance(found, Path) else found

    def etag(self, path):
        if path in self.etags:
            return self.etags[path]
        name = _md5(self.data(path))
        return f'"{name}-2"' if self.multipart else f'"{name}"'

    def fail(self, path, *faults):
        self.faults[path].extend(faults)

    def asked(self, method="GET", part=""):
        """Answers to requests of a kind, in order."""
        return [e for e in list(self.log) if e.method == method and part in e.path]


def contents(root):
    """Bytes of all files in a folder but the list of downloads, which holds times."""
    skip = (".download.lock", "downloads.json")
    paths = [p for p in Path(root).rglob("*") if p.is_file() and p.name not in skip]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}
