"""Training in two processes: the weights of one, files by the first, and resuming."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import process_jobs
import pytest
import torch
from PIL import Image
from refusals import refused
from safetensors import safe_open
from safetensors.torch import load_file

from fmri_utils.lafite import Observers, load_generator
from fmri_utils.lafite.discriminator import minibatch_deviation
from fmri_utils.lafite.training.checkpoints import checkpoint_files
from fmri_utils.lafite.training.processes import Processes
from fmri_utils.nsd.paths import NSDLayout
from pipeline import train_lafite

ROOT = Path(__file__).parents[1]
FIVE_STEPS = 5 * process_jobs.CONFIG.batch_size


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
HOW = {"env": ENVIRONMENT, "capture_output": True, "text": True}


def assert_same_weights(folder, other):
    (one,), (two,) = checkpoint_files(folder), checkpoint_files(other)
    assert one.name == two.name
    one, two = load_file(one), load_file(two)
    assert one.keys() == two.keys()
    # A step of Adam, rate * g / (|g| + epsilon), multiplies what rounding does to g (about 1e-15)
    # by rate / epsilon at most. There are five steps.
    config = process_jobs.CONFIG
    most = 5 * config.learning_rate_g / config.epsilon * 1e-15
    for key, value in one.items():
        assert value.dtype in (torch.float64, torch.int64)
        torch.testing.assert_close(two[key], value, rtol=0, atol=most, msg=key)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    observers = Observers(monitor=lambda pictures: {"pictures": len(pictures)})
    with process_jobs.in_float64():
        result = process_jobs.run(folder, observers=observers)
    return folder, result


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Folders of two runs by two processes: a whole one, and one that goes on twice.

    The second was begun by one process, which stops after a step; so do the two, after another.
    """
    whole, resumed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("resumed")
    with process_jobs.in_float64():
        process_jobs.run(resumed, max_seconds=0)
    assert [path.stem for path in checkpoint_files(resumed)] == ["checkpoint-000000008"]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *several, process_jobs.__file__, whole, resumed]
    done = subprocess.run(command, **HOW, check=False)
    assert done.returncode == 0, done.stderr
    return whole, resumed


def seen_by_both(folder):
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_give_the_weights_of_one(alone, together):
    """Five steps with every loss term and regulariser on."""
    folder, result = alone
    assert_same_weights(folder, together[0])
    first, second = seen_by_both(together[0])
    assert first["images"] == second["images"] == [FIVE_STEPS]
    assert first["grids"] == [16, 32, 40] and second["grids"] == []
    terms = {"reconstruction", "adversarial", "itd", "itc", "iid", "iic", "path_length", "d_itd"}
    assert terms | {"r1", "mean_path_length"} <= set(result.history[0])
    for row, other in zip(result.history, first["history"], strict=True):
        other.pop("images_per_second", None)
        assert other == pytest.approx({key: row[key] for key in other}, rel=1e-9, abs=1e-9)
    files = {path.name for path in together[0].iterdir() if "process" not in path.name}
    assert files == {"checkpoint-000000040.pt", "checkpoint-000000040.safetensors"}


def test_two_processes_go_on_where_they_stopped_or_one_did(alone, together):
    for seen in seen_by_both(together[1]):
        assert seen["images"] == [16, FIVE_STEPS]
    assert_same_weights(alone[0], together[1])


@pytest.mark.parametrize(
    ("batch", "size"), [(2, 1), (8, 1), (8, 2), (24, 1), (24, 2), (24, 3), (24, 6)]
)
def test_every_sample_is_somebodys_with_its_whole_group(batch, size):
    x = torch.randn(batch, 2, 4, 4)
    expected = minibatch_deviation(x, 4)
    shares = [Processes(rank, size).rows(batch, 4) for rank in range(size)]
    assert sorted(torch.cat(shares).tolist()) == list(range(batch))
    for rows in shares:
        assert rows.tolist() == sorted(rows.tolist())
        torch.testing.assert_close(minibatch_deviation(x[rows], 4), expected[rows])


def test_shares_that_are_not_even_are_refused():
    for changes, message in (
        ({"batch_size": 12}, "multiple of 8"),
        ({"path_fraction": 0.4}, "path length"),
        ({"batch_summed": True}, "batch_summed"),
    ):
        config = dataclasses.replace(process_jobs.CONFIG, **changes)
        Processes().check(config)
        refused(message, Processes(0, 2).check, config)


# -- the command ---------------------------------------------------------------------------------

CLIP = f"CLIP=local-dir:{ROOT / 'data' / 'pretrained' / 'clip'}"
CHANNELS = ("channel_base=64", "channel_max=8")
SIZES = ("z_dim=8", "w_dim=8", "hidden_dim=8", "mapping_layers=1", *CHANNELS)
SMALL = [f"generator.{size}" for size in SIZES] + [f"discriminator.{size}" for size in CHANNELS]


