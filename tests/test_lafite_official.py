"""Released checkpoints in the original's form, read as data, or refused clearly."""

import dataclasses
import gzip
import io
import pickle
import re

import lafite_pickles as form
import pytest
import test_lafite
import torch
from lafite_fixture import (
    SOURCE,
    TINY,
    lafite_state,
    network_object,
    networks,
    official_pickle,
    persistent,
    released,
    safetensors_file,
    storage_bytes,
    storage_of,
    torch_old,
    torch_zip,
    view,
    write,
)  # fmt: skip
from refusals import refused

from fmri_utils.lafite import Generator, discriminator_from_state, generator_from_state
from fmri_utils.lafite.released import reader
from fmri_utils.lafite.released.reader import read_official, read_official_pickle
from fmri_utils.lafite.released.records import STORAGE_TYPES, read_storage
from fmri_utils.project.errors import WeightsError

CONFIGS = [*test_lafite.CONFIGS, dataclasses.replace(TINY, change=256, mapping_layers=8)]
CONFIGS.append(dataclasses.replace(TINY, resolution=1024, channel_base=1024, channel_max=2))

# -- what can be read ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_every_structure_and_size_comes_out_as_it_went_in(number, monkeypatch, tmp_path):
    config, protocol = CONFIGS[number], form.PROTOCOLS[number % 2]
    torch.manual_seed(1)
    original = Generator(config).eval()
    data = official_pickle(monkeypatch, {"G_ema": network_object(original)}, protocol)
    states = read_official_pickle(write(tmp_path, data))
    assert list(states) == ["G_ema"]
    expected = lafite_state(original)
    assert states["G_ema"].keys() == expected.keys()
    for key, value in states["G_ema"].items():
        assert torch.equal(value, expected[key]), key
    rebuilt = generator_from_state(states["G_ema"])
    assert rebuilt.config.block_channels == config.block_channels


def test_all_networks_with_their_settings(tmp_path):
    checkpoint = read_official(write(tmp_path, released()))
    assert set(checkpoint.networks) == {"G", "D", "G_ema", "augment_pipe"}
    for name, network in networks().items():
        assert checkpoint.networks[name].keys() == lafite_state(network).keys()
    sizes = {"synthesis_kwargs.channel_base": 64, "synthesis_kwargs.conv_clamp": 256}
    assert checkpoint.settings["G_ema"] == {"z_dim": 5, **sizes}
    judge = discriminator_from_state(checkpoint.networks["D"])
    image, condition = torch.randn(4, 3, 16, 16), torch.randn(4, 6)
    expected = networks()["D"].eval()(image, condition)
    for a, b in zip(judge(image, condition), expected, strict=True):
        assert torch.equal(a, b)


def test_views_with_strides_offsets_and_a_shared_storage(monkeypatch, tmp_path):
    """Channels-last weights, a slice of something larger, two tensors that share a storage."""
    state = lafite_state(networks()["G_ema"])
    conv, fc = "synthesis.b8.conv1.weight", "mapping.fc1.weight"

    def change(state):
        rows = torch.full((9, 7), 7.0)
        rows[1:8] = state[fc]
        transposed = state[conv].permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
        return state | {conv: transposed, fc: rows[1:8]}

    item = network_object(networks()["G_ema"], change=change)
    assert not dict(item.meta["state"]["_modules"])["synthesis"].meta["state"]["_parameters"]
    data = official_pickle(monkeypatch, {"G_ema": item}, 3)
    got = read_official_pickle(write(tmp_path, data))["G_ema"]
    for key, value in state.items():
        assert torch.equal(got[key], value), key
    assert got[conv].is_contiguous() and got[fc].untyped_storage().nbytes() == 49 * 4
    # One storage of 12 numbers, twice: as (3, 4) and as its transpose from the second row on.
    storage = storage_of(storage_bytes(torch.arange(12.0)))
    views = (view(storage + b"q\xf0", 0, (3, 4), (4, 1)), view(b"h\xf0", 4, (4, 2), (1, 4)))
    network = persistent(parameters=form.text("a") + views[0] + form.text("b") + views[1])
    got = read_official_pickle(write(tmp_path, form.whole(network)))["G_ema"]
    grid = torch.arange(12.0).reshape(3, 4)
    assert torch.equal(got["a"], grid) and torch.equal(got["b"], grid[1:].T)
    got["a"].zero_()
    assert got["b"].sum() == grid[1:].sum()


@pytest.mark.parametrize("dtype", STORAGE_TYPES.values(), ids=STORAGE_TYPES)
def test_storages_are_what_torch_reads(dtype):
    tensor = torch.tensor([0, 1, 2, 3, 1]).to(dtype)
    data = storage_bytes(tensor)
    loaded = torch.load(io.BytesIO(data), weights_only=True)
    flat = read_storage(data)
    assert flat.dtype == dtype == loaded.dtype
    assert flat.tolist() == list(loaded) == tensor.tolist()


@pytest.mark.parametrize("protocol", form.PROTOCOLS)
def test_buffers_that_are_not_persistent_are_left_out(protocol, monkeypatch, tmp_path):
    network = form.module("Generator", SOURCE, {"a": torch.ones(2), "b": torch.ones(3)})
    network.meta["state"]["_non_persistent_buffers_set"] = {"b"}
    data = official_pickle(monkeypatch, {"G_ema": network}, protocol)
    assert list(read_official_pickle(write(tmp_path, data))["G_ema"]) == ["a"]


