"""Losses of LAFITE's training; all can be differentiated twice.

References
----------
Zhou et al. 2022, arXiv 2111.13792 (contrastive terms, language-free pseudo text feature).
Karras et al. 2020, arXiv 1912.04958 (path length regulariser, lazy regularisation).
Mescheder et al. 2018, arXiv 1801.04406 (R1).
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_score(
    features: Tensor,
    condition: Tensor,
    *,
    temperature: float = 0.5,
    lam: float = 0.0,
    published: bool = False,
) -> Tensor:
    """How well each feature picks its own condition out of the batch's, as a log-probability.

    ``lam * log softmax over j + (1 - lam) * log softmax over i`` of ``sim[i, j] / temperature``,
    on the diagonal, with ``sim[i, j]`` the cosine of feature i and condition j.

    Parameters
    ----------
    features, condition : Tensor, (B, C)
        Row i of one belongs to row i of the other.
    temperature : float
    lam : float
        Weight of the softmax over conditions j; the rest goes to the softmax over features i.
    published : bool
        The released code's form: ``exp(sim / temperature)`` *inside* the softmax, and
        ``log(temperature)`` added. Its hyper-parameters were tuned to that; the default is the
        InfoNCE that the paper describes.

    Returns
    -------
    Tensor, (B,)
        Larger is better; a loss takes the negative.
    """
    similarity = F.normalize(features, dim=1) @ F.normalize(condition, dim=1).t()  # (B, B)
    score = similarity / temperature
    if published:
        score = score.exp()
    own = torch.zeros((), dtype=score.dtype, device=score.device)
    if lam > 0:
        own = own + lam * score.log_softmax(dim=1).diagonal()
    if lam < 1:
        own = own + (1 - lam) * score.log_softmax(dim=0).diagonal()
    return own + math.log(temperature) if published else own


def generator_adversarial_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating generator loss: mean softplus(-logit), a scalar."""
    return F.softplus(-fake_logits).mean()


def discriminator_adversarial_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Mean softplus(fake) + mean softplus(-real), a scalar."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def r1_penalty(logits: Tensor, image: Tensor) -> Tensor:
    """Squared norm of the gradient of each real image's logit with respect to the image.

    Parameters
    ----------
    logits : Tensor, (B, 1)
    image : Tensor, (B, 3, H, W)
        Requires a gradient, and ``logits`` were computed from it.

    Returns
    -------
    Tensor, (B,)
        Differentiable; the R1 term is gamma / 2 times its mean.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def path_lengths(image: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """How far the image moves per unit of w, in the random direction ``noise`` of image space.

    Parameters
    ----------
    image : Tensor, (B, 3, H, W)
        Computed from ``ws``.
    ws : Tensor, (B, num_ws, w_dim)
        Requires a gradient.
    noise : Tensor, (B, 3, H, W)
        Standard normal, divided by sqrt(H * W).

    Returns
    -------
    Tensor, (B,)
        Root of the mean over ws of the squared gradient summed over w; differentiable.
    """
    (gradient,) = torch.autograd.grad((image * noise).sum(), ws, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(
    lengths: Tensor, mean_length: Tensor, decay: float, batch_mean: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean squared distance of the path lengths from their running mean.

    Parameters
    ----------
    lengths : Tensor, (B,)
    mean_length : Tensor, ()
        Running mean so far; 0 at the start of training.
    decay : float
        Weight of the new lengths in the running mean.
    batch_mean : Tensor, ()
        Mean of the new lengths, of which ``lengths`` may be only some.

    Returns
    -------
    penalty : Tensor, ()
    mean_length : Tensor, ()
        The new running mean, detached.
    """
    mean_length = torch.lerp(mean_length, batch_mean.detach(), decay)
    return (lengths - mean_length).square().mean(), mean_length


def pseudo_text_feature(
    embedding: Tensor, noise_level: float, rng: torch.Generator | None = None
) -> Tensor:
    """Language-free stand-in for a caption's embedding: the image's, blurred by a random direction.

    ``normalise((1 - a) e + a n)`` with n uniform on the unit sphere. Its cosine with e is about
    ``(1 - a) / sqrt((1 - a)^2 + a^2)`` in any width, but in fewer dimensions the noise is harder
    to tell from content: LAFITE's a = 0.75 suits 512 dimensions, 0.5 to 0.6 suits 64 to 128.

    Parameters
    ----------
    embedding : Tensor, (B, C)
        Unit norm.
    noise_level : float
        a, from 0 (the embedding itself) to 1 (noise only).
    rng : torch.Generator
        On the embedding's device. May be None only if ``noise_level`` is 0.

    Returns
    -------
    Tensor, (B, C)
        Unit norm.
    """
    if noise_level == 0:
        return F.normalize(embedding, dim=1)
    like = {"device": embedding.device, "dtype": embedding.dtype}
    noise = torch.randn(embedding.shape, generator=rng, **like)
    mixed = (1 - noise_level) * embedding + noise_level * F.normalize(noise, dim=1)
    return F.normalize(mixed, dim=1)


def draw_crops(n: int, rng: torch.Generator) -> Tensor:
    """Random side and place of ``n`` squares: (3, n), uniform from 0 to 1."""
    return torch.rand((3, n), generator=rng, device=rng.device)


def square_crops(image: Tensor, size: int, draw: Tensor, smallest: float) -> Tensor:
    """One random square of each image, resized; what CLIP sees of a fake while training.

    Parameters
    ----------
    image : Tensor, (B, 3, H, H)
    size : int
        Height and width of the result, pixels: CLIP's input.
    draw : Tensor, (3, B)
        From :func:`draw_crops`.
    smallest : float
        Side of the smallest square, as a fraction of H; the largest is the whole image.

    Returns
    -------
    Tensor, (B, 3, size, size)
        Bilinear, differentiable.
    """
    side = smallest + (1 - smallest) * draw[0]  # (B,), fraction of the image
    shift = (1 - side) * (2 * draw[1:] - 1)  # (2, B), centre in [-1, 1]
    zero = torch.zeros_like(side)
    rows = [torch.stack([side, zero, shift[0]], 1), torch.stack([zero, side, shift[1]], 1)]
    shape = [len(image), 3, size, size]
    grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def reconstruction_loss(
    fake: Tensor,
    real: Tensor,
    *,
    scales: Sequence[int] = (1, 2, 4),
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    perceptual_weight: float = 0.0,
    outline_weight: float = 0.0,
) -> Tensor:
    """Mean absolute pixel difference at several scales, plus an optional feature distance.

    Parameters
    ----------
    fake, real : Tensor, (B, 3, H, W)
    scales : sequence of int
        Both images are averaged over squares of that many pixels first; equal weights.
    perceptual : callable, optional
        Takes (fake, real), returns a distance (B,) or ().
    perceptual_weight : float
    outline_weight : float
        Of the absolute difference of the differences between neighbouring pixels, across plus down.

    Returns
    -------
    Tensor, ()
    """
    parts = []
    for scale in scales:
        difference = fake - real
        if scale > 1:  # averaging is linear: average the difference once
            difference = F.avg_pool2d(difference, scale)
        parts.append(difference.abs().mean())
    loss = torch.stack(parts).mean()
    if outline_weight > 0:
        change = fake - real
        loss = loss + outline_weight * sum(change.diff(dim=axis).abs().mean() for axis in (2, 3))
    if perceptual is not None and perceptual_weight > 0:
        loss = loss + perceptual_weight * perceptual(fake, real).mean()
    return loss
