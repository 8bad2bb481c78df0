"""Student-teacher learning on pictures, and snapshots of it for the animation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..project.checks import check_pictures, check_range
from ..project.errors import DataError
from . import probes
from .distillation import teacher_probabilities
from .networks import Learner, TinyViT
from .student_teacher import DinoSettings, StudentTeacher, collapse_measures, train
from .views import Views, check_inputs, multi_crop, random_crops

OF_VIEWS = ("n_local", "global_size", "local_size", "global_scale", "local_scale", "mirrored")


@dataclass(frozen=True)
class ImageSettings:
    """Size of network and views; the rest as in :class:`DinoSettings`.

    Attributes
    ----------
    size, patch, width, depth, heads : int
        Of the vision transformer.
    n_outputs : int
        K, the number of outputs that the loss compares.
    n_local : int
        Local views of a picture.
    global_size, local_size : int
        Pixels on a side of the views.
    global_scale, local_scale : (float, float)
        Share of the picture's area that a view shows.
    mirrored : float
        Share of the views that are mirrored.
    """

    dino: DinoSettings
    size: int = 48
    patch: int = 8
    width: int = 96
    depth: int = 3
    heads: int = 3
    n_outputs: int = 512
    n_local: int = 2
    global_size: int = 40
    local_size: int = 24
    global_scale: tuple[float, float] = (0.6, 1.0)
    local_scale: tuple[float, float] = (0.35, 0.65)
    mirrored: float = 0.0  # things have a side that they face

    def __post_init__(self):
        for name in ("size", "global_size", "local_size"):
            if getattr(self, name) % self.patch:
                raise DataError(
                    f"{name} is {getattr(self, name)}. Expected: a multiple of {self.patch}, the "
                    "patch."
                )

    def learner(self) -> Learner:
        """A network with fresh random weights."""
        backbone = TinyViT(self.size, self.patch, self.width, self.depth, self.heads)
        return Learner(backbone, self.n_outputs)

    def views(self, pictures: torch.Tensor, generator: torch.Generator) -> Views:
        """Random views of pictures (B, 3, H, W) in [0, 1], as in :func:`multi_crop`."""
        return multi_crop(pictures, generator, **{name: getattr(self, name) for name in OF_VIEWS})


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Pictures with labels that only a score may use.

    Attributes
    ----------
    train, test : numpy.ndarray, (n, H, W, 3) uint8
        Pictures that may vote, and held-out ones whose label is guessed.
    train_labels, test_labels : numpy.ndarray of str, (n,)
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    def first(self, n_train: int, n_test: int) -> LabelledPictures:
        """A smaller set, for the checks during a training."""
        train = self.train[:n_train], self.train_labels[:n_train]
        return LabelledPictures(*train, self.test[:n_test], self.test_labels[:n_test])


def as_tensor(images: np.ndarray, size: int) -> torch.Tensor:
    """Pictures (n, H, W, 3) uint8 as (n, 3, size, size) in [0, 1]; larger ones are averaged down.

    Raises
    ------
    DataError
        On another shape or dtype.
    """
    images = check_pictures(images, "pictures", only_bytes=True)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    if tensor.shape[2:] != (size, size):
        settings = {"mode": "bilinear", "antialias": True}
        tensor = torch.nn.functional.interpolate(tensor, (size, size), **settings)
    return tensor


def fixed_views(pictures: torch.Tensor, settings: ImageSettings) -> tuple[Views, np.ndarray]:
    """Views that stay the same through a training, and their boxes (n_views, B, 4).

    Their crops are as in :func:`multi_crop`, without jitter, so that they are recognised. Pictures
    (B, 3, H, W) of another range than [0, 1] are a DataError.
    """
    check_range(pictures, "pictures")
    generator = torch.Generator().manual_seed(0)
    kinds = [(settings.global_size, settings.global_scale)] * 2
    kinds += [(settings.local_size, settings.local_scale)] * settings.n_local
    found = [random_crops(pictures, *k, generator, mirrored=settings.mirrored) for k in kinds]
    crops, boxes = zip(*found, strict=True)
    return Views(crops[:2], crops[2:]), torch.stack(boxes).numpy()


@torch.no_grad()
def snapshot(pair: StudentTeacher, pictures: torch.Tensor, views: Views) -> dict[str, np.ndarray]:
    """What the animation shows of one moment.

    Returns
    -------
    dict
        ``student`` (B, n_views, K) and ``teacher`` (B, 2, K), probabilities; ``attention`` (B,
        heads, h, w) of the teacher; ``momentum``; ``distance``, the length of the teacher's
        weights minus the student's, relative to the student's.
    """
    check_inputs(pictures)
    s = pair.settings
    student, teacher = pair.look(views)
    p_student = torch.stack([torch.softmax(o / s.student_temperature, 1) for o in student], 1)
    p_teacher = teacher_probabilities(torch.stack(teacher, 1), pair.centre, s.teacher_temperature)
    both = zip(pair.teacher.parameters(), pair.student.parameters(), strict=True)
    gaps, sizes = zip(*(((t - w).square().sum(), w.square().sum()) for t, w in both), strict=True)
    return {
        "student": p_student.half().numpy(),
        "teacher": p_teacher.half().numpy(),
        "attention": pair.teacher.backbone.attention(pictures).half().numpy(),
        "momentum": pair.momentum(),
        "distance": float((sum(gaps) / sum(sizes)).sqrt()),
    }


def train_images(
    images: np.ndarray,
    settings: ImageSettings,
    *,
    shown: np.ndarray,
    labelled: LabelledPictures | None = None,
    seed: int = 0,
    n_checks: int = 24,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> tuple[StudentTeacher, dict[str, np.ndarray]]:
    """Train a student and a teacher on pictures, without any label.

    Parameters
    ----------
    images : numpy.ndarray, (n, H, W, 3) uint8
    settings : ImageSettings
    shown : numpy.ndarray, (B, H, W, 3) uint8
        Held-out pictures of which a snapshot is kept at each check.
    labelled : LabelledPictures, optional
        For the accuracy of nearest neighbours at each check; never trained on.
    checkpoint : pathlib.Path, optional
        The training resumes from it.

    Returns
    -------
    pair : StudentTeacher
    record : dict
        One entry for each check: ``step``, ``loss``, collapse measures, ``knn`` if ``labelled`` was
        given, and what :func:`snapshot` has. Besides ``shown`` (B, size, size, 3), ``boxes``
        (n_views, B, 4) and ``view0``, ... (B, h, w, 3): what the snapshots are of.
    """
    torch.manual_seed(seed)
    pair = StudentTeacher(settings.learner(), settings.n_outputs, settings.dino)
    images = check_pictures(images, "images", only_bytes=True)
    stock = torch.from_numpy(images).permute(0, 3, 1, 2)  # uint8: a quarter of the room
    pictures = as_tensor(shown, settings.size)
    views, boxes = fixed_views(pictures, settings)
    watched = as_tensor(images[: min(200, len(images))], settings.size)

    def draw(generator: torch.Generator) -> Views:
        rows = torch.randint(0, len(stock), (settings.dino.batch_size,), generator=generator)
        return settings.views(stock[rows].float() / 255, generator)

    def watch(current: StudentTeacher) -> dict:
        seen = collapse_measures(current, watched) | snapshot(current, pictures, views)
        if labelled is not None:
            both = labelled.train, labelled.test
            known, asked = (current.features(as_tensor(x, settings.size)) for x in both)
            hits = probes.knn_hits(known, labelled.train_labels, asked, labelled.test_labels)
            seen["knn"] = float(hits.mean())
        return seen

    record = train(
        pair, draw, seed=seed, watch=watch, n_checks=n_checks, checkpoint=checkpoint,
        progress=progress,
    )  # fmt: skip
    views = (*views.shared, *views.own)
    record |= {"shown": (255 * pictures.permute(0, 2, 3, 1)).round().byte().numpy(), "boxes": boxes}
    record |= {f"view{i}": v.permute(0, 2, 3, 1).half().numpy() for i, v in enumerate(views)}
    return pair, record
