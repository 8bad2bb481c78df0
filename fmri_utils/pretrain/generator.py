"""Train the demo generator: redrawing with an inferred noise vector, against small critics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm.auto import tqdm

from ..artifacts import atomic_path
from ..clip_space import ClipSpace
from ..lafite import Generator, GeneratorConfig
from . import redrawing
from .redrawing import ClipFeatures, Critics, NoisePosterior

CONFIG = GeneratorConfig(
    z_dim=redrawing.Z_DIM,
    w_dim=64,
    condition_dim=redrawing.CONDITION_DIM,
    hidden_dim=128,
    inner_dim=128,
    resolution=64,
    channel_base=2048,
    channel_max=128,
    mapping_layers=4,
    clamp=None,  # float32 needs no clamp, and a CPU is a third faster without
)
CONDITION_LAYERS = ("pre_0", "pre_1", "mapping")
CONDITION_SPEED = 50.0  # their equalised learning rate (x 0.01) is too slow for a short training
LR, LR_CRITICS = 0.004, 0.0004
KL_WEIGHT = 0.0015  # mean absolute differences that one nat of z is worth


@dataclass(frozen=True)
class Stage:
    """One resolution: images to redraw, and the weights of what CLIP and the critics see."""

    resolution: int
    n_images: int
    texture: float = 0.5
    meaning: float = 0.5
    critics: float = 0.04


STAGES = (  # at 16 px there is nothing for CLIP to see
    Stage(16, 48_000, texture=0.0, meaning=0.0, critics=0.0),
    Stage(32, 40_000, critics=0.02),
    Stage(64, 80_000),
)


def optimiser_for(generator: Generator, posterior: NoisePosterior) -> torch.optim.Adam:
    """Adam in which the condition's slow layers learn faster."""
    slow, other = [], []
    for name, parameter in generator.named_parameters():
        is_slow = any(layer in name for layer in CONDITION_LAYERS)
        (slow if is_slow else other).append(parameter)
    groups = [
        {"params": other, "speed": 1.0},
        {"params": slow, "speed": CONDITION_SPEED},
        {"params": list(posterior.parameters()), "speed": 0.15},
    ]
    return torch.optim.Adam(groups, lr=LR, betas=(0.5, 0.99), eps=1e-8)


@dataclass
class Progress:
    """A training under way: everything that resuming needs."""

    generator: Generator
    posterior: NoisePosterior
    critics: Critics
    average: dict[str, torch.Tensor]
    optimiser: torch.optim.Adam
    critic_optimiser: torch.optim.Adam
    stage: int = 0
    step: int = 0

    @classmethod
    def begin(cls, stage: int, before: Progress | None = None) -> Progress:
        """A stage's networks; what the stage before has learned is taken over."""
        generator = Generator(replace(CONFIG, resolution=STAGES[stage].resolution))
        posterior, critics = NoisePosterior(), Critics()
        if before is not None:
            generator.load_state_dict(before.average, strict=False)
            posterior.load_state_dict(before.posterior.state_dict())
            critics.load_state_dict(before.critics.state_dict())
        average = {k: v.clone() for k, v in generator.state_dict().items()}
        slow = torch.optim.Adam(critics.parameters(), lr=LR_CRITICS, betas=(0.0, 0.99))
        optimiser = optimiser_for(generator, posterior)
        return cls(generator, posterior, critics, average, optimiser, slow, stage)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        parts = ("generator", "posterior", "critics", "optimiser", "critic_optimiser")
        state = {name: getattr(self, name).state_dict() for name in parts}
        with atomic_path(path) as tmp:
            torch.save(
                state | {"average": self.average, "stage": self.stage, "step": self.step}, tmp
            )

    @classmethod
    def load(cls, path: Path) -> Progress:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        new = cls.begin(state["stage"])
        for name in ("generator", "posterior", "critics", "optimiser", "critic_optimiser"):
            getattr(new, name).load_state_dict(state[name])
        new.average, new.step = state["average"], state["step"]
        return new


