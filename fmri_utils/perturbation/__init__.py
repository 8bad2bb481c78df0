"""Leave one voxel out: what one voxel contributes to the predicted embedding and the picture.

This is sensitivity of a model, not causality in a brain. For a linear encoder the effect of
replacing the value of one voxel is a rank-one change of the embedding, so all voxels cost one
matrix product; and the generator sees voxels through its condition alone, so one Jacobian of the
picture serves all voxels to first order.

A path through it::

    effect = embedding_effect(encoder, patterns)                    # every voxel, every image
    images = image_effects(generator, encoder, patterns, z, ...)    # how much the picture changes
    places = centroid_and_spread(images.maps, width_deg)            # where in the picture
    words, directions = vocabulary(captions, caption_embeddings)
    shift = concept_shift(encoder, patterns, directions, ...)       # towards which concept
    test = max_t(reliability(encoder, repeats, pairings).null)      # and whether it beats noise
"""

from .agreement import Agreement, between_maps, split_half
from .areas import (
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
from .atlas import ImageEffects, image_effects
from .calibration import NullTrials, calibrate, null_run
from .change import EmbeddingChange
from .concepts import (
    area_shift,
    area_shifts,
    concept_directions,
    concept_shift,
    parse_concepts,
    strongest_words,
    vocabulary,
)
from .embedding import (
    condition_jacobian,
    contribution,
    embedding_effect,
    encoding_pattern,
    network_condition_jacobian,
    network_effect,
    signed_shift,
)
from .finite import eps_curve, finite_difference
from .groups import (
    GroupScore,
    against_random,
    group_embedding,
    random_groups,
    shapley,
    shapley_by_trial,
    shapley_exact,
)
from .jacobian import (
    picture_derivative,
    picture_function,
    picture_gram,
    picture_jacobian,
    picture_sketch,
    rms_from_gram,
    rms_from_sketch,
)
from .maps import save_maps
from .nulls import (
    Reliability,
    Significance,
    combine,
    draw_pairings,
    matched_rank,
    max_t,
    reliability,
    repeat_rows,
)
from .parts import Parts
from .pictures import (
    PictureEffect,
    crossed_pictures,
    picture_effect,
    renderer,
    variance_shares,
    voxel_against_noise,
)
from .places import cell_centres, cell_grams, centroid_and_spread, effect_maps, relative_maps
from .precision import Precision, fit_precision
from .redundancy import LinearSubject, linear_subject, redundancy_curve, statistics_of
from .refit import cross_fit, refit_change, refit_weights, ridge_penalties
from .replacement import conditional_mean, other_repeat, shrinkage_penalty, stimulate
from .retrain import Retrained, refit_without, retrain_like, retrain_on, score_retrained
from .truth import Alignment, alignment, auroc, planted_truth, receptive_field_overlap

__all__ = [
    "Agreement",
    "Alignment",
    "AreaScores",
    "EmbeddingChange",
    "GroupScore",
    "ImageEffects",
    "LinearSubject",
    "NullTrials",
    "Parts",
    "PictureEffect",
    "Precision",
    "Reliability",
    "Retrained",
    "Significance",
    "against_random",
    "alignment",
    "area_groups",
    "area_pictures",
    "area_shift",
    "area_shifts",
    "auroc",
    "between_maps",
    "calibrate",
    "cell_centres",
    "cell_grams",
    "centroid_and_spread",
    "combine",
    "concept_directions",
    "concept_shift",
    "condition_jacobian",
    "conditional_mean",
    "contribution",
    "cross_fit",
    "crossed_pictures",
    "disjoint",
    "draw_pairings",
    "effect_maps",
    "embedding_effect",
    "embedding_scores_of",
    "encoding_pattern",
    "eps_curve",
    "finite_difference",
    "fit_precision",
    "group_embedding",
    "image_effects",
    "linear_subject",
    "matched_rank",
    "max_t",
    "network_condition_jacobian",
    "network_effect",
    "null_run",
    "other_repeat",
    "overlaps",
    "parse_concepts",
    "picture_derivative",
    "picture_effect",
    "picture_function",
    "picture_gram",
    "picture_jacobian",
    "picture_sketch",
    "planted_truth",
    "random_groups",
    "random_shift",
    "receptive_field_overlap",
    "redundancy_curve",
    "refit_change",
    "refit_weights",
    "refit_without",
    "relative_maps",
    "reliability",
    "renderer",
    "repeat_rows",
    "retrain_like",
    "retrain_on",
    "ridge_penalties",
    "rms_from_gram",
    "rms_from_sketch",
    "save_maps",
    "score_areas",
    "score_retrained",
    "shapley",
    "shapley_by_trial",
    "shapley_exact",
    "shrinkage_penalty",
    "signed_shift",
    "split_half",
    "statistics_of",
    "stimulate",
    "strongest_words",
    "unions",
    "variance_shares",
    "vocabulary",
    "voxel_against_noise",
]
