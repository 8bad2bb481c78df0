"""`make weights`: asked first, then whole, checked and where the libraries look, or not at all."""

import hashlib
import multiprocessing
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from download_server import Fault, Server
from huggingface_hub import constants, try_to_load_from_cache

from fmri_utils.metrics import NETWORKS
from fmri_utils.metrics.feature_networks import WeightsFile, open_clip_file
from fmri_utils.project.errors import DataError, WeightsError
from fmri_utils.project.profiles import load_profile
from pipeline.download import network_weights
from pipeline.download.client import Client
from pipeline.download.download_log import Records, part_of

BYTES = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(BYTES).hexdigest()
REPO = "timm/vit_base_patch32_clip_224.openai"
COMMIT = "c0ffee" + 34 * "0"


@pytest.fixture
def server():
    server = Server()
    server.files["/models/net.pth"] = BYTES
    server.multipart = True  # then the ETag is no MD5, as of most large files
    yield server
    server.close()


@pytest.fixture
def place(tmp_path):
    """Folders as a machine has them: the list of what was fetched, and a library's cache."""
    (tmp_path / "list").mkdir()
    return tmp_path


def file_of(server, place, digest=DIGEST[:8], url="/models/net.pth"):
    name = f"net-{digest or 'plain'}.pth"
    cached = place / "hub" / "checkpoints" / name
    return WeightsFile("Net", name, server.url + url, digest, 0.3, cached, licence="BSD")


def client(**more):
    return Client(timeout=5, backoff=0, n_redirects=5, **more)


def bring(place, *files):
    """Fetch what is not here; returns what was said."""
    said = []
    records = Records(place / "list")
    missing = [file for file in files if not network_weights.is_here(file, records)]
    network_weights.fetch_weights(missing, client(), records, say=said.append, progress=False)
    return said


# Whole files


@pytest.mark.parametrize("digest", [DIGEST[:8], ""])
def test_a_file_arrives_where_its_library_looks_and_is_not_fetched_again(server, place, digest):
    file = file_of(server, place, digest)
    (said,) = bring(place, file)
    assert ("SHA-256 as published" if digest else "length as on the server") in said
    assert file.find().read_bytes() == BYTES
    assert os.listdir(file.path().parent) == [file.name]
    server.log.clear()
    assert bring(place, file) == []
    assert server.log == []


def test_dropped_connections_are_resumed(server, place):
    server.fail("/models/net.pth", *(Fault(drop_after=n) for n in (0, 1000, 200_000)))
    file = file_of(server, place)
    bring(place, file)
    assert file.path().read_bytes() == BYTES
    ranges = [entry.headers.get("Range") for entry in server.asked()]
    assert ranges == [None, None, "bytes=1000-", "bytes=201000-"]


def test_a_shorter_answer_is_not_taken_for_the_file(server, place):
    server.fail("/models/net.pth", *[Fault(say_length=5000)] * 9)
    file = file_of(server, place)
    with pytest.raises(DataError, match="changed 3 times"):
        bring(place, file)
    assert not file.path().exists()


def test_a_changed_byte_is_noticed_by_the_published_checksum(server, place):
    server.fail("/models/net.pth", Fault(flip=1234))
    file = file_of(server, place)
    bring(place, file)
    assert file.path().read_bytes() == BYTES
    assert len(server.asked()) == 2


def test_another_file_under_the_same_name_never_gets_its_place(server, place):
    server.files["/models/net.pth"] = BYTES[::-1]
    file = file_of(server, place)
    with pytest.raises(
        DataError, match=rf"came damaged twice: its SHA-256 is .*{DIGEST[:8]}\.\.\."
    ):
        bring(place, file)
    assert not file.path().exists()
    assert part_of(file.path()).stat().st_size == 0


@pytest.mark.parametrize("status", [404, 403])
def test_what_is_not_there_is_said_with_the_place_that_it_should_have(server, place, status):
    server.always["/models/net.pth"] = Fault(status=status)
    file = file_of(server, place)
    with pytest.raises(WeightsError, match=f"answered with {status}.*put it at {file.path()}"):
        bring(place, file)
    assert not file.path().exists()


