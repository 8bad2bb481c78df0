"""Malformed weights and checkpoints are refused, every one, by the project's own errors.

Safetensors have no checksum, so only their header is flipped bit by bit; numbers that are not
finite are refused wherever they stand. Files of ``torch.save`` and released pickles are cut off,
flipped and swapped too; a pickle with a command in it is refused without running it.
"""

import json
import os
import pickle
import shutil
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from lafite_fixture import networks, released
from malformed import HarmlessError, flipped, refuse_all, replaced
from safetensors.torch import save

from fmri_utils.clip.space import open_clip_space
from fmri_utils.dino.on_pictures import ImageSettings
from fmri_utils.dino.student_teacher import DinoSettings
from fmri_utils.dino.teacher_files import load_teacher
from fmri_utils.encoders import load_encoder, save_encoder
from fmri_utils.encoders.linear import LinearEncoder
from fmri_utils.encoders.mlp import MLPEncoder, ResidualMLP
from fmri_utils.lafite import generator_from_state
from fmri_utils.lafite.generator_files import load_generator, save_generator
from fmri_utils.lafite.released.reader import read_official_pickle
from fmri_utils.lafite.training.checkpoints import read_checkpoint, write_checkpoint
from fmri_utils.lafite.training.config import TrainingConfig
from fmri_utils.metrics import judge as judging
from fmri_utils.project.profiles import PROJECT_ROOT
from simulated_nsd.training.demo_dino import save_teacher
from simulated_nsd.training.demo_judge import save_judge

CPU = torch.device("cpu")


