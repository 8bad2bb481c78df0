"""Which runs, as given to ``make sweep``."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmri_utils.nsd import region
from fmri_utils.project.artifacts import sha256_json
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from .. import resources
from ..request import Request, parse_request, taken
from ..resources import Resources, resources_from

HELP = {
    "SUBJECTS": 'such as "1 2 5 7"; 1 by default',
    "AREAS": 'such as "nsdgeneral V1 faces V1+V2"; the profile\'s own by default',
    "SEEDS": 'such as "0 1 2"; 0 by default',
    "TARGET": "notebook up to which each run goes, such as 03; all by default",
    **resources.HELP,
}


@dataclass(frozen=True)
class Run:
    """One subject, area and seed.

    Attributes
    ----------
    name : str
        "subj01 V1 seed 0".
    area : str
        As the user wrote it.
    request : Request
    """

    name: str
    area: str
    request: Request

    @property
    def profile(self) -> Profile:
        """Settings of the run, with its folders."""
        return self.request.profile


@dataclass(frozen=True)
class Sweep:
    """All runs of one call, what they may use, and where their table goes."""

    runs: tuple[Run, ...]
    resources: Resources
    folder: Path


def parse(arguments: Sequence[str]) -> Sweep:
    """Read NAME=value settings: those of :data:`HELP`, PROFILE, DEVICE, and keys of the profile.

    Raises
    ------
    ProfileError, DataError
        On an unknown setting, subject, area, seed or engine; the message names the valid ones.
    """
    named, rest = taken(arguments, HELP)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if not equals or ("." not in name and name not in ("PROFILE", "DEVICE")):
            raise ProfileError(
                f"unknown setting {argument!r}. Settings of a sweep: {', '.join(HELP)}; PROFILE, "
                "DEVICE; or a key of the profile such as encoder.n_folds=5."
            )
    if any(argument.startswith("data.roi=") for argument in rest):
        raise ProfileError("data.roi is what AREAS sets, run by run. Expected: AREAS= only.")
    base, target = parse_request(rest).profile, named.get("TARGET", "all")
    subjects = numbers(named, "SUBJECTS", [base.subject])
    seeds = numbers(named, "SEEDS", [base.seed])
    areas = named.get("AREAS", "").split() or [base.data.roi]
    runs = []
    for subject, area, seed in itertools.product(subjects, areas, seeds):
        which = [f"SUBJECT={subject}", f"SEED={seed}"]
        if (where := region(area)) != base.data.roi:  # whose folder is that of `make all`
            which.append(f"data.roi={where}")
        name = f"subj{subject:02d} {area} seed {seed}"
        runs.append(Run(name, area, parse_request([target, *rest, *which])))
    folders = {run.profile.runs: run for run in runs}
    if len(folders) < len(runs):
        raise ProfileError(
            f"{len(runs)} runs, but {len(folders)} different ones. Expected: each subject, area "
            "and seed once; two names of the same area count as one."
        )
    kind = base.name if not base.overridden else f"{base.name}-{sha256_json(base.overridden)[:8]}"
    folder = PROJECT_ROOT / base.output.figures / f"sweep-{kind}"
    return Sweep(tuple(runs), resources_from(named), folder)


def numbers(named: Mapping[str, str], key: str, default: list[int]) -> list[int]:
    """Whole numbers, separated by spaces or commas."""
    words = named.get(key, "").replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ProfileError(f'{key} is {named[key]!r}. Expected: whole numbers, as in {key}="1 2".')
    return [int(word) for word in words] or default
