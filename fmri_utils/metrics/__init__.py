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

from .diagnostics import bottleneck_curve, effective_rank, repeat_ceiling
from .frechet import frechet_distance, training_monitor
from .identification import (
    chance,
    clustered_two_way_scores,
    retrieval,
    retrieval_scores,
    similarity_matrix,
    two_way_identification,
    two_way_scores,
)
from .pixels import pixcorr, ssim, ssim_scores
from .scores import embedding_scores, per_image_arrays, picture_scores
from .statistics import Interval, bootstrap, excluding_zero, paired_difference
from .tables import differences, markdown_table, published_markdown, score_table, table_markdown
