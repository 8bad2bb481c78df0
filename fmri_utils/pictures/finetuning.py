"""Fine-tuning LAFITE on embeddings as a brain gives them.

A generator that learned from the embeddings of images takes every error of a predicted embedding
for content. Here its training goes on with the embeddings that were predicted from the brain
activity of the *training* images, by encoders that had not seen these images, so that their errors
are like those at test. Mind Reader (Lin et al. 2022, arXiv 2210.01769) does so with two conditions,
image and caption, and without a noise vector; both are options here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..encoders import held_out_means, unit
from ..lafite import (
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    TrainingConfig,
    TrainingData,
    TrainingResult,
    train,
)
from ..project.artifacts import atomic_path
from ..project.errors import DataError, WeightsError
from ..project.tensors import tensor_hash
from .reconstruction import at_resolution

BATCH_SIZE = 8


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """Embeddings of training images, predicted by encoders that were not fitted to them.

    Attributes
    ----------
    ids : numpy.ndarray, (n_images,)
        Increasing.
    predicted : numpy.ndarray, float32 (n_images, K, C)
        Unit norm; K = 1, from the mean of all repeats of an image.
    scale : float
        Factor on deviations from the mean embedding that gives predictions the spread of real
        embeddings, as :func:`~fmri_utils.encoders.match_spread`.
    cosine : numpy.ndarray, (n_images,)
        Of the first prediction with the true embedding.
    """

    ids: np.ndarray
    predicted: np.ndarray
    scale: float
    cosine: np.ndarray


def predict_held_out(
    betas: np.ndarray, embeddings: np.ndarray, groups: np.ndarray, **settings
) -> HeldOutPredictions:
    """Predict every training image's embedding from its brain activity, without having seen it.

    Ridge in folds of whole images: neither the image nor one of its repeats was in the fit that
    predicts it. The penalties were chosen with all training images.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored; of training trials only.
    embeddings : numpy.ndarray, (n_trials, C)
        Unit-norm embedding of the image of each trial.
    groups : numpy.ndarray, (n_trials,)
        Image of each trial.
    **settings
        Those of :func:`~fmri_utils.encoders.ridge.out_of_fold`: ``alphas`` (C,), such as the
        ``best_alphas`` of :func:`~fmri_utils.encoders.fit_ridge`, ``n_folds`` and ``basis``.

    Returns
    -------
    HeldOutPredictions

    Raises
    ------
    DataError
        As ``out_of_fold``.
    """
    mean, true, scale = held_out_means(betas, embeddings, groups, **settings)
    ids, centre = np.unique(groups), embeddings.mean(0)
    predicted = unit(mean[:, None] * scale + (1 - scale) * centre)
    cosine = (predicted[:, 0] * unit(true)).sum(1)
    return HeldOutPredictions(ids, predicted.astype(np.float32), scale, cosine)


@dataclass(frozen=True)
class FineTuning:
    """One way of fine-tuning.

    Parameters
    ----------
    predicted_share : float
        Share of samples conditioned on the brain's prediction; the others get the true embedding.
        0 is the control: what more training on the same images does without a brain.
    zero_z : bool
        Train with z = 0. Draw with z = 0 as well, then.
    two_conditions : bool
        Give the generator a second condition branch for the caption's embedding, merged by the
        element-wise maximum. It begins as a copy of the first.
    reconstruction_only : bool
        No discriminator: the generator only redraws the images.
    """

    predicted_share: float = 1.0
    zero_z: bool = False
    two_conditions: bool = False
    reconstruction_only: bool = False


OPTIONS = {
    "true embeddings (control)": FineTuning(predicted_share=0.0),
    "predicted": FineTuning(),
    "half predicted, half true": FineTuning(predicted_share=0.5),
    "predicted, z = 0": FineTuning(zero_z=True),
    "predicted, two conditions, z = 0": FineTuning(two_conditions=True, zero_z=True),
    "true embeddings, no discriminator (control)": FineTuning(
        predicted_share=0.0, reconstruction_only=True
    ),
    "predicted, no discriminator": FineTuning(reconstruction_only=True),
}


def fine_tuning_config(
    generator: GeneratorConfig,
    *,
    n_images: int,
    clip_size: int,
    rest_images: int = 800,
    learning_rate: float = 0.001,
    seed: int = 0,
) -> TrainingConfig:
    """Settings for a short continuation, in which the generator has to stay what it is.

    Redrawing is kept on for three quarters of a batch and weighs most, the contrast is with the
    true image's embedding (``iic``) and not with the noisy condition (``itc``), and the learning
    rate falls to zero over the second half.

    Parameters
    ----------
    generator : GeneratorConfig
    n_images : int
        Images to show to both networks, after ``rest_images`` that only the discriminator sees.
    clip_size : int
        Input of the CLIP image encoder, pixels.
    rest_images, learning_rate, seed
        See :class:`~fmri_utils.lafite.TrainingConfig`.
    """
    discriminator = DiscriminatorConfig(
        condition_dim=generator.condition_dim,
        resolution=generator.resolution,
        channel_base=16 * generator.resolution,
        channel_max=128,
    )
    return TrainingConfig(
        generator=generator,
        discriminator=discriminator,
        batch_size=BATCH_SIZE,
        n_images=n_images + rest_images,
        rest_images=rest_images,
        clip_size=clip_size,
        seed=seed,
        learning_rate_g=learning_rate,
        learning_rate_d=0.0025,
        noise_level=0.3,
        clean_fraction=0.75,
        reconstruction_weight=8.0,
        perceptual_weight=1.0,
        itd=1.0,
        itc=0.0,
        iic=1.0,
        r1_gamma=0.1,
        path_weight=0.0,
        condition_rate=20.0,
        rate_decay_images=n_images / 2,
        ema_images=min(1000, n_images / 4),
        reuse_fakes=True,
        log_images=max(BATCH_SIZE, n_images // 10),
        grid_images=max(BATCH_SIZE, (n_images + rest_images) // 2),
        checkpoint_images=max(BATCH_SIZE, n_images // 5),
    )


def adapted_config(base: TrainingConfig, option: FineTuning) -> TrainingConfig:
    """The settings of a run under one option."""
    n_conditions = 2 if option.two_conditions else base.generator.n_conditions
    generator = dataclasses.replace(base.generator, n_conditions=n_conditions)
    only = option.reconstruction_only
    n_images = base.n_images - (base.rest_images if only else 0)
    return dataclasses.replace(
        base,
        generator=generator,
        predicted_share=option.predicted_share,
        zero_z=option.zero_z,
        n_images=n_images,
        warmup_images=n_images if only else base.warmup_images,
        rest_images=0 if only else base.rest_images,
        mirror=False,  # nobody saw the mirrored images
    )


def with_second_branch(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for two conditions: the second condition's layers are copies of the first's.

    With the same embedding twice the network is the one it was, as max(x, x) = x.

    Parameters
    ----------
    state : mapping of str to Tensor
        Generators' tensors, with ``G.`` or ``G_ema.`` in front or not, other networks beside them.
    """
    out = dict(state)
    for key, value in state.items():
        for one, two in ((".pre_0.", ".second_0."), (".pre_1.", ".second_1.")):
            if one in key:
                out.setdefault(key.replace(one, two), value.clone())
    return out


