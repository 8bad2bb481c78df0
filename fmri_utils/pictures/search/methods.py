"""Search for the latent vector, or the noise images, whose picture fits the prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...lafite import Generator
from ...project.errors import DataError
from .batches import in_parts
from .priors import noise_penalty, shell_penalty, standardised
from .problem import Best, Problem, SearchResult, SearchSettings, descend
from .search_goal import Objective, Target


def best_of_n(
    generator: Generator,
    condition: np.ndarray | Tensor,
    target: Target,
    objective: Objective,
    *,
    n: int,
    rng: torch.Generator,
    truncation_psi: float = 1.0,
    batch_size: int = 25,
    folder: Path | None = None,
    progress: bool = False,
) -> SearchResult:
    """Draw n latent vectors for each embedding and keep the one whose picture fits best.

    Parameters
    ----------
    generator : Generator
        Everything is computed on its device.
    condition : array, (N, condition_width)
        What the generator is fed with, scaled to unit length here.
    target : Target
        N rows; usually the same embeddings.
    objective : Objective
        Looked at without crops.
    n : int
        Draws, which are the generator passes spent on each picture.
    rng : torch.Generator
        Gives one seed.
    truncation_psi, batch_size : float, int
        ``batch_size`` bounds the memory. Draws depend on it.
    folder : pathlib.Path, optional
        Keeps finished batches; the same call goes on after a kill. For searches of minutes.
    progress : bool

    Returns
    -------
    SearchResult

    Raises
    ------
    DataError
        If condition and target do not fit the generator or each other.
    ArtifactError
        If ``folder`` holds batches of another search, or damaged ones.
    DivergedError
        If the objective is not finite.
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected 1 or more draws.")
    problem = Problem.make(generator, condition, target, objective, truncation_psi)
    seed = _seed(rng)

    def compute(rows: slice) -> dict[str, Tensor]:
        own = problem.rng(seed, rows)
        goal = target.part(rows, problem.device)
        best = Best()
        for _ in range(n):
            z = problem.z(len(goal), own)
            with torch.inference_mode():
                images = problem.draw(z, rows)
                best.offer(objective.terms(images, goal), images, [z])
        return best.part()

    about = problem.about("best of n", seed, batch_size, None, n=n)
    return _gather(compute, problem, batch_size, n, folder, about, "best of n", progress)


def optimise_z(
    generator: Generator,
    condition: np.ndarray | Tensor,
    target: Target,
    objective: Objective,
    *,
    settings: SearchSettings,
    rng: torch.Generator,
    z: Tensor | None = None,
    truncation_psi: float = 1.0,
    batch_size: int = 25,
    folder: Path | None = None,
    progress: bool = False,
) -> SearchResult:
    """Follow the gradient of the objective with respect to z, and keep the best z on the way.

    Parameters
    ----------
    generator, condition, target, objective, rng, truncation_psi, batch_size, folder, progress
        As for :func:`best_of_n`.
    settings : SearchSettings
    z : Tensor, (N, z_dim), optional
        One of the starts; drawn otherwise.

    Returns
    -------
    SearchResult
        ``trajectory["prior"]`` is the shell penalty in nats.

    Raises
    ------
    DataError, ArtifactError
        As :func:`best_of_n`.
    DivergedError
        If the objective is not finite.
    """
    problem = Problem.make(generator, condition, target, objective, truncation_psi)
    seed = _seed(rng)
    problem.check_z(z)

    def compute(rows: slice) -> dict[str, Tensor]:
        own = problem.rng(seed, rows)
        goal = target.part(rows, problem.device)
        starts = [] if z is None else [z[rows].to(problem.device, torch.float32)]
        starts += [problem.z(len(goal), own) for _ in range(settings.n_starts - len(starts))]
        start = starts[0] if len(starts) == 1 else problem.best_start(starts, goal, rows)

        def render(variables: list[Tensor]) -> Tensor:
            return problem.draw(variables[0], rows)

        def prior(variables: list[Tensor]) -> Tensor:
            return shell_penalty(variables[0])

        best = descend([start], render, prior, problem, goal, settings, own, progress=progress)
        return best.part()

    about = problem.about("z", seed, batch_size, z, settings=dataclasses.asdict(settings))
    return _gather(
        compute, problem, batch_size, settings.passes, folder, about, "optimising z", progress
    )