def test_a_file_of_another_content_is_left_alone(server, place):
    file = file_of(server, place)
    file.path().parent.mkdir(parents=True)
    file.path().write_bytes(BYTES[:-1])
    with pytest.raises(DataError, match=r"is left alone. Delete it"):
        bring(place, file)
    file.path().write_bytes(BYTES[:-1] + b"x")  # the right length
    with pytest.raises(DataError, match=r"SHA-256.*is left alone. Delete it"):
        bring(place, file)
    assert file.path().read_bytes() == BYTES[:-1] + b"x"


def test_a_file_that_another_program_brought_is_compared(server, place):
    file = file_of(server, place, "")
    file.path().parent.mkdir(parents=True)
    file.path().write_bytes(BYTES)
    assert "was here" in bring(place, file)[0]
    assert server.asked() == []  # only its length was asked for
    file.path().write_bytes(BYTES[:-1])  # listed, and damaged since: fetched again
    assert "fetched" in bring(place, file)[0]
    assert file.path().read_bytes() == BYTES


def test_redirects_are_followed_but_not_for_ever(server, place):
    server.files |= {"/a": b"", "/b": b""}
    server.always["/a"] = Fault(status=302, headers={"Location": "/models/net.pth"})
    bring(place, file_of(server, place, url="/a"))
    server.always["/b"] = Fault(status=302, headers={"Location": "/b"})
    with pytest.raises(DataError, match=r"status 302 \(moved to /b\)"):
        bring(place, file_of(server, place / "other", url="/b"))


def fetch_in_a_process(url, place, digest):
    """What a killed command does."""
    file = WeightsFile("Net", "net.pth", url, digest[:8], 3, place / "hub" / "net.pth")
    network_weights.fetch_weights(
        [file], client(), Records(place / "list"), say=print, progress=False
    )


def test_a_killed_download_goes_on_where_it_was(server, place):
    large = 10 * BYTES  # more than the blocks in which bytes are written
    server.files["/models/net.pth"] = large
    server.fail("/models/net.pth", Fault(stall_after=2_900_000))
    target = place / "hub" / "net.pth"
    job = server.url + "/models/net.pth", place, hashlib.sha256(large).hexdigest()
    process = multiprocessing.get_context("fork").Process(target=fetch_in_a_process, args=job)
    process.start()
    assert server.stalled.wait(60)
    part = part_of(target)
    while not part.is_file() or part.stat().st_size == 0:
        assert process.is_alive()
    process.kill()
    process.join()
    server.go.set()
    assert not target.exists()
    begun = part.stat().st_size
    assert 0 < begun <= 2_900_000
    fetch_in_a_process(*job)
    assert target.read_bytes() == large
    assert server.asked()[-1].headers["Range"] == f"bytes={begun}-"
    assert os.listdir(target.parent) == ["net.pth"]


def test_two_downloads_do_not_meet_in_one_file(server, place):
    file = file_of(server, place)
    file.path().parent.mkdir(parents=True)
    fcntl = pytest.importorskip("fcntl")
    with open(part_of(file.path()), "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another download is at work on"):
            bring(place, file)


# The hub


