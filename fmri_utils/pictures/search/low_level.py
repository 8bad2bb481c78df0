"""A blurred colour picture read from early visual cortex, by the same ridge as the embeddings."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...encoders import LinearEncoder, fit_ridge, held_out_means, ridge_basis
from ...metrics.arrays import to_tensor
from ...nsd.area_masks import not_available
from ...project.checks import check_pictures
from ...project.errors import DataError

EARLY = ("V1", "V2", "V3")


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Pictures at a low resolution: each pixel the mean of the area it covers.

    Parameters
    ----------
    images : numpy.ndarray, (n, H, W, 3)
        uint8, or float in [0, 1].
    size : int
        Pixels on a side, at most H and W.

    Returns
    -------
    numpy.ndarray, float32 (n, size, size, 3)
        In [0, 1].

    Raises
    ------
    DataError
        If the shape or range is another, or the pictures are smaller than ``size``.
    """
    images = check_pictures(images, "pictures")
    if not 1 <= size <= min(images.shape[1:3]):
        raise DataError(
            f"pictures have shape {images.shape}. Expected: not smaller than {size} pixels."
        )
    parts = [to_tensor(images[start : start + 500]) for start in range(0, len(images), 500)]
    parts = [F.adaptive_avg_pool2d(part, size).permute(0, 2, 3, 1).numpy() for part in parts]
    return np.concatenate(parts)


def enlarge(pictures: np.ndarray, size: int) -> np.ndarray:
    """Blurred pictures (n, s, s, 3) at ``size`` pixels, bilinear, as they look by themselves."""
    pictures = check_pictures(pictures, "blurred pictures")
    tensor = torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).permute(0, 3, 1, 2)
    return F.interpolate(tensor, size, mode="bilinear").permute(0, 2, 3, 1).numpy()


def fit_low_level(
    betas: np.ndarray, pictures: np.ndarray, groups: np.ndarray, *, alphas: np.ndarray, n_folds: int
) -> tuple[LinearEncoder, np.ndarray]:
    """Ridge from the voxels of early visual cortex to blurred pictures.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored; the voxels of V1 to V3.
    pictures : numpy.ndarray, (n_trials, s, s, 3)
        What was seen in each trial; see :func:`shrink`.
    groups : numpy.ndarray, (n_trials,)
        Image of each trial; repeats of an image never fall into two folds.
    alphas, n_folds
        As for :func:`~fmri_utils.encoders.fit_ridge`.

    Returns
    -------
    encoder : LinearEncoder
        betas to the pixels of a picture, flattened.
    error_variance : numpy.ndarray, (s, s, 3)
        Mean squared error on training images that were left out, repeats averaged.
    """
    pixels = pictures.reshape(len(pictures), -1)
    settings = {"n_folds": n_folds, "basis": ridge_basis(betas)}
    encoder, report = fit_ridge(betas, pixels, groups, alphas=alphas, **settings)
    best = report["best_alphas"]
    predicted, true, _ = held_out_means(betas, pixels, groups, alphas=best, **settings)
    error = ((predicted - true) ** 2).mean(0)
    return encoder, error.reshape(pictures.shape[1:])


@dataclass(frozen=True)
class Blurred:
    """Blurred pictures predicted for the test images, and how wrong such predictions are.

    Attributes
    ----------
    picture : numpy.ndarray, (N, s, s, 3)
    error_variance : numpy.ndarray, (s, s, 3)
    weight : float
        Of their part of the objective.
    """

    picture: np.ndarray
    error_variance: np.ndarray
    weight: float = 0.1

    def first(self, n: int) -> "Blurred":
        """The same of the first n test images."""
        return dataclasses.replace(self, picture=self.picture[:n])


def read_blurred(
    brain: Mapping[str, np.ndarray],
    stimuli: Mapping[str, np.ndarray],
    pattern: np.ndarray,
    *,
    size: int,
    weight: float,
    alphas: np.ndarray,
    n_folds: int,
) -> Blurred | None:
    """Blurred pictures read from V1 to V3 of test patterns, by a ridge of their own.

    None, and a printed line that says so, where the region has no voxel of these areas.

    Parameters
    ----------
    brain, stimuli : mapping of str to numpy.ndarray
        The arrays of ``betas.h5`` and ``stimuli.h5``.
    pattern : numpy.ndarray, (n_test, n_voxels)
        z-scored, averaged over repeats.
    size : int
        Pixels on a side.
    weight : float
        See :class:`Blurred`.
    alphas, n_folds
        As for :func:`~fmri_utils.encoders.fit_ridge`.
    """
    areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
    early = np.any([areas[name] for name in EARLY if name in areas], axis=0)
    if not early.any():
        not_available("the blurred picture", f"no voxel in {', '.join(EARLY)}")
        return None
    train = brain["is_train"]
    groups = brain["nsd_id"][train]
    shrunk = shrink(stimuli["images"], size)[np.searchsorted(stimuli["nsd_id"], groups)]
    betas = brain["betas"][train][:, early]
    encoder, error = fit_low_level(betas, shrunk, groups, alphas=alphas, n_folds=n_folds)
    pictures = encoder.predict(pattern[:, early]).reshape(-1, size, size, 3)
    return Blurred(pictures.clip(0, 1).astype(np.float32), error, weight)
