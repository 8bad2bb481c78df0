"""Figure 7: scores of embeddings and pictures, each between chance and its ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import COLOURS, label_dataset, styled

MARKERS = ("o", "s", "D", "^", "v", "P", "X")


@styled
def plot_score_rows(table: Mapping, rows: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Scores in [0, 1], a line each: chance, baseline, methods with their interval, ceiling.

    Parameters
    ----------
    table : mapping
        From :func:`fmri_utils.metrics.score_table`.
    rows : sequence of str
        Rows to show; each must be a score of which more is better and at most 1.
    """
    ax = ax or plt.subplots()[1]
    names = table["sets"]
    methods = names[1:-1]
    palette = [COLOURS["brain"], COLOURS["noise"], COLOURS["ink"], COLOURS["sky"], COLOURS["text"]]
    for y, row in enumerate(rows):
        cells = table["rows"][row]["scores"]
        chance = max((cells[m]["chance"] or 0.0) for m in methods)
        ceiling = cells[names[-1]]["value"]
        ax.plot([chance, ceiling], [y, y], color="#dddddd", lw=7, solid_capstyle="butt", zorder=0)
        ax.plot(chance, y, "|", color=COLOURS["chance"], ms=14, mew=2)
        ax.plot(ceiling, y, "|", color=COLOURS["ceiling"], ms=14, mew=3)
        ax.plot(cells[names[0]]["value"], y, "o", mfc="none", color=COLOURS["image"], ms=7)
        for k, name in enumerate(methods):
            cell, shift = cells[name], (k - (len(methods) - 1) / 2) * 0.16
            colour, marker = palette[k % len(palette)], MARKERS[k % len(MARKERS)]
            ax.plot([cell["low"], cell["high"]], [y + shift] * 2, color=colour, lw=1.5)
            ax.plot(cell["value"], y + shift, marker, color=colour, ms=6)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="score, 95 % intervals")
    looks = [{"marker": "|", "color": COLOURS["chance"], "ms": 12, "mew": 2}]
    looks += [{"marker": "o", "mfc": "none", "color": COLOURS["image"], "ms": 7}]
    looks += [
        {"marker": MARKERS[k % len(MARKERS)], "color": palette[k % len(palette)], "ms": 6}
        for k in range(len(methods))
    ]
    looks += [{"marker": "|", "color": COLOURS["ceiling"], "ms": 12, "mew": 3}]
    handles = [plt.Line2D([], [], ls="", **look) for look in looks]
    ceiling = "ceiling" if names[-1] == "ceiling" else f"ceiling: {names[-1]}"
    labels = ["chance", names[0], *methods, ceiling]
    ax.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=3)
    return ax


@styled
def fig_scores(encoder_table: Mapping, picture_table: Mapping, *, label: str) -> Figure:
    """Figure 7: embeddings at the left, pictures at the right.

    Parameters
    ----------
    encoder_table, picture_table : mapping
        From :func:`fmri_utils.metrics.score_table`. Distances and ranks, which do not lie between
        0 and 1 with more being better, stay in the table of ``results.md``.
    """
    figure, axes = plt.subplots(1, 2, figsize=(14, 5.2), layout="constrained")
    titles = ("From the brain to CLIP space", "From CLIP space to a picture")
    for ax, table, title in zip(axes, (encoder_table, picture_table), titles, strict=True):
        rows = [
            name
            for name, row in table["rows"].items()
            if (row["better"], row["statistic"]) == ("higher", "mean")
            and all("not_available" not in cell for cell in row["scores"].values())
        ]
        plot_score_rows(table, rows, ax=ax)
        ax.set_title(title)
    label_dataset(figure, label)
    return figure
