"""Stand-ins for what the profile ``nsd`` needs and nobody may pass on, in the real formats.

A simulated subject without the marks of the simulator, CLIP ViT-B/32 with random weights as an
open_clip bundle, and a random LAFITE in the form of a released pickle. What comes out of them means
nothing: they are there to run the code of the real data.
"""

import json
import shutil

import open_clip
import torch
from lafite_fixture import network_object, official_pickle
from safetensors.torch import save_file
from small_lafite import noisy_generator

from fmri_utils.lafite import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from fmri_utils.project.simulation_config import SimulationConfig
from simulated_nsd.subject import simulate_subject

CLIP = "ViT-B-32-quickgelu"
COLOURS = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
N_CAPTIONS = 60  # different ones: CLIP's text tower reads a few captions a second on a CPU
SIZES = SimulationConfig(
    n_shared=40, n_own=460, sessions=(2, 1, 1, 1, 1, 1, 1, 1), grid=(22, 26, 18), n_nsdgeneral=400,
    n_null=40, stimulus_px=128, write_hdf5=False,
)  # fmt: skip
WIDTHS = {"resolution": 32, "channel_base": 1024, "channel_max": 32}
DIMS = dict.fromkeys(("z_dim", "w_dim", "hidden_dim"), 64)
GENERATOR = GeneratorConfig(mapping_layers=2, change=16, **DIMS, **WIDTHS)
DISCRIMINATOR = DiscriminatorConfig(**WIDTHS)


def write_nsd(root):
    """Subject 1 with two sessions, as files of NSD: without planted truth, without a marker."""
    simulate_subject(root, SIZES, 1, workers=1, progress=False)
    for path in (root / "simulation.json", root / ".lock"):
        path.unlink(missing_ok=True)
    shutil.rmtree(root / "ground_truth")
    for path in root.rglob("captions_*.json"):
        content = json.loads(path.read_text())
        texts = [a["caption"] for a in content["annotations"][:: 5 * 7][:N_CAPTIONS]]
        for annotation in content["annotations"]:
            annotation["caption"] = texts[annotation["image_id"] % len(texts)]
        path.write_text(json.dumps(content))


def write_clip(folder):
    """The whole ViT-B/32 with its activation of OpenAI's weights, but random; 151 M parameters."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.create_model(CLIP, pretrained=None)
    config = {"model_cfg": open_clip.get_model_config(CLIP), "preprocess_cfg": COLOURS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return sum(p.numel() for p in model.parameters())


def write_lafite(path, monkeypatch):
    """A LAFITE of reduced resolution with both structures, pickled as the released ones are."""
    torch.manual_seed(0)
    networks = {"G": Generator(GENERATOR), "D": Discriminator(DISCRIMINATOR)}
    networks["G_ema"] = noisy_generator(GENERATOR)  # as after training
    settings = {"z_dim": 64, "synthesis_kwargs": {"channel_base": 1024, "conv_clamp": 256}}
    content = {name: network_object(n, settings=settings) for name, n in networks.items()}
    path.write_bytes(official_pickle(monkeypatch, content))
