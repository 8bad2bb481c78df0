"""Training of a student and its teacher, resumable, with what happens written down."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from ..metrics import effective_rank
from ..project.checks import check_learning, check_weights
from ..project.errors import WeightsError
from ..project.reading import reading
from ..project.settings import Count, Flag, Fraction, NotNegative, Positive, Rate, settings
from ..project.tensors import load_state, save_state
from . import distillation
from .views import Views, check_inputs

SAVE_EVERY = 50  # steps between two checkpoints


@settings
class DinoSettings:
    """Numbers of a training.

    Attributes
    ----------
    n_steps, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW; the first is the peak of the schedule.
    momentum : float
        Of the teacher's moving average at the start; it rises to 1.
    student_temperature, teacher_temperature : float
        Sharpening is a teacher temperature below the student's.
    centre_momentum : float
    centring : bool
    """

    n_steps: Count
    batch_size: Count = 64
    learning_rate: Rate = 1e-3
    weight_decay: NotNegative = 0.04
    momentum: Fraction = 0.99
    student_temperature: Positive = 0.1
    teacher_temperature: Positive = 0.04
    centre_momentum: Fraction = 0.9
    centring: Flag = True


class StudentTeacher(nn.Module):
    """A student that is trained, and a teacher that is the student's moving average.

    Parameters
    ----------
    learner : torch.nn.Module
        Gives outputs (B, K); it becomes the student, and a copy of it the teacher.
    n_outputs : int
        K.
    settings : DinoSettings
    """

    def __init__(self, learner: nn.Module, n_outputs: int, settings: DinoSettings):
        super().__init__()
        self.student, self.teacher = learner, copy.deepcopy(learner)
        self.teacher.requires_grad_(False)
        self.settings = settings
        self.register_buffer("centre", torch.zeros(n_outputs))
        trained = [p for p in self.student.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.step = 0

    def momentum(self) -> float:
        """Of the next update of the teacher."""
        s = self.settings
        return distillation.cosine_schedule(s.momentum, 1.0, self.step, s.n_steps)

    def look(self, views: Views) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Outputs of the student for all views, and of the teacher for the shared ones only."""
        with torch.no_grad():
            teacher = list(self.teacher(torch.cat(views.shared)).chunk(len(views.shared)))
        student = list(self.student(torch.cat(views.shared)).chunk(len(views.shared)))
        if views.own:
            student += list(self.student(torch.cat(views.own)).chunk(len(views.own)))
        return student, teacher

    def learn(self, views: Views) -> float:
        """One step on a batch of views: the student by gradient, then centre and teacher.

        A loss that is not finite is a DivergedError, and changes nothing.
        """
        s = self.settings
        rate = distillation.learning_rate(
            s.learning_rate, self.step, s.n_steps, n_warmup=max(1, s.n_steps // 10)
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        student, teacher = self.look(views)
        temperatures = s.student_temperature, s.teacher_temperature
        loss = distillation.dino_loss(student, teacher, self.centre, *temperatures)
        check_learning(loss.detach(), "the loss", self.step)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        self.optimiser.step()
        if s.centring:
            m, mean = s.centre_momentum, torch.cat(teacher).mean(0)
            self.centre = m * self.centre + (1 - m) * mean  # c <- m c + (1 - m) mean(g_t), eq. 4
        self.follow(self.momentum())
        self.step += 1
        return float(loss.detach())

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher towards the student: theta_t <- m theta_t + (1 - m) theta_s."""
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        for teacher, student in pairs:
            teacher.mul_(momentum).add_(student, alpha=1 - momentum)

    @torch.no_grad()
    def probabilities(self, inputs: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """What student and teacher answer to the same inputs, two arrays (n, K)."""
        check_inputs(inputs)
        s = self.settings
        student = torch.softmax(self.student(inputs) / s.student_temperature, 1)
        teacher = distillation.teacher_probabilities(
            self.teacher(inputs), self.centre, s.teacher_temperature
        )
        return student.numpy(), teacher.numpy()

    @torch.no_grad()
    def features(self, inputs: torch.Tensor) -> np.ndarray:
        """Features of the teacher's backbone, (n, width)."""
        check_inputs(inputs)
        return np.concatenate([self.teacher.backbone(part).numpy() for part in inputs.split(250)])


def collapse_measures(pair: StudentTeacher, inputs: torch.Tensor) -> dict[str, float]:
    """Entropy and information of the teacher, its KL to the student, spread and rank of features.

    ``spread`` is the mean SD of a feature dimension over inputs, relative to the root mean square
    of the features: 0 where all inputs have one representation.
    """
    student, teacher = pair.probabilities(inputs)
    features = pair.features(inputs)
    for what, values in (("student", student), ("teacher", teacher), ("features", features)):
        check_learning(values, f"output of the {what}", pair.step)
    return {
        "entropy": distillation.entropy(teacher),
        "information": distillation.information(teacher),
        "kl": distillation.kl_divergence(teacher, student),
        "spread": float(np.sqrt(features.var(0).mean() / max((features**2).mean(), 1e-12))),
        "rank": effective_rank(features),
    }


def train(
    pair: StudentTeacher,
    draw: Callable[[torch.Generator], Views],
    *,
    seed: int,
    watch: Callable[[StudentTeacher], dict] | None = None,
    n_checks: int = 20,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Train to the end of the schedule, or go on with a training that was stopped.

    Parameters
    ----------
    pair : StudentTeacher
    draw : callable
        ``draw(generator) -> Views`` of a fresh batch. Step i draws from a generator of its own, so
        that a training that resumes sees the same views.
    seed : int
    watch : callable, optional
        ``watch(pair) -> dict`` of numbers or arrays, called ``n_checks + 1`` times.
    checkpoint : pathlib.Path, optional
        Where the state is kept every 50 steps. A file of other settings is refused.

    Returns
    -------
    dict
        ``step``, ``loss`` (of the step before the check) and what ``watch`` returned, one entry
        for each check.

    Raises
    ------
    DivergedError
        If loss or weights are not finite. The checkpoint stays what it was.
    """
    settings = {**asdict(pair.settings), "seed": seed, "n_checks": n_checks}
    record: dict[str, list] = {"step": [], "loss": []}
    loss = np.nan  # of the latest step
    if checkpoint is not None and checkpoint.is_file():
        record, loss = _resume(pair, checkpoint, settings)
    n_steps = pair.settings.n_steps
    checks = set(np.linspace(0, n_steps, n_checks + 1).astype(int).tolist())
    bar = tqdm(total=n_steps, initial=pair.step, disable=not progress, leave=False)
    while True:
        if pair.step in checks and pair.step not in record["step"]:
            check_weights(pair.state_dict(), pair.step)
            seen = {"step": pair.step, "loss": loss, **(watch(pair) if watch else {})}
            for name, value in seen.items():
                record.setdefault(name, []).append(value)
        if pair.step >= n_steps:
            break
        loss = pair.learn(draw(torch.Generator().manual_seed(1_000_003 * seed + pair.step)))
        bar.update()
        if checkpoint is not None and pair.step % SAVE_EVERY == 0:
            check_weights(pair.state_dict(), pair.step)
            _save(pair, checkpoint, settings, record, loss)
    bar.close()
    return {name: np.array(values) for name, values in record.items()}


def _save(pair: StudentTeacher, path: Path, settings: dict, record: dict, loss: float) -> None:
    kept = {name: [torch.as_tensor(np.asarray(v)) for v in vs] for name, vs in record.items()}
    weights, optimiser = pair.state_dict(), pair.optimiser.state_dict()
    state = {"weights": weights, "optimiser": optimiser, "step": pair.step}
    save_state(path, {"record": kept, "loss": loss, **state}, settings)


def _resume(pair: StudentTeacher, path: Path, settings: dict) -> tuple[dict[str, list], float]:
    state = load_state(path, settings)
    remedy = "Delete it to train from the start."
    with reading(path, "the state of a student", damaged=remedy, error=WeightsError):
        pair.load_state_dict(state["weights"])
        pair.optimiser.load_state_dict(state["optimiser"])
        pair.step = state["step"]
        record = {
            name: [v.item() if v.ndim == 0 else v.numpy() for v in values]
            for name, values in state["record"].items()
        }
        return record, state["loss"]
