"""Two runs side by side: ``python -m pipeline.compare RUN_A RUN_B``.

A run is a folder with a ``results.json`` (the figures folder), with ``.h5`` files that notebooks
hand to each other (the derived folder), or with both; or a ``results.json`` itself. Another machine
adds up in another order, so its files never have the same bytes: numbers are compared, within a
tolerance, and hashes never are. Arrays of whole numbers and of truth values (ids, indices, masks)
must be equal; pictures (uint8) are rounded from floats, so they have a tolerance as floats do.

(Ways of using the generator within one run are compared in ``comparisons``.)
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fmri_utils.plots.results import NUMBERS, read_results
from fmri_utils.project.artifacts import load_arrays, own_files
from fmri_utils.project.command import command
from fmri_utils.project.errors import ArtifactError

SETTINGS = ("dataset", "subject", "seed", "profile", "roi", "overridden")
SETTINGS += ("configuration", "clip_model")
KEY = ("table", "metric", "method")
COLUMNS = ["where", "a", "b", "difference", "allowed", "agrees"]

# How far two numbers may lie apart: scores by ABSOLUTE + RELATIVE * max(|a|, |b|). One that counts
# images (a share of right answers, a rank) may also differ by N_IMAGES of them: a near tie that
# falls the other way moves it by one image at once.
RELATIVE, ABSOLUTE, N_IMAGES = 1e-3, 1e-3, 2
ARRAYS = 1e-2  # largest difference of two arrays of floats, or pictures, in standard deviations


def compare_runs(a: Path, b: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the results and arrays of two runs.

    Parameters
    ----------
    a, b : path-like
        Folders of runs, or their ``results.json``.

    Returns
    -------
    settings : pandas.DataFrame
        Settings and versions that differ: columns ``a``, ``b``, the setting's name as index.
    numbers : pandas.DataFrame
        One row for each number: ``where``, ``a``, ``b``, ``difference``, ``allowed``, ``agrees``.
        What only one run has agrees with nothing.

    Raises
    ------
    ArtifactError
        If one holds neither results nor arrays, a file is damaged, or they have nothing in common.
    """
    files = [_run_files(Path(run)) for run in (a, b)]
    common = [name for name in files[0] if name in files[1]]
    if not common:
        raise ArtifactError(
            f"{a} holds {sorted(files[0])}, {b} holds {sorted(files[1])}: nothing that both have. "
            "Expected: two folders of figures, or two of derived files."
        )
    settings = pd.DataFrame(columns=["a", "b"])
    alone = ({name: 0 for name in found if name not in common} for found in files)
    rows = list(_rows(*alone, max))
    for name in common:
        if name == "results.json":
            records = [read_results(found[name]) for found in files]
            settings = _settings(*records)
            rows += _rows(*map(_scores, records), _compared_scores)
        else:
            arrays = (dict(_arrays(f"{name}: ", found[name])) for found in files)
            rows += _rows(*arrays, _compared_arrays)
    return settings, pd.DataFrame(rows, columns=COLUMNS).astype({"agrees": bool})


def _run_files(run: Path) -> dict[str, Path]:
    """Comparable files of a run by name."""
    if run.is_file():
        return {"results.json": run}
    found = {path.name: path for path in own_files(run, "results.json") + own_files(run, "*.h5")}
    if not found:
        raise ArtifactError(
            f"{run} holds no results.json and no .h5 file. Expected: the figures folder or the "
            "derived folder of a run; `make all` writes both."
        )
    return found


def _rows(first: Mapping, second: Mapping, compared: Callable) -> Iterator[tuple]:
    """One row for each name that one of two runs has; ``compared`` gives it where both have it."""
    for where in dict.fromkeys([*first, *second]):
        if where in first and where in second:
            yield where, *compared(first[where], second[where])
        else:
            a, b = ("there" if where in found else "not there" for found in (first, second))
            yield where, a, b, np.nan, np.nan, False


