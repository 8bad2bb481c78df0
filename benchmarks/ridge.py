"""Ridge: time here and in scikit-learn, how it grows with size, and once at NSD's real size.

Run with ``make bench``. 1,875 trials x 975 voxels up to 7,500 x 3,900, 64 targets, 13 penalties;
scikit-learn's RidgeCV leaves out single trials, which is easier than leaving out images. The real
size, 30,000 x 15,724 -> 512 in float32, takes up to half an hour and 12 GB and runs only when asked
for: ``python benchmarks/ridge.py --real``. Writes ``ridge.json`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.linear_model import RidgeCV

from fmri_utils import encoders
from fmri_utils.project.artifacts import atomic_path

ALPHAS = np.logspace(0, 6, 13)
SIZES = ((1875, 975), (3750, 1950), (7500, 3900))
FOLDS = 50  # the closed form is faster with more, smaller folds
OUT = Path(__file__).with_suffix(".json")


def make_data(
    n_trials: int, n_voxels: int, n_targets: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trials in threes of an image, float32; some voxels carry the targets."""
    rng = np.random.default_rng(0)
    image = np.arange(n_trials) // 3
    targets = rng.standard_normal((image[-1] + 1, n_targets), dtype=np.float32)[image]
    betas = rng.standard_normal((n_trials, n_voxels), dtype=np.float32)
    betas[:, :n_targets] += 0.5 * targets
    return betas, targets, image


def seconds(function: Callable, *args, **kwargs) -> dict[str, float]:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(*args, **kwargs)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def compare() -> dict:
    """Ratio to scikit-learn at three sizes, and the exponent of the growth."""
    rows = []
    for n_trials, n_voxels in SIZES:
        betas, targets, image = make_data(n_trials, n_voxels, 64)
        here = seconds(encoders.fit_ridge, betas, targets, image, alphas=ALPHAS, n_folds=FOLDS)
        there = seconds(RidgeCV(ALPHAS, alpha_per_target=True).fit, betas, targets)
        ratio = {kind: here[kind] / there[kind] for kind in here}
        rows.append({"n_trials": n_trials, "n_voxels": n_voxels, "seconds": here,
                     "seconds_scikit_learn": there, "ratio": ratio})  # fmt: skip
        print(rows[-1])
    voxels, taken = zip(*((r["n_voxels"], r["seconds"]["cpu"]) for r in rows), strict=True)
    exponent = float(np.polyfit(np.log(voxels), np.log(taken), 1)[0])
    return {"sizes": rows, "exponent_of_cpu_seconds_over_size": exponent}


def real() -> dict:
    """NSD's size, once."""
    betas, targets, image = make_data(30_000, 15_724, 512)
    taken = seconds(encoders.fit_ridge, betas, targets, image, alphas=ALPHAS, n_folds=FOLDS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"shape": [30_000, 15_724, 512], "seconds": taken, "peak_gibibytes": peak}


def main() -> None:
    """Measure one part and put it into the file beside what was there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", action="store_true", help="30,000 x 15,724 -> 512, once")
    part = "real_size" if parser.parse_args().real else "against_scikit_learn"
    found = real() if part == "real_size" else compare()
    found["machine"] = {
        "cpu": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "scikit-learn": sklearn.__version__,
    }  # fmt: skip
    report = json.loads(OUT.read_text()) if OUT.is_file() else {}
    with atomic_path(OUT) as tmp:
        tmp.write_text(json.dumps(report | {part: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
