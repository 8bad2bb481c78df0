"""Against planted truth: scores, alignment, redundancy, and runs without any signal."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from fmri_utils.encoders import refit_ridge
from fmri_utils.perturbation.nulls import Significance
from fmri_utils.project.simulation_config import SimulationConfig
from pipeline.studies import study_perturbation
from pipeline.studies.study_perturbation import NullTrials
from simulated_nsd import redundancy
from simulated_nsd.against_truth import alignment, auroc, false_positives

GRID = (16, 18, 17)


def test_auroc_equals_scikit_learn_and_its_interval_holds_it(rng):
    null = np.arange(300) < 60
    score = rng.standard_normal(300) + ~null
    score[::5] = np.round(score[::5])  # ties
    found = auroc(null, {"a": score, "flat": np.zeros(300)}, rng=rng)
    assert found["a"].value == pytest.approx(roc_auc_score(~null, score))
    assert found["a"].low < found["a"].value < found["a"].high
    assert found["flat"].value == found["flat"].low == 0.5


def test_alignment_finds_what_goes_together_and_its_direction(rng):
    planted, places = rng.standard_normal((200, 2)), rng.standard_normal((200, 3))
    measured = planted**3 + 0.5 * rng.standard_normal((200, 2))
    measured[:, 1] = rng.standard_normal(200)
    measured[0] = np.nan
    together, apart = alignment(planted, measured, places, rng=rng)
    expected = spearmanr(planted[1:, 0], measured[1:, 0]).statistic
    assert together.value == pytest.approx(expected) and together.low > 0.5
    assert not apart.excludes(0)
    flipped = alignment(planted, -measured, places, rng=rng)[0]
    assert flipped.value == pytest.approx(-expected) and flipped.high < -0.5
    constant = alignment(np.ones((200, 1)), planted[:, :1], places, rng=rng)[0]
    assert (constant.value, constant.low, constant.high) == (0, 0, 0)


def test_alignment_does_not_count_neighbours_as_independent():
    """Smooth maps without any relation: an interval over voxels would leave out 0 most times."""
    rng, outside = np.random.default_rng(2), []
    places = np.indices((12, 12, 6)).reshape(3, -1).T
    for _ in range(40):
        a, b = ndimage.gaussian_filter(rng.standard_normal((2, 12, 12, 6)), (0, 1, 1, 1))
        [found] = alignment(a.reshape(-1, 1), b.reshape(-1, 1), places, rng=rng)
        outside.append((found.excludes(0), abs(found.value) > 1.96 / len(places) ** 0.5))
    by_patch, by_voxel = np.mean(outside, axis=0)
    assert by_patch <= 0.15 and by_voxel > 0.3


def test_false_positives_are_counted_over_the_empty_voxels():
    null = np.array([True, True, True, True, False, False])
    p = np.array([0.01, 0.2, 0.5, 0.9, 0.01, 0.01])
    q = np.array([0.04, 0.5, 0.6, 0.9, 0.04, 0.04])
    found = false_positives(null, Significance(p, p, p + 0.1, q))
    assert list(found.values()) == pytest.approx([0.25, 0, 1 / 3])


def test_redundancy_hides_voxels_from_ablation_but_not_from_a_forward_model(monkeypatch):
    for name, size in {"N_SOURCES": 5, "N_NULL": 60, "N_TRAINING": 120, "N_TEST": 40}.items():
        monkeypatch.setattr(redundancy, name, size)
    curve = redundancy.redundancy_curve([1, 20], seed=0)
    ablation, model = curve["ablation"], curve["forward model"]
    assert ablation[0].value > 0.85
    assert ablation[1].value < ablation[0].value - 0.1
    assert min(i.value for i in model) > 0.9
    assert curve["reliability"][1].value > curve["ablation"][1].value
    alone = redundancy.redundancy_curve([20], shared_noise=False, seed=0)  # noise of its own
    assert min(alone["ablation"][0].value, alone["refit"][0].value) > 0.9


def test_linear_subject_is_what_it_says(rng):
    subject = redundancy.linear_subject(4, rng)
    assert subject.training.shape == (3, 300, 140) and subject.null.sum() == 100
    np.testing.assert_allclose(subject.training.std((0, 1)), 1, atol=1e-6)
    alike = np.corrcoef(subject.training[0].T, subject.training[1].T)[:140, 140:]
    reliability = np.diag(alike)  # ncsnr^2 / (1 + ncsnr^2)
    assert reliability[~subject.null].mean() == pytest.approx(0.09 / 1.09, abs=0.02)
    assert abs(reliability[subject.null].mean()) < 0.02


def null_trials(n_repeats=3, n_images=200, **noise):
    config = SimulationConfig(grid=GRID, **noise)
    places = 4 + np.indices((5, 5, 5)).reshape(3, -1).T
    table = pd.DataFrame(places, columns=["i", "j", "k"])
    table["shared_noise"] = np.where(places[:, 0] < 6, 0.5, 0.0)
    table["null"] = False
    rng = np.random.default_rng(3)
    signal = rng.standard_normal((50, 2)) @ rng.standard_normal((2, len(table)))
    signal = ((signal - signal.mean(0)) / signal.std(0)).astype(np.float32)
    truth = SimpleNamespace(voxels=table, signal=signal)
    session = np.repeat([[1], [2], [2]], n_images, axis=1)[:n_repeats]
    time = np.linspace(-1, 1, n_images)[None].repeat(n_repeats, 0)
    return NullTrials(truth, config, session, time), places, signal


def test_null_trials_have_the_simulators_noise():
    drawer, places, signal = null_trials(n_images=2000, drift_trend=0.0)
    flat = drawer.draw(np.random.default_rng(0)).reshape(-1, len(places))
    np.testing.assert_allclose(flat.std(0), 1, atol=0.06)
    # Neighbours, against noise that is really smoothed on the grid.
    smooth = np.random.default_rng(1).standard_normal((400, *GRID))
    smooth = ndimage.gaussian_filter(smooth, (0, 0.9, 0.9, 0.9), mode="wrap")
    expected = np.corrcoef(smooth[:, :, 8, 8].T)[:-1, 1:].diagonal().mean() * 0.7
    right = (places[:, 0] >= 6) & (places[:, 0] < 8)
    here = np.flatnonzero(right & (places[:, 1] == 6) & (places[:, 2] == 6))
    pairs = [(v, v + 25) for v in here]  # the next voxel along i
    alike = np.mean([np.corrcoef(flat[:, a], flat[:, b])[0, 1] for a, b in pairs])
    assert alike == pytest.approx(expected, abs=0.06)
    # Shared noise: voxels with it follow the covariance of the signal.
    left = places[:, 0] < 6
    far = np.abs(places[:, None, 1:] - places[None, :, 1:]).max(-1) >= 3
    chosen = far & left[:, None] & left[None]
    measured, wanted = np.corrcoef(flat.T)[chosen], 0.5 * np.corrcoef(signal.T)[chosen]
    assert np.corrcoef(measured, wanted)[0, 1] > 0.9
    assert np.polyfit(wanted, measured, 1)[0] == pytest.approx(1, abs=0.15)


def test_null_trials_drift_within_sessions():
    drawer, _, _ = null_trials(n_images=400, drift_trend=2.0)
    trials = drawer.draw(np.random.default_rng(0))
    smooth = trials.reshape(3, 20, 20, -1).mean(2)
    assert smooth.std(1).mean() > 0.5  # without drift 1 / sqrt(20) of a small rest
    # Repeats 2 and 3 are in the same session and follow the same trend; repeat 1 does not.
    same = np.mean([np.corrcoef(smooth[1, :, v], smooth[2, :, v])[0, 1] for v in range(50)])
    assert same > 0.8


def test_calibration_counts_false_runs_and_resumes(tmp_path, monkeypatch):
    drawer, _, _ = null_trials(n_images=12)
    monkeypatch.setattr(study_perturbation, "null_trials", lambda files, rows: drawer)
    monkeypatch.setattr(study_perturbation.encoders, "load_encoder", lambda ridge: ridge)
    rng, image = np.random.default_rng(4), np.tile(np.arange(12), 3)
    brain = {"betas": rng.standard_normal((36, 125)).astype(np.float32), "nsd_id": image}
    brain |= {"session": np.repeat([1, 2], 18), "is_train": image < 9}
    clip = {"image": rng.standard_normal((12, 4)).astype(np.float32), "nsd_id": np.arange(12)}
    train = brain["is_train"]
    data = brain["betas"][train], clip["image"][image[train]]
    ridge = refit_ridge(*data, alphas=np.full(4, 10.0))

    class Files(dict):
        about = SimpleNamespace(n_folds=2, n_permutations=39, block_size=6)
        cfg, hashes = SimpleNamespace(derived=tmp_path, perturbation=about, seed=0), {}

    files = Files(betas=brain, embeddings=clip, ridge=ridge)

    def calibration(n_runs):
        monkeypatch.setattr(study_perturbation, "N_RUNS", n_runs)
        return study_perturbation.study_calibration(files)

    some = calibration(3)
    [part] = tmp_path.rglob("part-00001.h5")
    before = part.read_bytes()
    more = calibration(8)
    assert part.read_bytes() == before
    assert some["n_runs"] == 3
    assert more["rate"] == more["n_false"] / 8
    assert more["low"] <= more["rate"] <= more["high"]
    assert 0 < more["share"] < 0.2 and abs(more["z"]) < 5 * more["z_error"] + 0.1
    draw = drawer.draw

    def planted(rng):
        trials = draw(rng)
        trials[:, :, 3:60] = trials[0, :, 3:60]
        return trials

    monkeypatch.setattr(drawer, "draw", planted)
    files.about.n_permutations = 199  # another setting, so all is computed anew
    found = calibration(2)
    assert found["n_false"] == 2 and found["share"] > 0.3 and found["z"] > 0.5
