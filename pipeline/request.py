"""What a call asks for: targets and NAME=value settings, read before anything starts."""

import functools
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import PROFILES, Profile, load_profile

from .steps import Step, before, steps

VARIABLES = ("PROFILE", "SUBJECT", "SEED", "DEVICE")


@dataclass(frozen=True)
class Request:
    """What one call was asked to do in one run."""

    targets: tuple[str, ...]
    profile: Profile

    @property
    def parameters(self) -> dict[str, object]:
        """Of the notebooks."""
        profile = self.profile
        which = profile.name, profile.subject, profile.seed, profile.device
        more = {"OVERRIDES": list(profile.overridden), "INTERACTIVE": False}
        return dict(zip(VARIABLES, which, strict=True)) | more

    @property
    def arguments(self) -> list[str]:
        """The settings again, as a command line takes them."""
        named = [f"{name}={self.parameters[name]}" for name in VARIABLES]
        return [*named, *self.profile.overridden]

    @functools.cached_property
    def steps(self) -> list[Step]:
        """The notebooks of the targets and those that they need, in order."""
        named = {target[:2] for target in self.targets}
        wanted = [s for s in steps() if "all" in self.targets or s.number in named]
        needed = {step for target in wanted for step in before(target)}
        return sorted(needed, key=lambda step: step.number)

    @property
    def folder(self) -> str:
        """Of the run, below ``runs`` and ``data/derived``: "demo/subj01"."""
        return f"{self.profile.name}/{self.profile.run_name}"

    def job(self, name: str, ending: str) -> Path:
        """What another job than a notebook leaves: ``done`` at its end, ``log``."""
        return self.profile.runs / "jobs" / f"{name}.{ending}"

    def benchmark(self, step: Step) -> Path:
        """Where the engine writes time and memory of a notebook."""
        return self.profile.runs / f"{step.stem}-benchmark.tsv"


def taken(arguments: Sequence[str], names: Container[str]) -> tuple[dict[str, str], list[str]]:
    """NAME=value settings of some names, and all other arguments."""
    pairs = [(argument, *argument.partition("=")) for argument in arguments]
    named = {key: value for _, key, equals, value in pairs if equals and key in names}
    return named, [argument for argument, key, equals, _ in pairs if not equals or key not in names]


def parse_request(arguments: Sequence[str]) -> Request:
    """Read targets ("all", "03", ...) and NAME=value settings, refusing what is not known.

    Without a target all are meant.

    Raises
    ------
    ProfileError
        On an unknown target, variable, profile, section, key or value.
    """
    targets = [a for a in arguments if "=" not in a]
    valid = {"all"} | {step.number for step in steps()}
    if unknown := [t for t in targets if t not in valid and t[:2] not in valid]:
        raise ProfileError(f"no notebook {unknown[0]!r}. Valid: {', '.join(sorted(valid))}.")
    named, rest = taken(arguments, VARIABLES)
    overrides = dict(a.split("=", 1) for a in rest if "=" in a)
    if unknown := sorted(key for key in overrides if "." not in key):
        raise ProfileError(
            f"unknown setting {unknown}. Valid settings: {', '.join(VARIABLES)}, or a key of the "
            f"profile such as encoder.n_folds=5. Valid profiles: {', '.join(PROFILES)}."
        )
    which = {key.lower(): _integer(named, key) for key in ("SUBJECT", "SEED")}
    which["overrides"] = [f"{key}={value}" for key, value in overrides.items()]
    profile = load_profile(named.get("PROFILE", "demo"), device=named.get("DEVICE"), **which)
    return Request(tuple(targets) or ("all",), profile)


def _integer(named: dict[str, str], key: str) -> int | None:
    try:
        return int(named[key]) if key in named else None
    except ValueError:
        raise ProfileError(f"{key} is {named[key]!r}. Expected: a whole number.") from None
