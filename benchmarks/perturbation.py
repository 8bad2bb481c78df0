"""Image effects of all voxels of one image at 256 px: time and memory against one pass per voxel.

Run with ``make bench`` (about a quarter of an hour on two idle cores; ``--device cuda`` on a GPU,
``--resolution 64`` to try it out). A generator of LAFITE's released structure with random weights
(39 M parameters), 15,724 voxels, a condition of 512 dimensions. Measures, in one run, one
generator pass at its best batch size, random projections, and the exact Gram form, and writes
``perturbation.json`` beside this file.

The exact form takes 512 forward products. Its *time* is measured on some of them and scaled
linearly to 512; the Gram matrix and the effects of all voxels are measured in full, and so is
memory, with the whole Jacobian filled in. The *accuracy* of the random projections is judged on
sampled voxels against exact directional derivatives, one forward product along each voxel's own
direction. All times are of one machine, so only their ratios mean anything elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from fmri_utils import perturbation
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.lafite import Generator, GeneratorConfig
from fmri_utils.perturbation.picture_locations import cell_grams, effect_maps
from fmri_utils.project.artifacts import atomic_path

N_VOXELS, N_SAMPLED, N_MEASURED = 15_724, 200, 16
BATCH_SIZES = (1, 4, 8, 16)
N_PROBES, PROBE_BATCH, FORWARD_BATCH = 128, 8, 16


def make_generator(device: torch.device, resolution: int) -> Generator:
    """LAFITE's released structure, random weights, pictures that stay inside [-1, 1]."""
    torch.manual_seed(0)
    config = GeneratorConfig(channel_base=16384, resolution=resolution)
    generator = Generator(config).to(device).eval()
    with torch.no_grad():
        for name, layer, _ in generator.synthesis.layers():
            if name.endswith("torgb"):
                layer.weight.mul_(0.1)
            else:
                layer.noise_strength.fill_(0.1)
    return generator


def make_encoder() -> tuple[LinearEncoder, np.ndarray]:
    """Random weights, and one random trial."""
    rng = np.random.default_rng(0)
    size = np.exp(0.5 * rng.standard_normal((N_VOXELS, 1)))  # some voxels weigh more than others
    weights = (1e-3 * size * rng.standard_normal((N_VOXELS, 512))).astype(np.float32)
    intercept = rng.standard_normal(512).astype(np.float32) / 5
    return LinearEncoder(weights, intercept, "random"), rng.standard_normal(N_VOXELS)


class Clock:
    """Wall and processor seconds, the accelerator's work included."""

    def __init__(self, device: torch.device):
        self.device = device

    def __call__(self, work: Callable) -> tuple[object, dict[str, float]]:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        return result, seconds


