"""Student-teacher learning on brain patterns, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA

from ..nsd import average_repeats
from ..project.checks import check_finite
from . import probes
from .networks import Learner, VoxelMLP
from .student_teacher import DinoSettings, StudentTeacher, collapse_measures, train
from .views import RepeatSampler

# "supervised only": the probe reads the voxels themselves, of the images with a known embedding.
METHODS = (
    *("supervised only", "PCA of repeat averages", "denoising autoencoder", "student-teacher"),
    "untrained network",
)


N_OUTPUTS = 128


@dataclass(frozen=True, eq=False)
class VoxelData:
    """Single trials with what they are compared with; all numbers finite.

    Attributes
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Training trials.
    nsd_id : numpy.ndarray of int, (n_trials,)
    targets : numpy.ndarray, (n_trials, C)
        CLIP embedding of each trial's image.
    test_betas, test_nsd_id : numpy.ndarray
        Single trials of the test images.
    test_targets : numpy.ndarray, (n_test_trials, C)
    regions : numpy.ndarray of int, (n_voxels,)
        Number of the first area that a voxel is in, -1 for none.
    """

    betas: np.ndarray
    nsd_id: np.ndarray
    targets: np.ndarray
    test_betas: np.ndarray
    test_nsd_id: np.ndarray
    test_targets: np.ndarray
    regions: np.ndarray

    def __post_init__(self):
        for name in ("betas", "test_betas"):
            check_finite(getattr(self, name), name, ("trial", "voxel"))
        for name in ("targets", "test_targets"):
            check_finite(getattr(self, name), name, ("trial", "dimension"))

    @classmethod
    def of(cls, brain: Mapping[str, np.ndarray], clip: Mapping[str, np.ndarray]) -> VoxelData:
        """From the arrays of ``betas.h5`` and ``embeddings.h5``."""
        target = clip["image"][np.searchsorted(clip["nsd_id"], brain["nsd_id"])]
        parts = (brain[name] for name in ("is_train", "is_test"))
        trials = [(brain["betas"][rows], brain["nsd_id"][rows], target[rows]) for rows in parts]
        areas = brain["areas"]
        return cls(*trials[0], *trials[1], np.where(areas.any(0), areas.argmax(0), -1))


def train_patterns(
    data: VoxelData, settings: DinoSettings, *, seed: int, progress: bool = False
) -> tuple[StudentTeacher, dict[str, np.ndarray]]:
    """Train a student and a teacher on pairs of repeats of the training images.

    Returns
    -------
    pair : StudentTeacher
    record : dict
        ``step``, ``loss`` and the collapse measures, one value for each check.
    """
    sampler = _sampler(data)
    watched = sampler.tensor[:: max(1, len(sampler.tensor) // 300)]
    torch.manual_seed(seed)
    learner = Learner(VoxelMLP(data.betas.shape[1]), N_OUTPUTS)
    pair = StudentTeacher(learner, N_OUTPUTS, settings)
    record = train(
        pair,
        lambda generator: sampler.draw(settings.batch_size, generator)[0],
        seed=seed,
        watch=lambda current: collapse_measures(current, watched),
        progress=progress,
    )
    return pair, record


def _sampler(data: VoxelData) -> RepeatSampler:
    return RepeatSampler(data.betas, data.nsd_id, data.regions, np.unique(data.test_nsd_id))


def representations(
    data: VoxelData, settings: DinoSettings, *, seed: int, progress: bool = False
) -> tuple[dict[str, Callable], dict[str, np.ndarray]]:
    """A function ``f(patterns) -> features`` for each of :data:`METHODS`, none of them supervised.

    Returns
    -------
    functions : dict of str to callable
    record : dict
        From :func:`train_patterns`.
    """
    pair, record = train_patterns(data, settings, seed=seed, progress=progress)
    torch.manual_seed(seed)
    untrained = VoxelMLP(data.betas.shape[1])
    torch.manual_seed(seed)
    sizes = {"n_steps": settings.n_steps, "batch_size": settings.batch_size}
    fresh = VoxelMLP(data.betas.shape[1])
    denoiser = probes.train_denoiser(_sampler(data), fresh, **sizes, seed=seed, progress=progress)
    averages = average_repeats(data.betas, data.nsd_id)[0]
    pca = PCA(min(untrained.width, *averages.shape), random_state=0).fit(averages)
    functions = {
        "supervised only": np.asarray,
        "PCA of repeat averages": pca.transform,
        "denoising autoencoder": lambda x: probes.features_of(denoiser, x),
        "student-teacher": lambda x: probes.features_of(pair.teacher.backbone, x),
        "untrained network": lambda x: probes.features_of(untrained, x),
    }
    return functions, record


def compare(
    data: VoxelData,
    functions: Mapping[str, Callable],
    *,
    shares: Sequence[float],
    seed: int,
    **folds,
) -> dict[str, dict[float, dict[str, np.ndarray]]]:
    """Linear probes to CLIP for each representation and label budget.

    A probe is fitted to features averaged over the repeats of an image, of the images whose
    embedding is known, and tested on the test images likewise. ``folds`` are the ``alphas`` and
    ``n_folds`` of its ridge (:func:`fmri_utils.dino.probes.probe`).

    Returns
    -------
    dict
        ``[method][share]``: ``two-way`` and ``MRR`` of each test image.
    """
    rng = np.random.default_rng(seed)
    truth, _, _ = average_repeats(data.test_targets, data.test_nsd_id)
    targets, ids, _ = average_repeats(data.targets, data.nsd_id)
    known = probes.label_subsets(ids, shares, rng)
    found: dict[str, dict] = {}
    for name, function in functions.items():
        train_features = average_repeats(function(data.betas), data.nsd_id)[0]
        test_features = average_repeats(function(data.test_betas), data.test_nsd_id)[0]
        found[name] = {}
        for share, rows in known.items():
            train_rows = train_features[rows], targets[rows], ids[rows]
            found[name][share] = probes.probe(*train_rows, test_features, truth, **folds)
    return found
