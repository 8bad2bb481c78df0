"""Linear maps from voxels to CLIP embeddings, and what is needed to trust them.

Two ways to fit the same linear map: *ridge* (least squares with a penalty chosen for each
dimension, as in voxelwise modelling; himalaya) and *contrastive-linear* (InfoNCE: the predicted
embedding must be closer to its own image than to the others of the batch).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from himalaya.backend import set_backend
from himalaya.ridge import Ridge, RidgeCV
from safetensors.numpy import load_file, save_file
from sklearn.model_selection import GroupKFold
from torch.nn import functional
from tqdm.auto import tqdm

from .artifacts import atomic_path
from .errors import DataError, WeightsError
from .nsd.preprocessing import average_repeats


@dataclass(frozen=True)
class LinearEncoder:
    """Predicted embedding = betas @ weights + intercept.

    Attributes
    ----------
    weights : numpy.ndarray, float32 (n_voxels, C)
    intercept : numpy.ndarray, float32 (C,)
    method : str
        "ridge" or "contrastive".
    """

    weights: np.ndarray
    intercept: np.ndarray
    method: str

    def predict(self, betas: np.ndarray) -> np.ndarray:
        """Embeddings (n, C), not normalised, of z-scored betas (n, n_voxels)."""
        betas = np.asarray(betas)
        if betas.ndim != 2 or betas.shape[1] != len(self.weights):
            raise DataError(
                f"betas have shape {betas.shape}. Expected: (n, {len(self.weights)}), the voxels "
                "this encoder was trained on."
            )
        return betas @ self.weights + self.intercept


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit length; a zero row stays zero."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1)


def _check_training(betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray) -> None:
    if not len(betas) == len(embeddings) == len(groups):
        raise DataError(
            f"{len(betas)} betas, {len(embeddings)} embeddings and {len(groups)} image ids. "
            "Expected: one of each per trial."
        )
    for name, array in (("betas", betas), ("embeddings", embeddings)):
        if not np.isfinite(array).all():
            raise DataError(
                f"{name} hold NaN or infinite values. Expected: finite numbers; z-score the betas "
                "with fmri_utils.nsd.zscore_sessions, which names such voxels."
            )
    constant = np.ptp(embeddings, axis=0) == 0
    if constant.any():
        raise DataError(
            f"embedding dimensions {np.flatnonzero(constant)[:5].tolist()} are constant."
        )


def fit_ridge(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    alphas: np.ndarray,
    n_folds: int,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """Ridge regression on single trials, one penalty for each embedding dimension.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored.
    embeddings : numpy.ndarray, (n_trials, C)
        Embedding of the image of each trial.
    groups : numpy.ndarray, (n_trials,)
        Image of each trial; repeats of an image never fall into two folds.
    alphas : numpy.ndarray
        Penalties tried.
    n_folds : int

    Returns
    -------
    encoder : LinearEncoder
    report : dict
        ``best_alphas`` (C,) and ``cv_scores`` (C,), the cross-validated R2 at the best penalty.

    Raises
    ------
    DataError
        On NaN, a constant dimension, unequal lengths, or more folds than images.
    """
    _check_training(betas, embeddings, groups)
    n_images = len(np.unique(groups))
    if n_folds > n_images:
        raise DataError(f"{n_folds} folds, but only {n_images} images. Expected: fewer folds.")
    folds = list(GroupKFold(n_folds).split(betas, groups=groups))
    set_backend("numpy")
    model = RidgeCV(
        alphas=np.asarray(alphas, np.float32),
        fit_intercept=True,
        cv=folds,
        # One penalty at a time: himalaya holds a voxels x trials matrix for each of a batch.
        solver_params={"warn": False, "n_targets_batch": 512, "n_alphas_batch": 1},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)
        model.fit(betas.astype(np.float32), embeddings.astype(np.float32))
    encoder = LinearEncoder(
        np.asarray(model.coef_, np.float32), np.asarray(model.intercept_, np.float32), "ridge"
    )
    return encoder, {
        "best_alphas": np.asarray(model.best_alphas_),
        "cv_scores": np.asarray(model.cv_scores_),
    }


def refit_ridge(betas: np.ndarray, embeddings: np.ndarray, *, alphas: np.ndarray) -> LinearEncoder:
    """Ridge regression with given penalties, one for each embedding dimension.

    Parameters
    ----------
    betas, embeddings
        As for :func:`fit_ridge`.
    alphas : numpy.ndarray, (C,)
        Such as the ``best_alphas`` of :func:`fit_ridge`.
    """
    _check_training(betas, embeddings, np.arange(len(betas)))
    set_backend("numpy")
    # A few targets at a time: himalaya holds a voxels x trials matrix for each of a batch.
    model = Ridge(
        alpha=np.asarray(alphas, np.float32),
        fit_intercept=True,
        solver_params={"warn": False, "n_targets_batch": 4},
    )
    model.fit(betas.astype(np.float32), embeddings.astype(np.float32))
    weights, intercept = (np.asarray(a, np.float32) for a in (model.coef_, model.intercept_))
    return LinearEncoder(weights, intercept, "ridge")


def match_spread(
    encoder: LinearEncoder,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    alphas: np.ndarray,
    n_folds: int,
) -> tuple[LinearEncoder, float]:
    """Undo the shrinkage of a ridge encoder, with training images only.

    A ridge prediction varies less than the embedding it predicts. A generator that has only seen
    real embeddings takes the shrunken ones for bland scenes. Here the same regression is fitted
    without one fold of the training images and applied to their averaged repeats; the factor by
    which these predictions vary too little scales all predictions' deviations from the mean. One
    factor for all dimensions, so that well and badly predicted ones keep their proportion.

    Parameters
    ----------
    encoder : LinearEncoder
        From :func:`fit_ridge`.
    betas, embeddings, groups
        As for :func:`fit_ridge`.
    alphas : numpy.ndarray, (C,)
        The penalties that :func:`fit_ridge` chose.
    n_folds : int

    Returns
    -------
    encoder : LinearEncoder
        The same map with its deviations scaled.
    scale : float
    """
    rest, held = next(GroupKFold(n_folds).split(betas, groups=groups))
    without = refit_ridge(betas[rest], embeddings[rest], alphas=alphas)
    pattern, ids, _ = average_repeats(betas[held], groups[held])
    _, first = np.unique(groups[held], return_index=True)
    true = embeddings[held][first]
    predicted = without.predict(pattern)
    assert len(ids) == len(true) == len(predicted)
    scale = float(np.sqrt(true.var(0).sum() / predicted.var(0).sum()))
    mean = embeddings.mean(0)
    matched = LinearEncoder(
        (encoder.weights * scale).astype(np.float32),
        ((encoder.intercept - mean) * scale + mean).astype(np.float32),
        f"{encoder.method}, spread matched",
    )
    return matched, scale


def info_nce(prediction: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Symmetric InfoNCE of matching rows (van den Oord et al. 2018; CLIP).

    Parameters
    ----------
    prediction, target : torch.Tensor, (B, C)
        Row i of one matches row i of the other; all other rows are negatives.
    temperature : float
        Cosines are divided by it before the softmax.

    Returns
    -------
    torch.Tensor, scalar
        Mean over both directions; log B for unrelated rows, 0 for a perfect match.
    """
    logits = functional.normalize(prediction, dim=1) @ functional.normalize(target, dim=1).T
    logits = logits / temperature  # (B, B)
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def fit_contrastive(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    temperature: float,
    seed: int,
    validation_share: float = 0.1,
    patience: int = 300,
    progress: bool = False,
) -> tuple[LinearEncoder, dict[str, np.ndarray]]:
    """A linear map trained with InfoNCE, stopped where held-out training images score best.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fit_ridge`.
    n_steps, batch_size : int
        AdamW steps; a batch holds each image once at most, with one of its trials.
    learning_rate, weight_decay, temperature : float
    seed : int
    validation_share : float
        Share of the training *images* kept out for early stopping; never test images.
    patience : int
        Stop after so many steps without a better validation loss.

    Returns
    -------
    encoder : LinearEncoder
    report : dict
        ``step``, ``train_loss``, ``validation_loss`` at each check, and ``best_step``.
    """
    _check_training(betas, embeddings, groups)
    generator = torch.Generator().manual_seed(seed)
    images, trial_image = np.unique(groups, return_inverse=True)
    order = torch.randperm(len(images), generator=generator).numpy()
    held = np.isin(trial_image, order[: max(2, int(validation_share * len(images)))])
    trials_of = [np.flatnonzero((trial_image == i) & ~held) for i in range(len(images))]
    pool = [rows for rows in trials_of if len(rows)]
    inputs = torch.from_numpy(np.asarray(betas, np.float32))
    targets = torch.from_numpy(np.asarray(embeddings, np.float32))
    centre = targets[~held].mean(0)  # the map learns deviations from the mean embedding
    layer = torch.nn.Linear(inputs.shape[1], targets.shape[1])
    torch.nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(centre)
    torch.nn.init.normal_(layer.weight, std=1e-3, generator=generator)
    optimiser = torch.optim.AdamW(layer.parameters(), learning_rate, weight_decay=weight_decay)
    history: dict[str, list] = {"step": [], "train_loss": [], "validation_loss": []}
    best, state = np.inf, None
    size = min(batch_size, len(pool))
    for step in tqdm(range(n_steps + 1), desc="contrastive", disable=not progress, leave=False):
        if step % 25 == 0:
            with torch.no_grad():
                check = info_nce(layer(inputs[held]), targets[held], temperature).item()
            history["validation_loss"].append(check)
            if check < best:
                best, best_step = check, step
                state = {k: v.clone() for k, v in layer.state_dict().items()}
            elif step - best_step >= patience:
                break
        chosen = torch.randperm(len(pool), generator=generator)[:size].numpy()
        picks = torch.rand(size, generator=generator).numpy()
        rows = [pool[i][int(p * len(pool[i]))] for i, p in zip(chosen, picks, strict=True)]
        loss = info_nce(layer(inputs[rows]), targets[rows], temperature)
        if step % 25 == 0:
            history["step"].append(step)
            history["train_loss"].append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    encoder = LinearEncoder(
        state["weight"].T.contiguous().numpy(), state["bias"].numpy(), "contrastive"
    )
    n_checks = len(history["step"])  # a stop comes between the two halves of a check
    report = {name: np.array(values[:n_checks]) for name, values in history.items()}
    return encoder, {**report, "best_step": np.array(best_step)}


def save_encoder(encoder: LinearEncoder, path: Path) -> None:
    """Write an encoder as safetensors."""
    arrays = {"weights": encoder.weights, "intercept": encoder.intercept}
    with atomic_path(path) as tmp:
        save_file(
            {k: np.ascontiguousarray(v) for k, v in arrays.items()},
            tmp,
            metadata={"method": encoder.method},
        )


def load_encoder(path: Path, *, remedy: str) -> LinearEncoder:
    """Read what :func:`save_encoder` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not an encoder.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path} is missing. Expected: encoder weights. {remedy}")
    try:
        with safetensors.safe_open(path, "np") as file:
            method = file.metadata()["method"]
        arrays = load_file(path)
        return LinearEncoder(arrays["weights"], arrays["intercept"], method)
    except (safetensors.SafetensorError, KeyError, TypeError) as err:
        raise WeightsError(f"{path} is not an encoder ({err!r}). {remedy}") from err
