"""Jobs that a test starts in processes of their own and kills; small, and each with one end.

They stand in a module by themselves so that a process that is started for one of them loads no
more than it needs.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from fmri_utils.lafite import Generator, GeneratorConfig
from fmri_utils.lafite.released.convert import import_official
from fmri_utils.pictures.finetuning import FineTuning, fine_tune, fine_tuning_config
from fmri_utils.pictures.search import Objective, make_target, optimise_z

SMALL = GeneratorConfig(
    z_dim=12,
    w_dim=10,
    condition_dim=8,
    hidden_dim=10,
    resolution=16,
    channel_base=64,
    channel_max=8,
    mapping_layers=2,
)
N = 8


def eye(images):
    """A fixed random linear image encoder."""
    weight = torch.randn(8, 3 * 8 * 8, generator=torch.Generator().manual_seed(1))
    return F.normalize(F.adaptive_avg_pool2d(images, 8).flatten(1) @ weight.T, dim=1)


def start():
    torch.manual_seed(0)
    return Generator(SMALL).eval()


def unit_rows(*shape):
    rows = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def convert(folder, source):
    """`make lafite-import`."""
    torch.set_num_threads(1)
    import_official(source, folder / "lafite.safetensors")


def search(folder):
    """The search for the noise vector, one file for each picture."""
    torch.set_num_threads(1)
    condition = unit_rows(N, 8)
    found = optimise_z(
        start(),
        condition,
        make_target(condition),
        Objective(eye),
        n_steps=8,
        z=torch.randn(N, SMALL.z_dim, generator=torch.Generator().manual_seed(1)),
        rng=torch.Generator().manual_seed(0),
        batch_size=1,
        folder=folder,
    )
    return found.z


def tune(folder):
    """Fine-tuning on predicted embeddings, a checkpoint after every step."""
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    config = fine_tuning_config(SMALL, n_images=48, rest_images=8, clip_size=8)
    tuned = fine_tune(
        start(),
        images,
        unit_rows(10, 8),
        unit_rows(10, 2, 8),
        eye,
        config=dataclasses.replace(config, batch_size=4, checkpoint_images=4),
        option=FineTuning(predicted_share=0.5),
        out_dir=folder,
    )
    return torch.cat([p.flatten() for p in tuned.generator.state_dict().values()])


def run(name, folder, *more):
    """Do a job, or only load what jobs need."""
    jobs = {"convert": convert, "search": search, "tune": tune, "nothing": lambda folder: None}
    jobs[name](folder, *more)
