"""Nothing half-written, nothing damaged is ever read as whole."""

import json

import numpy as np
import pytest
from malformed import flipped

from fmri_utils.project.artifacts import (
    LOCK,
    OUTPUTS_MIME,
    atomic_path,
    list_outputs,
    load_arrays,
    manifest_path,
    save_arrays,
    sha256_json,
)  # fmt: skip
from fmri_utils.project.errors import ArtifactError

ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "names": ["V1", "hV4", "Γ"]}
ARRAYS |= {"mask": np.array([True, False]), "run/spread": np.ones(3)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.h5"
    save_arrays(path, ARRAYS, config={"seed": 0}, inputs={"b.h5": "123"})
    return path


def test_arrays_come_back_as_they_were(file):
    back = load_arrays(file, remedy="")
    np.testing.assert_array_equal(back["x"], ARRAYS["x"])
    assert back["names"].tolist() == ARRAYS["names"]
    assert back["mask"].dtype == bool
    np.testing.assert_array_equal(back["run"]["spread"], np.ones(3))
    manifest = json.loads(manifest_path(file).read_text())
    assert manifest["config"] == {"seed": 0}
    assert manifest["inputs"] == {"b.h5": "123"}
    assert "numpy" in manifest["versions"]


def test_the_same_arrays_give_the_same_bytes(file, tmp_path):
    other = tmp_path / "other.h5"
    save_arrays(other, ARRAYS, config={})
    assert other.read_bytes() == file.read_bytes()


def test_a_failure_leaves_neither_file_nor_rest(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    with pytest.raises(RuntimeError), atomic_path(path) as tmp:  # noqa: PT012
        tmp.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(ArtifactError, match="nothing was written"), atomic_path(path):
        pass
    assert path.read_text() == "old"


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "flipped": lambda file: file.write_bytes(flipped(file.read_bytes(), 0.5, 1)),
    "deleted": lambda file: file.unlink(),
    "no manifest": lambda file: manifest_path(file).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_before_anything_is_read(file, damage):
    DAMAGES[damage](file)
    with pytest.raises(ArtifactError, match=r"a\.h5 .*Run `make 01`"):
        load_arrays(file, remedy="Run `make 01`.")


def test_a_missing_array_is_named(file):
    with pytest.raises(ArtifactError, match=r"lacks \['y'\]; it holds \['mask', 'names'"):
        load_arrays(file, remedy="", names=("y",))


def test_outputs_must_exist_and_bring_their_manifests(file, tmp_path):
    outputs = list_outputs([file], root=tmp_path, next_notebook="02")
    bundle = outputs._repr_mimebundle_()
    assert bundle[OUTPUTS_MIME]["written"] == ["a.h5", "a.h5.json"]
    assert "Next: 02" in bundle["text/plain"]
    with pytest.raises(ArtifactError, match="does not exist"):
        list_outputs([tmp_path / "none"], root=tmp_path, next_notebook="")


def test_outputs_in_a_linked_folder_have_the_name_that_the_project_gives_them(tmp_path):
    root, disk = tmp_path / "project", tmp_path / "disk"
    root.mkdir(), disk.mkdir()
    (root / "derived").symlink_to(disk)
    save_arrays(root / "derived" / "a.h5", ARRAYS, config={})
    outputs = list_outputs([root / "derived" / "a.h5"], root=root, next_notebook="")
    assert outputs.names == ["derived/a.h5", "derived/a.h5.json"]
    with pytest.raises(ArtifactError, match=r"lies outside .*project\. Expected: .*linked into it"):
        list_outputs([disk / "a.h5"], root=root, next_notebook="")


def test_hash_ignores_key_order():
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    path = tmp_path / "x.txt"
    left = tmp_path / ".part-x.txt-killed"
    left.mkdir()
    for name in ("by-the-way.txt", LOCK):
        (left / name).write_text("half")
    with atomic_path(path) as first:
        first.write_text("first")
        with atomic_path(path) as second:
            second.write_text("second")
        assert not left.exists()
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
