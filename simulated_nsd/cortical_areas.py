"""Visual areas as patches on the cortical sheet, and the atlases that NSD stores of them.

Early areas follow the layout of human visual cortex: V1, V2 and V3 are bands around the calcarine
sulcus that meet at the foveal confluence on the occipital pole; along them eccentricity grows
towards the front, across them the polar angle reverses at every border (Wandell, Dumoulin &
Brewer, 2007, Neuron 56, 366-383). Category areas are caps at their usual places.
"""

from dataclasses import dataclass

import numpy as np

from fmri_utils.nsd.rois import PUBLISHED_LABELS
from fmri_utils.project.errors import DataError

from .anatomy import Anatomy
from .parcels import HCP_MMP1, hcp_parcels

# Directions are (lateral, anterior, superior), see Anatomy.direction.
FOVEA = np.array([0.22, -0.95, -0.12])
CALCARINE_END = np.array([-0.90, -0.42, 0.10])

BANDS = (0.20, 0.37, 0.53)  # borders V1/V2, V2/V3 and the end of V3, in radians from the calcarine
HV4_WIDTH = 0.27
ECC_SCALE_DEG = 0.75  # eccentricity = scale (exp(distance / ECC_SPACE) - 1)
ECC_SPACE = 0.40
MAX_ECC_DEG = 8.0
PERIPHERY_DEG = 20.0  # HCP-MMP1 draws V1 to V3 beyond what a pRF experiment reaches

ECC_EDGES = (0.5, 1.0, 2.0, 4.0)
ATLASES = {**PUBLISHED_LABELS, "HCP_MMP1": HCP_MMP1}
VISUAL, STREAMS = ATLASES["prf-visualrois"], ATLASES["streams"]
FLOC = {atlas: names for atlas, names in ATLASES.items() if atlas.startswith("floc-")}
CATEGORIES = {"floc-faces": "face", "floc-bodies": "body", "floc-places": "place",
              "floc-words": "word"}  # fmt: skip

# Area: direction of its centre, radius in degrees on the sheet (left, right hemisphere). Words lie
# left and faces right more often than not; a radius of 0 means that the hemisphere lacks the area.
CAPS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "OFA": ((0.72, -0.66, -0.52), 9.0, 11.0),
    "FFA-1": ((0.38, -0.42, -0.86), 9.0, 11.0),
    "FFA-2": ((0.46, -0.10, -0.90), 8.0, 10.0),
    "mTL-faces": ((0.62, 0.30, -0.72), 0.0, 7.0),
    "aTL-faces": ((0.45, 0.62, -0.64), 7.0, 7.0),
    "OWFA": ((0.55, -0.72, -0.58), 8.0, 6.0),
    "VWFA-1": ((0.58, -0.36, -0.76), 9.0, 6.0),
    "VWFA-2": ((0.66, -0.08, -0.78), 8.0, 0.0),
    "mfs-words": ((0.24, -0.16, -0.96), 5.0, 5.0),
    "mTL-words": ((0.78, 0.22, -0.60), 6.0, 0.0),
    "OPA": ((0.58, -0.66, 0.46), 11.0, 11.0),
    "PPA": ((-0.04, -0.24, -0.97), 15.0, 15.0),
    "RSC": ((-0.74, -0.47, 0.46), 10.0, 10.0),
    "EBA": ((0.92, -0.42, -0.08), 13.0, 14.0),
    "FBA-1": ((0.54, -0.27, -0.82), 7.0, 8.0),
    "FBA-2": ((0.54, 0.02, -0.85), 8.0, 8.0),
    "mTL-bodies": ((0.74, 0.36, -0.58), 0.0, 6.0),
    "VO1": ((0.02, -0.66, -0.76), 8.0, 8.0),
    "VO2": ((-0.02, -0.52, -0.86), 7.0, 7.0),
    "PHC1": ((-0.10, -0.38, -0.92), 7.0, 7.0),
    "PHC2": ((-0.12, -0.18, -0.97), 7.0, 7.0),
    "LO1": ((0.62, -0.78, 0.08), 8.0, 8.0),
    "LO2": ((0.76, -0.66, -0.02), 8.0, 8.0),
    "TO1": ((0.90, -0.46, 0.10), 7.0, 7.0),
    "TO2": ((0.96, -0.26, 0.06), 7.0, 7.0),
    "V3A": ((0.30, -0.78, 0.52), 8.0, 8.0),
    "V3B": ((0.46, -0.74, 0.44), 7.0, 7.0),
    "IPS0": ((0.32, -0.64, 0.68), 7.0, 7.0),
    "IPS1": ((0.24, -0.54, 0.80), 6.0, 6.0),
    "IPS2": ((0.18, -0.42, 0.88), 6.0, 6.0),
    "FEF": ((0.46, 0.42, 0.76), 6.0, 6.0),
}
# Areas of Kastner2015 that no voxel is tuned by: at the same place of the template in everybody.
PARIETAL_CAPS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "IPS3": ((0.14, -0.30, 0.94), 6.0, 6.0),
    "IPS4": ((0.14, -0.17, 0.97), 6.0, 6.0),
    "IPS5": ((0.22, -0.05, 0.97), 6.0, 6.0),
    "SPL1": ((-0.06, -0.34, 0.94), 6.0, 6.0),
}
# nsdgeneral grows around these and around the early areas: direction, reach in degrees at level 1.
GENERAL = (
    ((0.32, -0.88, -0.32), 42.0),
    ((0.16, -0.50, -0.86), 34.0),
    ((0.02, -0.28, -0.96), 31.0),
    ((0.40, -0.20, -0.90), 33.0),
    ((0.82, -0.54, -0.16), 39.0),
    ((0.44, -0.74, 0.48), 34.0),
)
EARLY_REACH = (1.38, 0.90)  # radians along and across the calcarine at level 1
STREAM_CENTRES = {
    "midventral": (0.12, -0.78, -0.62), "midlateral": (0.66, -0.74, 0.02),
    "midparietal": (0.30, -0.82, 0.44), "ventral": (0.32, -0.24, -0.92),
    "lateral": (0.93, -0.34, -0.12), "parietal": (0.34, -0.56, 0.76),
}  # fmt: skip


