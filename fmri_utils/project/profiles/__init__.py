"""Profiles: everything that differs between a smoke test, the demo and the real data.

A profile is a TOML file beside this module. :func:`load_profile` reads it, applies overrides and
returns a frozen :class:`Profile`. Code never asks which profile it runs; only numbers differ.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..artifacts import own_files, sha256_json
from ..errors import ProfileError
from ..reading import reading
from ..simulation_config import SimulationConfig
from .sections import (
    ClipConfig,
    DataConfig,
    DinoConfig,
    EmbeddingConfig,
    EncoderConfig,
    LafiteConfig,
    OutputConfig,
    PerturbationConfig,
    ReconstructionConfig,
)

PROJECT_ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(__file__).parent
COMPLETE = "Expected: every key, as in the other profiles. Add what is missing."
WHICH_RUN = ("name", "subject", "seed", "device", "overridden")
"""What tells one run from another; with it :func:`load_profile` gives the profile again."""
PROFILES = tuple(path.stem for path in own_files(FOLDER, "*.toml"))


@dataclasses.dataclass(frozen=True)
class Profile:
    """One run's settings. Paths are relative to the project's root.

    Attributes
    ----------
    name : str
        Profile the run started from.
    subject : int
        NSD subject, 1 to 8.
    seed : int
        Seed of everything random after the data.
    device : str
        "auto" (a GPU where there is one), "cpu", or a torch device such as "cuda:0".
    overridden : tuple of str
        Overrides of the profile's own keys, as "section.key=value".
    """

    name: str
    subject: int
    seed: int
    device: str
    data: DataConfig
    clip: ClipConfig
    embedding: EmbeddingConfig
    encoder: EncoderConfig
    lafite: LafiteConfig
    reconstruction: ReconstructionConfig
    perturbation: PerturbationConfig
    dino: DinoConfig
    output: OutputConfig
    simulation: types.MappingProxyType | None = None
    overridden: tuple[str, ...] = ()

    @property
    def run_name(self) -> str:
        """Folder name of the run: subject, then seed and overrides where they are not default."""
        name = f"subj{self.subject:02d}"
        if self.seed != 0:
            name += f"-seed{self.seed}"
        if self.overridden:
            name += f"-{sha256_json(list(self.overridden))[:8]}"
        return name

    @property
    def data_root(self) -> Path:
        """Folder that holds ``nsddata/`` and ``nsddata_betas/``."""
        return PROJECT_ROOT / self.data.root

    @property
    def derived(self) -> Path:
        """Folder of the files that notebooks hand to each other."""
        return PROJECT_ROOT / "data" / "derived" / self.name / self.run_name

    @property
    def runs(self) -> Path:
        """Folder of the executed notebooks and their stamps."""
        return PROJECT_ROOT / "runs" / self.name / self.run_name

    @property
    def figures(self) -> Path:
        """Folder of the figures; runs other than the profile's default one get their own."""
        base = PROJECT_ROOT / self.output.figures
        return base if self.run_name == "subj01" else base / f"{self.name}-{self.run_name}"

    @property
    def dataset_name(self) -> str:
        """Simulated, or the real dataset's name."""
        return "simulated" if self.simulation is not None else "Natural Scenes Dataset"

    @property
    def dataset_label(self) -> str:
        """What every figure and table says of its data."""
        return f"{self.dataset_name}, subject {self.subject}"

    def path(self, relative: str) -> Path:
        """Absolute path of a file named relative to the project's root."""
        return PROJECT_ROOT / relative

    def as_dict(self, *sections: str) -> dict:
        """JSON-serialisable settings, for manifests.

        Parameters
        ----------
        *sections : str
            Only these sections ("encoder", "lafite", ...) beside :data:`WHICH_RUN`; all if none is
            named.
        """
        out = {}
        for field in dataclasses.fields(self):
            if sections and field.name not in (*WHICH_RUN, *sections):
                continue
            value = getattr(self, field.name)
            if dataclasses.is_dataclass(value):
                value = dataclasses.asdict(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            out[field.name] = value
        return out


def load_profile(
    name: str = "demo",
    *,
    subject: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    overrides: Iterable[str] = (),
) -> Profile:
    """Read a profile and apply overrides.

    Parameters
    ----------
    name : str
        One of :data:`PROFILES`.
    subject, seed, device
        Replace the profile's own values.
    overrides : iterable of str
        "section.key=value", such as "encoder.n_folds=3"; the value is written as in TOML.

    Returns
    -------
    Profile

    Raises
    ------
    ProfileError
        If the profile, a key or a value is not valid; the message names the valid ones.
    """
    if name not in PROFILES:
        raise ProfileError(f"no profile {name!r}. Valid profiles: {', '.join(PROFILES)}.")
    raw = _read_toml(FOLDER / f"{name}.toml")
    for key, value in (("subject", subject), ("seed", seed), ("device", device)):
        if value is not None:
            raw[key] = value
    overridden = tuple(sorted(_apply_override(raw, text) for text in overrides))
    return _build(name, raw, overridden)


def _read_toml(path: Path) -> dict:
    damaged = "expected TOML in UTF-8. Mend it, or restore the original file."
    with reading(path, "a profile", damaged=damaged, error=ProfileError):
        return tomllib.loads(path.read_text(encoding="utf-8"))


def _apply_override(raw: dict, text: str) -> str:
    """Set one "section.key=value" in the raw profile; return it in normal form."""
    key, separator, value_text = text.partition("=")
    section, dot, field = key.strip().partition(".")
    if not separator or not dot:
        raise ProfileError(
            f"override {text!r} is not of the form section.key=value. Expected: one such as "
            "encoder.n_folds=5."
        )
    if not isinstance(raw.get(section), dict):
        valid = [k for k, v in raw.items() if isinstance(v, dict)]
        raise ProfileError(f"no section {section!r} in override {text!r}. Valid: {valid}.")
    try:
        read = tomllib.loads(f"value = {value_text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        read = {"value": value_text.strip()}
    value = read.pop("value")
    if read:
        raise ProfileError(f"override {text!r} sets more than one key. Give them one by one.")
    raw[section][field] = value
    normal = str(value).lower() if isinstance(value, bool) else value  # as TOML writes it
    return f"{section}.{field}={normal}"


def _build(name: str, raw: dict, overridden: tuple[str, ...]) -> Profile:
    """Validate a raw profile against the dataclasses."""
    hints = typing.get_type_hints(Profile)
    fields = {f.name for f in dataclasses.fields(Profile)} - {"name", "overridden"}
    _refuse_unknown(raw, fields, f"profile {name!r}")
    values = {"name": name, "overridden": overridden}
    for key, value in raw.items():
        if dataclasses.is_dataclass(hints[key]):
            values[key] = _build_section(hints[key], value, key)
        elif key == "simulation":
            values[key] = types.MappingProxyType(_build_simulation(value))
        else:
            values[key] = _check_type(value, hints[key], key)
    missing = fields - set(values) - {"simulation"}
    if missing:
        raise ProfileError(f"profile {name!r} lacks {sorted(missing)}. {COMPLETE}")
    profile = Profile(**values)
    if not 1 <= profile.subject <= 8:
        raise ProfileError(f"subject {profile.subject} does not exist. Valid subjects: 1 to 8.")
    if profile.seed < 0:
        raise ProfileError(f"seed {profile.seed} is negative. Expected: 0 or more.")
    return profile


def _build_section(cls: type, raw: object, section: str) -> object:
    """Build one section's dataclass from its raw table."""
    if not isinstance(raw, dict):
        raise ProfileError(f"{section} is {raw!r}. Expected: a table of settings.")
    hints = typing.get_type_hints(cls)
    _refuse_unknown(raw, hints, f"section {section!r}")
    missing = [f.name for f in dataclasses.fields(cls) if f.name not in raw and _required(f)]
    if missing:
        raise ProfileError(f"section {section!r} lacks {missing}. {COMPLETE}")
    checked = {k: _check_type(v, hints[k], f"{section}.{k}") for k, v in raw.items()}
    try:
        return cls(**checked)
    except ValueError as err:
        raise ProfileError(f"section {section!r}: {err}") from err


def _build_simulation(raw: object) -> dict:
    """Check the simulator's settings by building its configuration once."""
    return dataclasses.asdict(_build_section(SimulationConfig, raw, "simulation"))


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _refuse_unknown(raw: Mapping, valid: Iterable[str], where: str) -> None:
    unknown = sorted(set(raw) - set(valid))
    if unknown:
        raise ProfileError(f"unknown key {unknown} in {where}. Valid keys: {sorted(valid)}.")


def _check_type(value: object, hint: object, key: str) -> object:
    """Return ``value`` as ``hint`` (int, float, str, bool or tuple of one of these)."""
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise ProfileError(f"{key} is {value!r}. Expected: a list.")
        return tuple(_check_type(v, inner, key) for v in value)
    if hint is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    wrong = isinstance(value, float) and not math.isfinite(value)
    wrong = wrong or (isinstance(value, str) and not value.isprintable())
    if type(value) is not hint or wrong:
        expected = {float: "a finite number", str: "a text in one line"}.get(hint, hint.__name__)
        raise ProfileError(f"{key} is {value!r} ({type(value).__name__}). Expected: {expected}.")
    return value
