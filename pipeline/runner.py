"""Run the notebooks headlessly, in order, only where something has changed.

``python -m pipeline.runner all PROFILE=demo SUBJECT=1`` is what ``make all`` calls. A notebook is
up to date when its *key* equals the key in its stamp, and every file that it wrote still has the
bytes that the stamp names. The key is a hash of its source, the package, the profile, the weights,
the names and sizes of real data files, the results of `make study` that it shows, and the key of
the notebook before it. Times and version control play no part.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fmri_utils.project.artifacts import (
    OUTPUTS_MIME,
    atomic_path,
    explained,
    name_in,
    own_files,
    sha256_file,
    sha256_json,
)
from fmri_utils.project.command import command
from fmri_utils.project.errors import FmriUtilsError, ProfileError
from fmri_utils.project.profiles import PROFILES, PROJECT_ROOT, Profile, load_profile

from .pairing import notebook_from_source, notebook_sources

NOTEBOOKS = PROJECT_ROOT / "notebooks"
PACKAGES = ("fmri_utils", "simulated_nsd", "pipeline")
VARIABLES = ("PROFILE", "SUBJECT", "SEED", "DEVICE")
LOCAL = "local-dir:"  # as in clip.space, which would load torch
TIMEOUT_SECONDS = 6 * 3600  # of one cell: a wedged kernel must not hold a night's run
START_SECONDS = 300  # of a kernel, on a machine with much else to do
LOCK_SECONDS = 10  # a kernel whose runner was killed may need one or two to end


@dataclass(frozen=True)
class Request:
    """What one call of the runner was asked to do."""

    targets: tuple[str, ...]
    profile: Profile
    parameters: dict[str, object]


def numbered_notebooks(folder: Path = NOTEBOOKS) -> list[Path]:
    """Sources of the numbered notebooks, in order of execution."""
    return [path for path in notebook_sources(folder) if path.name[0].isdigit()]


def parse_request(arguments: Sequence[str]) -> Request:
    """Read targets ("all", "03", ...) and KEY=VALUE settings, refusing what is not known.

    Raises
    ------
    ProfileError
        On an unknown target, variable, profile, section, key or value.
    """
    targets = [a for a in arguments if "=" not in a]
    settings = dict(a.split("=", 1) for a in arguments if "=" in a)
    valid = {path.stem[:2] for path in numbered_notebooks()}
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
    parameters = {
        "PROFILE": profile.name,
        "SUBJECT": profile.subject,
        "SEED": profile.seed,
        "DEVICE": profile.device,
        "OVERRIDES": list(profile.overridden),
        "INTERACTIVE": False,
    }
    return Request(tuple(targets or ["all"]), profile, parameters)


def _integer(named: dict[str, str], key: str) -> int | None:
    if key not in named:
        return None
    try:
        return int(named[key])
    except ValueError:
        raise ProfileError(f"{key} is {named[key]!r}. Expected: a whole number.") from None


def package_digest() -> str:
    """Hash of the packages' sources and of the shipped weights."""
    files = [p for name in PACKAGES for p in own_files(PROJECT_ROOT / name, "**/*.py")]
    files += own_files(PROJECT_ROOT / "data" / "pretrained", "**/*")
    return sha256_json([[p.relative_to(PROJECT_ROOT).as_posix(), sha256_file(p)] for p in files])


def outside_digest(profile: Profile) -> str:
    """Hash of what a profile takes from outside the repository, so that a change is noticed.

    Weights and CLIP bundles count with their bytes. Of real data, which are too large for that, the
    names and sizes of the subject's files count: a session more is another run.
    """
    named = [profile.lafite.weights, profile.lafite.judge, profile.dino.weights]
    if profile.clip.model.startswith(LOCAL):
        bundle = profile.path(profile.clip.model.removeprefix(LOCAL))
        named += sorted(str(path) for path in own_files(bundle, "*"))
    files = [path for path in map(profile.path, filter(None, named)) if path.is_file()]
    weights = [[path.name, sha256_file(path)] for path in files]
    sizes = []
    if profile.simulation is None:
        own = f"subj{profile.subject:02d}"
        for path in own_files(profile.data_root, "nsddata*/**/*"):
            subjects = re.findall(r"subj\d\d", path.relative_to(profile.data_root).as_posix())
            if set(subjects) <= {own} and ".part" not in path.name:
                sizes.append([path.relative_to(profile.data_root).as_posix(), path.stat().st_size])
    return sha256_json([weights, sizes])


