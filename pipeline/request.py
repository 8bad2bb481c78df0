"""What a call asks for: targets and NAME=value settings, read before anything starts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
        return {
            "PROFILE": profile.name,
            "SUBJECT": profile.subject,
            "SEED": profile.seed,
            "DEVICE": profile.device,
            "OVERRIDES": list(profile.overridden),
            "INTERACTIVE": False,
        }

    @property
    def arguments(self) -> list[str]:
        """The settings again, as a command line takes them."""
        named = zip(VARIABLES, self.parameters.values(), strict=False)
        return [f"{name}={value}" for name, value in named] + list(self.profile.overridden)

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

    def target(self, step: Step) -> str:
        """What the engine calls the executed notebook."""
        return f"runs/{self.folder}/{step.stem}.ipynb"

    def job(self, name: str, ending: str) -> Path:
        """What another job than a notebook leaves: ``done`` at its end, ``log``."""
        return self.profile.runs / "jobs" / f"{name}.{ending}"

    def benchmark(self, step: Step) -> Path:
        """Where the engine writes time and memory of a notebook."""
        return self.profile.runs / f"{step.stem}-benchmark.tsv"

    def benchmarks(self) -> list[Path]:
        """Those that are there."""
        return [path for path in map(self.benchmark, self.steps) if path.is_file()]


def parse_request(arguments: Sequence[str], default: Sequence[str] = ("all",)) -> Request:
    """Read targets ("all", "03", ...) and NAME=value settings, refusing what is not known.

    Without a target the default ones are meant.

    Raises
    ------
    ProfileError
        On an unknown target, variable, profile, section, key or value.
    """
    targets = [a for a in arguments if "=" not in a]
    settings = dict(a.split("=", 1) for a in arguments if "=" in a)
    valid = {step.number for step in steps()}
    for target in targets:
        if target != "all" and target[:2] not in valid:
            raise ProfileError(f"no notebook {target!r}. Valid: all, {', '.join(sorted(valid))}.")
    overrides = [f"{k}={v}" for k, v in settings.items() if "." in k]
    named = {k: v for k, v in settings.items() if "." not in k}
    unknown = sorted(set(named) - set(VARIABLES))
    if unknown:
        raise ProfileError(
            f"unknown setting {unknown}. Valid settings: {', '.join(VARIABLES)}, or a key of the "
            f"profile such as encoder.n_folds=5. Valid profiles: {', '.join(PROFILES)}."
        )
    profile = load_profile(
        named.get("PROFILE", "demo"),
        subject=_integer(named, "SUBJECT"),
        seed=_integer(named, "SEED"),
        device=named.get("DEVICE"),
        overrides=overrides,
    )
    return Request(tuple(targets or default), profile)


def _integer(named: dict[str, str], key: str) -> int | None:
    if key not in named:
        return None
    try:
        return int(named[key])
    except ValueError:
        raise ProfileError(f"{key} is {named[key]!r}. Expected: a whole number.") from None
