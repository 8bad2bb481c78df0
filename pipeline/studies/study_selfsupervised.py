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
from fmri_utils.project.parts import Parts
from fmri_utils.project.profiles import Profile
from fmri_utils.project.steps import open_inputs

RESULTS = "study_selfsupervised.json"
SECTIONS = ("data", "clip", "simulation", "encoder", "dino")  # what the study reads
N_SEEDS = 5
MONITORS = ("step", "entropy", "kl", "spread", "rank")


class Material:
    """What the study reads: the files of notebooks 01 and 02."""

    def __init__(self, profile: Profile):
        files = open_inputs(profile, "betas", "stimuli", "embeddings")
        self.profile, self.inputs = profile, files.hashes
        self.brain, self.stimuli, self.clip = files.values()
        self.voxels = dino.voxel_settings(profile.dino, profile.dino.study_steps)
        self.mappers = MapperSettings.of(profile.encoder)
        self.folder = profile.derived / "study"

    def parts(self, study: str, settings: object) -> Parts:
        """Folder of the finished parts of one study."""
        about = {"study": study, "settings": settings, "seed": self.profile.seed}
        return Parts(self.folder, {**about, **self.inputs})


def run_seed(material: Material, seed: int) -> dict[str, np.ndarray]:
    """One seed of the comparison, flat: "method|share|score" and the monitors."""
    data, settings = dino.VoxelData.of(material.brain, material.clip), material.voxels
    functions, record = dino.representations(data, settings, seed=seed)
    found = dino.compare(
        data,
        functions,
        shares=settings.shares,
        alphas=material.mappers.alphas,
        n_folds=material.mappers.n_folds,
        seed=seed,
    )
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


def study_voxels(material: Material) -> dict:
    """All seeds, and the table over them."""
    key = {**dataclasses.asdict(material.voxels), "probe": dataclasses.asdict(material.mappers)}
    parts = material.parts("selfsupervised", key)
    first = material.profile.seed
    seeds = range(first, first + N_SEEDS)
    parts.run(seeds, lambda s: run_seed(material, s), progress=True, what="seeds")
    runs = [parts.load(seed) for seed in seeds]
    table = dino.summarise([unflatten(run) for run in runs], rng=np.random.default_rng(first))
    monitors = {
        name: np.round([run[f"monitor|{name}"] for run in runs], 4).tolist() for name in MONITORS
    }
    return {"n_seeds": N_SEEDS, **table, "monitors": monitors}


def study_collapse(material: Material) -> dict:
    """Entropy and KL of complete, uncentred and unsharpened trainings on pictures."""
    steps = material.profile.dino.study_collapse_steps
    settings = dino.collapse_settings(material.profile.dino, steps)
    parts = material.parts("collapse", {k: dataclasses.asdict(v) for k, v in settings.items()})
    images = material.stimuli["images"]
    names = list(settings)

    def compute(number: int) -> dict[str, np.ndarray]:
        _, record = dino.train_images(
            images, settings[names[number]], shown=images[:1], seed=material.profile.seed
        )
        return {name: record[name] for name in MONITORS}

    parts.run(range(len(names)), compute, progress=True, what="collapse")
    curves = {
        name: {key: np.round(values, 4).tolist() for key, values in parts.load(i).items()}
        for i, name in enumerate(names)
    }
    return {"n_outputs": settings["both"].n_outputs, **curves}


def run_study(profile: Profile) -> None:
    """Run all parts, or what is missing of them, and write the results with their manifest."""
    material = Material(profile)
    results = {
        "dataset": profile.dataset_label,
        "voxels": study_voxels(material),
        "collapse": study_collapse(material),
    }
    path = profile.figures / RESULTS
    artifacts.save_json(path, results, config=profile.as_dict(*SECTIONS), inputs=material.inputs)
