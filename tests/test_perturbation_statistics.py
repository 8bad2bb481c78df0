"""Nulls, agreement, groups and concepts: against brute force and planted answers."""

import itertools

import numpy as np
import pytest
from refusals import refused
from scipy import stats

from fmri_utils import perturbation, visual_areas
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.project.errors import DataError

N, V, C = 6, 9, 5
PAIRS = [*itertools.permutations(range(3), 2)]  # of repeats


@pytest.fixture
def encoder(rng):
    return LinearEncoder(rng.standard_normal((V, C)), 4 * rng.standard_normal(C), "ridge")


@pytest.fixture
def repeats():
    """Voxel 0 repeats itself exactly, voxel 1 partly, the others not at all."""
    rng = np.random.default_rng(1)
    trials = rng.standard_normal((3, N, V))
    trials[:, :, 0] = trials[0, :, 0]
    trials[:, :, 1] = 0.5 * trials[:, :, 1] + trials[0, :, 1]
    return trials


def swap(encoder, trials, v, values):
    """Effect of other values of one voxel, by recomputation."""
    changed = trials.copy()
    changed[:, v] = values
    before, after = unit(encoder.predict(trials)), unit(encoder.predict(changed))
    return 1 - (before * after).sum(1)


def test_reliability_equals_brute_force_for_every_pairing(encoder, repeats, monkeypatch):
    pairings = perturbation.draw_pairings(4, 3, N, np.random.default_rng(2))
    found = perturbation.reliability(encoder, repeats, pairings)
    for v in range(V):
        different = [
            swap(encoder, repeats[r], v, np.roll(repeats[s][:, v], shift)).mean()
            for r, s in PAIRS
            for shift in range(1, N)
        ]
        same = [
            [swap(encoder, repeats[r][rows[r]], v, repeats[s][rows[s]][:, v]) for r, s in PAIRS]
            for rows in pairings
        ]
        expected = np.mean(different) - np.mean(same, axis=(1, 2))
        np.testing.assert_allclose(found[:, v], expected, atol=1e-7)
    assert found[0, 0] > 0
    monkeypatch.setattr("fmri_utils.perturbation.nulls.MAX_ELEMENTS", 2 * N**2)  # in blocks
    again = perturbation.reliability(encoder, repeats, pairings)
    np.testing.assert_allclose(found, again, atol=1e-12)


def test_a_session_without_data_does_not_make_noise_repeat_itself(rng):
    """Repeats of one image often lie in one session, and would agree in its zeros."""
    n, n_voxels = 120, 200
    weights = 0.1 * rng.standard_normal((n_voxels, 32))
    encoder = LinearEncoder(weights, rng.standard_normal(32), "ridge")
    session = np.stack([rng.permutation(np.arange(n) % 4)] * 3)
    moved = rng.random((3, n)) < 0.3
    session[moved] = rng.integers(4, size=moved.sum())
    trials = rng.standard_normal((3, n, n_voxels))
    trials[..., :100][session == 1] = 0
    trials[..., 0] = 0  # no data at all
    pairings = perturbation.draw_pairings(300, 3, n, rng)
    reliable = perturbation.reliability(encoder, trials, pairings)
    found = perturbation.max_t(reliable)
    assert abs(found.z[1:100].mean()) < 0.25  # 0.51 if zeros counted as trials
    assert (found.p[1:100] <= 0.05).mean() < 0.1
    assert reliable[0, 0] == 0 and found.p[0] == 1
    # By recomputation, the pairs that are left are those of trials with data.
    two, expected = perturbation.reliability(encoder, trials[:2], pairings[:, :2]), []
    for own, other in ((0, 1), (1, 0)):
        values = trials[other][:, 7]
        table = np.stack([swap(encoder, trials[own], 7, np.full(n, v)) for v in values], axis=1)
        both = (session[own] != 1)[:, None] & (session[other] != 1)
        same = np.eye(n, dtype=bool)
        expected.append(table[both & ~same].mean() - table[both & same].mean())
    assert two[0, 7] == pytest.approx(np.mean(expected), abs=1e-7)


