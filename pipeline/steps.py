"""The numbered notebooks: what each reads and writes, and what else its results come from."""

import ast
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmri_utils.project import artifacts
from fmri_utils.project.artifacts import name_in, own_files
from fmri_utils.project.errors import DataError, WeightsError
from fmri_utils.project.notebook_files import WRITTEN_BY
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from .dependencies import code_digests
from .pairing import notebook_sources

LOCAL = "local-dir:"  # as in clip.space, which would load torch


@dataclass(frozen=True)
class Step:
    """A numbered notebook.

    Attributes
    ----------
    source : pathlib.Path
    reads, writes : tuple of str
        Derived files.
    """

    source: Path
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def stem(self) -> str:
        """``03_encoder_training``."""
        return self.source.stem

    @property
    def number(self) -> str:
        """``03``."""
        return self.stem[:2]

    def executed(self, profile: Profile) -> Path:
        """Where the executed notebook of a run lies."""
        return profile.runs / f"{self.stem}.ipynb"

    def beside(self, profile: Profile, what: str) -> Path:
        """What is kept of its last execution: ``"record"``, ``"state"``."""
        return profile.runs / f"{self.stem}-{what}.json"


def steps() -> list[Step]:
    """All numbered notebooks, in order."""
    sources = [p for p in notebook_sources(PROJECT_ROOT / "notebooks") if p.name[0].isdigit()]
    return [_step(path, path.stat().st_mtime_ns) for path in sources]


@functools.cache  # asked for again and again
def _step(source: Path, _changed: int) -> Step:
    return Step(source, tuple(_opened(source)), WRITTEN_BY.get(source.stem[:2], ()))


def before(target: Step) -> list[Step]:
    """A notebook and all that it needs, in order."""
    needed, files = [], set()
    for step in reversed(steps()):
        if step == target or files & set(step.writes):
            needed.append(step)
            files |= set(step.reads)
    return needed[::-1]


def beside(step: Step) -> list[Step]:
    """Notebooks that can run at the same time: neither needs the other."""
    return [s for s in steps() if s not in before(step) and step not in before(s)]


def _opened(source: Path) -> Iterator[str]:
    """Files that a notebook names in its call of ``open_inputs``, where ``*names`` may stand."""
    tree = ast.parse(source.read_text())
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    spelt_out = {ast.unparse(node.targets[0]): node.value for node in reversed(assigned)}
    known = [file for files in WRITTEN_BY.values() for file in files]
    for argument in (node for call in _calls(tree, "open_inputs") for node in call.args[1:]):
        for node in ast.walk(spelt_out.get(ast.unparse(argument).removeprefix("*"), argument)):
            name = getattr(node, "value", "")
            yield from [f for f in known if name in (f, f.partition(".")[0])][:1]


