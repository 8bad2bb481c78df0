"""Scores of pictures by the features of networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..project.devices import choose_device
from .arrays import centred_unit, first_of_equals, picture_pairs, resized, unit_product
from .feature_networks import FeatureNetwork, load_network
from .identification import two_way_from_correlations

BATCH = 25  # pictures that a network sees at a time
BLOCK = 128  # reconstructions whose features are in memory at a time


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

    def prepared(self, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Features of the true pictures, centred, of unit length, for :meth:`correlations`.

        Made once for many sets of reconstructions; the largest, Alex(2), takes 0.74 MB a picture.
        """
        kept: dict[str, np.ndarray] = {}
        start = 0
        for batch in self.batches(truth):
            for row, values in batch.items():
                if row not in kept:  # one array, filled in place: no second copy while joining
                    kept[row] = np.empty((len(truth), values.shape[1]), np.float32)
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
        waiting: dict[str, list[np.ndarray]] = {row: [] for row in self.network.rows}
        done = held = 0
        for batch in self.batches(reconstruction):
            for row, values in batch.items():
                waiting[row].append(centred_unit(values))
            held += len(values)
            if held >= BLOCK or done + held == len(truth):
                for row, parts in waiting.items():
                    block = np.concatenate(parts)
                    out[row][:, done : done + held] = unit_product(prepared[row], block)
                    parts.clear()
                done, held = done + held, 0
        same = first_of_equals(truth)
        return {row: r[same] for row, r in out.items()}


def scores_from_correlations(correlations: np.ndarray, kind: str) -> np.ndarray:
    """Per-image feature scores.

    Parameters
    ----------
    correlations : numpy.ndarray, (n, n)
        Entry [i, j] is r(truth i, reconstruction j).
    kind : str
        "two-way": share of other truths that correlate less with the reconstruction than its own,
        ties half; chance 0.5, higher is better. "distance": 1 - r of each pair; lower is better.

    Returns
    -------
    numpy.ndarray, (n,)
    """
    assert kind in ("two-way", "distance"), kind
    if kind == "two-way":
        return two_way_from_correlations(correlations)
    # Rounding takes r of identical features a hair above 1; a distance is not negative.
    return np.maximum(1 - np.diag(correlations), 0)


def chance_from_correlations(correlations: np.ndarray, kind: str) -> float:
    """The score of reconstructions that are paired with the truth of another image.

    Exactly 0.5 for "two-way"; for "distance" the mean over all wrong pairs.
    """
    return 0.5 if kind == "two-way" else 1 - mean_of_wrong_pairs(correlations)


def mean_of_wrong_pairs(table: np.ndarray) -> float:
    """Mean of a square table without its diagonal, (n, n)."""
    n = len(table)
    return float((table.sum() - np.trace(table)) / (n * (n - 1)))
