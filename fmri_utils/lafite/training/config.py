"""Settings of a training run, validated when they are made."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import field

from ...project.settings import (
    Count,
    Decay,
    Flag,
    Fraction,
    Integer,
    NotNegative,
    Part,
    Positive,
    Whole,
    settings,
)
from ..discriminator import DiscriminatorConfig
from ..generator import GeneratorConfig

# Settings that may differ between a run and its continuation (n_images only if no rate decays).
RESUMABLE = ("n_images", "log_images", "grid_images", "checkpoint_images")


@settings
class TrainingConfig:
    """Everything that decides what a training run computes.

    Parameters
    ----------
    generator, discriminator : GeneratorConfig, DiscriminatorConfig
        Must agree in resolution and condition_dim.
    batch_size : int
        A multiple of the discriminator's group size.
    n_images : int
        Real images to show in all, counted with repetition.
    seed : int
        Of the initial weights and of every draw.
    warmup_images : int
        For so many images only the reconstruction term trains the generator; the discriminator
        rests. 0 for none.
    rest_images : int
        For so many images only the discriminator learns: a fresh one would push a generator that
        already draws well. 0 for none; not together with a warm-up.
    adversarial_weight : float
        Weight of the non-saturating loss in the generator's loss.
    noise_level, caption_noise_level : float
        The ``a`` of the pseudo text feature made from an image's and from a caption's embedding.
    caption_probability : float
        Share of samples conditioned on a caption's embedding (LAFITE's ``mixing_prob``).
    predicted_share : float
        Share of samples conditioned on an embedding predicted from brain activity, as it is,
        instead of the image's or a caption's own; those that reconstruct their image included.
    itd, itc : float
        Weights of the contrast between condition and discriminator features, and between
        condition and CLIP embedding of the fake (10 and 10; itd 5 with captions).
    iid, iic : float
        The same with the real image's discriminator features and CLIP embedding.
    temperature, lam : float
        Of the contrast; see :func:`~fmri_utils.lafite.training.gan_losses.contrastive_score`.
    published_contrast, batch_summed : bool
        Reproduce the released code's two defects.
    mixed_precision : bool
        Both networks and the image encoder compute in bfloat16 where that is safe (autocast);
        weights, losses and optimisers stay float32. For a GPU: on a CPU it does not pay. bfloat16
        has float32's range, so that no loss has to be scaled.
    clip_size : int
        Input of the CLIP image encoder, pixels.
    smallest_crop : float
        Side of the smallest crop that CLIP sees, as a fraction of the image.
    r1_gamma, r1_interval : float, int
        R1 penalty, and every how many discriminator steps. Weight 0 switches it off.
    path_weight, path_decay, path_interval, path_fraction : float, float, int, float
        Path length penalty: weight (0 switches it off), decay of the running mean, every how many
        generator steps, share of the batch.
    learning_rate_g, learning_rate_d, beta1, beta2, epsilon : float
        Adam. Rates and betas are corrected for the lazy regularisers.
    condition_rate : float
        Factor on the generator's rate for the mapping and condition layers. Their equalised rate
        is a hundredth of the others', which suits millions of images; a short run on a CPU learns
        the condition much sooner with 10 to 30.
    noise_rate : float
        Factor on the generator's rate for the strengths of the noise images. Adam moves a single
        number by the rate at every step, however small its gradient, and a short run overdrives
        the noise: pictures get grain.
    rate_decay_images : float
        Over the last so many images both rates fall linearly to zero (0: they stay).
    ema_images, ema_rampup : float
        Half-life of the averaged generator in images (0: batch_size * 10 / 32 thousand), and its
        bound as a fraction of the images seen so far.
    style_mixing : float
        Probability that the upper layers get a second latent.
    zero_z : bool
        Train with z = 0, so that the picture depends on condition and image noise only (Mind
        Reader, arXiv 2210.01769). Draw with z = 0 as well, then.
    mirror : bool
        Mirror half of the images. A mirrored image has another embedding, which must be supplied.
    reconstruction_weight : float
        Weight of the reconstruction term on samples whose condition is the image's own embedding.
    reconstruction_scales, perceptual_weight, outline_weight
        See :func:`~fmri_utils.lafite.training.gan_losses.reconstruction_loss`.
    reconstruction_decay_images, reconstruction_floor : float
        After the warm-up the weight falls linearly over so many images to this fraction (0 images:
        it stays).
    clean_fraction, clean_noise_level : float
        Share of the batch that is conditioned on the image's own embedding and reconstructs it
        (after the warm-up; during it, all), and how noisy that embedding is.
    reuse_fakes : bool
        Show the discriminator the fakes of the generator's step instead of drawing new ones:
        about a tenth faster, not what StyleGAN2 does.
    log_images, grid_images, checkpoint_images : int
        Every how many images to record losses, call the grid hook, and write a checkpoint.

    Raises
    ------
    ProfileError
        If a value is out of range, or two do not fit each other.
    """

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    batch_size: Count = 16
    n_images: Count = 1_000_000
    seed: Integer = 0
    warmup_images: Whole = 0
    rest_images: Whole = 0
    adversarial_weight: NotNegative = 1.0
    noise_level: Fraction = 0.75
    caption_noise_level: Fraction = 0.1
    caption_probability: Fraction = 0.0
    predicted_share: Fraction = 0.0
    itd: NotNegative = 10.0
    itc: NotNegative = 10.0
    iid: NotNegative = 0.0
    iic: NotNegative = 0.0
    temperature: Positive = 0.5
    lam: Fraction = 0.0
    published_contrast: Flag = False
    batch_summed: Flag = False
    mixed_precision: Flag = False
    clip_size: Count = 224
    smallest_crop: Fraction = 0.5
    r1_gamma: NotNegative = 10.0
    r1_interval: Count = 16
    path_weight: NotNegative = 2.0
    path_decay: Fraction = 0.01
    path_interval: Count = 4
    path_fraction: Part = 0.5
    learning_rate_g: Positive = 0.0025
    learning_rate_d: Positive = 0.0025
    beta1: Decay = 0.0
    beta2: Decay = 0.99
    epsilon: Positive = 1e-8
    condition_rate: Positive = 1.0
    noise_rate: NotNegative = 1.0
    rate_decay_images: NotNegative = 0.0
    ema_images: NotNegative = 0.0
    ema_rampup: NotNegative = 0.05
    style_mixing: Fraction = 0.9
    zero_z: Flag = False
    mirror: Flag = False
    reconstruction_weight: NotNegative = 0.0
    reconstruction_scales: tuple[Count, ...] = (1, 2, 4)
    perceptual_weight: NotNegative = 0.0
    outline_weight: NotNegative = 0.0
    reconstruction_decay_images: NotNegative = 0.0
    reconstruction_floor: Fraction = 0.0
    clean_fraction: Fraction = 0.0
    clean_noise_level: Fraction = 0.0
    reuse_fakes: Flag = False
    log_images: Count = 4000
    grid_images: Count = 20_000
    checkpoint_images: Count = 20_000

    def __post_init__(self):
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        """Settings that do not fit each other."""
        g, d = self.generator, self.discriminator
        if (g.resolution, g.condition_dim) != (d.resolution, d.condition_dim):
            yield (
                f"the generator has resolution {g.resolution} and condition_dim {g.condition_dim}, "
                f"the discriminator {d.resolution} and {d.condition_dim}; expected the same"
            )
        if self.batch_size > d.group_size and self.batch_size % d.group_size:
            yield (
                f"batch_size is {self.batch_size}; expected a multiple of the discriminator's "
                f"group_size {d.group_size}"
            )
        reconstructs = self.clean_fraction > 0 or self.warmup_images > 0
        if self.perceptual_weight > 0 and not (reconstructs and self.reconstruction_weight > 0):
            yield (
                "perceptual_weight without a reconstruction term; set reconstruction_weight and "
                "clean_fraction or warmup_images"
            )
        if self.warmup_images > 0 and self.rest_images > 0:
            yield "warmup_images and rest_images together: neither network would learn"
        if self.mirror and self.predicted_share > 0:
            yield (
                "mirror with predicted_share: nobody saw the mirrored images, so there is no brain "
                "activity to predict their embeddings from. Switch one of the two off"
            )
        if g.n_conditions == 2 and self.caption_probability > 0:
            yield "caption_probability with two conditions: the caption is the second one already"
        if self.warmup_images > 0 and self.reconstruction_weight == 0:
            yield "warmup_images without reconstruction_weight would train nothing"
        scales = self.reconstruction_scales
        if not scales or any(g.resolution % scale for scale in scales):
            yield (
                f"reconstruction_scales are {scales}; expected divisors of the resolution "
                f"{g.resolution}, at least one"
            )

    @property
    def clean_batch(self) -> int:
        """How many samples of a batch are conditioned on the image's own embedding."""
        return round(self.clean_fraction * self.batch_size)

    @property
    def path_batch(self) -> int:
        """How many samples of a batch the path length penalty sees."""
        return max(1, round(self.path_fraction * self.batch_size))

    def reconstruction_weight_at(self, images_seen: int) -> float:
        """Weight of the reconstruction term after ``images_seen`` images."""
        after = images_seen - self.warmup_images
        if after <= 0 or self.reconstruction_decay_images == 0:
            return self.reconstruction_weight
        left = max(0.0, 1.0 - after / self.reconstruction_decay_images)
        floor = self.reconstruction_floor
        return self.reconstruction_weight * (floor + (1.0 - floor) * left)

    def rate_factor_at(self, images_seen: int) -> float:
        """Factor on the learning rates after ``images_seen`` images."""
        if self.rate_decay_images == 0:
            return 1.0
        return min(1.0, max(0.0, (self.n_images - images_seen) / self.rate_decay_images))

    def to_dict(self) -> dict:
        """Plain nested dict, as JSON holds it (tuples become lists)."""
        return json.loads(json.dumps(dataclasses.asdict(self)))
