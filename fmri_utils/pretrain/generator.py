"""Train the demo generator: a warm start by redrawing, then adversarial training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from ..artifacts import atomic_path
from ..clip_space import ClipSpace
from ..lafite import Generator, GeneratorConfig
from ..tensor_files import read_saved_state
from . import clip

CONFIG = GeneratorConfig(
    z_dim=64,
    w_dim=64,
    condition_dim=128,
    hidden_dim=128,
    inner_dim=128,
    resolution=64,
    channel_base=2048,
    channel_max=128,
    mapping_layers=4,
    clamp=None,  # float32 needs no clamp, and a CPU is a third faster without
)
STAGES = ((16, 32_000), (32, 56_000), (64, 44_000))  # resolution, images shown
CONDITION_LAYERS = ("pre_0", "pre_1", "mapping")
CONDITION_SPEED = 50.0  # their equalised learning rate (x 0.01) is too slow for a short training


class ClipFeatures(nn.Module):
    """What the demo CLIP's image tower (a small ResNet) sees: two early maps and the embedding."""

    def __init__(self, space: ClipSpace):
        super().__init__()
        self.visual, self.size = space.model.visual, space.image_size
        self.register_buffer("mean", torch.tensor(clip.MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(clip.STD).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Maps at 16 and 8 pixels, channels of unit length, and the embedding, unit length.

        Parameters
        ----------
        images : torch.Tensor, (B, 3, R, R)
            In [0, 1]; enlarged to the tower's input if they are smaller.
        """
        if images.shape[-1] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear")
        tower = self.visual
        early = tower.layer1(tower.stem((images - self.mean) / self.std))
        middle = tower.layer2(early)
        embedding = tower.attnpool(tower.layer4(tower.layer3(middle)))
        maps = [functional.normalize(m, dim=1) for m in (early, middle)]
        return maps, functional.normalize(embedding, dim=1)


def redrawing_loss(
    fake: torch.Tensor, real: torch.Tensor, embedding: torch.Tensor, features: ClipFeatures
) -> torch.Tensor:
    """How far pictures are from their originals: coarse, fine, in texture and in meaning.

    Parameters
    ----------
    fake, real : torch.Tensor, (B, 3, R, R)
        From -1 to 1.
    embedding : torch.Tensor, (B, C)
        Of the originals, unit length.
    features : ClipFeatures

    Returns
    -------
    torch.Tensor, scalar
        Mean absolute difference at full and at a quarter of the resolution; half the mean squared
        distance of early feature maps (as LPIPS, Zhang et al. 2018, without learned weights); and
        half of 1 - cosine of the embeddings. No part of it knows the judge.
    """
    coarse = [functional.avg_pool2d(x, 4) for x in (fake, real)]
    pixels = functional.l1_loss(fake, real) + functional.l1_loss(*coarse)
    with torch.no_grad():
        targets, _ = features(real / 2 + 0.5)
    maps, seen = features(fake.clamp(-1.2, 1.2) / 2 + 0.5)
    texture = sum((a - b).square().sum(1).mean() for a, b in zip(maps, targets, strict=True))
    meaning = 1 - (seen * embedding).sum(1).mean()
    return pixels + 0.5 * texture + 0.5 * meaning


def optimiser_for(generator: Generator, lr: float) -> torch.optim.Adam:
    """Adam in which the condition's slow layers learn faster."""
    slow, other = [], []
    for name, parameter in generator.named_parameters():
        is_slow = any(layer in name for layer in CONDITION_LAYERS)
        (slow if is_slow else other).append(parameter)
    groups = [{"params": other, "lr": lr}, {"params": slow, "lr": lr * CONDITION_SPEED}]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-8)


@dataclass
class Progress:
    """A warm start under way: everything that resuming needs."""

    generator: Generator
    average: dict[str, torch.Tensor]
    optimiser: torch.optim.Adam
    stage: int = 0
    step: int = 0

    @classmethod
    def begin(cls, stage: int, lr: float, state: dict[str, torch.Tensor] | None = None) -> Progress:
        """A stage's generator; what the stage before has learned is taken over."""
        generator = Generator(replace(CONFIG, resolution=STAGES[stage][0]))
        if state is not None:
            generator.load_state_dict(state, strict=False)
        average = {k: v.clone() for k, v in generator.state_dict().items()}
        return cls(generator, average, optimiser_for(generator, lr), stage)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "generator": self.generator.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "stage": self.stage,
            "step": self.step,
        }
        with atomic_path(path) as tmp:
            torch.save(state, tmp)

    @classmethod
    def load(cls, path: Path, lr: float) -> Progress:
        """Go on from a checkpoint."""
        state = read_saved_state(path, remedy="Delete it to begin again.")
        new = cls.begin(state["stage"], lr)
        new.generator.load_state_dict(state["generator"])
        new.average, new.step = state["average"], state["step"]
        new.optimiser.load_state_dict(state["optimiser"])
        return new