@pytest.fixture
def hub(server, place, monkeypatch):
    """The hub as open_clip asks it: it names a file's SHA-256 and sends on to another server."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "".join(template[1:])
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    server.files["/far/file"] = BYTES
    path = f"/{REPO}/resolve/main/open_clip_model.safetensors"
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/far/file"
    headers = {"Location": elsewhere, "X-Linked-Etag": f'"{DIGEST}"', "X-Repo-Commit": COMMIT}
    server.files[path] = b""
    server.always[path] = Fault(status=302, headers={**headers, "X-Linked-Size": "300000"})
    return path


def clip_file():
    return open_clip_file("CLIP", "ViT-B-32-quickgelu", "openai", 0.3)


def test_clip_comes_into_the_hubs_own_cache(server, place, hub, monkeypatch):
    server.fail("/far/file", Fault(drop_after=1000))
    file = clip_file()
    assert file.sha256_prefix == "" and not file.path().exists()
    bring(place, file)
    assert server.asked(part="/far")[-1].headers["Range"] == "bytes=1000-"
    found = Path(try_to_load_from_cache(REPO, "open_clip_model.safetensors"))
    assert found.read_bytes() == BYTES
    file = clip_file()
    assert (file.path(), file.sha256_prefix) == (found, DIGEST)
    # As open_clip asks for it later, without a network:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Path(huggingface_hub.hf_hub_download(REPO, "open_clip_model.safetensors")) == found
    server.log.clear()
    assert bring(place, file) == []
    assert server.log == []
    found.resolve().write_bytes(BYTES[:-5])
    assert not network_weights.is_here(clip_file(), Records(place / "list"))


def test_a_hub_without_checksums_and_one_that_is_away_are_clear_errors(server, place, hub):
    server.always[hub].headers["X-Linked-Etag"] = '"abc"'
    with pytest.raises(WeightsError, match="'abc'; expected a SHA-256"):
        bring(place, clip_file())
    server.always[hub] = Fault(status=404)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is not 1"):
        bring(place, clip_file())
    assert not list(place.rglob("*.safetensors"))


def test_weights_that_open_clip_does_not_know_are_named():
    with pytest.raises(WeightsError, match=r"no weights 'opnai'.*'openai'"):
        open_clip_file("CLIP", "ViT-B-32-quickgelu", "opnai", 1)


# The command


@pytest.fixture
def command(server, place, monkeypatch):
    """The command with one small file in the place of all."""
    monkeypatch.setattr(network_weights, "wanted_weights", lambda profile: [file_of(server, place)])

    def command(answer=None, **environment):
        said = []

        def ask(question):
            said.append(question)
            return answer

        try:
            network_weights.run(
                load_profile("nsd"),
                client(),
                place / "list",
                at_terminal=answer is not None,
                ask=ask,
                say=said.append,
                environment=environment,
                progress=False,
            )
        finally:
            command.said = "\n".join(said)
        return command.said

    return command


def test_size_licence_source_and_place_are_shown_before_the_question(server, place, command):
    said = command("I agree")
    before = said[: said.index("Type `I agree`")]
    for word in ("315 kB", "BSD", server.url, DIGEST[:8], str(place / "hub"), "to fetch"):
        assert word in before
    assert file_of(server, place).path().is_file()
    after = said[said.index("Type `I agree`") :]
    assert "github.com/drboog/Lafite" in after and "make nsd-download" in after
    server.log.clear()
    assert "nothing to fetch" in command()
    assert server.log == []


@pytest.mark.parametrize("answer", ["", "yes", "no"])
def test_any_other_answer_fetches_nothing(server, place, command, answer):
    with pytest.raises(DataError, match=r"nothing was downloaded. Expected: I agree"):
        command(answer)
    assert server.log == []
    assert not file_of(server, place).path().exists()


def test_without_a_terminal_the_variable_is_needed(server, place, command):
    for environment in ({}, {"CONSENT": "1"}):
        with pytest.raises(DataError, match=r"without a terminal.*CONSENT=yes"):
            command(**environment)
    assert server.log == []
    command(CONSENT="yes")
    assert file_of(server, place).path().is_file()


def test_the_demo_needs_nothing_and_wrong_settings_are_named(capsys):
    assert network_weights.main(["PROFILE=demo"]) == 0
    assert "needs no weights from elsewhere" in capsys.readouterr().out
    for arguments, word in (
        (["PROFILE=nsd", "SIZE=1"], "unknown setting ['SIZE']"),
        (["PROFILE=real"], "no profile 'real'"),
        (["PROFILE=nsd", "clip.pretrained=none"], "no weights 'none'"),
    ):
        assert network_weights.main(arguments) == 2
        assert word in capsys.readouterr().err


def test_the_real_profile_wants_clip_and_every_network_that_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    files = network_weights.wanted_weights(load_profile("nsd"))
    assert [f.network for f in files] == ["CLIP of the profile", *NETWORKS, "Inception of the FID"]
    assert files[0].hub.startswith(REPO)
    assert all(f.licence and f.megabytes > 10 and f.url.startswith("https") for f in files)
    unknown = [f.network for f in files if not f.sha256_prefix and not f.hub]
    assert unknown == ["SwAV", "Inception of the FID"]  # what is said of them in the list
    assert "none is published" in network_weights.describe(files[-1], here=False)
    local = load_profile("nsd", overrides=["clip.model=local-dir:here", "clip.pretrained="])
    assert [f.network for f in network_weights.wanted_weights(local)] == [
        *NETWORKS,
        files[-1].network,
    ]
