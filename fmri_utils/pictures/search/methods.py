"""Search for the noise vector, or the noise images, whose picture fits the prediction."""

import numpy as np
import torch
from torch import Tensor

from ...lafite import Generator
from ...project.errors import DataError
from .priors import noise_penalty, shell_penalty, standardised
from .problem import PASSES_PER_STEP, Best, Search, SearchResult
from .search_goal import Objective, Target


def best_of_n(
    generator: Generator,
    condition: np.ndarray | Tensor,
    target: Target,
    objective: Objective,
    *,
    n: int,
    **drawing,
) -> SearchResult:
    """Draw n noise vectors for each embedding and keep the one whose picture fits best.

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
    **drawing
        ``rng``, a torch.Generator that gives one seed, needed; ``truncation_psi``; ``batch_size``,
        which bounds the memory, and on which draws depend; ``folder``, which keeps finished
        batches, so that the same call goes on after a kill; ``progress``.

    Returns
    -------
    SearchResult

    Raises
    ------
    DataError
        If condition and target do not fit the generator or each other.
    ArtifactError
        If ``folder`` holds a damaged batch.
    DivergedError
        If the objective is not finite.
    """
    search = Search(generator, condition, target, objective, **drawing)

    def find(rows: slice, goal: Target, rng: torch.Generator) -> Best:
        best = Best()
        for _ in range(n):
            shape = len(goal), generator.config.z_dim
            z = torch.randn(shape, generator=rng, device=search.device)
            with torch.inference_mode():
                images = search.draw(z, rows)
                best.update(objective.terms(images, goal), images, z)
        return best

    return search.run("best of n", find, n)


def optimise_z(
    generator: Generator,
    condition: np.ndarray | Tensor,
    target: Target,
    objective: Objective,
    *,
    n_steps: int,
    z: Tensor,
    **drawing,
) -> SearchResult:
    """Follow the gradient of the objective with respect to z, and keep the best z on the way.

    Parameters
    ----------
    generator, condition, target, objective, **drawing
        As for :func:`best_of_n`.
    n_steps : int
        Gradient steps.
    z : Tensor, (N, z_dim)
        Where to start.

    Returns
    -------
    SearchResult
        ``trajectory["prior"]`` is the shell penalty in nats.

    Raises
    ------
    DataError, ArtifactError, DivergedError
        As :func:`best_of_n`.
    """
    search = Search(generator, condition, target, objective, z=z, **drawing)

    def find(rows: slice, goal: Target, rng: torch.Generator) -> Best:
        return search.descend(
            [search.start(rows)],
            lambda variables: (search.draw(variables[0], rows), variables[0]),
            lambda variables: shell_penalty(variables[0]),
            goal,
            rng,
            n_steps,
            list,
        )

    return search.run("optimising z", find, PASSES_PER_STEP * n_steps + 1)


def optimise_noise(
    generator: Generator,
    condition: np.ndarray | Tensor,
    target: Target,
    objective: Objective,
    *,
    n_steps: int,
    z: Tensor,
    **drawing,
) -> SearchResult:
    """Follow the gradient with respect to the noise images, z staying as it is.

    After every step each noise image is brought back to mean 0 and variance 1, and a penalty keeps
    it white; without them the picture would be drawn into the noise.

    Parameters
    ----------
    generator, condition, target, objective, n_steps, z, **drawing
        As for :func:`optimise_z`.

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
    search = Search(generator, condition, target, objective, z=z, **drawing)
    if all(layer.noise_strength == 0 for layer in generator.synthesis.convolutions()):
        raise DataError(
            "every noise_strength is 0: the noise images have no effect. Search for z instead."
        )

    def find(rows: slice, goal: Target, rng: torch.Generator) -> Best:
        fixed = search.start(rows)
        return search.descend(
            standardised(generator.synthesis.draw_noise(len(goal), rng)),
            lambda variables: (search.draw(fixed, rows, variables), fixed),
            noise_penalty,
            goal,
            rng,
            n_steps,
            standardised,
        )

    return search.run("optimising noise", find, PASSES_PER_STEP * n_steps + 1)
