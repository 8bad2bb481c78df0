"""Plots show what they are given; without a value the background or a word, never an error."""

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from fmri_utils import plots
from fmri_utils.metrics import Interval
from fmri_utils.plots import effects
from fmri_utils.plots.area_figure import plot_area_changes, plot_area_shift
from fmri_utils.plots.fields import plot_field_coverage

AFFINE = np.diag([1.8, 1.8, 1.8, 1.0])
SHAPE = (12, 13, 11)
UNKNOWN, NONE, NOBODY = np.full(10, np.nan), np.array([]), np.array([], bool)
EMPTY = np.zeros((0, 8, 8, 3))
EVERYWHERE, NOWHERE = np.ones(10, bool), np.zeros(10, bool)
UNKNOWN_INTERVAL = Interval(np.nan, np.nan, np.nan)


pytestmark = pytest.mark.usefixtures("close_figures")


def volume(value):
    return nib.Nifti1Image(np.full(SHAPE, value, np.float32), AFFINE)


@pytest.fixture(scope="module")
def background():
    values = np.zeros(SHAPE, np.float32)
    values[2:10, 2:11, 3:9] = 1 + np.random.default_rng(0).random((8, 9, 6))
    return nib.Nifti1Image(values, AFFINE)


DRAWINGS = {
    "values": plots.plot_volume,
    "areas": lambda image, below: plots.plot_areas(image, ["V1", "V2"], below),
    "angles": plots.plot_prf_angle,
}


