"""Fixtures of the downloader's tests; ``pytest_plugins = ["nsd_fixture", "download_fixture"]``."""

import contextlib
import io
from datetime import timedelta

import pytest
from download_server import Server

from pipeline.download import __main__ as job
from pipeline.download import client
from pipeline.download.settings import parse_request

ATLASES = ("nsdgeneral", "prf-visualrois", "floc-faces", "streams")  # those of the fixture


@pytest.fixture
def server(nsd, monkeypatch):
    """NSD's bucket under /nsd, COCO's under /coco."""
    client._store.cache_clear()
    monkeypatch.setitem(client.RETRIES, "backoff", {"init_backoff": timedelta(seconds=0.01)})
    monkeypatch.setitem(client.CLIENT_OPTIONS, "read_timeout", timedelta(seconds=5))
    server = Server()
    server.add_folder(nsd.root)
    yield server
    server.close()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Call the downloader as `make` would, consent aside; returns what it said."""
    monkeypatch.setattr(job, "ATLASES", ATLASES)  # asking for the others takes time

    def fetch(*arguments):
        given = {"SUBJECT": "1", "SESSIONS": "1", "STIMULI": "none", "BETAS": "none"}
        given |= {"NSD_URL": f"{server.url}/nsd", "COCO_URL": f"{server.url}/coco"}
        given |= {"CONNECTIONS": "8", "ROOT": fetch.root}
        given |= dict(argument.split("=", 1) for argument in arguments)
        request = parse_request([f"{k}={v}" for k, v in given.items()])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            job.download(request)
        return said.getvalue()

    fetch.root = tmp_path / "data"
    return fetch
