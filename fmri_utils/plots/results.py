"""The results of a run: a page for people, and the same numbers as JSON.

``results.json`` keeps every number in full precision, one row for each score of each method, so
that runs can be gathered (over subjects, areas and seeds) and compared (``pipeline.compare``).
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..metrics import markdown_table, published_markdown, table_markdown
from ..metrics.tables import NOT_AVAILABLE
from ..project.artifacts import atomic_path, sha256_json, write_json
from ..project.errors import ArtifactError
from ..project.reading import reading

# The numbers of a row of ``results.json``.
NUMBERS = ("value", "low", "high", "chance", "baseline", "ceiling")


def results_page(
    config: Mapping,
    label: str,
    encoder_table: Mapping,
    picture_table: Mapping,
    auroc: Mapping[str, float],
) -> str:
    """Markdown text of ``figures/results.md``.

    Parameters
    ----------
    config : mapping
        The profile's settings.
    label : str
        Data set and subject.
    encoder_table, picture_table : mapping
        From :func:`fmri_utils.metrics.score_table`.
    auroc : mapping of str to float
        Statistic to AUROC against planted truth; empty for real data.
    """
    parts = [
        f"# Results: {label}",
        f"Profile `{config['name']}`, seed {config['seed']}.",
        "## From the brain to CLIP space",
        "`brain_to_image` ranks all test images for a brain pattern, `image_to_brain` all brain "
        "patterns for an image. The oracle is the ceiling; the mean embedding ignores the brain.",
        table_markdown(encoder_table),
        "## From CLIP space to a picture",
        "The mean training image is one and the same for all and needs no brain: a score that does "
        "not exceed its score says nothing about the brain. The random embedding is that of "
        "another training image. The blurred picture is read from V1 to V3, without a generator. "
        "The ceiling is the generator fed with the true embedding; a score in which another "
        "picture reaches it has no ceiling here. The judge is a network that took no part in any "
        "training here.",
        table_markdown(picture_table),
    ]
    if not picture_table["about"]["simulated"]:
        parts += ["Beside published scores:", published_markdown(picture_table)]
    parts += [
        "## Which voxels carry anything?",
        "AUROC of each statistic for telling tuned voxels from voxels that carry nothing (known "
        "for simulated subjects only). Chance 0.5, ceiling 1.",
    ]
    rows = [[name, "0.500", f"{value:.3f}"] for name, value in auroc.items()]
    rows = rows or [["all of notebook 05", "0.500", NOT_AVAILABLE]]
    parts.append(markdown_table(["statistic", "chance", "AUROC"], rows))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def results_record(
    config: Mapping, encoder_table: Mapping, picture_table: Mapping, auroc: Mapping[str, float]
) -> dict:
    """What ``figures/results.json`` holds: the numbers of :func:`results_page`, unrounded.

    Parameters
    ----------
    config : mapping
        The profile's settings.
    encoder_table, picture_table : mapping
        From :func:`fmri_utils.metrics.score_table`.
    auroc : mapping of str to float
        Statistic to AUROC against planted truth; empty for real data.

    Returns
    -------
    dict
        ``dataset``, ``simulated``, ``subject``, ``seed``, ``profile``, ``roi``, ``overridden``,
        ``configuration`` (SHA-256 of all settings), ``clip_model``, ``versions`` and ``rows``. Each
        row has ``table`` ("embeddings", "pictures" or "voxels"), ``metric``, ``method``, ``role``
        ("baseline", "method", "ceiling" or "difference"), ``better`` ("higher" or "lower"),
        ``n_images``, ``interval_over``, the :data:`NUMBERS`, and ``not_available``: None, or the
        reason why there is no ``value``. A number that does not exist is None.
    """
    about = picture_table["about"]
    rows = [*_table_rows("embeddings", encoder_table), *_table_rows("pictures", picture_table)]
    voxels, ends = ("voxels", "AUROC"), {"chance": 0.5, "ceiling": 1.0}
    rows += [_row(*voxels, n, "method", "higher", value=v, **ends) for n, v in auroc.items()]
    return {
        "dataset": about["dataset"],
        "simulated": about["simulated"],
        "subject": config["subject"],
        "seed": config["seed"],
        "profile": config["name"],
        "roi": config["data"]["roi"],
        "overridden": list(config["overridden"]),
        "configuration": sha256_json(config),
        "clip_model": about["clip_model"],
        "versions": picture_table["versions"],
        "rows": rows,
    }


def _table_rows(name: str, table: Mapping) -> Iterator[dict]:
    """One row for each score of each set of a table of scores."""
    roles = {table["baseline"]: "baseline", table["ceiling"]: "ceiling"}
    for metric, entry in table["rows"].items():
        cells = entry["scores"]
        ends = {role: cells[method].get("value") for method, role in roles.items()}
        n = table["n_images"]
        for method in table["sets"]:
            role = roles.get(method, "method")
            known = {"n_images": n, **cells[method], **ends}
            yield _row(name, metric, method, role, entry["better"], **known)
        for method in table.get("differences", ()):
            known = {"n_images": n, **cells[method]}
            yield _row(name, metric, method, "difference", entry["better"], **known)


def _row(table: str, metric: str, method: str, role: str, better: str, **known: object) -> dict:
    """A row with every entry, None where there is none; JSON has no NaN."""
    row = {"table": table, "metric": metric, "method": method, "role": role, "better": better}
    row |= {n: known.get(n) for n in ("n_images", "interval_over", *NUMBERS, "not_available")}
    for name in NUMBERS:
        if row[name] is not None and not math.isfinite(row[name]):
            row[name] = None
    if row["value"] is None and row["not_available"] is None:
        row["not_available"] = "not a finite number"
    return row


def save_results(folder: Path, record: Mapping, page: str) -> list[Path]:
    """Write ``results.json`` and ``results.md``; equal results give equal bytes.

    Parameters
    ----------
    folder : pathlib.Path
    record : mapping
        From :func:`results_record`.
    page : str
        From :func:`results_page`.
    """
    paths = [folder / "results.json", folder / "results.md"]
    write_json(paths[0], record, allow_nan=False)
    with atomic_path(paths[1]) as tmp:
        tmp.write_text(page)
    return paths


def read_results(path: Path) -> dict:
    """Read a ``results.json``.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged or something else.
    """
    damaged = "expected a results.json, as `make 08` writes it beside results.md."
    with reading(path, "results", damaged=damaged, error=ArtifactError):
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in record["rows"]:
            if not {"table", "metric", "method", "not_available", *NUMBERS} <= set(row):
                raise ValueError(f"a row has the entries {sorted(row)}")
            if any(isinstance(row[n], bool | str | list | dict) for n in NUMBERS):
                raise ValueError(f"a row holds something else than numbers: {row}")
    return record
