"""Two runs side by side: ``python -m pipeline.compare RUN_A RUN_B``.

A run is a folder with a ``results.json`` (the figures folder), with ``.h5`` files that notebooks
hand to each other (the derived folder), or with both; or a ``results.json`` itself. Another machine
adds up in another order, so its files never have the same bytes: numbers are compared, within a
tolerance, and hashes never are. Arrays of whole numbers and of truth values (ids, indices, masks)
must be equal; pictures (uint8) are rounded from floats, so they have a tolerance as floats do.

(Ways of using the generator within one run are compared in ``comparisons``.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmri_utils.plots.results import NUMBERS, read_results
from fmri_utils.project.artifacts import load_arrays, own_files
from fmri_utils.project.command import command
from fmri_utils.project.errors import ArtifactError

SETTINGS = (
    *("dataset", "subject", "seed", "profile", "roi", "overridden", "configuration", "clip_model"),
)
KEY = ["table", "metric", "method"]


# How far two numbers may lie apart: scores by ABSOLUTE + RELATIVE * max(|a|, |b|). One that counts
# images (a share of right answers, a rank) may also differ by N_IMAGES of them: a near tie that
# falls the other way moves it by one image at once.
RELATIVE, ABSOLUTE, N_IMAGES = 1e-3, 1e-3, 2
ARRAYS = 1e-2  # largest difference of two arrays of floats, or pictures, in standard deviations


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Two runs side by side.

    Attributes
    ----------
    settings : pandas.DataFrame
        Settings and versions that differ: columns ``a``, ``b``, the setting's name as index.
    numbers : pandas.DataFrame
        One row for each number: ``where``, ``a``, ``b``, ``difference``, ``allowed``, ``agrees``.
    """

    settings: pd.DataFrame
    numbers: pd.DataFrame

    @property
    def beyond(self) -> pd.DataFrame:
        """The numbers that differ by more than is allowed, or are in one of the runs only."""
        return self.numbers[~self.numbers["agrees"]]


