"""The 180 parcels of HCP-MMP1 on the simulated sheet, so that code for that atlas can be run.

Names and ids are those of Glasser et al. (2016, Nature 536, 171-178). Parcels of visual cortex lie
where the simulated areas of the same name or function lie. The others are spread over the part of
the sheet that belongs to their region in the paper (one of 22): right in kind, not in outline.
"""

import numpy as np
from scipy.spatial import cKDTree

from .anatomy import unit

_NAMES = """
    V1 MST V6 V2 V3 V4 V8 4 3b FEF PEF 55b V3A RSC POS2 V7 IPS1 FFC V3B LO1 LO2 PIT MT A1 PSL SFL
    PCV STV 7Pm 7m POS1 23d v23ab d23ab 31pv 5m 5mv 23c 5L 24dd 24dv 7AL SCEF 6ma 7Am 7PL 7PC LIPv
    VIP MIP 1 2 3a 6d 6mp 6v p24pr 33pr a24pr p32pr a24 d32 8BM p32 10r 47m 8Av 8Ad 9m 8BL 9p 10d 8C
    44 45 47l a47r 6r IFJa IFJp IFSp IFSa p9-46v 46 a9-46v 9-46d 9a 10v a10p 10pp 11l 13l OFC 47s
    LIPd 6a i6-8 s6-8 43 OP4 OP1 OP2-3 52 RI PFcm PoI2 TA2 FOP4 MI Pir AVI AAIC FOP1 FOP3 FOP2 PFt
    AIP EC PreS H ProS PeEc STGa PBelt A5 PHA1 PHA3 STSda STSdp STSvp TGd TE1a TE1p TE2a TF TE2p PHT
    PH TPOJ1 TPOJ2 TPOJ3 DVT PGp IP2 IP1 IP0 PFop PF PFm PGi PGs V6A VMV1 VMV3 PHA2 V4t FST V3CD LO3
    VMV2 31pd 31a VVC 25 s32 pOFC PoI1 Ig FOP5 p10p p47r TGv MBelt LBelt A4 STSva TE1m PI a32pr p24
    """
HCP_MMP1 = tuple(_NAMES.split())
"""Names in the order of their ids, from 1."""

EARLY = ("V1", "V2", "V3", "V4")  # laid out as bands with the other early areas, not by a seed

# Directions are (lateral, anterior, superior), see Anatomy.direction.
LANDMARKS: dict[str, tuple[float, float, float]] = {
    "V3A": (0.30, -0.78, 0.52), "V3B": (0.46, -0.74, 0.44), "V7": (0.32, -0.64, 0.68),
    "IPS1": (0.24, -0.54, 0.80), "V6": (-0.38, -0.78, 0.50), "V6A": (-0.22, -0.70, 0.68),
    "LO1": (0.62, -0.78, 0.08), "LO2": (0.74, -0.67, -0.06), "LO3": (0.84, -0.52, 0.16),
    "V3CD": (0.66, -0.70, 0.28), "V4t": (0.83, -0.56, -0.02), "MT": (0.90, -0.45, 0.08),
    "MST": (0.96, -0.27, 0.08), "FST": (0.95, -0.28, -0.10), "PH": (0.80, -0.44, -0.40),
    "PIT": (0.66, -0.68, -0.36), "V8": (0.34, -0.66, -0.68), "FFC": (0.42, -0.24, -0.87),
    "VVC": (0.22, -0.34, -0.92), "VMV1": (-0.14, -0.60, -0.78), "VMV2": (0.04, -0.50, -0.86),
    "VMV3": (0.16, -0.56, -0.82), "PHA1": (-0.24, -0.18, -0.95), "PHA2": (-0.06, -0.22, -0.97),
    "PHA3": (0.08, -0.18, -0.98), "TF": (0.24, 0.12, -0.96), "TE2p": (0.70, -0.14, -0.70),
    "PHT": (0.92, -0.18, -0.34), "IP0": (0.52, -0.62, 0.58), "PGp": (0.74, -0.58, 0.36),
    "FEF": (0.46, 0.42, 0.76), "A1": (0.97, 0.10, 0.14), "44": (0.82, 0.50, 0.26),
    "45": (0.80, 0.60, 0.06), "H": (-0.56, 0.02, -0.83), "PreS": (-0.48, -0.22, -0.85),
    "EC": (-0.40, 0.34, -0.85), "PeEc": (-0.12, 0.42, -0.90), "TGv": (0.44, 0.60, -0.66),
}  # fmt: skip
# Area 4 and the somatosensory areas are strips along the central sulcus, from the midline to the
# Sylvian fissure; each number is how far a strip lies in front of the sulcus, in radians.
STRIPS = {"4": 0.13, "3a": 0.05, "3b": -0.03, "1": -0.11, "2": -0.20}
CENTRAL_SULCUS = np.array([[-0.35, 0.06, 0.94], [0.35, 0.16, 0.92], [0.75, 0.22, 0.62],
                           [0.92, 0.28, 0.28]])  # fmt: skip
