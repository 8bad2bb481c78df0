"""One training loop for every mapper that is fitted by gradient steps.

Everything random at a step (which images, which repeat, dropout, mixtures) follows from the seed
and the number of the step. So a run that was killed goes on from its last checkpoint and ends with
the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..nsd.preprocessing import average_repeats
from ..project.checks import check_learning, check_weights
from ..project.errors import DataError
from .checkpoints import load_latest, save_checkpoint
from .common import check_training, compute_device

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor, float], torch.Tensor]
Check = Callable[[nn.Module, torch.Tensor, torch.Tensor], float]


@dataclass(frozen=True)
class Training:
    """Settings of the loop.

    Attributes
    ----------
    n_steps : int
        Optimiser steps at most.
    batch_size : int
        Images in a batch, each once at most and with one of its trials.
    learning_rate, weight_decay : float
        Of AdamW.
    one_cycle : bool
        Let the learning rate rise over the first 30 % of the steps and fall to nothing, instead of
        keeping it constant (Smith & Topin 2018).
    voxel_dropout : float
        Share of the voxels that are silenced at every step and trial.
    validation_share : float
        Share of the training *images* that are kept out to choose the step; never test images.
    check_every, patience : int
        Steps between two checks on them; stop after so many steps without a better one.
    save_every : int
        Steps between two checkpoints, if a folder for them is given.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    one_cycle: bool = False
    voxel_dropout: float = 0.0
    validation_share: float = 0.1
    check_every: int = 25
    patience: int = 300
    save_every: int = 250

    def __post_init__(self):
        if not (self.n_steps >= 1 and self.batch_size >= 2 and self.check_every >= 1):
            raise DataError(
                f"n_steps is {self.n_steps}, batch_size {self.batch_size}, check_every "
                f"{self.check_every}. Expected: at least 1, 2 and 1."
            )
        if not 0 < self.learning_rate < 1e37:  # Adam's first step is ten times that, in float32
            raise DataError(
                f"learning_rate is {self.learning_rate}. Expected: above 0, such as 0.001."
            )
        if not (0 < self.validation_share < 1 and 0 <= self.voxel_dropout < 1):
            raise DataError(
                f"validation_share is {self.validation_share}, voxel_dropout {self.voxel_dropout}. "
                "Expected: shares from 0 to below 1, the first above 0."
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0; the cosine form of torch's OneCycleLR."""
        if not self.one_cycle:
            return self.learning_rate
        top = 0.3 * self.n_steps - 1
        first, last = self.learning_rate / 25, self.learning_rate / 25e4
        if step <= top:
            return _cosine(first, self.learning_rate, step / max(top, 1e-9))
        return _cosine(self.learning_rate, last, (step - top) / (self.n_steps - 1 - top))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


@contextmanager
def seeded(*numbers: int, device: torch.device) -> Iterator[None]:
    """Seed torch from some numbers, for one block only; the caller's random state is kept."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def hold_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw validation images; bool (n_trials,), all repeats of an image alike.

    Raises
    ------
    DataError
        If fewer than two images would be on one of the sides.
    """
    images = np.unique(groups)
    n_held = max(2, int(share * len(images)))
    if len(images) - n_held < 2:
        raise DataError(
            f"{len(images)} training images, of which {n_held} are to be held out for early "
            "stopping. Expected: at least two on each side; train on more images."
        )
    order = np.random.default_rng([seed, 1]).permutation(images)
    return np.isin(groups, order[:n_held])


class Batches:
    """Trials and embeddings on the device, and how a batch is drawn from them."""

    def __init__(self, betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray, device):
        self.betas = torch.tensor(betas, dtype=torch.float32, device=device)
        self.embeddings = torch.tensor(embeddings, dtype=torch.float32, device=device)
        order = np.argsort(groups, kind="stable")
        _, start, count = np.unique(groups[order], return_index=True, return_counts=True)
        self.order, self.start, self.count = (torch.from_numpy(a) for a in (order, start, count))

    def draw(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One trial each of ``size`` images, or of all if there are fewer: (B, V) and (B, C)."""
        chosen = torch.randperm(len(self.start))[:size]
        repeat = (torch.rand(len(chosen)) * self.count[chosen]).long()
        rows = self.order[self.start[chosen] + repeat].to(self.betas.device)
        return self.betas[rows], self.embeddings[rows]


def averaged(
    betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean pattern (n_images, V) and embedding (n_images, C) of each image, as in the test."""
    pattern, _, _ = average_repeats(np.asarray(betas, np.float32), groups)
    _, first = np.unique(groups, return_index=True)
    arrays = (pattern, np.asarray(embeddings[first], np.float32))
    return tuple(torch.from_numpy(a).to(device) for a in arrays)


def identity_of(
    name: str, settings: dict, betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray
) -> dict:
    """What a checkpoint belongs to: the fit's name, its settings, and a hash of its data."""
    digest = hashlib.sha256()
    for array in (betas, embeddings, groups):
        digest.update(np.ascontiguousarray(array))
    return {"fit": name, "data": digest.hexdigest(), **settings}


def train(
    network: nn.Module,
    loss_of: Loss,
    check_of: Check,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    training: Training,
    seed: int,
    name: str,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
    settings: dict | None = None,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Train a network on single trials; it ends with the weights of its best check.

    Parameters
    ----------
    network : torch.nn.Module
        Freshly initialised. Changed in place.
    loss_of : callable
        ``loss_of(network, betas (B, V), embeddings (B, C), share) -> scalar``; ``share`` of the
        steps is done, 0 to 1.
    check_of : callable
        ``check_of(network, betas, embeddings) -> float`` on the held-out training images with
        repeats averaged; lower is better.
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    training : Training
    seed : int
        Of the validation images and of everything drawn at a step.
    name : str
        What is trained, for the progress bar and the checkpoints.
    device : str or torch.device
        "cpu" or "cuda".
    folder : pathlib.Path, optional
        For checkpoints; a finished or interrupted run with the same data and settings goes on.
    settings : dict, optional
        Further settings that a checkpoint must agree in.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        ``step``, ``train_loss``, ``validation_loss`` at each check, ``best_step``, and ``held``,
        the images held out.

    Raises
    ------
    DataError
        On unfit data.
    DivergedError
        When a loss, or a weight to be saved, is no longer finite. The checkpoint stays what it was.
    WeightsError, ArtifactError
        If the folder's checkpoint belongs to other data or settings, or is damaged.
    """
    check_training(betas, embeddings, groups)
    device = compute_device(device)
    network.to(device)
    held = hold_out(groups, training.validation_share, seed)
    batches = Batches(betas[~held], embeddings[~held], groups[~held], device)
    test = averaged(betas[held], embeddings[held], groups[held], device)
    optimiser = torch.optim.AdamW(
        network.parameters(), training.learning_rate, weight_decay=training.weight_decay
    )
    run = Run(network, optimiser)
    if folder is not None:
        every = {**asdict(training), **(settings or {}), "seed": seed}
        identity = identity_of(name, every, betas, embeddings, groups)
        load_latest(folder, run, identity)
    steps = range(run.step, training.n_steps + 1)
    for step in tqdm(steps, desc=name, disable=not progress, leave=False):
        if run.finished:
            break
        if step % training.check_every == 0 or step == training.n_steps:
            run.check(step, check_of(network.eval(), *test), training.patience)
        run.step = step
        done = run.finished or step == training.n_steps
        if folder is not None and step > 0 and (done or step % training.save_every == 0):
            run.finished = done
            check_weights(network.state_dict(), step)
            save_checkpoint(folder, run, identity)
        if done:
            break
        with seeded(seed, 2, step, device=device):
            x, y = batches.draw(training.batch_size)
            x = nn.functional.dropout(x, training.voxel_dropout)
            loss = loss_of(network.train(), x, y, step / training.n_steps)
        run.take(step, loss, training.rate(step))
    network.load_state_dict(run.best_state)
    network.eval()
    return {**run.report(), "held": np.unique(groups[held])}


class Run:
    """Where a training run stands: all that a checkpoint keeps."""

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer):
        self.network, self.optimiser = network, optimiser
        self.step, self.finished = 0, False
        self.best, self.best_step = math.inf, 0
        self.best_state: dict[str, torch.Tensor] = {}
        self.history: list[list[float]] = []  # step, train loss, validation loss
        self.last_loss = math.nan

    def check(self, step: int, value: float, patience: int) -> None:
        """Record a check; keep the weights if it is the best, stop if the best is long ago."""
        check_learning(value, "the validation loss", step)
        check_weights(self.network.state_dict(), step)
        if self.history and self.history[-1][0] == step:
            return  # recorded before the checkpoint that this run goes on from
        self.history.append([step, self.last_loss, value])
        if value < self.best:
            self.best, self.best_step = value, step
            state = self.network.state_dict()
            self.best_state = {k: v.detach().clone() for k, v in state.items()}
        elif step - self.best_step >= patience:
            self.finished = True

    def take(self, step: int, loss: torch.Tensor, rate: float) -> None:
        """One optimiser step."""
        self.last_loss = loss.item()
        check_learning(self.last_loss, "the loss", step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def report(self) -> dict[str, np.ndarray]:
        """History as arrays; the training loss is that of the step before each check."""
        step, train_loss, validation_loss = np.array(self.history).T
        return {
            "step": step.astype(int),
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "best_step": np.array(self.best_step),
        }
