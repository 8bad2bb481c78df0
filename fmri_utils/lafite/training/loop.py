"""Language-free training of LAFITE, resumable: kill it and start it again with the same call.

On one CPU with one thread count and instruction set, a run that was interrupted and resumed gives
the same weights bit for bit as one that was not. Under torchrun several processes share every batch
(:mod:`.processes`); ``python -m pipeline.train_lafite`` is the command for it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ...project.checks import check_finite, check_learning, check_weights
from ...project.errors import DataError, WeightsError
from ...project.tensors import read_safetensors
from ..discriminator import Discriminator
from ..generator import Generator
from .checkpoints import checkpoint_files, read_checkpoint, write_checkpoint
from .config import TrainingConfig
from .data import Batches, TrainingData
from .processes import Processes
from .steps import ImageEncoder, TrainingState

GRID_SEED_OFFSET = 1_000_003  # the grid's noise vectors are no draw of the training's


@dataclass(frozen=True)
class TrainingResult:
    """What a run ends with.

    Attributes
    ----------
    generator : Generator
        The averaged generator, in eval mode: the one to use.
    raw_generator, discriminator : Generator, Discriminator
        The last weights.
    history : list of dict
        One row per ``log_images`` images: ``images``, ``images_per_second``, and each loss term,
        weighted, averaged since the row before; and a row per ``grid_images`` images with
        ``images`` and what the monitor measured.
    images : int
        Images seen.
    finished : bool
        False if ``max_seconds`` ended the run early; the same call continues it.
    """

    generator: Generator
    raw_generator: Generator
    discriminator: Discriminator
    history: list[dict[str, float]]
    images: int
    finished: bool


class _Log:
    """Averages loss terms and appends a row to the history every so many images."""

    def __init__(self, every: int, history: list[dict[str, float]]):
        self.every, self.history = every, history
        self.values: dict[str, list[Tensor]] = {}
        self.since, self.start = 0, time.perf_counter()

    def add(self, terms: dict[str, Tensor], n: int, images: int, last: bool) -> dict | None:
        """Collect one step; returns the new row when one is due."""
        for name, value in terms.items():
            self.values.setdefault(name, []).append(value)
        self.since += n
        if images // self.every == (images - n) // self.every and not last:
            return None
        seconds = time.perf_counter() - self.start
        row = {"images": images, "images_per_second": self.since / seconds}
        row |= {name: torch.stack(v).mean().item() for name, v in self.values.items()}
        self.history.append(row)
        self.values, self.since, self.start = {}, 0, time.perf_counter()
        return row


def _resume(state: TrainingState, folder: Path | None, config: dict, initial) -> list:
    """Continue from the newest checkpoint, or start from ``initial``; returns the history."""
    files = checkpoint_files(folder) if folder is not None else []
    try:
        if files:
            tensors, other = read_checkpoint(files[-1], config, state.device)
            state.networks.load_state_dict(tensors)
            state.load_other(other)
            return other["history"]
        if initial is not None and not isinstance(initial, Mapping):
            what, remedy = "networks to start from", "Give another file as initial."
            initial, _ = read_safetensors(initial, what=what, remedy=remedy, device=state.device)
        if initial is not None:
            state.start_from(dict(initial))
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
        source = files[-1] if files else "initial"
        raise WeightsError(
            f"{source} does not fit this run ({err!r}). Use other weights or another folder."
        ) from err
    return []


@dataclass(frozen=True)
class Observers:
    """Who looks on while a network learns; none of them changes what it learns.

    Attributes
    ----------
    on_grid : callable, optional
        Called with (images seen, (K, 3, R, R) in [-1, 1], history) every ``grid_images``: the
        averaged generator under fixed noise vectors and ``grid_conditions``. ``save_progress`` of
        :mod:`fmri_utils.plots` makes one that writes pictures and curves.
    monitor : callable, optional
        Called as often with the same pictures; the numbers that it returns join the history in a
        row of their own. Give ``grid_conditions`` enough rows for a distance of distributions
        (:func:`fmri_utils.metrics.training_monitor`).
    grid_conditions : Tensor or ndarray, (K, C), optional
        By default the first 16 embeddings (with two conditions, and a caption of each).
    on_step : callable, optional
        Called with (images seen, loss terms) after every step.
    """

    on_grid: Callable[[int, Tensor, list[dict[str, float]]], None] | None = None
    monitor: Callable[[Tensor], Mapping[str, float]] | None = None
    grid_conditions: Tensor | np.ndarray | None = None
    on_step: Callable[[int, dict], None] | None = None


def train(
    config: TrainingConfig,
    data: TrainingData,
    image_encoder: ImageEncoder | None = None,
    *,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    initial: str | Path | Mapping[str, Tensor] | None = None,
    observers: Observers = Observers(),
    out_dir: str | Path | None = None,
    max_seconds: float | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> TrainingResult:
    """Train a generator on images and their CLIP embeddings, without captions or with.

    In several processes (an initialised ``torch.distributed``) each calls this with the same
    arguments but ``device``; ``config.batch_size`` is that of all together. The first one calls the
    observers and writes checkpoints, which all must be able to read.

    Parameters
    ----------
    config : TrainingConfig
    data : TrainingData
    image_encoder : callable, optional
        Images (B, 3, clip_size, clip_size) in [-1, 1] to unit-norm embeddings (B, C),
        differentiable, its own parameters frozen. Needed if ``config.itc`` or ``config.iic``.
    perceptual : callable, optional
        (fake, real), both (B, 3, R, R) in [-1, 1], to a distance (B,) or ().
    initial : path-like or mapping, optional
        Networks to start from, if ``out_dir`` holds no checkpoint: another run's checkpoint
        (.safetensors) or tensors by name; a generator's bare names, or several networks with
        ``G.``, ``D.``, ``G_ema.`` in front. Without a D the discriminator is fresh.
    observers : Observers
    out_dir : path-like, optional
        Folder for checkpoints. If it holds one, the run continues from there.
    max_seconds : float, optional
        Stop after this time, with a checkpoint.
    device : str or torch.device
    progress : bool
        Show a progress bar.

    Returns
    -------
    TrainingResult

    Raises
    ------
    DataError
        If the data do not fit the settings.
    WeightsError
        If a checkpoint is damaged or belongs to other settings or data.
    DivergedError
        If a loss, a weight or a sample is not finite. The last checkpoint stays.
    """
    started = time.perf_counter()
    batches = Batches(config, data)
    needs_encoder = max(config.itc, config.iic) > 0 and config.n_images > config.warmup_images
    if needs_encoder and image_encoder is None:
        raise DataError("itc or iic is above 0, but no image_encoder was given.")
    if config.perceptual_weight > 0 and perceptual is None:
        raise DataError("perceptual_weight is above 0, but no perceptual callable was given.")
    device = torch.device(device)
    folder = None if out_dir is None else Path(out_dir)
    saved_config = config.to_dict() | {"data": batches.fingerprint()}
    processes = Processes.current()
    first = processes.rank == 0
    state = TrainingState(config, image_encoder, perceptual, device, processes)
    history = _resume(state, folder, saved_config, initial)
    _check_agreement(state, saved_config["data"])
    log = _Log(config.log_images, history)
    conditions = observers.grid_conditions
    conditions = torch.as_tensor(batches.first(16) if conditions is None else conditions)
    check_finite(conditions, "grid_conditions", ("picture", "dimension"))
    finished = state.images >= config.n_images
    quiet = not (progress and first)
    bar = tqdm(total=config.n_images, initial=state.images, unit="img", disable=quiet)
    with bar:
        while not finished:
            terms = state.train_step(batches.batch(state.images, state.rng, state.rows))
            finished = state.images >= config.n_images
            out_of_time = max_seconds is not None and processes.any(
                time.perf_counter() - started > max_seconds, device
            )
            last = finished or out_of_time
            row = log.add(terms, config.batch_size, state.images, last)
            bar.update(config.batch_size)
            if row:
                values = {k: f"{v:.3g}" for k, v in row.items() if k != "images"}
                bar.set_postfix(values, refresh=False)
            if observers.on_step is not None and first:
                observers.on_step(state.images, terms)
            due = last or _due(state.images, config, "checkpoint_images")
            drawn = last or _due(state.images, config, "grid_images")
            if due or drawn:
                check_weights(state.networks.state_dict(), state.step)
            if first and drawn:
                _show(state, conditions, observers, history)
            if folder is not None and first and due:
                other = state.other() | {"history": history}
                tensors = state.networks.state_dict()
                write_checkpoint(folder, state.images, tensors, other, saved_config)
            if out_of_time:
                break
    processes.wait()  # until the last checkpoint is written
    networks = state.average, state.generator, state.discriminator
    return TrainingResult(*networks, history, state.images, finished)


def _check_agreement(state: TrainingState, fingerprint: str) -> None:
    """Refuse to start if processes see other data or another checkpoint than this one."""
    own = torch.tensor([[state.images, int(fingerprint[:12], 16)]], device=state.device)
    if (state.processes.gather(own) != own).any():
        raise DataError("the processes began with other data or checkpoints. Expected: the same.")


def _due(images: int, config: TrainingConfig, name: str) -> bool:
    """Whether the last step crossed a multiple of the interval ``name``."""
    every = getattr(config, name)
    return images // every > (images - config.batch_size) // every


def _show(state: TrainingState, conditions: Tensor, observers: Observers, history: list) -> None:
    """Let the observers look at pictures of now."""
    if observers.on_grid is None and observers.monitor is None:
        return
    grid = _grid(state, conditions)
    if observers.monitor is not None:
        # Plain numbers: a checkpoint is read without running what a pickle might hold.
        seen = {name: float(value) for name, value in observers.monitor(grid).items()}
        history.append({"images": state.images, **seen})
    if observers.on_grid is not None:
        observers.on_grid(state.images, grid, history)


@torch.no_grad()
def _grid(state: TrainingState, conditions: Tensor) -> Tensor:
    """Images of the averaged generator under fixed noise vectors, constant noise images."""
    config = state.config
    rng = torch.Generator().manual_seed(config.seed + GRID_SEED_OFFSET)
    z = torch.randn((len(conditions), config.generator.z_dim), generator=rng)
    if config.zero_z:
        z = torch.zeros_like(z)
    device = state.device
    pairs = zip(z.split(config.batch_size), conditions.split(config.batch_size), strict=True)
    parts = [state.average(a.to(device), b.float().to(device)) for a, b in pairs]
    images = torch.cat(parts)
    check_learning(images, "the sample", state.step)
    return images.clamp(-1, 1).cpu()
