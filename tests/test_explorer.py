"""The explorer without a browser: what it computes, what it draws, and its callbacks."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from small_lafite import drawing_generator

from fmri_utils import perturbation
from fmri_utils.encoders import LinearEncoder, unit
from fmri_utils.explorer import BrainSlices, Explorer, ExplorerApp, composite
from fmri_utils.explorer.composite import compose, difference_gain, difference_picture
from fmri_utils.explorer.material import Concepts, Library, Material
from fmri_utils.explorer.view import State
from fmri_utils.pictures.reconstruction import draw, draw_z

C, N_IMAGES, SHAPE = 12, 4, (9, 11, 8)


@pytest.fixture(scope="module")
def generator():
    return drawing_generator()


@pytest.fixture(scope="module")
def material(generator):
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.06
    n_voxels = int(mask.sum())
    weights = rng.standard_normal((n_voxels, C)).astype(np.float32)
    areas = {"V1": np.arange(n_voxels) < 9, "faces": np.arange(n_voxels) >= n_voxels - 8}
    areas["unassigned"] = ~(areas["V1"] | areas["faces"])
    directions, captions = (unit(rng.standard_normal((n, C))) for n in (2, 30))
    return Material(
        encoder=LinearEncoder(weights, 3 * rng.standard_normal(C).astype(np.float32), "ridge"),
        generator=generator,
        pattern=rng.standard_normal((N_IMAGES, n_voxels)),
        seen=rng.integers(0, 256, (N_IMAGES, 16, 16, 3), dtype=np.uint8),
        captions=[f"A thing number {i} on a green lawn." for i in range(N_IMAGES)],
        library=Library([f"Caption {i}." for i in range(30)], captions, np.zeros(C)),
        concepts=Concepts(("faces", "words"), directions, np.array([0.7, 1.5])),
        areas=areas,
        mask=mask,
        background=rng.random(SHAPE).astype(np.float32) + 0.5,
        **{"new_noise_rms": 0.05, "psi": 1.0, "seed": 3, "label": "simulated, subject 1"},
    )


@pytest.fixture(scope="module")
def explorer(material):
    return Explorer(material)


@pytest.fixture
def app(explorer, tmp_path):
    return ExplorerApp(explorer, folder=tmp_path)


STATES = [
    State(1, "voxel", 5, 2.0),
    State(1, "area", "V1", -1.5),
    State(1, "concept", "words", 2.0),
]


@pytest.mark.parametrize("state", STATES, ids=lambda s: s.kind)
def test_k_of_zero_changes_nothing_at_all(explorer, state):
    view = explorer.view(State(state.image, state.kind, state.which, 0.0))
    assert np.array_equal(view.before, view.after)
    assert view.turn == view.rms == 0 and set(view.shift.values()) == {0.0}
    assert view.captions_before == view.captions_after
    assert explorer.view(state).rms > 0 and explorer.view(state).turn > 0


def test_voxels_do_what_the_perturbation_package_says(explorer, material):
    for voxel in (0, 7):
        view = explorer.view(State(2, "voxel", voxel, 1.5))
        rows = material.pattern[2:3]
        raised = rows + 1.5
        effect = perturbation.embedding_effect(material.encoder, rows, replacement=raised)
        np.testing.assert_allclose(view.turn, effect[0, voxel], rtol=1e-9)
        given = material.encoder, rows, material.concepts.directions
        shift = perturbation.concept_shift(*given, replacement=raised)
        np.testing.assert_allclose(list(view.shift.values()), shift[voxel], atol=1e-9)


def test_areas_do_what_the_perturbation_package_says(explorer, material):
    view = explorer.view(State(0, "area", "faces", -2.0))
    given = material.encoder, material.pattern[:1], {"faces": material.areas["faces"]}
    expected = perturbation.area_shifts(*given, material.concepts.directions, k=-2.0)
    np.testing.assert_allclose(list(view.shift.values()), expected[0, 0], atol=1e-6)


def test_fixed_noise_is_one_z_and_the_stored_buffers(explorer, material, generator):
    state = State(1, "voxel", 5, 3.0)
    moved = material.pattern[1].copy()
    moved[5] += 3
    z = draw_z(generator, 1, material.seed)
    for pattern, picture in ((material.pattern[1], "before"), (moved, "after")):
        expected = draw(generator, z, material.encoder.predict(pattern[None]))[0]
        np.testing.assert_allclose(getattr(explorer.view(state), picture), expected, atol=1e-5)


def test_fresh_noise_draws_z_and_the_buffers_and_leaves_the_embedding(
    explorer, generator, material
):
    one, other, again = (explorer.view(State(1, "voxel", 5, 0.0, True, n)) for n in (0, 1, 0))
    assert one.turn == 0 and one.rms > 0.01
    assert np.array_equal(one.before, other.before) and np.array_equal(one.after, again.after)
    assert not np.array_equal(one.after, other.after)
    z = draw_z(generator, 1, material.seed + 1)
    only_z = draw(generator, z, explorer.embeddings[1:2])[0]
    fresh = explorer.draw(explorer.embeddings[1], 0)
    assert np.abs(fresh - only_z).max() > 1e-3
    stored = draw(generator, draw_z(generator, 1, material.seed), explorer.embeddings[1:2])[0]
    assert np.abs(only_z - stored).max() > 1e-3


def test_a_concept_rises_with_its_direction(explorer):
    for name in ("faces", "words"):
        values = [explorer.view(State(0, "concept", name, k)).shift[name] for k in (-2, -1, 1, 2)]
        assert values == sorted(values) and values[0] < 0 < values[-1]


def test_ranking_is_by_effect_and_within_an_area(explorer, material):
    order = explorer.ranking(1)
    turns = [explorer.view(State(1, "voxel", int(v), 1.0)).turn for v in order[[0, 5, -1]]]
    assert turns[0] > turns[1] > turns[2]
    own = explorer.ranking(1, "V1")
    assert material.areas["V1"][own].all() and len(own) == material.areas["V1"].sum()
    assert explorer.default_state(1).which == order[0]


def test_captions_nearest_to_an_embedding_come_first(material):
    library = material.library
    assert library.nearest(library.embeddings[7], 2)[0] == "Caption 7."
    assert library.nearest(-library.embeddings[7], 30)[-1] == "Caption 7."


def test_a_state_that_cannot_be_is_refused(explorer):
    for state, message in (
        (State(N_IMAGES, "voxel", 0, 0.0), "no image 4. Expected: 0 to 3"),
        (State(0, "voxel", -1, 0.0), "no voxel -1"),
        (State(0, "area", "V9", 0.0), "no area 'V9'. Expected: one of V1, faces"),
        (State(0, "session", 1, 0.0), "no kind 'session'. Expected: one of voxel"),
        (State(0, "voxel", 1, float("nan")), "k is nan. Expected: -5 to 5 SD"),
    ):
        refused(message, explorer.view, state)


def test_material_of_different_runs_or_with_holes_is_refused(material):
    for part, field in (("encoder", "weights"), ("library", "embeddings"), ("concepts", "sd")):
        own = getattr(material, part)
        holed = dataclasses.replace(own, **{field: np.nan * getattr(own, field)})
        refused("values are NaN", dataclasses.replace, material, **{part: holed})
    for change, message in (
        ({"pattern": np.inf * material.pattern}, "^pattern: .* values are infinite"),
        ({"seen": material.seen / 255}, "^seen: .* Expected: uint8"),
        ({"pattern": material.pattern[:, 1:]}, "different runs: `make 05`"),
    ):
        refused(message, dataclasses.replace, material, **change)


# Drawing


@pytest.mark.parametrize(("peak", "gain"), [(0.3, 1.0), (0.25, 2.0), (0.04, 10.0), (0.6, 1.0)])
def test_gain_is_round_and_one_pixel_does_not_set_it(peak, gain):
    before = np.full((8, 8, 3), 0.2)
    after = before.copy()
    after[2:4] += peak
    assert difference_gain(before, after) == pytest.approx(gain)
    after[7, 7, 0] += 0.7
    assert difference_gain(before, after) == pytest.approx(gain)
    assert difference_gain(before, before) == 1
    assert (difference_picture(before, before, 1) == 0.5).all()


def test_the_gain_that_is_printed_is_the_one_applied(explorer, material, monkeypatch):
    written, view = [], explorer.view(STATES[0])
    original = composite.ImageDraw.ImageDraw.text

    def write(self, at, text, **how):
        written.append(text)
        original(self, at, text, **how)

    monkeypatch.setattr(composite.ImageDraw.ImageDraw, "text", write)
    picture = compose(view, label=material.label, new_noise_rms=0.05)
    (printed,) = [float(t.split("×")[1].replace(",", "")) for t in written if "×" in t]
    x = composite.WIDTH - composite.MARGIN - composite.PANEL
    panel = picture.crop((x, composite.TOP, x + composite.PANEL, composite.TOP + composite.PANEL))
    shown = (0.5 + printed * (view.after - view.before)).clip(0, 1)
    expected = Image.fromarray((255 * shown).round().astype(np.uint8))
    expected = expected.resize(panel.size, Image.Resampling.BILINEAR)
    # exactly where a plateau of the enlargement shows one pixel of the difference
    assert np.abs(np.asarray(panel, float) - np.asarray(expected, float)).max() <= 1
    assert any("image 1" in t and "simulated" in t for t in written)


def test_every_slice_finds_a_neighbour_in_its_plane():
    slices = BrainSlices(np.ones(SHAPE, bool), np.ones(SHAPE), {"V1": np.ones(9 * 11 * 8, bool)})
    at = np.array([4, 5, 3])
    voxel = int((slices.coordinates == at).all(1).argmax())
    steps = [((0, 1, 0), (0, 0, 1)), ((1, 0, 0), (0, 0, 1)), ((1, 0, 0), (0, 1, 0))]
    for (x, y), (right, up) in zip(slices.pixels_of(voxel), steps, strict=True):
        found = slices.voxel_at(x + slices.scale, y, voxel)
        assert (slices.coordinates[found] == at + right).all()
        found = slices.voxel_at(x, y - slices.scale, voxel)
        assert (slices.coordinates[found] == at + up).all()


def test_a_click_takes_the_nearest_voxel_of_the_mask_and_none_outside():
    mask = np.zeros(SHAPE, bool)
    mask[2, 3, 4] = mask[6, 8, 4] = True
    slices = BrainSlices(mask, np.ones(SHAPE), {"V1": np.ones(2, bool)})
    left, top = slices.corners[2]  # from above: x to the right, y up
    near_second = left + 5.5 * slices.scale, top + (SHAPE[1] - 1 - 7 + 0.5) * slices.scale
    assert slices.voxel_at(*near_second, 0) == 1
    assert slices.voxel_at(left + 1, top + slices.scale * SHAPE[1] - 1, 0) == 0
    assert slices.voxel_at(1, 1, 0) is None
    assert slices.voxel_at(slices.size[0] - 1, 40, 0) is None


def test_the_voxel_and_its_area_are_where_they_are_drawn(material):
    slices = BrainSlices(material.mask, material.background, material.areas)
    voxel = int(np.flatnonzero(material.areas["faces"])[0])
    picture = slices.draw(voxel, area="faces", crosshair=False)
    for x, y in slices.pixels_of(voxel):
        assert picture.getpixel((int(x), int(y))) == (213, 94, 0)
    marked = slices.draw(voxel, crosshair=True)
    assert np.asarray(marked).tobytes() != np.asarray(slices.draw(voxel, crosshair=False)).tobytes()
    assert material.areas["faces"][slices.best_view("faces")]


# Widgets, their callbacks as plain functions


def shown(app):
    return Image.open(io.BytesIO(bytes(app.picture.value)))


def test_moving_the_slider_redraws_the_picture_but_not_the_brain(app):
    picture, brain = app.picture.value, app.brain.value
    app.k.value = -3.0
    assert app.picture.value != picture and app.brain.value == brain
    assert shown(app).size == (composite.WIDTH, composite.HEIGHT)
    assert not app.k.continuous_update


def test_reset_restores_the_bytes(app):
    before = bytes(app.picture.value), bytes(app.brain.value), app.state
    app.image.value, app.kind.value, app.noise.value = 2, "area", "fresh"
    app.area.value, app.k.value = "faces", 4.0
    assert bytes(app.picture.value) != before[0] and bytes(app.brain.value) != before[1]
    app.reset_button.click()
    assert (bytes(app.picture.value), bytes(app.brain.value), app.state) == before


def test_one_event_draws_once(app, monkeypatch):
    calls = []
    monkeypatch.setattr(app, "update", lambda: calls.append(app.state))
    app.image.value = 3
    app.within.value = "V1"
    app.voxels.value = app.voxels.options[1][1]
    app.number.value = 2
    app.kind.value = "concept"
    app.concept.value = "words"
    app.k.value = 1.0
    assert len(calls) == 7
    assert calls[-1] == State(3, "concept", "words", 1.0)


def test_fresh_noise_is_new_at_every_event_and_fixed_comes_back(app):
    app.k.value = 0.0
    fixed, app.noise.value = bytes(app.picture.value), "fresh"
    seed, app.k.value = app.state.seed, 1.0
    app.k.value = 0.0
    assert app.state.seed == seed + 2 and app.state.fresh
    app.noise.value = "fixed"
    assert bytes(app.picture.value) == fixed


def test_list_number_and_area_agree(app, material):
    app.within.value = "V1"
    listed = [number for _, number in app.voxels.options]
    assert listed == app.explorer.ranking(0, "V1").tolist() and app.number.value == listed[0]
    assert app.voxels.value == listed[0] and app.voxels.options[0][0].startswith("V1, voxel")
    app.voxels.value = listed[2]
    assert app.state.which == listed[2]
    app.number.value = int(np.flatnonzero(material.areas["faces"])[0])
    assert app.voxels.value is None
    app.number.value = listed[1]
    assert app.voxels.value == listed[1]


def test_a_click_on_a_slice_chooses_a_voxel(app):
    app.kind.value = "area"
    x, y = app.slices.pixels_of(app.slices.best_view("V1"))[1]
    app.brain.clicked = [x, y, 1.0]
    assert app.state.kind == "voxel" and app.state.which == app.slices.best_view("V1")
    assert "chosen" in app.message.value
    app.brain.clicked = [1.0, 1.0, 2.0]
    assert "beside the slices" in app.message.value


def test_saving_writes_view_and_brain_under_a_telling_name(app, tmp_path):
    app.kind.value, app.area.value, app.k.value = "area", "faces", -1.5
    path = app.save()
    assert path.name == "image000_area-faces_-1.5SD_same-noise.png"
    saved = np.asarray(Image.open(path))
    assert len(saved) == composite.HEIGHT + app.slices.size[1]
    assert np.array_equal(saved[: composite.HEIGHT, : composite.WIDTH], shown(app))
    assert path.name in app.message.value and [*tmp_path.iterdir()] == [path]


class Odd(RuntimeError):
    """An error that nobody thought of."""


def fail(*_args, **_how):
    raise Odd("<no> idea")


CALLBACKS = {
    "image, its list": ("explorer.ranking", lambda app: setattr(app.image, "value", 2)),
    "listed": ("explorer.view", lambda app: setattr(app.voxels, "value", app.voxels.options[1][1])),
    "number": ("slices.draw", lambda app: setattr(app.number, "value", app.number.value ^ 1)),
    "slider": ("explorer.view", lambda app: setattr(app.k, "value", -3.0)),
    "click": ("slices.voxel_at", lambda app: setattr(app.brain, "clicked", [3.0, 40.0, 1.0])),
    "reset": ("explorer.default_state", lambda app: app.reset_button.click()),
    "save": ("", lambda app: app.save_button.click()),
}


@pytest.mark.parametrize("control", CALLBACKS)
def test_an_error_in_any_callback_is_said_and_the_next_event_works(control, app, monkeypatch):
    part, act = CALLBACKS[control]
    before = bytes(app.brain.value)
    with monkeypatch.context() as patch:
        patch.setattr("fmri_utils.explorer.app.stack", fail)  # what a view is saved by
        if part:
            owner, name = part.split(".")
            patch.setattr(getattr(app, owner), name, fail)
        act(app)
    said = "Odd: &lt;no&gt; idea"
    assert said in app.message.value and bytes(app.brain.value) == before
    app.reset_button.click()
    assert said not in app.message.value and bytes(app.brain.value) == before
    app.k.value = 1.25
    assert app.state == app._drawn and said not in app.message.value


def test_a_folder_that_cannot_be_written_is_named(explorer, tmp_path):
    (tmp_path / "taken").write_text("a file in the place of the folder")
    app = ExplorerApp(explorer, folder=tmp_path / "taken" / "views")
    app.save_button.click()
    assert "taken/views/image000" in app.message.value
    assert "could not be written: Not a directory" in app.message.value
    assert [*tmp_path.iterdir()] == [tmp_path / "taken"]


def test_what_is_saved_after_an_error_has_the_name_of_what_is_shown(app, monkeypatch):
    shown = app.state
    with monkeypatch.context() as patch:
        patch.setattr(app.explorer, "view", fail)
        app.k.value = -4.0
    assert app.state.k == -4 and f"_{shown.k:+g}SD_" in app.save().name
