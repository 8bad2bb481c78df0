"""Ridge regression from voxels to embeddings, one penalty for each embedding dimension.

One eigendecomposition of the smaller of the voxels' and the trials' Gram matrix (the second is the
kernel form) serves all penalties, all folds and all targets. Held-out errors follow from it
exactly, without refitting: with the hat matrix H, the error of a fold F is (I - H_FF)^-1 times its
residual (for one trial this is Allen's PRESS, 1974).

himalaya (Dupre la Tour et al. 2022), the library of voxelwise modelling, gives the same answer. It
forms a matrix of voxels x trials for every penalty and fold, which pays for ten thousands of
targets. For few targets it takes about ten times as long.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import GroupKFold

from ..nsd.preprocessing import average_repeats
from ..project.checks import check_finite
from ..project.errors import DataError
from .common import REMEDY, check_training, compute_device
from .linear import LinearEncoder


class RidgeBasis(NamedTuple):
    """Eigendecomposition of the training betas, shared by all penalties and targets.

    Attributes
    ----------
    mean : torch.Tensor, (V,)
        Mean beta.
    scores : torch.Tensor, (n_trials, r)
        Centred betas in the eigenbasis.
    eigenvalues : torch.Tensor, (r,)
        Of the Gram matrix of the centred betas.
    axes : torch.Tensor, (V, r)
        The eigenbasis; ``scores = (betas - mean) @ axes``.
    """

    mean: torch.Tensor
    scores: torch.Tensor
    eigenvalues: torch.Tensor
    axes: torch.Tensor


def ridge_basis(betas: np.ndarray, *, device: str | torch.device = "cpu") -> RidgeBasis:
    """Decompose the betas once, to fit several sets of targets (shuffled ones, captions) fast.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        With fewer trials than voxels the kernel form is used: (n, n) instead of (V, V).
    device : str or torch.device
        "cpu" or "cuda".

    Raises
    ------
    DataError
        On NaN or infinite betas.
    """
    check_finite(betas, "betas", ("trial", "voxel"), remedy=REMEDY)
    x = torch.tensor(betas, dtype=torch.float32, device=compute_device(device))
    mean = x.mean(0)
    x -= mean
    kernel = len(x) < x.shape[1]
    values, vectors = torch.linalg.eigh(x @ x.T if kernel else x.T @ x)
    # Directions without variance in float32 carry rounding errors only.
    kept = values > values[-1] * 1e-7
    values, vectors = values[kept], vectors[:, kept]
    if kernel:
        root = values.sqrt()
        return RidgeBasis(mean, vectors * root, values, x.T @ (vectors / root))
    return RidgeBasis(mean, x @ vectors, values, vectors)


def make_folds(groups: np.ndarray, n_folds: int, seed: int | None = None) -> list[np.ndarray]:
    """Rows of each fold; the repeats of an image are always in one fold.

    Parameters
    ----------
    groups : numpy.ndarray, (n_trials,)
        Image of each trial.
    n_folds : int
    seed : int, optional
        Draws which images share a fold; without it the folds are scikit-learn's usual ones.

    Raises
    ------
    DataError
        If there are more folds than images, or fewer than two.
    """
    n_images = len(np.unique(groups))
    if not 2 <= n_folds <= n_images:
        raise DataError(f"{n_folds} folds of {n_images} images. Expected: 2 to one for each image.")
    splitter = GroupKFold(n_folds, shuffle=seed is not None, random_state=seed)
    return [held for _, held in splitter.split(groups, groups=groups)]


def _held_out_errors(
    basis: RidgeBasis, y: torch.Tensor, alpha: torch.Tensor, folds: list[np.ndarray]
) -> torch.Tensor:
    """Errors (n, C) of every trial as predicted without its fold, for penalties (1,) or (C,).

    With several penalties, targets of one penalty are solved together.
    """
    errors = torch.empty_like(y)
    weights = basis.scores.T @ y
    for value in torch.unique(alpha):
        columns = torch.nonzero(alpha.expand(y.shape[1]) == value)[:, 0]
        shrunk = basis.scores / (basis.eigenvalues + value)  # (n, r)
        residual = y[:, columns] - shrunk @ weights[:, columns]
        for held in folds:
            rows = torch.as_tensor(held, device=y.device)
            hat = (shrunk[rows] @ basis.scores[rows].T).double() + 1 / len(y)  # 1/n: intercept
            own = torch.eye(len(rows), dtype=hat.dtype, device=hat.device) - hat
            solved = torch.linalg.solve(own, residual[rows].double())
            errors[rows[:, None], columns] = solved.to(errors)
    return errors


def _finish(weights: torch.Tensor, mean: torch.Tensor, target_mean: torch.Tensor) -> LinearEncoder:
    intercept = target_mean - mean @ weights
    return LinearEncoder(weights.cpu().numpy(), intercept.cpu().numpy(), "ridge")


def fit_ridge(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    alphas: np.ndarray,
    n_folds: int,
    seed: int | None = None,
    device: str | torch.device = "cpu",
    basis: RidgeBasis | None = None,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """Ridge regression on single trials, one penalty for each embedding dimension.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored.
    embeddings : numpy.ndarray, (n_trials, C)
        Embedding of the image of each trial; of several, beside each other.
    groups : numpy.ndarray, (n_trials,)
        Image of each trial; repeats of an image never fall into two folds.
    alphas : numpy.ndarray
        Penalties tried.
    n_folds : int
        More folds are faster: a fold costs its size squared.
    seed : int, optional
        Of the division into folds, the only random thing here; by default it is not shuffled.
    device : str or torch.device
        "cpu" or "cuda".
    basis : RidgeBasis, optional
        From :func:`ridge_basis` of these betas, to save its time.

    Returns
    -------
    encoder : LinearEncoder
    report : dict
        ``best_alphas`` (C,); ``cv_scores`` (C,), the cross-validated R2 of single trials at the
        best penalty; ``cv_loss`` (C,), the mean squared error it comes from.

    Raises
    ------
    DataError
        On NaN, a constant dimension, unequal lengths, or more folds than images.
    ProfileError
        If the device is absent.
    """
    check_training(betas, embeddings, groups)
    folds = make_folds(groups, n_folds, seed)
    check_finite(alphas, "alphas")
    basis = _own_basis(betas, basis, device)
    y = torch.tensor(embeddings, dtype=torch.float32, device=basis.mean.device)
    y_mean = y.mean(0)
    y = y - y_mean
    alphas = torch.tensor(np.sort(alphas), dtype=torch.float32, device=y.device)
    losses = []
    for alpha in alphas:
        squared = _held_out_errors(basis, y, alpha[None], folds) ** 2
        losses.append(torch.stack([squared[torch.as_tensor(f)].mean(0) for f in folds]).mean(0))
    losses = torch.stack(losses)  # (n_alphas, C)
    best = losses.argmin(0)
    shrunk = (basis.scores.T @ y) / (basis.eigenvalues[:, None] + alphas[best])
    encoder = _finish(basis.axes @ shrunk, basis.mean, y_mean)
    loss = losses.gather(0, best[None])[0].cpu().numpy()
    scores = 1 - loss / embeddings.var(0)
    best_alphas = alphas[best].cpu().numpy()
    return encoder, {"best_alphas": best_alphas, "cv_scores": scores, "cv_loss": loss}


def _own_basis(
    betas: np.ndarray, basis: RidgeBasis | None, device: str | torch.device
) -> RidgeBasis:
    """The given basis after a check, or a new one."""
    if basis is None:
        return ridge_basis(betas, device=device)
    shape = (len(basis.scores), len(basis.axes))
    if shape != betas.shape:
        raise DataError(f"the basis is of betas of shape {shape}; {betas.shape} came.")
    return basis


def refit_ridge(
    betas: np.ndarray,
    embeddings: np.ndarray,
    *,
    alphas: np.ndarray,
    device: str | torch.device = "cpu",
) -> LinearEncoder:
    """Ridge regression with given penalties, one for each embedding dimension.

    Parameters
    ----------
    betas, embeddings, device
        As for :func:`fit_ridge`.
    alphas : numpy.ndarray, (C,)
        Such as the ``best_alphas`` of :func:`fit_ridge`.
    """
    check_training(betas, embeddings, np.arange(len(betas)))
    check_finite(alphas, "alphas", ("dimension",))
    x, y, alpha = (
        torch.tensor(values, dtype=torch.float32, device=compute_device(device))
        for values in (betas, embeddings, alphas)
    )
    mean, target_mean = x.mean(0), y.mean(0)
    x, y = x - mean, y - target_mean
    kernel = len(x) < x.shape[1]
    gram = x @ x.T if kernel else x.T @ x
    right = y if kernel else x.T @ y
    solved = _solve(gram, right, alpha)
    return _finish(x.T @ solved if kernel else solved, mean, target_mean)


def _solve(gram: torch.Tensor, right: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """(gram + alpha I)^-1 right, with a penalty for each column of ``right``."""
    solved = torch.empty_like(right)
    for value in torch.unique(alpha):  # one Cholesky factor each: a tenth of a decomposition
        columns = alpha == value
        factor = torch.linalg.cholesky(gram + value * torch.eye(len(gram), device=gram.device))
        solved[:, columns] = torch.cholesky_solve(right[:, columns], factor)
    return solved


class CrossProducts(NamedTuple):
    """What ridge regression needs of the training trials, for any choice of their voxels.

    Attributes
    ----------
    mean : torch.Tensor, (V,)
    target_mean : torch.Tensor, (C,)
    gram : torch.Tensor, (V, V)
        Products of the centred voxels: 1 GB for NSD's 15,724.
    with_targets : torch.Tensor, (V, C)
        Products of the centred voxels and targets.
    """

    mean: torch.Tensor
    target_mean: torch.Tensor
    gram: torch.Tensor
    with_targets: torch.Tensor

    @classmethod
    def of(
        cls, betas: np.ndarray, embeddings: np.ndarray, device: str | torch.device = "cpu"
    ) -> CrossProducts:
        """Of single training trials, as for :func:`refit_ridge`."""
        check_training(betas, embeddings, np.arange(len(betas)))
        x, y = (
            torch.tensor(values, dtype=torch.float32, device=compute_device(device))
            for values in (betas, embeddings)
        )
        mean, target_mean = x.mean(0), y.mean(0)
        x -= mean
        return cls(mean, target_mean, x.T @ x, x.T @ (y - target_mean))

    def refit(self, voxels: np.ndarray, alphas: np.ndarray) -> LinearEncoder:
        """The ridge encoder of some voxels (n,) only, with penalties (C,)."""
        check_finite(alphas, "alphas", ("dimension",))
        chosen = torch.as_tensor(voxels, device=self.mean.device)
        alpha = torch.tensor(alphas, dtype=torch.float32, device=chosen.device)
        weights = _solve(self.gram[chosen][:, chosen], self.with_targets[chosen], alpha)
        return _finish(weights, self.mean[chosen], self.target_mean)


def out_of_fold(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    alphas: np.ndarray,
    n_folds: int,
    device: str | torch.device = "cpu",
    basis: RidgeBasis | None = None,
) -> np.ndarray:
    """What ridge predicts for every training trial when its image was left out.

    Parameters
    ----------
    betas, embeddings, groups, n_folds, device, basis
        As for :func:`fit_ridge`.
    alphas : numpy.ndarray, (C,)
        As for :func:`refit_ridge`.

    Returns
    -------
    numpy.ndarray, (n_trials, C)
    """
    check_training(betas, embeddings, groups)
    check_finite(alphas, "alphas", ("dimension",))
    basis = _own_basis(betas, basis, device)
    folds = make_folds(groups, n_folds)
    y = torch.tensor(embeddings, dtype=torch.float32, device=basis.mean.device)
    alpha = torch.tensor(alphas, dtype=torch.float32, device=y.device)
    errors = _held_out_errors(basis, y - y.mean(0), alpha, folds)
    return (y - errors).cpu().numpy()


def held_out_means(
    betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray, **settings
) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each training image what ridge predicts without it, repeats averaged, and the truth.

    Parameters
    ----------
    betas, embeddings, groups, **settings
        As for :func:`out_of_fold`.

    Returns
    -------
    predicted, true : numpy.ndarray, (n_images, C)
        In the order of the increasing image.
    scale : float
        By which the predictions vary too little.
    """
    single = out_of_fold(betas, embeddings, groups, **settings)
    # The map is linear: averaged predictions are predictions from averaged betas.
    predicted, _, _ = average_repeats(single, groups)
    true = embeddings[np.unique(groups, return_index=True)[1]]
    return predicted, true, float(np.sqrt(true.var(0).sum() / predicted.var(0).sum()))