def test_pairings_keep_the_first_repeat_and_move_all_voxels_alike(rng):
    pairings = perturbation.draw_pairings(50, 3, N, rng)
    assert (pairings[0] == np.arange(N)).all() and (pairings[:, 0] == np.arange(N)).all()
    assert (np.sort(pairings, axis=2) == np.arange(N)).all()
    assert not (pairings[1:, 1] == pairings[1:, 2]).all()


def test_family_wise_error_holds_and_signal_is_found(rng):
    encoder = LinearEncoder(rng.standard_normal((20, C)), 4 * rng.standard_normal(C), "ridge")
    false = 0
    for _ in range(60):
        trials = rng.standard_normal((2, 12, 20))
        trials[..., 1:] += rng.standard_normal((2, 12, 1))  # noise that voxels share
        pairings = perturbation.draw_pairings(99, 2, 12, rng)
        found = perturbation.max_t(perturbation.reliability(encoder, trials, pairings))
        false += found.p_corrected.min() <= 0.05
    assert stats.binomtest(false, 60, 0.05, alternative="greater").pvalue > 0.01
    trials[:, :, 5] = 3 * trials[0, :, 5]
    found = perturbation.max_t(perturbation.reliability(encoder, trials, pairings))
    assert found.p_corrected[5] <= 0.05


def test_max_t_is_studentised_and_counts_the_observed_pairing(rng):
    null = rng.standard_normal((200, 30))
    null[0, 7] = 8
    loud = null * np.where(np.arange(30) == 3, 1000.0, 1.0)
    found = perturbation.max_t(loud)
    assert found.p_corrected[7] == pytest.approx(1 / 200)  # not drowned by voxel 3's scale
    np.testing.assert_allclose(found.p_corrected, perturbation.max_t(null).p_corrected)
    assert (found.p_corrected >= found.p).all()
    assert found.p.min() == pytest.approx(1 / 200)
    np.testing.assert_allclose(found.q, stats.false_discovery_control(found.p))
    wrong = null[1:]
    np.testing.assert_allclose(found.z, (null[0] - wrong.mean(0)) / wrong.std(0))
    null[0, 7] = 500
    far = perturbation.max_t(null)
    assert far.z[7] > 300 and far.p_corrected[7] == found.p_corrected[7]  # no bound of z
    still = perturbation.max_t(np.zeros((10, 2)))
    assert (still.z == 0).all() and (still.p_corrected == 1).all()


def test_pairings_stay_within_sessions():
    session = np.array([[1, 1, 1, 2, 2, 3, 3, 3], [2, 1, 2, 1, 3, 2, 1, 3]])
    pairings = perturbation.draw_pairings(40, 2, 8, np.random.default_rng(0), session=session)
    assert (np.sort(pairings, axis=2) == np.arange(8)).all()
    assert (session[1][pairings[:, 1]] == session[1]).all()
    assert all(len(np.unique(pairings[1:, 1, place])) == 3 for place in (0, 1, 2, 3, 5, 6))
    assert not (pairings[1] == pairings[2]).all()


def test_slow_trends_are_removed_from_each_session_and_nothing_else():
    session = np.repeat([1, 2], [30, 50])
    time = np.concatenate([np.linspace(0, 1, 30), np.linspace(0, 1, 50)])
    fast = np.random.default_rng(0).standard_normal((80, 3))
    steady = perturbation.nulls.without_trends(fast, session)
    slow = np.where(session == 1, 4 - time**3, 9 * time)[:, None]
    np.testing.assert_allclose(perturbation.nulls.without_trends(fast + slow, session), steady)
    np.testing.assert_allclose(perturbation.nulls.without_trends(steady, session), steady)
    assert 0.8 < steady.std() / fast.std() < 1
    fast[session == 1, 0] = 0  # no data: nothing is fitted, zeros stay zeros
    assert (perturbation.nulls.without_trends(fast, session)[session == 1, 0] == 0).all()


