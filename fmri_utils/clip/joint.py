"""Learn one space for two kinds of things, and watch it collapse without negatives.

Two small heads, one for brain patterns and one for image embeddings, are trained so that matching
pairs come close. If nothing pushes non-matching pairs apart, the cheapest solution is one point
for everything: the *collapse*. Four objectives show it, and three ways out of it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from ..encoders.embedding_losses import cosine_loss, info_nce
from ..metrics import retrieval_scores
from ..project.checks import check_finite, check_learning
from ..project.errors import DataError

OBJECTIVES = ("infonce", "positive_only", "variance", "stop_gradient")


class Heads(nn.Module):
    """Two small networks into one space, and the predictor that stop-gradient needs."""

    def __init__(self, n_brain: int, n_image: int, dim: int, hidden: int = 128):
        super().__init__()
        self.brain = self._network(n_brain, hidden, dim)
        self.image = self._network(n_image, hidden, dim)
        self.predictor = self._network(dim, hidden, dim)

    @staticmethod
    def _network(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
        """A hidden layer with batch normalisation, without which stop-gradient does not train."""
        return nn.Sequential(
            nn.Linear(n_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, n_out)
        )


def variance_term(embeddings: torch.Tensor) -> torch.Tensor:
    """Hinge at 1 on each dimension's SD over a batch (B, C) (VICReg, Bardes et al. 2022, eq. 1)."""
    sd = torch.sqrt(embeddings.var(0) + 1e-4)
    return functional.relu(1 - sd).mean()


def covariance_term(embeddings: torch.Tensor) -> torch.Tensor:
    """Squared off-diagonal covariance per dimension (VICReg, eq. 3): dimensions must differ."""
    centred = embeddings - embeddings.mean(0)
    covariance = centred.T @ centred / (len(embeddings) - 1)  # (C, C)
    off = covariance - torch.diag(torch.diag(covariance))
    return (off**2).sum() / embeddings.shape[1]


def loss_of(name: str, heads: Heads, temperature: float) -> Callable:
    """The loss ``f(brain, image) -> scalar`` of one of :data:`OBJECTIVES`.

    ``infonce`` pushes non-matching pairs apart; ``positive_only`` does not; ``variance`` has no
    negatives either but keeps each dimension spread out (VICReg); ``stop_gradient`` lets only one
    side of a pair move at a time, through a predictor (SimSiam, Chen & He 2021).
    """
    if name == "infonce":
        return lambda brain, image: info_nce(brain, image, temperature)
    if name == "positive_only":
        return cosine_loss  # nothing keeps the space from collapsing
    if name == "variance":
        return lambda brain, image: (
            25 * functional.mse_loss(brain, image)
            + 25 * (variance_term(brain) + variance_term(image))
            + covariance_term(brain)
            + covariance_term(image)
        )
    if name == "stop_gradient":
        return lambda brain, image: (
            cosine_loss(heads.predictor(brain), image.detach())
            + cosine_loss(heads.predictor(image), brain.detach())
        )
    raise DataError(f"no objective {name!r}. Valid objectives: {', '.join(OBJECTIVES)}.")


def spread(embeddings: np.ndarray) -> float:
    """How far unit vectors are from being one point: sqrt(1 - |mean|^2).

    Parameters
    ----------
    embeddings : numpy.ndarray, (n, C)
        Unit length.

    Returns
    -------
    float
        0 for a collapsed space, 1 for directions that cancel out.
    """
    return float(np.sqrt(max(0.0, 1 - (embeddings.mean(0) ** 2).sum())))


def train_joint(
    brain: np.ndarray,
    image: np.ndarray,
    held_brain: np.ndarray,
    held_image: np.ndarray,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    name: str,
    n_steps: int,
    batch_size: int,
    dim: int,
    temperature: float,
    seed: int,
    n_checks: int = 20,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Train both heads with one objective and record what becomes of the space.

    Parameters
    ----------
    brain : numpy.ndarray, (n_images, n_voxels)
        One brain pattern for each training image.
    image : numpy.ndarray, (n_images, C)
        The images' embeddings.
    held_brain, held_image : numpy.ndarray
        The same for images that are not trained on; all records are taken there.
    validation : tuple of numpy.ndarray, optional
        The same two arrays for more images, on which a step may be chosen: the best step on the
        held-out images themselves would be too good.
    name : str
        One of :data:`OBJECTIVES`.

    Returns
    -------
    dict
        ``step``, ``spread``, ``top1`` and ``mrr`` (brain_to_image), ``matching`` and
        ``non_matching`` (mean cosines), one value each per check; ``similarity`` (n_held, n_held),
        the final cosines of brain patterns (rows) and images (columns). With ``validation`` also
        ``validation``, the MRR there, and ``chosen``, the number of the check where it is highest.

    Raises
    ------
    DataError
        If a number is NaN or infinite, or the objective is unknown.
    DivergedError
        If the loss is not finite.
    """
    given = {"brain": brain, "image": image, "held_brain": held_brain, "held_image": held_image}
    given |= dict(zip(("validation_brain", "validation_image"), validation or (), strict=False))
    for what, values in given.items():
        check_finite(values, what, ("image", "voxel" if "brain" in what else "dimension"))
    torch.manual_seed(seed)
    heads = Heads(brain.shape[1], image.shape[1], dim)
    loss_function = loss_of(name, heads, temperature)
    optimiser = torch.optim.AdamW(heads.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    x, y, *held = (torch.from_numpy(np.asarray(a, np.float32)) for a in given.values())
    checks = set(np.linspace(0, n_steps, n_checks + 1).astype(int).tolist())
    found = []
    generator = torch.Generator().manual_seed(seed)
    for step in tqdm(range(n_steps + 1), desc=name, disable=not progress, leave=False):
        if step in checks:
            similarity, values = _check(heads, *held[:2], name, step)
            found.append({"step": step, **values})
            if validation is not None:
                found[-1]["validation"] = _check(heads, *held[2:], name, step)[1]["mrr"]
        rows = torch.randperm(len(x), generator=generator)[:batch_size]
        loss = loss_function(heads.brain(x[rows]), heads.image(y[rows]))
        check_learning(loss.detach(), "the loss", step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    record = {name: np.array([values[name] for values in found]) for name in found[0]}
    if validation is not None:
        record["chosen"] = record["validation"].argmax()
    return {**record, "similarity": similarity}


@torch.no_grad()
def _check(
    heads: Heads, brain: torch.Tensor, image: torch.Tensor, name: str, step: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Cosines of all pairs of images that were not trained on, and what they say of the space."""
    heads.eval()
    b = heads.brain(brain)
    if name == "stop_gradient":  # trained to match images only through the predictor
        b = heads.predictor(b)
    b = functional.normalize(b, dim=1).numpy()
    i = functional.normalize(heads.image(image), dim=1).numpy()
    heads.train()
    similarity = b @ i.T
    check_learning(similarity, "the similarity", step)
    own, n = np.diag(similarity), len(similarity)
    scores = retrieval_scores(i, b)["brain_to_image"]
    return similarity, {
        "spread": (spread(b) + spread(i)) / 2,
        "top1": scores["top1"].mean(),
        "mrr": scores["reciprocal_rank"].mean(),
        "matching": own.mean(),
        "non_matching": (similarity.sum() - own.sum()) / (n * (n - 1)),
    }
