"""Profiles: everything that differs between a smoke test, the demo and the real data.

A profile is a TOML file beside this module. :func:`load_profile` reads it, applies overrides and
returns a frozen :class:`Profile`. Code never asks which profile it runs; only numbers differ.
"""

import dataclasses
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from .. import sections
from ..artifacts import own_files, sha256_json
from ..errors import ProfileError
from ..reading import reading
from ..settings import Integer, Line, Name, Whole, checked, settings
from ..simulation_config import SimulationConfig

PROJECT_ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(__file__).parent
WHICH_RUN = ("name", "subject", "seed", "device", "overridden")
"""What tells one run from another; with it :func:`load_profile` gives the profile again."""
PROFILES = tuple(path.stem for path in own_files(FOLDER, "*.toml"))


@settings
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

    name: Name
    subject: Annotated[Integer, Field(ge=1, le=8)]
    seed: Whole
    device: Line
    data: sections.DataConfig
    clip: sections.ClipConfig
    embedding: sections.EmbeddingConfig
    encoder: sections.EncoderConfig
    lafite: sections.LafiteConfig
    reconstruction: sections.ReconstructionConfig
    perturbation: sections.PerturbationConfig
    dino: sections.DinoConfig
    output: sections.OutputConfig
    simulation: SimulationConfig | None = None
    overridden: tuple[Line, ...] = ()

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
        """Folder of the executed notebooks and what is kept of them."""
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
        wanted = (*WHICH_RUN, *sections) if sections else None
        return {k: v for k, v in dataclasses.asdict(self).items() if not wanted or k in wanted}


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
    for key in ("name", "overridden"):
        if key in raw:
            raise ProfileError(f"profile {name!r} sets {key}, which follows from the call.")
    return checked(Profile, {"name": name, "overridden": overridden, **raw}, f"profile {name!r}")


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
            f"override {text!r}. Expected: section.key=value, such as encoder.n_folds=5."
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
