"""Command line: ``python -m pipeline.studies.encoders PROFILE=demo [SUBJECTS=1,2,5,7] [SEEDS=5]``.

Takes an hour or so on one core in the profile demo, and resumes. Writes one JSON file with its
manifest into the profile's folder of figures.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fmri_utils.encoders import MapperSettings
from fmri_utils.project.artifacts import save_json
from fmri_utils.project.devices import choose_device
from fmri_utils.project.errors import FmriUtilsError, ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from ...runner import parse_request
from .cells import Bench, Cell, all_cells, run_cell
from .settings import StudySettings
from .subjects import load_subject
from .summary import summarise

RESULTS = "study_encoders.json"
SECTIONS = ("data", "clip", "simulation", "encoder")  # what the study reads
NOT_IN_CELLS = ("subjects", "n_seeds", "n_seeds_other", "n_resamples")  # sizes of the whole study


def parse(arguments: Sequence[str]) -> tuple[Profile, StudySettings]:
    """The profile and the study's size from KEY=VALUE arguments.

    Raises
    ------
    ProfileError
        On an unknown or unfit setting.
    """
    own = {"SUBJECTS": "subjects", "SEEDS": "n_seeds"}
    changes: dict[str, object] = {}
    rest = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in own:
            rest.append(argument)
            continue
        try:
            numbers = tuple(int(number) for number in value.split(","))
        except ValueError:
            raise ProfileError(
                f"{argument!r}. Expected: whole numbers, as in SUBJECTS=1,2 or SEEDS=5."
            ) from None
        changes[own[key]] = numbers if key == "SUBJECTS" else numbers[0]
    return parse_request(rest).profile, StudySettings(**changes)


def run_study(
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


def main(arguments: Sequence[str]) -> int:
    """Run the study and write its summary."""
    try:
        profile, study = parse(arguments)
        folder = PROJECT_ROOT / "data" / "derived" / profile.name / "study_encoders"
        results, inputs, shared = run_study(profile, study, folder)
        rng = np.random.default_rng(profile.seed)
        summary = summarise(results, rng=rng, n_resamples=study.n_resamples, shared_images=shared)
        simulated = profile.simulation is not None
        about = {
            "dataset": "simulated" if simulated else "Natural Scenes Dataset",
            "simulated": simulated,
            "clip_model": profile.clip.model,
            "split": "shared images test, repeats averaged; intervals over subjects and images",
            "settings": dataclasses.asdict(MapperSettings.of(profile.encoder)),
            "seconds": sum(result["seconds"] for result in results.values()),
        }
        config = {**profile.as_dict(*SECTIONS), "study": dataclasses.asdict(study)}
        path = profile.figures / RESULTS
        save_json(path, {"about": about, **summary}, config=config, inputs=inputs)
    except FmriUtilsError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
