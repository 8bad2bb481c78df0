"""Figures: same data, same bytes; provenance inside; no global settings touched."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from skimage.color import rgb2lab

from fmri_utils import metrics, plots
from fmri_utils.metrics import Interval
from fmri_utils.plots.style import AREA_COLOURS, SLIDE, styled

pytestmark = pytest.mark.usefixtures("close_figures")
RNG = np.random.default_rng(0)
PICTURES = RNG.random((4, 16, 16, 3))


def figure():
    drawn = np.stack([PICTURES, PICTURES], axis=1)
    return plots.fig_reconstructions(PICTURES, PICTURES, drawn, label="simulated, subject 1")


def smallest_letters(figure):
    """Points, where the figure is shown on a slide; a wider one shrinks."""
    figure.canvas.draw()
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return min(t.get_fontsize() for t in shown) * min(1, SLIDE / figure.get_figwidth())


def test_the_same_data_give_the_same_bytes_that_say_what_made_them(tmp_path):
    about = {"notebook": "08", "seed": "3"}
    assert figure().get_supxlabel() == "simulated, subject 1"
    first = plots.save_figure(figure(), tmp_path / "a", "fig", about=about)
    second = plots.save_figure(figure(), tmp_path / "b", "fig", about=about)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    png, pdf = first
    assert Image.open(png).text["Description"] == "notebook=08; seed=3"
    assert pdf.suffix == ".pdf" and b"CreationDate" not in pdf.read_bytes()


def test_the_first_figure_of_a_notebook_does_not_hide_the_others():
    """Jupyter's backend turns interactive mode on when the first figure is made."""

    @styled
    def first():
        mpl.interactive(True)

    try:
        first()
        assert mpl.is_interactive()
    finally:
        mpl.interactive(False)


def test_the_style_can_be_set_for_a_whole_notebook():
    with plt.style.context(plots.STYLE):
        ax = plt.subplots()[1]
        assert not ax.spines["top"].get_visible()
        assert ax.plot([0, 1])[0].get_color() == plots.COLOURS["brain"]


# What the linear light of a colour becomes without one kind of cone (Machado et al. 2009).
WITHOUT_CONES = {
    "long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]]
    + [[-0.003882, -0.048116, 1.051998]],
    "middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]]
    + [[-0.011820, 0.042940, 0.968881]],
}


def nearest_two(colours, matrix):
    """Distance in CIELAB of the two colours that are hardest to tell apart."""
    rgb = np.array([mpl.colors.to_rgb(c) for c in colours])
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = (light @ np.transpose(matrix)).clip(0, 1)
    seen = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return apart[~np.eye(len(lab), dtype=bool)].min()


@pytest.mark.parametrize("cones", WITHOUT_CONES)
def test_colours_are_told_apart_without_red_or_green_cones(cones):
    lines = [entry["color"] for entry in plots.STYLE["axes.prop_cycle"]]
    for colours in (lines, AREA_COLOURS):
        assert nearest_two(colours, WITHOUT_CONES[cones]) > 12
    assert nearest_two(mpl.colormaps["tab10"].colors, WITHOUT_CONES[cones]) < 8


def test_leave_one_out_names_its_gain():
    volume = np.zeros((6, 7, 8), np.float32)
    volume[2:4, 2:5, 1:6] = RNG.random((2, 3, 5))
    image = nib.Nifti1Image(volume, np.diag([1.8, 1.8, 1.8, 1]))
    base, first = PICTURES[0], np.arange(30) < 10
    perturbed = np.stack([base + 0.001, base - 0.01]).clip(0, 1)
    results = {"seen": base, "baseline": base, "perturbed": perturbed, "noise": PICTURES[1:3]}
    results |= {"names": ["V1, voxel 3", "hV4, voxel 9"], "rms": np.array([0.001, 0.01])}
    results |= {"new_noise_rms": np.array([0.2, 0.3]), "effect": RNG.random(30) + 1e-3}
    results |= {"null": np.arange(30) % 7 == 0}
    how = {"effect_map": image, "background": image, "areas": {"V1": first, "hV4": ~first}}
    result = plots.fig_leave_one_out(results, **how, label="simulated, subject 1")
    titles = [ax.get_title(loc="center") for ax in result.axes]
    assert any(t.startswith("x50, RMS 0.01") for t in titles)
    assert smallest_letters(result) >= 9


def test_scores_show_chance():
    ax = plots.plot_scores({"ridge": Interval(0.8, 0.7, 0.9)}, chance=0.5, xlabel="two-way")
    assert any("chance 0.5" in t.get_text() for t in ax.texts)


def test_score_rows_show_every_method_between_chance_and_ceiling(rng):
    truth = rng.standard_normal((12, 6))
    noise = rng.standard_normal(truth.shape)
    sets = {"mean": 1e-3 * noise, "ridge": truth + noise, "oracle": truth}
    scores = metrics.embedding_scores(truth, sets, rng=rng)
    about = dict.fromkeys(("dataset", "subject", "split", "repeats", "clip_model"), "x")
    how = {"about": {**about, "simulated": True}, "baseline": "mean", "ceiling": "oracle"}
    table = metrics.score_table(scores, **how, rng=rng)
    figure = plots.fig_scores(table, table, label="simulated")
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert "two-way identification" in rows
    assert not any("rank" in row for row in rows)
    labels = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert labels == ["chance", "mean", "ridge", "ceiling: oracle"]
    assert min(smallest_letters(figure), smallest_letters(globals()["figure"]())) >= 8.5


def test_a_score_that_a_blurred_picture_wins_has_no_bar():
    def row(*values):
        names = ("mean image", "blurred", "ours", "ceiling")
        ends = [{"value": v, "low": v - 0.02, "high": v + 0.02, "chance": 0.1} for v in values]
        return {"scores": dict(zip(names, ends, strict=True))}

    table = {"sets": ["mean image", "blurred", "ours", "ceiling"]}
    table["rows"] = {"PixCorr": row(0.3, 0.5, 0.4, 0.7), "SSIM": row(0.8, 0.83, 0.8, 0.82)}
    ax = plots.figures.plot_score_rows(table, list(table["rows"]))
    bars = [line for line in ax.lines if line.get_linewidth() == 7]
    assert [list(bar.get_xdata()) for bar in bars] == [[0.3, 0.7]]  # of PixCorr, from the baseline
    assert [t.get_text() for t in ax.texts] == ["no ceiling: blurred reaches it"]


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
    shown = {"score": "MRR", "difference": "a - b", "low": -1, "value": 0.5, "high": 1}
    ax = plots.plot_study_differences([{**shown, "subjects": [0.2, 0.8]}], "MRR")
    assert list(ax.lines[0].get_xdata()) == [-1, 1]
    assert list(ax.lines[2].get_xdata()) == [0.2, 0.8]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a - b"]
