"""Figures that come with the repository stay as they are where only the rounding is another's."""

import itertools
import json
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fmri_utils import plots
from fmri_utils.project import artifacts, provenance
from fmri_utils.project.profiles import PROJECT_ROOT
from pipeline import verify
from pipeline.execute import execute
from pipeline.request import parse_request

ABOUT = {"notebook": "08_figures", "configuration": "0123", "seed": "0"}
CURVE = np.random.default_rng(0).standard_normal(40).cumsum()
IMAGE = np.random.default_rng(1).random((30, 30))
RECORD = {"seed": 0, "versions": {"python": "3.11.7"}, "rows": [{"value": 0.47, "n_images": 100}]}
PAGE = "| top-1 | 0.470 |\n\npython 3.11.7"


def draw(folder, scale=1.0, shade=0.0, title="0.391", about=ABOUT, record=RECORD, page=PAGE):
    """A figure of a curve, a map and a number, still and as an animation, and results."""

    def figure():
        fig, axes = plt.subplots(1, 2, figsize=(6, 3))
        axes[0].plot(CURVE * scale)
        axes[1].imshow(IMAGE * scale + shade, cmap="RdBu_r", vmin=0, vmax=1)
        axes[1].set_title(title)
        return fig

    files = plots.save_figure(figure(), folder, "fig", about=about)
    files.append(plots.save_animation([figure()], folder, "fig", about=about))
    for name, text in {"results.json": json.dumps(record), "results.md": page}.items():
        (folder / name).write_text(text)
        files.append(folder / name)
    return files


