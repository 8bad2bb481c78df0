"""Figures that come with the repository stay as they are where only the rounding is another's."""

import json
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fmri_utils import plots
from fmri_utils.project import artifacts
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.provenance import same_numbers, settled_path, write_provenance
from pipeline import runner, verify

ABOUT = {"notebook": "08_figures", "configuration": "0123", "seed": "0"}
CURVE = np.random.default_rng(0).standard_normal(40).cumsum()
IMAGE = np.random.default_rng(1).random((30, 30))


def draw(folder, scale=1.0, title="0.391", about=ABOUT):
    """A figure of a curve, a map and a number, still and as an animation; returns the files."""

    def figure():
        fig, axes = plt.subplots(1, 2, figsize=(6, 3))
        axes[0].plot(CURVE * scale)
        axes[1].imshow(IMAGE * scale, cmap="RdBu_r", vmin=0, vmax=1)
        axes[1].set_title(title)
        return fig

    files = plots.save_figure(figure(), folder, "fig", about=about)
    return [*files, plots.save_animation([figure()], folder, "fig", about=about)]


def describe(folder, files):
    config = {"seed": 0}
    write_provenance(folder, files, made_by="08_figures", config=config, inputs={"x.h5": "1"})


def bytes_of(files):
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def drawn(tmp_path):
    files = draw(tmp_path)
    describe(tmp_path, files)
    return tmp_path, bytes_of(files)


@pytest.mark.parametrize("scale", [1 + 1e-6, 1 - 1e-5])
def test_what_differs_by_rounding_stays(drawn, scale):
    folder, before = drawn
    fresh = bytes_of(draw(folder / "elsewhere", scale))
    assert any(fresh[name] != before[name] for name in fresh)
    assert bytes_of(draw(folder, scale)) == before


@pytest.mark.parametrize(
    "change",
    [{"scale": 1.02}, {"title": "0.392"}, {"about": ABOUT | {"seed": "1"}}],
    ids=["a shape", "a digit", "settings"],
)
def test_what_shows_something_else_is_replaced(drawn, change):
    folder, before = drawn
    after = bytes_of(draw(folder, **change))
    assert all(after[name] != before[name] for name in before)
    assert after == bytes_of(draw(folder / "elsewhere", **change))


def test_what_was_changed_by_hand_or_removed_is_made_again(drawn):
    folder, before = drawn
    for name in before:
        path = folder / name
        path.write_bytes(before[name] + b"\n")
        assert bytes_of(draw(folder)) == before
        path.unlink()
        assert bytes_of(draw(folder)) == before
    (folder / "provenance.json").write_text("{")  # nothing says what the files were
    assert bytes_of(draw(folder, 1 + 1e-5)) == bytes_of(draw(folder / "elsewhere", 1 + 1e-5))


def write(folder, record, text):
    for name, content in {"results.json": json.dumps(record), "results.md": text}.items():
        with settled_path(folder / name) as tmp:
            tmp.write_text(content)
    return bytes_of([folder / "results.json", folder / "results.md"])


RECORD = {"seed": 0, "versions": {"python": "3.11.7"}, "rows": [{"value": 0.47, "n_images": 100}]}
PAGE = "| top-1 | 0.470 |\n\npython 3.11.7"


@pytest.mark.parametrize(
    ("changes", "page", "stays"),
    [
        ({"rows": [{"value": 0.47 * (1 + 2e-6), "n_images": 100}]}, PAGE, True),
        ({"versions": {"python": "3.13.1"}}, PAGE.replace("3.11.7", "3.13.1"), True),
        ({"rows": [{"value": 0.48, "n_images": 100}]}, PAGE.replace("0.470", "0.480"), False),
        ({"rows": [{"value": 0.47, "n_images": 101}]}, PAGE, False),
        ({"rows": [{"value": None, "n_images": 100}]}, PAGE, False),
        ({"seed": 1}, PAGE, False),
    ],
)
def test_results_stay_but_for_other_numbers(tmp_path, changes, page, stays):
    before = write(tmp_path, RECORD, PAGE)
    describe(tmp_path, [tmp_path / name for name in before])
    assert (write(tmp_path, RECORD | changes, page) == before) == stays
    assert json.loads((tmp_path / "results.json").read_text()) == (
        RECORD if stays else RECORD | changes
    )
    assert (tmp_path / "results.md").read_text() == (PAGE if stays else page)


