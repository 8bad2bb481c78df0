"""Figures: same data, same bytes; provenance inside; no global settings touched."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fmri_utils import metrics, plots
from fmri_utils.metrics import Interval

RNG = np.random.default_rng(0)
PICTURES = RNG.random((4, 16, 16, 3))


def figure():
    return plots.fig_reconstructions(
        PICTURES, PICTURES, np.stack([PICTURES, PICTURES], axis=1), label="simulated, subject 1"
    )


def test_the_same_data_give_the_same_bytes(tmp_path):
    about = {"notebook": "08", "seed": "0"}
    first = plots.save_figure(figure(), tmp_path / "a", "fig", about=about)
    second = plots.save_figure(figure(), tmp_path / "b", "fig", about=about)
    assert [p.suffix for p in first] == [".png", ".pdf"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_a_figure_carries_what_made_it_and_no_date(tmp_path):
    png, pdf = plots.save_figure(figure(), tmp_path, "fig", about={"notebook": "08", "seed": "3"})
    text = Image.open(png).text
    assert text["Description"] == "notebook=08; seed=3"
    assert "CreationDate" not in pdf.read_bytes().decode("latin-1")


def test_style_stays_inside_the_figure():
    before = dict(mpl.rcParams)
    plt.close(figure())
    assert dict(mpl.rcParams) == before


def test_every_figure_says_what_its_data_are():
    assert figure().get_supxlabel() == "simulated, subject 1"
    plt.close("all")


def test_leave_one_out_names_its_gain():
    volume = np.zeros((6, 7, 8), np.float32)
    volume[2:4, 2:5, 1:6] = RNG.random((2, 3, 5))
    image = nib.Nifti1Image(volume, np.diag([1.8, 1.8, 1.8, 1]))
    base = PICTURES[0]
    perturbed = np.stack([base + 0.001, base - 0.01]).clip(0, 1)
    results = {
        "seen": base,
        "baseline": base,
        "perturbed": perturbed,
        "names": ["V1, voxel 3", "hV4, voxel 9"],
        "rms": np.array([0.001, 0.01]),
        "noise": PICTURES[1:3],
        "new_noise_rms": np.array([0.2, 0.3]),
        "effect": RNG.random(30) + 1e-3,
        "null": np.arange(30) % 7 == 0,
    }
    result = plots.fig_leave_one_out(
        results,
        effect_map=image,
        background=image,
        areas={"V1": np.arange(30) < 10, "hV4": np.arange(30) >= 10},
        label="simulated, subject 1",
    )
    titles = [ax.get_title(loc="center") for ax in result.axes]
    assert any(t.startswith("x50, RMS 0.01") for t in titles)
    plt.close(result)


def test_scores_show_chance():
    ax = plots.plot_scores({"ridge": Interval(0.8, 0.7, 0.9)}, chance=0.5, xlabel="two-way")
    assert any("chance 0.5" in t.get_text() for t in ax.texts)
    plt.close("all")


@pytest.mark.parametrize("quantity", ["spread", "top1"])
def test_collapse_curves_take_every_objective(quantity):
    from fmri_utils.joint_embedding import OBJECTIVES

    record = {"step": np.arange(3), "spread": np.ones(3), "top1": np.ones(3)}
    ax = plots.plot_collapse(dict.fromkeys(OBJECTIVES, record), quantity, chance=0.1)
    assert len(ax.lines) == len(OBJECTIVES) + 1
    plt.close("all")


def test_score_rows_show_every_method_between_chance_and_ceiling():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((12, 6))
    sets = {
        "mean": np.zeros_like(truth) + 1e-3 * rng.standard_normal(truth.shape),
        "ridge": truth + rng.standard_normal(truth.shape),
        "oracle": truth,
    }
    scores = metrics.embedding_scores(truth, sets, rng=rng)
    about = dict.fromkeys(("dataset", "subject", "split", "repeats", "clip_model"), "x")
    table = metrics.score_table(
        scores, about={**about, "simulated": True}, baseline="mean", ceiling="oracle", rng=rng
    )
    figure = plots.fig_scores(table, table, label="simulated")
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert "two-way identification" in rows
    assert not any("rank" in row for row in rows)
    labels = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert labels == ["chance", "mean", "ridge", "ceiling: oracle"]


def test_temperatures_and_nearest_captions_draw_what_they_are_given():
    record = {k: np.array([0.0, 0.5]) for k in ("spread", "matching", "non_matching", "top1")}
    ax = plots.plot_temperatures({0.1: record, 1.0: record}, chance=0.01)
    assert ax.get_xscale() == "log"
    assert list(ax.lines[0].get_ydata()) == [0.5, 0.5]
    axes = plt.subplots(1, 2)[1]
    plots.plot_nearest_captions(PICTURES[:2], ["a", "b"], [["c", "d"], ["e", "f"]], axes=axes)
    assert "1. e" in axes[1].texts[0].get_text()
    assert axes[1].get_title() == "b"


def test_study_curves_and_differences_show_what_was_measured():
    rows = [
        {"mapper": m, "score": "MRR", "n_voxels": [10, 100], "value": v, "low": v, "high": v}
        for m, v in (("ridge", [0.1, 0.2]), ("contrastive", [0.3, 0.4]))
    ]
    ax = plots.plot_study_curves(rows, "n_voxels", "MRR", chance=0.05)
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[0.1, 0.2], [0.3, 0.4]]
    assert ax.get_xlabel() == "voxels"
    assert plots.plot_study_curves(rows, "n_voxels", "top-1").lines[:] == []
    shown = {"score": "MRR", "difference": "a - b", "low": -1, "value": 0.5, "high": 1}
    ax = plots.plot_study_differences([{**shown, "subjects": [0.2, 0.8]}], "MRR")
    assert list(ax.lines[0].get_xdata()) == [-1, 1]
    assert list(ax.lines[2].get_xdata()) == [0.2, 0.8]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a - b"]
