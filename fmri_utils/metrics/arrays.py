"""What every score needs first: checked pairs, pictures as tensors, correlations."""

import hashlib

import numpy as np
import torch
from torch.nn import functional

from ..project.checks import check_finite, check_pictures
from ..project.errors import DataError

FEATURES = 1 << 14  # that are in memory in float64 at a time
BASE_SIZE = 256  # published scores bring truth and reconstruction to this size first


def paired(truth: np.ndarray, reconstruction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays of one shape.

    Raises
    ------
    DataError
        If the shapes differ, there are fewer than two samples, or a value is not finite.
    """
    truth, reconstruction = np.asarray(truth, float), np.asarray(reconstruction, float)
    if truth.shape != reconstruction.shape or truth.ndim < 2 or len(truth) < 2:
        raise DataError(
            f"{truth.shape} and {reconstruction.shape}. Expected: the same shape, at least 2 rows."
        )
    check_finite(truth, "truth")
    check_finite(reconstruction, "reconstruction")
    return truth, reconstruction


def picture_pairs(truth: np.ndarray, reconstruction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checked pictures, one reconstruction per truth; the two may differ in size."""
    truth = check_pictures(truth, "truth", at_least=2)
    reconstruction = check_pictures(reconstruction, "reconstruction", at_least=2)
    if len(truth) != len(reconstruction):
        raise DataError(
            f"{len(truth)} and {len(reconstruction)}. Expected: one reconstruction per truth."
        )
    return truth, reconstruction


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """Row of the first picture that is the same as each; int (n,).

    A network's answers to the same picture differ in their last digits from batch to batch. Take
    them by these rows, and identical pictures tie.
    """
    rows: dict[bytes, int] = {}
    digests = (hashlib.sha256(picture.tobytes()).digest() for picture in images)
    return np.array([rows.setdefault(digest, i) for i, digest in enumerate(digests)])


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Checked pictures (B, H, W, 3) as float32 (B, 3, H, W) in [0, 1]; overshoots are clamped."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return (tensor.permute(0, 3, 1, 2).float() / scale).clamp(0, 1)


def resized(images: np.ndarray, size: int, *, device: torch.device | str = "cpu") -> torch.Tensor:
    """Pictures resized to 256 x 256 and then to ``size``: bilinear, without antialiasing.

    The published scores were computed before torchvision antialiased by default.

    Parameters
    ----------
    images : numpy.ndarray, (B, H, W, 3)
        As for :func:`fmri_utils.project.checks.check_pictures`.

    Returns
    -------
    torch.Tensor, float32 (B, 3, size, size)
        In [0, 1].
    """
    tensor = to_tensor(images, device)
    for side in (BASE_SIZE, size):
        if tensor.shape[-2:] != (side, side):
            tensor = functional.interpolate(tensor, (side, side), mode="bilinear")
    return tensor


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to unit length; a zero row stays zero."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1)


def centred_unit(array: np.ndarray) -> np.ndarray:
    """Rows (n, ...) flattened, centred and scaled to unit length; a constant row becomes zero.

    Centring is done in float64; the dtype of a floating-point array is kept, so that large
    features can be stored in float32.
    """
    flat = array.reshape(len(array), -1)
    wide = flat.astype(np.float64)
    wide -= wide.mean(1, keepdims=True)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    # A constant row leaves rounding behind, which must not be blown up to unit length.
    eps = 8 * np.finfo(flat.dtype if flat.dtype.kind == "f" else float).eps
    rounding = eps * np.sqrt(flat.shape[1]) * np.abs(flat).max(1, keepdims=True, initial=0)
    wide = np.divide(wide, norm, out=np.zeros_like(wide), where=norm > rounding)
    return wide.astype(flat.dtype) if flat.dtype.kind == "f" else wide


def correlation_matrix(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Pearson r between every truth and every reconstruction.

    Parameters
    ----------
    truth : numpy.ndarray, (n, ...)
        Trailing axes are flattened.
    reconstruction : numpy.ndarray, (m, ...)

    Returns
    -------
    numpy.ndarray, float64 (n, m)
        Entry [i, j] is r(truth i, reconstruction j); 0 where one of them is constant.
    """
    return unit_product(centred_unit(truth), centred_unit(reconstruction))


def unit_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left @ right.T`` in float64, a block of features at a time; (n, d) and (m, d) -> (n, m)."""
    out = np.zeros((len(left), len(right)))
    for start in range(0, left.shape[1], FEATURES):
        part = slice(start, start + FEATURES)
        out += left[:, part].astype(np.float64) @ right[:, part].astype(np.float64).T
    return out
