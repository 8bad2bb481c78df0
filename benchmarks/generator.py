"""LAFITE's generator at 256 px: time of one batch, against the straightforward form.

Run with ``make bench``. The straightforward form is the one that the tests hold the package
against (``tests/literal_lafite.py``): a weight per sample in a grouped convolution, and resampling
by a depth-wise 4 x 4 filter. Random weights of the two sizes that LAFITE's released models may
have. ``layers`` holds the 3 x 3 convolutions of one sample at the sizes that occur, by the library
and with fewer multiplications (``fmri_utils.lafite.winograd``). The arithmetic limit is the rate of
multiply-adds of a large matrix product in the same run: fewer multiplications than the grouped form
counts can take a share beyond 1. On a GPU float32 and, by autocast, bfloat16 and float16 are timed.
Writes ``generator-cpu.json`` beside this file, or ``-cuda``; only ratios mean anything elsewhere.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from literal_lafite import literal_image

from fmri_utils.lafite import Generator, GeneratorConfig, winograd
from fmri_utils.project.artifacts import atomic_path

BATCH, REPEATS = 8, 3
LAYERS = [(512, 32), (512, 64), (256, 64), (256, 128), (128, 128), (64, 128), (128, 256), (64, 256)]


def seconds(
    functions: dict[str, Callable[[], object]], device: str, repeats: int = REPEATS
) -> dict[str, tuple[float, float]]:
    """Shortest time of a call, and of the process's cores in it, in turns, after one to warm up."""
    times = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start, cores = time.perf_counter(), time.process_time()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - start, time.process_time() - cores))
    return {name: tuple(map(min, zip(*taken[1:], strict=True))) for name, taken in times.items()}


def multiply_adds(network: Generator) -> float:
    """Multiply-adds of the 3 x 3 convolutions for one image; the rest is below 2 %."""
    total = 0.0
    for layer in network.synthesis.convolutions():
        n_out, n_in = layer.weight.shape[:2]
        size = layer.resolution // 2 if layer.up else layer.resolution
        total += 9 * n_out * n_in * size**2
    return total


@torch.inference_mode()
def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Multiply-adds a second of a square matrix product: what the arithmetic units can do."""
    n = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    wall, _ = seconds({"product": lambda: a @ b}, device, repeats=10)["product"]
    return n**3 / wall


@torch.inference_mode()
def compare(channel_base: int, device: str, rates: dict[str, float]) -> dict:
    """Both forms at one size, in one run; ``rates`` from :func:`matrix_rate`, by precision."""
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(resolution=256, channel_base=channel_base)).to(device)
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    z = torch.randn(BATCH, network.config.z_dim, device=device)
    condition = F.normalize(torch.randn(BATCH, 512, device=device), dim=1)
    ws = network.mapping(z)

    def ours() -> torch.Tensor:
        return network.synthesis(ws, condition)

    def literal() -> torch.Tensor:
        return literal_image(state, 256, ws, condition)

    error = float((ours() - literal()).abs().max() / literal().abs().max())
    times = seconds({"ours": ours, "straightforward": literal}, device)
    (fast, fast_cores), (plain, plain_cores) = times["ours"], times["straightforward"]
    result = {
        "parameters_millions": sum(p.numel() for p in network.parameters()) / 1e6,
        "giga_multiply_adds_per_image": multiply_adds(network) / 1e9,
        "seconds_per_batch": fast,
        "seconds_per_batch_straightforward": plain,
        "times_faster": plain / fast,
        "times_faster_in_core_seconds": plain_cores / fast_cores,
        "largest_relative_difference": error,
    }
    result["by_precision"] = {}
    for name, rate in rates.items():
        wall = fast
        if name != "float32":
            with torch.autocast(device, getattr(torch, name)):
                wall, _ = seconds({"ours": ours}, device)["ours"]
        limit = rate / multiply_adds(network)
        result["by_precision"][name] = {
            "images_per_second": BATCH / wall,
            "limit_images_per_second": limit,
            "share_of_limit": BATCH / wall / limit,
        }
    return result


@torch.inference_mode()
def compare_layers() -> list[dict[str, float]]:
    """A convolution's time, ms, by the library and by Winograd's filtering, on a CPU."""
    rows = []
    for n, size in LAYERS:
        x = torch.randn(1, n, size, size).contiguous(memory_format=torch.channels_last)
        weight, one = torch.randn(n, n, 3, 3), torch.ones(n)
        kernel = winograd.transform_kernel(weight)
        last = weight.contiguous(memory_format=torch.channels_last)
        functions = {
            "library": lambda x=x, w=last, b=one: F.conv2d(x, w, b, padding=1),
            "winograd": lambda x=x, k=kernel, b=one: winograd.convolve(x, k, b, b, b),
        }
        times = seconds(functions, "cpu")
        used = winograd.pays(weight, size, size)
        rows.append({"channels": n, "pixels": size, "winograd_is_used": used})
        rows[-1] |= {f"{name}_ms": 1000 * wall for name, (wall, _) in times.items()}
        rows[-1]["times_faster_in_core_seconds"] = times["library"][1] / times["winograd"][1]
    return rows


def main() -> None:
    """Time both sizes and write the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as in the matrix product
    precisions = ["float32"] + ["bfloat16", "float16"] * (device == "cuda")
    rates = {name: matrix_rate(device, getattr(torch, name)) for name in precisions}
    report = {
        "machine": {"cpu": platform.machine(), "threads": torch.get_num_threads()},
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "batch": BATCH,
        "torch": torch.__version__,
        "layers": compare_layers() if device == "cpu" else [],
        "channel_base": {str(base): compare(base, device, rates) for base in (16384, 32768)},
    }
    print(json.dumps(report, indent=1))
    with atomic_path(Path(__file__).with_name(f"generator-{device}.json")) as tmp:
        tmp.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