def test_a_page_with_other_words_is_replaced(tmp_path):
    before = write(tmp_path, RECORD, PAGE)
    describe(tmp_path, [tmp_path / name for name in before])
    after = write(tmp_path, RECORD, PAGE + " on Linux")
    assert after["results.json"] == before["results.json"]
    assert after["results.md"].decode() == PAGE + " on Linux"


def test_numbers_are_the_same_but_for_rounding():
    assert same_numbers([1.0, {"a": 1e-17}], [1.00005, {"a": 0.0}])
    for other in ([1.001, {"a": 0.0}], [1.0, {"b": 0.0}], [1.0], [True, {"a": 0.0}], {"a": 1.0}):
        assert not same_numbers([1.0, {"a": 0.0}], other)


# --- the smoke run, as another machine would do it again -----------------------------------------


@pytest.fixture
def another_machine(smoke, tmp_path):
    """A function that changes every derived float, runs notebook 08 and gives what it wrote."""
    profile, arguments, _ = smoke
    folders = {folder: tmp_path / str(i) for i, folder in enumerate(folders_of(profile))}
    for folder, kept in folders.items():
        shutil.copytree(folder, kept)

    def again(names, change):
        for path in artifacts.own_files(profile.derived, "*.h5"):
            if path.stem in names:
                manifest = json.loads(artifacts.manifest_path(path).read_text())
                arrays = artifacts.load_arrays(path, remedy="")
                about = {name: manifest[name] for name in ("config", "inputs")}
                artifacts.save_arrays(path, dict(changed(arrays, change)), **about)
        runner.stamp_path(profile, NOTEBOOK).unlink()
        written = runner.execute(NOTEBOOK, profile.runs / "08_figures.ipynb", parameters(arguments))
        return {path.name: path.read_bytes() for path in written if path.suffix != ".ipynb"}

    yield again, profile
    for folder, kept in folders.items():
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)


NOTEBOOK = PROJECT_ROOT / "notebooks" / "08_figures.py"


def folders_of(profile):
    return profile.derived, profile.figures, profile.runs


def parameters(arguments):
    return runner.parse_request(arguments).parameters


def changed(arrays, change, before=""):
    """All arrays by their names in the file, floats changed."""
    for name, value in arrays.items():
        if isinstance(value, dict):
            yield from changed(value, change, f"{before}{name}/")
        else:
            yield f"{before}{name}", change(value) if value.dtype.kind == "f" else value


def test_another_machine_leaves_the_figures_as_they_are(another_machine):
    again, profile = another_machine
    before = {path.name: path.read_bytes() for path in artifacts.own_files(profile.figures, "*")}
    rng = np.random.default_rng(0)
    every = [path.stem for path in artifacts.own_files(profile.derived, "*.h5")]

    def rounding(x):
        return (x * (1 + 1e-6 * rng.standard_normal(x.shape))).astype(x.dtype)

    after = again(every, rounding)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {"inputs.json"}
    found = verify.verify().findings
    own = profile.figures.relative_to(PROJECT_ROOT).as_posix()
    assert not [name for _, name in found if name.startswith(own)]
    inputs = json.loads(after["inputs.json"])["inputs"]
    digest = artifacts.sha256_file(profile.derived / "effects.h5")
    assert (
        inputs["effects.h5"] == digest != json.loads(before["inputs.json"])["inputs"]["effects.h5"]
    )


def test_other_results_replace_the_figures_that_show_them(another_machine):
    again, profile = another_machine
    before = {path.name: path.read_bytes() for path in artifacts.own_files(profile.figures, "*")}
    after = again(["areas"], lambda x: x * 0.8)
    differing = {name for name in before if before[name] != after[name]}
    figure = {f"fig6_visual_areas.{suffix}" for suffix in ("png", "pdf")}
    assert differing == {*figure, "provenance.json", "inputs.json"}
