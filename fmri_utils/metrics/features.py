"""Scores of pictures by the features of networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..project.devices import choose_device
from .arrays import (
    centred_unit,
    check_pictures,
    first_of_equals,
    picture_pairs,
    resized,
    unit_product,
)
from .feature_networks import NETWORKS, FeatureNetwork, load_network
from .identification import two_way_from_correlations

BLOCK = 128  # reconstructions whose features are in memory at a time


class FeatureScorer:
    """A network with its weights, ready to score pictures.

    Parameters
    ----------
    network : FeatureNetwork or str
        One of :data:`~fmri_utils.metrics.NETWORKS`.
    folder : pathlib.Path, optional
        Where its weights lie; by default in the library's own cache.
    device : str or torch.device
        "auto" for a GPU where there is one.
    batch_size : int
        Pictures per forward pass.
    progress : bool
        Show progress bars.

    Raises
    ------
    WeightsError
        If the weights are not on the machine or damaged.
    ProfileError
        If the device is not there.
    """

    def __init__(
        self,
        network: FeatureNetwork | str,
        folder: Path | None = None,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 25,
        progress: bool = False,
    ):
        self.network = NETWORKS[network] if isinstance(network, str) else network
        self.device = choose_device(str(device))
        self.batch_size = batch_size
        self.progress = progress
        self.model: nn.Module = load_network(self.network, folder, device=self.device)
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (self.network.mean, self.network.std)
        )

    @torch.inference_mode()
    def _batches(self, images: np.ndarray, desc: str) -> Iterator[dict[str, np.ndarray]]:
        """Features of a few pictures at a time, (B, n_features) for each row."""
        starts = range(0, len(images), self.batch_size)
        for start in tqdm(starts, desc=desc, disable=not self.progress, leave=False):
            part = images[start : start + self.batch_size]
            pixels = resized(part, self.network.size, device=self.device)  # (B, 3, size, size)
            features = self.model((pixels - self._mean) / self._std)
            yield {row: f.flatten(1).float().cpu().numpy() for row, f in features.items()}

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of pictures.

        Parameters
        ----------
        images : numpy.ndarray, (n, H, W, 3)
            float RGB in [0, 1], or uint8; resized, never cropped.

        Returns
        -------
        dict of numpy.ndarray, float32 (n, n_features)
            For each row of the network.
        """
        images = check_pictures(images, "images")
        parts = list(self._batches(images, self.network.name))
        return {row: np.concatenate([p[row] for p in parts]) for row in self.network.rows}

    def prepared(self, truth: np.ndarray) -> dict[str, np.ndarray]:
        """Features of the true pictures, centred, of unit length, for :meth:`correlations`.

        Made once for many sets of reconstructions; the largest, Alex(2), takes 0.74 MB a picture.
        """
        truth = check_pictures(truth, "truth")
        kept: dict[str, np.ndarray] = {}
        start = 0
        for batch in self._batches(truth, f"{self.network.name}, truth"):
            for row, values in batch.items():
                if row not in kept:  # one array, filled in place: no second copy while joining
                    kept[row] = np.empty((len(truth), values.shape[1]), np.float32)
                kept[row][start : start + len(values)] = centred_unit(values)
            start += len(values)
        return kept

    def correlations(
        self,
        truth: np.ndarray,
        reconstruction: np.ndarray,
        *,
        prepared: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Pearson r between the features of every truth and of every reconstruction.

        Parameters
        ----------
        truth, reconstruction : numpy.ndarray, (n, H, W, 3)
        prepared : dict, optional
            What :meth:`prepared` gave for ``truth``.

        Returns
        -------
        dict of numpy.ndarray, float64 (n, n)
            For each row; entry [i, j] is r(truth i, reconstruction j).
        """
        truth, reconstruction = picture_pairs(truth, reconstruction)
        prepared = self.prepared(truth) if prepared is None else prepared
        out = {row: np.zeros((len(truth), len(truth))) for row in self.network.rows}
        waiting: dict[str, list[np.ndarray]] = {row: [] for row in self.network.rows}
        done = held = 0
        for batch in self._batches(reconstruction, self.network.name):
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

    def scores(
        self,
        truth: np.ndarray,
        reconstruction: np.ndarray,
        *,
        prepared: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Per-image scores of each row; see :func:`scores_from_correlations`."""
        correlations = self.correlations(truth, reconstruction, prepared=prepared)
        return {
            row: scores_from_correlations(r, self.network.kind) for row, r in correlations.items()
        }


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
    if kind == "two-way":
        return 0.5
    n = len(correlations)
    return float(1 - (correlations.sum() - np.trace(correlations)) / (n * (n - 1)))
