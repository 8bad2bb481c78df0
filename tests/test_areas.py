"""Visual areas as groups: planted answers, brute force, and equivalence with libraries."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refusals import refused
from test_perturbation_refit import ridge

from fmri_utils import encoders, metrics, perturbation, visual_areas
from fmri_utils.encoders import unit
from fmri_utils.plots import area_figure as area_plots

N, C, SIZE = 40, 6, 8
ONE_EACH = np.arange(400)
NAMES = ("signal", "twin", "nothing")
SETTINGS = SimpleNamespace(alphas=np.logspace(0, 4, 9), n_folds=4)


def scattered_over(world):
    return {"scattered": visual_areas.scattered(world.pattern.shape[1])}


def masks(n_groups):
    """Groups of SIZE voxels, side by side."""
    table = np.kron(np.eye(n_groups), np.ones(SIZE)).astype(bool)
    return dict(zip(NAMES, table, strict=False))


def planted(kinds, seed=0, noise=0.3, n=400):
    """Groups that all see the embedding ("signal", "twin"), or nothing, and a ridge on them.

    The groups' noise is their own.
    """
    rng = np.random.default_rng(seed)
    truth = unit(rng.standard_normal((n + N, C)) + np.eye(C)[0])
    mixing = rng.standard_normal((C, SIZE))
    parts = []
    for kind in kinds:
        own = rng.standard_normal((n + N, SIZE))
        parts.append(own if kind == "nothing" else truth @ mixing + noise * own)
    x = np.concatenate(parts, axis=1)
    x = ((x - x[:n].mean(0)) / x[:n].std(0)).astype(np.float32)
    encoder, _ = encoders.fit_ridge(x[:n], truth[:n], np.arange(n), **vars(SETTINGS))
    named = {"encoder": encoder, "pattern": x[n:], "truth": truth[n:]}
    return SimpleNamespace(x=x[:n], y=truth[:n], test=tuple(named.values()), **named)


def scored(world, groups, n_random=60, controls=None):
    how = {"n_random": n_random, "rng": np.random.default_rng(1)}
    how |= {"controls": controls or scattered_over(world)}
    return visual_areas.score_areas(*world.test, groups, **how)


def retrained(world, groups, images=ONE_EACH, n_random=0):
    how = {"pattern": world.pattern, "truth": world.truth, "settings": SETTINGS}
    how |= {"n_random": n_random, "rng": np.random.default_rng(0)}
    how |= {"controls": scattered_over(world) if n_random else {}}
    return visual_areas.score_retrained(world.x, world.y, images, groups, **how)


def lost_and_gained(world, scores):
    """Cosine lost without each group, and gained with it alone over the mean embedding."""
    whole = (unit(world.encoder.predict(world.pattern)) * world.truth).sum(1)
    none = (unit(world.y.mean(0)) * world.truth).sum(1)
    rng = np.random.default_rng(2)
    lost = [-i.value for i in scores.difference("leave_out", "cosine", whole, rng=rng)]
    gained = [i.value for i in scores.difference("keep_only", "cosine", none, rng=rng)]
    return lost, gained


def test_a_group_with_all_the_signal_stands_out_and_an_empty_one_does_not():
    world = planted(["signal", "nothing", "nothing", "nothing"])
    scores = scored(world, masks(4))
    lost, gained = lost_and_gained(world, scores)
    for change in (gained, lost):
        assert change[0] > 0.2 > 0.02 > max(map(abs, change[1:]))
    low, high = scores.band("keep_only", "cosine", "scattered").T
    assert scores.means("keep_only", "cosine")[0] > high[0]
    assert (scores.means("keep_only", "cosine")[1:] < (low + high)[1:] / 2).all()
    assert (
        scores.means("leave_out", "cosine")[0]
        < scores.band("leave_out", "cosine", "scattered")[0, 0]
    )
    assert scores.p("keep_only", "cosine", "scattered")[0] == pytest.approx(2 / 61)
    assert scores.p("leave_out", "reciprocal_rank", "scattered")[0] == pytest.approx(2 / 61)


def test_two_redundant_groups_are_missed_by_leaving_out_and_found_by_the_others():
    world, groups = planted(["signal", "twin", "nothing"]), masks(3)
    lost, gained = lost_and_gained(world, scored(world, groups))
    assert min(gained[:2]) > 5 * max(lost[:2])  # each stands in for the other
    values = visual_areas.shapley_by_trial(*world.test, groups)
    for k, name in enumerate(NAMES[:2]):
        assert lost[k] < values[name].mean() < gained[k]
    assert abs(values["nothing"].mean()) < 0.01
    cosine = retrained(world, groups).means("retrained", "cosine")
    assert min(cosine[:2]) > cosine[2] + 0.2


def test_scores_equal_the_metrics_of_each_set_and_ties_count_half(rng):
    truth, made = unit(rng.standard_normal((N, C))), rng.standard_normal((3, N, C))
    made[2] = made[2, 0]  # the same answer for every image
    truth[1] = truth[0]  # two images that nobody could tell apart
    found = visual_areas.embedding_scores_of(made, truth)
    for k, one in enumerate(made):
        expected = metrics.retrieval_scores(truth, one)["brain_to_image"]
        for name in ("top1", "reciprocal_rank"):
            np.testing.assert_allclose(found[name][k], expected[name])
        np.testing.assert_allclose(found["cosine"][k], (unit(one) * truth).sum(1))


def against_random(encoder, pattern, truth, group, *, kind, rng, n_groups):
    """Mean cosine of a group and of random ones, each computed alone."""
    control = visual_areas.scattered(len(group))
    [size] = control.sizes({"": group})
    groups = [group, *(control.draw(size, rng) for _ in range(n_groups))]
    made = [visual_areas.group_embedding(encoder, pattern, one, kind) for one in groups]
    value, *random = (unit(np.stack(made)) * truth).sum(2).mean(1)
    return value, np.array(random)


def test_group_scores_and_random_groups_equal_those_of_single_groups():
    world, groups = planted(["signal", "twin", "nothing"]), masks(3)
    groups = {"big": groups["signal"] | groups["twin"], **groups}
    scores = scored(world, groups, n_random=400)
    assert scores.sizes.tolist() == [16, 8, 8, 8]
    for kind in ("keep_only", "leave_out"):
        for k, group in enumerate(groups.values()):
            how = {"kind": kind, "rng": np.random.default_rng(3), "n_groups": 400}
            value, random = against_random(*world.test, group, **how)
            assert scores.means(kind, "cosine")[k] == pytest.approx(value, abs=1e-6)
            drawn = scores.random["scattered"][kind]["cosine"][k]
            error = np.hypot(drawn.std(), random.std()) / 20
            assert abs(drawn.mean() - random.mean()) < 4 * error
            assert drawn.std() == pytest.approx(random.std(), rel=0.25)


GRID = np.argwhere(np.ones((9, 8, 6))) * 1.8
LEFT = GRID[:, 0] < 9  # 5 of the 9 slices


def test_patches_are_the_nearest_voxels_of_a_hemisphere_around_any_of_its_voxels():
    kind, rng = visual_areas.patches(GRID, LEFT), np.random.default_rng(0)
    area = np.isin(np.arange(len(GRID)), [*np.flatnonzero(LEFT)[:20], *np.flatnonzero(~LEFT)[:9]])
    size = kind.sizes({"area": area, "none": ~area & area})
    assert size.tolist() == [[20, 9], [0, 0]]
    drawn = [kind.draw(size[0], rng) for _ in range(300)]
    for group in drawn:
        assert len(set(group)) == 29
        for side, n in ((LEFT, 20), (~LEFT, 9)):
            own = group[side[group]]
            distance = np.linalg.norm(GRID[own] - GRID[own[0]], axis=1)
            nearest = np.sort(np.linalg.norm(GRID[side] - GRID[own[0]], axis=1))[:n]
            np.testing.assert_allclose(distance, nearest)  # in this order, too
    assert np.bincount(np.concatenate(drawn), minlength=len(GRID)).all()  # every voxel has its turn
    assert len({tuple(np.sort(group[:20])) for group in drawn}) > LEFT.sum()  # ties are drawn
    assert kind.draw(size[1], rng).size == 0
    whole = visual_areas.patches(GRID)
    assert whole.sizes({"area": area}).tolist() == [[29]]
    refused("one for each voxel", visual_areas.patches, GRID, LEFT[1:])


def test_one_draw_serves_all_sizes_and_adds_the_groups_weights(rng):
    values, weights = rng.standard_normal((3, len(GRID))), rng.standard_normal((len(GRID), C))
    sizes = np.array([[20, 9], [0, 9], [20, 0], [7, 30]])
    for kind in (
        visual_areas.patches(GRID, LEFT),
        visual_areas.patches(GRID, LEFT)._replace(coordinates=None),
    ):
        sums = kind.sums(values, weights, sizes, np.random.default_rng(5))
        for found, size in zip(sums, sizes, strict=True):
            group = kind.draw(size, np.random.default_rng(5))
            np.testing.assert_allclose(found, values[:, group] @ weights[group], atol=1e-10)


def test_a_blurred_map_is_special_among_scattered_voxels_and_not_among_patches(rng):
    """A decoder of smooth maps: contiguous voxels know the same, wherever they lie."""
    near = np.exp(-((GRID[:, None] - GRID) ** 2).sum(2) / 2 / 3.0**2)
    mixing = rng.standard_normal((C, len(GRID))) @ near
    truth = unit(rng.standard_normal((N, C)))
    signal = truth @ mixing / mixing.std()
    noise = 0.7 * rng.standard_normal((N, len(GRID))) @ near / np.linalg.norm(near, axis=0)
    encoder = encoders.LinearEncoder(
        np.linalg.pinv(mixing / mixing.std()).astype(np.float32), np.zeros(C, np.float32), "known"
    )
    world = SimpleNamespace(
        pattern=signal, test=(encoder, (signal + noise).astype(np.float32), truth)
    )
    centre = GRID[LEFT][np.random.default_rng(3).integers(LEFT.sum())]
    order = np.argsort(np.where(LEFT, np.linalg.norm(GRID - centre, axis=1), np.inf), kind="stable")
    group = np.isin(np.arange(len(GRID)), order[:40])
    controls = {
        "scattered": visual_areas.scattered(len(GRID)),
        "patches": visual_areas.patches(GRID, LEFT),
    }
    scores = scored(world, {"ball": group, "left": LEFT}, n_random=199, controls=controls)
    p = {name: scores.p("keep_only", "cosine", name) for name in controls}
    assert p["scattered"][0] < 0.02
    assert p["patches"][0] > 0.1
    assert p["patches"][1] == 1  # a hemisphere is the only patch of its size
    rows = scores.records(rng=rng, n=50)
    assert rows[0]["patches_p"] == p["patches"][0]


def test_the_band_of_few_random_groups_leaves_out_one_of_twenty(rng):
    band = visual_areas.random_band(np.arange(39.0)[None])
    np.testing.assert_allclose(band, [[0, 38]])
    drawn = rng.standard_normal((4000, 40))
    low, high = visual_areas.random_band(drawn[:, 1:]).T
    beyond = ((drawn[:, 0] < low) | (drawn[:, 0] > high)).mean()
    assert abs(beyond - 0.05) < 4 * (0.05 * 0.95 / 4000) ** 0.5


def test_shared_noise_is_the_mean_correlation_of_two_voxels(rng):
    noise = rng.standard_normal((500, 12)) + 0.7 * rng.standard_normal((500, 1)) + 3
    group = np.arange(12) < 7
    expected = np.corrcoef(noise[:, group].T)[np.triu_indices(7, 1)].mean()
    assert visual_areas.shared_noise(noise, group) == pytest.approx(expected)
    noise[:, 6] = np.nan  # a voxel without data
    expected = np.corrcoef(noise[:, :6].T)[np.triu_indices(6, 1)].mean()
    assert visual_areas.shared_noise(noise, group) == pytest.approx(expected)
    assert np.isnan(visual_areas.shared_noise(noise, group & (np.arange(12) > 4)))


def test_intervals_are_of_the_difference_image_by_image():
    world, groups = planted(["signal", "twin", "nothing"]), masks(3)
    scores = scored(world, groups, n_random=2)
    own = scores.per_image["leave_out"]["cosine"][0]
    interval = scores.difference("leave_out", "cosine", own, rng=np.random.default_rng(0))[0]
    assert (interval.low, interval.high) == (0, 0)
    rows = scores.records(rng=np.random.default_rng(0), n=200)
    row = {(r["kind"], r["group"], r["score"]): r for r in rows}["keep_only", "twin", "top1"]
    assert row["voxels"] == SIZE
    assert row["low"] < row["value"] < row["high"]
    assert row["value"] == scores.means("keep_only", "top1")[1]
    assert row["scattered_high"] == scores.band("keep_only", "top1", "scattered")[1, 1]


def test_refit_without_a_group_equals_an_actual_refit(rng):
    x = rng.standard_normal((60, 24)) + 0.5 * rng.standard_normal((60, 1)) + 1
    y, pattern = rng.standard_normal((60, C)), rng.standard_normal((4, 24))
    alphas = np.array([3.0, 3.0, 40.0, 3.0, 40.0, 40.0])
    groups = {**masks(3), "one": np.arange(24) == 5}
    fitted = ridge(x, y, alphas), perturbation.fit_precision(x)
    found = visual_areas.refit_without(*fitted, groups, alphas)
    for name, group in groups.items():
        expected = ridge(x[:, ~group], y, alphas).predict(pattern[:, ~group])
        np.testing.assert_allclose(found[name].predict(pattern), expected, atol=1e-10, rtol=0)
        assert (found[name].weights[group] == 0).all()


def test_retraining_on_a_group_is_the_fit_of_its_columns_alone():
    world, images = planted(["signal", "nothing"]), np.arange(400) // 2
    group = np.arange(16) >= 4
    world.x, world.pattern = world.x + 0.5, world.pattern + 0.5  # betas with a mean of their own
    found = retrained(world, {"group": group, "all": np.ones(16, bool)}, images, n_random=1)
    x = world.x[:, group]
    ridge, report = encoders.fit_ridge(x, world.y, images, **vars(SETTINGS))
    how = {"alphas": report["best_alphas"], "n_folds": 4}
    matched, _ = encoders.match_spread(ridge, x, world.y, images, **how)
    made = matched.predict(world.pattern[:, group])[None]
    expected = visual_areas.embedding_scores_of(made, world.truth)["cosine"][0]
    own, random = (
        found.per_image["retrained"]["cosine"],
        found.random["scattered"]["retrained"]["cosine"],
    )
    np.testing.assert_allclose(own[0], expected, atol=1e-6)
    # The control of all voxels is given the same group: it is the same decoder.
    np.testing.assert_allclose(random[1, 0], own[1].mean(), atol=1e-4)


def test_random_stimulation_is_the_null_of_the_areas_shift():
    world = planted(["signal", "twin", "nothing"])
    directions = np.eye(C)[:2]
    given, how = (world.encoder, world.pattern), {"n_random": 300, "rng": np.random.default_rng(0)}
    sized = dict(zip("abc", np.arange(24) < np.array([[8], [24], [8]]), strict=True))
    how |= {"control": visual_areas.scattered(24)}
    drawn = visual_areas.random_shift(*given, sized, directions, **how)

    def shift(where):
        return perturbation.area_shifts(*given, {"one": where}, directions)[0].mean(0)

    exact = shift(np.ones(24, bool))[None]
    np.testing.assert_allclose(drawn[:, 1], np.repeat(exact, 300, axis=0), atol=1e-6)
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 2], atol=1e-6)  # two rows of one product
    rng = np.random.default_rng(1)
    single = [shift(rng.permutation(24) < 8) for _ in range(300)]
    spread = np.hypot(drawn[:, 0].std(0), np.std(single, axis=0)) / 300**0.5
    assert (np.abs(drawn[:, 0].mean(0) - np.mean(single, axis=0)) < 4 * spread).all()
    np.testing.assert_allclose(drawn[:, 0].std(0), np.std(single, axis=0), rtol=0.25)


def test_an_areas_lead_is_its_own_concept_minus_the_best_other_one_of_each_image():
    shifts = np.array([[[0.1, 0.3, 0.2], [0.5, 0.1, -0.2]], [[0.0, 0.1, 0.2]] * 2])
    leads = perturbation.own_leads(shifts, ["V1", "words"], ["faces", "bodies", "words"])
    assert list(leads) == ["words"]
    np.testing.assert_allclose(leads["words"], [0.1, 0.1])
    leads = perturbation.own_leads(shifts, ["faces", "V1"], ["faces", "bodies", "words"])
    np.testing.assert_allclose(leads["faces"], [-0.2, 0.4])


def test_pictures_differ_by_the_group_and_share_z():
    world, groups = planted(["signal", "twin", "nothing"]), masks(3)
    seen = []

    def draw(z, condition, fresh_noise):
        assert not fresh_noise
        assert z.shape == (len(condition), 4)
        seen.append(len(condition))
        colour = torch.cat([condition[:, :2], z[:, :1]], dim=1)
        return colour[:, None, None].expand(-1, 2, 2, 3).numpy()

    z = torch.full((1, 4), 0.5)
    whole, changed = visual_areas.area_pictures(
        draw, world.encoder, world.pattern[:2], groups, z=z, kinds=("leave_out", "stimulate")
    )
    assert seen == [7, 7]  # everything of an image in one batch
    expected = unit(world.encoder.predict(world.pattern[1:2]))[0, :2]
    np.testing.assert_allclose(whole[1, 0, 0, :2], expected, atol=1e-6)
    for kind, pictures in changed.items():
        assert pictures.shape == (2, 3, 2, 2, 3)
        for g, group in enumerate(groups.values()):
            expected = visual_areas.group_embedding(world.encoder, world.pattern[:2], group, kind)
            np.testing.assert_allclose(pictures[:, g, 0, 0, :2], unit(expected)[:, :2], atol=1e-6)
    assert (changed["stimulate"][..., 2] == 0.5).all()


VOXELS = {"V1": [0, 1], "faces": [1, 2], "bodies": [2, 3], "words": [], "lh": [0, 1, 2]}
VOXELS |= {"unassigned": [4, 5]}
AREAS = {name: np.isin(np.arange(6), voxels) for name, voxels in VOXELS.items()}


def test_families_keep_the_areas_that_hold_a_voxel():
    families = visual_areas.area_groups(AREAS)
    assert {f: list(members) for f, members in families.items()} == {
        "visual": ["V1"],
        "localizers": ["faces", "bodies"],
        "unassigned": ["unassigned"],
        "hemispheres": ["lh"],
    }
    refused("no area with a voxel", visual_areas.area_groups, {"words": AREAS["words"]})


def test_overlaps_and_disjoint_groups_count_every_voxel_once():
    groups = {name: AREAS[name] for name in ("V1", "faces", "bodies")}
    np.testing.assert_array_equal(visual_areas.overlaps(groups), [[2, 1, 0], [1, 2, 1], [0, 1, 2]])
    parts = visual_areas.disjoint(groups)
    found = {name: np.flatnonzero(part).tolist() for name, part in parts.items()}
    assert found == {"V1": [0], "bodies": [3], "in several": [1, 2]}  # faces has none of its own
    assert list(visual_areas.disjoint({"V1": AREAS["V1"]})) == ["V1"]


def test_unions_name_what_is_unknown_and_leave_out_what_is_empty():
    lists = perturbation.parse_concepts(["V1 and faces: V1 faces", "words: words"])
    found = visual_areas.unions(lists, AREAS)
    assert list(found) == ["V1 and faces"]  # no voxel of the region prefers words
    assert np.flatnonzero(found["V1 and faces"]).tolist() == [0, 1, 2]
    refused(r"made of \['V9'\]", visual_areas.unions, {"x": ["V1", "V9"]}, AREAS)
    refused("holds a voxel", visual_areas.unions, {"x": ["words"]}, AREAS)


@pytest.mark.usefixtures("close_figures")
def test_pictures_stand_in_the_row_of_their_kind_and_the_column_of_their_group():
    grey = np.arange(4).reshape(2, 2)[..., None, None, None] / 8 + np.zeros((2, 2, 4, 4, 3))
    changed, seen = {"keep_only": grey, "leave_out": grey + 0.5}, np.zeros((2, 4, 4, 3))
    axes = area_plots.plot_area_pictures(seen, seen + 1, changed, NAMES[:2])
    assert axes.shape == (2, 2, 2)
    for (i, k, g), ax in np.ndenumerate(axes):
        expected = list(changed.values())[k][i, g]
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    assert [ax.get_title(loc="center") for ax in axes[0, 0]] == list(NAMES[:2])
    labels = [ax.get_ylabel() for ax in axes[0, 0, 0].figure.axes]
    assert labels.count("seen") == labels.count("all voxels") == 2


@pytest.mark.usefixtures("close_figures")
def test_changes_stand_on_the_bar_of_their_own_random_groups():
    random = np.array([[0.1, 0.3], [0.2, 0.25], [-0.1, 0.1]])
    gain = np.sort(np.random.default_rng(0).standard_normal((3, 3)), axis=1)[:, [1, 0, 2]]
    both = {"scattered": random, "patches": random * 2}
    ax = area_plots.plot_area_changes(NAMES, {"ablated": (gain, both), "other": (gain, {})})
    bars = [(b.get_x(), b.get_x() + b.get_width()) for b in ax.patches]
    np.testing.assert_allclose(bars, np.concatenate([random, random * 2]))
    heights = [b.get_height() for b in ax.patches]
    assert max(heights[3:]) < min(heights[:3])  # both can be seen where one covers the other
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), gain[:, 0])
    np.testing.assert_allclose(
        ax.lines[0].get_ydata(), [b.get_y() + b.get_height() / 2 for b in ax.patches[:3]]
    )
    assert (ax.lines[1].get_ydata() > ax.lines[0].get_ydata()).all()  # one below the other
    ends = [segment[:, 0] for segment in ax.collections[0].get_segments()]
    np.testing.assert_array_equal(ends, gain[:, 1:])


@pytest.mark.usefixtures("close_figures")
def test_shifts_are_bold_beyond_random_groups_and_framed_for_the_own_concept():
    shift = np.array([[0.3, -0.1], [0.1, -0.004]])
    limits = np.full((2, 2), -0.2), np.full((2, 2), 0.2)
    ax = area_plots.plot_area_shift(shift, *limits, ["faces", "V1"], ["faces", "words"])
    texts = {t.get_text(): t.get_weight() for t in ax.texts}
    assert texts == {"+0.30": "bold", "-0.10": "normal", "+0.10": "normal", "+0.00": "normal"}
    assert [patch.get_xy() for patch in ax.patches] == [(-0.5, -0.5)]
