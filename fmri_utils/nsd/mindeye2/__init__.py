"""Read the files that MindEye2 (Scotti et al., 2024, arXiv:2403.11207) was trained on.

They hold the same experiment in another form: one matrix of betas per subject, and tables of which
image each trial showed. They are read where a user has them; NSD's terms forbid passing them on.

Betas are those of nsdgeneral at 1.8 mm, and **already standardised**: by the paper voxel by voxel,
with mean and standard deviation of the training trials only. They must not be z-scored again, and
have no unit. Their columns are in the order of ``volume[mask]`` with nibabel's (X, Y, Z) volume and
the mask ``nsdgeneral > 0``, the order of :func:`fmri_utils.nsd.read_betas`; files in the order of
HDF5 (Z, Y, X), as other projects make them, have other columns. Trials and image ids count from 0.
"""

from .behaviour import check, read_behaviour
from .files import MindEye2Layout, read_betas, read_images, trial_table

__all__ = [
    "MindEye2Layout",
    "check",
    "read_behaviour",
    "read_betas",
    "read_images",
    "trial_table",
]
