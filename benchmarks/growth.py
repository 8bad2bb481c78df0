"""How each cost grows: with voxels, images, resolution and sessions, with fitted exponents.

Run with ``make bench``. Every cost is measured at four sizes, each twice the one before, and a
power law is fitted to the processor seconds (which other programs disturb less than the wall
clock): exponent 1 means that twice as much takes twice as long. The sizes are a laptop's; the
exponents say what to expect of larger ones. Writes ``growth.json`` beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from tqdm import tqdm

from fmri_utils import encoders, perturbation
from fmri_utils.encoders import LinearEncoder
from fmri_utils.lafite import Generator, GeneratorConfig
from fmri_utils.nsd import NSDLayout, read_betas
from fmri_utils.project.artifacts import atomic_path

REPEATS, LEAST_SECONDS = 3, 0.1
Run = Callable[[], object]


def processor_seconds(run: Run) -> float:
    """Of one call: median over repeats, each of as many calls as take a measurable time."""
    run()  # warm up
    start = time.process_time()
    run()
    n_calls = 1 + int(LEAST_SECONDS / max(time.process_time() - start, 1e-5))
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(n_calls):
            run()
        taken.append((time.process_time() - start) / n_calls)
    return statistics.median(taken)


def ridge(n_trials: int, n_voxels: int) -> Run:
    """Cross-validated ridge, 64 targets, 13 penalties, 10 folds."""
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((n_trials, n_voxels), dtype=np.float32)
    targets = rng.standard_normal((n_trials, 64), dtype=np.float32)
    groups, alphas = np.arange(n_trials) // 3, np.logspace(0, 6, 13)
    return lambda: encoders.fit_ridge(betas, targets, groups, alphas=alphas, n_folds=10)


def generator(resolution: int) -> tuple[Generator, torch.Tensor, torch.Tensor]:
    """LAFITE with random weights, a z and a condition."""
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(resolution=resolution, channel_base=8192)).eval()
    condition = torch.nn.functional.normalize(torch.randn(1, 512), dim=1)
    return network, torch.randn(1, 512), condition


def picture(resolution: int) -> Run:
    """One picture."""
    network, z, condition = generator(resolution)

    def draw() -> None:
        with torch.inference_mode():
            network(z, condition)

    return draw


def linear_encoder(n_voxels: int) -> tuple[LinearEncoder, np.ndarray]:
    """A decoder with random weights, and one pattern."""
    rng = np.random.default_rng(0)
    weights = (1e-3 * rng.standard_normal((n_voxels, 512))).astype(np.float32)
    return LinearEncoder(weights, np.ones(512, np.float32), "random"), rng.standard_normal(n_voxels)


def embedding_effects(n_voxels: int, n_images: int) -> Run:
    """Every voxel left out, for every image, in closed form."""
    encoder, beta = linear_encoder(n_voxels)
    betas = np.stack([np.roll(beta, i) for i in range(n_images)]).astype(np.float32)
    return lambda: perturbation.embedding_effect(encoder, betas)


def picture_effects(n_voxels: int) -> Run:
    """Every voxel's effect on one picture of 64 px, by 16 random projections."""
    network, z, condition = generator(64)
    encoder, beta = linear_encoder(n_voxels)
    rows = torch.as_tensor(perturbation.condition_jacobian(encoder, beta)).float()
    draw = perturbation.picture_function(network, z)

    def run() -> torch.Tensor:
        rng = torch.Generator().manual_seed(0)
        sketch = perturbation.picture_sketch(draw, condition[0], n_probes=16, rng=rng, batch_size=8)
        return perturbation.rms_from_sketch(rows, sketch)

    return run


def sessions(folder: Path, n_sessions: int) -> Run:
    """NIfTI sessions of 750 trials on a grid of 24 x 30 x 24 into one matrix."""
    grid = (24, 30, 24)
    betas = folder / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    if not betas.is_dir():
        betas.mkdir(parents=True)
        (folder / "nsddata").mkdir()
        values = np.random.default_rng(0).normal(0, 600, (*grid, 750)).astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.eye(4)), betas / "betas_session01.nii.gz")
        for number in range(2, 9):
            link = betas / f"betas_session{number:02d}.nii.gz"
            link.symlink_to("betas_session01.nii.gz")
    layout, mask = NSDLayout(folder, 1), np.zeros(grid, bool)
    mask[8:16, 8:24, 8:24] = True
    numbers = range(1, n_sessions + 1)
    return lambda: read_betas(layout, mask, numbers, progress=False)


def costs(folder: Path) -> dict[str, tuple[str, tuple[int, ...], Callable[[int], Run]]]:
    """Cost to what it grows with, the sizes, and what to run at a size."""
    return {
        "ridge, 600 voxels": ("trials", (600, 1200, 2400, 4800), lambda n: ridge(n, 600)),
        "ridge, 900 trials": ("voxels", (600, 1200, 2400, 4800), lambda n: ridge(900, n)),
        "one picture": ("pixels on a side", (32, 64, 128, 256), picture),
        "embedding effects, 20 images": (
            "voxels", (1000, 2000, 4000, 8000), lambda n: embedding_effects(n, 20),
        ),
        "embedding effects, 2,000 voxels": (
            "images", (10, 20, 40, 80), lambda n: embedding_effects(2000, n),
        ),
        "effects on one picture, 64 px": ("voxels", (2000, 4000, 8000, 16000), picture_effects),
        "betas into one matrix": ("sessions", (1, 2, 4, 8), lambda n: sessions(folder, n)),
    }  # fmt: skip


def main() -> None:
    """Measure all, fit, write the file."""
    report = {}
    with tempfile.TemporaryDirectory() as name:
        for cost, (unit, sizes, make) in tqdm(costs(Path(name)).items(), desc="costs"):
            taken = [processor_seconds(make(size)) for size in sizes]
            exponent = float(np.polyfit(np.log(sizes), np.log(taken), 1)[0])
            last = float(np.log2(taken[-1] / taken[-2]))  # what larger sizes tend to
            report[cost] = {
                "grows_with": unit, "sizes": sizes, "processor_seconds": taken,
                "exponent": exponent, "exponent_of_the_last_doubling": last,
            }  # fmt: skip
            tqdm.write(f"{cost}: {unit}^{exponent:.2f}, last doubling {last:.2f}")
    machine = {
        "cpu": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }  # fmt: skip
    with atomic_path(Path(__file__).with_suffix(".json")) as tmp:
        tmp.write_text(json.dumps({"machine": machine, "costs": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
