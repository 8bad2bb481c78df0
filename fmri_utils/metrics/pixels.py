"""Scores of pixels: PixCorr and SSIM."""

from collections.abc import Iterator, Sequence

import numpy as np
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from .arrays import picture_pairs, resized

PIXEL_SIZE = 425  # pixels of an NSD stimulus, on which published pixel scores are computed


def _pairs_at_size(
    truth: np.ndarray, reconstruction: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of pictures (425, 425, 3), float64, a few at a time in memory."""
    truth, reconstruction = picture_pairs(truth, reconstruction)
    for start in range(0, len(truth), 20):
        part = slice(start, start + 20)
        both = (
            resized(images[part], PIXEL_SIZE).permute(0, 2, 3, 1).double().numpy()
            for images in (truth, reconstruction)
        )
        yield from zip(*both, strict=True)


def _pixcorr(a: np.ndarray, b: np.ndarray) -> float:
    flat = min(np.ptp(a), np.ptp(b)) < 1e-6  # resizing leaves rounding in a flat picture
    return 0.0 if flat else np.corrcoef(a.ravel(), b.ravel())[0, 1]


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    wang = dict(data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return structural_similarity(rgb2gray(a), rgb2gray(b), **wang)


PIXEL_SCORES = {"PixCorr": _pixcorr, "SSIM": _ssim}


def pixel_scores(
    truth: np.ndarray,
    reconstruction: np.ndarray,
    names: Sequence[str] = tuple(PIXEL_SCORES),
) -> dict[str, np.ndarray]:
    """PixCorr and SSIM of each pair at 425 x 425.

    PixCorr is Pearson's r between the pixels, 0 where one of the two pictures is of one colour.
    SSIM is of grey pictures, with Gaussian weights of sigma 1.5 and population covariance, as in
    Wang et al. (2004), in two dimensions. Older tables are not comparable: scikit-image up to 0.19
    with ``multichannel=True`` took every column of a grey picture for a picture of its own.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, H, W, 3)
        float RGB in [0, 1], or uint8; resized to 256 x 256, then to 425 x 425.
    names : sequence of str
        Those of :data:`PIXEL_SCORES` that are wanted.

    Returns
    -------
    dict of str to numpy.ndarray, (n,)
    """
    pairs = _pairs_at_size(truth, reconstruction)
    rows = np.array([[PIXEL_SCORES[name](*pair) for name in names] for pair in pairs])
    return dict(zip(names, rows.T, strict=True))


def pixcorr_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """PixCorr of each pair, (n,); see :func:`pixel_scores`."""
    return pixel_scores(truth, reconstruction, ["PixCorr"])["PixCorr"]


def ssim_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """SSIM of each pair, (n,); see :func:`pixel_scores`."""
    return pixel_scores(truth, reconstruction, ["SSIM"])["SSIM"]


def pixcorr(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`pixcorr_scores`."""
    return float(pixcorr_scores(truth, reconstruction).mean())


def ssim(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`ssim_scores`."""
    return float(ssim_scores(truth, reconstruction).mean())
