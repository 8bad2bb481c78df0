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


def restandardise(
    prediction: np.ndarray, train_prediction: np.ndarray, train_embeddings: np.ndarray
) -> np.ndarray:
    """Give predictions the mean and spread of real embeddings, with training statistics only.

    Ridge shrinks, and unequally: what is hard to predict varies least. Ozcelik & VanRullen (2023)
    standardise with the mean and SD of the *test* predictions, so each prediction depends on the
    other test images; here both come from training images.

    Parameters
    ----------
    prediction : numpy.ndarray, (n, C)
        Of new patterns.
    train_prediction, train_embeddings : numpy.ndarray, (n_train, C)
        Of training images, predicted from folds that did not hold the image: predictions of fitted
        images vary too much.

    Returns
    -------
    numpy.ndarray, (n, C)
    """
    scaled = (prediction - train_prediction.mean(0)) / train_prediction.std(0)
    return scaled * train_embeddings.std(0) + train_embeddings.mean(0)
