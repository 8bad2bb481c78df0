"""Scenes and captions for training, drawn once and kept as arrays."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.reading import reading

from .. import scenes
from ..folder import be_worker

PRETRAINING, HELD_OUT = 1, 2  # streams; 0 belongs to the simulated subjects
BLOCK = 500


def _draw_block(job: tuple[int, int, int, int]) -> tuple[np.ndarray, list[list[str]], list[tuple]]:
    """Draw BLOCK scenes: images, captions, and (kind, colour, background) of each."""
    stream, seed, start, size = job
    drawn, captions, labels = [], [], []
    for index in range(start, start + BLOCK):
        scene = scenes.sample_scene(np.random.default_rng([stream, seed, index]))
        drawn.append(scenes.draw_scene(scene, size))
        captions.append(
            scenes.caption_scene(scene, np.random.default_rng([stream, seed, index, 1]))
        )
        labels.append((scene.main.kind, scene.main.colour, scene.background))
    return np.stack(drawn), captions, labels


def drawn_scenes(
    folder: Path, *, stream: int, seed: int, n: int, size: int
) -> dict[str, np.ndarray]:
    """Draw scenes in parallel, or read them where an earlier call has left them.

    Parameters
    ----------
    folder : pathlib.Path
        Cache; one ``.npz`` for each set of arguments.
    stream, seed, n, size : int
        Which scenes; ``n`` is a multiple of 500. Scene i depends on (stream, seed, i) only.

    Returns
    -------
    dict
        ``images`` (n, size, size, 3) uint8, ``captions`` (n, 5) str, and ``kind``, ``colour``,
        ``background`` (n,) str of the main thing.
    """
    path = folder / f"scenes-{stream}-{seed}-{n}-{size}.npz"
    if path.is_file():
        damaged = "delete it: the scenes are then drawn again."
        with reading(path, "drawn scenes", damaged=damaged), np.load(path) as file:
            return dict(file)
    jobs = [(stream, seed, start, size) for start in range(0, n, BLOCK)]
    context = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=be_worker) as pool:
        blocks = list(tqdm(pool.map(_draw_block, jobs), total=len(jobs), desc="drawing scenes"))
    labels = np.array([row for block in blocks for row in block[2]])
    out = {
        "images": np.concatenate([block[0] for block in blocks]),
        "captions": np.array([row for block in blocks for row in block[1]]),
        "kind": labels[:, 0],
        "colour": labels[:, 1],
        "background": labels[:, 2],
    }
    with atomic_path(path) as tmp:
        np.savez(tmp, **out)
    return out
