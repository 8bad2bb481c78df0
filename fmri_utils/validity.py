"""Is the mapper reading the brain? Controls that tell decoding from guessing and from leaking.

Every control is a set of predicted embeddings of the same test images, so that all of them stand in
one table (:func:`validity_table`) and one figure:

* a *pairing oracle*: the true embeddings must retrieve everything, and shifted by one image
  nothing;
* *shuffled pairing*: the whole fit repeated with embeddings of other images must be at chance;
* *leave-cluster-out*: tested on a kind of image that was never trained on (Shirakawa et al. 2024,
  "Spurious reconstruction", arXiv 2405.10078);
* *classifier plus prototype*: what is left if only the category is read;
* *bottleneck*: how few dimensions of brain information reach the score (BrainBits, Mayo et al.
  2024, arXiv 2411.02783).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from tqdm.auto import tqdm

from . import metrics
from .encoders import LinearEncoder, Mapper, RidgeBasis, check_training, fit_ridge, unit
from .errors import DataError
from .nsd.splits import leave_cluster_out

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapper]
"""``fit(betas, embeddings, groups) -> mapper``: a fit function with its settings filled in."""


def fitter(fit: Callable, **settings: object) -> Fit:
    """A fit function with its settings filled in and its report left out.

    Parameters
    ----------
    fit : callable
        Such as :func:`fmri_utils.encoders.fit_ridge`; returns a mapper and a report.
    **settings
        Its keyword arguments.

    Returns
    -------
    callable
        ``f(betas, embeddings, groups) -> mapper``, as the controls and learning curves take it.
    """

    def only_mapper(betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray) -> Mapper:
        return fit(betas, embeddings, groups, **settings)[0]

    return only_mapper


def pairing_oracle(truth: np.ndarray) -> dict[str, np.ndarray]:
    """The two sets of predictions whose scores are known before any brain is read.

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)

    Returns
    -------
    dict of numpy.ndarray, (n, C)
        ``oracle``, which must retrieve 100 %, and ``oracle, shifted by one``, which must be at
        chance: an error of one in any index along the way would exchange them.
    """
    return {"oracle": truth, "oracle, shifted by one": np.roll(truth, 1, axis=0)}


def shuffle_pairing(
    embeddings: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Give the trials of every image the embedding of another image.

    Repeats of an image still share an embedding, so everything but the pairing stays as it was.

    Parameters
    ----------
    embeddings : numpy.ndarray, (n_trials, C)
    groups : numpy.ndarray, (n_trials,)
        Image of each trial.
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, (n_trials, C)
        No image keeps its own.

    Raises
    ------
    DataError
        If there are fewer than two images.
    """
    _, first, image = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) < 2:
        raise DataError(f"{len(first)} image. Expected: at least two, to exchange embeddings.")
    # Each image gets that of the next in a random circle: no image can meet itself.
    circle = rng.permutation(len(first))
    other = np.empty_like(circle)
    other[circle] = np.roll(circle, 1)
    return embeddings[first[other[image]]]


