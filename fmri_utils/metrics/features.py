"""Scores of pictures by the features of networks."""

from collections.abc import Iterator

import numpy as np
import torch

from ..project.devices import choose_device
from .arrays import centred_unit, first_of_equals, picture_pairs, resized, unit_product
from .feature_networks import FeatureNetwork, load_network
from .identification import find_places

BATCH = 25  # pictures that a network sees at a time
BLOCK = 150  # reconstructions whose features are in memory at a time


class FeatureScorer:
    """A network with its weights, ready to score pictures.

    Parameters
    ----------
    network : FeatureNetwork
        One of :data:`~fmri_utils.metrics.feature_networks.NETWORKS`.
    device : str or torch.device
        "auto" for a GPU where there is one.

    Raises
    ------
    WeightsError
        If the weights are not on the machine or damaged.
    ProfileError
        If the device is not there.
    """

    def __init__(self, network: FeatureNetwork, *, device: str | torch.device = "cpu"):
        self.network = network
        self.device = choose_device(str(device))
        self.model = load_network(network, device=self.device)

    @torch.inference_mode()
    def batches(self, images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Features, float32 (B, n_features) for each row, of a few checked pictures at a time."""
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (self.network.mean, self.network.std)
        )
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            pixels = resized(part, self.network.size, device=self.device)  # (B, 3, size, size)
            features = self.model((pixels - mean) / std)
            yield {row: f.flatten(1).float().cpu().numpy() for row, f in features.items()}

    def prepared(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features (n, n_features) of pictures, centred, of unit length, for :meth:`correlations`.

        Those of the true pictures are made once for many sets of reconstructions; the largest,
        Alex(2), take 0.74 MB a picture.
        """
        kept: dict[str, np.ndarray] = {}
        start = 0
        for batch in self.batches(images):
            for row, values in batch.items():
                if row not in kept:  # one array, filled in place: no second copy while joining
                    kept[row] = np.empty((len(images), values.shape[1]), np.float32)
                kept[row][start : start + len(values)] = centred_unit(values)
            start += len(values)
        return kept

    def correlations(
        self, truth: np.ndarray, reconstruction: np.ndarray, prepared: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Pearson r between the features of every truth and of every reconstruction.

        Parameters
        ----------
        truth, reconstruction : numpy.ndarray, (n, H, W, 3)
        prepared : dict
            What :meth:`prepared` gave for ``truth``.

        Returns
        -------
        dict of numpy.ndarray, float64 (n, n)
            For each row; entry [i, j] is r(truth i, reconstruction j).
        """
        truth, reconstruction = picture_pairs(truth, reconstruction)
        out = {row: np.zeros((len(truth), len(truth))) for row in self.network.rows}
        for start in range(0, len(reconstruction), BLOCK):
            rows = slice(start, start + BLOCK)
            for row, features in self.prepared(reconstruction[rows]).items():
                out[row][:, rows] = unit_product(prepared[row], features)
        same = first_of_equals(truth)
        return {row: r[same] for row, r in out.items()}


def scores_and_chance(correlations: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
    """Per-image feature scores, and the score of pairs with the truth of another image.

    Parameters
    ----------
    correlations : numpy.ndarray, (n, n)
        Entry [i, j] is r(truth i, reconstruction j).
    kind : str
        "two-way": share of other truths that correlate less with the reconstruction than its own,
        ties half; chance 0.5, higher is better. "distance": 1 - r of each pair; lower is better,
        chance is the mean over all wrong pairs.

    Returns
    -------
    scores : numpy.ndarray, (n,)
    chance : float
    """
    if kind == "two-way":
        return find_places(correlations.T).two_way, 0.5
    # Rounding takes r of identical features a hair above 1; a distance is not negative.
    distances = np.maximum(1 - np.diag(correlations), 0)
    return distances, 1 - mean_of_wrong_pairs(correlations)


def mean_of_wrong_pairs(table: np.ndarray) -> float:
    """Mean of a square table without its diagonal, (n, n)."""
    n = len(table)
    return float((table.sum() - np.trace(table)) / (n * (n - 1)))
