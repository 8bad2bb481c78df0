"""Training and test sets. Always by image: the repeats of an image stay together."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..project.errors import DataError


class Split(NamedTuple):
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
    nsd_id, shared = table["nsd_id"].to_numpy(), table["shared"].to_numpy()
    train = np.flatnonzero(~shared)
    test = np.flatnonzero(shared & np.isin(nsd_id, counts.index[counts >= min_repeats]))
    for name, trials in (("training", train), ("test", test)):
        if trials.size == 0:
            raise DataError(f"the {name} set is empty ({rule}). Read more sessions.")
    return Split(train, test, np.unique(nsd_id[train]), np.unique(nsd_id[test]), rule)
