"""A residual MLP from voxels to embeddings, trained as in MindEye, small enough for a CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .common import check_patterns
from .contrastive import contrast_check
from .embedding_losses import bimixco, cosine_loss, mix_betas, per_target, soft_clip
from .gradient_fit import Training, seeded, train


@dataclass(frozen=True)
class MLPSettings:
    """Network and objective of the residual MLP (MindEye, Scotti et al. 2023, arXiv 2305.18274).

    Attributes
    ----------
    hidden : int
        Width; MindEye's is 4096.
    n_blocks : int
        Residual blocks; MindEye has 4.
    dropout_first, dropout : float
        After the first layer, and in the blocks.
    mixco_share : float
        First part of the steps, trained with BiMixCo; SoftCLIP follows.
    mixco_temperature : float
    soft_temperature_start, soft_temperature_end : float
        SoftCLIP's temperature rises between them along a cosine.
    check_temperature : float
        Of the InfoNCE that chooses the step, the same in both phases.
    direct_weight : float
        Weight of 1 - cosine on the output in front of the projector.
    """

    hidden: int = 256
    n_blocks: int = 2
    dropout_first: float = 0.5
    dropout: float = 0.15
    mixco_share: float = 1 / 3
    mixco_temperature: float = 0.006
    soft_temperature_start: float = 0.004
    soft_temperature_end: float = 0.0075
    check_temperature: float = 0.05
    direct_weight: float = 1.0


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

    def __init__(self, n_voxels: int, n_out: int, settings: MLPSettings):
        super().__init__()
        self.settings = settings
        width = settings.hidden
        self.body = nn.Sequential(
            nn.Linear(n_voxels, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(settings.dropout_first),
            *(Residual(width, settings.dropout) for _ in range(settings.n_blocks)),
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


def mlp_loss(settings: MLPSettings, n_targets: int = 1):
    """BiMixCo, then SoftCLIP, each on the projector's output; and 1 - cosine in front of it.

    Returns
    -------
    callable
        As :func:`fmri_utils.encoders.gradient_fit.train` takes it.
    """
    mixed_loss, soft_loss = per_target(bimixco, n_targets), per_target(soft_clip, n_targets)
    direct_loss = per_target(cosine_loss, n_targets)

    def loss_of(network: nn.Module, x: torch.Tensor, y: torch.Tensor, share: float):
        if share < settings.mixco_share:
            mixed, partner, weight = mix_betas(x)
            direct, projected = network(mixed)
            blend = weight[:, None] * y + (1 - weight[:, None]) * y[partner]
            loss = mixed_loss(
                projected, y, settings.mixco_temperature, partner=partner, weight=weight
            )
            return loss + settings.direct_weight * direct_loss(direct, blend)
        direct, projected = network(x)
        loss = soft_loss(projected, y, soft_temperature(settings, share))
        return loss + settings.direct_weight * direct_loss(direct, y)

    return loss_of


def soft_temperature(settings: MLPSettings, share: float) -> float:
    """SoftCLIP's temperature when ``share`` of the steps is done."""
    done = (share - settings.mixco_share) / max(1 - settings.mixco_share, 1e-9)
    rise = (1 - math.cos(math.pi * min(max(done, 0), 1))) / 2
    first, last = settings.soft_temperature_start, settings.soft_temperature_end
    return first + (last - first) * rise


def fit_mlp(
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    training: Training,
    settings: MLPSettings = MLPSettings(),
    seed: int,
    n_targets: int = 1,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> tuple[MLPEncoder, dict[str, np.ndarray]]:
    """Train the residual MLP, stopped where held-out training images score best.

    Parameters
    ----------
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    training : Training
        MindEye: AdamW at 3e-4 with a one-cycle schedule.
    settings : MLPSettings
    seed, n_targets, device, progress
        As for :func:`fmri_utils.encoders.fit_contrastive`.

    Returns
    -------
    encoder : MLPEncoder
    report : dict
        As of :func:`fmri_utils.encoders.fit_contrastive`.
    """
    with seeded(seed, 0, device=torch.device("cpu")):
        network = ResidualMLP(betas.shape[1], embeddings.shape[1], settings)
    with torch.no_grad():
        network.direct.bias.copy_(torch.from_numpy(embeddings.mean(0)))
    check = contrast_check(settings.check_temperature, n_targets)
    report = train(
        network,
        mlp_loss(settings, n_targets),
        lambda net, x, y: check(lambda betas: net(betas)[1], x, y),
        betas,
        embeddings,
        groups,
        training=training,
        seed=seed,
        name="mlp",
        device=device,
        progress=progress,
    )
    return MLPEncoder(network, betas.shape[1]), report
