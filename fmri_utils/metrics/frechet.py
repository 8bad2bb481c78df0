"""Fréchet distance: how far a set of pictures is from a set of real ones, in a feature space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DataError


class _Given(nn.Module):
    """Features that were computed before."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Distance of two normal distributions, fitted to two sets of features; 0 for equal sets.

    ``|mean difference|^2 + trace(A + B - 2 (A B)^(1/2))`` with the covariances A and B (Heusel et
    al. 2017, arXiv 1706.08500), by torchmetrics. With Inception's pooled features it is the FID. It
    asks whether the pictures *as a set* look like real ones, and nothing about which is which; and
    it falls with the number of pictures, so only sets of one size compare.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, D) and (m, D)
        Features of real pictures and of drawn ones; the sets need not be paired.

    Raises
    ------
    DataError
        If the widths differ, a set has fewer than two rows, or a value is not finite.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # its import takes seconds

    sets = [np.asarray(x, dtype=np.float64) for x in (truth, reconstruction)]
    if any(x.ndim != 2 or len(x) < 2 for x in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise DataError(
            f"truth has shape {sets[0].shape}, reconstruction {sets[1].shape}. Expected: features "
            "(n, D) and (m, D) of one width, at least two rows each."
        )
    if not all(np.isfinite(x).all() for x in sets):
        raise DataError("features hold NaN or infinite values. Expected: finite numbers.")
    metric = FrechetInceptionDistance(feature=_Given(sets[0].shape[1])).set_dtype(torch.float64)
    centre = sets[0].mean(0)  # the library adds up products, so a common offset only costs digits
    for features, real in zip(sets, (True, False), strict=True):
        metric.update(torch.from_numpy(features - centre), real=real)
    return float(metric.compute())


def frechet_monitor(
    images: np.ndarray, features: Callable[[np.ndarray], np.ndarray], name: str
) -> Callable[[Tensor], dict[str, float]]:
    """What :func:`fmri_utils.lafite.train` can call during training to follow the distance.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, R, R, 3)
        Real ones, preferably held out.
    features : callable
        Pictures, uint8 (n, R, R, 3), to features (n, D): an Inception's where its weights are on
        the machine, CLIP's embedding otherwise.
    name : str
        Says which network: "frechet_clip", say.

    Returns
    -------
    callable
        Drawn pictures, (n, 3, R, R) from -1 to 1, to ``{name: distance}``.
    """
    truth = features(images)

    def measure(drawn: Tensor) -> dict[str, float]:
        pictures = drawn.clamp(-1, 1).add(1).mul(127.5).round().byte()
        pictures = pictures.permute(0, 2, 3, 1).numpy(force=True)
        return {name: frechet_distance(truth, features(pictures))}

    return measure