def test_reliability_of_folds_weighs_images_alike(encoder, repeats):
    """One block a fold: the mean over folds of the test of each, weighted by its images."""
    rng = np.random.default_rng(3)
    betas = np.concatenate([repeats, rng.standard_normal((3, 4, V))], axis=1).reshape(-1, V)
    nsd_id = np.tile(np.arange(N + 4), 3)
    session = np.ones(len(nsd_id), int)
    folds = [(encoder, np.flatnonzero((nsd_id < N) == first)) for first in (True, False)]
    how = {"n_permutations": 3, "block_size": 50, "rng": rng}
    found = perturbation.reliability_of_folds(folds, betas, nsd_id, session, **how)
    steady = perturbation.nulls.without_trends(betas, session).reshape(3, -1, V)
    pairings = np.arange(N + 4) * np.ones((1, 3, 1), int)
    one = perturbation.reliability(encoder, steady[:, :N], pairings[..., :N])
    two = perturbation.reliability(encoder, steady[:, N:], pairings[..., :4])
    np.testing.assert_allclose(found[0], (N * one[0] + 4 * two[0]) / (N + 4), atol=1e-7)
    assert found.shape == (4, V)
    blocks = perturbation.reliability_of_folds(
        folds, betas, nsd_id, session, **how | {"block_size": 3}
    )
    assert not np.allclose(blocks[0], found[0])


def test_trends_of_a_session_do_not_make_noise_repeat_itself(rng):
    """Repeats lie close together in one session, and share its slow trend."""
    n, n_voxels = 60, 150
    encoder = LinearEncoder(rng.standard_normal((n_voxels, C)), 4 * rng.standard_normal(C), "ridge")
    nsd_id = np.repeat(np.arange(n), 2)[np.argsort(np.arange(2 * n) + 6 * rng.random(2 * n))]
    time = np.linspace(-1, 1, len(nsd_id))[:, None]
    betas = rng.standard_normal((len(nsd_id), n_voxels)) + time * rng.standard_normal(n_voxels)
    rows, how = perturbation.repeat_rows(nsd_id), {"rng": rng, "n_permutations": 99}
    free = perturbation.draw_pairings(99, 2, n, rng)
    naive = perturbation.max_t(perturbation.reliability(encoder, betas[rows], free))
    folds = [(encoder, np.arange(len(nsd_id)))]
    session = np.ones(len(nsd_id), int)
    tested = perturbation.max_t(
        perturbation.reliability_of_folds(folds, betas, nsd_id, session, **how, block_size=n)
    )
    assert naive.z.mean() > 1
    assert abs(tested.z.mean()) < 0.25


def test_repeat_rows_are_those_of_images_with_all_repeats():
    nsd_id = np.array([4, 9, 4, 2, 9, 4, 9, 2])
    rows = perturbation.repeat_rows(nsd_id)
    assert rows.tolist() == [[0, 1], [2, 4], [5, 6]]  # image 2 has only two
    keep = np.array([True, True, True, True, True, False, False, True])
    assert nsd_id[perturbation.repeat_rows(nsd_id, keep)].tolist() == [[2, 4, 9]] * 2
    refused("none of 2 images was shown twice", perturbation.repeat_rows, np.array([1, 2]))


def test_matched_rank_compares_with_voxels_of_the_same_size(rng):
    size = rng.random(50)
    effect = size * 10  # everything follows from size: no label matters
    effect[17] *= 3
    p = perturbation.matched_rank(effect, size, n_matched=11)
    assert p[17] == pytest.approx(1 / 11)
    order = np.argsort(size)
    first = np.clip(np.flatnonzero(order == 30)[0] - 5, 0, 39)
    window = order[first : first + 11]
    assert p[30] == pytest.approx((effect[window] >= effect[30]).mean())