@pytest.fixture
def again(tmp_path):
    """A function that draws and publishes; with ``code`` as another version of the sources."""

    def again(code="this", weights=(), **changes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(provenance, "code_digest", lambda: code)
            files = provenance.publish(
                draw(tmp_path / "drawn", **changes), tmp_path / "figures", made_by="08_figures",
                config={"seed": 0}, weights=dict(weights), inputs={"x.h5": "1"},
            )  # fmt: skip
        assert sorted(files) == sorted((tmp_path / "figures").iterdir())
        return {path.name: path.read_bytes() for path in files}

    return again


def drawn(tmp_path):
    """What was drawn last, whether it was published or not."""
    return {path.name: path.read_bytes() for path in (tmp_path / "drawn").iterdir()}


def replaced(before, after):
    return {name for name in before if before[name] != after[name]}


FIGURES = {"fig.png", "fig.pdf", "fig.gif"}
RESULTS = {"results.json", "results.md"}


@pytest.mark.parametrize("scale", [1 + 1e-6, 1 - 1e-5])
def test_what_differs_by_rounding_stays_whatever_the_code(again, tmp_path, scale):
    before = again()
    after = again("other", scale=scale)
    assert replaced(drawn(tmp_path), before)
    assert not replaced(before, after) - {"provenance.json"}


@pytest.mark.parametrize("change", [{"scale": 1.02}, {"shade": 0.02}, {"title": "0.392"}])
def test_figures_that_show_something_else_are_replaced_if_the_code_is_another(
    again, tmp_path, change
):
    before = again()
    assert not replaced(before, again("this", **change))  # a training on another processor
    after = again("other", **change)
    assert replaced(before, after) == FIGURES | {"provenance.json"}
    assert not replaced(drawn(tmp_path), after)


def test_other_settings_or_weights_or_scores_are_no_rounding(again):
    before = again()
    other = {"weights": {"lafite.safetensors": "2"}, "scale": 1.02}
    assert replaced(before, again(**other)) == FIGURES | {"provenance.json"}
    before = again()
    record = RECORD | {"rows": [{"value": 0.48, "n_images": 100}]}
    after = again(scale=1.02, record=record, page=PAGE.replace("0.470", "0.480"))
    assert replaced(before, after) == FIGURES | RESULTS | {"provenance.json"}
    before = again()
    after = again(about=ABOUT | {"seed": "1"})
    assert replaced(before, after) >= FIGURES


def test_what_was_changed_by_hand_or_removed_is_made_again(again, tmp_path):
    before = again()
    for name in FIGURES | RESULTS:
        path = tmp_path / "figures" / name
        path.write_bytes(before[name] + b"\n")
        assert not replaced(before, again())
        path.unlink()
        assert not replaced(before, again())
    (tmp_path / "figures" / "provenance.json").write_text("{")  # nothing says what the files were
    after = again(scale=1 + 1e-5)
    assert not replaced(drawn(tmp_path), after) and replaced(before, after)


@pytest.mark.parametrize(
    ("changes", "page", "gone"),
    [
        ({"rows": [{"value": 0.47 * (1 + 2e-6), "n_images": 100}]}, PAGE, set()),
        ({"versions": {"python": "3.13.1"}}, PAGE.replace("3.11.7", "3.13.1"), set()),
        ({}, PAGE + " on Linux", {"results.md"}),
        ({"rows": [{"value": 0.48, "n_images": 100}]}, PAGE.replace("0.470", "0.480"), RESULTS),
        ({"rows": [{"value": 0.47, "n_images": 101}]}, PAGE, {"results.json"}),
        ({"seed": 1}, PAGE, {"results.json"}),
    ],
)
def test_results_stay_but_for_other_numbers_or_words(again, changes, page, gone):
    before = again()
    after = again(record=RECORD | changes, page=page)
    assert replaced(before, after) - {"provenance.json"} == gone
    if gone:
        assert after["results.md"].decode() == page
    if "results.json" in gone:
        assert json.loads(after["results.json"]) == RECORD | changes


def test_the_code_is_its_sources_without_comments(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PROJECT_ROOT", tmp_path)
    digest = provenance.code_digest.__wrapped__
    source, notebook = tmp_path / "fmri_utils" / "a.py", tmp_path / "notebooks" / "01_x.py"
    found = []
    for path, text in (
        *((source, "x = 1\n"), (source, "# why\nx = 1\n"), (source, "x = 2\n")),
        *((notebook, "# %%\ny = 1\n"), (notebook, "# text\n# %%\ny = 1\n")),
        (tmp_path / "constraints.txt", "torch==2\n"),
        (tmp_path / "README.md", "text"),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        found.append(digest())
    assert [a == b for a, b in itertools.pairwise(found)] == [True, False, False, True, False, True]


def test_numbers_are_the_same_but_for_rounding():
    assert provenance.same_numbers([1.0, {"a": 1e-17}], [1.00005, {"a": 0.0}])
    for other in ([1.001, {"a": 0.0}], [1.0, {"b": 0.0}], [1.0], [True, {"a": 0.0}], {"a": 1.0}):
        assert not provenance.same_numbers([1.0, {"a": 0.0}], other)


# --- the smoke run, as another machine would do it again -----------------------------------------


def changed(arrays, rng, before=""):
    """All arrays by their names in the file, floats changed by their rounding."""
    for name, value in arrays.items():
        if isinstance(value, dict):
            yield from changed(value, rng, f"{before}{name}/")
            continue
        value = np.asarray(value)
        if value.dtype.kind == "f":
            value = (value * (1 + 1e-6 * rng.standard_normal(value.shape))).astype(value.dtype)
        yield f"{before}{name}", value


@pytest.fixture
def disturbed(smoke, tmp_path):
    """The smoke run with other roundings in every derived file, as if other code had drawn it."""
    profile, arguments, _ = smoke
    folders = profile.derived, profile.figures, profile.runs
    folders = {folder: tmp_path / str(i) for i, folder in enumerate(folders)}
    for folder, kept in folders.items():
        shutil.copytree(folder, kept)
    try:
        path, rng = profile.figures / "provenance.json", np.random.default_rng(0)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"code": "other"}))
        for path in artifacts.own_files(profile.derived, "*.h5"):
            manifest = json.loads(artifacts.manifest_path(path).read_text())
            arrays = dict(changed(artifacts.load_arrays(path, remedy=""), rng))
            about = {name: manifest[name] for name in ("config", "inputs")}
            artifacts.save_arrays(path, arrays, **about)
        (profile.runs / "08_figures-record.json").unlink()
        yield profile, parse_request(arguments).parameters
    finally:
        for folder, kept in folders.items():
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)


def test_another_machine_and_other_code_leave_figures_that_show_the_same(disturbed):
    profile, parameters = disturbed
    before = {path.name: path.read_bytes() for path in artifacts.own_files(profile.figures, "*")}
    source = PROJECT_ROOT / "notebooks" / "08_figures.py"
    written = execute(source, profile.runs / "08_figures.ipynb", parameters)
    paths = [PROJECT_ROOT / name for name in written if not name.endswith(".ipynb")]
    after = {path.name: path.read_bytes() for path in paths}
    assert after.keys() == before.keys()
    assert replaced(before, after) == {"provenance.json", "inputs.json"}
    found = verify.Report(verify.PROJECT_ROOT).findings
    own = profile.figures.relative_to(PROJECT_ROOT).as_posix()
    assert not [name for _, name in found if name.startswith(own)]
    one, two = (json.loads(files["inputs.json"])["inputs"] for files in (before, after))
    assert one["effects.h5"] != two["effects.h5"]
    assert two["effects.h5"] == artifacts.sha256_file(profile.derived / "effects.h5")
