"""Visual areas as groups of voxels: left out, kept alone, stimulated, and trained anew.

What a group does is put beside random groups of its size; see :mod:`fmri_utils.perturbation` for
single voxels.
"""

from .decoding import (
    area_groups,
    area_pictures,
    disjoint,
    embedding_scores_of,
    overlaps,
    random_band,
    random_shift,
    score_areas,
    unions,
)
from .groups import group_embedding, shapley_by_trial
from .random_groups import patches, scattered, shared_noise
from .retrain import refit_without, score_retrained
