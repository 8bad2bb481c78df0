"""Train the demo generator to redraw scenes from their embeddings and their layouts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from fmri_utils.clip.space import ClipSpace
from fmri_utils.lafite import Generator, GeneratorConfig
from fmri_utils.project.checks import check_finite, check_learning, check_pictures, check_weights
from fmri_utils.project.tensors import load_state, save_state

from . import demo_clip

CONFIG = GeneratorConfig(
    z_dim=64,
    w_dim=128,
    condition_dim=128,
    hidden_dim=128,
    inner_dim=128,
    resolution=64,
    channel_base=2048,
    channel_max=128,
    mapping_layers=4,
    clamp=None,  # float32 needs no clamp, and a CPU is a third faster without
)


class Stage(NamedTuple):
    """A resolution, the images shown there, and the learning rate at its start and end."""

    resolution: int
    n_images: int
    first_rate: float
    last_rate: float

    def rate(self, step: int, n_steps: int) -> float:
        """Constant for the first three tenths of the stage, then falling exponentially."""
        fallen = max(0.0, (step / n_steps - 0.3) / 0.7)
        return self.first_rate * (self.last_rate / self.first_rate) ** fallen


STAGES = (
    Stage(16, 48_000, 0.020, 0.010),
    Stage(32, 86_000, 0.012, 0.005),
    Stage(64, 228_000, 0.010, 0.0004),
)
CONDITION_LAYERS = ("pre_0", "pre_1", "mapping")
CONDITION_SPEED = 50.0  # their equalised learning rate (x 0.01) is too slow for a short training
WHITENING = 0.03  # floor of the variances, as a share of their mean


class EarlyMaps(nn.Module):
    """What the first three stages of the demo CLIP's image tower (a small ResNet) see."""

    def __init__(self, space: ClipSpace):
        super().__init__()
        self.visual, self.size = space.model.visual, space.image_size

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps at 16, 8 and 4 pixels, channels of unit length.

        Parameters
        ----------
        images : torch.Tensor, (B, 3, R, R)
            From -1 to 1; enlarged to the tower's input if they are smaller.
        """
        if images.shape[-1] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear")
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (demo_clip.MEAN, demo_clip.STD))
        maps = [self.visual.layer1(self.visual.stem((images / 2 + 0.5 - mean) / std))]
        for layer in (self.visual.layer2, self.visual.layer3):
            maps.append(layer(maps[-1]))
        return [functional.normalize(m, dim=1) for m in maps]


def redrawing_loss(fake: torch.Tensor, real: torch.Tensor, early_maps: EarlyMaps) -> torch.Tensor:
    """How far pictures are from their originals: in colour, in outline and in shape.

    Parameters
    ----------
    fake, real : torch.Tensor, (B, 3, R, R)
        From -1 to 1.
    early_maps : EarlyMaps

    Returns
    -------
    torch.Tensor, scalar
        Mean absolute difference at full and at a quarter of the resolution, and of the differences
        between neighbouring pixels, across and down; and the mean squared distance of early feature
        maps (as LPIPS, Zhang et al. 2018, without learned weights). The judge has no part in it,
        nor has CLIP's embedding.
    """
    coarse = [functional.avg_pool2d(x, 4) for x in (fake, real)]
    outline = sum(functional.l1_loss(fake.diff(dim=axis), real.diff(dim=axis)) for axis in (2, 3))
    pixels = functional.l1_loss(fake, real) + functional.l1_loss(*coarse) + outline
    with torch.no_grad():
        targets = early_maps(real)
    seen = early_maps(fake.clamp(-1.2, 1.2))
    shape = sum((a - b).square().sum(1).mean() for a, b in zip(seen, targets, strict=True))
    return pixels + shape


@torch.no_grad()
def whiten_condition(generator: Generator, embeddings: torch.Tensor) -> None:
    """Begin with condition layers whose inputs are equally strong in all directions.

    A few directions of CLIP space (place, colour) vary a hundred times as much as those that tell a
    cat's ears from a dog's, and a short training would never hear of the latter. The first
    condition layers start as random projections of the whitened embeddings.

    Parameters
    ----------
    embeddings : torch.Tensor, (N, C)
        Of the training images.
    """
    mean = embeddings.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov((embeddings - mean).T))
    floor = WHITENING * variances.mean()
    whitening = axes @ torch.diag((variances + floor).rsqrt()) @ axes.T  # (C, C)
    for name, layer in generator.named_modules():
        if name.endswith("pre_0"):
            weight = torch.randn(layer.weight.shape) @ whitening / len(mean) ** 0.5
            layer.weight.copy_(weight / layer.weight_gain)
            layer.bias.copy_(-(weight @ mean) / layer.bias_gain)


def optimiser_for(generator: Generator) -> torch.optim.Adam:
    """Adam in which the condition's and the noise's slow layers learn faster."""
    slow, other = [], []
    for name, parameter in generator.named_parameters():
        is_slow = any(layer in name for layer in CONDITION_LAYERS)
        (slow if is_slow else other).append(parameter)
    groups = [{"params": other, "speed": 1.0}, {"params": slow, "speed": CONDITION_SPEED}]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-8)


@dataclass
class Progress:
    """A training under way: everything that resuming needs."""

    generator: Generator
    average: dict[str, torch.Tensor]
    optimiser: torch.optim.Adam
    stage: int = 0
    step: int = 0

    @classmethod
    def begin(cls, stage: int, state: dict[str, torch.Tensor] | None = None) -> Progress:
        """A stage's generator; what the stage before has learned is taken over."""
        generator = Generator(replace(CONFIG, resolution=STAGES[stage].resolution))
        if state is not None:
            generator.load_state_dict(state, strict=False)
        average = {k: v.clone() for k, v in generator.state_dict().items()}
        return cls(generator, average, optimiser_for(generator), stage)

    def save(self, path: Path) -> None:
        """Write a checkpoint, of finite weights only (otherwise DivergedError)."""
        for weights in (self.generator.state_dict(), self.average):
            check_weights(weights, self.step)
        state = {
            "generator": self.generator.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "stage": self.stage,
            "step": self.step,
        }
        save_state(path, state, {"stages": STAGES})

    @classmethod
    def load(cls, path: Path) -> Progress:
        """Go on from a checkpoint."""
        state = load_state(path, {"stages": STAGES})
        new = cls.begin(state["stage"])
        new.generator.load_state_dict(state["generator"])
        new.average, new.step = state["average"], state["step"]
        new.optimiser.load_state_dict(state["optimiser"])
        return new