def clip_distance(image_encoder: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """1 - cosine of the CLIP embeddings of two sets of pictures (B, 3, H, W) in [-1, 1]: (B,)."""

    def distance(fake: Tensor, real: Tensor) -> Tensor:
        with torch.no_grad():
            goal = image_encoder(real)
        return 1 - (image_encoder(fake.clamp(-1, 1)) * goal).sum(dim=1)

    return distance


def fine_tune(
    start: Generator | Mapping[str, Tensor],
    images: np.ndarray,
    embeddings: np.ndarray,
    predicted: np.ndarray,
    image_encoder: Callable[[Tensor], Tensor],
    *,
    config: TrainingConfig,
    option: FineTuning,
    captions: np.ndarray | None = None,
    out_dir: str | Path | None = None,
    **training,
) -> TrainingResult:
    """Go on training a generator with embeddings predicted from brain activity.

    Parameters
    ----------
    start : Generator, or mapping of str to Tensor
        Weights to begin with. A mapping may hold a discriminator under ``D.``; a fresh one first
        learns alone for ``config.rest_images``.
    images : numpy.ndarray, uint8 (N, H, H, 3)
        Training images; resized here if the generator has another resolution.
    embeddings : numpy.ndarray, (N, C)
        Their own, unit norm.
    predicted : numpy.ndarray, (N, K, C), or (N, K, 2 C) with two conditions
        From :func:`predict_held_out`, of the image and then of the caption.
    image_encoder : callable
        (B, 3, H, W) in [-1, 1] to unit embeddings.
    config : TrainingConfig
        Shared by all options that are compared; what an option decides is set here.
    option : FineTuning
    captions : numpy.ndarray, (N, Kc, C), optional
        Embeddings of captions; needed with two conditions.
    out_dir : path-like, optional
        Checkpoints; the same call resumes.
    **training
        ``observers``, ``max_seconds``, ``device`` or ``progress`` of
        :func:`~fmri_utils.lafite.train`.

    Returns
    -------
    TrainingResult

    Raises
    ------
    DataError
        If shapes do not fit, or captions are missing.
    WeightsError
        If the weights do not fit, or ``out_dir`` holds another run or one from other weights.
    """
    config = adapted_config(config, option)
    state = start.state_dict() if isinstance(start, Generator) else start
    if option.two_conditions:
        state = with_second_branch(state)
    width = config.generator.condition_width
    if np.ndim(predicted) != 3 or np.shape(predicted)[2] != width:
        raise DataError(
            f"predicted embeddings have shape {np.shape(predicted)}. Expected: (n_images, K, "
            f"{width}); with two conditions, of image and caption beside each other."
        )
    if out_dir is not None:
        _check_start(Path(out_dir), state)
    perceptual = clip_distance(image_encoder) if config.perceptual_weight > 0 else None
    data = TrainingData(
        at_resolution(images, config.generator.resolution),
        embeddings,
        captions=captions if option.two_conditions else None,
        predicted=predicted,
    )
    training |= {"perceptual": perceptual, "initial": state, "out_dir": out_dir}
    return train(config, data, image_encoder, **training)


def _check_start(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Note what a run begins with, or refuse to go on with one that began with something else."""
    path = folder / "start.sha256"
    digest = tensor_hash(*(state[key] for key in sorted(state)))
    if not path.is_file():
        with atomic_path(path) as tmp:
            tmp.write_text(digest + "\n")
    elif path.read_text().strip() != digest:
        raise WeightsError(
            f"{folder} holds a fine-tuning that began with other weights. Use another folder."
        )
