"""Files between notebooks: opened by name, read when asked for, saved with where they come from."""

import json

import numpy as np
import pytest
from refusals import refused

from fmri_utils.project import notebook_files
from fmri_utils.project.artifacts import check_manifest, sha256_file
from fmri_utils.project.errors import ArtifactError
from fmri_utils.project.profiles import load_profile


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setattr("fmri_utils.project.profiles.PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(notebook_files, "PROJECT_ROOT", tmp_path)
    return load_profile("smoke")


@pytest.fixture
def written(cfg):
    files = notebook_files.open_inputs(cfg)
    files.save("betas", {"betas": np.arange(6).reshape(2, 3), "group/x": np.ones(2)})
    files.save("encoder_scores", {"n_images": 2})
    return cfg


def test_what_is_saved_is_opened_by_name(written):
    files = notebook_files.open_inputs(written, "betas", "encoder_scores.json")
    brain, scores = files.values()
    np.testing.assert_array_equal(brain["betas"], [[0, 1, 2], [3, 4, 5]])
    assert brain["betas"] is brain["betas"]  # read once
    assert list(brain) == ["betas", "group"] and brain["group"]["x"].tolist() == [1, 1]
    assert scores == {"n_images": 2}


def test_results_name_settings_and_inputs(written):
    files = notebook_files.open_inputs(written, "betas", "encoder_scores")
    files.save("joint", {"x": np.zeros(2)})
    manifest = check_manifest(written.derived / "joint.h5", remedy="")
    read = ("betas.h5", "encoder_scores.json")
    assert manifest["inputs"] == {name: sha256_file(written.derived / name) for name in read}
    assert manifest["config"] == json.loads(json.dumps(written.as_dict()))
    text = files.finish("03")._repr_mimebundle_()["text/plain"]
    names = [line.strip() for line in text.splitlines()[1:3]]
    assert names == [f"data/derived/smoke/subj01/joint.h5{end}" for end in ("", ".json")]


def test_what_needs_a_writer_of_its_own(cfg):
    files = notebook_files.open_inputs(cfg)
    files.save("ridge", b"weights", lambda value, path: path.write_bytes(value))
    assert notebook_files.open_inputs(cfg, "ridge")["ridge"].read_bytes() == b"weights"


def test_a_missing_file_is_named_with_the_notebook_that_writes_it(written):
    with pytest.raises(ArtifactError, match=r"effects\.h5.*Run `make 05`"):
        notebook_files.open_inputs(written, "betas", "effects")
    with pytest.raises(ArtifactError, match=r"no notebook writes 'beta'\. Expected: one of betas"):
        notebook_files.open_inputs(written, "beta")


def test_an_array_that_is_lacking_is_named(written):
    brain = notebook_files.open_inputs(written, "betas")["betas"]
    with pytest.raises(ArtifactError, match=r"betas\.h5 lacks 'mask'; it holds .*Run `make 01`"):
        brain["mask"]
    assert brain.get("mask") is None and len(brain.get("betas")) == 2


def test_a_file_written_anew_is_not_mixed_with_the_old_one(written):
    brain = notebook_files.open_inputs(written, "betas")["betas"]
    assert len(brain["betas"]) == 2
    others = {"betas": np.zeros(3), "group/x": np.zeros(3)}
    notebook_files.open_inputs(written).save("betas", others)
    with pytest.raises(ArtifactError, match=r"has changed since it was opened"):
        brain["group"]
    (written.derived / "betas.h5").unlink()
    with pytest.raises(ArtifactError, match=r"betas\.h5 cannot be read"):
        brain["group"]


def test_a_study_that_was_not_run_is_empty(written):
    assert notebook_files.open_study(written, "encoders") == {}
    path = written.figures / "study_encoders.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    refused("manifest", notebook_files.open_study, written, "encoders", error=ArtifactError)


def test_the_generator_counts_as_an_input(cfg):
    with pytest.raises(ArtifactError, match=r"generator's weights.*lafite\.weights="):
        notebook_files.open_inputs(cfg, "generator")
