"""The state of a training run, and what one step does to it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...project.checks import check_learning
from ..discriminator import Discriminator
from ..generator import Generator
from . import gan_losses
from .config import TrainingConfig
from .data import Batch
from .lazy_adam import LazyAdam
from .processes import Processes

ImageEncoder = Callable[[Tensor], Tensor]
LOSSES = {
    "_generator_loss": "the generator's loss",
    "_path_length_loss": "the path length penalty",
    "_discriminator_loss": "the discriminator's loss",
    "_r1_loss": "the R1 penalty",
}


def _strip(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one network, under bare names."""
    return {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}


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
    processes : Processes, optional
        Among which the batches are shared out; by default this one is alone.
    """

    def __init__(
        self,
        config: TrainingConfig,
        image_encoder: ImageEncoder | None,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None,
        device: torch.device,
        processes: Processes | None = None,
    ):
        self.config = config
        self.processes = processes or Processes()
        self.processes.check(config)
        self.image_encoder = image_encoder
        self.perceptual = perceptual
        self.device = device
        with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
            torch.manual_seed(config.seed)
            self.generator = Generator(config.generator).to(device)
            self.discriminator = Discriminator(config.discriminator).to(device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        names = {"G": self.generator, "D": self.discriminator, "G_ema": self.average}
        self.networks = nn.ModuleDict(names)  # under LAFITE's names
        self.of_generator = self.processes.averaged(self.generator)
        self.of_discriminator = self.processes.averaged(self.discriminator)
        lazy_g = config.path_interval if config.path_weight > 0 else 0
        lazy_d = config.r1_interval if config.r1_gamma > 0 else 0
        self.adam_g = LazyAdam(self.generator, config, config.learning_rate_g, lazy_g)
        self.adam_d = LazyAdam(self.discriminator, config, config.learning_rate_d, lazy_d)
        self.rng = torch.Generator(device).manual_seed(config.seed)
        self.mean_length = torch.zeros((), device=device)
        self.mixed = torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision)
        self.step = self.images = 0
        self.rows = self.processes.rows(config.batch_size, config.discriminator.group_size)

    # -- conditions and fakes ----------------------------------------------------------------

    def conditions(self, batch: Batch, n_clean: int) -> Tensor:
        """Of the whole batch, (B, C): the first ``n_clean`` from the image itself, others blurred.

        Any of them may be replaced by what was predicted from brain activity. With two conditions,
        (B, 2 C), the second is a caption's embedding as it is.
        """
        config = self.config
        clean = gan_losses.pseudo_text_feature(
            batch.embeddings[:n_clean], config.clean_noise_level, self.rng
        )
        rest = batch.embeddings[n_clean:]
        h = gan_losses.pseudo_text_feature(rest, config.noise_level, self.rng)
        if batch.captions is not None and config.caption_probability > 0:
            written = gan_losses.pseudo_text_feature(
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

    def latents(self, n: int, rows: Tensor, given: Tensor | None = None) -> Tensor:
        """Latents (n_rows, num_ws, w_dim) of fresh noise vectors, with style mixing.

        Random numbers are drawn for all ``n`` images of a batch; of several processes each makes
        the latents of its own ``rows``. The batch's first ones have the noise vectors ``given``,
        (n_given, z_dim), without mixing.
        """
        config, mapping = self.config, self.generator.mapping
        shape = (2, n, config.generator.z_dim)
        z = torch.randn(shape, generator=self.rng, device=self.device)
        n_given = 0 if given is None else len(given)
        if n_given:
            z[0, :n_given] = given
        z = z[:, rows]
        if config.zero_z:
            z = torch.zeros_like(z)
        ws = mapping(z[0])
        cut, mix = torch.rand(2, generator=self.rng, device=self.device).tolist()
        if mix < config.style_mixing:
            cut = 1 + int(cut * (mapping.num_ws - 1))
            mixed = torch.cat([ws[:, :cut], mapping(z[1])[:, cut:]], dim=1)
            own = (rows < n_given).to(ws.device)[:, None, None]
            ws = torch.where(own, ws, mixed)
        return ws

    def fakes(
        self, condition: Tensor, rows: Tensor, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images of this process's ``rows``, and their latents.

        Under the batch's conditions (B, C), with fresh latents and noise; the first ones under the
        noise vectors ``given``.
        """
        synthesis = self.generator.synthesis
        ws = self.latents(len(condition), rows, given)
        noise = [image[rows] for image in synthesis.draw_noise(len(condition), self.rng)]
        with self.mixed:
            images = synthesis(ws, condition[rows], noise=noise)
        return images.float(), ws

    def judged(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 1) and features (B, C) of the discriminator."""
        with self.mixed:
            logits, features = self.discriminator(images, condition, self.config.batch_summed)
        return logits.float(), features.float()

    # -- the four phases ---------------------------------------------------------------------

    def _generator_loss(self, batch: Batch, warmup: bool) -> tuple:
        """Loss, loss terms, fakes and their conditions; all but the loss detached."""
        config = self.config
        n_clean = config.batch_size if warmup else config.clean_batch
        condition = self.conditions(batch, n_clean)
        fake, ws = self.fakes(condition, self.rows, batch.head(n_clean).noise_vectors)
        condition = self._first(condition)[self.rows]
        self.generator.mapping.update_average(
            self.processes.mean(ws[:, 0].mean(dim=0, keepdim=True))
        )
        terms = {}
        weight = config.reconstruction_weight_at(self.images)
        if n_clean and weight > 0:
            terms["reconstruction"] = weight * self._reconstruction(batch, fake, n_clean)
        if not warmup:
            terms |= self._judged_terms(batch, fake, condition)
        detached = {name: value.detach() for name, value in terms.items()}
        return sum(terms.values()), detached, fake.detach(), condition

    def _reconstruction(self, batch: Batch, fake: Tensor, n_clean: int) -> Tensor:
        """This process's part of the reconstruction term of the batch's first ``n_clean``."""
        own = int((self.rows < n_clean).sum())
        if not own:
            return fake.sum() * 0
        loss = gan_losses.reconstruction_loss(
            fake[:own],
            batch.images[:own],
            scales=self.config.reconstruction_scales,
            perceptual=self.perceptual,
            perceptual_weight=self.config.perceptual_weight,
            outline_weight=self.config.outline_weight,
        )
        return loss * (own * self.processes.size / n_clean)

    def _judged_terms(self, batch: Batch, fake: Tensor, condition: Tensor) -> dict[str, Tensor]:
        """The generator's loss terms that come from the discriminator and from CLIP."""
        config = self.config
        self.discriminator.requires_grad_(False)
        logits, features = self.judged(fake, condition)
        adversarial = gan_losses.generator_adversarial_loss(logits)
        terms = {"adversarial": config.adversarial_weight * adversarial}
        if config.itd > 0:
            terms["itd"] = -config.itd * self._contrast(features, condition)
        if config.iid > 0:
            with torch.no_grad():
                _, real_features = self.judged(batch.images, condition)
            terms["iid"] = -config.iid * self._contrast(features, real_features)
        if config.itc > 0 or config.iic > 0:
            draw = gan_losses.draw_crops(config.batch_size, self.rng)[:, self.rows]
            crops = gan_losses.square_crops(fake, config.clip_size, draw, config.smallest_crop)
            with self.mixed:
                seen = self.image_encoder(crops).float()
            if config.itc > 0:
                terms["itc"] = -config.itc * self._contrast(seen, condition)
            if config.iic > 0:
                terms["iic"] = -config.iic * self._contrast(seen, batch.embeddings[self.rows])
        self.discriminator.requires_grad_(True)
        return terms

    def _contrast(self, features: Tensor, condition: Tensor) -> Tensor:
        """Mean contrastive score of the whole batch."""
        config, processes = self.config, self.processes
        score = gan_losses.contrastive_score(
            processes.gather(features),
            processes.gather(condition),
            temperature=config.temperature,
            lam=config.lam,
            published=config.published_contrast,
        )
        return processes.with_summed_gradient(score.mean())

    def _path_length_loss(self, batch: Batch) -> tuple:
        """The penalty, and terms, detached."""
        config, n = self.config, self.config.path_batch
        rows = self.processes.rows(n)
        fake, ws = self.fakes(self.conditions(batch.head(n), 0), rows)
        shape = n, *fake.shape[1:]
        noise = torch.randn(shape, generator=self.rng, device=self.device)[rows]
        lengths = gan_losses.path_lengths(fake, ws, noise / config.generator.resolution)
        penalty, self.mean_length = gan_losses.path_length_penalty(
            lengths, self.mean_length, config.path_decay, self.processes.mean(lengths.mean())
        )
        loss = config.path_weight * penalty
        return loss, {"path_length": loss.detach(), "mean_path_length": self.mean_length}

    def _fresh_fakes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Fakes for the discriminator, and their conditions."""
        n_clean = self.config.clean_batch
        condition = self.conditions(batch, n_clean)
        with torch.no_grad():
            fake, _ = self.fakes(condition, self.rows, batch.head(n_clean).noise_vectors)
        return fake, self._first(condition)[self.rows]

    def _discriminator_loss(self, real: Tensor, fake: Tensor, condition: Tensor) -> tuple:
        """The loss on fakes and real images, and terms, detached."""
        fake_logits, _ = self.judged(fake, condition)
        real_logits, features = self.judged(real, condition)
        terms = {
            "d_adversarial": gan_losses.discriminator_adversarial_loss(fake_logits, real_logits)
        }
        if self.config.itd > 0:
            terms["d_itd"] = -self.config.itd * self._contrast(features, condition)
        signs = {"d_real_sign": real_logits.sign().mean(), "d_fake_sign": fake_logits.sign().mean()}
        detached = {name: value.detach() for name, value in (terms | signs).items()}
        return sum(terms.values()), detached

    def _r1_loss(self, batch: Batch) -> tuple:
        """The R1 penalty, and as a term, detached."""
        condition = self._first(self.conditions(batch, self.config.clean_batch))[self.rows]
        images = batch.images.detach().requires_grad_(True)
        logits, _ = self.judged(images, condition)
        loss = self.config.r1_gamma / 2 * gan_losses.r1_penalty(logits, images).mean()
        return loss, {"r1": loss.detach()}

    def _update(self, adam: LazyAdam, loss_of: Callable, *arguments, times: int = 1) -> list:
        """Follow the gradient of a loss of ``arguments``; returns what comes with the loss.

        ``times`` is the interval of a regulariser that acts every few steps only.
        """
        of = self.of_generator if adam is self.adam_g else self.of_discriminator
        loss, *others = of(loss_of, *arguments)
        loss = loss * times
        check_learning(self.processes.mean(loss), LOSSES[loss_of.__name__], self.step)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        return others

    # -- one step ----------------------------------------------------------------------------

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """All phases that are due on one batch; returns means over it by name, detached."""
        config = self.config
        warmup = self.images < config.warmup_images
        for adam in (self.adam_g, self.adam_d):
            adam.set_factor(config.rate_factor_at(self.images))
        resting = self.images < config.rest_images
        every_path, every_r1 = config.path_interval, config.r1_interval
        g, d, terms, fakes = self.adam_g, self.adam_d, {}, None
        if not resting:
            terms, *fakes = self._update(g, self._generator_loss, batch, warmup)
        if not (warmup or resting) and config.path_weight > 0 and self.step % every_path == 0:
            terms |= self._update(g, self._path_length_loss, batch, times=every_path)[0]
        if not warmup:
            if fakes is None or not config.reuse_fakes:
                fakes = self._fresh_fakes(batch)
            terms |= self._update(d, self._discriminator_loss, batch.images, *fakes)[0]
        if not warmup and config.r1_gamma > 0 and self.step % every_r1 == 0:
            terms |= self._update(d, self._r1_loss, batch, times=every_r1)[0]
        self.step += 1
        self.images += config.batch_size
        self._update_average(config.batch_size)
        return self.processes.means(terms)

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