def optimise_noise(
    generator: Generator,
    condition: np.ndarray | Tensor,
    target: Target,
    objective: Objective,
    *,
    settings: SearchSettings,
    z: Tensor,
    rng: torch.Generator,
    truncation_psi: float = 1.0,
    batch_size: int = 25,
    keep_noise: bool = False,
    folder: Path | None = None,
    progress: bool = False,
) -> SearchResult:
    """Follow the gradient with respect to the noise images, z staying as it is.

    After every step each noise image is brought back to mean 0 and variance 1, and a penalty keeps
    it white; without them the picture would be drawn into the noise.

    Parameters
    ----------
    generator, condition, target, objective, settings, rng, truncation_psi, batch_size, folder, \
progress
        As for :func:`optimise_z`; ``n_starts`` must be 1.
    z : Tensor, (N, z_dim)
    keep_noise : bool
        Return the noise images, 0.7 MB for each picture of 256 pixels.

    Returns
    -------
    SearchResult
        ``trajectory["prior"]`` is the noise penalty, 1 for white noise.

    Raises
    ------
    DataError
        As :func:`best_of_n`, or if the generator ignores its noise images.
    ArtifactError, DivergedError
        As :func:`optimise_z`.
    """
    problem = Problem.make(generator, condition, target, objective, truncation_psi)
    seed = _seed(rng)
    problem.check_z(z)
    layers = generator.synthesis.convolutions()
    if all(layer.noise_strength == 0 for layer in layers):
        raise DataError(
            "every noise_strength of this generator is 0: the noise images have no effect. Search "
            "for z instead."
        )
    if settings.n_starts != 1:
        raise ValueError(f"n_starts is {settings.n_starts}; expected 1 for noise images.")

    def compute(rows: slice) -> dict[str, Tensor]:
        own = problem.rng(seed, rows)
        goal = target.part(rows, problem.device)
        fixed = z[rows].to(problem.device, torch.float32)

        def render(variables: list[Tensor]) -> Tensor:
            return problem.draw(fixed, rows, variables)

        start = standardised(generator.synthesis.draw_noise(len(goal), own))
        best = descend(
            start,
            render,
            noise_penalty,
            problem,
            goal,
            settings,
            own,
            project=standardised,
            progress=progress,
        )
        return best.part(z=fixed, keep_noise=keep_noise)

    more = {"settings": dataclasses.asdict(settings), "keep_noise": keep_noise}
    about = problem.about("noise", seed, batch_size, z, **more)
    return _gather(
        compute, problem, batch_size, settings.passes, folder, about, "optimising noise", progress
    )


def _seed(rng: torch.Generator) -> int:
    """One seed from the caller's generator, from which every batch gets its own."""
    return int(torch.randint(2**62, (1,), generator=rng, device=rng.device))


def _gather(
    compute: Callable[[slice], dict[str, Tensor]],
    problem: Problem,
    batch_size: int,
    passes: int,
    folder: Path | None,
    about: Callable,
    desc: str,
    progress: bool,
) -> SearchResult:
    """Search batch by batch, and put the batches together."""
    n = len(problem.target)
    found = in_parts(
        compute, n, batch_size, folder=folder, about=about, desc=desc, progress=progress
    )
    records = {k.split("/")[1]: v for k, v in found.items() if k.startswith("trajectory/")}
    noise = [found[k] for k in sorted(found) if k.startswith("noise/")]
    return SearchResult(
        pictures=found["pictures"].numpy(),
        z=found["z"],
        noise=noise or None,
        trajectory={name: value.T.numpy() for name, value in records.items()},
        passes=passes,
    )
