"""A training or a search that leaves the finite numbers stops at its step, and spoils no file."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from safetensors.torch import load_file
from small_lafite import GENERATOR, assert_same_weights, linear_encoder, noisy_generator, unit_rows
from test_encoders import planted
from test_encoders_training import FITS, QUICK
from test_lafite_processes import CLIP
from test_lafite_processes import SMALL as SIZES
from test_lafite_training import CONFIG

from fmri_utils import dino, encoders
from fmri_utils.clip import joint
from fmri_utils.dino import networks, probes, student_teacher, views
from fmri_utils.encoders import gradient_fit as loop
from fmri_utils.lafite import TrainingData, train
from fmri_utils.lafite.training import gan_losses
from fmri_utils.lafite.training.checkpoints import checkpoint_files
from fmri_utils.lafite.training.steps import TrainingState
from fmri_utils.pictures import search
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.checks import check_learning, check_weights
from fmri_utils.project.errors import DivergedError, FmriUtilsError, ProfileError, WeightsError
from fmri_utils.project.tensors import read_safetensors, read_saved_state, write_safetensors
from pipeline import train_lafite
from simulated_nsd import scenes
from simulated_nsd.training import __main__ as pretrain_command
from simulated_nsd.training import demo_clip, demo_judge, noise_vectors

MESSAGE = r"step {}: this run diverged. Expected: finite numbers. Lower the learning rate"


def all_finite(tensors):
    tensors = list(tensors.values())
    assert tensors
    return all(value.isfinite().all() for value in tensors)


def nan_from(calls, function):
    """The function, whose result is multiplied by NaN from this call on."""
    made = iter(range(10**6))
    return lambda *a, **k: function(*a, **k) * (np.nan if next(made) >= calls else 1)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# -- the check, and the writer -------------------------------------------------------------------


def test_the_check_names_what_and_when():
    for fine in (0.5, torch.tensor(2.0), np.ones(3), torch.tensor([1e30])):
        check_learning(fine, "the loss", 3)
    with pytest.raises(DivergedError, match="^the loss is nan at " + MESSAGE.format(3)) as caught:
        check_learning(torch.tensor(np.nan), "the loss", 3)
    assert isinstance(caught.value, FmriUtilsError) and isinstance(caught.value, ArithmeticError)
    with pytest.raises(DivergedError, match=r"^the loss is -inf at step 0"):
        check_learning(-np.inf, "the loss", 0)
    with pytest.raises(DivergedError, match=r"^the sample: numbers that are not finite at step 0"):
        check_learning(torch.tensor([0, np.nan]), "the sample", 0)
    check_weights({"a": torch.full((9,), -1e18), "seen": torch.tensor(3)}, 7)
    for value in (np.nan, np.inf, -1e20):
        with pytest.raises(DivergedError, match=r"^the weights b are .* at " + MESSAGE.format(7)):
            check_weights({"a": torch.ones(2), "b": torch.tensor([1, value])}, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_file_is_written_with_numbers_that_are_not_finite(tmp_path, value):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"a": torch.ones(2)})
    before = contents(tmp_path)
    with pytest.raises(WeightsError, match="a would be written"), atomic_path(path) as tmp:
        write_safetensors(tmp, {"a": torch.tensor([1, value])})
    assert contents(tmp_path) == before


def test_gaps_of_a_record_are_written_and_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {"record/loss": torch.tensor([np.nan, 1])}, with_gaps="record/")
    tensors, _ = read_safetensors(path, what="a record", remedy="", with_gaps="record/")
    assert tensors["record/loss"].isnan().tolist() == [True, False]
    with pytest.raises(WeightsError, match="record/loss would be written"):
        write_safetensors(path, {"record/loss": torch.tensor([np.inf])}, with_gaps="record/")


# -- student and teacher -------------------------------------------------------------------------

STUDENT = dino.DinoSettings(n_steps=8, batch_size=6, momentum=0.9)


def student(**changes):
    torch.manual_seed(3)
    learner = networks.Learner(networks.VoxelMLP(8, 6, 8), 5)
    return student_teacher.StudentTeacher(learner, 5, dataclasses.replace(STUDENT, **changes))


def repeats():
    betas = np.repeat(np.random.default_rng(0).normal(size=(10, 8)), 3, 0)
    return views.RepeatSampler(betas, np.repeat(np.arange(10), 3), np.arange(8) // 2, [90])


def patterns(at=None, value=np.nan):
    """A function that draws views, one value of which is not finite from a call on."""
    sampler = repeats()
    made = iter(range(10**6))

    def draw(rng):
        views = sampler.draw(6, rng)[0]
        if at is not None and next(made) >= at:
            views.shared[0][2, 3] = value
        return views

    return draw


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_student_stops_at_the_step_that_sees_nan(tmp_path, monkeypatch, value):
    monkeypatch.setattr(student_teacher, "SAVE_EVERY", 2)
    path, pair = tmp_path / "state.pt", student()
    how = {"seed": 0, "n_checks": 4, "watch": lambda pair: {"centre": pair.centre.numpy().copy()}}
    with pytest.raises(DivergedError, match="the loss is .* at " + MESSAGE.format(5)):
        student_teacher.train(pair, patterns(5, value), **how, checkpoint=path)
    assert pair.step == 5 and all_finite(pair.state_dict())
    state = read_saved_state(path, remedy="")
    assert state["step"] == 4 and all_finite(state["weights"])
    whole, again = student(), student()  # what is kept can be gone on from
    expected = student_teacher.train(whole, patterns(), **how)
    record = student_teacher.train(again, patterns(), **how, checkpoint=path)
    assert_same_weights(whole, again)
    assert record["step"].tolist() == [0, 2, 4, 6, 8]
    for name in ("centre", "loss"):
        np.testing.assert_array_equal(record[name], expected[name])
    given = {**how, "checkpoint": path, "error": WeightsError}
    refused("other settings", student_teacher.train, student(n_steps=9), patterns(), **given)


def test_nan_weights_replace_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(student_teacher, "SAVE_EVERY", 2)
    path, pair = tmp_path / "state.pt", student()
    follow = pair.follow

    def poisoned(momentum):
        follow(momentum)
        if pair.step == 3:  # the fourth step, after which the state is saved
            pair.teacher.backbone.state_dict()[first].fill_(np.nan)

    first = next(iter(pair.teacher.backbone.state_dict()))
    monkeypatch.setattr(pair, "follow", poisoned)
    with pytest.raises(DivergedError, match=rf"the weights teacher\.backbone\.{first} are"):
        student_teacher.train(pair, patterns(), seed=0, checkpoint=path, n_checks=1)
    assert read_saved_state(path, remedy="")["step"] == 2


@pytest.mark.parametrize("rate", [np.nan, np.inf, 1e38, 0.0, -1e-3])
def test_rates_that_no_step_can_be_made_with_are_refused(rate):
    for settings in (QUICK, STUDENT):
        with pytest.raises(ProfileError, match=r"learning_rate is .*Expected"):
            dataclasses.replace(settings, learning_rate=rate)


def test_the_denoiser_stops(monkeypatch):
    sampler = repeats()
    settings = {"n_steps": 5, "batch_size": 6, "seed": 0}
    network = probes.train_denoiser(sampler, networks.VoxelMLP(8, 6, 8), **settings)
    assert all_finite(network.state_dict())
    monkeypatch.setattr(probes, "LEARNING_RATE", 1e30)
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) at step 1"):
        probes.train_denoiser(sampler, networks.VoxelMLP(8, 6, 8), **settings)
    settings["n_steps"] = 1
    with pytest.raises(DivergedError, match=r"^the weights .* at step 1"):
        probes.train_denoiser(sampler, networks.VoxelMLP(8, 6, 8), **settings)


# -- encoders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITS)
def test_no_fit_by_steps_ends_with_nan(name, monkeypatch):
    """Their losses, made NaN at the third step, or the learning rate absurd."""
    draw, spoiled = loop.Batches.draw, nan_from(2, lambda betas: betas)

    def third_is_nan(batches, size):
        betas, embeddings = draw(batches, size)
        return spoiled(betas), embeddings

    monkeypatch.setattr(loop.Batches, "draw", third_is_nan)
    with pytest.raises(DivergedError, match="^the loss is nan at " + MESSAGE.format(2)):
        FITS[name](*planted(n_images=30))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_weights_that_only_say_chance_are_no_result(weight_decay):
    """Predictions of 1e30 have a norm that is infinite: unit length makes them 0, without a NaN."""
    absurd = dataclasses.replace(
        QUICK, learning_rate=1e30, weight_decay=weight_decay, one_cycle=False, voxel_dropout=0.0
    )
    with pytest.raises(DivergedError, match="this run diverged"):
        encoders.contrastive.fit_contrastive(
            *planted(n_images=30), training=absurd, temperature=0.1, seed=0
        )


@pytest.mark.parametrize("name", joint.OBJECTIVES)
def test_a_joint_space_stops(name, monkeypatch):
    betas, embeddings, _ = planted(n_images=10)
    arguments = (betas, embeddings, betas, embeddings)
    settings = dict(name=name, batch_size=8, dim=4, temperature=0.1, seed=0)
    found = joint.train_joint(*arguments, n_steps=3, **settings)
    assert np.isfinite(found["similarity"]).all()
    loss_of = joint.loss_of
    monkeypatch.setattr(joint, "loss_of", lambda *a: nan_from(2, loss_of(*a)))
    with pytest.raises(DivergedError, match="^the loss is nan at " + MESSAGE.format(2)):
        joint.train_joint(*arguments, n_steps=3, **settings)


# -- LAFITE --------------------------------------------------------------------------------------


look = linear_encoder(12)


def test_the_command_keeps_the_checkpoint_from_before(tmp_path, capsys, monkeypatch, rng):
    images, out = tmp_path / "images.npy", tmp_path / "run"
    np.save(images, rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8))
    arguments = [f"IMAGES={images}", f"OUT={out}", CLIP, "DEVICE=cpu", *SIZES, "batch_size=8"]
    arguments += ["mirror=true", "checkpoint_images=8", "grid_images=800"]
    assert train_lafite.main([*arguments, "n_images=8"]) == 0
    kept = contents(out)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        loss = gan_losses.discriminator_adversarial_loss
        patch.setattr(gan_losses, "discriminator_adversarial_loss", nan_from(0, loss))
        assert train_lafite.main([*arguments, "n_images=24"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "the discriminator's loss is nan at step 1: this run" in said[0]
    assert contents(out) == kept and "checkpoint-000000008.safetensors" in kept
    assert train_lafite.main([*arguments, "n_images=16"]) == 0
    assert [path.stem for path in checkpoint_files(out)] == ["checkpoint-000000016"]


def test_nan_weights_of_lafite_replace_no_checkpoint(rng, tmp_path, monkeypatch):
    """The averaged generator takes part in no loss, so only a look at it can tell."""
    update = TrainingState._update_average

    def poisoned(state, n):
        update(state, n)
        if state.images == 24:
            state.average.mapping.fc0.bias[0] = np.nan

    monkeypatch.setattr(TrainingState, "_update_average", poisoned)
    config = dataclasses.replace(CONFIG, grid_images=400)  # checkpoints at 12 and 24 images
    images = rng.integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    data = TrainingData(images, unit_rows(rng, 10, 8))
    with pytest.raises(DivergedError, match=r"weights G_ema\.mapping\.fc0\.bias are .* step 6"):
        train(config, data, look, out_dir=tmp_path, progress=False)
    assert [path.stem for path in checkpoint_files(tmp_path)] == ["checkpoint-000000012"]
    assert all_finite(load_file(checkpoint_files(tmp_path)[0]))


# -- searches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["best of n", "z", "noise"])
def test_an_objective_that_turns_nan_ends_every_search(rng, tmp_path, method, monkeypatch):
    monkeypatch.setattr(search.search_goal, "N_CROPS", 0)
    condition = rng.standard_normal((3, 8)).astype(np.float32)
    drawing = noisy_generator(GENERATOR), condition, search.make_target(condition)
    descent = {"n_steps": 4, "z": torch.randn(3, GENERATOR.z_dim)}
    find, own = {
        "best of n": (search.best_of_n, {"n": 4}),
        "z": (search.optimise_z, descent),
        "noise": (search.optimise_noise, descent),
    }[method]
    objective = search.Objective(nan_from(3, look))  # the first call is the folder's
    own = own | {"rng": torch.Generator().manual_seed(0), "folder": tmp_path}
    with pytest.raises(DivergedError, match="the objective.* at " + MESSAGE.format(2)):
        find(*drawing, objective, **own)
    assert not list(tmp_path.rglob("part-*"))


# -- the demo's networks -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    some = scenes.sample_scenes(1, 5, 8)
    rng = np.random.default_rng(0)
    labels = [[s.main.kind for s in some], [s.main.colour for s in some]]
    return {
        "images": np.stack([scenes.draw_scene(s, 64) for s in some]),
        "captions": np.array([scenes.caption_scene(s, rng) for s in some]),
        **dict(zip(("kind", "colour"), map(np.array, labels), strict=True)),
        "background": np.array([s.background for s in some]),
    }


def test_clip_stops_and_keeps_the_epoch_before(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_clip, "_loss", nan_from(2, demo_clip._loss))
    path = tmp_path / "clip.pt"
    with pytest.raises(DivergedError, match="^the loss is nan at " + MESSAGE.format(2)):
        demo_clip.train(drawn, path, n_epochs=2, batch_size=4, seed=0)
    state = read_saved_state(path, remedy="")
    assert state["epoch"] == 1 and all_finite(state["network"])


def test_the_judge_and_the_layouts_stop(drawn, monkeypatch):
    monkeypatch.setattr(demo_judge.functional, "cross_entropy", nan_from(0, F.cross_entropy))
    with pytest.raises(DivergedError, match="^the loss is nan at " + MESSAGE.format(0)):
        demo_judge.train(drawn, n_epochs=1, batch_size=4, seed=0)
    facts = noise_vectors.SceneFacts.of(scenes.sample_scenes(1, 5, 40))
    with pytest.raises(DivergedError, match="^the loss is nan at " + MESSAGE.format(0)):
        noise_vectors.fit_predictor(np.zeros((40, 8), np.float32), facts, n_epochs=1)


def test_make_pretrain_ends_with_one_message(monkeypatch, capsys):
    def diverge(*_):
        check_learning(float("nan"), "the loss", 4)

    monkeypatch.setattr(pretrain_command, "drawn_scenes", lambda *a, **k: {})
    monkeypatch.setattr(pretrain_command, "train_clip", diverge)
    assert pretrain_command.main([]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("error: the loss is nan at step 4")
