"""Conversion of released checkpoints: every number kept, nothing half-written, clear errors."""

import hashlib
import json

import lafite_fixture as fixture
import numpy as np
import pytest
import torch
from refusals import refused
from safetensors import safe_open
from safetensors.torch import load_file

from fmri_utils.lafite import (
    TrainingConfig,
    TrainingData,
    generator_from_state,
    load_generator,
    train,
)
from fmri_utils.lafite.released import convert as command
from fmri_utils.lafite.released.convert import import_official
from fmri_utils.project.errors import WeightsError


@pytest.fixture
def file(tmp_path):
    return fixture.write(tmp_path, fixture.released(), "network-snapshot.pkl")


def read_card(path):
    with safe_open(path, "pt") as weights:
        return json.loads(weights.metadata()["card"])


def test_conversion_keeps_every_number_and_says_where_it_is_from(file, tmp_path):
    out = tmp_path / "weights" / "lafite.safetensors"
    beside = out.with_name("lafite-training.safetensors")
    assert import_official(file, out) == [beside, out]
    loaded = load_generator(out)
    assert loaded.config.change == 8 and loaded.config.clamp == 256.0
    for key, value in fixture.networks()["G_ema"].state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    card = read_card(out)
    assert card["source_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert card["source_file"] == "network-snapshot.pkl" and "not this project's" in card["licence"]
    assert card["settings"]["synthesis_kwargs.channel_base"] == 64
    assert str(tmp_path) not in json.dumps(card) and "somewhere" not in json.dumps(card)
    # Again: nothing to do. With one file lost: both anew, the same bytes.
    before = out.read_bytes()
    assert import_official(file, out) == []
    out.unlink()
    assert import_official(file, out) == [beside, out]
    assert out.read_bytes() == before
    assert sorted(p.name for p in out.parent.iterdir()) == [beside.name, out.name]


def test_training_starts_from_the_second_file(file, tmp_path, rng):
    out = tmp_path / "lafite.safetensors"
    import_official(file, out)
    tensors = load_file(tmp_path / "lafite-training.safetensors")
    assert {key.split(".")[0] for key in tensors} == {"G", "D", "G_ema"}
    for name, network in fixture.networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(tensors[f"{name}.{key}"], value)
    assert generator_from_state(tensors).config.resolution == 16
    images = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
    settings = {"batch_size": 4, "n_images": 4, "itc": 0, "learning_rate_g": 1e-6}
    config = TrainingConfig(generator=fixture.TINY, discriminator=fixture.TINY_D, **settings)
    beside = tmp_path / "lafite-training.safetensors"
    embeddings = np.eye(6, dtype=np.float32)[rng.integers(0, 6, 8)]
    result = train(config, TrainingData(images, embeddings), initial=beside, progress=False)
    moved = result.raw_generator.synthesis.b4.const - fixture.networks()["G"].synthesis.b4.const
    assert moved.abs().max() < 1e-5


def test_half_precision_stays_and_the_clamp_is_taken_over(monkeypatch, tmp_path):
    settings = {"synthesis_kwargs": {"conv_clamp": None}}
    item = fixture.network_object(fixture.networks()["G_ema"], torch.float16, settings)
    path = fixture.write(tmp_path, fixture.official_pickle(monkeypatch, {"G": item}))
    out = tmp_path / "lafite.safetensors"
    assert import_official(path, out) == [out]
    assert {v.dtype for v in load_file(out).values()} == {torch.float16}
    assert load_generator(out).config.clamp is None
    assert read_card(out)["generator"] == "G"


@pytest.mark.parametrize("normalized", [False, True])
def test_the_normalisation_of_features_is_taken_over(normalized, monkeypatch, tmp_path):
    settings = {"epilogue_kwargs": {"d_use_norm": normalized}}
    content = {
        "G_ema": fixture.network_object(fixture.networks()["G_ema"]),
        "D": fixture.network_object(fixture.networks()["D"], settings=settings),
    }
    path = fixture.write(tmp_path, fixture.official_pickle(monkeypatch, content))
    beside, _ = import_official(path, tmp_path / "lafite.safetensors")
    with safe_open(beside, "pt") as file:
        config = json.loads(file.metadata()["config"])
    assert config["D"]["normalize_features"] is normalized
    assert beside.stat().st_mode == path.stat().st_mode


@pytest.mark.parametrize(
    ("spoiled", "key", "message"),
    [
        ("G_ema", "synthesis.b8.conv1.bias", "Missing key.*synthesis.b8.conv1.bias"),
        ("D", "b4.fts.bias", "network D: .*b4.fts.bias.*TRAINING=no"),
    ],
)
def test_unknown_structures_name_their_tensors(spoiled, key, message, monkeypatch, tmp_path):
    content = {n: fixture.network_object(network) for n, network in fixture.networks().items()}
    change = {"change": lambda state: {k: v for k, v in state.items() if k != key}}
    content[spoiled] = fixture.network_object(fixture.networks()[spoiled], **change)
    path = fixture.write(tmp_path, fixture.official_pickle(monkeypatch, content))
    out = tmp_path / "lafite.safetensors"
    refused(message, import_official, path, out, error=WeightsError)
    assert [p.name for p in tmp_path.iterdir()] == ["given.pkl"]
    if spoiled == "D":
        assert import_official(path, out, training=False) == [out]


def test_a_file_from_elsewhere_is_left_alone(file, tmp_path):
    out = tmp_path / "lafite.safetensors"
    for content in (b"mine", fixture.safetensors_file()):
        out.write_bytes(content)
        with pytest.raises(WeightsError, match="exists and was not made from this checkpoint"):
            import_official(file, out)
        assert out.read_bytes() == content


def test_the_command(file, tmp_path, capsys):
    out = tmp_path / "made.safetensors"
    assert command.main([f"FILE={file}", f"OUT={out}", "TRAINING=no"]) == 0
    assert "not this project's" in capsys.readouterr().err
    assert command.main([f"FILE={file}", f"OUT={out}", "TRAINING=no"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    for arguments, message in (
        ([], "FILE is not given"),
        (["FILE=a.pkl", "SIZE=3"], "unknown key ['SIZE']"),
        (["FILE=a.pkl", "TRAINING=maybe"], "Expected: 'yes' or 'no'"),
        ([f"FILE={tmp_path}/absent.pkl"], "github.com/drboog/Lafite"),
        ([f"FILE={file}", "OUT=x.pkl"], "ends in .safetensors"),
    ):
        assert command.main(arguments) == 2
        assert message in capsys.readouterr().err
