"""``make study``: ``python -m pipeline.studies PROFILE=demo SUBJECTS=1,2``.

All parts side by side, or those that are named first (``encoders PROFILE=demo``), by the engine
that runs the notebooks. Settings of all parts are read before the first begins, and each part takes
those that concern it: SUBJECTS and SEEDS belong to the encoders, SUBJECT and SEED to the others.
Every part keeps what is finished; the same command goes on after a failure. What a part has found
is written to ``study_<part>.json`` beside the figures, where notebooks read it.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence

from fmri_utils.project.artifacts import save_json
from fmri_utils.project.command import command
from fmri_utils.project.errors import DataError, ProfileError
from fmri_utils.project.notebook_files import WRITTEN_BY, derived_file, open_inputs
from fmri_utils.project.profiles import Profile
from fmri_utils.project.settings import checked

from .. import resources
from ..engine import Job, check, run
from ..execute import as_job
from ..request import Request, parse_request, taken
from ..sweep.runs import numbers
from . import (
    study_encoders,
    study_generator,
    study_perturbation,
    study_selfsupervised,
    study_simulator,
)
from .encoder_cells import StudySettings

PARTS = {
    "encoders": study_encoders,
    "generator": study_generator,
    "perturbation": study_perturbation,
    "selfsupervised": study_selfsupervised,
    "simulator": study_simulator,
}
SIMULATED = ("perturbation", "simulator")  # parts that draw a subject's noise again
OWN = {"SUBJECTS": "subjects", "SEEDS": "n_seeds"}  # settings of the encoders' part
ONE = "one="  # a part to do in this process, as the engine asks for it


def parse(arguments: Sequence[str]) -> tuple[list[str], list[str], StudySettings, dict[str, str]]:
    """Names of the parts, settings of the run, size of the encoders' part, and of the machine's.

    Raises
    ------
    ProfileError
        On an unknown part, or an unknown or unfit setting.
    """
    named, rest = taken(arguments, OWN)
    machine, rest = taken(rest, resources.HELP)
    parts = [argument for argument in rest if "=" not in argument]
    if unknown := [part for part in parts if part not in PARTS]:
        raise ProfileError(f"no part {unknown[0]!r} of the study. Valid: {', '.join(PARTS)}.")
    sizes = {OWN[key]: tuple(numbers(named, key, [])) for key in named}
    if len(sizes.get("n_seeds", ())) == 1:
        [sizes["n_seeds"]] = sizes["n_seeds"]
    settings = [argument for argument in rest if "=" in argument]
    return parts, settings, checked(StudySettings, sizes, "the study of encoders"), machine


def run_part(part: str, profile: Profile, sizes: StudySettings) -> None:
    """Do what is missing of a part, of the encoders' one for one subject, and write its results."""
    study = PARTS[part]
    files = open_inputs(profile, *study.READS)
    if part == "encoders":
        study_encoders.run_cells(files, sizes)  # their tables are of all subjects
    else:
        path, config = profile.figures / f"study_{part}.json", profile.as_dict(*study.SECTIONS)
        save_json(path, study.results(files), config=config, inputs=files.hashes)


def planned(
    parts: Sequence[str], settings: Sequence[str], sizes: StudySettings
) -> tuple[list[Request], list[Job]]:
    """What the engine has to do: a job for each part, of the encoders' one for each subject."""
    profile = parse_request(settings).profile
    targets, jobs = defaultdict(list), []
    for part in parts:
        names = [name for name in PARTS[part].READS if name != "generator"]
        reads = tuple(derived_file(profile, name)[0].name for name in names)
        subjects = sizes.subjects if part == "encoders" else (profile.subject,)
        for number in subjects:
            targets[number] += [n for n, files in WRITTEN_BY.items() if set(files) & set(reads)]
        runs = tuple(parse_request([*settings, f"SUBJECT={n}"]).folder for n in subjects)
        call = ("pipeline.studies", ONE + part, f"SEEDS={sizes.n_seeds}")
        jobs.append(Job(f"study-{part}", call, reads, runs))
    requests = [parse_request([*t, *settings, f"SUBJECT={n}"]) for n, t in targets.items()]
    return requests, jobs


@command
def main(arguments: list[str]) -> None:
    """Run the parts that are named, or all.

    Of real data the parts that draw the noise of a subject again are left out.
    """
    if arguments and arguments[0].startswith(ONE):
        _, rest, sizes, _ = parse(arguments[1:])
        with as_job():
            run_part(arguments[0].removeprefix(ONE), parse_request(rest).profile, sizes)
        return
    parts, rest, sizes, machine = parse(arguments)
    given, profile = resources.resources_from(machine), parse_request(rest).profile
    if profile.simulation is None and set(SIMULATED) & set(parts):
        raise DataError(
            f"profile {profile.name!r} has real data. Expected: a simulated subject, whose noise "
            "can be drawn again without its signal. Run the study with PROFILE=demo."
        )
    if not parts:
        parts = list(PARTS)
        if profile.simulation is None:
            print(
                f"left out: {', '.join(SIMULATED)}; these need a simulated subject (PROFILE=demo)"
            )
            parts = [part for part in parts if part not in SIMULATED]
    requests, jobs = planned(parts, rest, sizes)
    check(run(requests, given, jobs=jobs))
    if "encoders" in parts:
        study_encoders.run_study(profile, sizes)


if __name__ == "__main__":
    sys.exit(main())
