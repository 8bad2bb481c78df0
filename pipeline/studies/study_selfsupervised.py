"""The self-supervised part of ``make study``: what takes too long for notebook 07.

Student-teacher learning on brain patterns with five seeds, and the two collapses over a longer
training on the same patterns. Every seed and every collapse is kept when it is finished, under
``study`` in the run's derived folder: a killed study goes on.
"""

import dataclasses

import numpy as np

from fmri_utils import dino
from fmri_utils.dino import METHODS
from fmri_utils.encoders import MapperSettings
from fmri_utils.project.notebook_files import Files

from .finished import finished

READS = ("betas", "embeddings")
SECTIONS = ("data", "clip", "simulation", "encoder", "dino")  # what the study reads
N_SEEDS = 5
MONITORS = ("step", "entropy", "kl", "information", "spread", "rank")
SCORES = ("MRR", "two-way")


def study_voxels(files: Files) -> dict:
    """All seeds, and the table over them."""
    data, first = dino.VoxelData.of(files["betas"], files["embeddings"]), files.cfg.seed
    voxels = dino.voxel_settings(files.cfg.dino, files.cfg.dino.study_steps)
    mappers, shares = MapperSettings.of(files.cfg.encoder), sorted(files.cfg.dino.shares)
    key = {"dino": dataclasses.asdict(voxels), "shares": shares}
    key |= {"probe": dataclasses.asdict(mappers), "seed": first}
    probe = {"alphas": mappers.alphas, "n_folds": mappers.n_folds, "shares": files.cfg.dino.shares}

    def compute(seed: int) -> dict[str, np.ndarray]:
        functions, _ = dino.representations(data, voxels, seed=seed)
        found = dino.compare(data, functions, seed=seed, **probe)
        return {
            f"{method}|{share}": np.array([found[method][share][name] for name in SCORES])
            for method in METHODS
            for share in shares
        }

    runs = finished(files, "voxels", key, range(first, first + N_SEEDS), compute)
    scores = [
        {m: {s: dict(zip(SCORES, run[f"{m}|{s}"], strict=True)) for s in shares} for m in METHODS}
        for run in runs
    ]
    return {"n_seeds": N_SEEDS, **dino.summarise(scores, rng=np.random.default_rng(first))}


def study_collapse(files: Files) -> dict:
    """Entropy and KL of complete, uncentred and unsharpened trainings on brain patterns."""
    cfg, data = files.cfg, dino.VoxelData.of(files["betas"], files["embeddings"])
    complete = dino.voxel_settings(cfg.dino, cfg.dino.study_collapse_steps)
    settings = dino.collapse_settings(complete)
    key = {"seed": cfg.seed, **{k: dataclasses.asdict(v) for k, v in settings.items()}}
    names = list(settings)

    def compute(number: int) -> dict[str, np.ndarray]:
        _, record = dino.train_patterns(data, settings[names[number]], seed=cfg.seed)
        return {name: record[name] for name in MONITORS}

    runs = finished(files, "collapse", key, range(len(names)), compute)
    curves = {
        name: {key: np.round(run[key], 4).tolist() for key in sorted(run)}
        for name, run in zip(names, runs, strict=True)
    }
    return {"n_outputs": dino.N_OUTPUTS, **curves}


def results(files: Files) -> dict:
    """All parts, or what is missing of them."""
    return {
        "dataset": files.cfg.dataset_label,
        "voxels": study_voxels(files),
        "collapse": study_collapse(files),
    }