def warm_start(
    images: np.ndarray,
    embeddings: np.ndarray,
    space: ClipSpace,
    checkpoint: Path,
    *,
    batch_size: int = 8,
    lr: float = 0.005,
    seed: int = 0,
    every: int = 500,
) -> dict[str, torch.Tensor]:
    """Train a generator to redraw images from their embeddings; resumes from ``checkpoint``.

    The first stages draw at 16 and 32 pixels, which is faster; each next one adds a resolution.
    Small
    batches: the number of steps matters more than the smoothness of each.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, 64, 64, 3)
    embeddings : numpy.ndarray, (N, C)
        Of the images, unit length.
    space : ClipSpace
        Gives the perceptual features.

    Returns
    -------
    dict
        State of the averaged (EMA) generator.
    """
    torch.manual_seed(seed)
    features = ClipFeatures(space)
    now = Progress.load(checkpoint, lr) if checkpoint.is_file() else Progress.begin(0, lr)
    data = torch.from_numpy(images), torch.from_numpy(embeddings)
    while True:
        resolution, shown = STAGES[now.stage]
        n_steps = shown // batch_size
        steps = range(now.step, n_steps)
        bar = tqdm(steps, f"warm start {resolution} px", total=n_steps, mininterval=10)
        bar.update(now.step)
        for step in steps:
            last = now.stage == len(STAGES) - 1
            decay = max(min(1.0, 3 * (1 - step / n_steps)), 0.02) if last else 1.0
            rng = torch.Generator().manual_seed(seed + 1_000_003 * now.stage + step)
            loss = _warm_step(now, data, features, rng, batch_size, lr * decay)
            now.step = step + 1
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if now.step % every == 0 or now.step == n_steps:
                now.save(checkpoint)
        if now.stage == len(STAGES) - 1:
            return now.average
        now = Progress.begin(now.stage + 1, lr, now.average)


def _warm_step(
    now: Progress,
    data: tuple[torch.Tensor, torch.Tensor],
    features: ClipFeatures,
    rng: torch.Generator,
    batch_size: int,
    lr: float,
) -> float:
    """One optimiser step; the batch depends on ``rng`` only, so that any step can be resumed."""
    images, embeddings = data
    rows = torch.randint(0, len(images), (batch_size,), generator=rng)
    real = images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
    real = functional.avg_pool2d(real, CONFIG.resolution // now.generator.config.resolution)
    z = torch.randn(batch_size, CONFIG.z_dim, generator=rng)
    fake = now.generator(z, embeddings[rows], noise_mode="none")
    loss = redrawing_loss(fake, real, embeddings[rows], features)
    for group, speed in zip(now.optimiser.param_groups, (1.0, CONDITION_SPEED), strict=True):
        group["lr"] = lr * speed
    now.optimiser.zero_grad()
    loss.backward()
    now.optimiser.step()
    with torch.no_grad():
        beta = min(0.998, (now.step + 1) / (now.step + 10))
        for name, value in now.generator.state_dict().items():
            now.average[name].lerp_(value, 1 - beta)
    return loss.item()
