"""Losses between predicted and true embeddings, each by itself.

All take a prediction and a target of shape (B, C), row i of one matching row i of the other, and
return a scalar. What they call a good prediction differs:

* :func:`mse`: every coordinate is right;
* :func:`cosine_loss`: the direction is right;
* :func:`info_nce`: the right image is the best of the batch, in both directions;
* :func:`bimixco`: the same for betas that were mixed from two images (:func:`mix_betas`);
* :func:`soft_clip`: the batch's images are as likely as they resemble the right one;
* :func:`mind_reader_loss`: a mixture of the first two.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from ..project.errors import DataError


def _check(prediction: torch.Tensor, target: torch.Tensor) -> None:
    if prediction.shape != target.shape or prediction.ndim != 2:
        raise DataError(
            f"{tuple(prediction.shape)} and {tuple(target.shape)} came. Expected: (B, C) both."
        )


def mse(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared error, averaged over the batch and the dimensions."""
    return functional.mse_loss(prediction, target)


def cosine_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - cosine of matching rows, averaged over the batch; 0 is perfect, 1 unrelated."""
    return 1 - functional.cosine_similarity(prediction, target, dim=1).mean()


def _logits(prediction: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cosines over temperature; entry [i, j] is prediction i with target j, (B, B)."""
    _check(prediction, target)
    if not temperature > 0:
        raise DataError(f"temperature is {temperature}. Expected: above 0.")
    cosines = functional.normalize(prediction, dim=1) @ functional.normalize(target, dim=1).T
    return cosines / temperature


def _both_ways(logits: torch.Tensor, row_labels: torch.Tensor, column_labels: torch.Tensor):
    """Mean cross-entropy over rows (prediction to targets) and columns (target to predictions)."""
    n = len(logits)
    rows = -(row_labels * functional.log_softmax(logits, dim=1)).sum() / n
    columns = -(column_labels * functional.log_softmax(logits, dim=0)).sum() / n
    return (rows + columns) / 2


def info_nce(prediction: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Symmetric InfoNCE of matching rows (van den Oord et al. 2018; CLIP, Radford et al. 2021).

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
    logits = _logits(prediction, target, temperature)
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def mix_betas(betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mix half of the trials of a batch with another trial of it (MixCo, Kim et al. 2020).

    mixed_i = weight_i * betas_i + (1 - weight_i) * betas_partner(i), with weights from
    Beta(.15, .15), most of them close to 0 or 1, as in MindEye's recipe. The trials that are not
    mixed keep weight 1.

    Parameters
    ----------
    betas : torch.Tensor, (B, V)

    Returns
    -------
    mixed : torch.Tensor, (B, V)
    partner : torch.Tensor of int, (B,)
        With whom each row was mixed.
    weight : torch.Tensor, (B,)
        Of the row itself. Drawn, like the partners, from torch's generator: seed it.
    """
    n = len(betas)
    partner = torch.randperm(n).to(betas.device)
    weight = torch.distributions.Beta(0.15, 0.15).sample((n,))
    weight = torch.where(torch.rand(n) < 0.5, weight, 1.0).to(betas)
    mixed = weight[:, None] * betas + (1 - weight[:, None]) * betas[partner]
    return mixed, partner, weight


def bimixco(
    prediction: torch.Tensor,
    target: torch.Tensor,
    temperature: float,
    *,
    partner: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Bidirectional MixCo (MindEye, Scotti et al. 2023, arXiv 2305.18274).

    A prediction from mixed betas must find both images, in the proportion of the mixture; and an
    image must find all predictions that it went into.

    Parameters
    ----------
    prediction : torch.Tensor, (B, C)
        Predicted from ``mixed`` of :func:`mix_betas`.
    target : torch.Tensor, (B, C)
        Embeddings of the rows themselves, not mixed.
    temperature : float
        MindEye's is .006.
    partner, weight
        From :func:`mix_betas`. With all weights 1 this is :func:`info_nce`.
    """
    logits = _logits(prediction, target, temperature)
    rows = torch.arange(len(logits), device=logits.device)
    labels = torch.zeros_like(logits)
    labels[rows, rows] = weight
    labels.index_put_((rows, partner), 1 - weight, accumulate=True)  # a partner may be oneself
    return _both_ways(logits, labels, labels)


def soft_clip(prediction: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrastive loss with soft labels from the targets' own similarities (MindEye).

    Images that resemble each other are no longer plain negatives: row i's labels are the softmax
    over j of cos(target_i, target_j) / temperature.

    Parameters
    ----------
    prediction, target : torch.Tensor, (B, C)
    temperature : float
        Of both softmaxes; MindEye's rises from .004 to .0075. As it goes to 0 the labels become
        those of :func:`info_nce`, as long as no two targets are equal.
    """
    logits = _logits(prediction, target, temperature)
    labels = functional.softmax(_logits(target, target, temperature), dim=1)
    return _both_ways(logits, labels, labels.T)


def mind_reader_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """0.4 MSE + 0.6 (1 - cosine) (Mind Reader, Lin et al. 2022).

    Targets are clamped to +-1.5 and scaled to unit length: :func:`mind_reader_target`.
    """
    return 0.4 * mse(prediction, target) + 0.6 * cosine_loss(prediction, target)


def mind_reader_target(embedding: torch.Tensor) -> torch.Tensor:
    """CLIP embeddings (B, C) as Mind Reader predicts them: clamped to +-1.5, then unit length.

    The clamp tames the few extreme dimensions of OpenAI's embeddings before normalisation; it
    changes nothing in embeddings that already have unit length.
    """
    return functional.normalize(embedding.clamp(-1.5, 1.5), dim=1)


def per_target(loss: Callable, n_targets: int) -> Callable:
    """A loss for stacked targets: the mean of ``loss`` over blocks of (B, n_targets * C).

    Parameters
    ----------
    loss : callable
        ``loss(prediction, target, ...) -> scalar``.
    n_targets : int
        Blocks of equal size.
    """

    def mean_loss(prediction: torch.Tensor, target: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        _check(prediction, target)
        if target.shape[1] % n_targets:
            raise DataError(
                f"{target.shape[1]} dimensions cannot be {n_targets} targets of equal size."
            )
        parts = zip(prediction.chunk(n_targets, 1), target.chunk(n_targets, 1), strict=True)
        return torch.stack([loss(p, t, *args, **kwargs) for p, t in parts]).mean()

    return mean_loss
