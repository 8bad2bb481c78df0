"""What all searches share: budgets, the problem, and the descent along a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from ...lafite import Generator
from ...project.checks import check_finite, check_learning
from ...project.errors import DataError
from ..reconstruction import as_pictures
from .batches import network_hash, tensor_hash
from .search_goal import Objective, Target, as_rows

PASSES_PER_STEP = 3  # a gradient step: once forward, about twice that for the way back


@dataclass(frozen=True)
class SearchSettings:
    """How long and how boldly to follow the gradient.

    Parameters
    ----------
    n_steps : int
        Gradient steps.
    n_starts : int
        Draws of which the best one is the start.
    learning_rate : float
        Of Adam, per coordinate of a standard normal; falls to zero along half a cosine.
    prior_weight : float
        Of the prior: nats of :func:`~fmri_utils.pictures.search.shell_penalty` for z, units of
        :func:`~fmri_utils.pictures.search.noise_penalty` for noise images.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    n_steps: int = 20
    n_starts: int = 1
    learning_rate: float = 0.1
    prior_weight: float = 0.01

    def __post_init__(self):
        if self.n_steps < 1 or self.n_starts < 1:
            raise ValueError(
                f"n_steps {self.n_steps}, n_starts {self.n_starts}; expected 1 or more."
            )
        if not self.learning_rate > 0 or not self.prior_weight >= 0:
            raise ValueError(
                f"learning_rate {self.learning_rate}, prior_weight {self.prior_weight}; expected "
                "above 0, and 0 or more."
            )

    @property
    def passes(self) -> int:
        """Generator passes per picture: the starts, three per step, and the last picture."""
        starts = self.n_starts if self.n_starts > 1 else 0
        return starts + PASSES_PER_STEP * self.n_steps + 1

    @classmethod
    def within(cls, passes: int, **settings) -> SearchSettings:
        """As many steps as fit into a budget of generator passes; other settings as given."""
        n_starts = settings.get("n_starts", 1)
        n_steps = (passes - 1 - (n_starts if n_starts > 1 else 0)) // PASSES_PER_STEP
        if n_steps < 1:
            raise ValueError(
                f"{passes} generator passes do not hold {n_starts} starts and one step of "
                f"{PASSES_PER_STEP}; expected a larger budget or fewer starts."
            )
        return cls(n_steps=n_steps, **settings)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found, one row per target.

    Attributes
    ----------
    pictures : numpy.ndarray, float32 (N, H, W, 3)
        RGB in [0, 1].
    z : Tensor, (N, z_dim)
    noise : list of Tensor (N, 1, r, r), or None
        The noise images, if asked for; None where the generator's own were used.
    trajectory : dict of str to numpy.ndarray, (n_records, N)
        ``loss``, ``cosine``, ``low_level`` (if it has a weight), and ``prior`` of a descent: one
        record per draw, or one before each step and one at the end. Of whole pictures; ``loss``
        includes the prior.
    passes : int
        Generator passes spent on each picture.
    """

    pictures: np.ndarray
    z: Tensor
    noise: list[Tensor] | None
    trajectory: dict[str, np.ndarray]
    passes: int


def unit_conditions(generator: Generator, condition: np.ndarray | Tensor, n: int) -> Tensor:
    """Conditions (n, condition_width) with every embedding scaled to unit length.

    Raises
    ------
    DataError
        If the shape is another, or a number is NaN or infinite.
    """
    config = generator.config
    condition = as_rows(condition)
    if condition.shape != (n, config.condition_width):
        raise DataError(
            f"condition has shape {tuple(condition.shape)}. Expected: ({n}, "
            f"{config.condition_width}), one row per picture, as wide as the generator's condition "
            "(another CLIP model?)."
        )
    check_finite(condition, "condition", ("picture", "dimension"), remedy="Predict it again.")
    parts = condition.unflatten(1, (config.n_conditions, config.condition_dim))
    return F.normalize(parts, dim=2).flatten(1)


@dataclass(frozen=True, eq=False)
class Problem:
    """A generator with what it is to draw, checked."""

    generator: Generator
    condition: Tensor  # (N, condition_width), parts of unit length
    target: Target
    objective: Objective
    truncation_psi: float

    @classmethod
    def make(cls, generator, condition, target, objective, truncation_psi) -> Problem:
        condition = unit_conditions(generator, condition, len(target))
        check_finite(truncation_psi, "truncation_psi")
        return cls(generator, condition, target, objective, truncation_psi)

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def draw(self, z: Tensor, rows: slice, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Pictures (B, 3, R, R) of some rows."""
        condition = self.condition[rows].to(self.device)
        return self.generator(z, condition, truncation_psi=self.truncation_psi, noise=noise)

    def z(self, n: int, rng: torch.Generator) -> Tensor:
        """Fresh latent vectors (n, z_dim)."""
        return torch.randn(n, self.generator.config.z_dim, generator=rng, device=self.device)

    def about(self, method: str, seed: int, batch_size: int, z: Tensor | None, **more) -> Callable:
        """What :func:`~.batches.in_parts` compares before it takes a batch over."""

        def facts() -> tuple[dict, Tensor]:
            size = self.generator.config.resolution
            ramp = torch.linspace(-1, 1, size, device=self.device).expand(1, 3, size, size)
            with torch.no_grad():
                probe = self.objective.image_encoder(ramp).cpu()
            target = self.target
            return {
                "method": method,
                "seed": seed,
                "batch_size": batch_size,
                "truncation_psi": self.truncation_psi,
                "objective": self.objective.numbers(),
                "generator": network_hash(self.generator),
                "condition": tensor_hash(self.condition),
                "target": tensor_hash(target.embedding, target.picture, target.precision),
                "z": tensor_hash(z),
                **more,
            }, probe

        return facts

    def rng(self, seed: int, rows: slice) -> torch.Generator:
        """Random numbers of a batch, whatever was computed before it."""
        return torch.Generator(self.device).manual_seed((seed + rows.start) % 2**63)

    def check_z(self, z: Tensor | None) -> None:
        """Refuse latent vectors of another shape, or with numbers that are not finite."""
        if z is None:
            return
        expected = (len(self.target), self.generator.config.z_dim)
        if tuple(z.shape) != expected:
            raise DataError(f"z has shape {tuple(z.shape)}. Expected: {expected}, one per target.")
        check_finite(z, "z", ("picture", "dimension"), remedy="Draw z anew.")

    def best_start(self, starts: Sequence[Tensor], goal: Target, rows: slice) -> Tensor:
        """For each row the start whose picture fits best, (B, z_dim)."""
        best = Best()
        for z in starts:
            with torch.inference_mode():
                images = self.draw(z, rows)
                best.offer(self.objective.terms(images, goal), images, [z])
        return best.variables[0]


