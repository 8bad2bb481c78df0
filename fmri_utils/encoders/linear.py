"""The linear map that perturbation analyses need, and the mean as a mapper."""

from dataclasses import dataclass

import numpy as np

from .common import check_patterns, check_training


@dataclass(frozen=True)
class LinearEncoder:
    """Predicted embedding = betas @ weights + intercept.

    Attributes
    ----------
    weights : numpy.ndarray, float32 (n_voxels, C)
    intercept : numpy.ndarray, float32 (C,)
    method : str
        "ridge", "contrastive", ...
    """

    weights: np.ndarray
    intercept: np.ndarray
    method: str

    def predict(self, betas: np.ndarray) -> np.ndarray:
        """Embeddings (n, C), not normalised, of z-scored betas (n, n_voxels)."""
        return check_patterns(betas, len(self.weights)) @ self.weights + self.intercept


def fit_mean(
    betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """The mean embedding of the training trials, whatever the brain does: the first baseline.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.

    Returns
    -------
    encoder : LinearEncoder
        With weights of zero.
    report : dict
        Empty.
    """
    check_training(betas, embeddings, groups)
    weights = np.zeros((betas.shape[1], embeddings.shape[1]), np.float32)
    return LinearEncoder(weights, embeddings.mean(0).astype(np.float32), "mean"), {}
