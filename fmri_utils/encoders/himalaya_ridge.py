"""Ridge regression by himalaya (Dupre la Tour et al. 2022), on the device that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import himalaya.backend
import numpy as np
import torch
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV

from .common import compute_device
from .linear import LinearEncoder


@contextmanager
def himalaya_backend(device: str | torch.device) -> Iterator[str]:
    """himalaya's backend for a device, and the previous one afterwards.

    himalaya can be asked to warn when a GPU is missing and to go on with numpy; here an absent
    device is an error.

    Yields
    ------
    str
        "torch" for the CPU, "torch_cuda" for a GPU.

    Raises
    ------
    ProfileError
        If the device is absent.
    """
    chosen = compute_device(device)
    before = himalaya.backend.get_backend().name
    on_gpu = chosen.type == "cuda"
    name = "torch_cuda" if on_gpu else "torch"
    himalaya.backend.set_backend(name, on_error="raise")
    try:
        with torch.cuda.device(chosen) if on_gpu else nullcontext():
            yield name
    finally:
        himalaya.backend.set_backend(before, on_error="raise")


def solve_himalaya(
    betas: np.ndarray,
    embeddings: np.ndarray,
    alphas: np.ndarray,
    folds: list[np.ndarray],
    device: str | torch.device,
) -> tuple[LinearEncoder, np.ndarray, np.ndarray]:
    """Cross-validate and fit; the kernel form where there are fewer trials than voxels.

    Parameters
    ----------
    betas, embeddings, alphas, device
        As for :func:`fmri_utils.encoders.fit_ridge`.
    folds : list of numpy.ndarray
        Rows of each fold.

    Returns
    -------
    encoder : LinearEncoder
    best_alphas : numpy.ndarray, (C,)
    loss : numpy.ndarray, (C,)
        Cross-validated squared error at the best penalty.
    """
    rows = np.arange(len(betas))
    kernel = betas.shape[0] < betas.shape[1]
    settings = {
        "alphas": np.asarray(alphas, np.float32),
        "fit_intercept": True,
        "cv": [(np.setdiff1d(rows, held), held) for held in folds],
        # One penalty at a time: himalaya holds a voxels x trials matrix for each of a batch.
        "solver_params": {"n_targets_batch": 512, "n_targets_batch_refit": 4, "n_alphas_batch": 1},
    }
    with himalaya_backend(device):
        if kernel:
            model = KernelRidgeCV(**settings, warn=False)
        else:
            settings["solver_params"]["warn"] = False
            model = RidgeCV(**settings)
        model.fit(np.asarray(betas, np.float32), np.asarray(embeddings, np.float32))
        weights = model.get_primal_coef() if kernel else model.coef_
        found = (weights, model.intercept_, model.best_alphas_, model.cv_scores_)
        weights, intercept, best, scores = (value.cpu().numpy() for value in found)
    return LinearEncoder(weights, intercept, "ridge"), best, -scores.reshape(-1)