def match_spread(
    encoder: LinearEncoder,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    **settings,
) -> tuple[LinearEncoder, float]:
    """Undo the shrinkage of a ridge encoder, with training images only.

    A ridge prediction varies less than the embedding it predicts. A generator that has only seen
    real embeddings takes the shrunken ones for bland scenes. Here every training image is predicted
    without its fold, from its averaged repeats; the factor by which these predictions vary too
    little scales all predictions' deviations from the mean. One factor for all dimensions, so that
    well and badly predicted ones keep their proportion.

    Parameters
    ----------
    encoder : LinearEncoder
        From :func:`fit_ridge`.
    betas, embeddings, groups
        As for :func:`fit_ridge`.
    **settings
        Those of :func:`out_of_fold`: ``alphas`` (C,), the penalties that :func:`fit_ridge` chose,
        and ``n_folds``, ``device``, ``basis``.

    Returns
    -------
    encoder : LinearEncoder
        The same map with its deviations scaled.
    scale : float
    """
    scale = held_out_means(betas, embeddings, groups, **settings)[2]
    method = f"{encoder.method}, spread matched"
    return scaled(encoder, embeddings.mean(0), scale, method), scale


def scaled(encoder: LinearEncoder, mean: np.ndarray, scale: float, method: str) -> LinearEncoder:
    """The same map with its deviations from a mean embedding (C,) scaled."""
    weights = (encoder.weights * scale).astype(np.float32)
    intercept = ((encoder.intercept - mean) * scale + mean).astype(np.float32)
    return LinearEncoder(weights, intercept, method)
