"""Scores of pixels: PixCorr and SSIM."""

from collections.abc import Iterator

import numpy as np
from skimage.color import rgb2gray
from skimage.measure import pearson_corr_coeff
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


def pixcorr_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Pearson r between the pixels of each pair at 425 x 425.

    Parameters
    ----------
    truth, reconstruction : numpy.ndarray, (n, H, W, 3)
        float RGB in [0, 1], or uint8; resized to 256 x 256, then to 425 x 425.

    Returns
    -------
    numpy.ndarray, (n,)
        0 where one of the two pictures is of one colour.
    """
    scores = []
    for a, b in _pairs_at_size(truth, reconstruction):
        flat = min(np.ptp(a), np.ptp(b)) < 1e-6  # resizing leaves rounding in a flat picture
        scores.append(0.0 if flat else pearson_corr_coeff(a, b)[0])
    return np.array(scores)


def pixcorr(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`pixcorr_scores`."""
    return float(pixcorr_scores(truth, reconstruction).mean())


def ssim_scores(truth: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair as grey pictures at 425 x 425.

    Gaussian weights with sigma 1.5 and population covariance, as in Wang et al. (2004), on
    two-dimensional grey pictures. Older tables are not comparable: scikit-image up to 0.19 with
    ``multichannel=True`` took every column of a grey picture for a picture of its own.

    Parameters
    ----------
    truth, reconstruction
        As for :func:`pixcorr_scores`.

    Returns
    -------
    numpy.ndarray, (n,)
    """
    wang = dict(data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    pairs = _pairs_at_size(truth, reconstruction)
    return np.array([structural_similarity(rgb2gray(a), rgb2gray(b), **wang) for a, b in pairs])


def ssim(truth: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean of :func:`ssim_scores`."""
    return float(ssim_scores(truth, reconstruction).mean())
