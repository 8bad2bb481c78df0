"""Visual areas as groups of voxels: left out, kept alone, stimulated, and trained anew.

What a group does is put beside random groups of its size; see :mod:`fmri_utils.perturbation` for
single voxels.
"""

from .decoding import (
    AreaScores,
    area_groups,
    area_pictures,
    disjoint,
    embedding_scores_of,
    overlaps,
    random_shift,
    score_areas,
    unions,
)
from .groups import (
    GroupScore,
    against_random,
    group_embedding,
    random_groups,
    shapley,
    shapley_by_trial,
    shapley_exact,
)
from .retrain import Retrained, refit_without, retrain_like, retrain_on, score_retrained

__all__ = [
    "AreaScores",
    "GroupScore",
    "Retrained",
    "against_random",
    "area_groups",
    "area_pictures",
    "disjoint",
    "embedding_scores_of",
    "group_embedding",
    "overlaps",
    "random_groups",
    "random_shift",
    "refit_without",
    "retrain_like",
    "retrain_on",
    "score_areas",
    "score_retrained",
    "shapley",
    "shapley_by_trial",
    "shapley_exact",
    "unions",
]
