"""`make weights`: asked first, then whole, checked and where the libraries look, or not at all."""

import hashlib
import io
import os
from pathlib import Path

import huggingface_hub
import pytest
import torch
from download_server import Fault, Server
from huggingface_hub import constants, try_to_load_from_cache
from refusals import refused

from fmri_utils.metrics.feature_networks import NETWORKS, WeightsFile, open_clip_file
from fmri_utils.project.errors import WeightsError
from fmri_utils.project.profiles import load_profile
from pipeline.download import network_weights

SAVED = io.BytesIO()
torch.save({"w": torch.arange(75_000.0)}, SAVED)
BYTES = SAVED.getvalue()
DIGEST = hashlib.sha256(BYTES).hexdigest()
REPO = "timm/vit_base_patch32_clip_224.openai"
COMMIT = "c0ffee" + 34 * "0"


@pytest.fixture
def server():
    server = Server()
    server.files["/models/net.pth"] = BYTES
    yield server
    server.close()


def file_of(server, folder, digest=DIGEST[:8]):
    name = f"net-{digest}.pth" if digest else "plain.pth"
    cached = folder / "hub" / "checkpoints" / name
    return WeightsFile("Net", name, server.url + "/models/net.pth", digest, 0.3, cached, "", "BSD")


# What torch.hub fetches


@pytest.mark.parametrize(
    ("fault", "words", "digest"),
    [
        (Fault(flip=5000), "invalid hash value", DIGEST[:8]),
        (Fault(drop_after=5000), "invalid hash value", DIGEST[:8]),
        (Fault(drop_after=5000), "", ""),
        (Fault(status=503), "HTTP Error 503", DIGEST[:8]),
    ],
)
def test_what_is_damaged_or_not_there_never_gets_its_place(server, tmp_path, fault, words, digest):
    file = file_of(server, tmp_path, digest)
    server.fail("/models/net.pth", fault)
    with pytest.raises(WeightsError, match=rf"could not be fetched .*{words}.*run the same"):
        network_weights.bring(file)
    assert os.listdir(file.cached.parent) == []
    network_weights.bring(file)
    assert file.find().read_bytes() == BYTES
    assert os.listdir(file.cached.parent) == [file.name]


# The hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The hub as open_clip asks it: it names a file's SHA-256 and sends on to another server."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    _, *template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    template = "".join([server.url, *template])
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    server.files["/far/file"] = BYTES
    path = f"/{REPO}/resolve/main/open_clip_model.safetensors"
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/far/file"
    headers = {"Location": elsewhere, "X-Linked-Etag": f'"{DIGEST}"', "X-Repo-Commit": COMMIT}
    server.files[path] = b""
    server.always[path] = Fault(status=302, headers={**headers, "X-Linked-Size": str(len(BYTES))})
    return path


def clip_file():
    return open_clip_file("CLIP", "ViT-B-32-quickgelu", "openai", 0.3)


def test_clip_comes_into_the_hubs_own_cache(server, hub, monkeypatch):
    file = clip_file()
    assert file.sha256_prefix == "" and file.problem()
    network_weights.bring(file)
    found = Path(try_to_load_from_cache(REPO, "open_clip_model.safetensors"))
    assert found.read_bytes() == BYTES
    file = clip_file()
    assert (file.cached, file.sha256_prefix, file.problem()) == (found, DIGEST, "")
    # As open_clip asks for it later, without a network:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Path(huggingface_hub.hf_hub_download(REPO, "open_clip_model.safetensors")) == found
    found.resolve().write_bytes(BYTES[:-5])
    assert "the file is damaged" in clip_file().problem()


def test_a_hub_that_is_away_is_a_clear_error(server, hub, tmp_path):
    server.always[hub] = Fault(status=404)
    refused("HF_HUB_OFFLINE is not 1", network_weights.bring, clip_file(), error=WeightsError)
    assert not list(tmp_path.rglob("*.safetensors"))


# The command


@pytest.fixture
def command(server, tmp_path, monkeypatch, capsys):
    """The command with one small file in the place of all."""
    monkeypatch.setattr(network_weights, "wanted_weights", lambda _: [file_of(server, tmp_path)])

    def command(answer=None, consent=""):
        monkeypatch.setattr(network_weights, "at_terminal", lambda: answer is not None)
        monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)
        monkeypatch.setenv("CONSENT", consent)
        network_weights.run(load_profile("nsd"))
        return capsys.readouterr().out

    return command


def test_size_licence_source_and_place_are_shown_before_the_question(server, tmp_path, command):
    said = command("I agree")
    before = said[: said.index("Type `I agree`")]
    for word in ("315kB", "BSD", server.url, DIGEST[:8], str(tmp_path / "hub"), "to fetch"):
        assert word in before
    assert file_of(server, tmp_path).cached.is_file()
    after = said[said.index("Type `I agree`") :]
    assert "github.com/drboog/Lafite" in after and "make nsd-download" in after
    server.log.clear()
    assert "nothing to fetch" in command()
    assert server.log == []


def test_without_the_answer_or_the_variable_nothing_is_fetched(server, tmp_path, command):
    for answer in ("", "yes"):
        refused(r"nothing was downloaded. Expected: I agree", command, answer)
    for consent in ("", "1"):
        refused(r"without a terminal.*CONSENT=yes", command, consent=consent)
    assert server.log == []
    command(consent="yes")
    assert file_of(server, tmp_path).cached.is_file()


def test_a_file_of_another_content_is_left_alone(server, tmp_path, command):
    path = file_of(server, tmp_path).cached
    path.parent.mkdir(parents=True)
    torch.save({}, path)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=rf"the file is damaged or another one. Delete {path}"):
        command("I agree")
    assert path.read_bytes() == before and server.log == []


def test_the_demo_needs_nothing_and_wrong_settings_are_named(capsys):
    assert network_weights.main(["PROFILE=demo"]) == 0
    assert "needs no weights from elsewhere" in capsys.readouterr().out
    for arguments, word in (
        (["PROFILE=nsd", "SIZE=1"], "unknown setting ['SIZE']"),
        (["PROFILE=real"], "no profile 'real'"),
        (["PROFILE=nsd", "clip.pretrained=opnai"], "no weights 'opnai'"),
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
    assert "none is published" in network_weights.describe(files[-1])
    local = load_profile("nsd", overrides=["clip.model=local-dir:here", "clip.pretrained="])
    names = [f.network for f in network_weights.wanted_weights(local)]
    assert names == [*NETWORKS, files[-1].network]
