"""``make study``: ``python -m pipeline.studies PROFILE=demo SUBJECTS=1,2``.

All parts one after the other, or those that are named first (``encoders PROFILE=demo``). Settings
of all parts are read before the first begins, and each part takes those that concern it: SUBJECTS
and SEEDS belong to the encoders, SUBJECT and SEED to the others.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from fmri_utils.project.command import command
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import Profile
from fmri_utils.project.settings import checked

from ..runner import parse_request
from . import study_generator, study_perturbation, study_selfsupervised
from .encoders import study as study_encoders
from .encoders.settings import StudySettings

PARTS: dict[str, Callable[[Profile, StudySettings], None]] = {
    "encoders": study_encoders.run_study,
    "generator": lambda profile, _: study_generator.run_study(profile),
    "perturbation": lambda profile, _: study_perturbation.run_study(profile),
    "selfsupervised": lambda profile, _: study_selfsupervised.run_study(profile),
}
OWN = {"SUBJECTS": "subjects", "SEEDS": "n_seeds"}  # settings of the encoders' part


def parse(arguments: Sequence[str]) -> tuple[list[str], Profile, StudySettings]:
    """Names of the parts that are asked for, the profile, and the size of the encoders' part.

    Raises
    ------
    ProfileError
        On an unknown part, or an unknown or unfit setting.
    """
    parts = [argument for argument in arguments if "=" not in argument]
    if unknown := [part for part in parts if part not in PARTS]:
        raise ProfileError(f"no part {unknown[0]!r} of the study. Valid: {', '.join(PARTS)}.")
    sizes: dict[str, object] = {}
    rest = []
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
        elif equals:
            rest.append(argument)
    profile = parse_request(rest).profile
    return parts, profile, checked(StudySettings, sizes, "the study of encoders")


@command
def main(arguments: list[str]) -> int:
    """Run one part here, or several in processes of their own; stops where one fails.

    Without a name all parts are run. Of real data the part on perturbations is left out: it draws
    the noise of its subject again.
    """
    parts, profile, sizes = parse(arguments)
    if not parts and profile.simulation is None:
        print("left out: perturbation, which needs a simulated subject (PROFILE=demo)", flush=True)
        parts = [part for part in PARTS if part != "perturbation"]
    if len(parts) == 1:
        PARTS[parts[0]](profile, sizes)
        return 0
    settings = [argument for argument in arguments if "=" in argument]
    for part in parts or PARTS:
        call = [sys.executable, "-m", "pipeline.studies", part, *settings]
        if code := subprocess.run(call, check=False).returncode:
            return code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