def train(
    images: np.ndarray,
    embeddings: np.ndarray,
    noise: np.ndarray,
    space: ClipSpace,
    checkpoint: Path,
    *,
    batch_size: int = 8,
    seed: int = 0,
    every: int = 500,
) -> dict[str, torch.Tensor]:
    """Train a generator to redraw images; resumes from ``checkpoint``.

    The first stages draw at 16 and 32 pixels, which is faster; each next one adds a resolution.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, 64, 64, 3)
    embeddings : numpy.ndarray, (N, C)
        Of the images, unit length.
    noise : numpy.ndarray, float32 (N, z_dim)
        The noise vector under which each image is to be drawn; see :mod:`.layout`.
    space : ClipSpace
        Gives the feature maps of the loss.
    checkpoint : pathlib.Path
    every : int
        Steps between checkpoints.

    Returns
    -------
    dict
        State of the averaged (EMA) generator.

    Raises
    ------
    DataError
        If the images are no bytes, or a number is NaN or infinite.
    DivergedError
        If loss or weights are not finite. The checkpoint stays what it was.
    """
    images = check_pictures(images, "images", only_bytes=True)
    check_finite(embeddings, "embeddings", ("image", "dimension"))
    check_finite(noise, "noise", ("image", "dimension"))
    torch.manual_seed(seed)
    early_maps = EarlyMaps(space)
    data = tuple(torch.from_numpy(array) for array in (images, embeddings, noise))
    if checkpoint.is_file():
        now = Progress.load(checkpoint)
    else:
        first = Generator(replace(CONFIG, resolution=STAGES[0].resolution))
        whiten_condition(first, data[1])
        now = Progress.begin(0, first.state_dict())
    while True:
        stage = STAGES[now.stage]
        n_steps = stage.n_images // batch_size
        steps = range(now.step, n_steps)
        bar = tqdm(steps, f"{stage.resolution} px", total=n_steps, mininterval=10)
        bar.update(now.step)
        for step in steps:
            rng = torch.Generator().manual_seed(seed + 1_000_003 * now.stage + step)
            loss = _step(now, data, early_maps, rng, batch_size, stage.rate(step, n_steps))
            now.step = step + 1
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if now.step % every == 0 or now.step == n_steps:
                now.save(checkpoint)
        if now.stage == len(STAGES) - 1:
            return now.average
        now = Progress.begin(now.stage + 1, now.average)


def _step(
    now: Progress,
    data: tuple[torch.Tensor, ...],
    early_maps: EarlyMaps,
    rng: torch.Generator,
    batch_size: int,
    rate: float,
) -> float:
    """One optimiser step; the batch depends on ``rng`` only, so that any step can be resumed."""
    images, embeddings, noise = data
    rows = torch.randint(0, len(images), (batch_size,), generator=rng)
    real = images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
    real = functional.avg_pool2d(real, CONFIG.resolution // now.generator.config.resolution)
    # The noise images join at full size: only fine structure is theirs.
    mode = "random" if now.stage == len(STAGES) - 1 else "none"
    fake = now.generator(noise[rows], embeddings[rows], noise_mode=mode, rng=rng)
    loss = redrawing_loss(fake, real, early_maps)
    check_learning(loss.detach(), "the loss", now.step)
    for group in now.optimiser.param_groups:
        group["lr"] = rate * group["speed"]
    now.optimiser.zero_grad()
    loss.backward()
    now.optimiser.step()
    with torch.no_grad():
        beta = min(0.998, (now.step + 1) / (now.step + 10))
        for name, value in now.generator.state_dict().items():
            now.average[name].lerp_(value, 1 - beta)
    return loss.item()
