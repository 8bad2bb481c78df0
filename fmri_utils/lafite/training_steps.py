"""The state of a training run, and what one step does to it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import losses
from .discriminator import Discriminator
from .generator import Generator
from .layers import STRUCTURE_LR, FullyConnected
from .training_config import TrainingConfig
from .training_data import Batch

ImageEncoder = Callable[[Tensor], Tensor]


def _groups(network: nn.Module, condition_rate: float) -> list[dict]:
    """Parameters by speed: mapping and condition layers, and the others."""
    slow = {
        id(parameter)
        for layer in network.modules()
        if isinstance(layer, FullyConnected) and layer.bias_gain == STRUCTURE_LR
        for parameter in layer.parameters()
    }
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if id(p) not in slow], "speed": 1.0},
        {"params": [p for p in parameters if id(p) in slow], "speed": condition_rate},
    ]
    return [group for group in groups if group["params"]]


class LazyAdam(torch.optim.Adam):
    """Adam whose rate and betas are corrected for a regulariser that acts every few steps.

    The regulariser's own update is one more in ``interval``, hence the factor
    interval / (interval + 1); see Karras et al. 2020, appendix B.

    Parameters
    ----------
    network : nn.Module
    config : TrainingConfig
    rate : float
        Learning rate before the correction.
    interval : int
        0 if there is no regulariser.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, rate: float, interval: int):
        ratio = interval / (interval + 1) if interval else 1.0
        self.rate = rate * ratio
        betas = (config.beta1**ratio, config.beta2**ratio)
        groups = _groups(network, config.condition_rate)
        # fused: one pass over the parameters
        super().__init__(groups, lr=self.rate, betas=betas, eps=config.epsilon, fused=True)

    def set_factor(self, factor: float) -> None:
        """Set every group's rate to ``factor`` times its own full rate."""
        for group in self.param_groups:
            group["lr"] = self.rate * group["speed"] * factor


