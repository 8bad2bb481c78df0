"""A residual MLP from voxels to embeddings, trained as in MindEye, small enough for a CPU."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .common import check_patterns
from .contrastive import contrast_check
from .embedding_losses import bimixco, cosine_loss, mix_betas, per_target, soft_clip
from .gradient_fit import Loss, Training, seeded, train

# Network and objective of MindEye (Scotti et al. 2023, arXiv 2305.18274), in a smaller form.
N_BLOCKS = 2  # residual blocks; MindEye has 4
DROPOUT_FIRST, DROPOUT = 0.5, 0.15  # after the first layer, and in the blocks
MIXCO_SHARE = 1 / 3  # first part of the steps, trained with BiMixCo; SoftCLIP follows
SOFT_START = 0.6  # SoftCLIP's temperature at its beginning, of that at its end


class Residual(nn.Module):
    """x + f(x) with f = linear, layer norm, GELU, dropout."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class ResidualMLP(nn.Module):
    """Voxels to a first guess of the embedding, and from there through a projector.

    The contrastive losses see the projector's output only (MindEye's separate projector): what
    makes images easy to tell apart is not what makes an embedding look like a real one.
    """

    def __init__(self, n_voxels: int, n_out: int, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_voxels, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(DROPOUT_FIRST),
            *(Residual(width, DROPOUT) for _ in range(N_BLOCKS)),
        )
        self.direct = nn.Linear(width, n_out)
        self.projector = nn.Sequential(
            nn.LayerNorm(n_out), nn.GELU(), nn.Linear(n_out, width), nn.LayerNorm(width), nn.GELU(),
            nn.Linear(width, n_out),
        )  # fmt: skip

    def forward(self, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Direct and projected embeddings, (B, C) each, of betas (B, V)."""
        direct = self.direct(self.body(betas))
        return direct, self.projector(direct)


@dataclass(frozen=True, eq=False)
class MLPEncoder:
    """A trained residual MLP.

    Attributes
    ----------
    network : ResidualMLP
    n_voxels : int
    method : str
    """

    network: ResidualMLP
    n_voxels: int
    method: str = "mlp"

    def predict(self, betas: np.ndarray) -> np.ndarray:
        """Projected embeddings (n, C), not normalised, of z-scored betas: for retrieval."""
        return self._run(betas)[1]

    def predict_direct(self, betas: np.ndarray) -> np.ndarray:
        """Embeddings (n, C) in front of the projector: closer to real ones, for a generator."""
        return self._run(betas)[0]

    @torch.no_grad()
    def _run(self, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        betas = check_patterns(betas, self.n_voxels)
        device = next(self.network.parameters()).device
        rows = torch.from_numpy(betas.astype(np.float32)).split(1000)
        parts = [self.network.eval()(part.to(device)) for part in rows]
        return tuple(torch.cat(both).cpu().numpy() for both in zip(*parts, strict=True))


def mlp_loss(mixco_temperature: float, soft_temperature: float, n_targets: int = 1) -> Loss:
    """BiMixCo, then SoftCLIP, each on the projector's output; and 1 - cosine in front of it.

    Returns
    -------
    callable
        As :func:`fmri_utils.encoders.gradient_fit.train` takes it.
    """
    mixed_loss, soft_loss = per_target(bimixco, n_targets), per_target(soft_clip, n_targets)
    direct_loss = per_target(cosine_loss, n_targets)

    def loss_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor, share: float):
        if share < MIXCO_SHARE:
            mixed, partner, weight = mix_betas(x)
            direct, projected = network(mixed)
            blend = weight[:, None] * y + (1 - weight[:, None]) * y[partner]
            loss = mixed_loss(projected, y, mixco_temperature, partner=partner, weight=weight)
            return loss + direct_loss(direct, blend)
        direct, projected = network(x)
        loss = soft_loss(projected, y, risen(soft_temperature, share))
        return loss + direct_loss(direct, y)

    return loss_of


def risen(soft_temperature: float, share: float) -> float:
    """SoftCLIP's temperature when ``share`` of the steps is done; it rises along a cosine."""
    done = (share - MIXCO_SHARE) / (1 - MIXCO_SHARE)
    rise = (1 - math.cos(math.pi * min(max(done, 0), 1))) / 2
    first = SOFT_START * soft_temperature
    return first + (soft_temperature - first) * rise


def fit_mlp(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    training: Training,
    hidden: int,
    mixco_temperature: float,
    soft_temperature: float,
    n_targets: int = 1,
    **how: object,
) -> tuple[MLPEncoder, dict[str, np.ndarray]]:
    """Train the residual MLP, stopped where held-out training images score best.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    training : Training
        MindEye: AdamW at 3e-4 with a one-cycle schedule.
    hidden : int
        Width of the network; MindEye's is 4096.
    mixco_temperature : float
        Of BiMixCo; MindEye's is .006.
    soft_temperature : float
        Of SoftCLIP at its end, MindEye's is .0075; and of the InfoNCE that chooses the step.
    n_targets, **how
        As for :func:`fmri_utils.encoders.contrastive.fit_contrastive`.

    Returns
    -------
    encoder : MLPEncoder
    report : dict
        As of :func:`fmri_utils.encoders.contrastive.fit_contrastive`.
    """
    with seeded(how["seed"], 0, device=torch.device("cpu")):
        network = ResidualMLP(betas.shape[1], embeddings.shape[1], hidden)
    with torch.no_grad():
        network.direct.bias.copy_(torch.from_numpy(embeddings.mean(0)))
    check = contrast_check(soft_temperature, n_targets)
    loss = mlp_loss(mixco_temperature, soft_temperature, n_targets)
    projected = lambda net, x, y: check(lambda betas: net(betas)[1], x, y)  # noqa: E731
    data = (betas, embeddings, groups)
    report = train(network, loss, projected, *data, training=training, name="mlp", **how)
    return MLPEncoder(network, betas.shape[1]), report
