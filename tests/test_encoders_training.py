"""Training: repeatable to the same bits, blind to what it must not see."""

import dataclasses

import numpy as np
import pytest
import torch
from refusals import refused
from test_encoders import planted, top1

from fmri_utils import encoders
from fmri_utils.encoders import gradient_fit as loop
from fmri_utils.encoders.contrastive import fit_mind_reader
from fmri_utils.encoders.mlp import mlp_loss, risen
from fmri_utils.project.errors import ProfileError

QUICK = loop.Training(
    n_steps=60, batch_size=40, learning_rate=3e-3, weight_decay=0.01, one_cycle=True,
    voxel_dropout=0.3, check_every=10,
)  # fmt: skip
SMALL = {"hidden": 32, "mixco_temperature": 0.1, "soft_temperature": 0.1}


def fit_mlp(data, **changes):
    settings = dict(training=QUICK, seed=0, **SMALL)
    return encoders.mlp.fit_mlp(*data, **{**settings, **changes})


def state(encoder):
    return {k: v.numpy() for k, v in encoder.network.state_dict().items()}


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


def test_training_repeats_with_its_seed_and_leaves_torchs_random_state_alone():
    data = planted()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, _ = fit_mlp(data)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    second, _ = fit_mlp(data)
    assert same(state(first), state(second))
    other, _ = fit_mlp(data, seed=1)
    assert not same(state(first), state(other))


def test_early_stopping_looks_at_whole_images_that_are_never_trained_on(monkeypatch):
    betas, embeddings, image = planted()
    seen = set()
    draw = loop.Batches.draw

    def spy(batches, size):
        x, y = draw(batches, size)
        seen.update(x[:, 0].tolist())
        return x, y

    monkeypatch.setattr(loop.Batches, "draw", spy)
    _, report = fit_mlp((betas, embeddings, image))
    held = np.isin(image, report["held"])
    assert held.sum() == 3 * len(report["held"]) == 36
    assert not seen & set(betas[held, 0].tolist())
    assert seen <= set(betas[~held, 0].tolist())


def test_a_batch_holds_one_trial_of_each_image_and_all_repeats_in_time():
    betas, embeddings, image = planted(n_images=20)
    batches = loop.Batches(betas, embeddings, image, torch.device("cpu"))
    torch.manual_seed(0)
    drawn = [batches.draw(20)[0][:, 0].numpy() for _ in range(40)]
    rows = [np.searchsorted(np.sort(betas[:, 0]), x) for x in drawn]
    by_value = image[np.argsort(betas[:, 0])]
    for r in rows:
        assert sorted(by_value[r]) == list(range(20))
    assert len(np.unique(np.concatenate(rows))) == 60


def test_validation_averages_repeats_of_each_image():
    betas, embeddings, image = planted(n_images=10)
    order = np.random.default_rng(0).permutation(len(image))
    x, y = loop.averaged(betas[order], embeddings[order], image[order], torch.device("cpu"))
    rounding = 3 * 2.0**-24 * np.abs(betas).max()  # three numbers are added in float32
    np.testing.assert_allclose(x.numpy(), betas.reshape(10, 3, -1).mean(1), atol=rounding)
    np.testing.assert_array_equal(y.numpy(), embeddings[::3])


def test_it_stops_when_held_out_images_get_no_better_and_keeps_the_best():
    data = planted(noise=4.0)
    how = {"one_cycle": False, "learning_rate": 1e-2, "voxel_dropout": 0.0, "patience": 50}
    long = dataclasses.replace(QUICK, n_steps=1000, **how)
    encoder, report = fit_mlp(data, training=long)
    assert report["step"][-1] < 500
    assert report["best_step"] == report["step"][np.argmin(report["validation_loss"])]
    held = np.isin(data[2], report["held"])
    x, y = loop.averaged(data[0][held], data[1][held], data[2][held], torch.device("cpu"))
    again = encoders.info_nce(torch.from_numpy(encoder.predict(x.numpy())), y, 0.1)
    assert again.item() == pytest.approx(report["validation_loss"].min(), rel=1e-5)


def test_the_mlp_retrieves_images_never_seen():
    betas, embeddings, image = planted(noise=0.7)
    train = image < 100
    longer = dataclasses.replace(QUICK, n_steps=240, voxel_dropout=0.0, validation_share=0.05)
    encoder, _ = fit_mlp((betas[train], embeddings[train], image[train]), training=longer)
    average = betas[~train].reshape(20, 3, -1).mean(1)
    assert top1(embeddings[~train][::3], encoder.predict(average)) > 0.4  # chance is 0.05


def test_the_recipe_is_bimixco_first_and_soft_clip_after(monkeypatch):
    called = []
    for name in ("bimixco", "soft_clip"):
        original = getattr(encoders.embedding_losses, name)
        monkeypatch.setattr(
            f"fmri_utils.encoders.mlp.{name}",
            lambda *a, f=original, n=name, **k: (called.append(n), f(*a, **k))[1],
        )
    loss = mlp_loss(0.1, 0.1)
    network = encoders.mlp.ResidualMLP(12, 4, 32)
    x, y = torch.randn(8, 12), torch.randn(8, 4)
    for share in (0.0, 0.32, 0.34, 1.0):
        loss(network, x, y, share)
    assert called == ["bimixco", "bimixco", "soft_clip", "soft_clip"]
    temperatures = [risen(0.1, s) for s in (0.0, 1 / 3, 2 / 3, 1.0)]
    np.testing.assert_allclose(temperatures, [0.06, 0.06, 0.08, 0.1])


def test_the_mlp_survives_the_disk_and_checks_its_input(tmp_path):
    data = planted()
    encoder, _ = fit_mlp(data, training=dataclasses.replace(QUICK, n_steps=5))
    encoders.save_encoder(encoder, tmp_path / "mlp.safetensors")
    again = encoders.load_encoder(tmp_path / "mlp.safetensors")
    np.testing.assert_array_equal(again.predict(data[0]), encoder.predict(data[0]))
    np.testing.assert_array_equal(again.predict_direct(data[0]), encoder.predict_direct(data[0]))
    assert isinstance(again, encoders.Mapper)
    refused(r"Expected: \(n, 60\)", again.predict, data[0][:, :-1])


def test_mind_readers_loss_learns_the_direction_of_clamped_targets():
    betas, embeddings, image = planted(noise=0.5)
    encoder, report = fit_mind_reader(betas, 5 * embeddings, image, seed=0, n_epochs=200)
    assert report["validation_loss"].min() < 0.5 * report["validation_loss"][0]
    clamped = encoders.unit(np.clip(5 * embeddings, -1.5, 1.5))
    cosine = (encoders.unit(encoder.predict(betas)) * clamped).sum(1)
    assert cosine.mean() > 0.8


FITS = {
    "contrastive": lambda *data, **k: encoders.contrastive.fit_contrastive(
        *data, training=QUICK, temperature=0.1, seed=0, **k
    ),
    "mind_reader": lambda *data, **k: fit_mind_reader(*data, seed=0, n_epochs=1, **k),
    "mlp": lambda *data, **k: fit_mlp(data, **k),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_bad_data_and_absent_gpus_are_clear_errors(name):  # NaN: test_not_finite.py
    betas, embeddings, image = planted(n_images=10)
    constant = embeddings.copy()
    constant[:, 2] = 1
    refused(r"dimensions \[2\] are constant", FITS[name], betas, constant, image)
    refused("train on more images", FITS[name], betas[:9], embeddings[:9], image[:9])
    absent = {"device": "cuda:77", "error": ProfileError}
    refused("'cuda:77' is not available here", FITS[name], betas, embeddings, image, **absent)