def test_split_half_and_maps_agree_as_much_as_planted(rng):
    common = rng.standard_normal(400)
    stable = perturbation.split_half(common + rng.standard_normal((50, 400)), rng=rng)
    noise = perturbation.split_half(rng.standard_normal((50, 400)), rng=rng)
    assert stable.full > stable.mean > 0.9
    assert abs(noise.mean) < 0.15
    same = perturbation.between_maps(np.stack([common, common**3, 2 * common]))
    assert same.mean == pytest.approx(1)
    refused("two or more", perturbation.between_maps, common[None])
    halves = perturbation.between_halves([(common, common**3), (common, -common)])
    assert (halves.mean, halves.low, halves.high, halves.full) == pytest.approx((0, -1, 1, 0))


def test_shapley_values_are_mean_gains_over_all_orders(encoder):
    betas = np.random.default_rng(8).standard_normal((15, V))
    truth = unit(encoder.predict(betas) + np.random.default_rng(7).standard_normal((15, C)))
    groups = {name: np.zeros(V, bool) for name in "abcd"}
    for v, name in enumerate("aabbbccd"):
        groups[name][v] = True
    encoder.weights[7] = 0  # group d does nothing; voxel 8 is in no group
    by_trial = visual_areas.shapley_by_trial(encoder, betas, truth, groups)

    def accuracy(names):
        kept = np.any([groups[n] for n in names], axis=0) if names else np.zeros(V, bool)
        embedding = visual_areas.group_embedding(encoder, betas, kept, "keep_only")
        return (unit(embedding) * truth).sum(1)

    for name, found in by_trial.items():
        before = [order[: order.index(name)] for order in itertools.permutations("abcd")]
        gains = [accuracy((*names, name)) - accuracy(names) for names in before]
        np.testing.assert_allclose(found, np.mean(gains, axis=0), atol=1e-12)
    np.testing.assert_allclose(by_trial["d"], 0, atol=1e-12)
    np.testing.assert_allclose(sum(by_trial.values()), accuracy("abcd") - accuracy(""))
    assert visual_areas.shapley_by_trial(encoder, betas, truth, {}) == {}
    with pytest.raises(DataError, match="more than one of the groups"):
        visual_areas.shapley_by_trial(encoder, betas, truth, groups | {"e": groups["a"]})


def test_groups_equal_changed_betas(encoder):
    betas = np.random.default_rng(9).standard_normal((4, V))
    group = np.arange(V) < 3
    changed = {"leave_out": np.where(group, 0, betas), "keep_only": np.where(group, betas, 0)}
    for kind, values in {**changed, "stimulate": betas + group}.items():
        found = visual_areas.group_embedding(encoder, betas, group, kind)
        np.testing.assert_allclose(found, encoder.predict(values), atol=1e-12)
    refused("Expected: one of", visual_areas.group_embedding, encoder, betas, group, "remove")


CAPTIONS = ["A red house", "A house by the sea", "A dog", "The dog on a boat", "A red boat"]


def test_concepts_are_differences_between_captions(monkeypatch):
    monkeypatch.setattr("fmri_utils.perturbation.concepts.SHARES", (0.3, 0.5))
    embeddings = unit(np.random.default_rng(11).standard_normal((5, C)))
    concepts = perturbation.parse_concepts(["places: house street", "animals: dog"])
    assert concepts == {"places": ("house", "street"), "animals": ("dog",)}
    places, animals = perturbation.concept_directions(concepts, CAPTIONS, embeddings)
    np.testing.assert_allclose(places, unit(embeddings[:2].mean(0) - embeddings[2:].mean(0)))
    rest = embeddings[[0, 1, 4]].mean(0)
    np.testing.assert_allclose(animals, unit(embeddings[2:4].mean(0) - rest))
    words, directions = perturbation.vocabulary(CAPTIONS, embeddings)
    assert words == ["boat", "dog", "house", "red"]  # "the" is a stop word, "sea" is rare
    np.testing.assert_allclose(directions[1], animals)
    with pytest.raises(DataError, match="0 of 5 captions use a word of concept 'faces'"):
        perturbation.concept_directions({"faces": ("face",)}, CAPTIONS, embeddings)


def test_the_strongest_words_come_first():
    shift = np.array([[0.1, 0.3, 0.2, -0.5]])
    assert perturbation.strongest_words(shift, "abcd") == [["b", "c", "a"]]
