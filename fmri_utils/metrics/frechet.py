"""Fréchet distance: how far a set of pictures is from a set of real ones, in a feature space."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..project.checks import check_finite, check_pictures
from ..project.errors import DataError, WeightsError
from ..project.reading import reading
from .feature_networks import DAMAGED, WeightsFile, hub_file

FID_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
BATCH = 50  # pictures of 299 px at a time


def frechet_distance(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Distance of two normal distributions, fitted to two sets of features; 0 for equal sets.

    ``|mean difference|^2 + trace(A + B - 2 (A B)^(1/2))`` with the covariances A and B (Heusel et
    al. 2017, arXiv 1706.08500). With Inception's pooled features it is the FID. It asks whether the
    pictures *as a set* look like real ones, and nothing about which is which; and it falls with the
    number of pictures, so only sets of one size compare. Two sets of real pictures are not at 0
    either: their distance at this size is the floor that a drawn set can be expected to reach.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, D) and (m, D)
        Features of real pictures and of drawn ones; the sets need not be paired.

    Raises
    ------
    DataError
        If the widths differ, a set has fewer than two rows, or a value is not finite.
    """
    sets = [np.asarray(x, dtype=np.float64) for x in (truth, reconstruction)]
    if any(x.ndim != 2 or len(x) < 2 for x in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise DataError(
            f"{sets[0].shape} and {sets[1].shape}. Expected: (n, D) and (m, D), two rows or more."
        )
    for name, features in zip(("truth", "reconstruction"), sets, strict=True):
        check_finite(features, name, ("picture", "feature"))
    mean, other_mean = (features.mean(0) for features in sets)
    covariance, other = (np.atleast_2d(np.cov(features, rowvar=False)) for features in sets)
    root = np.sqrt(np.linalg.eigvals(covariance @ other).astype(complex)).real.sum()
    distance = ((mean - other_mean) ** 2).sum() + np.trace(covariance + other) - 2 * root
    return float(distance)


def fid_weights() -> WeightsFile:
    """The Inception network of the published FID, as torch-fidelity keeps it.

    It is another one than torchvision's, which scores pictures here: only with this one do
    distances compare with published FIDs.
    """
    licence = "Apache 2.0 (Google); learned on ImageNet, which is for research only"
    return hub_file("Inception of the FID", FID_URL, "", 91.2, licence)


def training_monitor(
    images: np.ndarray,
    embed: Callable[[np.ndarray], np.ndarray],
    *,
    others: np.ndarray | None = None,
    device: str | torch.device = "cpu",
) -> Callable[[Tensor], dict[str, float]]:
    """The FID where its network is on this machine, otherwise the distance in CLIP space.

    What :func:`fmri_utils.lafite.train` can call during training as its monitor.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, R, R, 3)
        Real ones, preferably held out.
    embed : callable
        Pictures, uint8 (n, R, R, 3), to CLIP embeddings (n, C).
    others : numpy.ndarray, uint8 (n, R, R, 3), optional
        As many other real ones as will be drawn: their distance is measured too, as the floor.
    device : str or torch.device
        Of the FID's network.

    Returns
    -------
    callable
        Drawn pictures, (n, 3, R, R) from -1 to 1, to ``{name: distance}``; the name, "fid" or
        "frechet_clip", says which it is. With ``others``, ``"<name>, real pictures"`` is the floor.

    Raises
    ------
    DataError
        If the images have another shape or type; later, if a drawn picture holds NaN.
    WeightsError
        If the file is there but damaged, or of another network.
    """
    images = check_pictures(images, "images", at_least=2, only_bytes=True)
    name, weights = "frechet_clip", fid_weights()
    if weights.cached.is_file():
        name, embed = "fid", _inception(weights.find(), device)
    truth, floor = embed(images), {}
    if others is not None:
        others = check_pictures(others, "others", at_least=2, only_bytes=True)
        floor[f"{name}, real pictures"] = frechet_distance(truth, embed(others))

    def measure(drawn: Tensor) -> dict[str, float]:
        check_finite(drawn, "drawn pictures")
        pixels = drawn.clamp(-1, 1).add(1).mul(127.5).round().byte()
        features = embed(pixels.permute(0, 2, 3, 1).numpy(force=True))
        return {name: frechet_distance(truth, features), **floor}

    return measure


def _inception(path: Path, device: str | torch.device) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures, uint8 (n, R, R, 3), to pooled features (n, 2048) by the network in a file.

    Of the file tensors are read and nothing else.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    with reading(path, "the weights of the FID's Inception", damaged=DAMAGED, error=WeightsError):
        state = torch.load(path, map_location="cpu", weights_only=True)
        with tempfile.TemporaryDirectory() as here:
            # The library would load the file as a pickle and run what is in it: it gets our own.
            own = Path(here) / "tensors.pth"
            torch.save(state, own)
            network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(own)).to(device)

    def embed(images: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(images).permute(0, 3, 1, 2).split(BATCH)
        return np.concatenate([network(part.to(device)).numpy(force=True) for part in parts])

    return embed
