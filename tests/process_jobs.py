"""What a test starts as one of several training processes; see test_lafite_processes.py."""

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from small_lafite import DISCRIMINATOR, GENERATOR, linear_encoder, unit_rows

from fmri_utils.lafite import Observers, TrainingConfig, TrainingData, train

# Three of eight images are clean: not the same number in both processes.
CONFIG = TrainingConfig(
    generator=dataclasses.replace(GENERATOR, resolution=8),
    discriminator=dataclasses.replace(DISCRIMINATOR, resolution=8),
    batch_size=8, n_images=40, reconstruction_weight=1.0, clean_fraction=0.375, noise_level=0.5,
    caption_probability=0.3, predicted_share=0.2, iid=1.0, iic=1.0, lam=0.3, clip_size=6,
    r1_interval=2, path_interval=2, path_decay=0.3, log_images=8, grid_images=16,
    checkpoint_images=16,
)  # fmt: skip


@contextlib.contextmanager
def in_float64():
    """Train in double precision within the block.

    Two processes add up in another order than one. In float32 that changes gradients by about 1e-7
    of their size, and Adam turns the sign of a gradient near 0 into a whole step. In float64 the
    change is 1e-16, far below Adam's epsilon of 1e-8.
    """
    given, single = torch.get_default_dtype(), torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # what the trainer calls on images and conditions
    try:
        yield
    finally:
        torch.Tensor.float = single
        torch.set_default_dtype(given)


def rows_of(*shape):
    return unit_rows(np.random.default_rng(len(shape)), *shape)


def encoder(images):
    return linear_encoder(6)(images)


def run(folder, **more):
    """Five steps, files in ``folder``; returns the result."""
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    given = {"captions": rows_of(12, 3, 8), "predicted": rows_of(12, 2, 8)}
    given["noise_vectors"] = rows_of(12, GENERATOR.z_dim)
    arrays = TrainingData(images, rows_of(12, 8), **given)
    return train(CONFIG, arrays, encoder, out_dir=folder, progress=False, **more)


def observed(folder, stops=0):
    """Run, stopping and going on ``stops`` times; writes what this process saw of it."""
    calls = []
    observers = Observers(
        lambda images, *_: calls.append(images), lambda pictures: {"pictures": len(pictures)}
    )
    images = [run(folder, max_seconds=0, observers=observers).images for _ in range(stops)]
    result = run(folder, observers=observers)
    seen = {"images": [*images, result.images], "grids": calls, "history": result.history}
    path = folder / f"process-{os.environ['RANK']}.json"
    path.write_text(json.dumps(seen))


if __name__ == "__main__":  # as one of torchrun's processes
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with in_float64():
        observed(Path(sys.argv[1]))
        observed(Path(sys.argv[2]), stops=1)
    dist.destroy_process_group()
