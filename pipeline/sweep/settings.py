"""What to run and where, as given to ``make sweep``."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fmri_utils.nsd import region
from fmri_utils.project.artifacts import sha256_json
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile
from fmri_utils.project.settings import checked, settings

from ..runner import Request, parse_request

AtLeastOne, NotNegative = Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0)]
HELP = {
    "SUBJECTS": 'such as "1 2 5 7"; 1 by default',
    "AREAS": 'such as "nsdgeneral V1 faces V1+V2"; the profile\'s own by default',
    "SEEDS": 'such as "0 1 2"; 0 by default',
    "ENGINE": "local (processes on this machine; the default) or slurm (jobs)",
    "TARGET": "notebook up to which each run goes, such as 03; all by default",
    "WORKERS": "runs at the same time; as many as fit on this machine, or 8 jobs, by default",
    "THREADS": "threads of each run, 1 by default",
    "GPUS": "GPUs of each run, 0 by default",
    "MEMORY": "of each Slurm job, 8GB by default",
    "WALLTIME": "of each Slurm job, 12:00:00 by default",
    "PARTITION": "of Slurm; its default one by default",
    "SBATCH": 'further options of sbatch, such as "--account=x --constraint=a100"',
    "INTERFACE": "network interface of this machine that Slurm's nodes reach, such as ib0",
    "RETRIES": "how often a run that failed is tried again in one call, 1 by default",
    "DASHBOARD": "port of the dashboard, 8787 by default; 0 for any free one",
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
    arguments : tuple of str
        For :mod:`pipeline.runner`.
    request : Request
        The same, parsed.
    """

    name: str
    area: str
    arguments: tuple[str, ...]
    request: Request

    @property
    def profile(self) -> Profile:
        """Settings of the run, with its folders."""
        return self.request.profile

    @property
    def log(self) -> Path:
        """What the run said, in its folder."""
        return self.profile.runs / "sweep.log"


@settings
class Resources:
    """Where runs are done, and with what.

    Attributes
    ----------
    engine : str
        "local" or "slurm".
    workers : int
        Runs, or pictures of an atlas, at the same time, at most.
    threads, gpus : int
        Of each run.
    memory, walltime, partition, interface : str
        Of each Slurm job; empty for Slurm's default.
    sbatch : tuple of str
        Further options of sbatch.
    retries : int
        Of a run that failed.
    dashboard : int
        Port.
    """

    engine: Literal["local", "slurm"] = "local"
    workers: AtLeastOne = 1
    threads: AtLeastOne = 1
    gpus: NotNegative = 0
    memory: str = "8GB"
    walltime: str = "12:00:00"
    partition: str = ""
    interface: str = ""
    sbatch: tuple[str, ...] = ()
    retries: NotNegative = 1
    dashboard: NotNegative = 8787

    def for_tasks(self, n_tasks: int) -> Resources:
        """The same with no more workers than there is to do."""
        return replace(self, workers=min(self.workers, n_tasks))


@dataclass(frozen=True)
class Sweep:
    """All runs of one call, and what they need."""

    runs: tuple[Run, ...]
    resources: Resources
    folder: Path


def parse(arguments: Sequence[str]) -> Sweep:
    """Read KEY=VALUE settings: those of :data:`HELP`, PROFILE, DEVICE, and keys of the profile.

    Raises
    ------
    ProfileError, DataError
        On an unknown setting, subject, area, seed or engine; the message names the valid ones.
    """
    named, rest = {}, []
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if key in HELP and separator:
            named[key] = value
        elif key in ("SUBJECT", "SEED") or not separator:
            raise ProfileError(_unknown(argument))
        else:
            rest.append(argument)
    if any(argument.startswith("data.roi=") for argument in rest):
        raise ProfileError("data.roi is what AREAS sets, run by run. Expected: AREAS= only.")
    try:
        base = parse_request(rest).profile
    except ProfileError as err:
        raise ProfileError(f"{err} Settings of a sweep: {', '.join(HELP)}.") from None
    target = named.get("TARGET", "all")
    subjects = _numbers(named, "SUBJECTS", [base.subject])
    seeds = _numbers(named, "SEEDS", [base.seed])
    areas = named.get("AREAS", "").split() or [base.data.roi]
    runs = [
        _run(base, rest, target, subject, area, seed)
        for subject, area, seed in itertools.product(subjects, areas, seeds)
    ]
    folders = {run.profile.runs: run for run in runs}
    if len(folders) < len(runs):
        raise ProfileError(
            f"{len(runs)} runs, but {len(folders)} different ones. Expected: each subject, area "
            "and seed once; two names of the same area count as one."
        )
    kind = base.name if not base.overridden else f"{base.name}-{sha256_json(base.overridden)[:8]}"
    folder = PROJECT_ROOT / base.output.figures / f"sweep-{kind}"
    return Sweep(tuple(runs), _resources(named), folder)


def _unknown(argument: str) -> str:
    return (
        f"unknown setting {argument!r}. Settings of a sweep: {', '.join(HELP)}; PROFILE, DEVICE; "
        "or a key of the profile such as encoder.n_folds=5."
    )


def _run(base: Profile, rest: list[str], target: str, subject: int, area: str, seed: int) -> Run:
    arguments = [target, *rest, f"SUBJECT={subject}", f"SEED={seed}"]
    where = region(area)
    if where != base.data.roi:  # the profile's own area keeps the folder that `make all` uses
        arguments.append(f"data.roi={where}")
    name = f"subj{subject:02d} {area} seed {seed}"
    return Run(name, area, tuple(arguments), parse_request(arguments))


def _resources(named: Mapping[str, str]) -> Resources:
    names = {field.name for field in fields(Resources)}
    given = {key.lower(): value for key, value in named.items() if key.lower() in names}
    given["sbatch"] = shlex.split(named.get("SBATCH", ""))
    found = checked(Resources, given, "the sweep")
    if "WORKERS" in named:
        return found
    fit = max(1, (os.cpu_count() or 1) // found.threads) if found.engine == "local" else 8
    return replace(found, workers=fit)


def _numbers(named: Mapping[str, str], key: str, default: list[int]) -> list[int]:
    words = named.get(key, "").replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ProfileError(f'{key} is {named[key]!r}. Expected: whole numbers, as in {key}="1 2".')
    return [int(word) for word in words] or default
