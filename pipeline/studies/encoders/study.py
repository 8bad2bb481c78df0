"""The study of encoders: ``python -m pipeline.studies encoders PROFILE=demo SUBJECTS=1,2 SEEDS=5``.

Takes an hour or so on one core in the profile demo, and resumes. Writes one JSON file with its
manifest into the profile's folder of figures.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fmri_utils.encoders import MapperSettings
from fmri_utils.project.artifacts import save_json
from fmri_utils.project.devices import choose_device
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from .cells import Bench, Cell, all_cells, run_cell
from .settings import StudySettings
from .subjects import load_subject
from .summary import summarise

RESULTS = "study_encoders.json"
SECTIONS = ("data", "clip", "simulation", "encoder")  # what the study reads
NOT_IN_CELLS = ("subjects", "n_seeds", "n_seeds_other", "n_resamples")  # sizes of the whole study


def cells_folder(profile: Profile) -> Path:
    """Where the subjects' data and the finished cells of a profile lie."""
    return PROJECT_ROOT / "data" / "derived" / profile.name / "study_encoders"


def run_cells(
    profile: Profile, study: StudySettings, folder: Path, *, progress: bool = True
) -> tuple[dict[Cell, dict], dict[str, str], bool]:
    """Run all cells that are not finished.

    Parameters
    ----------
    profile : Profile
    study : StudySettings
    folder : pathlib.Path
        For the subjects' data and the cells.
    progress : bool

    Returns
    -------
    results : dict of Cell to dict
    inputs : dict of str to str
        Hash of each subject's data.
    shared : bool
        Whether all subjects were tested on the same images.
    """
    device = choose_device(profile.device)
    settings = MapperSettings.of(profile.encoder)
    sizes = {k: v for k, v in dataclasses.asdict(study).items() if k not in NOT_IN_CELLS}
    results, inputs, tested = {}, {}, set()
    cells = all_cells(study)
    bar = tqdm(total=len(cells), desc="study", disable=not progress)
    for number in study.subjects:
        subject, digest = load_subject(profile, number, folder, device, progress=progress)
        inputs[f"subj{number:02d}.h5"] = digest
        tested.add(tuple(subject.test_ids.tolist()))
        bench = Bench(subject, settings, study, device)
        for cell in (c for c in cells if c.subject == number):
            bar.set_postfix_str(cell.name.removesuffix(".json"))
            config = {"data": digest, "mapper": settings.relevant(cell.mapper), "study": sizes}
            results[cell] = run_cell(bench, cell, folder / "cells", config)
            bar.update()
    bar.close()
    return results, inputs, len(tested) == 1


def run_study(profile: Profile, study: StudySettings) -> None:
    """Run all cells, or those that are missing, and write the summary with its manifest."""
    results, inputs, shared = run_cells(profile, study, cells_folder(profile))
    rng = np.random.default_rng(profile.seed)
    summary = summarise(results, rng=rng, n_resamples=study.n_resamples, shared_images=shared)
    about = {
        "dataset": profile.dataset_name,
        "simulated": profile.simulation is not None,
        "clip_model": profile.clip.model,
        "split": "shared images test, repeats averaged; intervals over subjects and images",
        "settings": dataclasses.asdict(MapperSettings.of(profile.encoder)),
        "seconds": sum(result["seconds"] for result in results.values()),
    }
    config = {**profile.as_dict(*SECTIONS), "study": dataclasses.asdict(study)}
    path = profile.figures / RESULTS
    save_json(path, {"about": about, **summary}, config=config, inputs=inputs)
