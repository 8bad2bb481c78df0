"""Jobs that a test starts in processes of their own and kills; small, and each with one end.

They stand in a module by themselves so that a process that is started for one of them loads no
more than it needs.
"""

import dataclasses

import numpy as np
import torch
from small_lafite import WIDER, linear_encoder, unit_rows

from fmri_utils.lafite import Generator
from fmri_utils.lafite.released.convert import import_official
from fmri_utils.pictures.finetuning import FineTuning, fine_tune, fine_tuning_config


def start():
    torch.manual_seed(0)
    return Generator(WIDER).eval()


def rows_of(*shape):
    return unit_rows(np.random.default_rng(3), *shape)


def convert(folder, source):
    """`make lafite-import`."""
    torch.set_num_threads(1)
    import_official(source, folder / "lafite.safetensors")


def tune(folder):
    """Fine-tuning on predicted embeddings, a checkpoint after every step."""
    torch.set_num_threads(1)
    images = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    config = fine_tuning_config(WIDER, n_images=48, rest_images=8, clip_size=8)
    config = dataclasses.replace(config, batch_size=4, checkpoint_images=4)
    given = start(), images, rows_of(10, 8), rows_of(10, 2, 8), linear_encoder(8)
    option = FineTuning(predicted_share=0.5)
    tuned = fine_tune(*given, config=config, option=option, out_dir=folder)
    return torch.cat([p.flatten() for p in tuned.generator.state_dict().values()])


def run(name, folder, *more):
    """Do a job, or only load what jobs need."""
    jobs = {"convert": convert, "tune": tune, "nothing": lambda folder: None}
    jobs[name](folder, *more)
