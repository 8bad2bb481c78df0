"""Training and test sets. Always by image: the repeats of an image stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..project.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Which trials train and which test.

    Attributes
    ----------
    train_trials, test_trials : ndarray of int, shapes (n_train_trials,), (n_test_trials,)
        Rows of the trial table (and of the betas), increasing.
    train_ids, test_ids : ndarray of int, shapes (n_train_images,), (n_test_images,)
        NSD ids of their images, from 0, increasing. No image is in both.
    rule : str
        How the images were divided, for captions and tables.
    """

    train_trials: np.ndarray
    test_trials: np.ndarray
    train_ids: np.ndarray
    test_ids: np.ndarray
    rule: str

    def __post_init__(self):
        both = np.intersect1d(self.train_ids, self.test_ids)
        if both.size:
            raise DataError(
                f"{both.size} images are in both the training and the test set, e.g. {both[:5]}. "
                "Divide images, not trials."
            )
        for name in ("train", "test"):
            if getattr(self, f"{name}_trials").size == 0:
                raise DataError(f"the {name} set of the split '{self.rule}' is empty.")


def split_from_ids(
    nsd_id: Sequence[int], train_ids: Sequence[int], test_ids: Sequence[int], *, rule: str
) -> Split:
    """Divide trials by lists of images. Trials of images in neither list are left out.

    Parameters
    ----------
    nsd_id : array_like of int, shape (n_trials,)
        Image of each trial, e.g. ``table["nsd_id"]``.
    train_ids, test_ids : array_like of int
        Images of the two sets. Those without a trial are dropped.
    rule : str
        What to call the split.

    Raises
    ------
    DataError
        If an image is in both lists, or a set is empty.
    """
    nsd_id = np.asarray(nsd_id)
    train = np.flatnonzero(np.isin(nsd_id, np.asarray(train_ids)))
    test = np.flatnonzero(np.isin(nsd_id, np.asarray(test_ids)))
    return Split(train, test, np.unique(nsd_id[train]), np.unique(nsd_id[test]), rule)


def split_by_image(table: pd.DataFrame, *, min_repeats: int = 1) -> Split:
    """Hold out the images that all subjects see; train on the subject's own images.

    With ``min_repeats=1`` this is the usual rule: every shared image that was shown at least once
    in the sessions analysed is tested, with the trials it has. In NSD that gives 982 images for
    the first 37 sessions and 1,000 for all 40; it does not mean that each was shown three times.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`trial_table`, of the sessions analysed.
    min_repeats : int
        Test only shared images with at least this many trials in the table. Those with fewer are
        in neither set: trained on, they would be missing in the comparison with other subjects.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If a set would be empty.
    """
    counts = table.loc[table["shared"], "nsd_id"].value_counts()
    rule = "shared images are the test set"
    if min_repeats > 1:
        rule = f"shared images with at least {min_repeats} trials are the test set"
    return split_from_ids(
        table["nsd_id"],
        table.loc[~table["shared"], "nsd_id"],
        counts.index[counts >= min_repeats],
        rule=rule,
    )


def leave_cluster_out(
    embeddings: np.ndarray, ids: Sequence[int], n_clusters: int, seed: int
) -> list[Split]:
    """Make one split per cluster of similar images, which is the test set.

    Test images of a random split have near-duplicates among the training images, so a decoder may
    score by recognising a category (Shirakawa et al., 2024, arXiv:2405.10078). A cluster that was
    left out has none.

    Parameters
    ----------
    embeddings : ndarray of float, shape (n_images, n_dimensions)
        E.g. CLIP embeddings. Clusters are of k-means on their directions.
    ids : sequence of int, shape (n_images,)
        NSD id of each row, without repeats.
    n_clusters : int
        At least 2.
    seed : int
        Seed of k-means.

    Returns
    -------
    list of Split, length n_clusters
        ``train_trials`` and ``test_trials`` are rows of ``embeddings``. Use
        :func:`split_from_ids` with a split's ids to divide single trials.

    Raises
    ------
    DataError
        If there are fewer images than clusters.
    """
    embeddings, ids = np.asarray(embeddings, dtype=float), np.asarray(ids)
    if not 2 <= n_clusters <= ids.size:
        raise DataError(f"n_clusters is {n_clusters}; expected 2 to {ids.size}, the images.")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    from sklearn.cluster import KMeans  # slow to import, and only needed here

    kmeans = KMeans(n_clusters, n_init=10, random_state=seed)
    cluster = kmeans.fit_predict(embeddings / lengths)
    return [
        split_from_ids(
            ids, ids[cluster != c], ids[cluster == c], rule=f"cluster {c} of {n_clusters} held out"
        )
        for c in range(n_clusters)
    ]
