"""Student and teacher: the paper's formulas, who sees what, collapse, leaks, resuming, the GIF."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused
from scipy.special import log_softmax, softmax

from fmri_utils import dino, metrics, plots
from fmri_utils.dino import distillation, probes, student_teacher, views
from fmri_utils.project.errors import WeightsError
from simulated_nsd.training.demo_dino import save_teacher

SMALL = dino.ImageSettings(
    dino.DinoSettings(n_steps=4, batch_size=6, momentum=0.9),
    size=16, width=12, depth=1, heads=3, n_outputs=8, n_local=2, global_size=16, local_size=8,
)  # fmt: skip


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def random_pair(seed=0, **changes):
    torch.manual_seed(seed)
    settings = dataclasses.replace(SMALL.dino, **changes)
    return student_teacher.StudentTeacher(SMALL.learner(), SMALL.n_outputs, settings)


def views_of(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, 16, 16, generator=generator)
    return dino.multi_crop(images, generator, n_local=2, global_size=16, local_size=8)


def test_the_loss_is_the_papers_formula(rng):
    student, teacher = rng.normal(size=(4, 3, 5)), rng.normal(size=(2, 3, 5))
    centre = rng.normal(size=5)
    target, answer = softmax((teacher - centre) / 0.04, axis=2), log_softmax(student / 0.1, axis=2)
    pairs = [(t, s) for t in range(2) for s in range(4) if s != t]
    expected = np.mean([-(target[t] * answer[s]).sum(1).mean() for t, s in pairs])
    views = [[torch.from_numpy(view) for view in side] for side in (student, teacher)]
    loss = distillation.dino_loss(*views, torch.from_numpy(centre), 0.1, 0.04)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_the_teacher_gets_no_gradient():
    student, teacher = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    loss = distillation.dino_loss([student] * 2, [teacher] * 2, torch.zeros(8), 0.1, 0.04)
    loss.backward()
    assert teacher.grad is None and student.grad is not None
    pair = random_pair()
    pair.learn(views_of())
    assert all(p.grad is None for p in pair.teacher.parameters())


def test_the_teacher_is_the_moving_average_in_closed_form():
    pair = random_pair(n_steps=5)
    name = "backbone.embed.1.weight"
    expected = pair.teacher.state_dict()[name].clone().double()
    for _ in range(5):
        momentum = pair.momentum()
        pair.learn(views_of())
        expected = momentum * expected + (1 - momentum) * pair.student.state_dict()[name]
    found = pair.teacher.state_dict()[name]
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    assert not torch.equal(found, pair.student.state_dict()[name])


def test_the_centre_is_a_running_mean_of_the_teachers_answers():
    pair, views = random_pair(), views_of()
    pair.centre = torch.arange(8.0)
    answers = torch.cat(pair.look(views)[1])
    pair.learn(views)
    torch.testing.assert_close(pair.centre, 0.9 * torch.arange(8.0) + 0.1 * answers.mean(0))
    without = random_pair(centring=False)
    without.learn(views)
    assert not without.centre.any()


def test_schedules_end_where_they_should():
    rises = [distillation.cosine_schedule(0.9, 1.0, i, 50) for i in range(50)]
    assert (rises[0], rises[-1]) == (pytest.approx(0.9), pytest.approx(1.0))
    assert (np.diff(rises) > 0).all()
    rates = [distillation.learning_rate(1.0, i, 50, n_warmup=5) for i in range(50)]
    assert np.argmax(rates) in (4, 5) and rates[-1] == pytest.approx(0.01)


def test_small_views_never_reach_the_teacher():
    pair, views = random_pair(), views_of()
    seen = []
    pair.teacher.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    pair.learn(views)
    assert [tuple(x.shape[2:]) for x in seen] == [(16, 16)]
    torch.testing.assert_close(seen[0], torch.cat(views.shared))
    assert len(views.own) == 2 and views.own[0].shape[2:] == (8, 8)
    student, teacher = pair.look(views)
    assert (len(student), len(teacher)) == (4, 2)


def test_views_are_mirrored_only_where_asked_for():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 8, 8, generator=generator)
    everything = (2.0, 2.0)  # more than the picture has, whatever the shape of the crop
    plain, boxes = views.random_crops(images, 8, everything, generator, mirrored=0)
    turned, _ = views.random_crops(images, 8, everything, generator, mirrored=1)
    torch.testing.assert_close(boxes, torch.tensor([0.0, 0, 1, 1]).expand(5, 4))
    torch.testing.assert_close(plain, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned, images.flip(3), atol=1e-5, rtol=0)


def test_outputs_are_cosines_of_a_normalised_last_layer():
    pair = random_pair()
    pair.learn(views_of())
    weight = pair.student.head.last.weight
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(8))
    assert pair.student(torch.rand(5, 3, 16, 16)).abs().max() <= 1 + 1e-6


def test_measures_of_collapse_on_distributions_made_by_hand():
    point, even = np.eye(6)[[2, 2, 2]], np.full((3, 6), 1 / 6)
    assert distillation.entropy(point) == pytest.approx(0)
    assert distillation.entropy(even) == pytest.approx(np.log(6))
    assert [distillation.information(p) for p in (point, even)] == pytest.approx([0, 0])
    assert distillation.information(np.eye(6)) == pytest.approx(np.log(6))  # sharp, not collapsed
    assert distillation.kl_divergence(even, even) == pytest.approx(0)
    assert distillation.kl_divergence(point, even) == pytest.approx(np.log(6))


def test_both_collapses_happen(rng):
    """Without centring the entropy falls towards 0, without sharpening it rises to log K."""
    images = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    ends = {}
    changes = {"no centring": {"centring": False}, "no sharpening": {"teacher_temperature": 0.1}}
    for name, change in changes.items():
        pair = random_pair(n_steps=80, momentum=0.8, learning_rate=5e-3, **change)
        for step in range(80):
            generator = torch.Generator().manual_seed(step)
            pair.learn(dino.multi_crop(images, generator, n_local=0, global_size=16))
        ends[name] = student_teacher.collapse_measures(pair, images)
    assert ends["no centring"]["entropy"] < 0.15
    assert ends["no sharpening"]["entropy"] > 0.99 * np.log(8)
    assert ends["no sharpening"]["kl"] < 0.01


def test_on_patterns_both_guards_keep_a_training_from_both_collapses(rng):
    """The complete training says more of its input than either that lacks a guard."""
    signal = np.repeat(rng.normal(size=(40, 30)), 3, 0)
    betas, ids = signal + 0.5 * rng.normal(size=signal.shape), np.repeat(np.arange(40), 3)
    regions = np.repeat(np.arange(5), 6)
    data = dino.VoxelData(betas, ids, betas[:, :2], betas[:2], ids[:2] + 90, betas[:2, :2], regions)
    complete = dino.DinoSettings(n_steps=60, batch_size=30, momentum=0.9)
    ends = {}
    for name, settings in dino.collapse_settings(complete).items():
        _, record = dino.train_patterns(data, settings, seed=0)
        ends[name] = {key: record[key][-1] for key in ("entropy", "information")}
    assert ends["no centring"]["entropy"] < ends["both"]["entropy"]
    assert ends["both"]["entropy"] < ends["no sharpening"]["entropy"]
    others = max(ends[name]["information"] for name in ("no centring", "no sharpening"))
    assert ends["both"]["information"] > 1.3 * others


def sampler(rng, test_ids=(90, 91), ids=None):
    ids = np.repeat(np.arange(10), 3) if ids is None else ids
    betas = np.repeat(ids[:, None], 8, 1) + 0.01 * rng.random((len(ids), 8)) + 1
    return views.RepeatSampler(betas, ids, np.repeat(np.arange(4), 2), test_ids)


def test_views_of_brain_patterns_never_mix_images(rng):
    made = sampler(rng)
    views, rows = made.draw(6, torch.Generator().manual_seed(0))
    assert rows.shape == (6, 6)
    assert (made.nsd_id[rows] == made.nsd_id[rows[0]]).all()
    assert len(np.unique(made.nsd_id[rows[0]])) == 6
    assert (rows[0] != rows[1]).all()  # two different repeats
    shares = [0.2] * 2 + [0.3] * 4
    for view, row, share in zip((*views.shared, *views.own), rows, shares, strict=True):
        kept = view != 0
        expected = made.tensor[torch.from_numpy(row)] / (1 - share)
        torch.testing.assert_close(view[kept], expected[kept])
    whole = (torch.stack(views.own) != 0).view(4, 6, 4, 2).any(3)
    assert (whole.sum(2) <= 2).all()  # at most half of the four regions


def test_a_planted_test_image_is_refused(rng):
    ids = np.repeat(np.arange(10), 3)
    ids[-1] = 90
    refused("1 test images are among the trials", sampler, rng, ids=ids)


def test_label_budgets_are_nested_and_of_whole_images(rng):
    ids = np.repeat(np.arange(40), 3)
    masks = probes.label_subsets(ids, (0.5, 0.1, 1.0), rng)
    assert [len(np.unique(ids[m])) for m in masks.values()] == [4, 20, 40]
    assert not (masks[0.1] & ~masks[0.5]).any()
    assert all(len(set(ids[m]) & set(ids[~m])) == 0 for m in masks.values())


def test_a_probe_finds_what_is_linear_and_nothing_in_noise(rng):
    x, weights = rng.normal(size=(160, 6)), rng.normal(size=(6, 4))
    y, ids = x @ weights, np.arange(120)
    common, noise = {"alphas": np.logspace(-2, 3, 6), "n_folds": 4}, rng.normal(size=x.shape)
    known = y[:120], ids
    good, bad = (probes.probe(a[:120], *known, a[120:], y[120:], **common) for a in (x, noise))
    assert good["MRR"].mean() > 0.95 and good["two-way"].mean() > 0.99
    assert abs(bad["two-way"].mean() - 0.5) < 0.12


def test_neighbours_vote(rng):
    known = np.repeat(np.eye(3), 5, 0) + 0.05 * rng.normal(size=(15, 3))
    labels = np.repeat(["a", "b", "c"], 5)
    hits = dino.knn_hits(known, labels, np.eye(3), np.array(["a", "b", "a"]), n_neighbours=3)
    assert hits.tolist() == [1, 1, 0]
    refused("16 neighbours among 15", dino.knn_hits, known, labels, known, labels, n_neighbours=16)


def test_histograms_of_edges_tell_directions_and_ignore_colour():
    stripes = torch.zeros(2, 3, 24, 24)
    stripes[0, :, :, ::4] = stripes[1, :, ::4] = 0.9  # upright, and lying
    found = dino.edge_histograms(stripes, 8)
    assert found.shape == (2, 9 * 8)  # one block of 3 x 3 cells, 8 directions each
    a, b = (one.reshape(9, 8).mean(0) for one in found)
    assert np.argmax(a) != np.argmax(b) and a @ b < 0.1 * (a @ a)
    turned = stripes * torch.tensor([0.6, 1.0, 0.8])[:, None, None]
    again = dino.edge_histograms(turned.flip(1), 8)
    np.testing.assert_allclose(again, dino.edge_histograms(turned, 8), atol=1e-6)


def test_two_way_is_the_one_of_all_other_tables(rng):
    truth, read = rng.normal(size=(2, 20, 6)) + 3.0  # far from 0, where a cosine sees no difference
    np.testing.assert_array_equal(
        probes.probe_scores(truth, read)["two-way"], metrics.two_way_scores(truth, read)
    )


@pytest.fixture
def trained(pictures):
    return dino.train_images(pictures, SMALL, shown=pictures[:2], n_checks=2)


def test_weights_come_back_with_their_record(pictures, trained, tmp_path):
    pair, record = trained
    path = tmp_path / "dino.safetensors"
    save_teacher(path, pair, SMALL, record)
    teacher, settings, kept = dino.load_teacher(path)
    assert settings == SMALL
    images = dino.as_tensor(pictures, 16)
    torch.testing.assert_close(teacher(images), pair.teacher(images), atol=5e-3, rtol=0)
    assert kept["step"].tolist() == [0, 2, 4]
    np.testing.assert_array_equal(kept["shown"], pictures[:2])
    maps = teacher.backbone.attention(images)
    assert maps.shape == (12, 3, 2, 2)
    torch.testing.assert_close(maps.flatten(2).sum(2), torch.ones(12, 3))
    path.write_bytes(path.read_bytes()[:200])
    refused(r"a teacher's weights: .* cannot be read", dino.load_teacher, path, error=WeightsError)


def test_comparison_needs_no_test_image_and_gives_rows(rng):
    ids, test_ids = np.repeat(np.arange(30), 2), np.repeat(np.arange(50, 60), 2)
    weights = rng.normal(size=(20, 5))
    betas, test = rng.normal(size=(60, 20)), rng.normal(size=(20, 20))
    data = dino.VoxelData(
        betas, ids, np.repeat((betas @ weights)[::2], 2, 0), test, test_ids,
        np.repeat((test @ weights)[::2], 2, 0), np.repeat(np.arange(4), 5),
    )  # fmt: skip
    settings = dino.DinoSettings(n_steps=3, batch_size=8)
    functions, record = dino.representations(data, settings, seed=0)
    assert list(functions) == list(dino.METHODS) and len(record["rank"]) == 4
    common = {"shares": (0.2, 1.0), "alphas": np.logspace(0, 3, 4), "n_folds": 3}
    runs = [dino.compare(data, functions, seed=seed, **common) for seed in (0, 1)]
    table = dino.summarise(runs, rng=rng, n_resamples=50)
    assert len(table["scores"]) == 10 and len(table["differences"]) == 8
    row = table["scores"][0]
    assert row["share"] == [20, 100] and row["chance"] == 0.5 and row["ceiling"] == 1
    low, value, high = (np.array(row[name]) for name in ("low", "value", "high"))
    assert ((low <= value) & (value <= high)).all()
    shown = dino.difference_table(table["differences"], "MRR")
    assert shown.shape == (2, 4) and list(shown.index) == ["20 %", "100 %"]
    expected = [r for r in table["differences"] if r["score"] == "MRR"][-1]
    last = shown.iloc[1]["student-teacher - untrained network"]
    assert (last.value, last.low, last.high) == tuple(expected[k][1] for k in vars(last))
    leaky = dataclasses.replace(data, test_nsd_id=np.repeat(np.arange(25, 35), 2))
    refused("test images", dino.representations, leaky, settings, seed=0)


def test_stimuli_without_labels_are_clustered(rng, pictures):
    numbers = type("Numbers", (), {"n_scenes": 0, "n_asked": 3, "n_clusters": 2})
    captions = np.repeat(np.eye(2), 6, 0)
    is_test = np.arange(12) % 3 == 0
    found = dino.pictures_for(numbers, pictures, captions, is_test, draw=None, seed=0)
    assert found.train.shape == (8, 16, 16, 3) and len(found.test_labels) == 3
    np.testing.assert_array_equal(found.test, pictures[is_test][:3])
    assert len(set(probes.cluster_labels(captions, 2, seed=0)[:6])) == 1


def test_the_animation_has_frames_and_the_same_bytes_each_time(trained, tmp_path):
    record = trained[1] | {"knn": np.array([0.2, 0.4, 0.5])}
    about = {"notebook": "test"}
    settings = {"row": 1, "n_frames": 3, "label": "simulated", "lines": {"pixels": 0.3}}
    paths = []
    for folder in ("a", "b"):
        frames = plots.student_teacher_frames(record, **settings)
        paths.append(plots.save_animation(frames, tmp_path / folder, "fig", about=about))
    with Image.open(paths[0]) as image:
        assert image.n_frames == 3 and image.size == (1024, 576)
        assert image.info["comment"] == b"notebook=test"
    assert paths[0].read_bytes() == paths[1].read_bytes()
