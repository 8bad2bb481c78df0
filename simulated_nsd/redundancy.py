"""Redundancy and shared noise: a small linear subject in which both can be dialled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import RidgeCV

from fmri_utils import perturbation
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.metrics import Interval

from .against_truth import auroc

N_SOURCES, N_NULL, N_DIMENSIONS = 10, 100, 32
N_REPEATS, N_TRAINING, N_TEST = 3, 300, 100
NCSNR = 0.3  # signal SD over noise SD of a tuned voxel in one trial
# Share of the noise variance that each null voxel has in common with one tuned voxel, so that a
# decoder can use it to cancel noise.
COMMON_NOISE = 0.3
# Share of a tuned voxel's noise variance that all voxels of its source have in common: it looks
# like another image, so that no number of voxels averages it out (Moreno-Bote et al. 2014).
LIMITING_NOISE = 0.5


class LinearSubject(NamedTuple):
    """Trials of a linear subject; the first ``n_tuned`` voxels carry a signal.

    Attributes
    ----------
    training, test : numpy.ndarray, (3, n_images, n_voxels)
        Three repeats of each image.
    training_truth, test_truth : numpy.ndarray, (n_images, C)
    null : numpy.ndarray of bool, (n_voxels,)
    """

    training: np.ndarray
    test: np.ndarray
    training_truth: np.ndarray
    test_truth: np.ndarray
    null: np.ndarray


def linear_subject(
    redundancy: int, rng: np.random.Generator, *, shared_noise: bool = True
) -> LinearSubject:
    """Draw a subject whose every source of information is seen by ``redundancy`` voxels.

    Parameters
    ----------
    redundancy : int
        Tuned voxels per source; all together ``N_SOURCES * redundancy``.
    shared_noise : bool
        Whether voxels share noise, by ``LIMITING_NOISE`` and ``COMMON_NOISE``.
    """
    limiting, shared = (LIMITING_NOISE, COMMON_NOISE) if shared_noise else (0.0, 0.0)
    n_tuned = N_SOURCES * redundancy
    n_images = N_TRAINING + N_TEST
    sources = rng.standard_normal((n_images, N_SOURCES))
    truth = unit(sources @ rng.standard_normal((N_SOURCES, N_DIMENSIONS)))
    signal = np.zeros((n_images, n_tuned + N_NULL))
    signal[:, :n_tuned] = NCSNR * np.repeat(sources, redundancy, axis=1)
    noise = rng.standard_normal((N_REPEATS, *signal.shape))
    common = rng.standard_normal((N_REPEATS, *sources.shape)).repeat(redundancy, axis=2)
    noise[..., :n_tuned] *= np.sqrt(1 - limiting)
    noise[..., :n_tuned] += np.sqrt(limiting) * common
    partner = rng.integers(n_tuned, size=N_NULL)
    own = np.sqrt(1 - shared) * noise[..., n_tuned:]
    noise[..., n_tuned:] = own + np.sqrt(shared) * noise[..., partner]
    trials = signal + noise
    scale = trials[:, :N_TRAINING].reshape(-1, signal.shape[1])
    trials = (trials - scale.mean(0)) / scale.std(0)
    null = np.arange(signal.shape[1]) >= n_tuned
    return LinearSubject(
        trials[:, :N_TRAINING], trials[:, N_TRAINING:], truth[:N_TRAINING], truth[N_TRAINING:], null
    )


def statistics_of(subject: LinearSubject, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every statistic of every voxel of a linear subject, larger for more important.

    Returns
    -------
    dict of str to numpy.ndarray, (n_voxels,)
        "ablation", "refit", "contribution", "reliability" and "forward model".
    """
    x = subject.training.reshape(-1, subject.training.shape[2])
    y = np.tile(subject.training_truth, (N_REPEATS, 1))
    image = np.tile(np.arange(len(subject.training_truth)), N_REPEATS)
    model = RidgeCV(np.logspace(1, 5, 9)).fit(x, y)
    encoder = LinearEncoder(model.coef_.T, model.intercept_, "ridge")
    pattern = subject.test.mean(0)
    alphas = np.full(y.shape[1], model.alpha_)
    pairings = perturbation.draw_pairings(100, N_REPEATS, len(pattern), rng)
    refit = perturbation.refit_change(encoder, perturbation.fit_precision(x), pattern, alphas)
    reliable = perturbation.reliability(encoder, subject.test, pairings)
    return {
        "ablation": perturbation.embedding_effect(encoder, pattern).mean(0),
        "refit": refit.effect().mean(0),
        "contribution": perturbation.contribution(encoder, pattern, subject.test_truth).mean(0),
        "reliability": perturbation.max_t(reliable).z,
        "forward model": perturbation.forward_model(x, y, image),
    }


def redundancy_curve(
    redundancies: Sequence[int], *, shared_noise: bool = True, seed: int = 0
) -> dict[str, list[Interval]]:
    """AUROC of every statistic for subjects of growing redundancy.

    Parameters
    ----------
    redundancies : sequence of int
        Voxels per source of information.
    shared_noise : bool
        As for :func:`linear_subject`.
    seed : int

    Returns
    -------
    dict of str to list of Interval
        One per redundancy.
    """
    curves: dict[str, list[Interval]] = {}
    for redundancy in redundancies:
        rng = np.random.default_rng([seed, redundancy])
        subject = linear_subject(redundancy, rng, shared_noise=shared_noise)
        found = auroc(subject.null, statistics_of(subject, rng), rng=rng, n_resamples=200)
        for name, interval in found.items():
            curves.setdefault(name, []).append(interval)
    return curves