def peak_gigabytes() -> float:
    """Largest resident memory of this process so far (that of the CPU)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def time_passes(draw: Callable, condition: torch.Tensor, clock: Clock) -> dict:
    """Seconds per picture for each batch size, on at least 16 pictures."""
    found = {}
    with torch.inference_mode():
        draw(condition[None])  # warm up
        for size in tqdm(BATCH_SIZES, desc="passes"):
            batch = condition[None].repeat(size, 1)
            calls = -(-16 // size)
            _, seconds = clock(lambda batch=batch, calls=calls: [draw(batch) for _ in range(calls)])
            drawn = size * calls
            found[size] = {name: value / drawn for name, value in seconds.items()}
    return found


def measure_exact(
    draw: Callable, condition: torch.Tensor, rows: torch.Tensor, clock: Clock
) -> dict:
    """Seconds of the exact form: some forward products scaled to all, the rest in full."""
    n = len(condition)
    axes = torch.eye(n, dtype=condition.dtype, device=condition.device)[:N_MEASURED]
    batch = {"batch_size": FORWARD_BATCH, "progress": True}
    some, products = clock(lambda: perturbation.picture_derivative(draw, condition, axes, **batch))

    def with_the_whole_jacobian() -> torch.Tensor:
        jacobian = some.repeat(-(-n // len(some)), 1, 1, 1)[:n]  # its size, not its content
        return effect_maps(rows, cell_grams(jacobian, 1)).sqrt()

    _, rest = clock(with_the_whole_jacobian)
    whole = {k: products[k] * n / len(some) + rest[k] for k in products}
    return {
        "measured_products": len(some),
        "all_products": n,
        "measured_seconds": products,
        "gram_and_effects_seconds": rest,
        "extrapolated_seconds": whole,
        "peak_gigabytes": peak_gigabytes(),
    }


def judge(guess: np.ndarray, truth: np.ndarray, size: np.ndarray) -> dict:
    """How well effects of the sampled voxels are estimated; all arrays (n_sampled,)."""
    return {
        "n_sampled": len(truth),
        "median_relative_error": float(np.median(np.abs(guess / truth - 1))),
        "rank_correlation": float(spearmanr(guess, truth).statistic),
        "rank_correlation_over_weight": float(spearmanr(guess / size, truth / size).statistic),
    }


def read_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--probes", type=int, default=N_PROBES, help="random projections")
    parser.add_argument("--sampled", type=int, default=N_SAMPLED, help="voxels judged")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("perturbation.json"))
    return parser.parse_args()


def main() -> None:
    """Measure everything, write the table."""
    options = read_options()
    device = torch.device(options.device)
    clock, generator = Clock(device), make_generator(device, options.resolution)
    encoder, beta = make_encoder()
    z = torch.randn(1, 512, generator=torch.Generator().manual_seed(1)).to(device)
    draw = perturbation.picture_function(generator, z)
    condition = torch.as_tensor(unit(encoder.predict(beta[None])[0])).float().to(device)
    rows = torch.as_tensor(perturbation.condition_jacobian(encoder, beta)).float().to(device)
    base = peak_gigabytes()
    passes = time_passes(draw, condition, clock)

    def by_projections() -> torch.Tensor:
        rng = torch.Generator().manual_seed(2)
        sketch = perturbation.picture_sketch(
            draw, condition, n_probes=options.probes, rng=rng, batch_size=PROBE_BATCH
        )
        return perturbation.rms_from_sketch(rows, sketch)

    guess, seconds = clock(by_projections)
    projections = {
        "n_probes": options.probes,
        "seconds": seconds,
        "peak_gigabytes": peak_gigabytes(),
    }
    exact = measure_exact(draw, condition, rows, clock)
    again = time_passes(draw, condition, clock)  # the machine may have been busier before

    sample = np.random.default_rng(3).choice(N_VOXELS, options.sampled, replace=False)
    along = perturbation.picture_derivative(draw, condition, rows[sample], batch_size=FORWARD_BATCH)
    truth = along.flatten(1).square().mean(1).sqrt().cpu().numpy()
    size = np.linalg.norm(encoder.weights, axis=1)[sample]
    projections |= judge(guess.cpu().numpy()[sample], truth, size)
    projections["weight_alone_rank_correlation"] = float(spearmanr(size, truth).statistic)

    best = {}
    for kind in ("wall", "cpu"):
        best[kind] = min((passes[s][kind] + again[s][kind]) / 2 for s in BATCH_SIZES)
    naive = {kind: value * N_VOXELS for kind, value in best.items()}
    for form, taken in ((projections, seconds), (exact, exact["extrapolated_seconds"])):
        form["times_faster"] = {kind: naive[kind] / taken[kind] for kind in naive}
    report = {
        "resolution": options.resolution,
        "parameters": sum(p.numel() for p in generator.parameters()),
        "n_voxels": N_VOXELS,
        "seconds_per_pass": {"first": passes, "again": again, "best": best},
        "one_pass_per_voxel_seconds": naive,
        "rounded_picture_share": float((draw(condition[None]) % 1 == 0).float().mean()),
        "base_gigabytes": base,
        "random_projections": projections,
        "exact_gram": exact,
    }
    report["machine"] = {
        "cpu": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "python": sys.version.split()[0], "torch": torch.__version__,
    }  # fmt: skip
    with atomic_path(options.out) as tmp:
        tmp.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