def compare_runs(a: Path, b: Path) -> RunComparison:
    """Compare the results and arrays of two runs.

    Parameters
    ----------
    a, b : path-like
        Folders of runs, or their ``results.json``.

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
    settings, rows = pd.DataFrame(columns=["a", "b"]), []
    for name in sorted(set(files[0]) | set(files[1])):
        if name not in common:
            rows.append(_only(name, name in files[0]))
        elif name == "results.json":
            one, two = (read_results(found[name]) for found in files)
            settings = _settings(one, two)
            rows += _result_rows(one, two)
        else:
            rows += _array_rows(name, files[0][name], files[1][name])
    columns = ["where", "a", "b", "difference", "allowed", "agrees"]
    return RunComparison(settings, pd.DataFrame(rows, columns=columns).astype({"agrees": bool}))


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


def _only(where: str, in_a: bool) -> dict:
    """A row for what one of the runs lacks."""
    there, absent = "there", "not there"
    a, b = (there, absent) if in_a else (absent, there)
    nan = float("nan")
    return dict(where=where, a=a, b=b, difference=nan, allowed=nan, agrees=False)


def _settings(one: Mapping, two: Mapping) -> pd.DataFrame:
    """Settings and versions in which two records differ."""
    flat = [
        {name: record.get(name) for name in SETTINGS}
        | {f"version of {k}": v for k, v in record.get("versions", {}).items()}
        for record in (one, two)
    ]
    names = list(dict.fromkeys([*flat[0], *flat[1]]))
    differing = [name for name in names if flat[0].get(name) != flat[1].get(name)]
    values = {k: [f.get(name) for name in differing] for k, f in zip("ab", flat, strict=True)}
    return pd.DataFrame(values, index=differing, columns=["a", "b"])


def _result_rows(one: Mapping, two: Mapping) -> Iterator[dict]:
    """Every number of every score that one of two records has."""
    first, second = ({tuple(r[k] for k in KEY): r for r in x["rows"]} for x in (one, two))
    for key in dict.fromkeys([*first, *second]):
        label = ": ".join(key)
        if key not in first or key not in second:
            yield _only(label, key in first)
            continue
        for number in NUMBERS:
            a, b = first[key][number], second[key][number]
            where = f"{label}, {number}"
            if a is None and b is None:
                continue
            if a is None or b is None:
                yield _only(where, a is not None)
                continue
            size = ABSOLUTE + RELATIVE * max(abs(a), abs(b)) + N_IMAGES * _step(first[key], a, b)
            difference = abs(a - b)
            agrees = difference <= size * (1 + 1e-9)
            yield dict(where=where, a=a, b=b, difference=difference, allowed=size, agrees=agrees)


def _step(row: Mapping, *values: float) -> float:
    """What one image changes in a score that counts images; 0 for any other score."""
    n_images = row["n_images"]
    if not n_images:
        return 0.0
    if "rank" in row["metric"]:  # a median of whole ranks moves by halves
        return 0.5
    counts = [value * n_images for value in values]
    counted = all(abs(count - round(count)) < 1e-6 for count in counts)
    return 1 / n_images if counted else 0.0


def _array_rows(name: str, one: Path, two: Path) -> Iterator[dict]:
    """Every array of two derived files; ``a`` and ``b`` are its means, or its shapes."""
    remedy = "Make it again with `make all`, or leave the file out."
    first, second = (dict(_flat(load_arrays(path, remedy=remedy))) for path in (one, two))
    for key in dict.fromkeys([*first, *second]):
        label = f"{name}: {key}"
        if key not in first or key not in second:
            yield _only(label, key in first)
            continue
        a, b = first[key], second[key]
        if a.shape != b.shape or a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
            same = a.shape == b.shape and np.array_equal(a, b)
            shapes = dict(a=f"{a.dtype} {a.shape}", b=f"{b.dtype} {b.shape}")
            difference = 0.0 if same else float("nan")
            yield dict(where=label, **shapes, difference=difference, allowed=0.0, agrees=same)
            continue
        exact = _exact(a) and _exact(b)
        same = np.array_equal(a, b)  # before large ids lose their last digits as floats
        same_gaps = np.array_equal(np.isfinite(a), np.isfinite(b))
        both = np.isfinite(a) & np.isfinite(b)
        a, b = (x[both].astype(float) if both.any() else np.zeros(1) for x in (a, b))
        difference = float(np.abs(a - b).max())
        allowed = 0.0 if exact else ARRAYS * max(a.std(), b.std())
        agrees = same if exact else same_gaps and difference <= allowed
        means = dict(a=float(a.mean()), b=float(b.mean()))
        yield dict(where=label, **means, difference=difference, allowed=allowed, agrees=agrees)


def _exact(array: np.ndarray) -> bool:
    """Whether the values are ids, counts or truth values, which no machine rounds otherwise."""
    return array.dtype.kind in "biu" and array.dtype != np.uint8


def _flat(arrays: Mapping, before: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in arrays.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", np.asarray(value)


def report(comparison: RunComparison, *, every: bool = False) -> str:
    """A comparison as text: differing settings, then the numbers beyond tolerance (or all)."""
    parts = []
    if len(comparison.settings):
        parts += ["Settings and versions that differ:", comparison.settings.to_string()]
    shown = comparison.numbers if every else comparison.beyond
    if len(shown):
        parts += ["All numbers:" if every else "Beyond tolerance:"]
        parts += [shown.to_string(index=False, float_format="{:.4g}".format)]
    n, n_beyond = len(comparison.numbers), len(comparison.beyond)
    parts.append(f"{n - n_beyond} of {n} numbers agree, {n_beyond} do not")
    return "\n\n".join(parts)


@command
def main(arguments: list[str]) -> int:
    """0 if all numbers agree, 1 if some do not."""
    runs = [argument for argument in arguments if argument != "--all"]
    if len(runs) != 2:
        raise ArtifactError(
            f"{len(runs)} runs were given. Expected two: python -m pipeline.compare RUN_A RUN_B; "
            "--all shows all numbers, not only those beyond tolerance."
        )
    comparison = compare_runs(*map(Path, runs))
    print(report(comparison, every="--all" in arguments))
    return 1 if len(comparison.beyond) else 0


if __name__ == "__main__":
    raise SystemExit(main())
