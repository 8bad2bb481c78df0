"""LAFITE's generator at 256 px: time of one batch, against the straightforward form.

Run with ``make bench``. The straightforward form is the one that the tests hold the package
against (``tests/literal_lafite.py``): a weight per sample in a grouped convolution, and resampling
by a depth-wise 4 x 4 filter. Random weights of the two sizes that LAFITE's released models may
have. Writes ``generator.json`` beside this file; only ratios mean anything on other machines.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from literal_lafite import literal_image

from fmri_utils.artifacts import atomic_path
from fmri_utils.lafite import Generator, GeneratorConfig

BATCH, REPEATS = 8, 3


def seconds(function: Callable[[], object], device: str, repeats: int = REPEATS) -> float:
    """Median time of a call, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def multiply_adds(network: Generator) -> float:
    """Multiply-adds of the 3 x 3 convolutions for one image; the rest is below 2 %."""
    total = 0.0
    for layer in network.synthesis.convolutions():
        n_out, n_in = layer.weight.shape[:2]
        size = layer.resolution // 2 if layer.up else layer.resolution
        total += 9 * n_out * n_in * size**2
    return total


@torch.inference_mode()
def compare(channel_base: int, device: str) -> dict[str, float]:
    """Both forms at one size, in one run."""
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(resolution=256, channel_base=channel_base)).to(device)
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    z = torch.randn(BATCH, network.config.z_dim, device=device)
    condition = torch.nn.functional.normalize(torch.randn(BATCH, 512, device=device), dim=1)
    ws = network.mapping(z)

    def ours() -> torch.Tensor:
        return network.synthesis(ws, condition)

    def literal() -> torch.Tensor:
        return literal_image(state, 256, ws, condition)

    error = float((ours() - literal()).abs().max() / literal().abs().max())
    fast, plain = seconds(ours, device), seconds(literal, device)
    result = {
        "parameters_millions": sum(p.numel() for p in network.parameters()) / 1e6,
        "giga_multiply_adds_per_image": multiply_adds(network) / 1e9,
        "seconds_per_batch": fast,
        "seconds_per_batch_straightforward": plain,
        "times_faster": plain / fast,
        "largest_relative_difference": error,
    }
    if device == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            half = seconds(ours, device)
        result |= {"images_per_second_bf16": BATCH / half}
    return result


def main() -> None:
    """Time both sizes and write the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report = {
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "batch": BATCH,
        "torch": torch.__version__,
        "channel_base": {str(base): compare(base, device) for base in (16384, 32768)},
    }
    print(json.dumps(report, indent=1))
    with atomic_path(Path(__file__).with_name(f"generator-{device}.json")) as tmp:
        tmp.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
