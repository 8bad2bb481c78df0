"""The self-supervised part of ``make study``: what takes too long for notebook 07.

Student-teacher learning on brain patterns with five seeds, and the two collapses over a longer
training. Every seed and every collapse is kept when it is finished, under ``study`` in the run's
derived folder: a killed study goes on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fmri_utils import dino
from fmri_utils.dino import METHODS
from fmri_utils.encoders import MapperSettings
from fmri_utils.project.notebook_files import Files
from fmri_utils.project.parts import Parts

READS = ("betas", "stimuli", "embeddings")
SECTIONS = ("data", "clip", "simulation", "encoder", "dino")  # what the study reads
N_SEEDS = 5
MONITORS = ("step", "entropy", "kl", "spread", "rank")
SCORES = ("MRR", "two-way")


def parts_of(files: Files, study: str, settings: object) -> Parts:
    """Folder of the finished parts of one study."""
    about = {"study": study, "settings": settings, "seed": files.cfg.seed}
    return Parts(files.cfg.derived / "study", {**about, **files.hashes})


def rounded(run: dict[str, np.ndarray], name: str) -> list:
    """What was watched over a training, as JSON keeps it."""
    return np.round(run[name], 4).tolist()


def study_voxels(files: Files) -> dict:
    """All seeds, and the table over them."""
    data, first = dino.VoxelData.of(files["betas"], files["embeddings"]), files.cfg.seed
    voxels = dino.voxel_settings(files.cfg.dino, files.cfg.dino.study_steps)
    mappers, shares = MapperSettings.of(files.cfg.encoder), sorted(files.cfg.dino.shares)
    key = {"dino": dataclasses.asdict(voxels), "shares": shares}
    parts = parts_of(files, "voxels", key | {"probe": dataclasses.asdict(mappers)})
    probe = {"alphas": mappers.alphas, "n_folds": mappers.n_folds, "shares": files.cfg.dino.shares}

    def compute(seed: int) -> dict[str, np.ndarray]:
        functions, record = dino.representations(data, voxels, seed=seed)
        found = dino.compare(data, functions, seed=seed, **probe)
        scores = {
            f"{method}|{share}": np.array([found[method][share][name] for name in SCORES])
            for method in METHODS
            for share in shares
        }
        return scores | {name: record[name] for name in MONITORS}

    seeds = range(first, first + N_SEEDS)
    parts.run(seeds, compute, progress=True, what="seeds")
    runs = [parts.load(seed) for seed in seeds]
    scores = [
        {m: {s: dict(zip(SCORES, run[f"{m}|{s}"], strict=True)) for s in shares} for m in METHODS}
        for run in runs
    ]
    table = dino.summarise(scores, rng=np.random.default_rng(first))
    monitors = {name: [rounded(run, name) for run in runs] for name in MONITORS}
    return {"n_seeds": N_SEEDS, **table, "monitors": monitors}


def study_collapse(files: Files) -> dict:
    """Entropy and KL of complete, uncentred and unsharpened trainings on pictures."""
    cfg, images = files.cfg, files["stimuli"]["images"]
    settings = dino.collapse_settings(cfg.dino, cfg.dino.study_collapse_steps)
    parts = parts_of(files, "collapse", {k: dataclasses.asdict(v) for k, v in settings.items()})
    names = list(settings)

    def compute(number: int) -> dict[str, np.ndarray]:
        chosen = settings[names[number]]
        _, record = dino.train_images(images, chosen, shown=images[:1], seed=cfg.seed)
        return {name: record[name] for name in MONITORS}

    parts.run(range(len(names)), compute, progress=True, what="collapse")
    runs = {name: parts.load(number) for number, name in enumerate(names)}
    curves = {name: {key: rounded(run, key) for key in sorted(run)} for name, run in runs.items()}
    return {"n_outputs": settings["both"].n_outputs, **curves}


def results(files: Files) -> dict:
    """All parts, or what is missing of them."""
    return {
        "dataset": files.cfg.dataset_label,
        "voxels": study_voxels(files),
        "collapse": study_collapse(files),
    }
