"""The pictures: drawn in parallel, compressed where they are drawn, stored in one file.

``imgBrick`` has NSD's full size, one row per stimulus id, but only pictures that somebody saw take
up space in the file. All subjects of a folder share it.
"""

import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.reading import reading

from .pixel_features import feature_maps
from .scenes import Scene, caption_scene, draw_scene, sample_scene

SUBJECTS_STREAM = 0  # random streams 1 and 2 belong to pretraining and held-out evaluation
COMPRESSION = 4


def make_scene(seed: int, nsd_id: int) -> Scene:
    """Scene of a stimulus id (from 0); depends on nothing else."""
    return sample_scene(np.random.default_rng([SUBJECTS_STREAM, seed, nsd_id]))


def draw_block(
    job: tuple[int, tuple[int, ...], int],
) -> tuple[dict[int, bytes], list[Scene], np.ndarray]:
    """Draw some pictures; runs in a worker process.

    Parameters
    ----------
    job : tuple
        Seed, stimulus ids (from 0), width in pixels.

    Returns
    -------
    compressed : dict of int to bytes
        Stimulus id to deflated RGB bytes: one chunk of ``imgBrick``.
    scenes : list of Scene
        Their descriptions.
    maps : ndarray of float32, shape (n, n_channels, 40, 40)
        What early visual cortex sees in each.
    """
    seed, ids, width = job
    compressed, maps = {}, []
    scenes = [make_scene(seed, nsd_id) for nsd_id in ids]
    for nsd_id, scene in zip(ids, scenes, strict=True):
        picture = draw_scene(scene, width)
        compressed[nsd_id] = zlib.compress(np.ascontiguousarray(picture).tobytes(), COMPRESSION)
        maps.append(feature_maps(picture))
    return compressed, scenes, np.stack(maps)


def caption_block(job: tuple[int, tuple[int, ...]]) -> list[list[str]]:
    """Five captions for each of some stimulus ids (from 0); runs in a worker process."""
    seed, ids = job
    draws = [np.random.default_rng([SUBJECTS_STREAM, seed, nsd_id, 1]) for nsd_id in ids]
    return [caption_scene(make_scene(seed, i), rng) for i, rng in zip(ids, draws, strict=True)]


def stored_ids(path: Path) -> set[int]:
    """Stimulus ids (from 0) that ``imgBrick`` holds; empty if the file does not exist."""
    found: set[int] = set()
    if path.is_file():
        damaged = "delete it and simulate the subject again (notebook 01)."
        with reading(path, "the stimuli", damaged=damaged), h5py.File(path, "r") as file:
            file["imgBrick"].id.chunk_iter(lambda info: found.add(int(info.chunk_offset[0])))
    return found


def add_pictures(path: Path, n_ids: int, width: int, compressed: Mapping[int, bytes]) -> None:
    """Add pictures to ``imgBrick``; the old file stays until the new one is whole.

    The caller makes sure that no other process adds pictures at the same time.

    Parameters
    ----------
    path : pathlib.Path
        ``nsd_stimuli.hdf5``; made if it does not exist.
    n_ids, width : int
        Stimulus ids in the whole experiment; width and height of a picture.
    compressed : mapping of int to bytes
        As from :func:`draw_block`. Ids that the file holds already are left alone.
    """
    present = stored_ids(path)
    new = sorted(set(compressed) - present)
    if not new:
        return
    with atomic_path(path) as tmp:
        if present:
            shutil.copyfile(path, tmp)
        with h5py.File(tmp, "a") as file:
            if "imgBrick" not in file:
                file.create_dataset(
                    "imgBrick", (n_ids, width, width, 3), np.uint8, chunks=(1, width, width, 3),
                    compression="gzip", compression_opts=COMPRESSION,
                )  # fmt: skip
            brick = file["imgBrick"]
            for nsd_id in new:
                brick.id.write_direct_chunk((nsd_id, 0, 0, 0), compressed[nsd_id])


def blocks(ids: Iterable[int], size: int) -> list[tuple[int, ...]]:
    """Cut ids into tuples of at most ``size``."""
    ids = [int(i) for i in ids]
    return [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]