def test_both_halves_of_the_images_are_embedded(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    clip = train_lafite.open_clip_space(CLIP.removeprefix("CLIP="))
    for mirror, seen in ((False, images), (True, images[:, :, ::-1].copy())):
        found = train_lafite.shared_embeddings(images, clip, Processes(), tmp_path, mirror=mirror)
        np.testing.assert_allclose(found, clip.encode_images(seen), atol=1e-6)


def test_wrong_settings_of_the_command(tmp_path, capsys):
    np.save(tmp_path / "flat.npy", np.zeros((3, 16), dtype=np.uint8))
    np.save(tmp_path / "small.npy", np.zeros((3, 16, 16, 3), dtype=np.uint8))
    paths = {name: tmp_path / f"{name}.npy" for name in ("flat", "small")}
    for arguments, message in (
        (["n_pictures=3"], "'n_pictures=3' is unknown"),
        (["itd=much"], "'much' is no value"),
        ([], "IMAGES, OUT, CLIP not given"),
        (["PROFILE=smoke", CLIP], "PROFILE and CLIP were given"),
        (["PROFILE=smoke", "SIZE=small"], "SIZE is 'small'"),
        (["PROFILE=smoke", "lafite.size=x"], "size"),
        (["PROFILE=smoke", "SIZE=16"], "lafite.safetensors exists and is not of"),
        (["IMAGES=none.npy", "OUT=run", CLIP], "cannot be read"),
        (["IMAGES={flat}", "OUT=run", CLIP], "uint8"),
        (["IMAGES={small}", "OUT=run", CLIP, "itd=-1"], "settings do not fit"),
    ):
        assert train_lafite.main([text.format(**paths) for text in arguments]) == 2
        assert message in capsys.readouterr().err


def read_card(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["card"])


def test_lafite_learns_the_stimuli_of_a_folder_without_the_shared_ones(tmp_path, rng):
    # Of 600 stimuli, drawn at random, every tenth is shared.
    (tmp_path / "nsd" / "nsddata").mkdir(parents=True)
    layout = NSDLayout(tmp_path / "nsd", 1)
    images = rng.integers(0, 256, (600, 24, 24, 3), dtype=np.uint8)
    table = pd.DataFrame({"cocoId": np.arange(600) + 7, "cocoSplit": "val2017"})
    table["nsdId"], table["shared1000"] = np.arange(600), np.arange(600) % 10 == 0
    for path in (layout.stim_info, layout.stimuli, layout.captions("val2017")):
        path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(layout.stim_info)
    with h5py.File(layout.stimuli, "w") as file:
        brick = file.create_dataset("imgBrick", (600, 24, 24, 3), "u1", chunks=(1, 24, 24, 3))
        brick[:550] = images[:550]  # the last 50 are not in the folder
    texts = [{"image_id": i + 7, "caption": f"a thing, number {i}"} for i in range(600)] * 5
    layout.captions("val2017").write_text(json.dumps({"annotations": texts}))
    goal = tmp_path / "weights" / "lafite.safetensors"
    where = [f"data.root={tmp_path / 'nsd'}", f"lafite.weights={goal}"]
    arguments = ["PROFILE=smoke", "DEVICE=cpu", "SIZE=16", *where, *SMALL, "batch_size=8"]
    arguments += ["grid_images=8", "caption_probability=0.5"]
    command = [sys.executable, "-m", "pipeline.train_lafite", *arguments]
    two = subprocess.run([*command, "GPUS=2", "n_images=8"], **HOW, check=False)
    assert two.returncode == 0, two.stderr
    out = goal.with_name("lafite-training-16")
    ids = np.load(out / "stimuli-16-ids.npy")
    assert sorted(ids) == [i for i in range(550) if i % 10]
    seen = np.load(out / "stimuli-16.npy")
    expected = Image.fromarray(images[ids[5]]).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(seen[5], expected)
    (captions,) = out.glob("captions-*.npy")
    assert np.load(captions).shape == (495, 5, 128)
    # The last 25 images are seen by the monitor only.
    (embeddings,) = out.glob("embeddings-*.npy")
    assert len(np.load(embeddings)) == 470
    card = read_card(goal)
    assert card["held out"] == 25 and card["distance"]["frechet_clip"] > 0
    assert card["images"] == 8 and "470 images, simulated, stimuli" in card["data"]
    # Going on, in one process, computes nothing again and puts the new generator there.
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    assert train_lafite.main([*arguments, "n_images=16"]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.npy")} == before
    assert read_card(goal)["images"] == 16
    generator = load_generator(goal)
    assert (generator.config.resolution, generator.config.condition_dim) == (16, 128)
    (checkpoint,) = checkpoint_files(out)
    expected = load_file(checkpoint)["G_ema.mapping.fc0.weight"]
    found = generator.mapping.fc0.weight.detach()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    pictures = ("grid-000000008.png", "grid-000000016.png", "losses.png")
    assert all((out / name).is_file() for name in pictures)