class Best:
    """The best picture of each row so far, with what it was drawn from, and the trajectory."""

    def __init__(self):
        self.loss: Tensor | None = None
        self.images: Tensor | None = None
        self.variables: list[Tensor] = []
        self.records: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def offer(
        self,
        terms: dict[str, Tensor],
        images: Tensor,
        variables: Sequence[Tensor],
        prior: Tensor | None = None,
        prior_weight: float = 0.0,
    ) -> None:
        """Record one picture per row, and keep those that are better than the ones before.

        A loss that is not finite is a DivergedError: no other would ever be better or worse.
        """
        record = {name: value for name, value in terms.items() if name != "views_loss"}
        if prior is not None:
            record["prior"] = prior
            record["loss"] = record["loss"] + prior_weight * prior
        check_learning(record["loss"], "the objective", len(self.records.get("loss", ())))
        for name, value in record.items():
            self.records.setdefault(name, []).append(value.detach())
        offered, loss = [images, *variables], record["loss"].detach()
        if self.loss is None:
            kept, self.loss = [value.detach().clone() for value in offered], loss
        else:
            better = loss < self.loss
            self.loss = torch.where(better, loss, self.loss)
            kept = [
                torch.where(better.view(-1, *[1] * (new.ndim - 1)), new.detach(), old)
                for new, old in zip(offered, [self.images, *self.variables], strict=True)
            ]
        self.images, *self.variables = kept

    def part(self, z: Tensor | None = None, keep_noise: bool = False) -> dict[str, Tensor]:
        """A batch's result by name, rows along the first axis; ``z`` if it was not a variable."""
        out = {f"trajectory/{name}": torch.stack(v, 1) for name, v in self.records.items()}
        out["pictures"] = torch.from_numpy(as_pictures(self.images))
        out["z"] = self.variables[0] if z is None else z
        if keep_noise:
            out |= {f"noise/{i:02d}": value for i, value in enumerate(self.variables)}
        return out


def descend(
    start: Sequence[Tensor],
    render: Callable[[list[Tensor]], Tensor],
    prior: Callable[[list[Tensor]], Tensor],
    problem: Problem,
    goal: Target,
    settings: SearchSettings,
    rng: torch.Generator,
    project: Callable[[Sequence[Tensor]], list[Tensor]] | None = None,
    progress: bool = False,
) -> Best:
    """Follow the gradient of objective and prior with Adam.

    Parameters
    ----------
    start : sequence of Tensor, (B, ...)
        Values of the variables.
    render, prior : callable
        From the variables to pictures (B, 3, R, R) and to penalties (B,).
    problem, goal, settings, rng
        ``goal`` holds the batch's rows of the target; ``rng`` draws crops.
    project : callable, optional
        Brings the variables back to where they may be, after each step.
    """
    variables = [value.detach().clone().requires_grad_(True) for value in start]
    adam = torch.optim.Adam(variables, settings.learning_rate, betas=(0.9, 0.99))
    weight, best = settings.prior_weight, Best()
    for step in tqdm(range(settings.n_steps), desc="steps", disable=not progress, leave=False):
        images, penalty = render(variables), prior(variables)
        terms = problem.objective.terms(images, goal, rng)
        total = (terms["views_loss"] + weight * penalty).sum()  # rows do not touch each other
        check_learning(total.detach(), "the objective", step)
        best.offer(terms, images, variables, penalty, weight)
        for value, gradient in zip(variables, torch.autograd.grad(total, variables), strict=True):
            value.grad = gradient
        for group in adam.param_groups:
            share = (1 + math.cos(math.pi * step / settings.n_steps)) / 2
            group["lr"] = settings.learning_rate * share
        adam.step()
        if project is not None:
            with torch.no_grad():
                for value, new in zip(variables, project(variables), strict=True):
                    value.copy_(new)
    with torch.no_grad():
        images = render(variables)
        terms = problem.objective.terms(images, goal)
        best.offer(terms, images, variables, prior(variables), weight)
    return best
