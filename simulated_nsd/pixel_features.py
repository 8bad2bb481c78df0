"""What early visual cortex sees in a picture: local contrast energy and colour.

The contrast channels are the energies of log-Gabor quadrature pairs at four orientations and four
scales, divided by the local energy of all channels (Heeger, 1992, Visual Neuroscience 9, 181-197;
the same family as the Gabor pyramid of Kay et al., 2008, Nature 452, 352-355). The colour channels
are half-wave rectified opponent signals. No learned network takes part.
"""

import numpy as np
from PIL import Image

from fmri_utils.project.simulation_config import FIELD_DEG

FEATURE_PX = 80  # pictures are reduced to this width first: twice MAP_PX
PAD_PX = 8  # grey around the picture, as on the scanner's screen
MAP_PX = 40  # width of the maps that come out
WAVELENGTHS_PX = (4.0, 8.0, 16.0, 32.0)
ORIENTATIONS_DEG = (0.0, 45.0, 90.0, 135.0)
OCTAVES = 0.55  # SD of the log-Gabor along spatial frequency
ORIENTATION_SD_DEG = 22.0
SEMI_SATURATION = 0.04
OPPONENTS = ("red", "green", "blue", "yellow", "light", "dark")

GABOR_CHANNELS = tuple(
    (FEATURE_PX / FIELD_DEG / wavelength, orientation)
    for wavelength in WAVELENGTHS_PX
    for orientation in ORIENTATIONS_DEG
)
"""Spatial frequency (cycles per degree) and orientation (degrees, 0 is horizontal) of each."""

CHANNELS = tuple(f"gabor {f:.2f} cpd {o:.0f} deg" for f, o in GABOR_CHANNELS) + OPPONENTS


def _log_gabors() -> np.ndarray:
    """One-sided log-Gabor filters in the Fourier domain, (16, N, N): real part and Hilbert pair."""
    n = FEATURE_PX + 2 * PAD_PX
    fy, fx = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    frequency = np.hypot(fx, fy)
    frequency[0, 0] = 1.0
    filters = []
    for wavelength in WAVELENGTHS_PX:
        radial = np.exp(-(np.log2(frequency * wavelength) ** 2) / (2 * OCTAVES**2))
        radial[0, 0] = 0
        for orientation in ORIENTATIONS_DEG:
            # A horizontal bar has its energy on the vertical frequency axis. Image rows run down.
            normal = np.radians(orientation + 90)
            away = np.angle(np.exp(1j * (np.arctan2(-fy, fx) - normal)))
            angular = np.exp(-(away**2) / (2 * np.radians(ORIENTATION_SD_DEG) ** 2))
            filters.append(2 * radial * angular)
    return np.array(filters, dtype=np.float32)


_FILTERS = _log_gabors()


def reduce_picture(picture: np.ndarray) -> np.ndarray:
    """Shrink a picture to ``FEATURE_PX`` by averaging: float32 in [0, 1], (80, 80, 3)."""
    small = Image.fromarray(picture).resize((FEATURE_PX, FEATURE_PX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def feature_maps(picture: np.ndarray) -> np.ndarray:
    """Contrast energy and colour of one picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.

    Returns
    -------
    ndarray of float32, shape (n_channels, 40, 40)
        Non-negative maps in the order of ``CHANNELS``.
    """
    rgb = reduce_picture(picture)
    light = rgb.mean(axis=-1)
    spectrum = np.fft.fft2(np.pad(light - 0.5, PAD_PX))
    inside = slice(PAD_PX, PAD_PX + FEATURE_PX)
    amplitude = np.abs(np.fft.ifft2(spectrum * _FILTERS))[:, inside, inside]
    maps = np.concatenate([_halve(amplitude), _opponents(rgb, light)])
    n_gabor = len(GABOR_CHANNELS)
    local = np.sqrt(np.mean(maps[:n_gabor] ** 2, axis=0))
    maps[:n_gabor] /= SEMI_SATURATION + local
    return maps.astype(np.float32)


def _opponents(rgb: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Half-wave rectified red-green, blue-yellow and light-dark signals, (6, 40, 40)."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    pairs = [red - green, blue - (red + green) / 2, light - 0.5]
    signals = np.stack([s for p in pairs for s in (np.maximum(p, 0), np.maximum(-p, 0))])
    return _halve(signals)


def _halve(maps: np.ndarray) -> np.ndarray:
    """Average 2 x 2 pixels: (C, 80, 80) to (C, 40, 40)."""
    rows = maps[:, ::2] + maps[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def receptive_fields(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Gaussian receptive fields on the pixels of the maps, each with a sum of 1.

    Parameters
    ----------
    x, y, size : ndarray, shape (V,)
        Centre (right and up positive) and SD in degrees of visual angle.

    Returns
    -------
    ndarray of float32, shape (V, 1600)
        Rows in the order of a raveled (40, 40) map, top row first.
    """
    at = (np.arange(MAP_PX) + 0.5) / MAP_PX * FIELD_DEG - FIELD_DEG / 2
    # A field cannot be sharper than the pixels that sample it.
    sd = np.maximum(np.asarray(size, float), FIELD_DEG / MAP_PX / 2)[:, None]
    horizontal = np.exp(-((at - x[:, None]) ** 2) / (2 * sd**2))
    vertical = np.exp(-((-at - y[:, None]) ** 2) / (2 * sd**2))
    # Normalised over the whole plane: a field beyond the edge of the picture sees little of it.
    area = 2 * np.pi * sd**2 / (FIELD_DEG / MAP_PX) ** 2
    fields = vertical[:, :, None] * horizontal[:, None, :] / area[..., None]
    return fields.reshape(len(sd), -1).astype(np.float32)
