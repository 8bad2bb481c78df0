"""The sections of a profile. Each field is one setting that a notebook uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _at_least(section: object, least: int, *names: str) -> None:
    """Check that settings are at least so much."""
    for name in names:
        value = getattr(section, name)
        _require(value >= least, f"{name} is {value}; expected {least} or more")


@dataclass(frozen=True)
class DataConfig:
    """Where the NSD folder is and what is read of it."""

    root: str
    beta_version: str
    roi: str
    n_sessions: int  # 0: all that the subject has
    min_repeats: int  # shared images seen at least this often are the test set

    def __post_init__(self):
        _require(self.n_sessions >= 0, f"n_sessions is {self.n_sessions}; expected 0 (all) or more")
        for name in ("root", "beta_version", "roi"):
            _require(getattr(self, name).strip() != "", f"{name} is empty; expected a name")
        _require(1 <= self.min_repeats <= 3, f"min_repeats is {self.min_repeats}; expected 1 to 3")


@dataclass(frozen=True)
class ClipConfig:
    """The CLIP model, as open_clip names it."""

    model: str
    pretrained: str
    image_size: int  # pixels to which stimuli are resized once, on reading
    batch_size: int

    def __post_init__(self):
        _require(self.model.strip() != "", "model is empty; expected a name that open_clip knows")
        _at_least(self, 1, "image_size", "batch_size")


@dataclass(frozen=True)
class EmbeddingConfig:
    """Notebook 02: the live demonstration of contrastive learning."""

    n_images: int
    n_steps: int
    batch_size: int
    dim: int
    temperature: float
    temperatures: tuple[float, ...]  # tried one after the other, to show what they do

    def __post_init__(self):
        _require(
            min((self.temperature, *self.temperatures)) > 0,
            f"temperatures are {self.temperature} and {self.temperatures}; expected above 0",
        )
        _at_least(self, 2, "n_images", "batch_size")
        _at_least(self, 1, "n_steps", "dim")


@dataclass(frozen=True)
class EncoderConfig:
    """Notebook 03: fMRI to CLIP."""

    log10_alpha_min: float
    log10_alpha_max: float
    n_alphas: int
    n_folds: int
    n_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    temperature: float
    n_bootstrap: int

    def __post_init__(self):
        _require(
            self.log10_alpha_min < self.log10_alpha_max, "log10_alpha_min must be below the maximum"
        )
        _at_least(self, 2, "n_folds", "n_alphas", "batch_size")
        _at_least(self, 1, "n_steps", "n_bootstrap")
        _at_least(self, 0, "weight_decay")
        for name in ("temperature", "learning_rate"):
            value = getattr(self, name)
            _require(value > 0, f"{name} is {value}; expected above 0")


@dataclass(frozen=True)
class LafiteConfig:
    """The generator's and the judge's weights."""

    weights: str
    judge: str
    truncation_psi: float
    batch_size: int

    def __post_init__(self):
        _at_least(self, 0, "truncation_psi")
        _at_least(self, 1, "batch_size")


@dataclass(frozen=True)
class ReconstructionConfig:
    """Notebook 04: CLIP to picture."""

    n_shown: int
    n_z: int
    n_passes: int  # generator passes per picture of each search for the noise vector
    low_level_size: int  # pixels on a side of the blurred picture read from V1 to V3
    low_level_weight: float  # of that picture in the objective of a search
    tuning_images: int  # shown in the live fine-tuning
    study_passes: int  # n_passes of `make study`
    study_images: int  # shown in each fine-tuning of `make study`
    study_rest_images: int  # before them, to a fresh discriminator alone
    study_seeds: int  # of the noise and of the fine-tunings

    def __post_init__(self):
        smallest = min(self.n_passes, self.study_passes)
        _require(smallest >= 4, f"{smallest} generator passes; expected 4 or more, one step")
        _at_least(self, 1, "n_shown", "n_z", "low_level_size", "tuning_images", "study_images")
        _at_least(self, 1, "study_seeds")
        _at_least(self, 0, "low_level_weight", "study_rest_images")


@dataclass(frozen=True)
class PerturbationConfig:
    """Notebooks 05 and 06: leave one voxel out, and groups of voxels."""

    n_images: int  # test images whose pictures are perturbed
    n_voxels: int  # strongest voxels that are shown as pictures
    n_noise: int  # draws of z and of the noise buffers in the control
    n_maps: int  # test images with the exact form and maps of the place in the picture
    n_probes: int  # random projections per image for the other form
    n_cells: int  # cells per side of those maps
    n_z: int  # draws of z for the variance shares
    n_buffers: int  # draws of the noise buffers for them
    n_folds: int  # of the cross-fit of the reliability test
    block_size: int  # images within which repeats are paired anew
    n_permutations: int
    n_random: int  # random groups of an area's size
    n_orders: int  # orders of areas for Shapley values
    n_retrained: int  # random groups that a decoder is trained on, of each size
    n_pictured: int  # test images drawn without a group, or from it alone
    pictured: tuple[str, ...]  # "name: area area ...", the groups of those pictures
    combinations: tuple[str, ...]  # likewise, the groups set against the whole region
    added_rois: str  # atlases whose areas are added to the region, wherever they lie
    redundancies: tuple[int, ...]  # voxels per source in the small linear subjects
    concepts: tuple[str, ...]  # "name: caption words", fixed before looking at any effect

    def __post_init__(self):
        counts = ("n_images", "n_maps", "n_probes", "n_cells", "n_permutations", "n_random")
        _at_least(self, 1, *counts, "n_retrained", "n_pictured", "n_voxels", "n_noise", "n_orders")
        _at_least(self, 2, "n_z", "n_buffers", "n_folds", "block_size")
        _require(
            len(self.redundancies) > 0 and min(self.redundancies) >= 1,
            f"redundancies are {self.redundancies}; expected one or more numbers from 1",
        )
        for name in ("concepts", "pictured", "combinations"):
            lines = getattr(self, name)
            _require(
                all(":" in line for line in lines),
                f"{name} are {lines}; expected 'name: word word ...' in each",
            )


@dataclass(frozen=True)
class DinoConfig:
    """Notebook 07: student and teacher."""

    weights: str  # a teacher with the record of its training; "" to use the live training only
    n_scenes: int  # drawn to learn from live and to vote; 0: the stimuli
    n_asked: int  # held-out pictures that are asked about
    n_neighbours: int
    n_clusters: int  # of captions, where no kind of thing is known
    image_steps: int
    image_batch: int
    n_checks: int  # moments of a training that are recorded
    collapse_steps: int
    voxel_steps: int
    voxel_batch: int
    shares: tuple[float, ...]  # of the training images whose embedding is known
    n_frames: int  # of the animation
    study_steps: int  # on brain patterns, in `make study`
    study_collapse_steps: int

    def __post_init__(self):
        steps = ("image_steps", "collapse_steps", "voxel_steps", "study_steps")
        _at_least(self, 1, *steps, "study_collapse_steps", "image_batch", "voxel_batch", "n_asked")
        _at_least(self, 1, "n_neighbours", "n_clusters", "n_checks", "n_frames")
        _require(self.n_scenes >= 0, f"n_scenes is {self.n_scenes}; expected 0 (stimuli) or more")
        _require(
            all(0 < share <= 1 for share in self.shares),
            f"shares are {self.shares}; expected above 0, at most 1",
        )


@dataclass(frozen=True)
class OutputConfig:
    """Where the figures go."""

    figures: str

    def __post_init__(self):
        _require(self.figures.strip() != "", "figures is empty; expected a folder")
        inside = not os.path.isabs(self.figures) and ".." not in Path(self.figures).parts
        _require(
            inside,
            f"figures is {self.figures!r}; expected a folder in the project, named relative to its "
            "root without '..'; to keep figures elsewhere, link that folder into the project",
        )
