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

from .against_truth import Alignment, alignment, auroc
from .atlas import ImageEffects, image_effects
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
from .effect_volumes import save_maps
from .embedding_effects import (
    condition_jacobian,
    contribution,
    embedding_effect,
    encoding_pattern,
    network_condition_jacobian,
    network_effect,
    signed_shift,
)
from .finite_differences import eps_curve, finite_difference
from .jacobian import (
    picture_derivative,
    picture_function,
    picture_gram,
    picture_jacobian,
    picture_sketch,
    rms_from_gram,
    rms_from_sketch,
)
from .map_agreement import Agreement, between_maps, split_half
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
from .picture_effects import (
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

__all__ = [
    "Agreement",
    "Alignment",
    "EmbeddingChange",
    "ImageEffects",
    "LinearSubject",
    "PictureEffect",
    "Precision",
    "Reliability",
    "Significance",
    "alignment",
    "area_shift",
    "area_shifts",
    "auroc",
    "between_maps",
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
    "draw_pairings",
    "effect_maps",
    "embedding_effect",
    "encoding_pattern",
    "eps_curve",
    "finite_difference",
    "fit_precision",
    "image_effects",
    "linear_subject",
    "matched_rank",
    "max_t",
    "network_condition_jacobian",
    "network_effect",
    "other_repeat",
    "parse_concepts",
    "picture_derivative",
    "picture_effect",
    "picture_function",
    "picture_gram",
    "picture_jacobian",
    "picture_sketch",
    "redundancy_curve",
    "refit_change",
    "refit_weights",
    "relative_maps",
    "reliability",
    "renderer",
    "repeat_rows",
    "ridge_penalties",
    "rms_from_gram",
    "rms_from_sketch",
    "save_maps",
    "shrinkage_penalty",
    "signed_shift",
    "split_half",
    "statistics_of",
    "stimulate",
    "strongest_words",
    "variance_shares",
    "vocabulary",
    "voxel_against_noise",
]
