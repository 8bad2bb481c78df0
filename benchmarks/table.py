"""All benchmarks on one page, ``README.md`` beside this file, from their JSON files.

Run last by ``make bench``, or alone. Ratios are of one run on one machine; what was never measured
is missing rather than guessed.
"""

from __future__ import annotations

import json
from pathlib import Path

from fmri_utils.project.artifacts import atomic_path

FOLDER = Path(__file__).parent


def read(name: str) -> dict:
    """A benchmark's results; empty if it has not been run."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def markdown(head: list[str], rows: list[list[object]]) -> list[str]:
    """Lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def machine(report: dict) -> str:
    """What a benchmark ran on, in words."""
    return ", ".join(f"{name} {value}" for name, value in report["machine"].items())


def betas() -> tuple[str, list[str]]:
    """Reading one real-size session."""
    rows = [
        [way, f"{run['times_gzip_dc']:.2f}", f"{run['megabytes']:,.0f}"]
        for way, run in read("betas")["runs"].items()
    ]
    return "Reading one session of 750 trials", markdown(
        ["way", "time, in units of `gzip -dc`", "memory, MB"], rows
    )


def ridge() -> tuple[str, list[str]]:
    """Ridge against scikit-learn, and at NSD's size."""
    report = read("ridge")
    rows = [
        [f"{size['n_trials']:,} x {size['n_voxels']:,} -> 64", f"{size['ratio']['cpu']:.2f}"]
        for size in report["against_scikit_learn"]["sizes"]
    ]
    lines = markdown(["trials x voxels -> targets", "time, in units of RidgeCV's"], rows)
    real = report.get("real_size")
    if real:
        n_trials, n_voxels, n_targets = real["shape"]
        lines += [
            "",
            f"Once at NSD's size, {n_trials:,} x {n_voxels:,} -> {n_targets}: "
            f"{real['seconds']['cpu']:,.0f} processor seconds, {real['peak_gibibytes']:.1f} GiB.",
        ]
    return "Ridge, cross-validated", lines


def generator(device: str) -> tuple[str, list[str]]:
    """LAFITE at 256 px against the straightforward form."""
    report = read(f"generator-{device}")
    rows = [
        [
            base,
            f"{size['parameters_millions']:.0f}",
            f"{size['giga_multiply_adds_per_image']:.0f}",
            f"{size['times_faster']:.2f}",
            f"{size['largest_relative_difference']:.0e}",
        ]
        for base, size in report["channel_base"].items()
    ]
    head = ["channel base", "M parameters", "G multiply-adds per image"]
    head += ["times faster than grouped convolutions", "largest relative difference"]
    limits = [
        [
            base,
            precision,
            f"{found['images_per_second']:.3g}",
            f"{found['limit_images_per_second']:.3g}",
            f"{found['share_of_limit']:.2f}",
        ]
        for base, size in report["channel_base"].items()
        for precision, found in size["by_precision"].items()
    ]
    note = (
        "Against the arithmetic limit: the multiply-adds a second of a large matrix product in the "
        "same run."
    )
    about = ["channel base", "precision", "images a second", "at the limit", "share"]
    lines = [*markdown(head, rows), "", note, "", *markdown(about, limits)]
    return f"LAFITE at 256 px, batch {report['batch']}, {device}", lines


def perturbation() -> tuple[str, list[str]]:
    """The effects of all voxels on one picture."""
    report = read("perturbation")
    rows = []
    for name, form in (("random projections", "random_projections"), ("exact", "exact_gram")):
        found = report[form]
        error = found.get("median_relative_error")
        rows.append(
            [
                name,
                f"{found['times_faster']['cpu']:.0f}",
                "0" if error is None else f"{error:.1%}",
                f"{found['peak_gigabytes']:.1f}",
            ]
        )
    title = f"Effects of {report['n_voxels']:,} voxels on one picture of {report['resolution']} px"
    head = ["form", "times faster than a pass per voxel", "median error", "memory, GB"]
    return title, markdown(head, rows)


def notebooks() -> tuple[str, list[str]]:
    """The demo's notebooks, side by side where they can be."""
    rows = [
        [name, found["seconds"], found["peak_megabytes"]]
        for name, found in read("notebooks")["notebooks"].items()
    ]
    return "The notebooks of the demo", markdown(["notebook", "seconds", "memory, MB"], rows)


def download() -> tuple[str, list[str]]:
    """An area of a session by range requests."""
    report = read("download")
    row = [
        f"{report['share_of_the_file']:.1%}",
        f"{report['requests']:,}",
        f"{report['seconds_at_50_ms']:.0f}",
        f"{report['seconds_one_after_the_other_at_50_ms']:.0f}",
    ]
    head = ["share of the file", "requests", "s at 50 ms a request", "s, one after the other"]
    return "nsdgeneral of one session over the network (simulated latency)", markdown(head, [row])


def explorer() -> tuple[str, list[str]]:
    """Latency of the explorer."""
    report = read("explorer")
    rows = [
        [action, found["median_ms"], found["p95_ms"]]
        for action, found in report["event_to_picture"].items()
    ]
    title = "The explorer in a browser, from event to picture, ms"
    return title, markdown(["action", "median", "95th percentile"], rows)


def growth() -> tuple[str, list[str]]:
    """Exponents."""
    rows = [
        [
            cost,
            found["grows_with"],
            f"{found['sizes'][0]:,} to {found['sizes'][-1]:,}",
            f"{found['processor_seconds'][0]:.3g} to {found['processor_seconds'][-1]:.3g}",
            f"{found['exponent']:.2f}",
            f"{found['exponent_of_the_last_doubling']:.2f}",
        ]
        for cost, found in read("growth")["costs"].items()
    ]
    head = ["cost", "grows with", "sizes", "processor seconds", "exponent", "of the last doubling"]
    note = (
        "A side of twice as many pixels has half as many channels in its new layers, so that one "
        "picture grows slowly. The effects of all voxels on one picture cost as much as their "
        "passes through the generator, which do not depend on the number of voxels."
    )
    return "How costs grow", [*markdown(head, rows), "", note]


SECTIONS = {
    "betas": betas,
    "ridge": ridge,
    "generator-cpu": lambda: generator("cpu"),
    "generator-cuda": lambda: generator("cuda"),
    "perturbation": perturbation,
    "download": download,
    "explorer": explorer,
    "growth": growth,
    "notebooks": notebooks,
}


def main() -> None:
    """Write the page."""
    lines = ["# Benchmarks", "", "Made by `make bench`. Ratios hold elsewhere, seconds do not.", ""]
    for name, section in SECTIONS.items():
        report = read(name)
        if not report:
            continue
        title, table = section()
        described = report if "machine" in report else next(iter(report.values()))
        where = described["machine"]
        where = where if isinstance(where, str) else machine(described)
        lines += [f"## {title}", "", *table, "", f"Measured on: {where}.", ""]
    with atomic_path(FOLDER / "README.md") as tmp:
        tmp.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
