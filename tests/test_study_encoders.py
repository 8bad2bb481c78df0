"""The study of encoders: every cell runs, a killed study resumes, tables say what cells say."""

import dataclasses
import json

import numpy as np
import pytest
from test_controls import subject as planted_subject
from test_simulation_files import ONE

from fmri_utils.encoders import MapperSettings
from fmri_utils.project.profiles import load_profile
from pipeline.studies import __main__ as studies
from pipeline.studies.encoders import cells, subjects
from pipeline.studies.encoders import study as command
from pipeline.studies.encoders.settings import StudySettings
from pipeline.studies.encoders.subjects import Subject
from pipeline.studies.encoders.summary import Tables, summarise
from simulated_nsd.subject import simulate_subject

STUDY = StudySettings(
    subjects=(1, 2),
    n_seeds=2,
    n_seeds_other=1,
    n_clusters=2,
    n_voxels=(10, 9999),
    n_draws=1,
    n_classes=(3,),
    n_dims=(1, 5),
    n_resamples=50,
)
SETTINGS = MapperSettings(
    n_alphas=3,
    n_folds=3,
    n_steps=10,
    batch_size=20,
    mind_reader_epochs=1,
    mlp_steps=4,
    mlp_hidden=8,
)


def small_subject(number):
    (betas, image, groups), pattern, truth, ids, _ = planted_subject(n_images=90, seed=number)
    rng = np.random.default_rng(number)
    test_betas = np.repeat(pattern, 3, axis=0) + 0.1 * rng.standard_normal((150, 80))
    captions = np.roll(image, 1, axis=1)
    return Subject(
        betas=betas.astype(np.float32),
        groups=groups,
        session=np.tile([1, 2], len(groups) // 2),
        targets={"image": image, "caption": captions},
        test_betas=test_betas,
        test_groups=np.repeat(ids, 3),
        pattern=pattern,
        test_ids=ids,
        truth={"image": truth, "caption": np.roll(truth, 1, axis=1)},
        noiseless=(betas.astype(np.float32), pattern) if number == 1 else None,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """All cells of two planted subjects with tiny mappers: results, and the folder they are in."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        return run(folder, patch), folder


def run(folder, patch):
    """Run the study without reading a dataset."""
    loaded = lambda profile, number, *a, **k: (small_subject(number), f"digest{number}")  # noqa: E731
    patch.setattr(command, "load_subject", loaded)
    patch.setattr(MapperSettings, "of", classmethod(lambda cls, config: SETTINGS))
    results, inputs, shared = command.run_cells(
        load_profile("smoke"), STUDY, folder, progress=False
    )
    assert inputs == {"subj01.h5": "digest1", "subj02.h5": "digest2"}
    assert shared
    return results


def test_every_cell_runs_and_every_table_follows_from_the_cells(study):
    results, _ = study
    assert {cell.kind for cell in results} == set(cells.KINDS)
    summary = summarise(results, rng=np.random.default_rng(0), n_resamples=50, shared_images=True)
    json.dumps(summary, allow_nan=False)
    rows = {(r["mapper"], r["target"], r["readout"], r["score"]): r for r in summary["mappers"]}
    row = rows["ridge", "image", "image", "brain_to_image top-1"]
    expected = [
        np.mean([results[cells.Cell("mapper", s, "ridge", "image", seed)]["readouts"]["image"][
            "brain_to_image top-1"] for seed in range(2)])
        for s in (1, 2)
    ]  # fmt: skip
    np.testing.assert_allclose(row["subjects"], expected)
    assert row["value"] == pytest.approx(np.mean(expected))
    assert row["low"] <= row["value"] <= row["high"]
    assert row["chance"] == 0.02
    assert ("mlp", "image", "image, before the projector", "two-way") in rows
    assert ("ridge", "caption", "caption, re-standardised", "two-way") in rows
    assert ("ridge", "both", "both", "two-way") in rows
    assert rows["mean", "image", "image", "two-way"]["value"] == pytest.approx(0.5)
    assert len(summary["differences"]) == 8 * 3
    clusters = {(r["mapper"], r["readout"], r["score"]) for r in summary["clusters"]}
    assert ("ridge", "cluster left out", "two-way within clusters") in clusters
    assert summary["voxels"][0]["n_voxels"] == [10, 80]
    assert summary["sessions"][0]["n_sessions"] == [1, 2]
    assert summary["bottleneck"][0]["n_dims"] == [1, 5]
    assert len(summary["ceilings"]["repeats"]["ridge"]["2"]["explained"]) == 4
    assert summary["noiseless"][0]["subjects"] != []  # subject 1 only; 2 is like a real one


def test_a_killed_study_computes_only_what_was_not_finished(study, monkeypatch):
    results, folder = study
    lost = cells.Cell("shuffled", 2, "contrastive", seed=1)
    (folder / "cells" / lost.name).write_text("{")  # as if cut off
    ran = []

    def spy(bench, cell, original=cells.run_shuffled):
        ran.append(cell)
        return original(bench, cell)

    monkeypatch.setitem(cells.KINDS, "shuffled", spy)
    again = run(folder, monkeypatch)
    assert ran == [lost]
    assert again[lost]["readouts"] == results[lost]["readouts"]


def test_cells_of_other_settings_or_data_are_computed_again(tmp_path, monkeypatch):
    folder = tmp_path
    subject = small_subject(1)
    bench = cells.Bench(subject, SETTINGS, STUDY)
    cell = cells.Cell("shuffled", 1, "ridge")
    config = {"data": "digest1", "mapper": SETTINGS.relevant("ridge"), "study": {}}
    first = cells.run_cell(bench, cell, folder, config)
    ran = []
    monkeypatch.setitem(cells.KINDS, "shuffled", lambda *_: ran.append(1) or {"readouts": {}})
    assert cells.run_cell(bench, cell, folder, config) == first
    assert not ran
    cells.run_cell(bench, cell, folder, {**config, "data": "digest2"})
    changed = dataclasses.replace(SETTINGS, n_folds=4).relevant("ridge")
    cells.run_cell(bench, cell, folder, {**config, "mapper": changed})
    assert len(ran) == 2


def made_up(gain, n_images=60):
    """Results of two mappers whose top-1 differ by a known amount in every subject."""
    rng = np.random.default_rng(0)
    results = {}
    for subject in (1, 2, 3):
        base = rng.random(n_images)
        for mapper, more in (("ridge", 0.0), ("contrastive", gain)):
            for seed in (0, 1):
                # Seeds differ, and not alike in both mappers; their mean does not.
                noise = (2 * seed - 1) * (0.01 if mapper == "ridge" else -0.03)
                scores = {name: (base + more + noise).tolist() for name in cells.controls.SCORES}
                cell = cells.Cell("mapper", subject, mapper, "image", seed)
                results[cell] = {"readouts": {"image": {**scores, "effective rank": 3.0}}}
    return results


@pytest.mark.parametrize("gain", [0.0, 0.2])
def test_paired_differences_cancel_what_images_have_in_common(gain):
    tables = Tables(made_up(gain), rng=np.random.default_rng(0), n_resamples=100)
    (row, *_) = tables.differences()
    assert row["difference"] == "contrastive - ridge"
    assert row["value"] == pytest.approx(gain, abs=1e-9)
    np.testing.assert_allclose(row["subjects"], gain, atol=1e-9)
    assert row["high"] - row["low"] < 1e-9  # the images' own spread is gone
    single = tables.row("mapper", "ridge", "image", "image", "brain_to_image top-1")
    assert single["high"] - single["low"] > 0.05
    assert single["seed_sd"] == pytest.approx(np.std([-0.01, 0.01], ddof=1))


def test_a_subject_is_read_as_in_the_notebooks_and_kept(tmp_path, monkeypatch):
    root = tmp_path / "nsd"
    simulate_subject(root, ONE, 1, workers=1, progress=False)
    profile = load_profile("smoke")
    profile = dataclasses.replace(
        profile,
        data=dataclasses.replace(profile.data, root=str(root)),
        simulation=dataclasses.asdict(ONE),
    )
    subject, digest = subjects.load_subject(profile, 1, tmp_path, "cpu", progress=False)
    assert not set(subject.groups) & set(subject.test_ids)
    assert subject.betas.shape[1] == subject.pattern.shape[1] == 280
    assert len(subject.test_betas) == len(subject.test_groups) == 600
    np.testing.assert_allclose(np.linalg.norm(subject.targets["caption"], axis=1), 1, atol=1e-5)
    _, first = np.unique(subject.groups, return_index=True)
    assert len(np.unique(subject.targets["image"][first], axis=0)) == 50
    clean, seen = subject.noiseless[1], subject.pattern
    tuned = np.flatnonzero(clean.std(0) * seen.std(0))
    r = [np.corrcoef(clean[:, v], seen[:, v])[0, 1] for v in tuned]
    assert np.mean(r) > 0.2  # rows are of the same images

    def never(*_, **__):
        raise AssertionError("the subject was made twice")

    with monkeypatch.context() as patch:
        patch.setattr(subjects, "measured_arrays", never)
        _, again = subjects.load_subject(profile, 1, tmp_path, "cpu", progress=False)
        assert digest == again
        other = dataclasses.replace(profile, clip=dataclasses.replace(profile.clip, image_size=32))
        with pytest.raises(AssertionError, match="made twice"):
            subjects.load_subject(other, 1, tmp_path, "cpu", progress=False)


@pytest.fixture
def started(monkeypatch):
    """Calls of the engine, which are not made: requests and jobs."""
    calls = []

    def run(requests, *, jobs, **given):
        calls.append((requests, jobs))
        return []

    monkeypatch.setattr(studies, "run", run)
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


def test_each_part_is_a_job_after_the_notebooks_that_it_reads(started, monkeypatch):
    settings = ["PROFILE=smoke", "SUBJECTS=3,4", "SEEDS=2", "SEED=1"]
    assert studies.main(settings) == 0
    [[request], jobs] = started.pop()
    assert (request.profile.seed, request.targets) == (1, ("03", "03", "02"))
    assert [job.name for job in jobs] == [
        *("study-cells-subj03", "study-cells-subj04"),
        *(f"study-{part}" for part in studies.PARTS),
    ]
    assert jobs[2].after == ("study-cells-subj03", "study-cells-subj04")
    assert studies.main(["encoders", *settings]) == 0
    [[request], jobs] = started.pop()
    assert request.steps == [] and len(jobs) == 3  # it reads no derived file
    done = []
    monkeypatch.setitem(studies.PARTS, "encoders", lambda *given: done.append(given))
    _, *call = jobs[-1].command
    assert studies.main([*call, *request.arguments]) == 0
    [(profile, sizes)] = done
    assert (profile.seed, sizes.subjects, sizes.n_seeds) == (1, (3, 4), 2)


def test_a_study_of_real_data_reaches_its_last_part(started, capsys):
    assert studies.main(["PROFILE=nsd"]) == 0
    parts = [job.name for job in started[0][1] if "cells" not in job.name]
    assert parts == ["study-encoders", "study-generator", "study-selfsupervised"]
    assert "left out: perturbation" in capsys.readouterr().out


def test_the_summary_is_written_with_its_manifest(study, tmp_path, monkeypatch):
    done = study[0], {"subj01.h5": "digest1"}, True
    monkeypatch.setattr(command, "run_cells", lambda *_, **__: done)
    monkeypatch.setattr("fmri_utils.project.profiles.PROJECT_ROOT", tmp_path)
    command.run_study(load_profile("smoke"), STUDY)
    written = next(tmp_path.rglob(command.RESULTS))
    summary = json.loads(written.read_text())
    assert summary["about"]["simulated"]
    assert summary["subjects"] == [1, 2]
    manifest = json.loads(written.with_name(written.name + ".json").read_text())
    assert manifest["inputs"] == {"subj01.h5": "digest1"}
    assert manifest["config"]["study"]["subjects"] == [1, 2]
