"""What the study covers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fmri_utils.project.settings import Count, Integer, settings

Subject = Annotated[Integer, Field(ge=1, le=8)]


@settings
class StudySettings:
    """Size of the study.

    Attributes
    ----------
    subjects : tuple of int
        By default those that NSD papers report.
    n_seeds : int
        Fits of every mapper to image embeddings.
    n_seeds_other : int
        Fits of every mapper to captions, and to both together.
    n_clusters : int
        Of the leave-cluster-out split.
    n_voxels : tuple of int
        Points of the learning curve over voxels; those above the subject's number are left out.
    n_draws : int
        Random draws of voxels for a point.
    n_classes : tuple of int
        Of the classifier-plus-prototype baseline.
    n_dims : tuple of int
        Of the bottleneck.
    n_resamples : int
        Of the bootstrap.
    """

    subjects: tuple[Subject, ...] = (1, 2, 5, 7)
    n_seeds: Count = 5
    n_seeds_other: Count = 2
    n_clusters: Count = 5
    n_voxels: tuple[Count, ...] = (30, 100, 300, 1000, 2500)
    n_draws: Count = 2
    n_classes: tuple[Count, ...] = (5, 10, 20, 50)
    n_dims: tuple[Count, ...] = (1, 2, 5, 10, 30, 100)
    n_resamples: Count = 2000
