"""Released checkpoints as bytes: small networks of ours in the original's form."""

import dataclasses
import functools
import io
import pickle
import re
import sys

import lafite_pickles as form
import numpy as np
import pytest
import torch
from small_lafite import DISCRIMINATOR, GENERATOR, lively

from fmri_utils.lafite import Discriminator, Generator
from fmri_utils.lafite.layers import Convolution, SynthesisConvolution, fir_filter

SIZES = {"condition_dim": 6, "channel_max": 12}
TINY = dataclasses.replace(GENERATOR, z_dim=5, change=8, inner_dim=8, **SIZES)
TINY_D = dataclasses.replace(DISCRIMINATOR, **SIZES)
SOURCE = "raise SystemExit('the embedded source code ran')"
NETWORK_SETTINGS = {"z_dim": 5, "synthesis_kwargs": {"channel_base": 64, "conv_clamp": 256}}


def lafite_state(network):
    """All tensors under LAFITE's names, with the resampling filters that are buffers there."""
    state = {key: value.detach().clone() for key, value in network.state_dict().items()}
    for name, module in network.named_modules():
        block = re.fullmatch(r"b(?!4$)\d+", name.split(".")[-1])
        if block or isinstance(module, Convolution | SynthesisConvolution):
            state[f"{name}.resample_filter"] = fir_filter(torch.ones(1))
    return state


def as_easy(value):
    if type(value) is not dict:
        return value
    return form.EasyDict({k: as_easy(v) for k, v in value.items()})


def network_object(network, dtype=torch.float32, settings=NETWORK_SETTINGS, change=lambda s: s):
    """A network as a persistent object; buffers and parameters as in the original."""
    parameters = dict(network.named_parameters())
    state = {
        key: torch.nn.Parameter(value.to(dtype), False) if key in parameters else value.to(dtype)
        for key, value in change(lafite_state(network)).items()
    }
    numbers = {"weight_gain": np.float64(0.25), "other_gain": np.float32(2), "flag": np.bool_(True)}
    made_with = {"_init_args": (), "_init_kwargs": as_easy(settings)}
    return form.module(type(network).__name__, SOURCE, state, **made_with, **numbers)


def official_pickle(monkeypatch, content, protocol=4):
    """The bytes of a released file."""
    for name, value in form.stand_ins().items():
        monkeypatch.setitem(sys.modules, name, value)
    content = {**content, "training_set_kwargs": as_easy({"path": "somewhere", "xflip": True})}
    return pickle.dumps(content, protocol=protocol)


@functools.cache
def networks():
    """G, D and G_ema, with every bias and noise strength off its initial value."""
    torch.manual_seed(0)
    made = {"G": Generator(TINY), "D": Discriminator(TINY_D), "G_ema": Generator(TINY)}
    return {name: lively(network) for name, network in made.items()}


@functools.cache
def released():
    """A file with all of them, as bytes."""
    content = {name: network_object(network) for name, network in networks().items()}
    content["augment_pipe"] = form.module("AugmentPipe", SOURCE, {"p": torch.ones([])})
    with pytest.MonkeyPatch.context() as patch:
        return official_pickle(patch, content)


def write(tmp_path, data, name="given.pkl"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


# -- parts by hand, and other files ---------------------------------------------------------------


def storage_bytes(tensor):
    """What torch embeds for a storage."""
    kept = []

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj):
            if isinstance(obj, torch.storage.TypedStorage):
                kept.append(obj.__reduce__()[1][0])
            return NotImplemented

    Pickler(io.BytesIO(), 4).dump(tensor)
    return kept[0]


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little")


def view(storage, offset, shape, strides, n_hooks=0):
    parts = [form.tuple_of(*map(number, sizes)) for sizes in (shape, strides)]
    hooks = b"}" + n_hooks * (form.text("x") + b"Ns")
    rest = number(offset), *parts, b"\x89", hooks
    return form.call("torch._utils:_rebuild_tensor_v2", storage, *rest)


def persistent(parameters=b"", buffers=b"", modules=b"", kind="class", name="G_ema"):
    """Opcodes of {name: a persistent object with these entries}."""
    state = form.text("_parameters") + b"}(" + parameters + b"u" + form.text("_buffers")
    state += b"}(" + buffers + b"u" + form.text("_modules") + b"}(" + modules + b"u"
    meta = form.text("type") + form.text(kind) + form.text("class_name") + form.text("Generator")
    meta += form.text("module_src") + form.text(SOURCE) + form.text("state") + b"}(" + state + b"u"
    item = form.call("torch_utils.persistence:_reconstruct_persistent_obj", b"}(" + meta + b"u")
    return b"}(" + form.text(name) + item + b"u" if name else item


def storage_of(data=None):
    data = storage_bytes(torch.arange(6.0)) if data is None else data
    return form.call("torch.storage:_load_from_bytes", form.blob(data))


def torch_zip(**how):
    stream = io.BytesIO()
    torch.save({"a": torch.ones(2)}, stream, **how)
    return stream.getvalue()


def torch_old():
    return torch_zip(_use_new_zipfile_serialization=False)


def safetensors_file():
    from safetensors.torch import save

    return save({"a": torch.ones(2)})
