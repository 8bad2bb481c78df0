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
    test = max_t(reliability(encoder, repeats, pairings))           # and whether it beats noise
"""

from .atlas import image_effects
from .concepts import (
    area_shifts,
    concept_directions,
    concept_shift,
    own_leads,
    parse_concepts,
    strongest_words,
    vocabulary,
)
from .effect_volumes import save_maps
from .embedding_effects import (
    condition_jacobian,
    contribution,
    embedding_effect,
    forward_model,
    haufe_pattern,
)
from .jacobian import (
    eps_curve,
    picture_derivative,
    picture_function,
    picture_sketch,
    rms_from_sketch,
)
from .map_agreement import between_halves, between_maps, split_half
from .nulls import (
    draw_pairings,
    matched_rank,
    max_t,
    reliability,
    reliability_of_folds,
    repeat_rows,
)
from .picture_effects import (
    crossed_pictures,
    picture_effect,
    renderer,
    variance_shares,
    voxel_against_noise,
)
from .picture_locations import centroid_and_spread, relative_maps
from .refit import cross_fit, fit_precision, half_decoders, refit_change, ridge_penalties
from .replacement import conditional_mean, other_repeat, prediction_penalty
