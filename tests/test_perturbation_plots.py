"""Figures of effects: what they show is what they were given."""

import numpy as np
import pytest

from fmri_utils.metrics import Interval
from fmri_utils.perturbation import parse_concepts
from fmri_utils.plots import effects
from fmri_utils.project.profiles import PROFILES, load_profile

pytestmark = pytest.mark.usefixtures("close_figures")


def test_places_are_drawn_row_by_row_from_the_upper_left():
    maps = np.zeros((1, 16))
    maps[0, 1] = 1
    (ax,) = effects.plot_places(maps, ["V1, voxel 2"])
    shown = ax.images[0].get_array()
    assert shown[0, 1] == 1
    assert shown.sum() == 1
    assert ax.get_title() == "V1, voxel 2"


def test_matrix_prints_its_numbers_at_their_places():
    ax = effects.plot_matrix(np.array([[0.5, -0.25], [0, 1]]), ["a", "b"], ["c", "d"])
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    assert texts[1, 0] == "-0.25"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["c", "d"]


def test_curves_and_bars_hold_their_values():
    steps = np.array([0.1, 1.0])
    errors = {"float64": np.array([[1e-6, 3e-6, 2e-6], [0.1, 0.1, 0.1]])}
    ax = effects.plot_step_sizes(steps, errors)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2e-6, 0.1])
    curve = [Interval(0.9, 0.8, 0.95), Interval(0.5, 0.4, 0.6)]
    ax = effects.plot_redundancy([1, 10], {"ablation": curve})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.9, 0.5])
    ax = effects.plot_shares({"voxel": 0.25, "z": 0.75})
    assert [b.get_width() for b in ax.patches] == [25, 75]


def test_reliability_marks_where_correction_begins():
    z = np.array([0.0, 1, 2, 3, 4])
    ax = effects.plot_tested_reliability(z, z > 2.5, z < 0.5)
    assert ax.lines[0].get_xdata()[0] == 3
    assert sum(p.get_height() for p in ax.patches) == 5
    alone = effects.plot_tested_reliability(z, z > 9, None)
    assert not alone.lines


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_names_the_concepts_of_the_localizers(name):
    concepts = parse_concepts(load_profile(name).perturbation.concepts)
    assert list(concepts) == ["faces", "bodies", "places", "words"]