def plan(profile: Profile, notebooks: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each notebook with its key; a key depends on every notebook before it."""
    previous = sha256_json([package_digest(), profile.as_dict(), outside_digest(profile)])
    studies = own_files(profile.figures, "study_*.json")  # shown where `make study` has made them
    steps = []
    for path in notebooks:
        text = path.read_text()
        shown = [
            sha256_file(study)
            for study in studies
            if f'open_study(cfg, "{study.stem.removeprefix("study_")}")' in text
        ]
        previous = sha256_json([previous, path.name, sha256_file(path), *shown])
        steps.append((path, previous))
    return steps


def stamp_path(profile: Profile, notebook: Path) -> Path:
    """Place of the record of a notebook's last successful run."""
    return profile.runs / f"{notebook.stem}.stamp.json"


def is_current(profile: Profile, notebook: Path, key: str) -> bool:
    """Whether the notebook has run with this key and everything it wrote is still there."""
    stamped, outputs = _read_stamp(profile, notebook)
    return stamped == key and all(
        (PROJECT_ROOT / name).is_file() and sha256_file(PROJECT_ROOT / name) == digest
        for name, digest in outputs.items()
    )


def written_by(profile: Profile, notebooks: Sequence[Path]) -> set[Path]:
    """Files that notebooks wrote in their last successful runs, as their stamps name them."""
    return {PROJECT_ROOT / name for path in notebooks for name in _read_stamp(profile, path)[1]}


def _read_stamp(profile: Profile, notebook: Path) -> tuple[str | None, dict[str, str]]:
    """Key and outputs of a notebook's last successful run; None and nothing without a record."""
    try:
        stamp = json.loads(stamp_path(profile, notebook).read_text())
        return stamp["key"], dict(stamp["outputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, {}


def run(request: Request, *, progress: bool = True) -> list[str]:
    """Execute the notebooks that are not up to date.

    Returns
    -------
    list of str
        Names of the notebooks that were executed.
    """
    profile = request.profile
    notebooks = wanted_notebooks(request)
    done = []
    with _one_run_at_a_time(profile.runs / "lock", progress):
        for path, key in plan(profile, notebooks):
            if is_current(profile, path, key):
                continue
            start = time.monotonic()
            _say(f"{path.stem} ...", progress)
            outputs = execute(path, profile.runs / f"{path.stem}.ipynb", request.parameters)
            write_stamp(profile, path, key, outputs)
            done.append(path.stem)
            _say(f"{path.stem} done in {time.monotonic() - start:.0f} s", progress)
    return done


def wanted_notebooks(request: Request) -> list[Path]:
    """The notebooks of a request's targets and all before them."""
    notebooks = numbered_notebooks()
    if "all" in request.targets:
        return notebooks
    last = max(i for i, p in enumerate(notebooks) if p.stem[:2] in _numbers(request.targets))
    return notebooks[: last + 1]


def _numbers(targets: Sequence[str]) -> set[str]:
    return {target[:2] for target in targets}


def _say(text: str, progress: bool) -> None:
    if progress:
        sys.stderr.write(text + "\n")


def write_stamp(profile: Profile, path: Path, key: str, outputs: Sequence[Path]) -> None:
    """Record that a notebook has run with this key, and the bytes of what it wrote."""
    named = {name_in(PROJECT_ROOT, p): sha256_file(p) for p in outputs}
    with atomic_path(stamp_path(profile, path)) as tmp:
        tmp.write_text(json.dumps({"key": key, "outputs": named}, indent=1) + "\n")


@contextlib.contextmanager
def _one_run_at_a_time(path: Path, progress: bool = True):
    """Wait a little for another run in the same folder, then refuse; locks die with processes.

    A kernel inherits the lock. While one whose runner was killed still ends, nobody starts.
    """
    import fcntl

    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with open(path, "r+b", buffering=0) as handle:
        _wait_for(handle, progress)
        with explained(path):
            handle.truncate(0)
            handle.write(f"{os.getpid()} on {platform.node()}".encode())
        os.set_inheritable(handle.fileno(), True)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def _wait_for(handle: IO, progress: bool) -> None:
    """Take the lock of an open file, or say which process has it."""
    until = time.monotonic() + LOCK_SECONDS
    told = False
    while not _taken(handle):
        holder = Path(handle.name).read_text() or "unknown"
        if time.monotonic() > until:
            raise FmriUtilsError(
                f"another run (process {holder}) is at work in {Path(handle.name).parent}. Wait "
                "for it to end, or choose another SUBJECT, SEED or PROFILE."
            )
        if not told:
            _say(f"waiting up to {LOCK_SECONDS} s for process {holder} to end ...", progress)
            told = True
        time.sleep(0.1)


def _taken(handle: IO) -> bool:
    """Take the lock of an open file if nobody has it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def execute(source: Path, executed: Path, parameters: dict[str, object]) -> list[Path]:
    """Run one notebook in a fresh kernel and keep the executed copy.

    Parameters
    ----------
    source : pathlib.Path
        The ``.py`` (py:percent) notebook.
    executed : pathlib.Path
        Where the executed ``.ipynb`` goes; it appears only on success. After a failure the
        notebook, with its traceback, is kept as ``<name>.failed.ipynb``.
    parameters : dict
        Values for the notebook's ``parameters`` cell; an unknown name is refused.

    Returns
    -------
    list of pathlib.Path
        Files that the notebook declared through :func:`fmri_utils.project.artifacts.list_outputs`.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    from .kernels import IpcKernelManager

    failed = executed.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    with atomic_path(executed) as tmp:
        given = tmp.with_name("given.ipynb")
        given.write_text(notebook_from_source(source))
        known = papermill.inspect_notebook(str(given))
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ProfileError(f"{source.name} has no parameter {unknown}. Valid: {sorted(known)}.")
        try:
            papermill.execute_notebook(
                str(given),
                str(tmp),
                parameters=parameters,
                kernel_name="python3",
                kernel_manager_class=IpcKernelManager,
                progress_bar=False,
                execution_timeout=TIMEOUT_SECONDS,
                start_timeout=START_SECONDS,
                iopub_timeout=START_SECONDS,  # for a figure to arrive; a busy kernel needs longer
                cwd=str(source.parent),
            )
        except (PapermillExecutionError, CellTimeoutError, RuntimeError) as err:  # a dead kernel
            message = f"{source.name} stopped: {_last_line(err)}"
            if tmp.is_file():
                os.replace(tmp, failed)
                message += f"\nThe notebook up to there: {failed}"
            raise FmriUtilsError(message) from err
        outputs = _declared_outputs(tmp)
    return [*outputs, executed]


def _last_line(err: Exception) -> str:
    name, value = getattr(err, "ename", type(err).__name__), getattr(err, "evalue", str(err))
    return f"{name}: {value}"


def _declared_outputs(executed: Path) -> list[Path]:
    """Files named in the last cell's output by list_outputs."""
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    for cell in reversed(notebook.cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get(OUTPUTS_MIME)
            if data and "written" in data:
                return [PROJECT_ROOT / name for name in data["written"]]
    raise FmriUtilsError(
        f"{executed.name} did not say what it wrote. Expected: its last cell calls list_outputs."
    )


@command
def main(arguments: list[str]) -> None:
    """Targets and KEY=VALUE settings."""
    request = parse_request(arguments)
    done = run(request)
    if done:
        sys.stderr.write(f"{len(done)} notebooks executed; figures in {request.profile.figures}\n")
    else:
        sys.stderr.write("nothing to do: every notebook and figure is up to date\n")


if __name__ == "__main__":
    raise SystemExit(main())
