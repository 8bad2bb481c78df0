"""Maps from voxels to CLIP embeddings, behind one interface.

Every ``fit_*(betas, embeddings, groups, ...)`` takes single trials with the image of each, and
returns ``(encoder, report)``; every encoder has ``predict(betas) -> (n, C)``.

* :func:`fit_mean`: the mean embedding, whatever the brain does;
* :func:`fit_ridge`: least squares with a penalty for each dimension;
* :func:`fit_contrastive`: a linear map trained with InfoNCE;
* :func:`fit_mind_reader`: a linear map trained with Mind Reader's loss;
* :func:`fit_mlp`: a residual MLP trained as in MindEye;
* :func:`fit_mapper`: any of them by name, with all settings in one place.
"""

from ..metrics.arrays import unit
from .common import Mapper, check_patterns, check_training, split_targets, stack_targets
from .contrastive import fit_contrastive, fit_mind_reader
from .embedding_losses import (
    bimixco,
    cosine_loss,
    info_nce,
    mind_reader_loss,
    mind_reader_target,
    mix_betas,
    mse,
    per_target,
    soft_clip,
)
from .encoder_files import load_encoder, save_encoder
from .gradient_fit import Training
from .linear import LinearEncoder, fit_mean, restandardise
from .mappers import MAPPERS, MapperSettings, fit_mapper
from .mlp import MLPEncoder, MLPSettings, fit_mlp
from .ridge import RidgeBasis, fit_ridge, match_spread, out_of_fold, refit_ridge, ridge_basis

__all__ = [
    "MAPPERS",
    "LinearEncoder",
    "MLPEncoder",
    "MLPSettings",
    "Mapper",
    "MapperSettings",
    "RidgeBasis",
    "Training",
    "bimixco",
    "check_patterns",
    "check_training",
    "cosine_loss",
    "fit_contrastive",
    "fit_mapper",
    "fit_mean",
    "fit_mind_reader",
    "fit_mlp",
    "fit_ridge",
    "info_nce",
    "load_encoder",
    "match_spread",
    "mind_reader_loss",
    "mind_reader_target",
    "mix_betas",
    "mse",
    "out_of_fold",
    "per_target",
    "refit_ridge",
    "restandardise",
    "ridge_basis",
    "save_encoder",
    "soft_clip",
    "split_targets",
    "stack_targets",
    "unit",
]
