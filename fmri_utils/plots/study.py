"""What `make study` measured: learning curves, and mappers compared over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .style import COLOURS, draw_chance, styled

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
    ax = ax or plt.subplots()[1]
    for row in rows:
        if row["score"] != score:
            continue
        name, colour, marker = MAPPER_STYLES[row["mapper"]]
        ax.fill_between(row[size], row["low"], row["high"], color=colour, alpha=0.15, lw=0)
        ax.plot(row[size], row["value"], marker=marker, ms=5, color=colour, label=name)
    if chance is not None:
        draw_chance(ax, chance, label="chance")
    ax.set(xlabel=size.removeprefix("n_"), ylabel=score)
    ax.set_ylim(bottom=0)
    return ax


@styled
def plot_study_differences(rows: Sequence[Mapping], score: str, *, ax: Axes | None = None) -> Axes:
    """Paired differences of a score between mappers: mean, 95 % interval, and every subject.

    Parameters
    ----------
    rows : sequence of mapping
        "differences" of ``study_encoders.json``.
    score : str
    """
    ax = ax or plt.subplots()[1]
    shown = [row for row in rows if row["score"] == score]
    for y, row in enumerate(shown):
        ax.plot([row["low"], row["high"]], [y, y], color=COLOURS["brain"])
        ax.plot(row["value"], y, "o", ms=7, color=COLOURS["brain"])
        ax.plot(row["subjects"], [y + 0.22] * len(row["subjects"]), "|", ms=8, color=COLOURS["ink"])
    ax.axvline(0, color=COLOURS["chance"], lw=1)
    ax.set_yticks(range(len(shown)), [row["difference"] for row in shown])
    ax.set(xlabel=f"difference in {score}", ylim=(len(shown) - 0.5, -0.5))
    return ax