# Parcels of a region without a landmark: centre of the region, radius in degrees, names.
REGIONS: tuple[tuple[tuple[float, float, float], float, str], ...] = (
    ((0.62, 0.38, 0.68), 23, "6d 6a PEF 55b 6v 6r"),
    ((0.92, 0.32, 0.22), 14, "43 OP4 OP1 OP2-3 FOP1 PFcm"),
    ((0.98, 0.04, 0.04), 10, "LBelt MBelt PBelt RI"),
    ((0.93, 0.14, -0.32), 21, "A4 A5 STSdp STSda STSvp STSva TA2 STGa"),
    ((0.88, 0.46, -0.10), 17, "52 PI Ig PoI1 PoI2 FOP2 FOP3 FOP4 FOP5 MI AVI AAIC Pir"),
    ((0.76, 0.30, -0.58), 20, "TGd TE1a TE1m TE1p TE2a"),
    ((0.91, -0.34, 0.28), 15, "TPOJ1 TPOJ2 TPOJ3 STV PSL"),
    ((0.24, -0.32, 0.91), 21, "LIPv LIPd VIP AIP MIP 7PC 7AL 7Am 7PL 7Pm"),
    ((0.76, -0.22, 0.56), 22, "PGs PGi PFm PF PFt PFop IP1 IP2"),
    ((0.16, 0.92, -0.36), 26, "47s 47m a47r 11l 13l a10p p10p 10pp 10d OFC pOFC"),
    ((0.74, 0.66, 0.18), 19, "IFJp IFJa IFSp IFSa 47l p47r"),
    ((0.46, 0.66, 0.60), 26, "8C 8Av i6-8 s6-8 SFL 8BL 9p 9a 8Ad p9-46v a9-46v 46 9-46d"),
)
# The medial wall, from the calcarine over the top to below the genu: angle in degrees in the
# sagittal plane (0 anterior, 90 superior) of the first and last parcel; inner and outer in turn.
MEDIAL: tuple[tuple[float, float, str], ...] = (
    (168, 116, "ProS DVT POS1 POS2 RSC"),
    (110, 84, "v23ab 7m d23ab PCV 31pv 31pd"),
    (84, 58, "23d 31a 23c 5m 5mv 5L 24dv 24dd"),
    (54, 32, "p24pr SCEF 33pr 6mp a24pr 6ma"),
    (28, -4, "p32pr 8BM a32pr 9m d32 10r p24"),
    (-10, -46, "p32 10v a24 s32 25"),
)
MEDIAL_ROWS = (-0.70, -0.44)  # how far inwards the inner and the outer row lie
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


def _spread(centre: np.ndarray, radius: float, n: int) -> np.ndarray:
    """Spread n directions evenly over a disc on the sphere, as seeds lie in a sunflower; (n, 3)."""
    centre = unit(np.asarray(centre, float))
    first = unit(np.cross(centre, [0.0, 0.0, 1.0]))
    second = np.cross(centre, first)
    distance = np.radians(radius) * np.sqrt((np.arange(n) + 0.5) / n)[:, None]
    turn = (GOLDEN_ANGLE * np.arange(n))[:, None]
    outward = np.cos(turn) * first + np.sin(turn) * second
    return np.cos(distance) * centre + np.sin(distance) * outward


def _fan(start: float, stop: float, n: int) -> np.ndarray:
    """Spread n directions over a sector of the medial wall, in two rows; (n, 3)."""
    angle = np.radians(np.linspace(start, stop, n))
    inward = np.resize(MEDIAL_ROWS, n)
    reach = np.sqrt(1 - inward**2)
    return np.stack([inward, reach * np.cos(angle), reach * np.sin(angle)], axis=1)


def seeds() -> tuple[np.ndarray, np.ndarray]:
    """Directions that parcels grow around, (n, 3), and the id of each one's parcel, (n,)."""
    found: list[tuple[str, np.ndarray]] = [(n, np.array(d)) for n, d in LANDMARKS.items()]
    steps = np.linspace(0, 3, 10)
    sulcus = np.stack([np.interp(steps, range(4), c) for c in CENTRAL_SULCUS.T], axis=1)
    for name, forward in STRIPS.items():
        found += [(name, point + [0, forward, 0]) for point in unit(sulcus)]
    for centre, radius, names in REGIONS:
        parts = names.split()
        found += zip(parts, _spread(np.array(centre), radius, len(parts)), strict=True)
    for start, stop, names in MEDIAL:
        parts = names.split()
        found += zip(parts, _fan(start, stop, len(parts)), strict=True)
    ids = np.array([HCP_MMP1.index(name) + 1 for name, _ in found])
    return unit(np.array([d for _, d in found], float)), ids


def hcp_parcels(direction: np.ndarray, cortex: np.ndarray, early: np.ndarray) -> np.ndarray:
    """Divide the whole sheet into the parcels of HCP-MMP1.

    Parameters
    ----------
    direction : ndarray of float, shape (X, Y, Z, 3)
        Place of every voxel on the subject's sheet.
    cortex : ndarray of bool, shape (X, Y, Z)
    early : ndarray of int, shape (X, Y, Z)
        1 to 4 in V1, V2, V3 and V4, out to the far periphery; anything else elsewhere.

    Returns
    -------
    ndarray of int16, shape (X, Y, Z)
        -1 outside cortex, 1 to 180 in it: every voxel of cortex belongs to a parcel. On a coarse
        grid a small parcel may be without a voxel.
    """
    places, ids = seeds()
    out = np.full(cortex.shape, -1, np.int16)
    # The nearest of several points on a sphere is also the nearest in space.
    out[cortex] = ids[cKDTree(places).query(direction[cortex])[1]]
    for number, name in enumerate(EARLY, start=1):
        out[cortex & (early == number)] = HCP_MMP1.index(name) + 1
    return out
