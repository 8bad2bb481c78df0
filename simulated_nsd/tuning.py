"""What every voxel responds to, and its noiseless response to every picture.

Four kinds of tuning are mixed in shares that depend on where a voxel lies: for pixels inside the
receptive field (early areas), for a category (faces, bodies, places, words), for the meaning of a
scene (kinds of things, colours, background; a low-dimensional space with maps that vary smoothly
over cortex, as in Huth et al., 2012, Neuron 76, 1210-1224), and for its layout (position, size and
number of things; parietal cortex). All of it comes from a scene's description and its pixels. The
model that later decodes the brain has no part in it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from fmri_utils.project.simulation_config import FIELD_DEG, SimulationConfig

from .brain import STAGES, Brain, Voxels, smooth_field
from .pixel_features import CHANNELS, GABOR_CHANNELS, OPPONENTS, receptive_fields
from .scenes import BACKGROUNDS, COLOURS, GROUPS, KINDS, Scene

CATEGORY = ("face", "body", "place", "word")
PARTS = ("pixels", "category", "meaning", "layout")
LAYOUT = ("x", "y", "size", "count", "clutter")

# How strongly each group of things drives areas for faces, bodies, places and words.
CATEGORY_DRIVE = {
    "face": (1.0, 0.15, 0.0, 0.0), "body": (0.40, 1.0, 0.0, 0.0), "animal": (0.30, 0.45, 0.0, 0.0),
    "place": (0.0, 0.0, 1.0, 0.0), "word": (0.0, 0.0, 0.05, 1.0), "vehicle": (0.0, 0.0, 0.15, 0.08),
}  # fmt: skip
OTHER_DRIVE = (0.03, 0.05, 0.05, 0.03)
# Backgrounds with walls or a street canyon drive place areas more than open ones.
PLACE_DRIVE = {"room": 1.0, "street": 0.9, "beach": 0.5, "grass": 0.5, "snow": 0.5, "night": 0.5,
               "sea": 0.35, "sky": 0.2}  # fmt: skip
# Variance shares of PARTS outside category areas.
SHARES = {
    "V1": (1.0, 0, 0, 0), "V2": (1.0, 0, 0, 0), "V3": (0.97, 0, 0.03, 0),
    "hV4": (0.75, 0, 0.25, 0), "midventral": (0.45, 0, 0.5, 0.05),
    "midlateral": (0.45, 0, 0.45, 0.1), "midparietal": (0.4, 0, 0.3, 0.3),
    "ventral": (0.1, 0, 0.85, 0.05), "lateral": (0.1, 0, 0.75, 0.15),
    "parietal": (0.1, 0, 0.4, 0.5),
}  # fmt: skip
CATEGORY_SHARE = 0.65  # of the variance in the middle of a category area
# Mean share of colour, and concentration of the preferred orientation, along the hierarchy.
COLOUR_SHARE = {"V1": 0.3, "V2": 0.35, "V3": 0.3, "hV4": 0.55}
CONCENTRATION = {"V1": 1.5, "V2": 1.0, "V3": 0.8, "hV4": 0.5}
EXPONENT = {"V1": 0.7, "V2": 0.6, "V3": 0.55, "hV4": 0.5}  # compressive summation


@dataclass(frozen=True)
class Tuning:
    """Weights of every voxel; rows are those of ``Voxels``, all float32.

    Attributes
    ----------
    shares : ndarray, shape (V, 4)
        Share of the signal's variance that each of ``PARTS`` contributes.
    pixels : ndarray, shape (V, n_channels)
        Non-negative weights of ``CHANNELS``, sum 1.
    exponent : ndarray, shape (V,)
        Power that compresses the pixel and category drive.
    category : ndarray, shape (V, 4)
        Weights of ``CATEGORY``.
    kind, colour, background : ndarray, shapes (V, n_kinds), (V, n_colours), (V, n_backgrounds)
        Weights of meaning.
    layout : ndarray, shape (V, 5)
        Weights of ``LAYOUT``.
    """

    shares: np.ndarray
    pixels: np.ndarray
    exponent: np.ndarray
    category: np.ndarray
    kind: np.ndarray
    colour: np.ndarray
    background: np.ndarray
    layout: np.ndarray


def _by_stage(table: dict, stage: np.ndarray, late: float | None = None) -> np.ndarray:
    """Look up a value per voxel; stages that the table lacks get ``late``."""
    return np.array([table.get(name, late) for name in STAGES])[stage]


def make_tuning(brain: Brain, config: SimulationConfig, rng: np.random.Generator) -> Tuning:
    """Draw the tuning of all voxels.

    Parameters
    ----------
    brain : Brain
        The subject's brain.
    config : SimulationConfig
        Rank of the space of meaning.
    rng : numpy.random.Generator
        Draws the weights.

    Returns
    -------
    Tuning
    """
    voxels = brain.voxels
    n = voxels.index.size
    shares = _by_stage(SHARES, voxels.stage)
    strongest = voxels.category.max(axis=1, keepdims=True)
    shares = shares * (1 - CATEGORY_SHARE * strongest)
    shares[:, 1] = CATEGORY_SHARE * strongest[:, 0]
    shares = shares * np.exp(rng.normal(0, 0.3, shares.shape))  # voxels of an area differ
    shares /= shares.sum(axis=1, keepdims=True)
    kind, colour, background = _meaning_weights(brain, config.semantic_rank, rng)
    out = Tuning(
        shares, _pixel_weights(voxels, rng), _by_stage(EXPONENT, voxels.stage, late=0.5),
        voxels.category, kind, colour, background, rng.standard_normal((n, len(LAYOUT))),
    )  # fmt: skip
    return Tuning(**{name: value.astype(np.float32) for name, value in vars(out).items()})


def _pixel_weights(voxels: Voxels, rng: np.random.Generator) -> np.ndarray:
    """Preferred orientation, spatial frequency and colour, (V, n_channels): sharp in V1."""
    n = voxels.index.size
    frequency, orientation = np.array(GABOR_CHANNELS).T
    sharp = _by_stage(CONCENTRATION, voxels.stage, late=0.4)[:, None]
    preferred = rng.uniform(0, np.pi, (n, 1))
    orient = np.exp(sharp * np.cos(2 * (np.radians(orientation) - preferred)))
    # Small receptive fields prefer fine detail.
    best = np.log2(0.9 / voxels.size)[:, None] + rng.normal(0, 0.5, (n, 1))
    scale = np.exp(-((np.log2(frequency) - np.clip(best, -1.7, 1.2)) ** 2) * sharp / 2)
    gabor = orient * scale
    # Few colours each: a power of uniform numbers makes the weights sparse.
    hue = rng.random((n, len(OPPONENTS))) ** (1 + 2 * sharp)
    share = _by_stage(COLOUR_SHARE, voxels.stage, late=0.4)[:, None]
    share = rng.beta(8 * share, 8 * (1 - share))
    gabor *= (1 - share) / gabor.sum(axis=1, keepdims=True)
    hue *= share / hue.sum(axis=1, keepdims=True)
    return np.concatenate([gabor, hue], axis=1)


def _meaning_weights(brain: Brain, rank: int, rng: np.random.Generator):
    """Low-rank weights of kinds, colours and backgrounds; neighbours share part of them."""
    shape, index = brain.anatomy.tissue.shape, brain.voxels.index
    maps = np.stack([smooth_field(shape, 1.6, rng).ravel()[index] for _ in range(rank)], axis=1)
    own = rng.standard_normal((index.size, rank)) * (rng.random((index.size, rank)) < 0.3)
    latent = maps + 0.8 * own
    groups = sorted(set(GROUPS.values()))
    of_group = rng.standard_normal((len(groups), rank))[[groups.index(GROUPS[k]) for k in KINDS]]
    kinds = of_group + 0.9 * rng.standard_normal((len(KINDS), rank))
    colours = rng.standard_normal((len(COLOURS), rank))
    backgrounds = rng.standard_normal((len(BACKGROUNDS), rank))
    return tuple(latent @ loading.T / np.sqrt(rank) for loading in (kinds, colours, backgrounds))


def zscore(values: np.ndarray) -> np.ndarray:
    """Zero mean and unit SD over the first axis; constant columns become 0."""
    values = values - values.mean(axis=0)
    sd = values.std(axis=0)
    return np.divide(values, sd, out=np.zeros_like(values), where=sd > 1e-6)


def true_signals(
    voxels: Voxels, tuning: Tuning, scenes: Sequence[Scene], maps: np.ndarray
) -> np.ndarray:
    """Noiseless response of every voxel to every picture.

    Parameters
    ----------
    voxels : Voxels
        V voxels.
    tuning : Tuning
        Their weights.
    scenes : sequence of Scene
        Descriptions of the n pictures.
    maps : ndarray of float32, shape (n, n_channels, 40, 40)
        ``feature_maps`` of the pictures.

    Returns
    -------
    ndarray of float32, shape (n, V)
        Z-scored over pictures; 0 for null voxels.
    """
    assert maps.shape[:2] == (len(scenes), len(CHANNELS)), maps.shape
    parts = [_pixel_part(voxels, tuning, maps), *_thing_parts(voxels, tuning, scenes)]
    layout = zscore(layout_features(scenes))
    parts.append(zscore(layout @ tuning.layout.T))
    signal = sum(
        zscore(part) * np.sqrt(share) for part, share in zip(parts, tuning.shares.T, strict=True)
    )
    signal = zscore(signal)
    signal[:, voxels.null] = 0
    return signal.astype(np.float32)


def _pixel_part(voxels: Voxels, tuning: Tuning, maps: np.ndarray) -> np.ndarray:
    """Weighted channels inside the receptive field, compressed: (n, V)."""
    drive = np.zeros((len(maps), voxels.index.size), np.float32)
    some = np.flatnonzero(tuning.shares[:, 0] > 0)
    # Two halves side by side on any machine: what is computed must not depend on its cores.
    halves = np.array_split(some, 2)
    with ThreadPoolExecutor(2) as pool:
        drives = pool.map(partial(_pixel_drive, voxels, tuning, maps), halves)
        for half, driven in zip(halves, drives, strict=True):
            drive[:, half] = driven
    return np.maximum(drive, 0) ** tuning.exponent


def _pixel_drive(voxels: Voxels, tuning: Tuning, maps: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Sum of the channels inside the receptive fields of some voxels, (n, n_some)."""
    fields = receptive_fields(voxels.x[some], voxels.y[some], voxels.size[some]).T  # (1600, S)
    drive = np.zeros((len(maps), some.size), np.float32)
    for channel in range(maps.shape[1]):
        pictures = maps[:, channel].reshape(len(maps), -1)
        level = max(float(pictures.mean()), 1e-6)  # so that weights compare across channels
        drive += (pictures / level) @ fields * tuning.pixels[some, channel]
    return drive