@dataclass(frozen=True)
class Areas:
    """Atlases and sheet coordinates.

    Attributes
    ----------
    labels : dict of str to ndarray of int16, shape (X, Y, Z)
        Atlas name to volume: -1 not cortex, 0 cortex without label, 1..N as in ``ATLASES``.
    along, across : ndarray of float32, shape (X, Y, Z)
        Radians on the sheet from the fovea along the calcarine, and from the calcarine (positive
        is dorsal).
    direction : ndarray of float32, shape (X, Y, Z, 3)
        Direction in this subject's template.
    general_score : ndarray of float32, shape (X, Y, Z)
        Distance from the middle of visual cortex; nsdgeneral holds the smallest ones.
    """

    labels: dict[str, np.ndarray]
    along: np.ndarray
    across: np.ndarray
    direction: np.ndarray
    general_score: np.ndarray


def angle_to(direction: np.ndarray, centre) -> np.ndarray:
    """Angle in degrees between directions (..., 3) and a centre (3,)."""
    centre = np.asarray(centre, float)
    cosine = direction @ (centre / np.linalg.norm(centre))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """Small random rotation, (3, 3): individual brains differ in where areas lie."""
    a, b, c = np.radians(rng.normal(0, degrees, 3))
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


def sheet_coordinates(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position around the foveal confluence: along and across the calcarine, radians.

    Azimuthal equidistant projection of the sheet, centred on the fovea.
    """
    centre = FOVEA / np.linalg.norm(FOVEA)
    forward = CALCARINE_END - (CALCARINE_END @ centre) * centre
    forward /= np.linalg.norm(forward)
    up = np.cross(forward, centre)
    up *= np.sign(up[2])
    x, y = direction @ forward, direction @ up
    distance = np.arccos(np.clip(direction @ centre, -1, 1))
    planar = np.maximum(np.hypot(x, y), 1e-9)
    return distance * x / planar, distance * y / planar


def band_scale(along: np.ndarray) -> np.ndarray:
    """Relative width of the early areas' bands: narrow at the fovea, full further out."""
    return np.sqrt(np.clip((along + 0.10) / 0.45, 1e-6, 1.0))


def early_areas(along: np.ndarray, across: np.ndarray, max_ecc: float = MAX_ECC_DEG) -> np.ndarray:
    """Label V1v to hV4 (1..7) on the sheet up to an eccentricity in degrees, 0 elsewhere."""
    distance = np.hypot(along, across)
    scale = band_scale(along)
    width = np.abs(across)
    inside = (along > -0.10) & (eccentricity(distance) <= max_ecc)
    dorsal = across > 0
    out = np.zeros(along.shape, np.int16)
    lower = 0.0
    for area, upper in enumerate(BANDS):
        ring = inside & (width >= lower * scale) & (width < upper * scale)
        out[ring] = 2 * area + 1 + dorsal[ring]
        lower = upper
    outer = BANDS[2] * scale
    hv4 = ~dorsal & (width >= outer) & (width < outer + HV4_WIDTH)
    out[hv4 & (along > -0.12) & (along < 0.42)] = 7
    return out


def eccentricity(distance: np.ndarray) -> np.ndarray:
    """Eccentricity in degrees at a distance in radians from the foveal confluence.

    The exponential magnification of Duncan & Boynton (2003, Neuron 38, 659-671).
    """
    return ECC_SCALE_DEG * np.expm1(np.maximum(distance, 0) / ECC_SPACE)


def make_areas(anatomy: Anatomy, n_nsdgeneral: int, rng: np.random.Generator) -> Areas:
    """Lay out all areas on a brain.

    Parameters
    ----------
    anatomy : Anatomy
        The brain.
    n_nsdgeneral : int
        Voxels of nsdgeneral, exactly.
    rng : numpy.random.Generator
        Draws individual shifts.

    Returns
    -------
    Areas

    Raises
    ------
    DataError
        If the cortex is too small for ``n_nsdgeneral`` voxels.
    """
    cortex = anatomy.cortex
    n_cortex = int(cortex.sum())
    if not 0.08 * n_cortex <= n_nsdgeneral <= 0.40 * n_cortex:
        raise DataError(
            f"nsdgeneral is to have {n_nsdgeneral} voxels, but this grid {cortex.shape} has a "
            f"cortex of {n_cortex}. Expected 8 to 40 % of the cortex, {int(0.08 * n_cortex)} to "
            f"{int(0.40 * n_cortex)}. Change n_nsdgeneral or grid."
        )
    direction = np.empty_like(anatomy.direction)
    caps = {}
    for side in (-1, 1):
        half = anatomy.side == side
        direction[half] = anatomy.direction[half] @ _rotation(rng, 2.0).T
        caps[side] = _individual_caps(rng) | PARIETAL_CAPS
    along, across = sheet_coordinates(direction)
    labels = _volumes(anatomy, direction, along, across, caps)
    score = _general_score(direction, along, across)
    chosen = np.flatnonzero(cortex)
    chosen = chosen[np.argsort(score.ravel()[chosen], kind="stable")[:n_nsdgeneral]]
    general = np.where(cortex, 0, -1).astype(np.int16)
    general.ravel()[chosen] = 1
    level = score.ravel()[chosen[-1]]
    labels["streams"] = _streams(labels["prf-visualrois"], direction, score, level, cortex)
    return Areas({"nsdgeneral": general, **labels}, along, across, direction, score)


def _general_score(direction: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Smooth union of the regions that respond to pictures; small is inside."""
    parts = [angle_to(direction, centre) / reach for centre, reach in GENERAL]
    early = np.maximum(
        along / EARLY_REACH[0], np.abs(across) / (EARLY_REACH[1] * band_scale(along))
    )
    parts.append(np.where(along > -0.2, early, 9.0))
    return (-np.logaddexp.reduce(-8.0 * np.array(parts), axis=0) / 8.0).astype(np.float32)


def _individual_caps(rng: np.random.Generator) -> dict[str, tuple[np.ndarray, float, float]]:
    """Shift and scale every cap a little."""
    out = {}
    for name, (centre, left, right) in CAPS.items():
        shifted = np.asarray(centre) / np.linalg.norm(centre) + rng.normal(0, 0.03, 3)
        factor = np.exp(rng.normal(0, 0.06))
        out[name] = (shifted, left * factor, right * factor)
    return out


def _volumes(anatomy, direction, along, across, caps) -> dict[str, np.ndarray]:
    """All atlases made of bands and caps."""
    cortex = anatomy.cortex
    empty = np.where(cortex, 0, -1).astype(np.int16)
    visual = np.where(cortex, early_areas(along, across), -1).astype(np.int16)
    labels = {"prf-visualrois": visual}
    bands = np.digitize(eccentricity(np.hypot(along, across)), ECC_EDGES, right=True) + 1
    labels["prf-eccrois"] = np.where(visual > 0, bands, empty).astype(np.int16)
    for atlas, names in {**FLOC, "Kastner2015": ATLASES["Kastner2015"]}.items():
        volume = empty.copy()
        if atlas == "Kastner2015":
            volume[visual > 0] = visual[visual > 0]
        nearest = np.where(volume == 0, 1.0, 0.0)  # distance / radius of the best cap so far
        for label, name in enumerate(names, start=1):
            for side in (-1, 1) if name in caps[-1] else ():  # the early areas are no caps
                centre, left, right = caps[side][name]
                radius = max(left if side < 0 else right, 1e-3)
                relative = angle_to(direction, centre) / radius
                # Category areas begin where V1-V3 end.
                take = (anatomy.side == side) & (relative < nearest)
                take &= (visual < 1) | (visual == 7) if atlas != "Kastner2015" else visual < 1
                take &= cortex
                volume[take] = label
                nearest[take] = relative[take]
        labels[atlas] = volume
    whole = early_areas(along, across, PERIPHERY_DEG)
    labels["HCP_MMP1"] = hcp_parcels(direction, cortex, (whole + 1) // 2)  # v and d are one area
    return labels


def _streams(visual, direction, score, level, cortex) -> np.ndarray:
    """Divide visual cortex: early, three intermediate and three high-level streams."""
    centres = np.array([angle_to(direction, c) for c in STREAM_CENTRES.values()])
    out = np.where(cortex, 0, -1).astype(np.int16)
    near = cortex & (score <= 1.03 * level)
    out[near] = np.argmin(centres, axis=0)[near] + 2
    out[(visual >= 1) & (visual <= 6)] = 1
    return out
