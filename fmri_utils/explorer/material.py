"""What the explorer shows: the files of notebooks 01 to 05, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .. import nsd
from ..encoders import LinearEncoder, load_encoder, unit
from ..perturbation import concept_directions, parse_concepts
from ..pictures.prior import GeneratorWithPrior, open_generator
from ..project.checks import check_finite, check_pictures
from ..project.errors import DataError
from ..project.notebook_files import open_inputs
from ..project.profiles import Profile

SOURCES = "betas", "stimuli", "embeddings", "predictions", "reconstructions", "effects"


@dataclass(frozen=True)
class Concepts:
    """Directions in CLIP space, and how far images spread along them.

    Attributes
    ----------
    names : tuple of str
    directions : numpy.ndarray, (n_concepts, C)
        Unit length.
    sd : numpy.ndarray, (n_concepts,)
        Standard deviation of the training images' embeddings along each.
    """

    names: tuple[str, ...]
    directions: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class Library:
    """The captions that are searched: the first caption of every training image.

    Attributes
    ----------
    captions : sequence of str, (n,)
    embeddings : numpy.ndarray, (n, C)
        Unit length, after their mean was subtracted.
    image_mean : numpy.ndarray, (C,)
        Mean image embedding, subtracted from what is read: CLIP's captions and images lie in
        different places (Liang et al. 2022).
    """

    captions: Sequence[str]
    embeddings: np.ndarray
    image_mean: np.ndarray

    def nearest(self, embedding: np.ndarray, n: int = 3) -> list[str]:
        """The n captions nearest to an embedding (C,), best first."""
        score = self.embeddings @ (embedding - self.image_mean)
        return [self.captions[i] for i in np.argsort(-score)[:n]]


@dataclass(frozen=True)
class Material:
    """Everything the explorer needs, as arrays and two models.

    Attributes
    ----------
    encoder : LinearEncoder
    generator : GeneratorWithPrior
        LAFITE behind the prior.
    pattern : numpy.ndarray, (n_images, n_voxels)
        z-scored betas of the test images, averaged over repeats.
    seen : numpy.ndarray, uint8 (n_images, H, W, 3)
    captions : sequence of str, (n_images,)
        What a person wrote of each test image.
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
        Areas without a voxel are left out.
    mask : numpy.ndarray, bool (X, Y, Z)
        Voxels in the order of ``volume[mask]``.
    background : numpy.ndarray, (X, Y, Z)
        Mean volume.
    new_noise_rms : float
        Median pixel RMS between two pictures of one embedding under different noise (notebook 05).
    psi : float
        Truncation.
    seed : int
        Of the fixed z.
    label : str
        What the data are ("simulated, subject 1").
    """

    encoder: LinearEncoder
    generator: GeneratorWithPrior
    pattern: np.ndarray
    seen: np.ndarray
    captions: Sequence[str]
    library: Library
    concepts: Concepts
    areas: Mapping[str, np.ndarray]
    mask: np.ndarray
    background: np.ndarray
    new_noise_rms: float
    psi: float
    seed: int
    label: str

    def __post_init__(self):
        n_images, n_voxels = self.pattern.shape
        found = len(self.seen), len(self.captions), len(self.encoder.weights), int(self.mask.sum())
        if found != (n_images, n_images, n_voxels, n_voxels):
            raise DataError(
                f"{found[0]} pictures, {found[1]} captions, an encoder of {found[2]} voxels and a "
                f"mask of {found[3]}. Expected: {n_images} images and {n_voxels} voxels. The files "
                "are of different runs: `make 05`."
            )
        check_pictures(self.seen, "seen", only_bytes=True)
        for name, values in (
            ("pattern", self.pattern),
            ("weights", self.encoder.weights),
            ("intercept", self.encoder.intercept),
            ("captions' embeddings", self.library.embeddings),
            ("mean image embedding", self.library.image_mean),
            ("concepts' directions", self.concepts.directions),
            ("concepts' SD", self.concepts.sd),
        ):
            check_finite(values, name, remedy="Run `make 05`.")


def load_material(cfg: Profile, *, device: torch.device | str) -> Material:
    """Read the files of notebooks 01 to 05 of a run.

    Raises
    ------
    ArtifactError, WeightsError
        If one is missing or damaged; the message says which notebook writes it.
    """
    files = open_inputs(cfg, *SOURCES, "matched", "prior", "generator")
    brain, stimuli, clip, predicted, pictures, effects = (files[name] for name in SOURCES)
    known = np.isin(clip["nsd_id"], brain["nsd_id"][brain["is_train"]])
    training = stimuli["captions"][np.searchsorted(stimuli["nsd_id"], clip["nsd_id"][known]), 0]
    images, captions = clip["image"][known], clip["first_caption"][known]
    parsed = parse_concepts(cfg.perturbation.concepts)
    directions = concept_directions(parsed, training, captions)
    areas = dict(zip(brain["area_names"], brain["areas"], strict=True))
    tested = np.searchsorted(stimuli["nsd_id"], predicted["test_ids"])
    return Material(
        encoder=load_encoder(files["matched"]),
        generator=open_generator(files, device=device),
        pattern=predicted["pattern"].astype(np.float64),
        seen=pictures["seen"],
        captions=stimuli["captions"][tested, 0].tolist(),
        library=Library(training.tolist(), unit(captions - captions.mean(0)), images.mean(0)),
        concepts=Concepts(tuple(parsed), directions, (images @ directions.T).std(0)),
        areas=nsd.main_areas(areas) | {name: w for name, w in areas.items() if w.any()},
        mask=brain["mask"],
        background=brain["background"],
        new_noise_rms=float(np.median(effects["one_noise_rms"])),
        psi=cfg.lafite.truncation_psi,
        seed=cfg.seed,
        label=cfg.dataset_label,
    )
