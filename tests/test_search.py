"""The noise vector: plausible, better by the objective, resumable, and honest about its cost."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from scipy import stats
from small_lafite import WIDER, linear_encoder, seeded

from fmri_utils.clip.space import ClipSpace
from fmri_utils.encoders import unit
from fmri_utils.lafite import Generator
from fmri_utils.pictures import search
from fmri_utils.pictures.search.low_level import fit_low_level, shrink
from fmri_utils.pictures.search.priors import noise_penalty, shell_penalty
from fmri_utils.project.errors import ArtifactError, DataError

N = 5


class Eye:
    """A fixed random linear image encoder that counts what it is shown, and can be killed."""

    def __init__(self, kill_at=None):
        self.encode, self.seen, self.calls, self.kill_at = linear_encoder(16), 0, 0, kill_at

    def __call__(self, images):
        self.calls += 1
        if self.calls == self.kill_at:
            raise KeyboardInterrupt
        self.seen += len(images)
        return self.encode(images)


class Counted(Generator):
    """A generator that counts the pictures it draws, and keeps the latest noise images."""

    drawn, noise = 0, None

    def forward(self, z, *args, **kwargs):
        Counted.drawn += len(z)
        Counted.noise = kwargs.get("noise")
        return super().forward(z, *args, **kwargs)


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    network, rng = Counted(WIDER), seeded(2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
            elif parameter.ndim < 2:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return network.eval()


@pytest.fixture
def condition():
    return np.random.default_rng(3).standard_normal((N, 8)).astype(np.float32)


@pytest.fixture
def target(condition):
    return search.make_target(condition)


@pytest.fixture
def z():
    return torch.randn(N, WIDER.z_dim, generator=seeded(7))


# -- priors --------------------------------------------------------------------------------------


def test_shell_penalty_is_the_density_of_the_length():
    z = torch.randn(6, 20, generator=seeded(), dtype=torch.float64)
    length = z.norm(dim=1).numpy()
    expected = stats.chi(20).logpdf(np.sqrt(19)) - stats.chi(20).logpdf(length)
    np.testing.assert_allclose(shell_penalty(z), expected, rtol=1e-9, atol=1e-12)
    shell = z * np.sqrt(19) / z.norm(dim=1, keepdim=True)
    assert shell_penalty(shell).abs().max() < 1e-9
    assert (shell_penalty(0.3 * shell) > 5).all()  # the densest point is no typical one
    assert (shell_penalty(2 * shell) > 5).all()


def test_noise_penalty_is_one_for_white_noise_and_large_for_a_picture():
    white = [torch.randn(400, 1, r, r, generator=seeded(r)) for r in (8, 16, 32)]
    assert noise_penalty(white).mean().item() == pytest.approx(1, abs=0.1)
    x = torch.linspace(-1.7, 1.7, 32).expand(1, 1, 32, 32)
    assert noise_penalty([x]).item() > 100
    # Blocks of 2 x 2 equal pixels: every scale counts, not only the finest.
    blocks = torch.randn(1, 1, 16, 16, generator=seeded()).repeat_interleave(2, 2)
    blocks = blocks.repeat_interleave(2, 3)
    checker = blocks * (torch.arange(32) % 2 * 2 - 1)  # neighbours cancel, averages do not repeat
    assert noise_penalty([blocks]) > noise_penalty([checker])


# -- objective -----------------------------------------------------------------------------------


def test_objective_by_hand():
    images = torch.rand(2, 3, 16, 16, generator=seeded()) * 3 - 1.5
    eye = Eye()
    embedding = np.random.default_rng(0).standard_normal((2, 8))
    blurred = np.random.default_rng(1).random((2, 4, 4, 3))
    error = np.random.default_rng(2).random((4, 4, 3)) + 0.1
    target = search.make_target(embedding, search.Blurred(blurred, error))
    terms = search.Objective(eye, low_level_weight=0.5).terms(images, target)
    shown = images.clamp(-1, 1)
    cosine = F.cosine_similarity(eye(shown), torch.tensor(embedding, dtype=torch.float32))
    small = ((shown + 1) / 2).reshape(2, 3, 4, 4, 4, 4).mean(dim=(3, 5)).permute(0, 2, 3, 1)
    low_level = ((small.numpy() - blurred) ** 2 / error).mean((1, 2, 3))
    np.testing.assert_allclose(terms["cosine"], cosine, rtol=1e-5)
    np.testing.assert_allclose(terms["low_level"], low_level, rtol=1e-5)
    loss = 1 - cosine.numpy() + 0.5 * low_level
    np.testing.assert_allclose(terms["loss"], loss, rtol=1e-5)
    torch.testing.assert_close(terms["views_loss"], terms["loss"])  # no crops without rng


def test_crops_count(monkeypatch):
    monkeypatch.setattr(search.search_goal, "N_CROPS", 2)
    images = torch.rand(3, 3, 16, 16, generator=seeded()) * 2 - 1
    target, eye = search.make_target(Eye()(images) + 0.2), Eye()
    seen = search.Objective(eye).terms(images, target, seeded())
    assert eye.seen == 9
    assert not torch.allclose(seen["views_loss"], seen["loss"])


def test_clip_encoder_takes_pictures_from_minus_one_to_one():
    class Space(ClipSpace):
        def __init__(self):
            pass

        def embed(self, images):
            return torch.stack([images.amin(dim=(1, 2, 3)), images.amax(dim=(1, 2, 3))], 1)

    out = search.clip_encoder(Space())(torch.tensor([-1.0, 1.0]).expand(1, 3, 2, 2))
    assert out.tolist() == [[0, 1]]


def test_bad_targets_are_refused():
    flat, one = np.ones((4, 4, 3)), np.array([[1.0, 0.0]])
    refused("NaN, first at image 0, dimension 1", search.make_target, np.array([[1.0, np.nan]]))
    refused("all zeros", search.make_target, 0 * one)
    for pictures, variance, message in (
        (np.zeros((2, 4, 4, 3)), flat, "pictures of shape"),
        (np.zeros((1, 4, 4, 3)), 0 * flat, "positive"),
        (np.full((1, 4, 4, 3), 90.0), flat, "float64 values from 90"),
        (np.zeros((1, 4, 4, 3)), np.inf * flat, "variances: 48 of 48"),
    ):
        refused(message, search.make_target, one, search.Blurred(pictures, variance))


# -- searches ------------------------------------------------------------------------------------


def test_best_of_n_keeps_the_best_and_counts(generator, condition, target):
    Counted.drawn = 0
    asked = generator, condition, target, search.Objective(Eye())
    found = search.best_of_n(*asked, n=7, rng=seeded())
    assert (found.passes, Counted.drawn) == (7, 7 * N)
    cosine = found.trajectory["cosine"]
    assert cosine.shape == (7, N)
    again = generator(found.z, torch.from_numpy(unit(condition))).clamp(-1, 1)
    np.testing.assert_allclose(again.detach().permute(0, 2, 3, 1) / 2 + 0.5, found.pictures)
    own = (Eye()(again) * target.embedding).sum(1).detach()
    np.testing.assert_allclose(own, cosine.max(0), rtol=1e-5)
    assert (cosine.max(0) > cosine[0]).any()


def test_z_comes_closer_within_the_budget_and_stays_typical(
    generator, condition, target, monkeypatch
):
    monkeypatch.setattr(search.search_goal, "N_CROPS", 0)
    objective = search.Objective(Eye())
    asked = (generator, condition, target, objective)
    plain = search.best_of_n(*asked, n=1, rng=seeded())
    drawn = search.best_of_n(*asked, n=40, rng=seeded())
    Counted.drawn = 0
    found = search.optimise_z(*asked, n_steps=search.steps_within(40), rng=seeded(), z=plain.z)
    assert (found.passes, Counted.drawn) == (40, N * 14)  # forward; a step's way back counts two
    trajectory = found.trajectory
    np.testing.assert_allclose(trajectory["cosine"][0], plain.trajectory["cosine"][0], rtol=1e-5)
    assert trajectory["cosine"].shape == (14, N)
    assert (trajectory["loss"].min(0) < trajectory["loss"][0]).all()
    assert trajectory["cosine"].max(0).mean() > drawn.trajectory["cosine"].max(0).mean()
    low, high = search.typical_range(WIDER.z_dim)
    assert all(low < squared < high for squared in found.z.square().sum(1))
    monkeypatch.setattr(search.problem, "PRIOR_WEIGHT", 0.0)  # without it z leaves the shell
    monkeypatch.setattr(search.problem, "LEARNING_RATE", 0.5)
    free = search.optimise_z(*asked, n_steps=20, rng=seeded(), z=plain.z)
    assert free.z.square().sum(1).max() > high


def test_noise_is_optimised_alone_and_stays_white(generator, condition, target, z, monkeypatch):
    asked = (generator, condition, target, search.Objective(Eye()))
    Counted.drawn = 0
    found = search.optimise_noise(*asked, n_steps=15, z=z, rng=seeded())
    assert Counted.drawn == N * 16
    torch.testing.assert_close(found.z, z)
    cosine = found.trajectory["cosine"]
    assert (cosine.max(0) > cosine[0] + 0.01).all()
    noise = [image.detach() for image in Counted.noise]  # of the last picture
    widths = [layer.resolution for layer in generator.synthesis.convolutions()]
    assert [tuple(image.shape) for image in noise] == [(N, 1, width, width) for width in widths]
    for image in noise:
        torch.testing.assert_close(image.mean(dim=(1, 2, 3)), torch.zeros(N), atol=1e-5, rtol=0)
        torch.testing.assert_close(image.var(dim=(1, 2, 3), correction=0), torch.ones(N))
    assert noise_penalty(noise).max() < 4
    monkeypatch.setattr(search.problem, "PRIOR_WEIGHT", 0.0)
    loose = search.optimise_noise(*asked, n_steps=15, z=z, rng=seeded())
    assert loose.trajectory["prior"][-1].mean() > 2 * found.trajectory["prior"][-1].mean()


def test_noise_without_effect_is_refused(condition, target, z):
    torch.manual_seed(0)
    silent = Generator(WIDER), condition, target, search.Objective(Eye())  # noise begins at 0
    refused("no effect", search.optimise_noise, *silent, n_steps=1, z=z, rng=seeded())


def test_a_blurred_picture_guides_the_colours(generator, condition, z):
    goal = generator(torch.randn(N, 12, generator=seeded(9)), torch.tensor(condition)).detach()
    small = F.adaptive_avg_pool2d(goal.clamp(-1, 1) / 2 + 0.5, 4).permute(0, 2, 3, 1).numpy()
    target = search.make_target(condition, search.Blurred(small, np.full((4, 4, 3), 0.01)))
    distance = {}
    for weight in (1e-9, 1.0):
        asked = generator, condition, target, search.Objective(Eye(), low_level_weight=weight)
        found = search.optimise_z(*asked, n_steps=20, z=z, rng=seeded())
        distance[weight] = found.trajectory["low_level"][-1]
    assert (distance[1.0] < 0.8 * distance[1e-9]).all()


def test_budgets_that_hold_no_step_are_refused():
    assert (search.steps_within(4), search.steps_within(12)) == (1, 3)
    refused("do not hold", search.steps_within, 3)


def test_wrong_shapes_are_refused(generator, condition, target):
    objective, short = search.Objective(Eye()), torch.zeros(2, WIDER.z_dim)
    for wrong, message in (
        (condition[:, :7], "as wide as the generator's condition"),
        (condition[:3], "one row per picture"),
    ):
        refused(message, search.best_of_n, generator, wrong, target, objective, n=1, rng=seeded())
    with pytest.raises(DataError, match="one per target"):
        search.optimise_z(generator, condition, target, objective, n_steps=1, rng=seeded(), z=short)
    with pytest.raises(DataError, match="no blurred picture"):
        search.Objective(Eye(), low_level_weight=1).terms(torch.zeros(N, 3, 16, 16), target)


# -- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["best", "z", "noise"])
def test_killed_and_resumed_search_is_the_same(generator, condition, target, z, tmp_path, method):
    def find(eye, folder):
        shared = {"rng": seeded(), "batch_size": 2, "folder": folder}
        asked = (generator, condition, target, search.Objective(eye))
        if method == "best":
            return search.best_of_n(*asked, n=4, **shared)
        descend = search.optimise_z if method == "z" else search.optimise_noise
        return descend(*asked, n_steps=2, z=z, **shared)

    counting = Eye()
    whole = find(counting, None)
    assert len(torch.unique(whole.z[:, 0])) == N  # each batch has draws of its own
    with pytest.raises(KeyboardInterrupt):
        find(Eye(kill_at=counting.calls - 2), tmp_path)  # within the last batch
    kept = sorted(path.name for path in tmp_path.rglob("part-*"))
    assert kept == ["part-00000.h5", "part-00001.h5"]
    eye = Eye()
    resumed = find(eye, tmp_path)
    assert eye.seen < counting.seen / 2  # one picture of five, and the probe
    np.testing.assert_array_equal(resumed.pictures, whole.pictures)
    torch.testing.assert_close(resumed.z, whole.z, rtol=0, atol=0)
    for name, values in whole.trajectory.items():
        np.testing.assert_array_equal(resumed.trajectory[name], values)


def test_batches_belong_to_one_search_and_damaged_ones_are_refused(generator, condition, tmp_path):
    def find(condition=condition, encoder=Eye(), seed=0, n=2):  # noqa: B008
        asked = generator, condition, search.make_target(condition), search.Objective(encoder)
        search.best_of_n(*asked, n=n, rng=seeded(seed), folder=tmp_path)
        return len(list(tmp_path.iterdir()))

    assert find() == find() == 1
    others = {"condition": condition + 1}, {"seed": 1}, {"encoder": lambda x: -Eye()(x)}, {"n": 3}
    for number, changes in enumerate(others, start=2):
        assert find(**changes) == number  # a folder of its own
    for path in tmp_path.rglob("part-*"):
        path.write_bytes(path.read_bytes()[:-50])
    refused("delete it and run again", find, error=ArtifactError)


# -- low level -----------------------------------------------------------------------------------


def test_shrink_averages_areas():
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    expected = images.reshape(3, 4, 4, 4, 4, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(shrink(images, 4), expected, rtol=1e-5)
    one = expected[:, :1, :1]
    np.testing.assert_allclose(shrink(search.enlarge(one, 8), 1), one, rtol=1e-5)
    refused("not smaller", shrink, images, 32)


def test_low_level_reads_a_blurred_picture_and_knows_its_error(rng):
    groups = np.repeat(np.arange(60), 3)
    truth = 0.5 + 0.1 * rng.standard_normal((60, 2, 2, 3))
    # The upper row of pixels is in the voxels, the lower one is not.
    signal = truth[:, :1].reshape(60, -1) @ rng.standard_normal((6, 12))
    betas = 10 * (signal - signal.mean(0))[groups] + rng.standard_normal((180, 12))
    settings = {"alphas": np.logspace(-1, 4, 6), "n_folds": 5}
    encoder, variance = fit_low_level(betas, truth[groups], groups, **settings)
    r2 = 1 - variance / truth.var(0)
    assert r2[0].min() > 0.5
    assert abs(r2[1]).max() < 0.3
    error = ((encoder.predict(betas[::3]).reshape(truth.shape) - truth) ** 2).mean(0)[0]
    assert (variance[0] < 2 * error).all()
    # In error: held out, so not smaller than for the images it was fitted to, repeats averaged.
    fitted = encoder.predict(betas.reshape(60, 3, 12).mean(1)).reshape(truth.shape)
    assert (variance > ((fitted - truth) ** 2).mean(0)).all()


def test_early_areas_alone_are_read_and_test_trials_are_left_out(rng):
    images = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    ids = np.repeat(np.arange(30) + 100, 2)
    colour = np.repeat(images.mean((1, 2)) / 255, 2, axis=0)
    early = colour @ rng.standard_normal((3, 9)) + 1e-3 * rng.standard_normal((60, 9))
    betas = np.concatenate([early, rng.standard_normal((60, 5))], axis=1).astype(np.float32)
    areas = np.repeat([0, 1, 3], [4, 5, 5]) == np.arange(4)[:, None]  # V3 without a voxel
    brain = {"betas": betas, "nsd_id": ids, "is_train": ids < 125, "areas": areas}
    brain["area_names"] = np.array(["V1", "V2", "V3", "faces"])
    stimuli = {"images": images, "nsd_id": np.arange(30) + 100}
    settings = dict(size=1, weight=0.1, alphas=np.logspace(-4, 2, 7), n_folds=5)
    pattern = betas[ids >= 125]
    found = search.read_blurred(brain, stimuli, pattern, **settings)
    np.testing.assert_allclose(found.picture[:, 0, 0], colour[ids >= 125], atol=0.02)
    spoiled = np.where(np.arange(14) < 9, pattern, 100)  # where it is not early
    again = search.read_blurred(brain, stimuli, spoiled, **settings).picture
    np.testing.assert_array_equal(found.picture, again)
    brain["betas"] = np.where((ids < 125)[:, None], betas, np.float32(1e6))  # not for training
    again = search.read_blurred(brain, stimuli, pattern, **settings).picture
    np.testing.assert_array_equal(found.picture, again)
