"""Scores over subjects: learning curves, mappers compared, and the table of a sweep."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import COLOURS, draw_chance, label_dataset, styled

SUBJECT_SHIFT = 0.22  # of a row's height: subjects lie below their mean

MAPPER_STYLES = {
    "ridge": ("ridge", COLOURS["brain"], "o"),
    "contrastive": ("contrastive-linear", COLOURS["ink"], "D"),
}


@styled
def plot_study_curves(
    rows: Sequence[Mapping],
    size: str,
    score: str,
    *,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A score against the amount of data, a line for each mapper, with its 95 % interval.

    Parameters
    ----------
    rows : sequence of mapping
        Of ``study_encoders.json``: "sessions", "voxels" or "bottleneck".
    size : str
        Key of the horizontal axis: "n_sessions", "n_voxels" or "n_dims".
    score : str
        "brain_to_image MRR", say.
    """
    for row in rows:
        if row["score"] != score:
            continue
        name, colour, marker = MAPPER_STYLES[row["mapper"]]
        ax.fill_between(row[size], row["low"], row["high"], color=colour, alpha=0.15, lw=0)
        ax.plot(row[size], row["value"], marker=marker, ms=5, color=colour, label=name)
    draw_chance(ax, chance, label="chance")
    ax.set(xlabel=size.removeprefix("n_"), ylabel=score)
    ax.set_ylim(bottom=0)
    return ax


def _draw_row(ax: Axes, y: float, row: Mapping, subjects: Sequence[float]) -> None:
    """A mean with its interval, and a tick for each subject below."""
    ax.plot([row["low"], row["high"]], [y, y], color=COLOURS["brain"])
    ax.plot(row["value"], y, "o", ms=7, color=COLOURS["brain"])
    below = [y + SUBJECT_SHIFT] * len(subjects)
    ax.plot(subjects, below, "|", ms=8, color=COLOURS["ink"])


@styled
def plot_study_differences(rows: Sequence[Mapping], score: str, *, ax: Axes | None = None) -> Axes:
    """Paired differences of a score between mappers: mean, 95 % interval, and every subject.

    Parameters
    ----------
    rows : sequence of mapping
        "differences" of ``study_encoders.json``.
    score : str
    """
    shown = [row for row in rows if row["score"] == score]
    for y, row in enumerate(shown):
        _draw_row(ax, y, row, row["subjects"])
    ax.axvline(0, color=COLOURS["chance"], lw=1)
    ax.set_yticks(range(len(shown)), [row["difference"] for row in shown])
    ax.set(xlabel=f"difference in {score}", ylim=(len(shown) - 0.5, -0.5))
    return ax


@styled
def fig_sweep(panels: Mapping[str, Sequence[Mapping]], *, label: str) -> Figure:
    """A panel for each score, a line in it for each area.

    Parameters
    ----------
    panels : mapping of str to sequence of mapping
        Title to rows with ``area``, ``value``, ``low``, ``high``, ``chance`` (or None) and
        ``subjects`` (number to mean).
    label : str
        What the data are.
    """
    areas = list(dict.fromkeys(row["area"] for rows in panels.values() for row in rows))
    size = (3.4 * len(panels) + 1, 1.4 + 0.5 * len(areas))
    how = {"layout": "constrained", "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(1, len(panels), figsize=size, **how)
    for ax, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for row in rows:
            y = areas.index(row["area"])
            _draw_row(ax, y, row, list(row["subjects"].values()))
            if row["chance"] is not None:
                ax.plot([row["chance"]] * 2, [y - 0.4, y + 0.4], color=COLOURS["chance"], lw=1.5)
        ax.set(title=title, xlabel="mean, 95 % interval; ticks: subjects")
        ax.set_ylim(len(areas) - 0.5, -0.5)
    axes[0, 0].set_yticks(range(len(areas)), areas)
    label_dataset(figure, label)
    return figure
