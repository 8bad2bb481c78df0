"""One training loop for every mapper that is fitted by gradient steps.

Everything random at a step (which images, which repeat, dropout, mixtures) follows from the seed
and the number of the step, so a fit repeats bit for bit.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn
from tqdm.auto import tqdm

from ..nsd.preprocessing import average_repeats
from ..project.checks import check_learning, check_weights
from ..project.errors import DataError
from ..project.settings import Count, Decay, Flag, NotNegative, Number, Rate, Several, settings
from .common import check_training, compute_device

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor, float], torch.Tensor]
Check = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


@settings
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
    """

    n_steps: Count
    batch_size: Several
    learning_rate: Rate
    weight_decay: NotNegative
    one_cycle: Flag = False
    voxel_dropout: Decay = 0.0
    validation_share: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    check_every: Count = 25
    patience: Count = 300

    def schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """The learning rate of every step."""
        if not self.one_cycle:
            return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.learning_rate, total_steps=self.n_steps, cycle_momentum=False
        )


@contextmanager
def seeded(*numbers: int, device: torch.device) -> Iterator[None]:
    """Seed torch from some numbers, for one block only; the caller's random state is kept."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 2 ms: too much a step
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


def silence(betas: torch.Tensor, share: float) -> torch.Tensor:
    """Set a share of the entries to 0 and scale the others, as dropout does, in half its time.

    One draw of 64 bits decides about four entries, so that the share is true to 1 in 65,536.
    """
    words = torch.empty(-(-betas.numel() // 4), dtype=torch.int64, device=betas.device)
    draws = words.random_(-(2**63), None).view(torch.int16)[: betas.numel()].view_as(betas)
    return (betas * (draws >= round(share * 2**16) - 2**15)).mul_(1 / (1 - share))


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
            f"{len(images)} training images, {n_held} of them held out. Expected: two on each "
            "side; train on more images."
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
        ``check_of(network, betas, embeddings) -> scalar`` on the held-out training images with
        repeats averaged; lower is better.
    betas, embeddings, groups
        As for :func:`fmri_utils.encoders.fit_ridge`.
    training : Training
    seed : int
        Of the validation images and of everything drawn at a step.
    name : str
        What is trained, for the progress bar.
    device : str or torch.device
        "cpu" or "cuda".
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        ``step``, ``train_loss`` (of the step before), ``validation_loss`` at each check,
        ``best_step``, and ``held``, the images held out.

    Raises
    ------
    DataError
        On unfit data.
    DivergedError
        When a loss or a weight is no longer finite.
    """
    check_training(betas, embeddings, groups)
    device = compute_device(device)
    network.to(device)
    held = hold_out(groups, training.validation_share, seed)
    batches = Batches(betas[~held], embeddings[~held], groups[~held], device)
    test = averaged(betas[held], embeddings[held], groups[held], device)
    optimiser = torch.optim.AdamW(
        network.parameters(),
        training.learning_rate,
        weight_decay=training.weight_decay,
        fused=True,
    )
    schedule = training.schedule(optimiser)
    history, best, best_step, last_loss = [], math.inf, 0, math.nan
    for step in tqdm(range(training.n_steps + 1), desc=name, disable=not progress, leave=False):
        if step % training.check_every == 0 or step == training.n_steps:
            with torch.no_grad():
                value = check_of(network.eval(), *test).item()
            check_learning(value, "the validation loss", step)
            check_weights(network.state_dict(), step)
            history.append([step, last_loss, value])
            if value < best:
                best, best_step = value, step
                best_state = {k: v.detach().clone() for k, v in network.state_dict().items()}
            elif step - best_step >= training.patience:
                break
        if step == training.n_steps:
            break
        with seeded(seed, 2, step, device=device):
            x, y = batches.draw(training.batch_size)
            x = silence(x, training.voxel_dropout)
            loss = loss_of(network.train(), x, y, step / training.n_steps)
        last_loss = loss.item()
        check_learning(last_loss, "the loss", step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.load_state_dict(best_state)
    network.eval()
    steps, train_loss, validation_loss = np.array(history).T
    return {
        "step": steps.astype(int),
        "train_loss": train_loss,
        "validation_loss": validation_loss,
        "best_step": np.array(best_step),
        "held": np.unique(groups[held]),
    }
