"""One subject's brain: its anatomy and areas, and what every responsive voxel is like.

Everything here is known before the first picture is shown: where a voxel is, which part of the
visual field it sees (its population receptive field), whether it carries a signal at all, and how
strong that signal is against the noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from fmri_utils.project.simulation_config import FIELD_DEG, SimulationConfig

from .anatomy import FLUID, OUTSIDE, WHITE, Anatomy, make_anatomy
from .cortical_areas import (
    BANDS,
    CATEGORIES,
    FLOC,
    HV4_WIDTH,
    STREAMS,
    VISUAL,
    Areas,
    band_scale,
    eccentricity,
    make_areas,
)

STREAM_RNG = {"anatomy": 0, "areas": 1, "voxels": 2, "volumes": 3, "tuning": 4, "session": 5,
              "localizer": 6, "versions": 7}  # fmt: skip
STAGES = ("V1", "V2", "V3", "hV4", *STREAMS[1:])
# pRF size (SD of the Gaussian, degrees) = intercept + slope x eccentricity.
SIZE_LINE = {
    "V1": (0.30, 0.10), "V2": (0.40, 0.15), "V3": (0.55, 0.21), "hV4": (0.90, 0.30),
    "midventral": (1.3, 0.32), "midlateral": (1.4, 0.34), "midparietal": (1.5, 0.34),
    "ventral": (1.9, 0.36), "lateral": (1.9, 0.36), "parietal": (2.2, 0.40),
}  # fmt: skip
# Signal-to-noise relative to the rest of visual cortex, and mean response and SD in percent
# signal change, as they are typical of NSD.
SNR_LEVEL = {"V1": 1.5, "V2": 1.4, "V3": 1.3, "hV4": 1.15, "midventral": 1.0, "midlateral": 1.0,
             "midparietal": 0.95, "ventral": 0.9, "lateral": 0.9, "parietal": 0.7}  # fmt: skip
MEAN_PSC = {"V1": 2.2, "V2": 2.0, "V3": 1.9, "hV4": 1.7, "midventral": 1.5, "midlateral": 1.5,
            "midparietal": 1.3, "ventral": 1.0, "lateral": 1.1, "parietal": 0.8}  # fmt: skip
SD_PSC = {"V1": 3.3, "V2": 3.1, "V3": 2.9, "hV4": 2.7, "midventral": 2.5, "midlateral": 2.5,
          "midparietal": 2.4, "ventral": 2.4, "lateral": 2.3, "parietal": 2.3}  # fmt: skip


@dataclass(frozen=True)
class Voxels:
    """The voxels that may respond to pictures: nsdgeneral and every labelled voxel around it.

    Attributes
    ----------
    index : ndarray of int64, shape (V,)
        Flat index into the (X, Y, Z) volume in C order, increasing.
    general : ndarray of bool, shape (V,)
        In nsdgeneral.
    null : ndarray of bool, shape (V,)
        Carries no signal.
    side : ndarray of int8, shape (V,)
        -1 left, +1 right hemisphere.
    stage : ndarray of int8, shape (V,)
        Index into ``STAGES``.
    category : ndarray of float32, shape (V, 4)
        How far the voxel belongs to areas for faces, bodies, places and words, 0 to 1.
    x, y, size : ndarray of float32, shape (V,)
        pRF centre (right and up positive) and SD in degrees of visual angle.
    ncsnr : ndarray of float32, shape (V,)
        Signal SD / noise SD; 0 for null voxels.
    """

    index: np.ndarray
    general: np.ndarray
    null: np.ndarray
    side: np.ndarray
    stage: np.ndarray
    category: np.ndarray
    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    ncsnr: np.ndarray


@dataclass(frozen=True)
class Brain:
    """A subject's brain.

    Attributes
    ----------
    anatomy : Anatomy
    areas : Areas
    voxels : Voxels
    mean_psc, sd_psc : ndarray of float32, shape (X, Y, Z)
        Mean and SD of the betas, percent signal change; 0 outside the brain mask.
    """

    anatomy: Anatomy
    areas: Areas
    voxels: Voxels
    mean_psc: np.ndarray
    sd_psc: np.ndarray


def subject_rng(config: SimulationConfig, subject: int, purpose: str, *more: int):
    """Random generator of one purpose (a key of ``STREAM_RNG``) and subject, and session."""
    return np.random.default_rng([config.seed, subject, STREAM_RNG[purpose], *more])


def make_brain(config: SimulationConfig, subject: int) -> Brain:
    """Build a subject's brain.

    Parameters
    ----------
    config : SimulationConfig
        Grid, numbers of voxels, noise level, seed.
    subject : int
        1 to 8.

    Returns
    -------
    Brain

    Raises
    ------
    DataError
        If the grid is too small or too large for ``n_nsdgeneral`` voxels.
    """
    anatomy = make_anatomy(config.grid, subject_rng(config, subject, "anatomy"))
    areas = make_areas(anatomy, config.n_nsdgeneral, subject_rng(config, subject, "areas"))
    rng = subject_rng(config, subject, "voxels")
    voxels = _make_voxels(anatomy, areas, config, subject, rng)
    mean_psc, sd_psc = _response_levels(anatomy, voxels, rng)
    return Brain(anatomy, areas, voxels, mean_psc, sd_psc)


def smooth_field(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth Gaussian random field of unit variance over a volume, float32."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (field / field.std()).astype(np.float32)


def _make_voxels(anatomy, areas, config, subject, rng) -> Voxels:
    labels = areas.labels
    tuned = (labels["nsdgeneral"] == 1) | (labels["prf-visualrois"] > 0) | (labels["streams"] > 0)
    for atlas in FLOC:
        tuned |= labels[atlas] > 0
    index = np.flatnonzero(tuned)
    general = labels["nsdgeneral"].ravel()[index] == 1
    stage = _stages(areas, index)
    category = _membership(anatomy, labels, index)
    x, y, size = _receptive_fields(anatomy, areas, index, stage, category, rng)
    null = _choose_null(np.array(np.unravel_index(index, tuned.shape)).T, general, config, rng)
    level = np.array([SNR_LEVEL[name] for name in STAGES])[stage]
    level = level * np.where(category.max(axis=1) > 0.9, 1.15, 1.0)
    patchy = smooth_field(tuned.shape, 1.5, rng).ravel()[index]
    snr = level * np.exp(0.18 * patchy + 0.18 * rng.standard_normal(index.size))
    # Response to pictures fades outside nsdgeneral, which is how that region was drawn.
    beyond = areas.general_score.ravel()[index] - areas.general_score.ravel()[index][general].max()
    snr = np.where(null, 0.0, snr * np.exp(-np.maximum(beyond, 0) * 2.5))
    snr *= np.sqrt(_share_in_picture(x, size) * _share_in_picture(y, size))
    snr *= config.ncsnr * config.ncsnr_subject[subject - 1] / np.median(snr[general])
    return Voxels(
        index, general, null, anatomy.side.ravel()[index], stage, category,
        x, y, size, snr.astype(np.float32),
    )  # fmt: skip


def _share_in_picture(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Share of a receptive field, along one axis, that falls on the picture."""
    return ndtr((FIELD_DEG / 2 - centre) / size) - ndtr((-FIELD_DEG / 2 - centre) / size)


