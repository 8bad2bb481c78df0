"""Controls of pairing and of generalisation: oracle, shuffled pairs, clusters left out."""

from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans
from tqdm.auto import tqdm

from ...project.checks import check_finite
from ...project.errors import DataError
from .. import Mapper, check_patterns, check_training, unit
from .control_table import scores_per_image

# ``fit(betas, embeddings, groups) -> mapper``: a fit function with its settings filled in.
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapper]


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
    return lambda betas, embeddings, groups: fit(betas, embeddings, groups, **settings)[0]


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
) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
    """Predict every test image by a mapper that was trained on no image of its cluster.

    k-means divides training and test images by the direction of their embeddings. For every
    cluster the mapper is fitted to the training images of the other clusters, and the test images
    of this one are scored. The control leaves out as many training images, drawn at random: what
    it loses is due to fewer images, and only what is lost beyond that to the missing kind.

    Predictions and true embeddings are read as deviations from the mean embedding that the mapper
    was trained on. A regularised map stays near that mean, and without a cluster the mean lies away
    from it. Cosines about the origin would count this against the prediction, whatever the brain
    says. Every image is scored among all test images, all read by the one mapper of its cluster.

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
    dict
        ``left_out`` and ``control``: scores of the test images, (n,) each, as of
        :func:`~fmri_utils.encoders.controls.scores_per_image` with clusters; ``cluster`` (n,) of
        each test image; ``n_left_out`` (n_clusters,), training images in each cluster.

    Raises
    ------
    DataError
        If test images were trained on, or a value is NaN or infinite.
    """
    check_training(betas, embeddings, groups)
    check_patterns(pattern, betas.shape[1])
    check_finite(truth, "truth", ("image", "dimension"))
    ids, first = np.unique(groups, return_index=True)
    if np.isin(test_ids, ids).any():
        raise DataError("test images are among the training images. Expected: none of them.")
    if not 2 <= n_clusters <= len(ids) + len(truth):
        raise DataError(f"n_clusters is {n_clusters}. Expected: 2 or more, fewer than images.")
    directions = unit(np.concatenate([embeddings[first], truth]).astype(float))
    cluster = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(directions)
    cluster_of_training, cluster_of_test = np.split(cluster, [len(ids)])
    rng = np.random.default_rng(seed)
    found = {"left_out": {}, "control": {}, "cluster": cluster_of_test.astype(int)}
    found["n_left_out"] = np.bincount(cluster_of_training, minlength=n_clusters)
    bar = tqdm(range(n_clusters), desc="clusters left out", disable=not progress, leave=False)
    for number in bar:
        rows = cluster_of_test == number
        out = ids[cluster_of_training == number]
        if not rows.any():
            continue
        random = rng.choice(ids, len(out), replace=False)
        for name, left in (("left_out", out), ("control", random)):
            kept = ~np.isin(groups, left)
            mapper = fit(betas[kept], embeddings[kept], groups[kept])
            centre = embeddings[kept].mean(0)
            read = truth - centre, mapper.predict(pattern) - centre
            for score, values in scores_per_image(*read, cluster_of_test).items():
                found[name].setdefault(score, np.full(len(truth), np.nan))[rows] = values[rows]
    return found
