"""What less than a mapper would score: a class and its mean embedding, a few dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from ...project.checks import check_finite
from ...project.errors import DataError
from .. import LinearEncoder, check_training, fit_ridge, unit


@dataclass(frozen=True)
class PrototypeEncoder:
    """Reads a class from the brain and answers with the class's mean embedding.

    Attributes
    ----------
    classifier : LinearEncoder
        Betas to one score per class.
    prototypes : numpy.ndarray, (n_classes, C)
    method : str
    """

    classifier: LinearEncoder
    prototypes: np.ndarray
    method: str = "classifier and prototype"

    def classes(self, betas: np.ndarray) -> np.ndarray:
        """Class read from each pattern; int (n,)."""
        return self.classifier.predict(betas).argmax(1)

    def predict(self, betas: np.ndarray) -> np.ndarray:
        """Prototype (n, C) of the class that is read from betas (n, n_voxels)."""
        return self.prototypes[self.classes(betas)]


def fit_prototypes(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    n_classes: int,
    seed: int,
    **settings,
) -> tuple[PrototypeEncoder, dict[str, np.ndarray]]:
    """Baseline that knows categories only: a linear classifier and one embedding per class.

    Classes are k-means clusters of the training images' embeddings. The classifier is ridge
    regression on class membership. A mapper that does not beat it reads the category and
    nothing else.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    n_classes : int
    seed : int
        Of k-means.
    **settings
        Those of :func:`fmri_utils.encoders.fit_ridge`: ``alphas``, ``n_folds``, ``device``,
        ``basis``.

    Returns
    -------
    encoder : PrototypeEncoder
        Two images that are read as one class get the same vector; in retrieval they tie.
    report : dict
        ``n_images`` (n_classes,) of training images in each class.
    """
    check_training(betas, embeddings, groups)
    _, first, image = np.unique(groups, return_index=True, return_inverse=True)
    if not 2 <= n_classes <= len(first):
        raise DataError(f"{n_classes} classes of {len(first)} images. Expected: 2 or more, fewer.")
    directions = unit(embeddings[first])
    label = KMeans(n_classes, n_init=10, random_state=seed).fit_predict(directions)
    member = (label[:, None] == np.arange(n_classes)).astype(np.float32)  # (n_images, n_classes)
    classifier, _ = fit_ridge(betas, member[image], groups, **settings)
    prototypes = member.T @ embeddings[first] / member.sum(0)[:, None]
    return PrototypeEncoder(classifier, prototypes), {"n_images": member.sum(0).astype(int)}


def bottleneck(
    prediction: np.ndarray, train_prediction: np.ndarray, n_dims: Sequence[int]
) -> dict[int, np.ndarray]:
    """Predictions after all but a few dimensions of what the brain gave were thrown away.

    The dimensions are the principal components of the *training* predictions. For a linear mapper
    this is reduced-rank regression: exactly k numbers per pattern leave the brain.

    Parameters
    ----------
    prediction : numpy.ndarray, (n, C)
        Of the test images.
    train_prediction : numpy.ndarray, (n_train, C)
        Of the training images, by the same mapper.
    n_dims : sequence of int
        1, 2, 5, 10, ...; values above C mean no bottleneck and are taken as C.

    Returns
    -------
    dict of int to numpy.ndarray, (n, C)
        As :func:`fmri_utils.metrics.bottleneck_curve` takes it.
    """
    if min(n_dims, default=0) < 1:
        raise DataError(f"n_dims is {list(n_dims)}. Expected: numbers of 1 or more.")
    check_finite(prediction, "predictions", ("image", "dimension"))
    check_finite(train_prediction, "training predictions", ("image", "dimension"))
    mean = train_prediction.mean(0)
    _, _, axes = np.linalg.svd(train_prediction - mean, full_matrices=False)  # (r, C)
    sizes = sorted({min(k, len(axes)) for k in n_dims})
    return {k: mean + (prediction - mean) @ axes[:k].T @ axes[:k] for k in sizes}
