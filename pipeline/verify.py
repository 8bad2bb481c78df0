"""Is every file what its manifest says, and would it be made the same today? ``make verify``.

Looked at is what has a manifest: derived files, figures (the committed ones too), results of
studies, and what each notebook wrote in its last run. A file can be

* *changed*: its bytes are not those that were written, or a figure's own metadata contradict what
  is written beside it;
* *missing*;
* *stale*: one of its inputs or settings is another today, so that it would be made anew.

Results of studies come with the repository and are read by notebooks; that the derived files they
were computed from have other bytes here is noted, not counted: other hardware rounds otherwise. Of
figures ``inputs.json`` says from which derived files this machine has made them, or found that they
say the same.

Inputs that are not here (a fresh clone has figures, but no derived files) cannot be compared; they
are counted and named.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from fmri_utils.project.artifacts import own_files, package_versions, sha256_json
from fmri_utils.project.command import command
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import PROJECT_ROOT, WHICH_RUN, Profile, load_profile
from fmri_utils.project.provenance import FIGURES, INPUTS, PROVENANCE, figure_origin

from .steps import changed, content, sha256_file, steps, weights

FOLDERS = ("data/derived", "figures", "runs")
STUDIES = "figures/study_*.json"  # shipped: `make all` makes their inputs anew, but not them
CHANGED, MISSING, STALE = "changed", "missing", "stale"


class Report:
    """What is found when all files are compared with their manifests, and inputs with today's.

    Attributes
    ----------
    checked : set of str
        Files whose bytes were compared, relative to the project's root.
    findings : dict of (str, str) to str
        (kind, file) to why.
    notes : list of str
        What could not be compared, and other things that are no fault.
    """

    def __init__(self, root: Path):
        self.root, self.checked, self.findings, self.notes = root, set(), {}, []
        self.absent = set()  # inputs that are not here
        for path in (path for folder in FOLDERS for path in own_files(root / folder, "**/*.json")):
            if path.name == PROVENANCE:
                check, names = self._check_figures, ("config", "inputs", "files")
            elif path.name.endswith("-record.json"):
                check, names = self._check_record, ("written", "made_from")
            elif path.with_suffix("").suffix:
                check, names = self._check_manifest, ("config", "inputs")
            else:
                continue
            if manifest := self._read(path, *names):
                check(path, manifest)
        for path in own_files(root, "figures/**/*") + own_files(root, "runs/*/figures/**/*"):
            beside = path.with_name(PROVENANCE)
            if path.suffix in FIGURES and not beside.is_file():
                self._find(MISSING, beside, "nothing says what made the figures")
        if self.absent:
            self._note(f"inputs that are not here, not compared: {', '.join(sorted(self.absent))}")

    def text(self) -> str:
        """All of it, in lines."""
        lines = [f"{kind:<8} {name}: {why}" for (kind, name), why in sorted(self.findings.items())]
        lines += [f"note     {note}" for note in self.notes]
        n = Counter(kind for kind, _ in self.findings)
        found = ", ".join(f"{n[kind]} {kind}" for kind in (CHANGED, MISSING, STALE))
        lines.append(f"{len(self.checked)} files compared with what was written: {found}")
        if self.findings:
            lines.append(
                "`make all` makes what is stale or missing again, `make sweep` a sweep's table. "
                "Delete first what was changed by hand, and keep a copy elsewhere."
            )
        return "\n".join(lines)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _find(self, kind: str, path: Path, why: str) -> None:
        self.findings.setdefault((kind, self._name(path)), why)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _check_bytes(self, path: Path, digest: object, source: Path) -> None:
        if not path.is_file():
            self._find(MISSING, path, f"{source.name} names it")
            return
        self.checked.add(self._name(path))
        if sha256_file(path) != digest:
            self._find(CHANGED, path, f"its bytes are not those that {source.name} names")

    def _read(self, path: Path, *names: str) -> dict | None:
        """A manifest with these mappings in it, or None if it is not readable as one."""
        manifest = content(path)
        if all(isinstance(manifest.get(name), Mapping) for name in names):
            return manifest
        self._find(CHANGED, path, "it is no longer a manifest that can be read")
        return None

    def _check_manifest(self, path: Path, manifest: Mapping) -> None:
        self._check_bytes(path.with_suffix(""), manifest.get("sha256"), path)
        self._check_origin(path.with_suffix(""), manifest)

    def _check_figures(self, path: Path, provenance: Mapping) -> None:
        """All files of a folder of figures, and what the figures say of themselves."""
        beside, here = path.with_name(INPUTS), {"inputs": {}}
        if beside.is_file():
            here = self._read(beside, "inputs", "versions") or here
        else:
            self._note(f"{self._name(beside)} is not here: no run here has made these figures")
        inputs = {**provenance["inputs"], **here["inputs"]}
        self._check_origin(path, {**provenance, **here, "inputs": inputs})
        for name, digest in provenance["files"].items():
            file = path.with_name(name)
            self._check_bytes(file, digest, path)
            drawn = file.suffix in FIGURES and file.is_file()
            if drawn and (why := _contradiction(figure_origin(file), provenance)):
                self._find(CHANGED, file, why)
        there = {f.name for f in own_files(path.parent, "*") if f.suffix in FIGURES}
        if unnamed := sorted(there - set(provenance["files"])):
            self._note(f"{self._name(path)} does not name {', '.join(unnamed)}")

    def _check_record(self, path: Path, record: Mapping) -> None:
        """What a notebook wrote in its last run, and whether it would run again."""
        for name, digest in record["written"].items():
            self._check_bytes(self.root / name, digest, path)
        profile = self._profile(path, record.get("config"), "")
        for step in steps() if profile else ():
            is_its = path == self.root / step.beside(profile, "record")
            if is_its and (other := ", ".join(changed(profile, step, record))):
                self._find(STALE, path, f"it would run again: changed since are {other}")

    def _check_origin(self, file: Path, manifest: Mapping) -> None:
        """Whether inputs and settings are still those that a file was made from."""
        runs = manifest["config"].get("runs")  # of a sweep: inputs are named "run/file"
        configs = runs if isinstance(runs, Mapping) else {"": manifest["config"]}
        profiles = {run: self._profile(file, config, run) for run, config in configs.items()}
        for name, digest in manifest["inputs"].items():
            run, _, inner = name.rpartition("/")
            profile = profiles.get(run)
            source = next((p for p in _places(inner, file, profile) if p.is_file()), None)
            if source is None:
                self.absent.add(name)
            elif sha256_file(source) != digest:
                if file.match(STUDIES) and profile and source.is_relative_to(profile.derived):
                    self._note(
                        f"{self._name(file)} was made from another {name}: of another machine, "
                        "whose last digits differ, or of earlier code. `make study` runs it again."
                    )
                else:
                    self._find(STALE, file, f"it was made from another {name}")
        here = package_versions()
        for name, version in manifest.get("versions", {}).items():
            if name in here and here[name] != version:
                self._note(f"made with {name} {version}, here is {here[name]}")

    def _profile(self, file: Path, config: Mapping, run: str) -> Profile | None:
        """Today's profile of the same name; what differs in it is a finding."""
        what = f"settings of {run}" if run else "settings"
        if not isinstance(config, Mapping) or not set(WHICH_RUN) <= set(config):
            return None
        try:
            which = {name: config[name] for name in ("subject", "seed", "device")}
            profile = load_profile(config["name"], overrides=config["overridden"], **which)
        except ProfileError as err:
            self._find(STALE, file, f"{what} are no longer valid ({err})")
            return None
        then, now = _flat(config), _flat(json.loads(json.dumps(profile.as_dict())))
        common = sorted(then.keys() & now.keys())  # a setting that came later changed nothing
        changed = [f"{k} was {then[k]}, is {now[k]}" for k in common if then[k] != now[k]]
        if changed:
            self._find(STALE, file, f"{what} are others now: {'; '.join(changed)}")
        return profile


