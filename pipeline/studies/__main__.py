"""``make study``: ``python -m pipeline.studies PROFILE=demo SUBJECTS=1,2``.

All parts side by side, or those that are named first (``encoders PROFILE=demo``), by the engine
that runs the notebooks. Settings of all parts are read before the first begins, and each part takes
those that concern it: SUBJECTS and SEEDS belong to the encoders, SUBJECT and SEED to the others.
Every part keeps what is finished; the same command goes on after a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from fmri_utils.project.command import command
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import Profile
from fmri_utils.project.settings import checked

from .. import resources
from ..engine import Job, check, run
from ..execute import as_job
from ..request import parse_request
from . import study_generator, study_perturbation, study_selfsupervised
from .encoders import study as study_encoders
from .encoders.settings import StudySettings

PARTS: dict[str, Callable[[Profile, StudySettings], object]] = {
    "encoders": study_encoders.run_study,
    "generator": lambda profile, _: study_generator.run_study(profile),
    "perturbation": lambda profile, _: study_perturbation.run_study(profile),
    "selfsupervised": lambda profile, _: study_selfsupervised.run_study(profile),
}
CELLS = "cells"  # of the encoders' part, a subject each
READS = {
    "encoders": (),
    "generator": ("betas.h5", "stimuli.h5", "embeddings.h5", "predictions.h5"),
    "perturbation": ("betas.h5", "embeddings.h5", "predictions.h5", "matched.safetensors"),
    "selfsupervised": ("betas.h5", "stimuli.h5", "embeddings.h5"),
}
OWN = {"SUBJECTS": "subjects", "SEEDS": "n_seeds"}  # settings of the encoders' part
ONE = "one="  # a part to do in this process, as the engine asks for it


def parse(arguments: Sequence[str]) -> tuple[list[str], list[str], StudySettings, dict[str, str]]:
    """Names of the parts, settings of the run, size of the encoders' part, and of the machine's.

    Raises
    ------
    ProfileError
        On an unknown part, or an unknown or unfit setting.
    """
    parts = [argument for argument in arguments if "=" not in argument]
    if unknown := [part for part in parts if part not in PARTS]:
        raise ProfileError(f"no part {unknown[0]!r} of the study. Valid: {', '.join(PARTS)}.")
    sizes: dict[str, object] = {}
    rest, machine = [], {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in OWN:
            try:
                numbers = tuple(int(number) for number in value.split(","))
            except ValueError:
                raise ProfileError(
                    f"{argument!r}. Expected: whole numbers, as in SUBJECTS=1,2 or SEEDS=5."
                ) from None
            sizes[OWN[key]] = numbers[0] if key == "SEEDS" and len(numbers) == 1 else numbers
        elif key in resources.HELP:
            machine[key] = value
        elif equals:
            rest.append(argument)
    return parts, rest, checked(StudySettings, sizes, "the study of encoders"), machine


def jobs_of(parts: Sequence[str], sizes: StudySettings) -> list[Job]:
    """What the engine has to do: a job for each part, and before the encoders' one a subject."""
    seeds = f"SEEDS={sizes.n_seeds}"
    cells = [
        Job(f"study-cells-subj{n:02d}", ("pipeline.studies", ONE + CELLS, f"SUBJECTS={n}", seeds))
        for n in sizes.subjects
    ]
    subjects = f"SUBJECTS={','.join(map(str, sizes.subjects))}"
    found = cells if "encoders" in parts else []
    for part in parts:
        after = tuple(job.name for job in cells) if part == "encoders" else ()
        call = ("pipeline.studies", ONE + part, subjects, seeds)
        found.append(Job(f"study-{part}", call, READS[part], after))
    return found


@command
def main(arguments: list[str]) -> None:
    """Run the parts that are named, or all.

    Of real data the part on perturbations is left out: it draws the noise of its subject again.
    """
    if arguments and arguments[0].startswith(ONE):
        _, rest, sizes, _ = parse(arguments[1:])
        part, profile = arguments[0].removeprefix(ONE), parse_request(rest).profile
        with as_job():
            if part == CELLS:
                study_encoders.run_cells(profile, sizes, study_encoders.cells_folder(profile))
            else:
                PARTS[part](profile, sizes)
        return
    parts, rest, sizes, machine = parse(arguments)
    needed = {"encoders": [], "selfsupervised": ["02"]}
    given, profile = resources.resources_from(machine), parse_request(rest).profile
    if not parts:
        parts = list(PARTS)
        if profile.simulation is None:
            print("left out: perturbation, which needs a simulated subject (PROFILE=demo)")
            parts.remove("perturbation")
    targets = [target for part in parts for target in needed.get(part, ["03"])]
    requests = [parse_request([*targets, *rest], default=())]
    jobs = jobs_of(parts, sizes)
    check(run(requests, each=given.each, options=given.options, jobs=jobs))


if __name__ == "__main__":
    sys.exit(main())
