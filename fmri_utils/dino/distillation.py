"""DINO's loss, its two guards against collapse, and the schedules (Caron et al. 2021).

The loss is a cross-entropy between what the teacher and the student say about two views of the same
thing. Nothing is pushed apart: there are no negatives.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch.nn import functional


def teacher_probabilities(
    outputs: torch.Tensor, centre: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Centred and sharpened: softmax((g_t - c) / tau_t), (B, K)."""
    return functional.softmax((outputs - centre) / temperature, dim=-1)


def dino_loss(
    student: Sequence[torch.Tensor],
    teacher: Sequence[torch.Tensor],
    centre: torch.Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> torch.Tensor:
    """Cross-entropy H(P_teacher(x), P_student(x')) over all pairs of different views (eq. 3).

    Parameters
    ----------
    student : sequence of torch.Tensor, (B, K)
        One of each view, global views first.
    teacher : sequence of torch.Tensor, (B, K)
        One of each global view, in the same order.
    centre : torch.Tensor, (K,)

    Returns
    -------
    torch.Tensor
        Scalar, in nats; the mean over pairs and rows. No gradient flows into the teacher.
    """
    log_student = [functional.log_softmax(s / student_temperature, dim=-1) for s in student]
    terms = []
    for t, output in enumerate(teacher):
        target = teacher_probabilities(output.detach(), centre, teacher_temperature)
        terms += [-(target * log_p).sum(-1).mean() for s, log_p in enumerate(log_student) if s != t]
    return torch.stack(terms).mean()


def cosine_schedule(start: float, end: float, step: int, n_steps: int) -> float:
    """Half a cosine from ``start`` at step 0 to ``end`` at the last step, ``n_steps - 1``."""
    share = step / max(n_steps - 1, 1)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(share, 1.0)))


def learning_rate(peak: float, step: int, n_steps: int, *, n_warmup: int) -> float:
    """Linear warm-up to ``peak``, then half a cosine down to a hundredth of it."""
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    return cosine_schedule(peak, peak / 100, step - n_warmup, n_steps - n_warmup)


def entropy(probabilities: np.ndarray) -> float:
    """Mean entropy of the rows of (n, K) probabilities, in nats: 0 to log K.

    Of the teacher it is the paper's measure of collapse (fig. 7): it falls to 0 when one output
    wins everywhere and rises to log K when all outputs are alike.
    """
    return float(stats.entropy(np.asarray(probabilities, float), axis=1).mean())


def information(probabilities: np.ndarray) -> float:
    """What an answer tells about its input, in nats: 0 in both collapses, at most log K.

    The entropy of the mean of the rows of (n, K) probabilities, minus the mean of their entropies:
    their mutual information. It is 0 where all inputs get the same answer, sharp or even.
    """
    p = np.asarray(probabilities, float)
    return float(stats.entropy(p.mean(0))) - entropy(p)


def kl_divergence(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean KL(P_t || P_s) of the rows of two (n, K) arrays, in nats.

    Zero with a constant teacher entropy means that the teacher's output no longer depends on what
    it sees, so that the student has nothing left to learn.
    """
    p, q = np.asarray(teacher, float), np.asarray(student, float)
    return float(stats.entropy(p, q, axis=1).mean())