def _calls(tree: ast.Module, name: str) -> list[ast.Call]:
    """Calls of one function."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", "") == name]


def made_from(profile: Profile, step: Step) -> dict[str, str]:
    """All that a notebook's results come from: a name for each part, and its content or hash.

    Settings count by section, and only those that the notebook names. Weights and CLIP bundles
    count with their bytes. Of real data, which are too large for that, the names and sizes of the
    subject's files count: a session more is another run.
    """
    settings, named = profile.as_dict(), _named(step)
    if "as_dict" in named:
        named |= set(settings)
    if "data_root" in named:
        named |= {"data", "simulation"}
    code = code_digests(step.source, PROJECT_ROOT)
    found = {f"code of {name}": digest for name, digest in code.items()}
    for name in ("name", "subject", "seed", "device", *sorted(named & set(settings))):
        found[f"setting {name}"] = json.dumps(settings[name], sort_keys=True)
    files = [path for section in sorted(named) for path in weights(profile, section)]
    studies = _calls(ast.parse(step.source.read_text()), "open_study")
    files += [profile.figures / f"study_{call.args[1].value}.json" for call in studies]
    found |= {f"file {p.name}": sha256_file(p) for p in files if p.is_file()}
    if "data_root" in named and profile.simulation is None:
        found |= dict(_real_data(profile))
    inputs = [profile.derived / name for name in step.reads]
    return found | {f"input {p.name}": sha256_file(p) for p in inputs if p.is_file()}


def check_there(profile: Profile, wanted: Sequence[Step]) -> None:
    """Refuse, before anything runs, what would stop for a file that no notebook makes.

    Raises
    ------
    DataError, WeightsError
        If the NSD folder, or weights that a notebook names, are not there: what fetches them.
    """
    named = {section for step in wanted for section in _named(step)}
    if "data_root" in named and profile.simulation is None and not profile.data_root.is_dir():
        raise DataError(
            f"there is no NSD in {name_in(PROJECT_ROOT, profile.data_root)}. Expected: the folder "
            f"above nsddata/. Fetch it: make nsd-download PROFILE={profile.name} "
            f"SUBJECT={profile.subject}; name another by data.root=; or simulate: PROFILE=demo."
        )
    for section in sorted(named):
        for path in weights(profile, section):
            if not path.is_file():
                raise WeightsError(
                    f"{name_in(PROJECT_ROOT, path)} is missing, which section {section!r} of the "
                    f"settings names. Fetch it: make weights PROFILE={profile.name}. A LAFITE "
                    "generator: make lafite-import FILE=checkpoint.pkl, or make lafite-train "
                    f"PROFILE={profile.name}, which trains one on the folder's stimuli."
                )


def _named(step: Step) -> set[str]:
    """What a notebook takes from its settings: ``cfg.encoder``, ``cfg.data_root`` ..."""
    nodes = ast.walk(ast.parse(step.source.read_text()))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if getattr(node.value, "id", "") == "cfg"}


def weights(profile: Profile, section: str) -> list[Path]:
    """Files that a section of the settings names."""
    if section == "clip" and profile.clip.model.startswith(LOCAL):
        return own_files(profile.path(profile.clip.model.removeprefix(LOCAL)), "*")
    lafite, dino = profile.lafite, profile.dino
    names = {"lafite": [lafite.weights, lafite.judge, lafite.bank], "dino": [dino.weights]}
    return [profile.path(name) for name in names.get(section, ()) if name]


def _real_data(profile: Profile) -> Iterator[tuple[str, str]]:
    own = f"subj{profile.subject:02d}"
    for path in own_files(profile.data_root, "nsddata*/**/*"):
        name = path.relative_to(profile.data_root).as_posix()
        if set(re.findall(r"subj\d\d", name)) <= {own} and ".part" not in name:
            yield f"data {name}", str(path.stat().st_size)


def sha256_file(path: Path) -> str:
    """Of a file, read once in a call, for as long as it seems to be the same."""
    about = path.stat()
    return _hash(path, about.st_ino, about.st_size, about.st_mtime_ns)


@functools.cache
def _hash(path: Path, *about: int) -> str:
    return artifacts.sha256_file(path)


def last_record(profile: Profile, step: Step) -> dict:
    """Of a notebook's last execution: ``made_from``, ``written`` (hashes) and ``seconds``."""
    found = content(step.beside(profile, "record"))
    try:
        made_from, written = dict(found["made_from"]), dict(found["written"])
        return {"made_from": made_from, "written": written, "seconds": float(found["seconds"])}
    except (ValueError, KeyError, TypeError):
        return {"made_from": {}, "written": {}, "seconds": 0.0}


def content(path: Path) -> dict:
    """Of a JSON file; empty if it is not there, damaged, or holds anything else than a mapping."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def changed(profile: Profile, step: Step, record: Mapping) -> list[str]:
    """What is not as it was, of all that the results of a recorded execution came from."""
    now, then = made_from(profile, step), record["made_from"]
    return [name for name in {**now, **then} if now.get(name) != then.get(name)]


def reasons(profile: Profile, step: Step) -> list[str]:
    """Why a notebook is not up to date; empty if it is."""
    then = last_record(profile, step)
    if not then["written"]:
        return ["it has not run"]
    found = [f"{name} has changed" for name in changed(profile, step, then)]
    for name, digest in then["written"].items():
        path = PROJECT_ROOT / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif sha256_file(path) != digest:
            found.append(f"{name} is not what it wrote")
    return found