def leave_clusters_out(
    fit: Fit,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    pattern: np.ndarray,
    truth: np.ndarray,
    test_ids: np.ndarray,
    *,
    n_clusters: int,
    seed: int,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Predict every test image by a mapper that was trained on no image of its cluster.

    k-means divides training and test images by the direction of their embeddings. For every
    cluster the mapper is fitted to the training images of the other clusters, and predicts the
    test images of this one. The control leaves out as many training images, drawn at random: what
    it loses is due to fewer images, and only what is lost beyond that to the missing kind.

    Parameters
    ----------
    fit : callable
        ``fit(betas, embeddings, groups) -> mapper``.
    betas, embeddings, groups
        Training trials, as for :func:`fmri_utils.encoders.fit_ridge`.
    pattern : numpy.ndarray, (n, n_voxels)
        Test images, repeats averaged.
    truth : numpy.ndarray, (n, C)
        Their embeddings.
    test_ids : numpy.ndarray, (n,)
    n_clusters : int
    seed : int
        Of k-means and of the images that the control leaves out.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict of numpy.ndarray
        ``prediction`` and ``control`` (n, C); ``cluster`` (n,) of each test image; ``n_left_out``
        (n_clusters,), training images in each cluster.

    Raises
    ------
    DataError
        If test images were trained on.
    """
    check_training(betas, embeddings, groups)
    ids, first = np.unique(groups, return_index=True)
    if np.isin(test_ids, ids).any():
        raise DataError("test images are among the training images. Expected: none of them.")
    splits = leave_cluster_out(
        np.concatenate([embeddings[first], truth]),
        np.concatenate([ids, test_ids]),
        n_clusters,
        seed,
    )
    rng = np.random.default_rng(seed)
    found = {
        "prediction": np.full(truth.shape, np.nan, np.float32),
        "control": np.full(truth.shape, np.nan, np.float32),
        "cluster": np.zeros(len(truth), int),
        "n_left_out": np.zeros(n_clusters, int),
    }
    bar = tqdm(splits, desc="clusters left out", disable=not progress, leave=False)
    for number, split in enumerate(bar):
        rows = np.isin(test_ids, split.test_ids)
        out = np.intersect1d(ids, split.test_ids)
        found["cluster"][rows] = number
        found["n_left_out"][number] = len(out)
        if not rows.any():
            continue
        for name, left in (
            ("prediction", out),
            ("control", rng.choice(ids, len(out), replace=False)),
        ):
            kept = ~np.isin(groups, left)
            mapper = fit(betas[kept], embeddings[kept], groups[kept])
            found[name][rows] = mapper.predict(pattern[rows])
    return found


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
    alphas: np.ndarray,
    n_folds: int,
    seed: int,
    device: str | torch.device = "cpu",
    basis: RidgeBasis | None = None,
) -> tuple[PrototypeEncoder, dict[str, np.ndarray]]:
    """Baseline that knows categories only: a linear classifier and one embedding per class.

    Classes are k-means clusters of the training images' embeddings. The classifier is ridge
    regression on class membership. A mapper that does not beat it reads the category and
    nothing else.

    Parameters
    ----------
    betas, embeddings, groups, alphas, n_folds, device, basis
        As for :func:`fmri_utils.encoders.fit_ridge`.
    n_classes : int
    seed : int
        Of k-means.

    Returns
    -------
    encoder : PrototypeEncoder
        Two images that are read as one class get the same vector; in retrieval, ties count half.
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
    classifier, _ = fit_ridge(
        betas, member[image], groups, alphas=alphas, n_folds=n_folds, device=device, basis=basis
    )
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
    mean = train_prediction.mean(0)
    _, _, axes = np.linalg.svd(train_prediction - mean, full_matrices=False)  # (r, C)
    sizes = sorted({min(k, len(axes)) for k in n_dims})
    return {k: mean + (prediction - mean) @ axes[:k].T @ axes[:k] for k in sizes}


SCORES = (
    "two-way",
    "brain_to_image top-1",
    "brain_to_image MRR",
    "image_to_brain top-1",
    "image_to_brain MRR",
    "brain_to_image top-1, CSLS",
)


def scores_per_image(
    truth: np.ndarray, prediction: np.ndarray, *, csls_neighbours: int = 10
) -> dict[str, np.ndarray]:
    """The scores of :data:`SCORES`, image by image.

    Parameters
    ----------
    truth, prediction : numpy.ndarray, (n, C)
    csls_neighbours : int
        Of the hubness control; n if there are fewer images.

    Returns
    -------
    dict of numpy.ndarray, (n,)
        Average over images for a score; over seeds first, then use
        :func:`fmri_utils.metrics.paired_difference` to compare two mappers.
    """
    out = {"two-way": metrics.two_way_scores(truth, prediction)}
    for direction, values in metrics.retrieval_scores(truth, prediction).items():
        out[f"{direction} top-1"] = values["top1"]
        out[f"{direction} MRR"] = values["reciprocal_rank"]
    neighbours = min(csls_neighbours, len(truth))
    csls = metrics.retrieval_scores(truth, prediction, csls_neighbours=neighbours)
    out["brain_to_image top-1, CSLS"] = csls["brain_to_image"]["top1"]
    return out


def chance_levels(n: int) -> dict[str, float]:
    """Chance of each score of :data:`SCORES` among n images."""
    mrr = float((1 / np.arange(1, n + 1)).mean())
    kinds = {"two-way": 0.5, "MRR": mrr, "top-1": 1 / n, "top-1, CSLS": 1 / n}
    return {name: kinds[name.split(" ", 1)[-1]] for name in SCORES}


def validity_table(
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    clusters: np.ndarray | None = None,
    csls_neighbours: int = 10,
    n_resamples: int = 1000,
) -> list[dict]:
    """All controls in one table, one row for each method and score.

    Parameters
    ----------
    truth : numpy.ndarray, (n, C)
    predictions : mapping of str to numpy.ndarray, (n, C)
        Mappers and controls.
    rng : numpy.random.Generator
        Of the bootstrap over images.
    clusters : numpy.ndarray of int, (n,), optional
        Cluster of each test image (:func:`leave_clusters_out`): adds two-way identification within
        and across clusters. A decoder of categories is at chance within.
    csls_neighbours, n_resamples : int

    Returns
    -------
    list of dict
        ``method``, ``score``, ``value``, ``low``, ``high`` (95 % interval over images; None for the
        effective rank), ``chance`` (None where there is none), ``ceiling`` (the same score of the
        true embeddings), ``n_images``.
    """
    oracle = _table_scores(truth, truth, clusters, csls_neighbours)
    chance = {**chance_levels(len(truth)), "two-way within clusters": 0.5}
    chance["two-way across clusters"] = 0.5
    rows = []
    for method, prediction in predictions.items():
        for score, values in _table_scores(truth, prediction, clusters, csls_neighbours).items():
            interval = metrics.bootstrap(values, rng=rng, n_resamples=n_resamples)
            row = {"method": method, "score": score, **vars(interval), "chance": chance[score]}
            rows.append({**row, "ceiling": float(oracle[score].mean()), "n_images": len(values)})
        rank = metrics.effective_rank(prediction)
        row = {"method": method, "score": "effective rank", "value": rank}
        row |= {"low": None, "high": None, "chance": None}
        rows.append({**row, "ceiling": metrics.effective_rank(truth), "n_images": len(truth)})
    return rows


def _table_scores(
    truth: np.ndarray, prediction: np.ndarray, clusters: np.ndarray | None, neighbours: int
) -> dict[str, np.ndarray]:
    """Scores per image, those within and across clusters without images that have no rival."""
    found = scores_per_image(truth, prediction, csls_neighbours=neighbours)
    if clusters is not None:
        by_kind = metrics.clustered_two_way_scores(truth, prediction, clusters)
        for kind, values in by_kind.items():
            found[f"two-way {kind} clusters"] = values[np.isfinite(values)]
    return found
