"""Maps from voxels to CLIP embeddings, behind one interface.

Every ``fit_*(betas, embeddings, groups, ...)`` takes single trials with the image of each, and
returns ``(encoder, report)``; every encoder has ``predict(betas) -> (n, C)``.

* :func:`fit_mean`: the mean embedding, whatever the brain does;
* :func:`fit_ridge`: least squares with a penalty for each dimension;
* :func:`fit_mapper`: any of these by name, with all settings in one place; also linear maps
  trained with InfoNCE or with Mind Reader's loss, and a residual MLP trained as in MindEye.
"""

from ..metrics.arrays import unit
from .common import Mapper, check_patterns, check_training
from .embedding_losses import info_nce
from .encoder_files import load_encoder, save_encoder
from .linear import LinearEncoder, fit_mean
from .mappers import MAPPERS, MapperSettings, fit_mapper
from .ridge import RidgeBasis, fit_ridge, held_out_means, match_spread, refit_ridge, ridge_basis