def test_old_names_of_numpy(monkeypatch, tmp_path):
    data = official_pickle(monkeypatch, {"G_ema": network_object(networks()["G_ema"])}, 3)
    new = b"cnumpy._core.multiarray\nscalar\n"
    assert new in data
    data = data.replace(new, b"cnumpy.core.multiarray\nscalar\n")
    assert read_official_pickle(write(tmp_path, data))["G_ema"]


# -- what is damaged, or something else -----------------------------------------------------------


OTHERS = {
    "empty": (lambda: b"", "is empty"),
    "zip of torch": (torch_zip, "a zip archive, such as a checkpoint of a newer torch.save"),
    "old torch": (torch_old, "a checkpoint of an older torch.save"),
    "safetensors": (safetensors_file, "a safetensors file"),
    "gzip": (lambda: gzip.compress(b"x" * 50), "compressed with gzip"),
    "web page": (lambda: b"\n<!DOCTYPE html><title>Google Drive", "a web page"),
    "git-lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
    "noise": (lambda: b"\x01\x02\x03" * 99, "no pickle of protocol 2 or later; it begins with b'"),
    "protocol 9": (lambda: b"\x80\x09N.", "pickle protocol 9; expected 2 to 5"),
    "a list": (lambda: pickle.dumps([1]), "holds a list; expected a dictionary"),
    "no network": (lambda: pickle.dumps({"x": 1}), "the entries 'x', and no network"),
    "two pickles": (lambda: pickle.dumps({}) * 2, "bytes after the end of its pickle"),
    "nothing on the stack": (lambda: b"\x80\x04.", "IndexError"),
    "two on the stack": (lambda: b"\x80\x04NN.", "more than one value is left"),
    "an odd key": (lambda: b"\x80\x04}(NNu.", "key that is a NoneType"),
    "no state": (lambda: form.whole(persistent(kind="method")), "describes a class"),
    "not a tensor": (
        lambda: form.whole(persistent(parameters=form.text("a") + form.text("b"))),
        "G_ema.a is 'b'; expected a tensor",
    ),
    "not a module": (
        lambda: form.whole(persistent(modules=form.text("a") + b"K\x01")),
        "G_ema.a is a int; expected a saved module",
    ),
    "a dotted member": (
        lambda: form.whole(persistent(modules=form.text("a.b") + b"}")),
        "a member called 'a.b'",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_are_named(case, tmp_path):
    make, message = OTHERS[case]
    path = write(tmp_path, make())
    refused(re.escape(message), read_official_pickle, path, error=WeightsError)


def spoiled(old, new):
    data = storage_bytes(torch.arange(6.0))
    assert old in data
    return storage_of(data=data.replace(old, new))


BAD_TENSORS = {
    "beyond the end": (view(storage_of(), 1, (2, 3), (3, 1)), "a view that lies within"),
    "a step too far": (view(storage_of(), 0, (2, 3), (4, 1)), "a view that lies within"),
    "one number, often": (view(storage_of(), 0, (7, 1), (0, 0)), "not larger"),
    "more axes than strides": (view(storage_of(), 0, (2, 3), (1,)), "2 axes and 1 strides"),
    "nine axes": (view(storage_of(), 0, (1,) * 9, (1,) * 9), "whole numbers from 0 on"),
    "too many bits": (view(storage_of(), 0, (2**70,), (0,)), "whole numbers from 0 on"),
    "hooks": (view(storage_of(), 0, (2,), (1,), n_hooks=1), "backward hooks or metadata"),
    "no storage": (view(b"N", 0, (2,), (1,)), "with a NoneType; expected a storage"),
    "a longer header": (view(spoiled(b"K\x06N", b"K\x60N"), 0, (2,), (1,)), "384 bytes"),
    "a longer count": (
        view(spoiled(b"\x06" + bytes(7), b"\x06" + bytes(6) + b"\x01"), 0, (2,), (1,)),
        "24 bytes for",
    ),
    "objects": (view(spoiled(b"FloatStorage", b"ObjectStorag"), 0, (2,), (1,)), "ObjectStorag"),
    "big-endian": (
        view(spoiled(b"endianq\x02\x88", b"endianq\x02\x89"), 0, (2,), (1,)),
        "little-endian",
    ),
    "a zip": (view(storage_of(data=torch_zip()), 0, (2,), (1,)), "a storage of the checkpoint"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_do_not_fit_their_storage_are_refused(case, tmp_path):
    expression, message = BAD_TENSORS[case]
    path = write(tmp_path, form.whole(persistent(parameters=form.text("weight") + expression)))
    refused(re.escape(message), read_official_pickle, path, error=WeightsError)


def test_missing_and_too_large_files(tmp_path, monkeypatch):
    message = r"missing.*github.com/drboog/Lafite.*Nothing is downl"
    refused(message, read_official_pickle, tmp_path / "absent.pkl", error=WeightsError)
    refused("It is a folder", read_official_pickle, tmp_path, error=WeightsError)
    path = write(tmp_path, released())
    monkeypatch.setattr(reader, "MAX_BYTES", 1000)
    refused("bytes; expected at most 1000", read_official_pickle, path, error=WeightsError)
