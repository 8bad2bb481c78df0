"""Scores of embeddings and of pictures, each with its chance level.

All functions take (truth, reconstruction) in this order. Definitions follow the reconstruction
literature since Ozcelik & VanRullen (2023) and Scotti et al. (2023), in their exact published form
(resizing, layers, sample sets, directions), so that a number here can be put beside a number there.

A path through it::

    scores = picture_scores(seen, {"random": a, "ridge": b, "contrastive": c, "ceiling": d})
    table = score_table(scores, about=about, baseline="random", ceiling="ceiling", rng=rng)
    text = table_markdown(table)
    gains = differences(scores, "contrastive", "ridge", rng=rng)
"""

from .arrays import correlation_matrix
from .diagnostics import bottleneck_curve, effective_rank, repeat_ceiling
from .feature_networks import NETWORKS, FeatureNetwork, WeightsFile, load_network, required_weights
from .features import FeatureScorer
from .frechet import fid_weights, frechet_distance, frechet_monitor, training_monitor
from .identification import (
    DIRECTIONS,
    chance,
    clustered_two_way_scores,
    retrieval,
    retrieval_scores,
    similarity_matrix,
    two_way_identification,
    two_way_scores,
)
from .pixels import pixcorr, pixcorr_scores, ssim, ssim_scores
from .scores import Score, embedding_scores, per_image_arrays, picture_scores
from .statistics import Interval, bootstrap, paired_difference
from .tables import (
    NOT_AVAILABLE,
    differences,
    library_versions,
    published_markdown,
    score_table,
    table_markdown,
)

__all__ = [
    "DIRECTIONS",
    "NETWORKS",
    "NOT_AVAILABLE",
    "FeatureNetwork",
    "FeatureScorer",
    "Interval",
    "Score",
    "WeightsFile",
    "bootstrap",
    "bottleneck_curve",
    "chance",
    "clustered_two_way_scores",
    "correlation_matrix",
    "differences",
    "effective_rank",
    "embedding_scores",
    "fid_weights",
    "frechet_distance",
    "frechet_monitor",
    "library_versions",
    "load_network",
    "paired_difference",
    "per_image_arrays",
    "picture_scores",
    "pixcorr",
    "pixcorr_scores",
    "published_markdown",
    "repeat_ceiling",
    "required_weights",
    "retrieval",
    "retrieval_scores",
    "score_table",
    "similarity_matrix",
    "ssim",
    "ssim_scores",
    "table_markdown",
    "training_monitor",
    "two_way_identification",
    "two_way_scores",
]
