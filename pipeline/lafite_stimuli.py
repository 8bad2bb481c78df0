"""NSD's stimuli as LAFITE's training images: resized, and captions embedded, once."""

from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fmri_utils import nsd
from fmri_utils.clip.space import ClipSpace
from fmri_utils.nsd.design import read_stim_info
from fmri_utils.nsd.stimuli import read_captions, read_images, stored_ids
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError
from fmri_utils.project.profiles import Profile

AT_ONCE = 250  # images read and resized in one go
MOST_HELD, LEAST_HELD, SHARE_HELD = 1000, 20, 0.05  # of the images, for the monitor
N_CAPTIONS = 5  # every image of COCO has as many


def training_ids(layout: nsd.NSDLayout) -> np.ndarray:
    """NSD ids (from 0) of the folder's images that no test uses, in an order drawn once.

    The shared images are the test images of every subject; none of them is among these.

    Raises
    ------
    DataError
        If none is left.
    """
    shared = np.flatnonzero(read_stim_info(layout)["shared1000"].to_numpy(bool))
    ids = np.setdiff1d(stored_ids(layout), shared)
    if not ids.size:
        raise DataError(f"{layout.root} holds shared images only. Expected: others to train on.")
    return np.random.default_rng(0).permutation(ids)


def n_held_out(n_images: int) -> int:
    """How many of the images, the last ones, only the monitor sees; none of a few hundred."""
    n = min(MOST_HELD, round(SHARE_HELD * n_images))
    return n if n >= LEAST_HELD else 0


def resized_stimuli(profile: Profile, size: int, folder: Path) -> np.ndarray:
    """The training images of a profile's NSD folder, uint8 (N, size, size, 3), memory-mapped.

    Read and resized by the first call, which keeps them in ``folder`` (14 GB for NSD at 256 px).

    Raises
    ------
    DataError
        If the stimuli are missing or damaged.
    """
    layout = nsd.NSDLayout(profile.data_root, profile.subject)
    ids, images = training_ids(layout), folder / f"stimuli-{size}.npy"
    made = folder / f"stimuli-{size}-ids.npy"
    if not (made.is_file() and images.is_file() and np.array_equal(np.load(made), ids)):
        with atomic_path(images) as tmp:
            shape = (len(ids), size, size, 3)
            out = np.lib.format.open_memmap(tmp, mode="w+", dtype=np.uint8, shape=shape)
            for start in tqdm(range(0, len(ids), AT_ONCE), desc="resizing stimuli"):
                part = slice(start, start + AT_ONCE)
                out[part] = read_images(layout, ids[part], size, progress=False)
            out.flush()
        with atomic_path(made) as tmp:
            np.save(tmp, ids)
    return np.load(images, mmap_mode="c", allow_pickle=False)


def embedded_captions(profile: Profile, clip: ClipSpace, folder: Path) -> np.ndarray:
    """Embeddings (N, 5, C) of the captions of :func:`resized_stimuli`, computed by the first call.

    Raises
    ------
    DataError
        If a caption is missing.
    """
    layout = nsd.NSDLayout(profile.data_root, profile.subject)
    ids = training_ids(layout)
    path = folder / f"captions-{clip.name.replace('/', '-').replace(':', '-')}.npy"
    if not path.is_file() or len(np.load(path, mmap_mode="r")) != len(ids):
        texts = [text for found in read_captions(layout, ids) for text in found[:N_CAPTIONS]]
        embeddings = clip.encode_texts(texts, progress=True)
        with atomic_path(path) as tmp:
            np.save(tmp, embeddings.reshape(len(ids), N_CAPTIONS, -1))
    return np.load(path, allow_pickle=False)
