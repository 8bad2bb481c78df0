"""The generator's part of ``make study``: searches and fine-tunings on all test images.

Compares searches for z, and ways of fine-tuning on predicted embeddings, each with several seeds.
Half an hour on one core in the demo. Both resume: finished batches and checkpoints lie in the run's
derived folder under ``study_generator``, apart for each generator and seed, with curves and
pictures of every fine-tuning and its weights, which can be used as ``lafite.weights``.
"""

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import torch

from fmri_utils import encoders, metrics, plots
from fmri_utils.clip.space import open_clip_space
from fmri_utils.encoders import MapperSettings
from fmri_utils.lafite import Generator, Observers, TrainingConfig, load_generator, save_generator
from fmri_utils.metrics.judge import load_judge
from fmri_utils.pictures import finetuning, search, strategies
from fmri_utils.pictures.finetuning import FineTuning
from fmri_utils.pictures.reconstruction import at_resolution, draw, draw_z, mean_picture
from fmri_utils.pictures.strategies import folder_name
from fmri_utils.project.devices import choose_device
from fmri_utils.project.notebook_files import Files
from fmri_utils.project.profiles import PROJECT_ROOT

READS = ("betas", "stimuli", "embeddings", "predictions", "generator")
# What the study reads.
SECTIONS = ("data", "clip", "simulation", "encoder", "lafite", "reconstruction")


class Material:
    """What both studies read: the files of notebooks 01 to 03, and the networks.

    Attributes
    ----------
    seeds : range
        Of the noise, and of the fine-tunings.
    drawing : dict
        How pictures are drawn.
    seen : numpy.ndarray of uint8, (N, H, W, 3)
        Test images.
    """

    def __init__(self, files: Files):
        cfg, self.device = files.cfg, choose_device(files.cfg.device)
        self.cfg, lafite = cfg, cfg.lafite
        self.brain, self.stimuli, self.clip, self.predicted, weights = files.values()
        self.generator = load_generator(weights, device=self.device)
        space = cfg.clip.model, cfg.clip.pretrained
        self.space = open_clip_space(*space, device=self.device, root=PROJECT_ROOT)
        self.encode = search.clip_encoder(self.space)
        self.judge = load_judge(cfg.path(lafite.judge)) if lafite.judge else None
        self.weights = files.hashes[weights.name]
        self.folder = cfg.derived / "study_generator" / self.weights[:12]
        self.seeds = range(cfg.seed, cfg.seed + cfg.reconstruction.study_seeds)
        self.drawing = {"truncation_psi": lafite.truncation_psi, "batch_size": lafite.batch_size}
        rows = np.searchsorted(self.stimuli["nsd_id"], self.predicted["test_ids"])
        self.seen = self.stimuli["images"][rows]

    @cached_property
    def predictions(self) -> dict[str, tuple[finetuning.HeldOutPredictions, np.ndarray]]:
        """Of "image" and "caption" embeddings, from :func:`held_out`."""
        return {kind: held_out(self, kind) for kind in ("image", "caption")}


def study_searches(material: Material) -> dict:
    """The table of :func:`~fmri_utils.pictures.strategies.compare_searches` on all test images."""
    predicted, settings = material.predicted, material.cfg.reconstruction
    read = predicted["conditions"]["spread matched"]  # without the prior, as in fine-tuning
    mappers = MapperSettings.of(material.cfg.encoder)
    objective, seen = search.Objective(material.encode), material.seen / 255.0
    low_level = {"size": settings.low_level_size, "weight": settings.low_level_weight}
    low_level |= {"alphas": mappers.alphas, "n_folds": mappers.n_folds}
    data = material.brain, material.stimuli, predicted["pattern"]
    blurred, alone = search.read_blurred(*data, **low_level), {}
    if blurred is not None:
        alone["blurred picture alone"] = [search.enlarge(blurred.picture, seen.shape[1])]
    ids, train = material.stimuli["nsd_id"], material.brain["is_train"]
    rows = np.flatnonzero(np.isin(ids, material.brain["nsd_id"][train]))
    mean = mean_picture(material.stimuli["images"], rows)
    alone["mean training image"] = [np.repeat(mean[None], len(seen), 0)]
    how = {"passes": settings.study_passes, "blurred": blurred, **material.drawing}
    repeats = []
    for seed in material.seeds:
        rng = torch.Generator().manual_seed(seed)
        own = {"rng": rng, "folder": material.folder / "searches" / f"seed-{seed}"}
        found = strategies.compare_searches(
            material.generator, read, objective, **own, **how, progress=True
        )
        ceiling = draw(material.generator, found.z, predicted["truth"], **material.drawing)
        sets = {**found.draws, **alone, "ceiling": [ceiling]}
        repeats.append(strategies.mean_scores(seen, sets, judge=material.judge))
    rows = strategies.compared(repeats, strategies.PLAIN, rng=np.random.default_rng(0))
    return {"passes": found.passes, "n_images": len(seen), "rows": rows}