class Command:
    """What an ordinary unpickler would run."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one small whole file of every kind."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    classes = dict.fromkeys(judging.HEADS, ("a", "b", "c"))
    save_judge(judging.Judge(classes, 4), folder / "judge.safetensors")
    settings = ImageSettings(DinoSettings(n_steps=3), 16, 8, 12, 1, 2, 6, 1, 16, 8)
    pair = SimpleNamespace(teacher=settings.learner(), centre=torch.zeros(6))
    save_teacher(folder / "teacher.safetensors", pair, settings, {"loss": np.array([np.nan, 1, 0])})
    linear = LinearEncoder(np.ones((5, 3), np.float32), np.zeros(3, np.float32), "ridge")
    save_encoder(linear, folder / "linear.safetensors")
    network = ResidualMLP(5, 3, 4)
    save_encoder(MLPEncoder(network.eval(), 5, "MLP"), folder / "mlp.safetensors")
    save_generator(folder / "generator.safetensors", networks()["G_ema"], {"what": "tiny"})
    (folder / "released.pkl").write_bytes(released())
    sizes = {"generator": networks()["G"].config, "discriminator": networks()["D"].config}
    config = TrainingConfig(**sizes).to_dict()
    tensors = {f"G.{k}": v for k, v in networks()["G"].state_dict().items()}
    other = {"rng": torch.get_rng_state(), "history": [{"images": 4}], "step": 1}
    path = write_checkpoint(folder, 4, tensors, other, config)
    path.rename(folder / "training.safetensors")
    path.with_suffix(".pt").rename(folder / "training.pt")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


READERS = {
    "judge.safetensors": judging.load_judge,
    "teacher.safetensors": load_teacher,
    "linear.safetensors": load_encoder,
    "mlp.safetensors": load_encoder,
    "generator.safetensors": load_generator,
    "released.pkl": read_official_pickle,
    "training.safetensors": lambda path: training(path),
    "training.pt": lambda path: training(path.with_suffix(".safetensors")),
}
SAFETENSORS = sorted(name for name in READERS if name.endswith("safetensors"))


def training(path):
    config = json.loads(path.with_name("config.json").read_text())
    tensors, other = read_checkpoint(path, config, CPU)
    return generator_from_state(tensors), other


def parts(data):
    """Header and tensors of a safetensors file."""
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def join(header, tensors):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + tensors


def test_files_cut_off_overwritten_swapped_or_missing(folder, tmp_path):
    for name, read in READERS.items():
        read(folder / name)  # whole, it is read
    whole = {name: (folder / name).read_bytes() for name in READERS}
    mark = tmp_path / "mark"
    names = st.sampled_from(sorted(READERS))
    pairs = st.tuples(names, names).filter(lambda pair: pair[0] != pair[1])
    cases = st.one_of(
        st.tuples(st.just("cut"), names, st.floats(0, 0.999)),
        st.tuples(st.just("bytes"), names, st.binary(min_size=1, max_size=300)),
        st.tuples(st.just("longer"), st.sampled_from(SAFETENSORS), st.binary(min_size=1)),
        pairs.map(lambda pair: ("swap", *pair)),
        st.tuples(st.just("removed"), names),
        st.tuples(st.just("command"), names, st.integers(0, 4)),
        st.tuples(st.just("other object"), st.just("training.pt"), st.integers(0, 3)),
    )

    def attempt(case):
        how, name, *rest = case
        if how == "cut":
            data = whole[name][: int(rest[0] * len(whole[name]))]
        elif how == "swap":
            if {name, rest[0]} == {"linear.safetensors", "mlp.safetensors"}:
                raise HarmlessError  # both are encoders
            data = whole[rest[0]]
        elif how == "command":
            data = pickle.dumps({"state": Command(mark)}, protocol=rest[0])
        elif how == "other object":
            with open(folder / "object.pt", "wb") as file:
                torch.save([[1], torch.ones(2), "text", 3][rest[0]], file)
            data = (folder / "object.pt").read_bytes()
        else:
            data = {"bytes": rest, "longer": [whole[name] + b"".join(rest)], "removed": [None]}
            data = data[how][0]
        with replaced(folder / name, data):
            return READERS[name](folder / name)

    refuse_all("weights: damages", cases, attempt, more=40)
    assert not mark.exists()
    function, arguments = Command(mark).__reduce__()
    function(*arguments)  # the command is real
    assert mark.exists()


def about(key, value):
    """Change an entry of the metadata; None removes it."""

    def change(header):
        kept = {**header["__metadata__"], key: value}
        return {**header, "__metadata__": {k: v for k, v in kept.items() if v is not None}}

    return change


def setting(entry, name, value):
    """Change one value inside a JSON text of the metadata."""

    def change(header):
        kept = json.loads(header["__metadata__"][entry])
        return about(entry, json.dumps({**kept, name: value}))(header)

    return change


META = [
    *(("judge", about("classes", v)) for v in ("3", "{}", "[]", "{", "null", None)),
    *(("judge", about("width", v)) for v in ("x", "0", "-4", "5", "8", "999999", None)),
    *(("teacher", about("settings", v)) for v in ("3", "{}", "[]", "{", None)),
    *(("teacher", setting("settings", "depth", v)) for v in (0, -1, 3, "2", 10**9, None)),
    *(("teacher", setting("settings", "patch", v)) for v in (0, 3, "p", -8)),
    *(("teacher", setting("settings", "dino", v)) for v in (3, {}, {"n_steps": 1, "x": 2})),
    *((kind, about("method", None)) for kind in ("linear", "mlp")),
    *(("generator", about("format", v)) for v in ("x", "", None)),
    *(("generator", about("config", v)) for v in ("3", "{}", "[]", "{", None)),
    *(("generator", setting("config", "z_dim", v)) for v in (0, -1, 6, "z", 10**9, None, 5.0)),
    *(("generator", setting("config", "resolution", v)) for v in (0, 15, 32, 2**40, "r", -16)),
]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_headers_that_say_something_wrong(folder):
    whole = {name: parts((folder / name).read_bytes()) for name in SAFETENSORS}
    names = st.sampled_from([n for n in SAFETENSORS if n != "training.safetensors"])
    tensor = {n: [k for k in whole[n][0] if k not in ("__metadata__", "centre")] for n in whole}
    tensor = {n: [k for k in kept if not k.startswith("record/")] for n, kept in tensor.items()}
    some_tensor = names.flatmap(lambda n: st.tuples(st.just(n), st.sampled_from(tensor[n])))
    what = st.sampled_from(["gone", "dtype", "shape", "offsets", "NaN", "infinite"])
    cases = st.one_of(
        st.integers(0, len(META) - 1),
        st.tuples(some_tensor, what),
        st.tuples(names, st.binary(min_size=1, max_size=60)),
    )

    def damaged(case):
        if isinstance(case, int):
            kind, change = META[case]
            name = f"{kind}.safetensors"
            return name, join(change(whole[name][0]), whole[name][1])
        if isinstance(case[1], bytes):
            return case[0], join(case[1], whole[case[0]][1])
        (name, key), how = case
        header, tensors = json.loads(json.dumps(whole[name][0])), bytearray(whole[name][1])
        entry = header[key]
        if how == "gone":
            del header[key]
        elif how == "dtype":
            entry["dtype"] = "I64"
        elif how == "shape":
            entry["shape"] = [*entry["shape"], 3]
        elif how == "offsets":
            entry["data_offsets"][1] += 2
        else:
            value = torch.tensor([np.nan if how == "NaN" else np.inf])
            half = entry["dtype"] == "F16"
            number = (value.half() if half else value).numpy().tobytes()
            start = entry["data_offsets"][0]
            tensors[start : start + len(number)] = number
        return name, join(header, bytes(tensors))

    def attempt(case):
        name, data = damaged(case)
        with replaced(folder / name, data):
            return READERS[name](folder / name)

    refuse_all("weights: headers", cases, attempt, more=60)


def same(a, b):
    if isinstance(a, dict | list | tuple):
        if isinstance(a, dict):
            a, b = list(a.items()), list(b.items())
        return len(a) == len(b) and all(map(same, a, b))
    if torch.is_tensor(a):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, torch.nn.Module):
        return same(a.state_dict(), b.state_dict())
    if isinstance(a, LinearEncoder | MLPEncoder):
        return same(torch.as_tensor(a.predict(np.eye(5))), torch.as_tensor(b.predict(np.eye(5))))
    return bool(np.array_equal(a, b))


def sizes(networks):
    return {name: {k: list(v.shape) for k, v in state.items()} for name, state in networks.items()}


def test_flipped_bits(folder):
    whole = {name: (folder / name).read_bytes() for name in READERS}
    truth = {name: read(folder / name) for name, read in READERS.items()}
    places = st.floats(0, 1, exclude_max=True)
    cases = st.tuples(st.sampled_from(sorted(READERS)), places, st.integers(1, 255))
    header = {n: (8 + struct.unpack("<Q", whole[n][:8])[0]) / len(whole[n]) for n in SAFETENSORS}

    def attempt(case):
        name, where, bits = case
        data = flipped(whole[name], where * header.get(name, 1), bits)
        with replaced(folder / name, data):
            found, true = READERS[name](folder / name), truth[name]
        if name == "teacher.safetensors":  # a digit of its settings may be another: same weights
            found, true = found[0], true[0]
        elif name == "released.pkl":  # a number may be another: pickles have no checksum
            found, true = sizes(found), sizes(true)
        if same(found, true):
            raise HarmlessError
        return name

    refuse_all("weights: flips", cases, attempt, more=80)


CLIP_CONFIG = [
    *("", "{", "[]", "3", "{}", '{"model_cfg": {}}', '{"model_cfg": 3}', "\0", '"text"'),
    *('{"model_cfg": {"embed_dim": "x"}}', '{"model_cfg": null, "preprocess_cfg": {}}'),
]


def test_clip_bundles(folder):
    bundle = folder / "clip"
    shutil.copytree(PROJECT_ROOT / "data/pretrained/clip", bundle)
    config, weights = bundle / "open_clip_config.json", bundle / "open_clip_model.safetensors"
    whole, text = weights.read_bytes(), config.read_text()
    header, tensors = parts(whole)
    poisoned, start = bytearray(tensors), header["text_projection"]["data_offsets"][0]
    poisoned[start : start + 4] = b"\xff" * 4
    gone = {key: value for key, value in header.items() if key != "logit_scale"}
    damages = [join(header, bytes(poisoned)), join(gone, tensors), None]
    damages.append(save({"weight": torch.ones(2)}))
    other = json.loads(text)
    other["model_cfg"]["vision_cfg"]["width"] = 32
    configs = [text if text is None else text.encode() for text in (*CLIP_CONFIG, None)]
    cuts = [whole[: int(share * len(whole))] for share in (0, 0.001, 0.01, 0.5, 0.99)]
    cases = [(config, data) for data in (*configs, json.dumps(other).encode())]
    cases += [(weights, data) for data in (*cuts, *damages)]

    def attempt(i):
        with replaced(*cases[i]):
            return open_clip_space(f"local-dir:{bundle}")

    refuse_all("weights: clip", st.sampled_from(range(len(cases))), attempt, more=10)
