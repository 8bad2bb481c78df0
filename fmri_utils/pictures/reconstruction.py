"""From an embedding to a picture."""

import numpy as np
import torch

from ..encoders import unit
from ..lafite import Generator
from ..project.checks import check_finite, check_pictures
from ..project.errors import DataError


def as_pictures(images: torch.Tensor) -> np.ndarray:
    """Generator output (B, 3, H, W), about -1 to 1, as float32 RGB (B, H, W, 3) in [0, 1]."""
    return (images.clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).cpu().numpy()


def at_resolution(images: np.ndarray, size: int) -> np.ndarray:
    """Stimuli at the resolution of a generator; those that have it are given back as they are.

    Parameters
    ----------
    images : numpy.ndarray, uint8 (N, H, W, 3)
    size : int
        Pixels on a side.

    Returns
    -------
    numpy.ndarray, uint8 (N, size, size, 3)

    Raises
    ------
    DataError
        If the images have another shape or type.
    """
    images = check_pictures(images, "images", only_bytes=True)
    if images.shape[1:] == (size, size, 3):
        return images
    from torchvision.transforms.v2 import functional as vision  # takes seconds

    out = np.empty((len(images), size, size, 3), np.uint8)
    for start in range(0, len(images), 100):
        rows = slice(start, start + 100)
        tensor = torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2)
        out[rows] = vision.resize(tensor, [size, size], antialias=True).permute(0, 2, 3, 1)
    return out


def mean_picture(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The mean of some pictures: the best guess, pixel by pixel, without any look at the brain.

    A few pictures are in memory as floats at a time.

    Parameters
    ----------
    images : array of uint8, (N, H, W, 3)
        In memory, or an HDF5 dataset.
    rows : numpy.ndarray of int, (n,)
        Ascending: which of them, the training images say.

    Returns
    -------
    numpy.ndarray, float32 (H, W, 3)
        In [0, 1].

    Raises
    ------
    DataError
        If there is no row, or the pictures have another shape or type.
    """
    if not len(rows):
        raise DataError("no picture to take the mean of. Expected: one row or more.")
    total = np.zeros(images.shape[1:])
    for start in range(0, len(rows), 100):
        some = check_pictures(images[rows[start : start + 100]], "images", only_bytes=True)
        total += some.sum(0, dtype=np.int64)
    return (total / (255 * len(rows))).astype(np.float32)


def unit_conditions(
    generator: Generator, condition: np.ndarray | torch.Tensor, n: int
) -> torch.Tensor:
    """Conditions (n, condition_width), float32, every embedding in them scaled to unit length.

    Raises
    ------
    DataError
        If the shape is another, or a number is NaN or infinite.
    """
    config = generator.config
    condition = np.asarray(condition, np.float32)
    if condition.shape != (n, config.condition_width):
        raise DataError(
            f"condition has shape {condition.shape}. Expected: ({n}, {config.condition_width}), "
            "one row per picture, as wide as the generator's condition."
        )
    check_finite(condition, "condition", ("picture", "dimension"), remedy="Predict it again.")
    parts = condition.reshape(n, config.n_conditions, config.condition_dim)
    return torch.from_numpy(unit(parts).reshape(n, -1))


@torch.inference_mode()
def draw(
    generator: Generator,
    z: torch.Tensor,
    condition: np.ndarray | torch.Tensor,
    *,
    truncation_psi: float = 1.0,
    noise_rng: torch.Generator | None = None,
    batch_size: int = 25,
) -> np.ndarray:
    """Draw pictures.

    Parameters
    ----------
    generator : Generator
        LAFITE.
    z : torch.Tensor, (N, z_dim)
        Noise vectors.
    condition : array, (N, condition_width)
        Embeddings, one or two beside each other; each is scaled to unit length here.
    truncation_psi : float
        1: the latent as drawn; 0: the mean latent.
    noise_rng : torch.Generator, optional
        Draws fresh noise buffers; without it the generator's fixed ones are used.
    batch_size : int

    Returns
    -------
    numpy.ndarray, float32 (N, H, W, 3)
        RGB in [0, 1].

    Raises
    ------
    DataError
        If shapes do not fit, or a number is NaN or infinite.
    """
    check_finite(z, "z", ("picture", "dimension"), remedy="Draw z anew.")
    check_finite(truncation_psi, "truncation_psi")
    condition = unit_conditions(generator, condition, len(z))
    device = next(generator.parameters()).device
    how = {"noise_mode": "const" if noise_rng is None else "random", "rng": noise_rng}
    how["truncation_psi"] = truncation_psi
    pictures = []
    for start in range(0, len(z), batch_size):
        rows = slice(start, start + batch_size)
        images = generator(z[rows].to(device), condition[rows].to(device), **how)
        pictures.append(as_pictures(images))
    return np.concatenate(pictures)


def draw_z(generator: Generator, n: int, seed: int) -> torch.Tensor:
    """Noise vectors (n, z_dim) from a seed."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator.config.z_dim, generator=rng)


@torch.inference_mode()
def growing_pictures(
    generator: Generator, z: torch.Tensor, condition: np.ndarray
) -> list[np.ndarray]:
    """One picture at every resolution of the generator, from 4 x 4 to full size.

    The generator's picture is the sum of what each resolution adds; these are the partial sums.

    Returns
    -------
    list of numpy.ndarray, (r, r, 3)
        RGB in [0, 1], r = 4, 8, ..., full size.
    """
    from ..lafite.layers import upsample_image

    added = []
    blocks = [getattr(generator.synthesis, f"b{r}").torgb for r in generator.synthesis.resolutions]
    hooks = [b.register_forward_hook(lambda _m, _i, out: added.append(out)) for b in blocks]
    try:
        draw(generator, z[:1], condition[:1])
    finally:
        for hook in hooks:
            hook.remove()
    stages, image = [], None
    for rgb in added:
        image = rgb if image is None else upsample_image(image) + rgb
        stages.append(as_pictures(image)[0])
    return stages