def _settings(*records: Mapping) -> pd.DataFrame:
    """Settings and versions in which two records differ."""
    flat = [
        {name: record.get(name) for name in SETTINGS}
        | {f"version of {k}": v for k, v in record.get("versions", {}).items()}
        for record in records
    ]
    both = pd.DataFrame(flat, index=["a", "b"], dtype=object).T
    return both[[a != b for a, b in both.to_numpy()]]


def _scores(record: Mapping) -> dict[str, tuple[float, float]]:
    """Every number of every score, and what one image may change in it."""
    return {
        ": ".join(row[name] for name in KEY) + f", {number}": (row[number], _step(row, number))
        for row in record["rows"]
        for number in NUMBERS
        if row[number] is not None
    }


def _step(row: Mapping, number: str) -> float:
    """What one image changes in a score that counts images; 0 for any other score."""
    if not row["n_images"]:
        return 0.0
    if "rank" in row["metric"]:  # a median of whole ranks moves by halves
        return 0.5
    count = row[number] * row["n_images"]
    return 1 / row["n_images"] if abs(count - round(count)) < 1e-6 else 0.0


def _compared_scores(one: tuple[float, float], two: tuple[float, float]) -> tuple:
    (a, step_a), (b, step_b) = one, two
    allowed = ABSOLUTE + RELATIVE * max(abs(a), abs(b)) + N_IMAGES * min(step_a, step_b)
    return a, b, abs(a - b), allowed, abs(a - b) <= allowed * (1 + 1e-9)


def _arrays(before: str, node: Path | Mapping) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a derived file by its name."""
    if isinstance(node, Path):
        node = load_arrays(node, remedy="Make it again with `make all`, or leave the file out.")
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _arrays(f"{before}{name}/", value)
        else:
            yield f"{before}{name}", np.asarray(value)


def _compared_arrays(one: np.ndarray, two: np.ndarray) -> tuple:
    """Two arrays; ``a`` and ``b`` are their means, or their shapes where they must be equal."""
    pair = one, two
    # No machine rounds ids, counts, truth values or texts.
    exact = all(x.dtype.kind != "f" and x.dtype != np.uint8 for x in pair)
    if exact or one.shape != two.shape or not all(x.dtype.kind in "biuf" for x in pair):
        same = np.array_equal(one, two)
        return *(f"{x.dtype} {x.shape}" for x in pair), 0.0 if same else np.nan, 0.0, same
    finite = np.isfinite(one) & np.isfinite(two)
    same_gaps = np.array_equal(np.isfinite(one), np.isfinite(two))
    a, b = (x[finite].astype(float) if finite.any() else np.zeros(1) for x in pair)
    difference, allowed = np.abs(a - b).max(), ARRAYS * max(a.std(), b.std())
    return a.mean(), b.mean(), difference, allowed, same_gaps and difference <= allowed


def report(settings: pd.DataFrame, numbers: pd.DataFrame, *, every: bool = False) -> str:
    """A comparison as text: differing settings, then the numbers beyond tolerance (or all)."""
    parts = []
    if len(settings):
        parts += ["Settings and versions that differ:", settings.to_string()]
    shown = numbers if every else numbers[~numbers["agrees"]]
    if len(shown):
        parts += ["All numbers:" if every else "Beyond tolerance:"]
        parts += [shown.to_string(index=False, float_format="{:.4g}".format)]
    n, n_agree = len(numbers), numbers["agrees"].sum()
    parts.append(f"{n_agree} of {n} numbers agree, {n - n_agree} do not")
    return "\n\n".join(parts)


@command
def main(arguments: list[str]) -> int:
    """0 if all numbers agree, 1 if some do not."""
    runs = [argument for argument in arguments if argument != "--all"]
    if len(runs) != 2:
        raise ArtifactError(
            f"{len(runs)} runs were given. Expected: two, and --all to see all numbers."
        )
    settings, numbers = compare_runs(*map(Path, runs))
    print(report(settings, numbers, every="--all" in arguments))
    return int(not numbers["agrees"].all())


if __name__ == "__main__":
    raise SystemExit(main())
