"""Image effects of all voxels of one image at 256 px: time and memory against one pass per voxel.

Run with ``make bench`` (about a quarter of an hour on two cores; ``--device cuda`` on a GPU). A
generator of LAFITE's released structure with random weights (39 M parameters), 15,724 voxels, a
condition of 512 dimensions. Measures one generator pass at its best batch size, random projections,
and the exact Gram form, all in one run, and writes ``perturbation.json`` beside this file. All
times are of one machine, so only their ratios mean anything elsewhere.
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
from fmri_utils.artifacts import atomic_path
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.lafite import Generator, GeneratorConfig

N_VOXELS, N_SAMPLED, N_DIRECT = 15_724, 200, 8
BATCH_SIZES = (1, 4, 8, 16)
N_PROBES, PROBE_BATCH, FORWARD_BATCH = 128, 8, 16


def make_generator(device: torch.device) -> Generator:
    """LAFITE's released structure, random weights, pictures that stay inside [-1, 1]."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(channel_base=16384)).to(device).eval()
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
    """Largest resident memory of this process so far."""
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


def main() -> None:
    """Measure everything, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("perturbation.json"))
    options = parser.parse_args()
    device = torch.device(options.device)
    clock, generator = Clock(device), make_generator(device)
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
            draw, condition, n_probes=N_PROBES, rng=rng, batch_size=PROBE_BATCH, progress=True
        )
        return perturbation.rms_from_sketch(rows, sketch)

    def exactly() -> torch.Tensor:
        jacobian = perturbation.picture_jacobian(
            draw, condition, batch_size=FORWARD_BATCH, progress=True
        )
        return perturbation.rms_from_gram(rows, perturbation.picture_gram(jacobian))

    guess, projection_seconds = clock(by_projections)
    projection_memory = peak_gigabytes()
    gram, gram_seconds = clock(exactly)
    gram_memory = peak_gigabytes()
    again = time_passes(draw, condition, clock)  # the machine may have been busier before

    sample = np.random.default_rng(3).choice(N_VOXELS, N_SAMPLED, replace=False)
    truth = gram.cpu().numpy()[sample]
    # The exact form itself, against forward products along single voxels.
    one_by_one = perturbation.picture_derivative(
        draw, condition, rows[sample[:N_DIRECT]], batch_size=N_DIRECT
    )
    direct = one_by_one.flatten(1).square().mean(1).sqrt().cpu().numpy()
    size = np.linalg.norm(encoder.weights, axis=1)[sample]

    best = {}
    for kind in ("wall", "cpu"):
        mean = {s: (passes[s][kind] + again[s][kind]) / 2 for s in BATCH_SIZES}
        best[kind] = min(mean.values())
    report = {
        "parameters": sum(p.numel() for p in generator.parameters()),
        "n_voxels": N_VOXELS,
        "seconds_per_pass": {"first": passes, "again": again, "best": best},
        "one_pass_per_voxel_seconds": {k: v * N_VOXELS for k, v in best.items()},
        "rounded_picture_share": float((draw(condition[None]) % 1 == 0).float().mean()),
        "base_gigabytes": base,
    }
    for name, effect, seconds, memory in (
        ("random_projections", guess, projection_seconds, projection_memory),
        ("exact_gram", gram, gram_seconds, gram_memory),
    ):
        effect = effect.cpu().numpy()[sample]
        ratio = {k: best[k] * N_VOXELS / v for k, v in seconds.items()}
        report[name] = {
            "seconds": seconds,
            "times_faster": ratio,
            "peak_gigabytes": memory,
            "median_relative_error": float(np.median(np.abs(effect / truth - 1))),
            "rank_correlation": float(spearmanr(effect, truth).statistic),
            "rank_correlation_over_weight": float(spearmanr(effect / size, truth / size).statistic),
        }
    report["random_projections"]["n_probes"] = N_PROBES
    error = np.abs(truth[:N_DIRECT] / direct - 1).max()
    report["exact_gram"] |= {"largest_error_against_single_products": float(error)}
    report["weight_alone_rank_correlation"] = float(spearmanr(size, truth).statistic)
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