def _stages(areas: Areas, index: np.ndarray) -> np.ndarray:
    """Stage of processing of each voxel, index into ``STAGES``."""
    visual = areas.labels["prf-visualrois"].ravel()[index]
    streams = areas.labels["streams"].ravel()[index]
    # Category areas outside the streams atlas lie at the front of the temporal lobe or medially.
    stage = np.where(streams > 1, streams + 2, STAGES.index("ventral"))
    return np.where(visual > 0, (visual + 1) // 2 - 1, stage).astype(np.int8)


def _membership(anatomy: Anatomy, labels: dict, index: np.ndarray) -> np.ndarray:
    """Degree to which voxels belong to category areas: 1 inside, falling off around them."""
    columns = []
    for atlas in CATEGORIES:
        inside = (labels[atlas] > 0).astype(np.float32)
        around = ndimage.gaussian_filter(inside, 1.0)
        columns.append(np.maximum(inside, 0.7 * around).ravel()[index])
    early = labels["prf-visualrois"].ravel()[index]
    category = np.stack(columns, axis=1)
    category[(early > 0) & (early < 7)] = 0
    return category


def _receptive_fields(anatomy, areas, index, stage, category, rng):
    """Population receptive fields: x, y, size in degrees; (V,) each."""
    shape = anatomy.tissue.shape
    along, across = areas.along.ravel()[index], areas.across.ravel()[index]
    polar = _early_polar(areas, index)
    ecc = eccentricity(np.hypot(along, across))
    # Beyond hV4 maps are coarse: faces and words prefer the centre of gaze, places the periphery
    # (Hasson et al., 2002, Neuron 34, 479-490); ventral areas the upper field, dorsal the lower.
    bias = category @ np.array([-0.5, -0.1, 0.55, -0.6])
    late_ecc = np.exp(0.55 + bias + 0.45 * smooth_field(shape, 1.8, rng).ravel()[index])
    superior = areas.direction[..., 2].ravel()[index]
    late_polar = 40 * smooth_field(shape, 1.8, rng).ravel()[index] - 25 * superior
    early = stage <= STAGES.index("hV4")
    ecc = np.where(early, ecc, late_ecc) * np.exp(rng.normal(0, 0.07, index.size))
    polar = np.where(early, polar, late_polar) + rng.normal(0, 5, index.size)
    polar = np.clip(polar, -88, 88)
    ecc = np.clip(ecc, 0.08, 9.5)
    line = np.array([SIZE_LINE[name] for name in STAGES])[stage]
    size = (line[:, 0] + line[:, 1] * ecc) * np.exp(rng.normal(0, 0.12, index.size))
    # Each hemisphere sees the opposite half of the visual field.
    x = -anatomy.side.ravel()[index] * ecc * np.cos(np.radians(polar))
    y = ecc * np.sin(np.radians(polar))
    return x.astype(np.float32), y.astype(np.float32), np.clip(size, 0.2, 5).astype(np.float32)


def _early_polar(areas: Areas, index: np.ndarray) -> np.ndarray:
    """Polar angle in V1-hV4, degrees above the horizontal meridian, mirrored at every border."""
    along, across = areas.along.ravel()[index], areas.across.ravel()[index]
    visual = areas.labels["prf-visualrois"].ravel()[index]
    width = np.abs(across) / band_scale(along)
    v1, v2, v3 = BANDS
    quarter = np.select(
        [visual <= 2, visual <= 4, visual <= 6],
        [width / v1, (v2 - width) / (v2 - v1), (width - v2) / (v3 - v2)],
    )
    upper = np.where(across > 0, -1, 1)  # the dorsal bank sees the lower field
    into_v4 = (np.abs(across) - v3 * band_scale(along)) / HV4_WIDTH
    return np.where(visual == 7, 85 - 160 * into_v4, upper * 90 * quarter)


def _choose_null(position, general, config, rng) -> np.ndarray:
    """Pick the voxels without signal: six in ten alone among tuned ones, the rest in clusters."""
    null = np.zeros(len(general), bool)
    inside = np.flatnonzero(general)
    n_alone = round(0.6 * config.n_null)
    null[rng.choice(inside, n_alone, replace=False)] = True
    while null.sum() < config.n_null:
        centre = position[rng.choice(inside)]
        distance = np.linalg.norm(position[inside] - centre, axis=1)
        cluster = inside[np.argsort(distance, kind="stable")[: rng.integers(8, 16)]]
        cluster = cluster[~null[cluster]]
        null[cluster[: config.n_null - null.sum()]] = True
    return null


def _response_levels(anatomy: Anatomy, voxels: Voxels, rng) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of the betas of every voxel in the brain mask, percent signal change."""
    shape = anatomy.tissue.shape
    tissue = anatomy.tissue
    mean = 0.25 + 0.5 * smooth_field(shape, 2.0, rng)
    mean = np.where(anatomy.cortex, mean, 0.3 * mean)
    sd = np.where(anatomy.cortex, 2.3, np.where(tissue == WHITE, 1.3, 1.9))
    sd = np.where(tissue == FLUID, 4.5, sd)
    index, stage = voxels.index, voxels.stage
    mean.ravel()[index] = np.array([MEAN_PSC[s] for s in STAGES])[stage]
    mean.ravel()[index] += 0.5 * rng.standard_normal(index.size)
    mean.ravel()[index[voxels.null]] *= 0.1
    sd.ravel()[index] = np.array([SD_PSC[s] for s in STAGES])[stage]
    sd = sd * np.exp(0.2 * smooth_field(shape, 1.2, rng) + 0.12 * rng.standard_normal(shape))
    # At the rim of the liberal mask, dim voxels beside pulsating fluid reach huge percentages;
    # in NSD some of them saturate int16.
    rim = anatomy.brainmask & (ndimage.uniform_filter(anatomy.brainmask.astype(float), 3) < 0.62)
    rim &= tissue == FLUID
    sd = np.where(rim, sd * np.exp(0.9 * np.abs(rng.standard_normal(shape))), sd)
    inside = anatomy.brainmask & (tissue > OUTSIDE)
    return (
        np.where(inside, mean, 0).astype(np.float32),
        np.where(inside, sd, 0).astype(np.float32),
    )


def prf_maps(brain: Brain, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a pRF experiment would estimate, as NSD stores it.

    Errors grow where the signal is weak. Voxels outside visual cortex have a poor fit and arbitrary
    parameters.

    Parameters
    ----------
    brain : Brain
        The subject's brain.
    rng : numpy.random.Generator
        Draws the errors.

    Returns
    -------
    dict of str to ndarray of float32, shape (X, Y, Z)
        ``R2`` (percent), ``angle`` (degrees, 0 right, 90 up), ``eccentricity`` and ``size``
        (degrees; the effective size, SD / sqrt(exponent)), ``exponent``, ``gain`` (percent signal
        change). NaN outside the brain mask.
    """
    shape = brain.anatomy.tissue.shape
    v = brain.voxels
    maps = {
        "R2": rng.normal(1.0, 2.5, shape),
        "angle": rng.uniform(0, 360, shape),
        "eccentricity": 8 * rng.beta(1.5, 2, shape),
        "size": np.exp(rng.normal(0.3, 0.7, shape)),
        "exponent": np.clip(rng.normal(0.4, 0.3, shape), 0.02, None),
        "gain": np.abs(rng.normal(0, 0.4, shape)),
    }
    explained = 100 * v.ncsnr**2 / (v.ncsnr**2 + 0.35) * np.exp(rng.normal(0, 0.15, v.index.size))
    error = 1 / (1 + 6 * v.ncsnr)
    x, y = (c + rng.normal(0, 0.6 * error * v.size, v.index.size) for c in (v.x, v.y))
    good = ~v.null
    fitted = {
        "R2": np.minimum(explained, 92) + rng.normal(0, 2, v.index.size),
        "angle": np.degrees(np.arctan2(y, x)) % 360,
        "eccentricity": np.hypot(x, y),
        "size": v.size * np.exp(rng.normal(0, 0.5 * error, v.index.size)),
        "exponent": np.clip(rng.normal(0.35, 0.12, v.index.size), 0.05, 1.2),
        "gain": brain.mean_psc.ravel()[v.index] * np.exp(rng.normal(0.2, 0.3, v.index.size)),
    }
    out = {}
    for name, volume in maps.items():
        volume.ravel()[v.index[good]] = fitted[name][good]
        out[name] = np.where(brain.anatomy.brainmask, volume, np.nan).astype(np.float32)
    return out


def area_names(areas: Areas, index: np.ndarray) -> np.ndarray:
    """Name each voxel: its retinotopic area, otherwise its category area, otherwise its stream."""
    names = np.full(index.size, "visual", dtype="<U12")
    streams = areas.labels["streams"].ravel()[index]
    for label, name in enumerate(STREAMS, start=1):
        names[streams == label] = name
    for atlas, labels in FLOC.items():
        found = areas.labels[atlas].ravel()[index]
        for label, name in enumerate(labels, start=1):
            names[found == label] = name
    visual = areas.labels["prf-visualrois"].ravel()[index]
    for label, name in enumerate(VISUAL, start=1):
        names[visual == label] = name
    return names
