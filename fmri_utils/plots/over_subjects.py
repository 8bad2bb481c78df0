"""Scores of several subjects and areas: the mean with its interval, and every subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .style import COLOURS, label_dataset, styled

SUBJECT_SHIFT = 0.22  # of a row's height: subjects lie below their mean


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
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    for ax, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for row in rows:
            y = areas.index(row["area"])
            ax.plot([row["low"], row["high"]], [y, y], color=COLOURS["brain"])
            ax.plot(row["value"], y, "o", ms=7, color=COLOURS["brain"])
            below = [y + SUBJECT_SHIFT] * len(row["subjects"])
            ax.plot(list(row["subjects"].values()), below, "|", ms=8, color=COLOURS["ink"])
            if row["chance"] is not None:
                ax.plot([row["chance"]] * 2, [y - 0.4, y + 0.4], color=COLOURS["chance"], lw=1.5)
        ax.set(title=title, xlabel="mean, 95 % interval; ticks: subjects")
        ax.set_ylim(len(areas) - 0.5, -0.5)
    axes[0, 0].set_yticks(range(len(areas)), areas)
    label_dataset(figure, label)
    return figure