def _thing_parts(voxels: Voxels, tuning: Tuning, scenes: Sequence[Scene]):
    """Responses to categories and to meaning, (n, V) each: things count where the voxel looks."""
    groups = [CATEGORY_DRIVE.get(GROUPS[kind], OTHER_DRIVE) for kind in KINDS]
    category = tuning.category @ np.array(groups, np.float32).T  # (V, n_kinds)
    back = np.array([BACKGROUNDS.index(scene.background) for scene in scenes])
    places = np.array([PLACE_DRIVE[name] for name in BACKGROUNDS], np.float32)[back]
    drive = 0.6 * places[:, None] * tuning.category[:, CATEGORY.index("place")]
    meaning = 0.8 * tuning.background.T[back]
    for position in range(max(len(scene.things) for scene in scenes)):
        having = [i for i, scene in enumerate(scenes) if len(scene.things) > position]
        things = [scenes[i].things[position] for i in having]
        strength = _strength(voxels, things)
        kind = np.array([KINDS.index(thing.kind) for thing in things])
        colour = np.array([COLOURS.index(thing.colour) for thing in things])
        drive[having] += strength * category.T[kind]
        meaning[having] += strength * (tuning.kind.T[kind] + 0.7 * tuning.colour.T[colour])
    # The floor keeps the compression from blowing up differences between absent things.
    return (drive + 0.05) ** tuning.exponent, np.tanh(zscore(meaning) / 1.5)


def _strength(voxels: Voxels, things: Sequence) -> np.ndarray:
    """How much of each thing a voxel gets, (n_things, V): larger and closer is more."""
    column = np.array([(t.x, t.y, t.width, t.width * t.height) for t in things], np.float32)
    x = ((column[:, 0] - 0.5) * FIELD_DEG)[:, None]
    y = ((0.5 - column[:, 1]) * FIELD_DEG)[:, None]
    extent = np.sqrt(column[:, 3])[:, None]
    # The thing is treated as a Gaussian blob of a third of its extent.
    spread = voxels.size**2 + (extent * FIELD_DEG / 3) ** 2
    distance = (x - voxels.x) ** 2 + (y - voxels.y) ** 2
    return extent * np.exp(-distance / (2 * spread))


def layout_features(scenes: Sequence[Scene]) -> np.ndarray:
    """Position and size of the main thing, its number, and the number of things, (n, 5)."""
    rows = [
        (s.main.x, -s.main.y, s.main.width, np.log2(s.main.count), len(s.things)) for s in scenes
    ]
    return np.array(rows, np.float32)
