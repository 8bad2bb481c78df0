"""What all mappers share: their interface, the checks of their training data, their devices."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch

from ..project.checks import check_finite
from ..project.devices import choose_device
from ..project.errors import DataError, ProfileError

REMEDY = "Z-score the betas with fmri_utils.nsd.zscore_sessions, which names such voxels."


@runtime_checkable
class Mapper(Protocol):
    """What every fit function returns: something that predicts embeddings from betas.

    Attributes
    ----------
    method : str
        What tables call it.
    """

    method: str

    def predict(self, betas: np.ndarray) -> np.ndarray:
        """Embeddings (n, C), not normalised, of z-scored betas (n, n_voxels)."""


def check_training(betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray) -> None:
    """Refuse training data that would fit without complaint and mean nothing.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
    embeddings : numpy.ndarray, (n_trials, C)
    groups : numpy.ndarray, (n_trials,)

    Raises
    ------
    DataError
        On unequal lengths, NaN or infinite values, or an embedding dimension that is constant.
    """
    if not len(betas) == len(embeddings) == len(groups):
        raise DataError(
            f"{len(betas)} betas, {len(embeddings)} embeddings, {len(groups)} image ids. Expected: "
            "as many."
        )
    for name, array in (("betas", betas), ("embeddings", embeddings)):
        if np.ndim(array) != 2 or not len(array):
            raise DataError(f"{name} have shape {np.shape(array)}. Expected: (n_trials, n).")
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    check_finite(embeddings, "embeddings", ("trial", "dimension"))
    constant = np.ptp(embeddings, axis=0) == 0
    if constant.any():
        raise DataError(
            f"embedding dimensions {np.flatnonzero(constant)[:5].tolist()} are constant. Leave "
            "them out."
        )


def check_patterns(betas: np.ndarray, n_voxels: int) -> np.ndarray:
    """Patterns to predict from, as an array.

    Parameters
    ----------
    betas : numpy.ndarray, (n, n_voxels)
    n_voxels : int
        Voxels that the encoder was trained on.

    Raises
    ------
    DataError
        On another shape, NaN or infinite values.
    """
    betas = np.asarray(betas)
    if betas.ndim != 2 or betas.shape[1] != n_voxels:
        raise DataError(
            f"betas have shape {betas.shape}. Expected: (n, {n_voxels}), those of the training."
        )
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    return betas


def compute_device(device: str | torch.device) -> torch.device:
    """The device that a fit runs on, which has to be there.

    Parameters
    ----------
    device : str or torch.device
        "cpu", "cuda", "cuda:1", ...; "auto" asks for a GPU where there is one.

    Raises
    ------
    ProfileError
        If it is absent. Nothing falls back to another device in silence.
    """
    chosen = choose_device(str(device))
    if chosen.type not in ("cpu", "cuda"):
        raise ProfileError(f"encoders run on cpu or cuda; device {chosen} came. Use DEVICE=cpu.")
    return chosen
