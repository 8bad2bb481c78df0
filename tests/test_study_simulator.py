"""The study of the simulator: its trials are the simulator's, its tables say what brains say."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fmri_utils import nsd
from fmri_utils.project.profiles import load_profile
from fmri_utils.project.simulation_config import N_SUBJECTS, SimulationConfig
from pipeline.studies import study_simulator as study
from simulated_nsd.brain import make_brain
from simulated_nsd.experiment import make_design
from simulated_nsd.measurement import make_measurement

SMALL = SimulationConfig(
    n_shared=50, n_own=450, sessions=(2,) * N_SUBJECTS, grid=(26, 32, 22),
    n_nsdgeneral=400, n_null=80, ncsnr=0.3,
)  # fmt: skip


@pytest.fixture(scope="module")
def bench():
    """A subject whose embeddings are what its voxels respond to."""
    rng, design, brain = np.random.default_rng(0), make_design(SMALL), make_brain(SMALL, 1)
    voxels = study.part_of(brain.voxels, brain.voxels.general)
    brain = dataclasses.replace(brain, voxels=voxels)
    meaning = rng.standard_normal((500, 20))
    signal = meaning @ rng.standard_normal((20, voxels.null.size))
    signal = (signal - signal.mean(0)) / signal.std(0) * ~voxels.null
    ids = design.subjectim[0].astype(int) - 1
    order, by_id = design.masterordering[0].astype(int) - 1, np.argsort(ids)
    shared = order < SMALL.n_shared
    trials = {"nsd_id": ids[order], "session": np.repeat([1, 2], 750)}
    files = {"betas": {**trials, "is_train": ~shared, "is_test": shared}}
    files["embeddings"] = {"nsd_id": ids[by_id], "image": meaning[by_id].astype(np.float32)}
    profile = load_profile("smoke")
    config = SimpleNamespace(simulation=SMALL, encoder=profile.encoder, subject=1)
    made = study.Bench(type("Files", (dict,), {"cfg": config})(files))
    np.testing.assert_array_equal(made.image, order)
    made.responses = lambda number: (brain, signal.astype(np.float32))
    return made


def test_trials_are_the_simulators_at_the_ncsnr_that_was_planted(bench):
    brain, signal = bench.responses(1)
    whole = make_measurement(brain, signal, SMALL, 2)
    part, places = study.in_region(whole)
    inside = whole.inside[whole.responsive]
    moved = places / 1.8 - np.stack(np.unravel_index(inside, whole.shape), axis=1)
    assert np.ptp(moved, axis=0).max() < 1e-9 and np.prod(part.shape) < np.prod(whole.shape)
    planted = brain.voxels.ncsnr
    found = {}
    for shared, null in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.4)):
        trials = bench.measure(1, shared, null)
        assert trials.betas.shape == (1500, 400) and trials.null.sum() == 80
        ncsnr = nsd.estimate_ncsnr(trials.betas, bench.session, bench.nsd_id)
        assert np.median(ncsnr) == pytest.approx(np.median(planted), rel=0.12)
        mean, ids, _ = nsd.average_repeats(trials.betas[bench.test], bench.nsd_id[bench.test])
        assert len(ids) == len(trials.noiseless)
        tuned = ~trials.null
        r = np.corrcoef(mean[:, tuned].ravel(), trials.noiseless[:, tuned].ravel())[0, 1]
        assert r > 0.3 and not trials.noiseless[:, trials.null].any()
        ridge, how = study.fitted(bench, trials, bench.train)
        scores = study.decoding(bench, trials, ridge, bench.target[bench.train].mean(0))
        left = study.leave_one_out(bench, trials, ridge, how, np.random.default_rng(0))
        found[shared, null] = scores | left
    easy, hard, shown = found.values()
    assert easy["explained"] > hard["explained"] + 0.1  # noise along the signal hurts
    assert shown["explained"] > hard["explained"]  # what null voxels show of it is subtracted
    assert easy["limit over repeats"] == pytest.approx(easy["limit, planted"], abs=0.03)
    assert shown["refit effect"] < hard["refit effect"]


def test_fewer_trials_are_those_of_the_first_sessions_and_equal_numbers(bench):
    rng, own = np.random.default_rng(0), (SMALL.shared_noise, SMALL.null_shared_noise)
    assert list(study.fewer_trials(bench, (own[0] / 2, own[1]), rng)) == ["decoding|1"]
    assert not study.fewer_trials(bench, (own[0], own[1] + 0.1), rng)
    first, many, few = study.fewer_trials(bench, own, rng).values()
    assert (bench.session[first] == 1).all() and first.sum() == (
        bench.session[bench.train] == 1
    ).sum()
    assert many.sum() == few.sum() == 450
    n_images = [np.unique(bench.nsd_id[chosen]).size for chosen in (many, few)]
    assert n_images == [450, 150]
    assert not any((chosen & bench.test).any() for chosen in (first, many, few))


def test_tables_hold_means_over_brains_with_students_interval():
    assert study.noises(dataclasses.replace(SMALL, null_shared_noise=0.2)) == [
        *((0.0, 0.2), (0.2, 0.2), (0.4, 0.2), (0.6, 0.2)),
        *((0.2, 0.0), (0.4, 0.0), (0.2, 0.4), (0.4, 0.4)),
    ]
    low, high = (0.4, 0.2), (0.6, 0.2)
    one = {"decoding|2|MRR": 0.5, "trials|many|MRR": 0.2, "seconds": 9.0}
    other = {"decoding|2|MRR": 0.7, "trials|many|MRR": 0.2, "seconds": 9.0}
    far = {"decoding|2|MRR": 99.0, "seconds": 9.0}
    tables = study.summarise({(1, low): one, (1, high): far, (2, low): other, (2, high): far})
    row = tables["decoding"][0]
    assert (row["n_sessions"], row["score"], row["shared_noise"]) == (2, "MRR", 0.4)
    assert row["brains"] == [0.5, 0.7] and row["value"] == pytest.approx(0.6)
    assert row["high"] - row["value"] == pytest.approx(12.706 * 0.1, rel=1e-3)  # t, 1 degree
    assert [row["trained on"] for row in tables["trials"]] == ["many"]
