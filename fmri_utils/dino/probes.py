"""What features are worth: nearest neighbours for pictures, a linear probe for brain patterns."""

from collections.abc import Sequence

import numpy as np
import torch
from skimage.feature import hog
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from ..encoders import fit_ridge
from ..metrics import retrieval_scores, two_way_scores
from ..project.checks import check_finite, check_learning, check_weights
from ..project.errors import DataError
from .views import RepeatSampler, check_inputs

LEARNING_RATE = 1e-3  # of the denoiser
N_DIRECTIONS = 8  # of edges


def knn_hits(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    n_neighbours: int = 20,
) -> np.ndarray:
    """Whether the nearest labelled pictures, by cosine, vote for the right label.

    Parameters
    ----------
    train : numpy.ndarray, (n_train, C)
        Features of pictures with labels.
    train_labels : numpy.ndarray, (n_train,)
    test : numpy.ndarray, (n_test, C)
    test_labels : numpy.ndarray, (n_test,)

    Returns
    -------
    numpy.ndarray of float, (n_test,)
        1 for a hit; the mean is the accuracy.
    """
    if n_neighbours > len(train):
        raise DataError(
            f"{n_neighbours} neighbours among {len(train)} pictures. Lower n_neighbours."
        )
    check_finite(train, "train features", ("picture", "feature"))
    check_finite(test, "test features", ("picture", "feature"))
    found = KNeighborsClassifier(n_neighbours, metric="cosine", weights="distance")
    guess = found.fit(train, train_labels).predict(test)
    return (guess == test_labels).astype(float)


def edge_histograms(pictures: torch.Tensor, cell: int) -> np.ndarray:
    """Histograms of oriented gradients (HOG, Dalal & Triggs 2005): edges counted, nothing learned.

    Of the luminance that :class:`~.networks.Edges` takes. In each cell the edges of each direction
    are added up, weighted by how strong they are, and scaled by those of the cells around.

    Parameters
    ----------
    pictures : torch.Tensor, (n, 3, H, W)
        RGB in [0, 1], at least three cells high and wide.
    cell : int
        Pixels on a side.

    Returns
    -------
    numpy.ndarray, (n, n_features)
    """
    check_inputs(pictures)
    how = {"orientations": N_DIRECTIONS, "pixels_per_cell": (cell, cell)}
    return np.stack([hog(picture, **how) for picture in pictures.mean(1).numpy()])


def cluster_labels(embeddings: np.ndarray, n_clusters: int, *, seed: int) -> np.ndarray:
    """Labels for pictures without any: clusters of their captions' embeddings, (n,) of str."""
    check_finite(embeddings, "embeddings", ("picture", "dimension"))
    found = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(embeddings)
    return np.array([f"cluster {i}" for i in found])


def label_subsets(
    nsd_id: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> dict[float, np.ndarray]:
    """Trials (bool masks) whose embedding may be used, for each share of the training images.

    Subsets are nested: what 10 % know, 25 % know too.
    """
    ids = rng.permutation(np.unique(nsd_id))
    return {
        share: np.isin(nsd_id, ids[: max(2, round(share * len(ids)))]) for share in sorted(shares)
    }


def probe(
    train: np.ndarray,
    targets: np.ndarray,
    nsd_id: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    *,
    alphas: np.ndarray,
    n_folds: int,
) -> dict[str, np.ndarray]:
    """A ridge map from features to CLIP, scored on test images.

    Parameters
    ----------
    train : numpy.ndarray, (n_trials, C)
        Features of the labelled trials.
    targets : numpy.ndarray, (n_trials, D)
        CLIP embedding of each trial's image.
    nsd_id : numpy.ndarray, (n_trials,)
    test, truth : numpy.ndarray, (n_test, C) and (n_test, D)

    Returns
    -------
    dict
        ``two-way`` and ``MRR`` of each test image, (n_test,).
    """
    check_finite(train, "training features", ("trial", "feature"))
    check_finite(test, "test features", ("image", "feature"))
    folds = min(n_folds, len(np.unique(nsd_id)))
    scale = np.sqrt(train.var(0).mean()) + 1e-12  # one number: directions keep their weight
    mapper, _ = fit_ridge(train / scale, targets, nsd_id, alphas=alphas, n_folds=folds)
    return probe_scores(truth, mapper.predict(test / scale))


def probe_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """``two-way`` and ``MRR`` of predicted embeddings, a value for each test image."""
    found = retrieval_scores(truth, predicted)["brain_to_image"]
    return {"two-way": two_way_scores(truth, predicted), "MRR": found["reciprocal_rank"]}


def train_denoiser(
    sampler: RepeatSampler,
    encoder: nn.Module,
    *,
    n_steps: int,
    batch_size: int,
    seed: int,
    progress: bool = False,
) -> nn.Module:
    """Learn to predict one repeat from another, with voxels silenced (Vincent et al. 2008).

    An autoencoder whose input is a noisy repeat, and whose output is another repeat. It sees the
    same pairs of repeats as the student and the teacher, and no test image either.

    Parameters
    ----------
    sampler : RepeatSampler
    encoder : torch.nn.Module
        Trained in place.

    Returns
    -------
    torch.nn.Module
        The encoder.

    Raises
    ------
    DivergedError
        If loss or weights are not finite.
    """
    torch.manual_seed(seed)
    decoder = nn.Linear(encoder.width, sampler.betas.shape[1])
    network = nn.Sequential(encoder, nn.GELU(), decoder)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.04)
    for step in tqdm(range(n_steps), desc="denoiser", disable=not progress, leave=False):
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        views, rows = sampler.draw(batch_size, generator)
        target = sampler.tensor[torch.from_numpy(rows[1])]  # the other repeat, whole
        loss = functional.mse_loss(network(views.shared[0]), target)
        check_learning(loss.detach(), "the loss", step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    check_weights(network.state_dict(), n_steps)
    return encoder.eval()


def features_of(backbone: nn.Module, patterns: np.ndarray) -> np.ndarray:
    """Features (n, width) of patterns (n, V), without gradients."""
    inputs = torch.from_numpy(np.asarray(patterns, np.float32))
    check_inputs(inputs)
    with torch.no_grad():
        return backbone(inputs).numpy()