def train(
    images: np.ndarray,
    embeddings: np.ndarray,
    space: ClipSpace,
    checkpoint: Path,
    *,
    batch_size: int = 8,
    seed: int = 0,
    every: int = 500,
) -> dict[str, torch.Tensor]:
    """Train a generator to draw images from their embeddings; resumes from ``checkpoint``.

    Half of every step redraws images with the noise vector that a second network reads from them
    (a conditional variational autoencoder); the other half draws from random noise, where there is
    no original: those must have the right embedding and pass the critics. The first stages draw at
    16 and 32 pixels, which is faster; each next one adds a resolution. Small batches: the number
    of steps matters more than the smoothness of each.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, 64, 64, 3)
    embeddings : numpy.ndarray, (N, C)
        Of the images, unit length.
    space : ClipSpace
        Gives the features.

    Returns
    -------
    dict
        State of the averaged (EMA) generator.
    """
    torch.manual_seed(seed)
    features = ClipFeatures(space)
    now = Progress.load(checkpoint) if checkpoint.is_file() else Progress.begin(0)
    data = torch.from_numpy(images), torch.from_numpy(embeddings)
    while True:
        stage = STAGES[now.stage]
        n_steps = stage.n_images // batch_size
        steps = range(now.step, n_steps)
        bar = tqdm(steps, f"generator {stage.resolution} px", total=n_steps, mininterval=10)
        bar.update(now.step)
        for step in steps:
            last = now.stage == len(STAGES) - 1
            decay = max(min(1.0, 2 * (1 - step / n_steps)), 0.02) if last else 1.0
            rng = torch.Generator().manual_seed(seed + 1_000_003 * now.stage + step)
            losses = _step(now, data, features, batch_size, decay, rng)
            now.step = step + 1
            bar.update()
            bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()}, refresh=False)
            if now.step % every == 0 or now.step == n_steps:
                now.save(checkpoint)
        if now.stage == len(STAGES) - 1:
            return now.average
        now = Progress.begin(now.stage + 1, now)


def _step(
    now: Progress,
    data: tuple[torch.Tensor, torch.Tensor],
    features: ClipFeatures,
    batch_size: int,
    decay: float,
    rng: torch.Generator,
) -> dict[str, float]:
    """One step of all networks; all that is random in it is ``rng``, so any step can resume."""
    images, embeddings = data
    stage = STAGES[now.stage]
    rows = torch.randint(0, len(images), (batch_size,), generator=rng)
    original = images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
    real = functional.avg_pool2d(original, CONFIG.resolution // stage.resolution)
    embedding = embeddings[rows]
    mean, log_variance = now.posterior(original, embedding)
    n_free = batch_size // 2 if stage.critics else 0  # pictures from random noise
    noise = torch.randn(batch_size + n_free, CONFIG.z_dim, generator=rng)
    inferred = mean + noise[:batch_size] * (0.5 * log_variance).exp()
    condition = torch.cat([embedding, embedding[:n_free]])
    z = torch.cat([inferred, noise[batch_size:]])
    fake = now.generator(z, condition, noise_mode="random", rng=rng)

    redrawn = redrawing.pixel_loss(fake[:batch_size], real)
    kl = redrawing.kl_divergence(mean, log_variance).mean()
    losses, loss = {"pixels": redrawn, "kl": kl}, redrawn + KL_WEIGHT * kl
    if stage.critics:
        with torch.no_grad():
            targets, _ = features(real / 2 + 0.5)
        maps, seen = features(fake.clamp(-1.2, 1.2) / 2 + 0.5)
        texture = redrawing.texture_loss([m[:batch_size] for m in maps], targets)
        meaning = 1 - (seen * condition).sum(1).mean()
        fooled = sum(x.mean() for x in now.critics(fake, maps, condition))
        loss = loss + stage.texture * texture + stage.meaning * meaning - stage.critics * fooled
        losses |= {"texture": texture, "meaning": meaning}
    for group in now.optimiser.param_groups:
        group["lr"] = LR * group["speed"] * decay
    now.optimiser.zero_grad()
    loss.backward()
    now.optimiser.step()
    if stage.critics:
        now.critic_optimiser.zero_grad()
        no = now.critics(fake.detach(), [m.detach() for m in maps], condition)
        yes = now.critics(real, targets, embedding)
        losses["critics"] = redrawing.hinge(yes, no)
        losses["critics"].backward()
        now.critic_optimiser.step()
    with torch.no_grad():
        beta = min(0.998, (now.step + 1) / (now.step + 10))
        for name, value in now.generator.state_dict().items():
            now.average[name].lerp_(value, 1 - beta)
    return {name: value.item() for name, value in losses.items()}
