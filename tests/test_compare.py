"""Two runs side by side: what another machine may change, and what it may not."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refused

from fmri_utils.project.artifacts import save_arrays
from fmri_utils.project.errors import ArtifactError
from pipeline import compare
from pipeline.compare import compare_runs, report

NUMBERS = dict(zip(compare.NUMBERS, (0.5, 0.4, 0.6, 0.025, 0.025, 1.0), strict=True))
ROW = {"table": "embeddings", "metric": "brain_to_image top-1 of 40", "method": "ridge"}
ROW |= {"n_images": 40, **NUMBERS, "not_available": None}
RECORD = {"profile": "demo", "subject": 1, "seed": 0, "versions": {"numpy": "2.4"}}
RECORD["rows"] = [
    ROW,
    {**ROW, "metric": "PixCorr", "value": 0.31234, "low": 0.21234, "high": 0.4},
    {**ROW, "metric": "SwAV", **dict.fromkeys(compare.NUMBERS), "not_available": "no weights"},
]


@pytest.fixture
def runs(tmp_path):
    """Two folders of the same run; ``write`` changes the second."""
    arrays = {"x": np.linspace(0, 1, 50), "names": ["a", "b"], "group/y": np.arange(3)}
    for name in "ab":
        save_arrays(tmp_path / name / "effects.h5", arrays, config={})
        (tmp_path / name / "results.json").write_text(json.dumps(RECORD))

    def write(row=None, **changes):
        record = copy.deepcopy(RECORD)
        if row is not None:
            record["rows"][row].update(changes)
        else:
            record.update(changes)
        (tmp_path / "b" / "results.json").write_text(json.dumps(record))
        return compared(tmp_path)

    return tmp_path, write


def compared(folder):
    """Differing settings, all numbers, and those that do not agree."""
    settings, numbers = compare_runs(folder / "a", folder / "b")
    return SimpleNamespace(settings=settings, numbers=numbers, beyond=numbers[~numbers["agrees"]])


def test_a_run_agrees_with_itself(runs):
    comparison = runs[1]()
    assert len(comparison.beyond) == 0 and len(comparison.settings) == 0
    assert len(comparison.numbers) == 12 + 3
    assert "15 of 15 numbers agree, 0 do not" in report(comparison.settings, comparison.numbers)


@pytest.mark.parametrize(
    ("row", "value", "agrees"),
    [
        (0, 0.5 + 2 / 40, True),  # two images of 40 fell the other way
        (0, 0.5 + 3 / 40, False),
        (1, 0.31234 + 1e-4, True),
        (1, 0.31234 + 5e-3, False),
        (2, 0.3, False),  # there in one of them only
        (1, None, False),
    ],
)
def test_what_differs_beyond_tolerance_is_named(runs, row, value, agrees):
    beyond = runs[1](row, value=value).beyond
    assert (len(beyond) == 0) == agrees
    if not agrees:
        label = f"embeddings: {RECORD['rows'][row]['metric']}: ridge, value"
        assert beyond["where"].tolist() == [label]


def test_rows_settings_and_versions_that_only_one_has(runs):
    comparison = runs[1](rows=RECORD["rows"][:1], seed=3, versions={"numpy": "2.5", "torch": "2"})
    assert set(comparison.beyond["b"]) == {"not there"}
    assert all(": PixCorr: " in where for where in comparison.beyond["where"])
    assert comparison.settings.loc["seed"].tolist() == [0, 3]
    assert set(comparison.settings.index) == {"seed", "version of numpy", "version of torch"}


def test_arrays_are_compared_by_their_spread_and_never_by_their_bytes(runs):
    folder, _ = runs
    x, y = np.linspace(0, 1, 50), np.arange(3)
    for shift, agrees in ((1e-4, True), (0.1, False)):
        arrays = {"x": x + shift, "names": ["a", "b"], "group/y": y}
        save_arrays(folder / "b" / "effects.h5", arrays, config={"other": 1})
        beyond = compared(folder).beyond
        assert beyond["where"].tolist() == ([] if agrees else ["effects.h5: x"])
    arrays = {"x": np.where(x > 0.5, np.nan, x), "names": ["a", "c"], "z": y}
    save_arrays(folder / "b" / "effects.h5", arrays, config={})
    beyond = set(compared(folder).beyond["where"])
    assert beyond == {f"effects.h5: {name}" for name in ("x", "names", "group/y", "z")}


def test_ids_and_masks_must_be_equal_and_pictures_need_not(runs, monkeypatch):
    folder, _ = runs
    ids, mask = np.arange(70_000), np.arange(50) % 2 == 0
    large = np.array([2**60, 0])
    pictures = np.array([0, 255] * 50, np.uint8)
    arrays = {"ids": ids, "large": large, "mask": mask, "pictures": pictures}
    save_arrays(folder / "a" / "effects.h5", arrays, config={})
    save_arrays(folder / "b" / "effects.h5", arrays, config={})
    assert not len(compared(folder).beyond)
    other = {"ids": np.where(ids == 7, 8, ids), "large": large + [1, 0]}
    other |= {"mask": mask, "pictures": np.maximum(pictures, np.uint8(1))}
    save_arrays(folder / "b" / "effects.h5", other, config={})
    beyond = compared(folder).beyond
    assert beyond["where"].tolist() == ["effects.h5: ids", "effects.h5: large"]
    assert (beyond["allowed"] == 0).all()
    save_arrays(folder / "b" / "effects.h5", arrays | {"mask": ~mask}, config={})
    monkeypatch.setattr(compare, "ARRAYS", 10)
    beyond = compared(folder).beyond
    assert beyond["where"].tolist() == ["effects.h5: mask"]


def test_the_command(runs, capsys):
    folder, write = runs
    for name in ("._effects.h5", "._results.json", ".DS_Store"):  # macOS leaves them
        (folder / "a" / name).write_bytes(b"\0")
    (folder / "a" / "x.h5").mkdir()
    assert compare.main([str(folder / "a"), str(folder / "b")]) == 0
    write(1, value=0.9)
    assert compare.main([str(folder / "a"), str(folder / "b"), "--all"]) == 1
    assert "All numbers:" in capsys.readouterr().out
    assert compare.main([str(folder / "a")]) == 2
    assert compare.main([str(folder / "a"), str(folder)]) == 2
    assert "holds no results.json and no .h5 file" in capsys.readouterr().err


def test_runs_without_anything_in_common_are_refused(runs):
    folder = runs[0]
    (folder / "a" / "effects.h5").unlink()
    (folder / "b" / "results.json").unlink()
    refused("nothing that both have", compare_runs, folder / "a", folder / "b", error=ArtifactError)
    refused("make all", compare_runs, Path("nowhere"), folder / "b", error=ArtifactError)
