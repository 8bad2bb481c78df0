"""What all searches share: the problem, batches that are kept, and the descent along a gradient."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ...lafite import Generator
from ...project.checks import check_finite, check_learning
from ...project.errors import DataError
from ...project.parts import Parts
from ...project.tensors import tensor_hash
from ..reconstruction import as_pictures, unit_conditions
from .search_goal import Objective, Target

PASSES_PER_STEP = 3  # a gradient step: once forward, about twice that for the way back
LEARNING_RATE = 0.3  # of Adam, per coordinate of a standard normal; falls to 0 along half a cosine
PRIOR_WEIGHT = 0.01  # of a nat of the shell penalty, or of a unit of the noise penalty


def steps_within(passes: int) -> int:
    """Gradient steps that fit into a budget of generator passes, beside the last picture.

    Raises
    ------
    DataError
        If it holds none.
    """
    n_steps = (passes - 1) // PASSES_PER_STEP
    if n_steps < 1:
        raise DataError(
            f"{passes} passes do not hold one step. Expected: {PASSES_PER_STEP + 1} or more."
        )
    return n_steps


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found, one row per target.

    Attributes
    ----------
    pictures : numpy.ndarray, float32 (N, H, W, 3)
        RGB in [0, 1].
    z : Tensor, (N, z_dim)
    trajectory : dict of str to numpy.ndarray, (n_records, N)
        ``loss``, ``cosine``, ``low_level`` (if it has a weight), and ``prior`` of a descent: one
        record per draw, or one before each step and one at the end. Of whole pictures; ``loss``
        includes the prior.
    passes : int
        Generator passes spent on each picture.
    """

    pictures: np.ndarray
    z: Tensor
    trajectory: dict[str, np.ndarray]
    passes: int


class Best:
    """The best picture of each row so far, with its noise vector, and the trajectory."""

    def __init__(self):
        self.loss: Tensor | None = None
        self.images: Tensor | None = None
        self.z: Tensor | None = None
        self.records: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def update(
        self, terms: dict[str, Tensor], images: Tensor, z: Tensor, prior: Tensor | None = None
    ) -> None:
        """Record one picture per row, and keep those that are better than the ones before.

        A loss that is not finite is a DivergedError: no other would ever be better or worse.
        """
        record = {name: value for name, value in terms.items() if name != "views_loss"}
        if prior is not None:
            record["prior"] = prior
            record["loss"] = record["loss"] + PRIOR_WEIGHT * prior
        check_learning(record["loss"], "the objective", len(self.records.get("loss", ())))
        for name, value in record.items():
            self.records.setdefault(name, []).append(value.detach())
        images, z, loss = images.detach(), z.detach(), record["loss"].detach()
        if self.loss is None:
            self.images, self.z, self.loss = images, z.clone(), loss
            return
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.images = torch.where(better[:, None, None, None], images, self.images)
        self.z = torch.where(better[:, None], z, self.z)

    def arrays(self) -> dict[str, np.ndarray]:
        """A batch's result by name, rows along the first axis; records of the trajectory too."""
        out = {name: torch.stack(values, 1) for name, values in self.records.items()}
        out = {name: value.cpu().numpy() for name, value in out.items()}
        return out | {"pictures": as_pictures(self.images), "z": self.z.cpu().numpy()}


