"""The sections of a profile. Each field is one setting that a notebook uses."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from .settings import (
    Count,
    Integer,
    Line,
    Name,
    NotNegative,
    Number,
    Part,
    Positive,
    Several,
    Whole,
    settings,
)


def _named_words(line: str) -> str:
    name, _, words = line.partition(":")
    if not name.strip() or not words.split():
        raise ValueError(f"{line!r}; expected 'name: word word ...'")
    return line


def _inside_project(folder: str) -> str:
    if os.path.isabs(folder) or ".." in Path(folder).parts:
        raise ValueError(
            f"figures is {folder!r}; expected a folder in the project, named relative to its root "
            "without '..'; to keep figures elsewhere, link that folder into the project"
        )
    return folder


Passes = Annotated[Integer, Field(ge=4)]  # of the generator: a gradient step costs about three
Words = Annotated[Line, AfterValidator(_named_words)]


@settings
class DataConfig:
    """Where the NSD folder is and what is read of it."""

    root: Name
    beta_version: Name
    roi: Name
    n_sessions: Whole  # 0: all that the subject has
    min_repeats: Annotated[Integer, Field(ge=1, le=3)]  # of the shared images that are the test set


@settings
class ClipConfig:
    """The CLIP model, as open_clip names it."""

    model: Name
    pretrained: Line
    image_size: Count  # pixels to which stimuli are resized once, on reading
    batch_size: Count


@settings
class EmbeddingConfig:
    """Notebook 02: the live demonstration of contrastive learning."""

    n_images: Several
    n_steps: Count
    n_seeds: Count  # of each training
    batch_size: Several
    dim: Count
    temperature: Positive
    temperatures: tuple[Positive, ...]  # tried one after the other, to show what they do


@settings
class EncoderConfig:
    """Notebook 03: fMRI to CLIP."""

    log10_alpha_min: Number
    log10_alpha_max: Number
    n_alphas: Several
    n_folds: Several
    n_steps: Count
    batch_size: Several
    learning_rate: Positive
    weight_decay: NotNegative
    temperature: Positive
    n_bootstrap: Count

    def __post_init__(self):
        if self.log10_alpha_min >= self.log10_alpha_max:
            raise ValueError("log10_alpha_min must be below log10_alpha_max")


@settings
class LafiteConfig:
    """The weights of generator and judge, and the prior's bank of embeddings."""

    weights: Line
    bank: Line  # empty: the embeddings of the training images
    judge: Line
    truncation_psi: NotNegative
    batch_size: Count


@settings
class ReconstructionConfig:
    """Notebook 04: CLIP to picture."""

    n_shown: Count
    n_z: Count
    n_passes: Passes  # generator passes per picture of each search for the noise vector
    low_level_size: Count  # pixels on a side of the blurred picture read from V1 to V3
    low_level_weight: NotNegative  # of that picture in the objective of a search
    tuning_images: Count  # shown in the live fine-tuning
    study_passes: Passes  # n_passes of `make study`
    study_images: Count  # shown in each fine-tuning of `make study`
    study_rest_images: Whole  # before them, to a fresh discriminator alone
    study_seeds: Count  # of the noise and of the fine-tunings


@settings
class PerturbationConfig:
    """Notebooks 05 and 06: leave one voxel out, and groups of voxels."""

    n_images: Count  # test images whose pictures are perturbed
    n_voxels: Count  # strongest voxels that are shown as pictures
    n_noise: Count  # draws of z and of the noise buffers in the control
    n_maps: Count  # test images with the exact form and maps of the place in the picture
    n_probes: Count  # random projections per image for the other form
    n_cells: Count  # cells per side of those maps
    n_shares: Count  # images whose variance is shared out
    n_z: Several  # draws of z for that
    n_buffers: Several  # draws of the noise buffers for that
    n_folds: Several  # of the cross-fit of the reliability test
    block_size: Several  # images within which repeats are paired anew
    n_permutations: Count
    n_random: Count  # random groups of an area's size, of each kind
    n_retrained: Count  # random groups that a decoder is trained on; 39 for a band of 95 %
    n_pictured: Count  # test images drawn without a group, or from it alone
    pictured: tuple[Words, ...]  # "name: area area ...", the groups of those pictures
    combinations: tuple[Words, ...]  # likewise, the groups set against the whole region
    added_rois: Line  # atlases whose areas are added to the region, wherever they lie
    redundancies: Annotated[tuple[Count, ...], Field(min_length=1)]  # voxels per source, simulated
    concepts: tuple[Words, ...]  # "name: caption words", fixed before looking at any effect


@settings
class DinoConfig:
    """Notebook 07: student and teacher."""

    weights: Line  # a teacher with the record of its training; "" to use the live training only
    n_scenes: Whole  # drawn to learn from live and to vote; 0: the stimuli
    n_asked: Count  # held-out pictures that are asked about
    n_neighbours: Count
    n_clusters: Count  # of captions, where no kind of thing is known
    image_steps: Count
    image_batch: Count
    n_checks: Count  # moments of a training that are recorded
    voxel_steps: Count
    voxel_batch: Count
    shares: tuple[Part, ...]  # of the training images whose embedding is known
    n_frames: Count  # of the animation
    study_steps: Count  # on brain patterns, in `make study`
    study_collapse_steps: Count


@settings
class OutputConfig:
    """Where the figures go."""

    figures: Annotated[Name, AfterValidator(_inside_project)]
