"""Every mapper by name, with its settings in one place."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch

from ..project.errors import DataError
from ..project.settings import Count, Decay, NotNegative, Number, Positive, Rate, Several, settings
from .common import Mapper
from .contrastive import fit_contrastive, fit_mind_reader
from .gradient_fit import Training
from .linear import fit_mean
from .mlp import fit_mlp
from .ridge import RidgeBasis, fit_ridge

MAPPERS = ("mean", "ridge", "contrastive", "mind_reader", "mlp")


@settings
class MapperSettings:
    """Settings of all mappers; the defaults were chosen on validation images of the demo.

    Attributes
    ----------
    log10_alpha_min, log10_alpha_max, n_alphas, n_folds
        Ridge: penalties and folds.
    n_steps, batch_size, learning_rate, weight_decay, temperature, voxel_dropout
        Contrastive-linear.
    mind_reader_epochs : int
        Mind Reader's loss, with the same voxel dropout.
    mlp_steps, mlp_learning_rate, mlp_voxel_dropout, mlp_hidden
        Residual MLP, with the batch size of contrastive-linear.
    mlp_mixco_temperature, mlp_soft_temperature
        Of BiMixCo, and of SoftCLIP at its end (it starts at 0.6 of that). MindEye's .006 and .0075
        are for embeddings that fill far more dimensions than the demo's.
    """

    log10_alpha_min: Number = 0.0
    log10_alpha_max: Number = 6.0
    n_alphas: Count = 13
    n_folds: Several = 20
    n_steps: Count = 1500
    batch_size: Several = 300
    learning_rate: Rate = 1e-3
    weight_decay: NotNegative = 0.1
    temperature: Positive = 0.05
    voxel_dropout: Decay = 0.8
    mind_reader_epochs: Count = 40
    mlp_steps: Count = 600
    mlp_learning_rate: Rate = 3e-3
    mlp_voxel_dropout: Decay = 0.8
    mlp_hidden: Count = 256
    mlp_mixco_temperature: Positive = 0.05
    mlp_soft_temperature: Positive = 0.05

    @classmethod
    def of(cls, config: object) -> MapperSettings:
        """Settings from an object with attributes of the same names, such as a profile's section.

        What it lacks keeps the default.
        """
        names = (f.name for f in fields(cls))
        return cls(**{name: getattr(config, name) for name in names if hasattr(config, name)})

    @property
    def alphas(self) -> np.ndarray:
        """Ridge penalties, (n_alphas,)."""
        return np.logspace(self.log10_alpha_min, self.log10_alpha_max, self.n_alphas)


def fit_mapper(
    name: str,
    betas: np.ndarray,
    embeddings: np.ndarray,
    groups: np.ndarray,
    *,
    settings: MapperSettings,
    seed: int,
    n_targets: int = 1,
    device: str | torch.device = "cpu",
    basis: RidgeBasis | None = None,
    progress: bool = False,
) -> tuple[Mapper, dict[str, np.ndarray]]:
    """Fit one of :data:`MAPPERS`.

    Parameters
    ----------
    name : str
    betas, embeddings, groups
        Single training trials, as for :func:`fmri_utils.encoders.fit_ridge`.
    settings : MapperSettings
    seed : int
        Of the folds (ridge), or of initialisation, validation images and batches.
    n_targets : int
        Embeddings of a trial that stand beside each other, all of one size.
    device : str or torch.device
    basis : RidgeBasis, optional
        For ridge.
    progress : bool

    Returns
    -------
    mapper : Mapper
    report : dict
        Of the fit function.
    """
    if name not in MAPPERS:
        raise DataError(f"no mapper {name!r}. Valid mappers: {', '.join(MAPPERS)}.")
    data = (betas, embeddings, groups)
    steps = dict(seed=seed, n_targets=n_targets, device=device, progress=progress)
    if name == "mean":
        return fit_mean(*data)
    if name == "ridge":
        folds = dict(alphas=settings.alphas, n_folds=settings.n_folds, seed=seed)
        return fit_ridge(*data, **folds, device=device, basis=basis)
    if name == "mind_reader":
        own = dict(n_epochs=settings.mind_reader_epochs, voxel_dropout=settings.voxel_dropout)
        return fit_mind_reader(*data, **own, **steps)
    if name == "mlp":
        training = Training(
            n_steps=settings.mlp_steps,
            batch_size=settings.batch_size,
            learning_rate=settings.mlp_learning_rate,
            weight_decay=0.01,
            one_cycle=True,
            voxel_dropout=settings.mlp_voxel_dropout,
            patience=settings.mlp_steps,
        )
        of_mlp = {
            "hidden": settings.mlp_hidden,
            "mixco_temperature": settings.mlp_mixco_temperature,
            "soft_temperature": settings.mlp_soft_temperature,
        }
        return fit_mlp(*data, training=training, **of_mlp, **steps)
    names = (f.name for f in fields(Training) if hasattr(settings, f.name))
    training = Training(**{name: getattr(settings, name) for name in names})
    return fit_contrastive(*data, training=training, temperature=settings.temperature, **steps)