def _flat(settings: Mapping) -> dict:
    """Settings by their names in one level: ``section.key``."""
    return pd.json_normalize(settings, sep=".").astype(object).loc[0].to_dict()


def _places(name: str, file: Path, profile: Profile | None) -> Iterator[Path]:
    """Where an input may lie: beside the file, among the derived files, or among the weights."""
    yield file.parent / name
    if profile is not None:
        yield profile.derived / name
        for path in (*weights(profile, "lafite"), *weights(profile, "dino")):
            if name == path.name:
                yield path


def _contradiction(origin: Mapping[str, str], provenance: Mapping) -> str:
    """What a figure's own metadata say otherwise than the file beside it; empty if nothing."""
    if not origin:
        return "the figure does not say what made it"
    config = provenance["config"]
    expected = {"notebook": provenance["made_by"], "seed": str(config["seed"])}
    expected["configuration"] = sha256_json(config)[:12]
    said = {name: origin.get(name, "nothing") for name in sorted(expected)}
    other = ", ".join(f"{name}={text}" for name, text in said.items() if text != expected[name])
    return other and f"the figure says: made from {other}; {PROVENANCE} says otherwise"


@command
def main(arguments: list[str]) -> int:
    """0 if all is as written, 1 if something is changed, missing or stale."""
    if arguments:
        raise ProfileError(f"{arguments} was given; expected nothing: all is verified")
    report = Report(PROJECT_ROOT)
    print(report.text())
    return 1 if report.findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
