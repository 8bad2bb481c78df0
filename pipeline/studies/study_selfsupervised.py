"""The self-supervised study: ``python -m pipeline.studies selfsupervised PROFILE=demo``.

What takes too long for notebook 07: student-teacher learning on brain patterns with five seeds, and
the two collapses over a longer training. Written to ``study_selfsupervised.json`` beside the
figures. Every seed and every collapse is kept when it is finished, under ``study`` in the run's
derived folder: a killed study goes on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fmri_utils import dino
from fmri_utils.encoders import MapperSettings
from fmri_utils.project import artifacts
from fmri_utils.project.notebook_files import Files, open_inputs
from fmri_utils.project.parts import Parts
from fmri_utils.project.profiles import Profile

RESULTS = "study_selfsupervised.json"
SECTIONS = ("data", "clip", "simulation", "encoder", "dino")  # what the study reads
N_SEEDS = 5
MONITORS = ("step", "entropy", "kl", "spread", "rank")


def parts_of(files: Files, study: str, settings: object) -> Parts:
    """Folder of the finished parts of one study."""
    about = {"study": study, "settings": settings, "seed": files.cfg.seed}
    return Parts(files.cfg.derived / "study", {**about, **files.hashes})


def run_seed(
    data: dino.VoxelData, settings: dino.DinoSettings, probe: dict, seed: int
) -> dict[str, np.ndarray]:
    """One seed of the comparison, flat: "method|share|score" and the monitors."""
    functions, record = dino.representations(data, settings, seed=seed)
    found = dino.compare(data, functions, seed=seed, **probe)
    flat = {
        f"{method}|{share}|{score}": values
        for method, budgets in found.items()
        for share, scores in budgets.items()
        for score, values in scores.items()
    }
    return flat | {f"monitor|{name}": record[name] for name in MONITORS}


def unflatten(flat: dict[str, np.ndarray]) -> dict:
    """The nested scores of :func:`run_seed`."""
    found: dict = {}
    for name, values in flat.items():
        method, *rest = name.split("|")
        if method != "monitor":
            share, score = rest
            found.setdefault(method, {}).setdefault(float(share), {})[score] = values
    return {m: {s: found[m][s] for s in sorted(found[m])} for m in dino.METHODS}


def study_voxels(files: Files) -> dict:
    """All seeds, and the table over them."""
    data, first = dino.VoxelData.of(files["betas"], files["embeddings"]), files.cfg.seed
    voxels = dino.voxel_settings(files.cfg.dino, files.cfg.dino.study_steps)
    mappers, shares = MapperSettings.of(files.cfg.encoder), files.cfg.dino.shares
    key = {"dino": dataclasses.asdict(voxels), "shares": shares}
    parts = parts_of(files, "selfsupervised", key | {"probe": dataclasses.asdict(mappers)})
    seeds = range(first, first + N_SEEDS)
    probe = {"alphas": mappers.alphas, "n_folds": mappers.n_folds, "shares": shares}
    parts.run(seeds, lambda s: run_seed(data, voxels, probe, s), progress=True, what="seeds")
    runs = [parts.load(seed) for seed in seeds]
    table = dino.summarise([unflatten(run) for run in runs], rng=np.random.default_rng(first))
    monitors = {
        name: np.round([run[f"monitor|{name}"] for run in runs], 4).tolist() for name in MONITORS
    }
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
    curves = {
        name: {key: np.round(values, 4).tolist() for key, values in parts.load(i).items()}
        for i, name in enumerate(names)
    }
    return {"n_outputs": settings["both"].n_outputs, **curves}


def run_study(profile: Profile) -> None:
    """Run all parts, or what is missing of them, and write the results with their manifest."""
    files = open_inputs(profile, "betas", "stimuli", "embeddings")
    results = {
        "dataset": profile.dataset_label,
        "voxels": study_voxels(files),
        "collapse": study_collapse(files),
    }
    path = profile.figures / RESULTS
    artifacts.save_json(path, results, config=profile.as_dict(*SECTIONS), inputs=files.hashes)
