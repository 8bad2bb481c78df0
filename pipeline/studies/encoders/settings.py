"""What the study covers."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_utils.project.errors import ProfileError


@dataclass(frozen=True)
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

    subjects: tuple[int, ...] = (1, 2, 5, 7)
    n_seeds: int = 5
    n_seeds_other: int = 2
    n_clusters: int = 5
    n_voxels: tuple[int, ...] = (30, 100, 300, 1000, 2500)
    n_draws: int = 2
    n_classes: tuple[int, ...] = (5, 10, 20, 50)
    n_dims: tuple[int, ...] = (1, 2, 5, 10, 30, 100)
    n_resamples: int = 2000

    def __post_init__(self):
        if not self.subjects or min(self.subjects) < 1 or max(self.subjects) > 8:
            raise ProfileError(f"subjects are {self.subjects}. Expected: numbers from 1 to 8.")
        if min(self.n_seeds, self.n_seeds_other) < 1:
            raise ProfileError(
                f"n_seeds is {self.n_seeds}, n_seeds_other {self.n_seeds_other}. Expected: 1 or "
                "more."
            )
