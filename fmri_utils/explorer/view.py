"""What is to be seen for one setting of the explorer: arrays and numbers, no widgets.

One voxel or a whole area is moved by k standard deviations, or the embedding along a concept. The
encoder is linear, so the embedding moves by k times a row of its weights (or a sum of rows), and
the picture is drawn again under the same noise, or under new noise.
"""

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .. import nsd
from ..encoders import unit
from ..perturbation import embedding_effect
from ..pictures import reconstruction
from ..project.errors import DataError
from .material import Material

KINDS = ("voxel", "area", "concept")
K_MAX = 5.0
"""Standard deviations by which anything can be moved."""


@dataclass(frozen=True)
class State:
    """What the person has chosen.

    Attributes
    ----------
    image : int
        Of the test images.
    kind : {"voxel", "area", "concept"}
        What is moved.
    which : int or str
        Number of the voxel, or name of the area or concept.
    k : float
        By how many standard deviations: of the voxel's z-scored betas (each voxel of an area), or
        of the training images' embeddings along a concept.
    fresh : bool
        Draw the changed picture with a new z and new noise buffers.
    seed : int
        Which new noise.
    """

    image: int
    kind: str
    which: int | str
    k: float
    fresh: bool = False
    seed: int = 0


@dataclass(frozen=True)
class View:
    """What belongs to a state.

    Attributes
    ----------
    state : State
    change : str
        What is moved and by how much, in words.
    seen, before, after : numpy.ndarray, float32 (H, W, 3)
        The stimulus, its reconstruction, and the reconstruction after the change; in [0, 1].
    turn : float
        1 - cosine between the embeddings before and after.
    shift : dict of str to float
        cos(after, direction) - cos(before, direction) of every concept.
    rms : float
        Pixel RMS between ``before`` and ``after``.
    caption : str
        What a person wrote of the stimulus.
    captions_before, captions_after : list of str
        The training captions nearest to either embedding.
    """

    state: State
    change: str
    seen: np.ndarray
    before: np.ndarray
    after: np.ndarray
    turn: float
    shift: Mapping[str, float]
    rms: float
    caption: str
    captions_before: list[str]
    captions_after: list[str]


class Explorer:
    """Views of a decoder's pictures under perturbation.

    Parameters
    ----------
    material : Material
    """

    def __init__(self, material: Material):
        self.material = material
        self.embeddings = material.encoder.predict(material.pattern)  # (n_images, C)
        self._z = reconstruction.draw_z(material.generator, 1, material.seed)
        self.before = functools.lru_cache(maxsize=64)(self._before)
        self.effect = functools.lru_cache(maxsize=64)(self._effect)

    def default_state(self, image: int = 0) -> State:
        """The voxel that turns this image's embedding most, raised by two standard deviations."""
        return State(image, "voxel", int(self.ranking(image)[0]), 2.0)

    def view(self, state: State) -> View:
        """Compute what belongs to a state.

        Raises
        ------
        DataError
            If the state names an image, voxel, area or concept that does not exist.
        """
        m = self.material
        start, step = self._start(state.image), self.step(state)
        end = start + step
        before = self.before(state.image)
        after = self.draw(end, state.seed if state.fresh else None)
        turned = unit(np.stack([start, end]))
        shift = (turned[1] - turned[0]) @ m.concepts.directions.T
        return View(
            state=state,
            change=self.describe(state),
            seen=m.seen[state.image].astype(np.float32) / 255,
            before=before,
            after=after,
            # |a - b|^2 / 2 of unit vectors is 1 - cosine without its cancellation
            turn=float(((turned[1] - turned[0]) ** 2).sum() / 2),
            shift=dict(zip(m.concepts.names, shift.tolist(), strict=True)),
            rms=float(np.sqrt(((after - before) ** 2).mean())),
            caption=m.captions[state.image],
            captions_before=m.library.nearest(start),
            captions_after=m.library.nearest(end),
        )

    def step(self, state: State) -> np.ndarray:
        """By how much the state moves the predicted embedding, (C,)."""
        m = self.material
        weights = m.encoder.weights
        _check("kind", state.kind, KINDS)
        if not abs(state.k) <= K_MAX:
            raise DataError(f"k is {state.k!r}. Expected: -{K_MAX:g} to {K_MAX:g} SD.")
        if state.kind == "voxel":
            _check("voxel", state.which, range(len(weights)))
            return state.k * weights[state.which].astype(np.float64)
        if state.kind == "area":
            _check("area", state.which, m.areas)
            return state.k * weights[m.areas[state.which]].sum(0, dtype=np.float64)
        _check("concept", state.which, m.concepts.names)
        row = m.concepts.names.index(state.which)
        return state.k * m.concepts.sd[row] * m.concepts.directions[row].astype(np.float64)

    def draw(self, embedding: np.ndarray, fresh: int | None = None) -> np.ndarray:
        """Picture (H, W, 3) of an embedding (C,); fixed noise, or draw number ``fresh``."""
        m = self.material
        z, rng = self._z, None
        if fresh is not None:
            seed = m.seed + 1 + fresh  # m.seed itself is the fixed z's
            z = reconstruction.draw_z(m.generator, 1, seed)
            device = next(m.generator.parameters()).device
            rng = torch.Generator(device).manual_seed(seed)
        with _one_thread():
            settings = {"truncation_psi": m.psi, "noise_rng": rng}
            return reconstruction.draw(m.generator, z, embedding[None], **settings)[0]

    def ranking(self, image: int, area: str | None = None) -> np.ndarray:
        """Voxels, of an area or all, by how far +1 SD turns an image's embedding; most first."""
        order = np.argsort(-self.effect(image), kind="stable")
        if area is None:
            return order
        _check("area", area, self.material.areas)
        return order[self.material.areas[area][order]]

    def describe(self, state: State) -> str:
        """What a state moves and by how much, as "V1, voxel 12: +2 SD"."""
        name = {"area": f"area {state.which}", "concept": f"concept {state.which}"}.get(state.kind)
        name = name or nsd.voxel_names(self.material.areas, [state.which])[0]
        return f"{name}: {state.k:+g} SD" if state.k else f"{name}: not moved"

    def _effect(self, image: int) -> np.ndarray:
        """1 - cosine when each voxel alone is raised by 1 SD, (n_voxels,)."""
        self._start(image)
        row = self.material.pattern[image : image + 1]
        return embedding_effect(self.material.encoder, row, replacement=row + 1)[0]

    def _before(self, image: int) -> np.ndarray:
        return self.draw(self._start(image))

    def _start(self, image: int) -> np.ndarray:
        _check("image", image, range(len(self.embeddings)))
        return self.embeddings[image]


def _check(what: str, value: int | str, valid: range | Collection[str]) -> None:
    """Refuse a number or a name that is not among the valid ones."""
    if value not in valid:
        numbers = isinstance(valid, range)
        shown = f"0 to {len(valid) - 1}" if numbers else f"one of {', '.join(valid)}"
        raise DataError(f"no {what} {value!r}. Expected: {shown}.")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block.

    A picture of 64 px has too little work for two: they gain little on an idle machine and wait for
    each other on a busy one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