def _strip(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one network, under bare names."""
    return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}


def _check_finite(loss: Tensor, name: str) -> None:
    """Stop as soon as a loss is not a number: nothing after it would be usable."""
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"{name} is {loss.item()}: the training diverged. Lower the learning rate or the "
            "weights and continue from the last checkpoint."
        )


class TrainingState:
    """Networks, optimisers, running averages and random state of a run.

    Parameters
    ----------
    config : TrainingConfig
    image_encoder : callable or None
        Images (B, 3, clip_size, clip_size) in [-1, 1] to unit-norm embeddings (B, C).
    perceptual : callable or None
        (fake, real) to a distance.
    device : torch.device
    """

    def __init__(
        self,
        config: TrainingConfig,
        image_encoder: ImageEncoder | None,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None,
        device: torch.device,
    ):
        self.config = config
        self.image_encoder = image_encoder
        self.perceptual = perceptual
        self.device = device
        with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
            torch.manual_seed(config.seed)
            self.generator = Generator(config.generator).to(device)
            self.discriminator = Discriminator(config.discriminator).to(device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        lazy_g = config.path_interval if config.path_weight > 0 else 0
        lazy_d = config.r1_interval if config.r1_gamma > 0 else 0
        self.adam_g = LazyAdam(self.generator, config, config.learning_rate_g, lazy_g)
        self.adam_d = LazyAdam(self.discriminator, config, config.learning_rate_d, lazy_d)
        self.rng = torch.Generator(device).manual_seed(config.seed)
        self.mean_length = torch.zeros((), device=device)
        self.mixed = torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision)
        self.step = self.images = 0

    # -- conditions and fakes ----------------------------------------------------------------

    def conditions(self, batch: Batch, n_clean: int) -> Tensor:
        """Conditions (B, C): the first ``n_clean`` from the image itself, the rest blurred.

        Any of them may be replaced by what was predicted from brain activity. With two conditions,
        (B, 2 C), the second is a caption's embedding as it is.
        """
        config = self.config
        clean = losses.pseudo_text_feature(
            batch.embeddings[:n_clean], config.clean_noise_level, self.rng
        )
        rest = batch.embeddings[n_clean:]
        h = losses.pseudo_text_feature(rest, config.noise_level, self.rng)
        if batch.captions is not None and config.caption_probability > 0:
            written = losses.pseudo_text_feature(
                batch.captions[n_clean:], config.caption_noise_level, self.rng
            )
            pick = torch.rand((len(rest), 1), generator=self.rng, device=self.device)
            h = torch.where(pick < config.caption_probability, written, h)
        condition = torch.cat([clean, h])
        if config.generator.n_conditions == 2:
            condition = torch.cat([condition, batch.captions], dim=1)
        if config.predicted_share > 0:
            pick = torch.rand((len(condition), 1), generator=self.rng, device=self.device)
            condition = torch.where(pick < config.predicted_share, batch.predicted, condition)
        return condition

    def _first(self, condition: Tensor) -> Tensor:
        """The first condition (B, C), of the image: what discriminator and contrast see."""
        return condition[:, : self.config.generator.condition_dim]

    def latents(self, n: int, known: Tensor | None = None) -> Tensor:
        """Latents (n, num_ws, w_dim) of fresh noise vectors, with style mixing.

        Those of the first images come from noise vectors that are ``known``, (m, z), m <= n.
        """
        config, mapping = self.config, self.generator.mapping
        shape = (2, n, config.generator.z_dim)
        z = torch.randn(shape, generator=self.rng, device=self.device)
        if config.zero_z:
            z = torch.zeros_like(z)
        ws = mapping(z[0])
        cut, mix = torch.rand(2, generator=self.rng, device=self.device).tolist()
        if mix < config.style_mixing:
            cut = 1 + int(cut * (mapping.num_ws - 1))
            ws = torch.cat([ws[:, :cut], mapping(z[1])[:, cut:]], dim=1)
        return ws if known is None else torch.cat([mapping(known), ws[len(known) :]])

    def fakes(self, condition: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images under the conditions with fresh latents (or known ones) and noise; the latents."""
        ws = self.latents(len(condition), known)
        with self.mixed:
            images = self.generator.synthesis(ws, condition, "random", rng=self.rng)
        return images.float(), ws

    def judged(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 1) and features (B, C) of the discriminator."""
        with self.mixed:
            logits, features = self.discriminator(images, condition, self.config.batch_summed)
        return logits.float(), features.float()

    # -- the four phases ---------------------------------------------------------------------

    def generator_step(
        self, batch: Batch, warmup: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Update the generator; returns the loss terms, the fakes and their conditions."""
        config = self.config
        n = len(batch.images)
        n_clean = n if warmup else round(config.clean_fraction * n)
        condition = self.conditions(batch, n_clean)
        known = None if batch.noise is None else batch.noise[:n_clean]
        fake, ws = self.fakes(condition, known)
        condition = self._first(condition)
        self.generator.mapping.update_average(ws[:, 0])
        terms = {}
        weight = config.reconstruction_weight_at(self.images)
        if n_clean and weight > 0:
            terms["reconstruction"] = weight * losses.reconstruction_loss(
                fake[:n_clean],
                batch.images[:n_clean],
                scales=config.reconstruction_scales,
                perceptual=self.perceptual,
                perceptual_weight=config.perceptual_weight,
            )
        if not warmup:
            terms |= self._judged_terms(batch, fake, condition)
        self._update(self.adam_g, sum(terms.values()), "the generator's loss")
        return terms, fake.detach(), condition

    def _judged_terms(self, batch: Batch, fake: Tensor, condition: Tensor) -> dict[str, Tensor]:
        """The generator's loss terms that come from the discriminator and from CLIP."""
        config = self.config
        self.discriminator.requires_grad_(False)
        logits, features = self.judged(fake, condition)
        adversarial = losses.generator_adversarial_loss(logits)
        terms = {"adversarial": config.adversarial_weight * adversarial}
        if config.itd > 0:
            terms["itd"] = -config.itd * self._contrast(features, condition)
        if config.iid > 0:
            with torch.no_grad():
                _, real_features = self.judged(batch.images, condition)
            terms["iid"] = -config.iid * self._contrast(features, real_features)
        if config.itc > 0 or config.iic > 0:
            crops = losses.random_square_crops(
                fake, config.clip_size, self.rng, config.smallest_crop
            )
            with self.mixed:
                seen = self.image_encoder(crops).float()
            if config.itc > 0:
                terms["itc"] = -config.itc * self._contrast(seen, condition)
            if config.iic > 0:
                terms["iic"] = -config.iic * self._contrast(seen, batch.embeddings)
        self.discriminator.requires_grad_(True)
        return terms

    def _contrast(self, features: Tensor, condition: Tensor) -> Tensor:
        config = self.config
        return losses.contrastive_score(
            features,
            condition,
            temperature=config.temperature,
            lam=config.lam,
            published=config.published_contrast,
        ).mean()

    def path_length_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the generator by the path length penalty, scaled by its interval."""
        config = self.config
        n = max(1, round(config.path_fraction * len(batch.images)))
        fake, ws = self.fakes(self.conditions(batch.head(n), 0))
        noise = torch.randn(fake.shape, generator=self.rng, device=self.device)
        lengths = losses.path_lengths(fake, ws, noise / config.generator.resolution)
        penalty, self.mean_length = losses.path_length_penalty(
            lengths, self.mean_length, config.path_decay
        )
        loss = config.path_weight * penalty
        self._update(self.adam_g, loss * config.path_interval, "the path length penalty")
        return {"path_length": loss, "mean_path_length": self.mean_length}

    def discriminator_step(
        self, batch: Batch, fake: Tensor | None, condition: Tensor | None
    ) -> dict[str, Tensor]:
        """Update the discriminator on fakes (given, or newly drawn) and real images."""
        config = self.config
        if fake is None:
            condition = self.conditions(batch, round(config.clean_fraction * len(batch.images)))
            with torch.no_grad():
                fake, _ = self.fakes(condition)
            condition = self._first(condition)
        fake_logits, _ = self.judged(fake, condition)
        real_logits, features = self.judged(batch.images, condition)
        terms = {"d_adversarial": losses.discriminator_adversarial_loss(fake_logits, real_logits)}
        if config.itd > 0:
            terms["d_itd"] = -config.itd * self._contrast(features, condition)
        self._update(self.adam_d, sum(terms.values()), "the discriminator's loss")
        signs = {"d_real_sign": real_logits, "d_fake_sign": fake_logits}
        return terms | {name: value.detach().sign().mean() for name, value in signs.items()}

    def r1_step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator by the R1 penalty, scaled by its interval."""
        config = self.config
        images = batch.images.detach().requires_grad_(True)
        condition = self.conditions(batch, round(config.clean_fraction * len(images)))
        logits, _ = self.judged(images, self._first(condition))
        loss = config.r1_gamma / 2 * losses.r1_penalty(logits, images).mean()
        self._update(self.adam_d, loss * config.r1_interval, "the R1 penalty")
        return {"r1": loss}

    def _update(self, optimizer: LazyAdam, loss: Tensor, name: str) -> None:
        _check_finite(loss.detach(), name)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    # -- one step ----------------------------------------------------------------------------

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """All phases that are due on one batch; returns detached scalars by name."""
        config = self.config
        warmup = self.images < config.warmup_images
        for adam in (self.adam_g, self.adam_d):
            adam.set_factor(config.rate_factor_at(self.images))
        resting = self.images < config.rest_images
        terms, fake, condition = {}, None, None
        if not resting:
            terms, fake, condition = self.generator_step(batch, warmup)
        if not warmup:
            if not resting and config.path_weight > 0 and self.step % config.path_interval == 0:
                terms |= self.path_length_step(batch)
            if not config.reuse_fakes:
                fake = condition = None
            terms |= self.discriminator_step(batch, fake, condition)
            if config.r1_gamma > 0 and self.step % config.r1_interval == 0:
                terms |= self.r1_step(batch)
        self.step += 1
        self.images += len(batch.images)
        self._update_average(len(batch.images))
        return {name: value.detach() for name, value in terms.items()}

    @torch.no_grad()
    def _update_average(self, n: int) -> None:
        """Move the averaged generator: half-life ``ema_images``, shorter while young."""
        config = self.config
        half_life = config.ema_images or config.batch_size * 10_000 / 32
        if config.ema_rampup > 0:
            half_life = min(half_life, self.images * config.ema_rampup)
        weight = 1.0 - 0.5 ** (n / max(half_life, 1e-8))
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        for mean, value in pairs:
            mean.lerp_(value, weight)
        buffers = zip(self.average.buffers(), self.generator.buffers(), strict=True)
        for mean, value in buffers:
            mean.copy_(value)

    # -- saving ------------------------------------------------------------------------------

    def _networks(self) -> dict[str, nn.Module]:
        return {"G": self.generator, "D": self.discriminator, "G_ema": self.average}

    def tensors(self) -> dict[str, Tensor]:
        """All networks' tensors, with LAFITE's names and prefixes."""
        return {
            f"{name}.{key}": value
            for name, network in self._networks().items()
            for key, value in network.state_dict().items()
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take the networks' tensors over; raises RuntimeError if they do not fit."""
        for name, network in self._networks().items():
            network.load_state_dict(_strip(tensors, name))

    def start_from(self, tensors: dict[str, Tensor]) -> None:
        """Begin with networks from elsewhere: a generator alone, or several with prefixes.

        Bare names are a generator's. G and G_ema stand in for each other; without a D, the
        discriminator stays fresh. Raises RuntimeError if the tensors do not fit.
        """
        if not any(key.startswith(("G.", "G_ema.")) for key in tensors):
            tensors = {f"G.{key}": value for key, value in tensors.items()}
        raw, average = _strip(tensors, "G"), _strip(tensors, "G_ema")
        self.generator.load_state_dict(raw or average)
        self.average.load_state_dict(average or raw)
        if judge := _strip(tensors, "D"):
            self.discriminator.load_state_dict(judge)

    def other(self) -> dict:
        """What besides the networks decides how the run goes on."""
        return {
            "adam_g": self.adam_g.state_dict(),
            "adam_d": self.adam_d.state_dict(),
            "rng": self.rng.get_state(),
            "mean_length": self.mean_length,
            "step": self.step,
            "images": self.images,
        }

    def load_other(self, other: dict) -> None:
        """Take over what :meth:`other` gave."""
        self.adam_g.load_state_dict(other["adam_g"])
        self.adam_d.load_state_dict(other["adam_d"])
        self.rng.set_state(other["rng"].cpu())
        self.mean_length = other["mean_length"]
        self.step, self.images = other["step"], other["images"]