def layers(ax):
    """Pictures of the slices: those of the brain below, and those of values with any shown."""
    images = [i for a in ax.figure.axes for i in a.images]
    grey = [i for i in images if i.get_cmap().name in ("gray", "gist_gray", "Greys_r")]
    coloured = [i for i in images if i not in grey and i.get_array().ndim == 2]
    return grey, [i for i in coloured if np.ma.count(i.get_array())]


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf], ids=["NaN", "zero", "infinite"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_map_without_a_value_is_the_background_alone(name, value, background):
    if name == "angles" and value == 0:
        value = np.nan  # 0 is an angle, to the right
    ax = DRAWINGS[name](volume(value), background)
    ax.figure.canvas.draw()
    below, values = layers(ax)
    assert len(below) == 6 and not values
    assert all(np.ma.count(i.get_array()) and np.ptp(i.get_array()) > 0 for i in below)
    assert not any(hasattr(a, "_colorbar") for a in ax.child_axes)  # a scale of nothing


def test_one_voxel_is_still_seen(background):
    values = np.full(SHAPE, np.nan, np.float32)
    values[4, 5, 6] = 0.3
    ax = plots.plot_volume(nib.Nifti1Image(values, AFFINE), background)
    ax.figure.canvas.draw()
    below, shown = layers(ax)
    assert below and len(shown) == 1
    assert any(hasattr(a, "_colorbar") for a in ax.child_axes)


@pytest.mark.parametrize("n_cuts", [1, 6])
def test_neither_values_nor_background_is_no_error(n_cuts):
    ax = plots.plot_volume(volume(np.nan), volume(0), n_cuts=n_cuts)
    ax.figure.canvas.draw()


def test_limits_that_nothing_gave_are_those_of_the_values(background):
    """A percentile of nothing is NaN, and is what callers give as a limit."""
    values = np.where(background.get_fdata() > 0, 0.5, np.nan).astype(np.float32)
    image = nib.Nifti1Image(values, AFFINE)
    ax = plots.plot_volume(image, background, vmin=np.nan, vmax=np.nan)
    assert {i.get_clim() for i in layers(ax)[1]} == {(0.0, 0.5)}
    ax = plots.plot_volume(volume(np.nan), background, vmin=0, vmax=np.nan)
    ax.figure.canvas.draw()


SAID = {
    "ncsnr, all NaN": lambda: plots.plot_ncsnr_histogram(UNKNOWN, published={1: 0.36}, subject=1),
    "reliability against ncsnr": lambda: plots.plot_repeat_reliability(UNKNOWN, UNKNOWN),
    "drift": lambda: plots.plot_drift_share(UNKNOWN, UNKNOWN, chance=0.1),
    "noise correlation": lambda: plots.plot_noise_correlation(pd.DataFrame(columns=["area"])),
    "studentised reliability, NaN": lambda: effects.plot_tested_reliability(UNKNOWN, NOWHERE, None),
    "reliability, no voxel": lambda: effects.plot_tested_reliability(NONE, NOBODY, None),
    "steps": lambda: effects.plot_step_sizes(np.array([0.1]), {"float64": np.zeros((1, 0))}),
    "shift": lambda: plot_area_shift(*[np.zeros((0, 2))] * 3, [], ["a", "b"]),
    "places": lambda: effects.plot_places(np.zeros((0, 16)), [])[0],
    "losses": lambda: plots.plot_losses([])[0],
    "pictures": lambda: plots.plot_picture_grid([EMPTY], [""])[0, 0],
    "ranked pictures": lambda: plots.plot_ranked_images(EMPTY, EMPTY, NONE, NONE)[0, 0],
}


@pytest.mark.parametrize("name", SAID)
def test_a_plot_of_nothing_says_so(name):
    ax = SAID[name]()
    ax.figure.canvas.draw()
    (text,) = ax.texts
    assert text.get_text() and not ax.axison


DRAWN = {
    "ncsnr by area": lambda: plots.plot_ncsnr(UNKNOWN, {"V1": EVERYWHERE, "V2": NOWHERE}),
    "effects by area, no voxel": lambda: plots.plot_area_effects(UNKNOWN, {"V1": NOWHERE}),
    "temperatures": lambda: plots.plot_temperatures({}, chance=0.1),
    "scores, NaN": lambda: plots.plot_scores({"a": UNKNOWN_INTERVAL}, chance=0.5, xlabel="x"),
    "scores": lambda: plots.plot_scores({}, chance=0.5, xlabel="x"),
    "redundancy": lambda: effects.plot_redundancy([1, 3], {"a": [UNKNOWN_INTERVAL] * 2}),
    "shares": lambda: effects.plot_shares({}),
    "changes": lambda: plot_area_changes([], {}),
    "fields": lambda: plot_field_coverage(UNKNOWN, UNKNOWN, UNKNOWN),
    "session drift": lambda: plots.plot_session_drift(NONE, NONE, NONE),
    "shift, NaN": lambda: plot_area_shift(*[np.full((1, 2), np.nan)] * 3, ["a"], ["b", "c"]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_axes_of_nothing_keep_their_labels(name):
    ax = DRAWN[name]()
    ax.figure.canvas.draw()
    assert ax.axison
    assert ax.get_xlabel() or ax.get_ylabel() or name.startswith(("matrix", "shift", "changes"))
    finite = [
        np.isfinite(np.asarray(line.get_xydata(), float)).all(1).any()
        for line in ax.lines
        if len(line.get_xdata()) and line.get_color() == plots.COLOURS["brain"]
    ]
    assert not any(finite)  # nothing is made up


def test_attention_to_nothing_leaves_the_picture_dark():
    picture = np.full((8, 8, 3), 200, np.uint8)
    axes = plt.subplots(1, 2)[1]
    plots.plot_attention(picture[None], np.full((1, 2, 2), np.nan), axes=axes)
    np.testing.assert_array_equal(axes[1].images[0].get_array(), np.uint8(30))


# With values: what they show is what they were given.


def test_places_are_drawn_row_by_row_from_the_upper_left():
    maps = np.zeros((1, 16))
    maps[0, 1] = 1
    (ax,) = effects.plot_places(maps, ["V1, voxel 2"])
    shown = ax.images[0].get_array()
    assert shown[0, 1] == shown.sum() == 1
    assert ax.get_title() == "V1, voxel 2"


def test_curves_and_bars_hold_their_values():
    steps = np.array([0.1, 1.0])
    errors = {"float64": np.array([[1e-6, 3e-6, 2e-6], [0.1, 0.1, 0.1]])}
    ax = effects.plot_step_sizes(steps, errors)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2e-6, 0.1])
    curve = [Interval(0.9, 0.8, 0.95), Interval(0.5, 0.4, 0.6)]
    ax = effects.plot_redundancy([1, 10], {"ablation": curve})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.9, 0.5])
    ax = effects.plot_shares({"voxel": np.array([0.2, 0.3]), "z": np.array([0.8, 0.7])})
    assert [b.get_width() for b in ax.patches] == pytest.approx([25, 75])
    np.testing.assert_allclose(ax.lines[1].get_xdata(), [80, 70])


def test_reliability_marks_where_correction_begins():
    z = np.array([0.0, 1, 2, 3, 4])
    ax = effects.plot_tested_reliability(z, z > 2.5, z < 0.5)
    assert ax.lines[0].get_xdata()[0] == 3
    assert sum(p.get_height() for p in ax.patches) == 5
    alone = effects.plot_tested_reliability(z, z > 9, None)
    assert not alone.lines
