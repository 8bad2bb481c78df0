"""The study of encoders: every cell runs, a killed study resumes, tables say what cells say."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from test_controls import subject as planted_subject

from fmri_utils.encoders import MapperSettings
from fmri_utils.project.artifacts import save_arrays
from fmri_utils.project.notebook_files import open_inputs, open_study
from fmri_utils.project.profiles import load_profile
from pipeline.studies import __main__ as studies
from pipeline.studies import encoder_cells as cells
from pipeline.studies import study_encoders

FEW = {"n_seeds": 2, "n_seeds_other": 1, "n_draws": 1, "n_resamples": 50}
STUDY = cells.StudySettings(subjects=(1, 2), n_voxels=(10, 9999), **FEW)
QUICK = {"n_alphas": 3, "n_folds": 3, "n_steps": 10, "batch_size": 20}
SETTINGS = MapperSettings(mind_reader_epochs=1, mlp_steps=4, mlp_hidden=8, **QUICK)


def write_subject(profile):
    """What notebooks 01 and 02 would write of a planted subject."""
    (betas, image, groups), pattern, truth, ids, _ = planted_subject(
        n_images=90, seed=profile.subject
    )
    rng = np.random.default_rng(profile.subject)
    tested = np.repeat(pattern, 3, axis=0) + 0.1 * rng.standard_normal((150, 80))
    is_test = np.arange(len(betas) + 150) >= len(betas)
    brain = {
        "betas": np.concatenate([betas, tested]).astype(np.float32),
        "nsd_id": np.concatenate([groups, np.repeat(ids, 3)]),
        "session": np.tile([1, 2], len(is_test) // 2),
        **{"is_train": ~is_test, "is_test": is_test, "mask": np.ones(80, bool)},
    }
    save_arrays(profile.derived / "betas.h5", brain, config={})
    images = np.concatenate([image[::3], truth])
    clip = {"nsd_id": np.arange(90), "image": images, "caption": np.roll(images, 1, axis=1)}
    save_arrays(profile.derived / "embeddings.h5", clip, config={})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with two planted subjects and tiny mappers."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fmri_utils.project.profiles.PROJECT_ROOT", root)
        patch.setattr(MapperSettings, "of", classmethod(lambda cls, config: SETTINGS))
        for number in STUDY.subjects:
            write_subject(load_profile("smoke", subject=number))
        yield root


@pytest.fixture(scope="module")
def study(project):
    """The whole study: its results."""
    study_encoders.run_study(load_profile("smoke"), STUDY)
    return open_study(load_profile("smoke"), "encoders")


def test_every_cell_runs_and_every_table_follows_from_the_cells(study):
    profiles = [load_profile("smoke", subject=n) for n in STUDY.subjects]
    opened = [open_inputs(profile, *study_encoders.READS) for profile in profiles]
    found = pd.concat([study_encoders.run_cells(files, STUDY) for files in opened])
    assert set(found["kind"]) == set(cells.KINDS)
    rows = {(r["mapper"], r["target"], r["readout"], r["score"]): r for r in study["mappers"]}
    row = rows["ridge", "image", "image", "brain_to_image top-1"]
    same = found.query("kind == 'mapper' and mapper == 'ridge' and target == 'image'")
    same = same.query("readout == 'image' and score == 'brain_to_image top-1'")
    expected = [np.mean(list(same[same["subject"] == n]["values"])) for n in (1, 2)]
    np.testing.assert_allclose(row["subjects"], expected)
    assert row["value"] == pytest.approx(np.mean(expected))
    assert row["low"] <= row["value"] <= row["high"] and row["chance"] == 0.02
    assert ("mlp", "image", "image, before the projector", "two-way") in rows
    assert ("ridge", "caption", "caption, re-standardised", "two-way") in rows
    assert ("ridge", "both", "both", "two-way") in rows
    assert rows["mean", "image", "image", "two-way"]["value"] == pytest.approx(0.5)
    mappers = "contrastive", "ridge"
    many = found.query("kind == 'mapper' and mapper == 'contrastive' and target == 'image'")
    many = many.query("readout == 'image' and score == 'brain_to_image top-1'")
    seeds = many.assign(mean=many["values"].map(np.mean)).groupby("subject")["mean"]
    both = [rows[name, "image", "image", "brain_to_image top-1"] for name in mappers]
    assert both[0]["seed_sd"] == pytest.approx(seeds.std().mean())
    gap = study["differences"][0]
    assert (gap["difference"], gap["score"]) == (" - ".join(mappers), "brain_to_image top-1")
    np.testing.assert_allclose(gap["subjects"], np.subtract(*(row["subjects"] for row in both)))
    assert gap["value"] == pytest.approx(np.mean(gap["subjects"]))
    assert len(study["differences"]) == 9 * 3
    centred = [rows[m, "image", "image, from the mean", "two-way"] for m in ("mean", "ridge")]
    assert centred[0]["value"] == pytest.approx(0.5) and centred[1]["value"] > 0.6
    left = {(r["mapper"], r["readout"]) for r in study["left_out"]}
    assert left == {(m, side) for m in cells.LINEAR for side in ("left_out", "control")}
    assert study["voxels"][0]["n_voxels"] == [10, 80]
    assert study["sessions"][0]["n_sessions"] == [1, 2]
    assert {row["mapper"] for row in study["shuffled"]} == set(cells.LINEAR)
    seconds = found.query("score == 'seconds'")["values"].sum()
    assert study["about"]["seconds"] == pytest.approx(seconds)
    manifest = json.loads((profiles[0].figures / "study_encoders.json.json").read_text())
    names = ("betas.h5", "embeddings.h5")
    assert set(manifest["inputs"]) == {f"subj0{n}/{name}" for n in (1, 2) for name in names}
    assert manifest["config"]["study"]["subjects"] == [1, 2]


def test_a_killed_study_computes_only_what_was_not_finished(study, monkeypatch):
    lost = cells.Cell("shuffled", "contrastive", "image", 1)
    parts = load_profile("smoke", subject=2).derived / "study"
    keys = {path.parent: json.loads(path.read_text()) for path in parts.glob("*/key.json")}
    name = "subject 2, shuffled contrastive image"
    [folder] = [folder for folder, key in keys.items() if key["study"] == name]
    (folder / "part-00001.h5").unlink()
    ran = []

    def spied(function):
        return lambda bench, cell: ran.append(cell) or function(bench, cell)

    for kind, function in cells.KINDS.items():
        monkeypatch.setitem(cells.KINDS, kind, spied(function))
    study_encoders.run_study(load_profile("smoke"), STUDY)
    assert ran == [lost]
    assert open_study(load_profile("smoke"), "encoders")["shuffled"] == study["shuffled"]


@pytest.mark.parametrize("change", ["n_draws", "data"])
def test_cells_of_other_settings_or_data_are_computed_again(change, project, monkeypatch):
    ran = []
    made = {"image|two-way": np.ones(1)}
    only = cells.Cell("shuffled", "ridge", "image", 0)
    monkeypatch.setattr(study_encoders, "all_cells", lambda study: [only])
    monkeypatch.setitem(cells.KINDS, "shuffled", lambda *_: ran.append(1) or dict(made))
    files = open_inputs(load_profile("smoke"), *study_encoders.READS)
    files.hashes["betas.h5"] = change  # no cell of another test
    for _ in range(2):
        study_encoders.run_cells(files, STUDY)
    assert len(ran) == 1
    if change == "data":
        files.hashes["betas.h5"] = "other"
    study_encoders.run_cells(files, dataclasses.replace(STUDY, n_draws=1 + (change == "n_draws")))
    assert len(ran) == 2


@pytest.fixture
def started(monkeypatch):
    """Calls of the engine, which are not made: requests and jobs; then of the last tables."""
    calls = []

    def run(requests, resources, *, jobs):
        calls.append((requests, jobs))
        return []

    monkeypatch.setattr(studies, "run", run)
    monkeypatch.setattr(study_encoders, "run_study", lambda *given: calls.append(given))
    return calls


@pytest.mark.parametrize(
    "bad",
    [
        *("SUBJECTS=9", "SEEDS=0", "SEEDS=two", "SEEDS=1,2"),
        *("SEEDZ=1", "SUBJECT=9", "encoder.x=1", "encoder"),
    ],
)
def test_no_part_begins_before_all_settings_are_right(started, capsys, bad):
    assert studies.main(["PROFILE=smoke", "SUBJECTS=1,2", bad]) == 2
    assert not started
    assert "xpected" in (said := capsys.readouterr().err) or "Valid" in said


def test_parts_are_jobs_side_by_side_after_the_notebooks_that_they_read(started):
    settings = ["PROFILE=smoke", "SUBJECTS=1,2", "SEEDS=2", "SEED=1"]
    for part, n_subjects in (("selfsupervised", 1), ("encoders", 2)):
        started.clear()
        assert studies.main([part, *settings]) == 0
        requests, [job] = started[0]
        folders = ["smoke/subj01-seed1", "smoke/subj02-seed1"][:n_subjects]
        assert [request.folder for request in requests] == list(job.runs) == folders
        assert [step.number for step in requests[0].steps] == ["01", "02"]
    started.clear()
    assert studies.main(["PROFILE=smoke", "SUBJECTS=3,4", "SEEDS=2", "SUBJECT=4"]) == 0
    (requests, jobs), (profile, sizes) = started
    assert [job.name for job in jobs] == [f"study-{part}" for part in studies.PARTS]
    runs = {request.folder: {step.number for step in request.steps} for request in requests}
    assert runs == {"smoke/subj03": {"01", "02"}, "smoke/subj04": {"01", "02", "03"}}
    assert [job.runs for job in jobs[1:]] == [("smoke/subj04",)] * (len(studies.PARTS) - 1)
    assert (profile.subject, sizes.subjects, sizes.n_seeds) == (4, (3, 4), 2)


def test_a_study_of_real_data_reaches_its_last_part(started, capsys):
    assert studies.main(["PROFILE=nsd"]) == 0
    parts = [job.name for job in started[0][1]]
    assert parts == ["study-encoders", "study-generator", "study-selfsupervised"]
    assert "left out: perturbation, simulator" in capsys.readouterr().out
    for part in studies.SIMULATED:
        assert studies.main([part, "PROFILE=nsd"]) == 2
        assert "has real data" in capsys.readouterr().err
