"""The folder of a simulated dataset: whose it is, who is complete, who may write now."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Thread

from filelock import FileLock
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from fmri_utils.nsd.paths import NSDLayout
from fmri_utils.project.artifacts import own_files, write_json
from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import reading
from fmri_utils.project.simulation_config import SimulationConfig

from .ground_truth import ground_truth_path
from .stimulus_file import stored_ids

FORMAT = 4  # raise it when the same settings give other data

Runner = Callable[[Callable, list, str], Iterator]


def mark_folder(root: Path, config: SimulationConfig) -> None:
    """Make the folder this configuration's own, or refuse one that is not."""
    marker = root / "simulation.json"
    wanted = {"format": FORMAT, "config": dataclasses.asdict(config)}
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as in the file
    if marker.is_file():
        damaged = "delete the folder to simulate its data again, or choose another root."
        with reading(marker, "what was simulated", damaged=damaged):
            held = json.loads(marker.read_text())
        if held != wanted:
            old, new = held.get("config", {}), wanted["config"]
            changed = sorted(k for k in new.keys() | old.keys() if old.get(k) != new.get(k))
            what = f"other settings ({', '.join(changed)})" if changed else "an older version"
            raise DataError(
                f"{root} holds data simulated with {what}. Expected: one configuration per folder. "
                "Remove the folder, or choose another root."
            )
        return
    if (root / "nsddata").exists() or (root / "nsddata_betas").exists():
        raise DataError(
            f"{root} holds an NSD folder that was not simulated here. It is left alone. Choose "
            "another root for simulated data."
        )
    write_json(marker, wanted)
    (root / "nsddata").mkdir()


def manifest_path(root: Path, subject: int) -> Path:
    """List of the files of a complete subject."""
    return ground_truth_path(root, subject).with_suffix(".json")


def finished(root: Path, subject: int, nsd_ids: Iterable[int]) -> dict | None:
    """Summary of a complete subject whose files are all there, otherwise None."""
    path = manifest_path(root, subject)
    if not path.is_file():
        return None
    damaged = "delete it: the subject is then simulated again."
    with reading(path, "the list of a subject's files", damaged=damaged):
        manifest = json.loads(path.read_text())
    for name, size in manifest["files"].items():
        file = root / name
        if not file.is_file() or file.stat().st_size != size:
            return None
    stored = stored_ids(NSDLayout(root, subject).stimuli)
    return manifest["summary"] if stored.issuperset(nsd_ids) else None


def finish(root: Path, subject: int, summary: dict) -> None:
    """Write the manifest: the subject is complete."""
    name = f"subj{subject:02d}"
    parts = [p / name for p in root.glob("nsddata*/ppdata")]
    parts += [root / "nsddata" / "freesurfer" / brain for brain in (name, "fsaverage")]
    files = sorted(path for part in parts for path in own_files(part, "**/*"))
    files.append(ground_truth_path(root, subject))
    files += own_files(root / "nsddata" / "experiments", "**/nsd_*")
    files += own_files(root / "nsddata_stimuli", "**/captions_*.json")
    sizes = {p.relative_to(root).as_posix(): p.stat().st_size for p in files}
    manifest = {"subject": subject, "summary": summary, "files": sizes}
    write_json(manifest_path(root, subject), manifest)


def one_thread() -> threadpool_limits:
    """Let matrix products use one thread: their last bits depend on how many share the work.

    Returns
    -------
    threadpool_limits
        Holds from now on; as a context manager, until its end.
    """
    return threadpool_limits(limits=1, user_api="blas")


def be_worker() -> None:
    """Prepare a process of a pool: one thread, and an end when whoever started it was killed.

    Without it workers wait for work for ever.
    """
    one_thread()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def runner(workers: int, progress: bool) -> Iterator[Runner]:
    """Give a function that maps a function over jobs, in order, in one or several processes."""
    pool = None
    if workers > 1:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=be_worker)

    def run(function: Callable, jobs: list, what: str) -> Iterator:
        results = map(function, jobs) if pool is None else pool.map(function, jobs)
        yield from tqdm(results, total=len(jobs), desc=what, disable=not progress)

    try:
        yield run
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def alone(root: Path) -> FileLock:
    """Wait, as a context manager, until no other process writes what all subjects share."""
    return FileLock(root / ".lock")
