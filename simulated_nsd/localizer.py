"""The functional localizer: t values of the contrasts by which NSD's category areas were drawn.

Ten categories in five domains were shown in blocks (fLoc; Stigliani, Weiner & Grill-Spector, 2015,
Journal of Neuroscience 35, 12412-12424). A contrast is the mean response to a domain, or to one of
its categories, against all other categories.
"""

import numpy as np

from .brain import STAGES, Brain
from .cortical_areas import CATEGORIES

DOMAINS: dict[str, tuple[str, str]] = {
    "characters": ("word", "number"), "bodies": ("body", "limb"), "faces": ("adult", "child"),
    "places": ("corridor", "house"), "objects": ("car", "instrument"),
}  # fmt: skip
CONTRASTS = (*DOMAINS, *(name for pair in DOMAINS.values() for name in pair))
SHOWN = tuple(name for pair in DOMAINS.values() for name in pair)
# Response of a voxel in the middle of an area for faces, bodies, places and words to each of SHOWN.
DRIVE = {
    "face": (0.05, 0.0, 0.35, 0.15, 1.0, 0.9, 0.0, 0.0, 0.05, 0.05),
    "body": (0.05, 0.0, 1.0, 0.85, 0.35, 0.35, 0.0, 0.0, 0.1, 0.1),
    "place": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 1.0, 0.2, 0.05),
    "word": (1.0, 0.75, 0.1, 0.1, 0.1, 0.1, 0.0, 0.05, 0.2, 0.25),
}
OBJECT_STAGES = ("midlateral", "lateral")  # lateral occipital cortex responds to whole objects
OBJECT_DRIVE = (0.0, 0.0, 0.15, 0.15, 0.1, 0.1, 0.0, 0.1, 0.35, 0.35)
EARLY_SPREAD = 0.12  # early areas tell categories apart a little, by their spatial frequencies
T_PER_DRIVE = 32.0  # t value of a full difference in a voxel with an ncsnr of 1


def floc_maps(brain: Brain, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a localizer would find, as NSD stores it.

    Parameters
    ----------
    brain : Brain
        The subject's brain.
    rng : numpy.random.Generator
        Draws the errors.

    Returns
    -------
    dict of str to ndarray of float32, shape (X, Y, Z)
        t value of each of ``CONTRASTS``; NaN outside the brain mask.
    """
    v = brain.voxels
    response = v.category @ np.array([DRIVE[name] for name in CATEGORIES.values()])  # (V, 10)
    unassigned = 1 - v.category.max(axis=1)
    lateral = np.isin(v.stage, [STAGES.index(name) for name in OBJECT_STAGES])
    response += (lateral * unassigned)[:, None] * np.array(OBJECT_DRIVE)
    early = v.stage <= STAGES.index("hV4")
    response += early[:, None] * EARLY_SPREAD * rng.standard_normal(response.shape)
    response *= T_PER_DRIVE * v.ncsnr[:, None]
    maps = {}
    for name in CONTRASTS:
        chosen = np.isin(SHOWN, DOMAINS.get(name, (name,)))
        volume = rng.standard_normal(brain.anatomy.tissue.shape)  # of a t value without an effect
        contrast = response[:, chosen].mean(axis=1) - response[:, ~chosen].mean(axis=1)
        volume.ravel()[v.index] += contrast
        maps[name] = np.where(brain.anatomy.brainmask, volume, np.nan).astype(np.float32)
    return maps