def held_out(material: Material, kind: str) -> tuple[finetuning.HeldOutPredictions, np.ndarray]:
    """Predictions of one kind of embedding: training images held out, and test images.

    Parameters
    ----------
    kind : str
        "image" or "caption", an entry of ``embeddings.h5``.
    """
    brain, mappers = material.brain, MapperSettings.of(material.cfg.encoder)
    train = brain["is_train"]
    betas, groups = brain["betas"][train], brain["nsd_id"][train]
    target = material.clip[kind][np.searchsorted(material.stimuli["nsd_id"], groups)]
    data = betas, target, groups
    folds = {"n_folds": mappers.n_folds, "basis": encoders.ridge_basis(betas)}
    ridge, report = encoders.fit_ridge(*data, alphas=mappers.alphas, **folds)
    folds["alphas"] = report["best_alphas"]
    matched, _ = encoders.match_spread(ridge, *data, **folds)
    test = encoders.unit(matched.predict(material.predicted["pattern"]))
    return finetuning.predict_held_out(*data, **folds), test


def fine_tuned(
    material: Material, config: TrainingConfig, monitor: Callable, option: FineTuning, name: str
) -> Generator:
    """The generator after one option; its folder gets checkpoints, curves, pictures and weights.

    Parameters
    ----------
    config, option
        As for :func:`~fmri_utils.pictures.finetuning.fine_tune`.
    monitor : callable
        How far drawn test images are, as a set, from the seen ones; asked while training.
    name : str
        Of the option.
    """
    stimuli, clip = material.stimuli, material.clip
    train, test = zip(*material.predictions.values(), strict=True)
    parts = slice(2 if option.two_conditions else 1)
    rows = np.searchsorted(stimuli["nsd_id"], train[0].ids)
    folder = material.folder / "fine-tuning" / f"seed-{config.seed}" / folder_name(name)
    about = {"fine-tuning": name, "seed": str(config.seed), "images": str(config.n_images)}
    predicted = np.concatenate([one.predicted for one in train[parts]], axis=2)
    data = stimuli["images"][rows], clip["image"][rows], predicted, material.encode
    captions = encoders.unit(clip["caption"][rows])[:, None]
    drawn = plots.save_progress(folder, material.cfg.dataset_label, about=about)
    observers = Observers(drawn, monitor, np.concatenate(test[parts], axis=1))
    how = {"out_dir": folder, "observers": observers, "device": material.device, "progress": True}
    settings = {"config": config, "option": option, "captions": captions}
    result = finetuning.fine_tune(material.generator, *data, **settings, **how)
    weights = folder / "generator.safetensors"
    if not weights.is_file():
        save_generator(weights, result.generator, about)
    return result.generator


def study_fine_tuning(material: Material) -> dict:
    """The tables of :func:`~.strategies.compare_fine_tuning` on all test images."""
    clip, generator, settings = material.clip, material.generator, material.cfg.reconstruction
    seen, truth = material.seen, material.predicted["truth"]
    sizes = {"n_images": settings.study_images, "rest_images": settings.study_rest_images}
    image, test_image = material.predictions["image"]
    test_rows = np.searchsorted(clip["nsd_id"], material.predicted["test_ids"])
    conditions = {
        "brain": [test_image, material.predictions["caption"][1]],
        "ceiling": [truth, encoders.unit(clip["caption"][test_rows])],
    }
    small = at_resolution(seen, generator.config.resolution)
    embed = material.space.encode_images
    chosen = np.random.default_rng(0).permutation(image.ids)[: len(small)]
    others = material.stimuli["images"][np.searchsorted(material.stimuli["nsd_id"], chosen)]
    others = at_resolution(others, generator.config.resolution)  # real ones: the floor
    monitor = metrics.training_monitor(small, embed, others=others, device=material.device)
    repeats = {"brain": [], "ceiling": []}
    for seed in material.seeds:
        config = finetuning.fine_tuning_config(
            generator.config, **sizes, clip_size=material.space.image_size, seed=seed
        )
        tune = partial(fine_tuned, material, config, monitor)
        how = {"z": draw_z(generator, len(truth), seed)[None], **material.drawing}
        pictures = strategies.compare_fine_tuning(
            generator, tune, finetuning.OPTIONS, conditions, **how
        )
        for kind, draws in pictures.items():
            scores = strategies.mean_scores(seen / 255.0, draws, judge=material.judge)
            repeats[kind].append(scores)
    rows = {
        kind: strategies.compared(several, "before", rng=np.random.default_rng(0))
        for kind, several in repeats.items()
    }
    return {**sizes, "n_training_images": len(image.ids), "n_images": len(test_rows), "rows": rows}


def results(files: Files) -> dict:
    """Both tables, or what is missing of them."""
    material = Material(files)
    return {
        "dataset": material.cfg.dataset_label,
        "clip_model": material.space.name,
        "weights": material.weights,
        "seeds": list(material.seeds),
        "searches": study_searches(material),
        "fine_tuning": study_fine_tuning(material),
    }
