"""LAFITE's losses at their fixed points, and a training run that can be killed."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from small_lafite import DISCRIMINATOR, GENERATOR, assert_same_weights, linear_encoder, unit_rows

from fmri_utils import plots
from fmri_utils.lafite import Generator, Observers, TrainingConfig, TrainingData, train
from fmri_utils.lafite.training import gan_losses
from fmri_utils.lafite.training.checkpoints import checkpoint_files
from fmri_utils.lafite.training.data import Batches
from fmri_utils.lafite.training.steps import TrainingState
from fmri_utils.project.errors import DataError, ProfileError, WeightsError

CONFIG = TrainingConfig(
    generator=GENERATOR, discriminator=DISCRIMINATOR, batch_size=4, n_images=32, warmup_images=8,
    reconstruction_weight=1.0, clean_fraction=0.5, noise_level=0.5, iid=1.0, iic=1.0, clip_size=12,
    r1_interval=3, path_interval=2, condition_rate=5.0, rate_decay_images=16, log_images=8,
    grid_images=16, checkpoint_images=12,
)  # fmt: skip

CPU = torch.device("cpu")


@pytest.fixture
def data(rng):
    return rng.integers(0, 256, (10, 16, 16, 3), dtype=np.uint8), unit_rows(rng, 10, 8)


@pytest.fixture(scope="module")
def encoder():
    return linear_encoder(12)


# -- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_contrastive_score_directions_by_hand(rng, lam):
    a, b = (torch.from_numpy(unit_rows(rng, 5, 6)) for _ in range(2))
    sim = (a @ b.T).double().numpy() / 0.2
    over_j = np.diag(sim) - np.log(np.exp(sim).sum(1))
    over_i = np.diag(sim) - np.log(np.exp(sim).sum(0))
    score = gan_losses.contrastive_score(a, b, temperature=0.2, lam=lam)
    np.testing.assert_allclose(score, lam * over_j + (1 - lam) * over_i, rtol=1e-4, atol=1e-5)


def test_adversarial_losses_at_chance_and_at_certainty():
    zero, sure = torch.zeros(3, 1), torch.full((3, 1), 50.0)
    assert gan_losses.generator_adversarial_loss(zero) == pytest.approx(np.log(2))
    assert gan_losses.discriminator_adversarial_loss(zero, zero) == pytest.approx(2 * np.log(2))
    assert gan_losses.discriminator_adversarial_loss(-sure, sure) == pytest.approx(0, abs=1e-6)


def test_path_lengths_of_a_linear_map_are_its_norms():
    torch.manual_seed(0)
    ws = torch.randn(2, 5, 6, requires_grad=True)
    linear = torch.randn(30, 48)
    noise = torch.randn(2, 3, 4, 4) / 4
    lengths = gan_losses.path_lengths((ws.flatten(1) @ linear).view(2, 3, 4, 4), ws, noise)
    gradient = (noise.flatten(1) @ linear.T).view(2, 5, 6)
    torch.testing.assert_close(lengths, gradient.square().sum(2).mean(1).sqrt())
    two = torch.tensor(2.0)
    penalty, mean = gan_losses.path_length_penalty(two.expand(4), two, 0.01, two)
    assert (penalty, mean) == (0, 2)


def test_pseudo_text_feature_angle_and_ends():
    rng = torch.Generator().manual_seed(0)
    e = F.normalize(torch.randn(4000, 64, generator=rng), dim=1)
    torch.testing.assert_close(gan_losses.pseudo_text_feature(e, 0.0), e)
    h = gan_losses.pseudo_text_feature(e, 0.6, rng)
    torch.testing.assert_close(h.norm(dim=1), torch.ones(4000))
    assert (h * e).sum(1).mean().item() == pytest.approx(0.4 / np.hypot(0.4, 0.6), abs=0.01)


def test_crops_lie_inside_and_whole_crop_is_the_image():
    ramp = torch.linspace(-1, 1, 16).expand(6, 3, 16, 16)
    draw = gan_losses.draw_crops(6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(gan_losses.square_crops(ramp, 16, draw, 1.0), ramp)
    crops = gan_losses.square_crops(ramp, 12, draw, 0.5)
    side = (crops[:, 0, 0, -1] - crops[:, 0, 0, 0]) / (2 * 16 / 15 * 11 / 12)
    assert crops.shape == (6, 3, 12, 12) and side.min() > 0.45
    assert side.max() <= 1.01
    torch.testing.assert_close(crops[:, :, 0], crops[:, :, -1])  # no row leaks into a column


def test_reconstruction_loss_is_zero_for_the_truth_and_exact_for_an_offset():
    real = torch.rand(2, 3, 16, 16)
    assert gan_losses.reconstruction_loss(real, real) == 0
    assert gan_losses.reconstruction_loss(real + 0.25, real).item() == pytest.approx(0.25)
    distance = gan_losses.reconstruction_loss(
        real, real, perceptual=lambda a, b: torch.full((2,), 3.0), perceptual_weight=2.0
    )
    assert distance == 6


# -- settings and data ---------------------------------------------------------------------------


def test_bad_settings_are_refused():
    for changes, message in (
        ({"batch_size": 6}, "multiple of the discriminator's"),
        ({"noise_level": 1.2}, "less than or equal to 1"),
        ({"reconstruction_weight": 0.0}, "train nothing"),
        ({"reconstruction_scales": (3,)}, "divisors"),
        ({"discriminator": dataclasses.replace(DISCRIMINATOR, resolution=32)}, "expected the same"),
        ({"warmup_images": 0, "clean_fraction": 0.0, "perceptual_weight": 1.0}, "perceptual"),
    ):
        refused(message, dataclasses.replace, CONFIG, error=ProfileError, **changes)


def test_schedules():
    config = dataclasses.replace(CONFIG, reconstruction_decay_images=10, reconstruction_floor=0.2)
    weights = [config.reconstruction_weight_at(i) for i in (0, 8, 13, 18, 30)]
    assert weights == pytest.approx([1, 1, 0.6, 0.2, 0.2])
    assert [config.rate_factor_at(i) for i in (0, 16, 24, 32)] == [1, 1, 0.5, 0]


def test_bad_data_are_refused(data, encoder):
    images, embeddings = data
    wrong = [
        ((images[:, :8], embeddings), {}, "uint8"),
        ((images[:3], embeddings[:3]), {}, "at least one batch"),
        ((images, embeddings[:, :5]), {}, "one row per image"),
        ((images, 2 * embeddings), {}, "norms"),
        ((images, embeddings), {"mirror": True}, "mirrored_embeddings"),
        ((images, embeddings), {"caption_probability": 0.5}, "no captions"),
        ((images, embeddings), {"perceptual_weight": 1.0}, "perceptual callable"),
    ]
    for arrays, changes, message in wrong:
        with pytest.raises(DataError, match=message):
            train(dataclasses.replace(CONFIG, **changes), TrainingData(*arrays), encoder)
    refused("image_encoder", train, CONFIG, TrainingData(images, embeddings))


def test_an_epoch_shows_every_image_once(data):
    drawn = Batches(CONFIG, TrainingData(*data))
    seen = torch.cat([drawn._indices(i, 4) for i in range(0, 20, 4)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_mirrored_images_come_with_their_own_embeddings(data, rng):
    images, embeddings = data
    config = dataclasses.replace(CONFIG, mirror=True)
    with pytest.raises(DataError, match="left and right"):
        Batches(config, TrainingData(images, embeddings, -embeddings, unit_rows(rng, 10, 3, 8)))
    drawn = Batches(config, TrainingData(images, embeddings, -embeddings))
    batch = drawn.batch(0, torch.Generator().manual_seed(0))
    signs = set()
    for i, n in enumerate(drawn._indices(0, 4).tolist()):
        real = torch.from_numpy(images[n]).permute(2, 0, 1) / 127.5 - 1
        straight = torch.allclose(batch.images[i], real)
        sign = 1 if straight else -1
        assert straight or torch.allclose(batch.images[i], real.flip(2))
        torch.testing.assert_close(batch.embeddings[i], sign * torch.from_numpy(embeddings[n]))
        signs.add(sign)
    assert signs == {1, -1}


# -- runs ----------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def test_killed_and_resumed_run_gives_the_same_weights(data, encoder, tmp_path, rng):
    captions = unit_rows(rng, 10, 3, 8)
    config = dataclasses.replace(CONFIG, caption_probability=0.4)
    arrays, grids = TrainingData(*data, captions=captions), []
    shown = np.concatenate([data[1]] * 2)  # more pictures than one batch

    def monitor(images):
        return {"mean": float(images.mean())}

    def run(folder, **observers):
        looks = Observers(monitor=monitor, grid_conditions=shown, **observers)
        return train(config, arrays, encoder, observers=looks, out_dir=folder, progress=False)

    whole = run(tmp_path / "whole", on_grid=lambda n, images, _: grids.append((n, images.shape)))
    assert whole.finished and whole.images == 32
    assert grids == [(16, (20, 3, 16, 16)), (32, (20, 3, 16, 16))]
    rows = [row for row in whole.history if "mean" not in row]
    assert [row["images"] for row in rows] == [8, 16, 24, 32]
    assert set(rows[0]) == {"images", "images_per_second", "reconstruction"}
    assert {"itd", "itc", "iid", "iic", "r1", "path_length", "d_itd"} <= set(rows[1])

    def kill(n, _):
        if n == 20:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "killed", on_step=kill)
    # A kill in the middle of writing leaves half a pair; the one before counts.
    (tmp_path / "killed" / "checkpoint-000000016.safetensors").write_bytes(b"half")
    assert [p.stem for p in checkpoint_files(tmp_path / "killed")] == ["checkpoint-000000012"]
    torch.manual_seed(99)  # the global random state has no say
    resumed = run(tmp_path / "killed")
    for name in ("generator", "raw_generator", "discriminator"):
        assert_same_weights(getattr(whole, name), getattr(resumed, name))
    seen, again = ([row["mean"] for row in r.history if "mean" in row] for r in (whole, resumed))
    assert len(seen) == 2 and again == seen
    assert run(tmp_path / "killed").images == 32  # finished: nothing more happens


def test_the_averaged_generator_has_the_half_life_asked_for(data, encoder):
    config = dataclasses.replace(CONFIG, warmup_images=0, ema_images=6, ema_rampup=0.0)
    state = TrainingState(config, encoder, None, CPU)
    before = [p.clone() for p in state.average.parameters()]
    state.train_step(Batches(config, TrainingData(*data)).batch(0, state.rng))
    share = 0.5 ** (4 / 6)  # of what was there, after a batch of 4
    triples = zip(before, state.generator.parameters(), state.average.parameters(), strict=True)
    for old, new, mean in triples:
        torch.testing.assert_close(mean, share * old + (1 - share) * new.detach())
    young = dataclasses.replace(config, ema_rampup=0.05)  # 0.2 images: all but the last is gone
    state = TrainingState(young, encoder, None, CPU)
    state.train_step(Batches(young, TrainingData(*data)).batch(0, state.rng))
    for new, mean in zip(state.generator.parameters(), state.average.parameters(), strict=True):
        torch.testing.assert_close(mean, new.detach(), rtol=1e-3, atol=1e-4)


def test_layers_learn_at_their_own_rates(encoder):
    config = dataclasses.replace(CONFIG, noise_rate=0.02)
    state = TrainingState(config, encoder, None, CPU)
    state.adam_g.set_factor(0.5)
    rates = {id(p): group["lr"] for group in state.adam_g.param_groups for p in group["params"]}
    whole = state.adam_g.rate / 2
    for name, parameter in state.generator.named_parameters():
        slow = any(part in name for part in ("mapping.", ".pre_0.", ".pre_1."))
        speed = 5.0 if slow else 0.02 if name.endswith("noise_strength") else 1.0
        assert rates.pop(id(parameter)) == pytest.approx(speed * whole), name
    assert not rates


def test_style_mixing_gives_upper_layers_a_second_latent():
    configs = [dataclasses.replace(CONFIG, style_mixing=share) for share in (0.0, 1.0)]
    never, always = (TrainingState(config, None, None, CPU) for config in configs)
    cuts = set()
    for _ in range(20):
        ws = never.latents(3, torch.arange(3))
        assert torch.equal(ws, ws[:, :1].expand_as(ws))
        same = (ws := always.latents(3, torch.arange(3)))[0].eq(ws[0, :1]).all(dim=1).tolist()
        cuts.add(same.index(False))
        assert same == [k < same.index(False) for k in range(len(same))]  # one cut
    assert cuts == set(range(1, never.generator.mapping.num_ws))


def test_given_noise_vectors_are_drawn_under_as_they_are(data, encoder, rng):
    given = rng.standard_normal((10, GENERATOR.z_dim))
    state = TrainingState(CONFIG, encoder, None, CPU)
    batch = Batches(CONFIG, TrainingData(*data, noise_vectors=given)).batch(0, state.rng)
    ws = state.latents(4, torch.arange(4), batch.noise_vectors[:2])
    torch.testing.assert_close(ws[:2], state.generator.mapping(batch.noise_vectors[:2]))
    assert not torch.allclose(ws[2:], state.generator.mapping(batch.noise_vectors[2:]))
    own = state.latents(4, torch.tensor([1, 3]), batch.noise_vectors[:2])  # of two processes
    torch.testing.assert_close(own[0], ws[1])
    drawn, fakes = [], state.fakes
    state.fakes = lambda *args: drawn.append(args[2:]) or fakes(*args)
    state.images = CONFIG.warmup_images
    state.train_step(batch)  # generator, path length, discriminator
    assert [[len(z) for z in given] for given in drawn] == [[2], [], [2]]
    with pytest.raises(DataError, match=r"noise_vectors have shape \(9, 6\); expected \(10, 6\)"):
        Batches(CONFIG, TrainingData(*data, noise_vectors=given[:9]))


def test_the_published_forms_are_behind_their_flags(data):
    config = dataclasses.replace(CONFIG, published_contrast=True, batch_summed=True)
    images, condition = torch.from_numpy(data[0][:4]).permute(0, 3, 1, 2) / 127.5 - 1, data[1][:4]
    condition = torch.from_numpy(condition)
    plain, published = (TrainingState(c, None, None, CPU) for c in (CONFIG, config))
    for state, summed in ((plain, False), (published, True)):
        logits, features = state.judged(images, condition)
        expected, _ = state.discriminator(images, condition, summed)
        assert torch.equal(logits, expected)
        score = gan_losses.contrastive_score(features, condition, published=summed).mean()
        assert torch.equal(state._contrast(features, condition), score)
    other = plain.judged(images, condition)[0]
    assert not torch.allclose(published.judged(images, condition)[0], other)


def test_mixed_precision_is_near_the_other_and_keeps_float32_weights(data, encoder):
    config = dataclasses.replace(CONFIG, warmup_images=0)
    seen = {}
    for mixed in (False, True):
        changed = dataclasses.replace(config, mixed_precision=mixed)
        state = TrainingState(changed, encoder, None, CPU)
        seen[mixed] = state.train_step(Batches(config, TrainingData(*data)).batch(0, state.rng))
        assert {p.dtype for p in state.generator.parameters()} == {torch.float32}
        assert {p.dtype for p in state.discriminator.parameters()} == {torch.float32}
    assert seen[True].keys() == seen[False].keys() >= {"r1", "path_length", "itc", "d_itd"}
    for name in ("reconstruction", "adversarial", "itd", "itc", "iid", "iic", "path_length", "r1"):
        assert seen[True][name].dtype == torch.float32, name
        torch.testing.assert_close(seen[True][name], seen[False][name], rtol=0.1, atol=0.02)
        assert seen[True][name] != seen[False][name], name  # it was used


def test_losses_are_drawn_by_kind_of_term(data, encoder):
    observers = Observers(monitor=lambda _: {"frechet": 1.0})
    history = train(CONFIG, TrainingData(*data), encoder, observers=observers).history
    axes = plots.plot_losses(history)
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == ["generator", "discriminator", "share told apart", "measured"]
    lines = {line.get_label(): line for ax in axes for line in ax.lines}
    assert {"itc", "r1", "path_length", "d_real_sign", "frechet"} <= set(lines)
    assert lines["frechet"].get_xdata().tolist() == [16, 32]


def test_out_of_time_writes_a_checkpoint_for_these_settings_and_data(data, encoder, tmp_path):
    run = functools.partial(train, out_dir=tmp_path, progress=False)
    arrays = TrainingData(*data)
    result = run(CONFIG, arrays, encoder, max_seconds=0)
    assert (result.finished, result.images) == (False, 4)
    other = dataclasses.replace(CONFIG, itd=3.0)
    refused(r"itd: 10.0 then, 3.0 now", run, other, arrays, encoder, error=WeightsError)
    negative = TrainingData(255 - data[0], data[1])
    refused("data", run, CONFIG, negative, encoder, error=WeightsError)
    (path,) = checkpoint_files(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    refused("cannot be read", run, CONFIG, arrays, encoder, error=WeightsError)


def test_a_generator_of_other_sizes_is_no_beginning(data, encoder):
    """One that fits is: test_finetuning.py, test_lafite_import.py."""
    small = {"initial": Generator(dataclasses.replace(GENERATOR, z_dim=5)).state_dict()}
    refused("not fit", train, CONFIG, TrainingData(*data), encoder, error=WeightsError, **small)


def test_lazy_regularisation_corrects_adam():
    state = TrainingState(CONFIG, None, None, CPU)
    assert state.adam_g.rate == pytest.approx(0.0025 * 2 / 3)
    assert state.adam_g.defaults["betas"] == pytest.approx((0.0, 0.99 ** (2 / 3)))
    assert state.adam_d.rate == pytest.approx(0.0025 * 3 / 4)