class Search:
    """A generator with what it is to draw, checked, batch by batch.

    Parameters
    ----------
    generator, condition, target, objective, rng, truncation_psi, batch_size, folder, progress
        As for :func:`best_of_n`.
    z : Tensor, (N, z_dim), optional
    """

    def __init__(
        self,
        generator: Generator,
        condition: np.ndarray | Tensor,
        target: Target,
        objective: Objective,
        *,
        rng: torch.Generator,
        z: Tensor | None = None,
        truncation_psi: float = 1.0,
        batch_size: int = 25,
        folder: Path | None = None,
        progress: bool = False,
    ):
        self.generator, self.target, self.objective = generator, target, objective
        self.condition = unit_conditions(generator, condition, len(target))
        self.psi, self.batch_size, self.z = truncation_psi, batch_size, z
        self.folder, self.progress = folder, progress
        self.device = next(generator.parameters()).device
        check_finite(truncation_psi, "truncation_psi")
        # One seed, from which every batch gets its own.
        self.seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
        expected = (len(target), generator.config.z_dim)
        if z is not None and tuple(z.shape) != expected:
            raise DataError(f"z has shape {tuple(z.shape)}. Expected: {expected}, one per target.")
        if z is not None:
            check_finite(z, "z", ("picture", "dimension"), remedy="Draw z anew.")

    def draw(self, z: Tensor, rows: slice, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Pictures (B, 3, R, R) of some rows, about -1 to 1, differentiable."""
        condition = self.condition[rows].to(self.device)
        return self.generator(z, condition, truncation_psi=self.psi, noise=noise)

    def start(self, rows: slice) -> Tensor:
        """Noise vectors (B, z_dim) that were given for some rows."""
        return self.z[rows].to(self.device, torch.float32)

    def run(self, method: str, find: Callable, passes: int) -> SearchResult:
        """Search all rows by ``find(rows, goal, rng) -> Best``, and put the batches together.

        A batch has random numbers of its own, whatever was computed before it. With a folder
        finished batches are kept there, and the same call goes on after a kill.
        """

        def compute(number: int) -> dict[str, np.ndarray]:
            start = number * self.batch_size
            rows = slice(start, min(start + self.batch_size, len(self.target)))
            rng = torch.Generator(self.device).manual_seed((self.seed + start) % 2**63)
            return find(rows, self.target.part(rows, self.device), rng).arrays()

        numbers = range(-(-len(self.target) // self.batch_size))
        if self.folder is None:
            shown = tqdm(numbers, desc=method, disable=not self.progress, leave=False)
            found = [compute(number) for number in shown]
        else:
            parts = Parts(self.folder, self._key(method, passes))
            parts.run(numbers, compute, progress=self.progress, what=method)
            found = [parts.load(number) for number in numbers]
        joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        pictures, z = joined.pop("pictures"), torch.from_numpy(joined.pop("z"))
        return SearchResult(pictures, z, {name: v.T for name, v in joined.items()}, passes)

    def _key(self, method: str, passes: int) -> dict:
        """Everything that the result depends on."""
        size = self.generator.config.resolution
        ramp = torch.linspace(-1, 1, size, device=self.device).expand(1, 3, size, size)
        with torch.no_grad():
            seen = self.objective.image_encoder(ramp)
        target = self.target
        return {
            "method": method,
            "passes": passes,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "truncation_psi": self.psi,
            "low_level_weight": self.objective.low_level_weight,
            # Its last digits depend on the number of threads.
            "image_encoder": [round(value, 2) for value in seen.flatten().tolist()],
            "generator": tensor_hash(*self.generator.state_dict().values()),
            "condition": tensor_hash(self.condition),
            "target": tensor_hash(target.embedding, target.picture, target.precision),
            "z": tensor_hash(self.z),
        }

    def descend(
        self,
        variables: Sequence[Tensor],
        render: Callable[[list[Tensor]], tuple[Tensor, Tensor]],
        prior: Callable[[list[Tensor]], Tensor],
        goal: Target,
        rng: torch.Generator,
        n_steps: int,
        project: Callable[[Sequence[Tensor]], list[Tensor]],
    ) -> Best:
        """Follow the gradient of objective and prior with Adam.

        Parameters
        ----------
        variables : sequence of Tensor, (B, ...)
            Where to start.
        render, prior : callable
            From the variables to pictures (B, 3, R, R) and their z, and to penalties (B,).
        goal, rng
            The batch's rows of the target, and what draws crops.
        project : callable
            Brings the variables back to where they may be, after each step.
        """
        variables = [value.detach().clone().requires_grad_(True) for value in variables]
        adam = torch.optim.Adam(variables, betas=(0.9, 0.99))
        best, steps = Best(), range(n_steps)
        for step in tqdm(steps, desc="steps", disable=not self.progress, leave=False):
            images, z = render(variables)
            penalty, terms = prior(variables), self.objective.terms(images, goal, rng)
            total = (terms["views_loss"] + PRIOR_WEIGHT * penalty).sum()  # rows do not touch
            check_learning(total.detach(), "the objective", step)
            best.update(terms, images, z, penalty)
            gradients = torch.autograd.grad(total, variables)
            for value, gradient in zip(variables, gradients, strict=True):
                value.grad = gradient
            share = (1 + math.cos(math.pi * step / n_steps)) / 2
            adam.param_groups[0]["lr"] = LEARNING_RATE * share
            adam.step()
            with torch.no_grad():
                for value, new in zip(variables, project(variables), strict=True):
                    value.copy_(new)
        with torch.no_grad():
            images, z = render(variables)
            best.update(self.objective.terms(images, goal), images, z, prior(variables))
        return best
