"""Fixtures of the downloader's tests; ``pytest_plugins = ["nsd_fixture", "download_fixture"]``."""

import contextlib
import io

import pytest
from download_server import Server

from pipeline.download import plan
from pipeline.download.client import Client
from pipeline.download.job import download
from pipeline.download.settings import parse_request

ATLASES = ("nsdgeneral", "prf-visualrois", "floc-faces", "streams")  # those of the fixture


@pytest.fixture
def server(nsd):
    """NSD's bucket under /nsd, COCO's under /coco."""
    server = Server()
    server.add_folder(nsd.root)
    yield server
    server.close()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Call the downloader as `make` would, consent aside; returns what it said."""
    monkeypatch.setattr(plan, "ATLASES", ATLASES)  # asking for the others takes time

    def fetch(*arguments, root=tmp_path / "data", client=None):
        given = {"SUBJECT": "1", "SESSIONS": "1", "STIMULI": "none", "BETAS": "none"}
        given |= {"NSD_URL": f"{server.url}/nsd", "COCO_URL": f"{server.url}/coco"}
        given |= dict(argument.split("=", 1) for argument in arguments)
        request = parse_request([f"{k}={v}" for k, v in given.items()], root)
        client = client or Client(n_connections=8, timeout=5, backoff=0.01)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            download(request, client)
        return said.getvalue()

    fetch.root = tmp_path / "data"
    return fetch
