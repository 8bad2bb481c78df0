"""Figure 6: visual areas kept alone, left out and stimulated."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ..nsd.area_masks import not_available
from .pictures import plot_picture
from .style import COLOURS, draw_matrix, label_dataset, say_nothing, styled

KINDS = {"keep_only": "only\nthis", "leave_out": "all but\nthis", "stimulate": "stimulated"}
BANDS = {"scattered": ("#dcdcdc", 0.8), "patches": ("#a8a8a8", 0.4)}  # colour, share of the height
LOOKS = (("o", COLOURS["brain"], COLOURS["brain"]), ("D", COLOURS["image"], "white"))


@styled
def plot_area_pictures(
    seen: np.ndarray,
    whole: np.ndarray,
    changed: Mapping[str, np.ndarray],
    names: Sequence[str],
    *,
    figure: Figure | SubFigure | None = None,
) -> np.ndarray:
    """Each image with what was seen, the picture from all voxels, and one row for each kind.

    Parameters
    ----------
    seen, whole : numpy.ndarray, (n_images, H, W, 3)
    changed : mapping of str to numpy.ndarray, (n_images, n_groups, H, W, 3)
        Kind ("keep_only", "leave_out", "stimulate") to pictures, in the order of the rows; two or
        three kinds.
    names : sequence of str
        Of the groups.

    Returns
    -------
    numpy.ndarray of Axes, (n_images, n_kinds, n_groups)
    """
    n_images, n_kinds, n_groups = len(seen), len(changed), len(names)
    if figure is None:
        size = (1.1 * n_groups + 2.2, 1.12 * n_images * n_kinds + 0.5)
        figure = plt.figure(figsize=size, layout="constrained")
    heights = ([1] * n_kinds + [0.15]) * n_images  # a gap below each image
    grid = figure.add_gridspec(len(heights) - 1, n_groups + 1, height_ratios=heights[:-1])
    axes = np.empty((n_images, n_kinds, n_groups), dtype=object)
    for i in range(n_images):
        first = i * (n_kinds + 1)
        for row, (picture, title) in enumerate(((seen[i], "seen"), (whole[i], "all voxels"))):
            ax = plot_picture(picture, ax=figure.add_subplot(grid[first + row, 0]))
            ax.set_ylabel(title, fontsize=12, fontweight="bold")
        for k, (kind, pictures) in enumerate(changed.items()):
            for g in range(n_groups):
                ax = axes[i, k, g] = figure.add_subplot(grid[first + k, 1 + g])
                plot_picture(pictures[i, g], ax=ax)
            axes[i, k, 0].set_ylabel(KINDS[kind], fontsize=12)
    for ax, name in zip(axes[0, 0], names, strict=True):
        ax.set_title(name, loc="center", fontsize=12, fontweight="normal")
    return axes


@styled
def plot_area_changes(
    names: Sequence[str],
    series: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]],
    *,
    xlabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Changes of accuracy by group, each on grey bars of random groups of its size.

    Parameters
    ----------
    names : sequence of str
        Of the groups, from the top.
    series : mapping of str to (numpy.ndarray (n_groups, 3), mapping)
        What was done ("ablated", "retrained") to value, low and high end of the interval; and to
        the range (n_groups, 2) of each kind of random group treated likewise, "scattered" and
        "patches", or only one, or none.
    """
    step = 0.8 / max(1, len(series))
    pairs = zip(series.values(), LOOKS, strict=False)
    for k, ((values, random), (marker, colour, face)) in enumerate(pairs):
        y = np.arange(len(names)) + (k - (len(series) - 1) / 2) * step
        for kind, (low, high) in ((kind, band.T) for kind, band in random.items()):
            grey, height = BANDS[kind]
            ax.barh(y, high - low, left=low, height=height * step, color=grey, zorder=0)
        ax.hlines(y, values[:, 1], values[:, 2], color=colour, lw=2)
        ax.plot(values[:, 0], y, marker, color=colour, mfc=face, mew=1.8, ms=7)
    ax.axvline(0, color=COLOURS["ink"], lw=0.8)
    ax.set_yticks(range(len(names)), list(names))
    ax.set(ylim=(len(names) - 0.4, -0.6), xlabel=xlabel)
    return ax


@styled
def plot_area_shift(
    shift: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    areas: Sequence[str],
    concepts: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Shift towards concepts by area stimulated; bold where few random groups get.

    Parameters
    ----------
    shift, low, high : numpy.ndarray, (n_areas, n_concepts)
        Shift of the cosine, and the range of random groups of the area's size.
    areas, concepts : sequence of str
        An area's own concept has its name and is framed. Without areas, the panel says so.
    """
    if not shift.size:
        return say_nothing(ax, not_available("stimulated areas", "no voxel in a named one"))
    draw_matrix(ax, shift, areas, concepts)
    frame = {"fill": False, "ec": COLOURS["ink"], "lw": 2.5, "clip_on": False}
    for ((i, j), value), text in zip(np.ndenumerate(shift), ax.texts, strict=True):
        outside = not low[i, j] <= value <= high[i, j]
        text.set(fontsize=12 if outside else 11, weight="bold" if outside else "normal")
        if areas[i] == concepts[j]:
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **frame))
    return ax


@styled
def fig_visual_areas(results: Mapping[str, np.ndarray], *, label: str) -> Figure:
    """Figure 6: pictures, scores and stimulation by visual area.

    Parameters
    ----------
    results : mapping
        ``areas.h5``: ``seen``, ``whole`` (n_images, H, W, 3), ``keep_only``, ``leave_out``
        (n_images, n_shown, H, W, 3) with ``picture_names``; ``names``, ``sizes`` (n_groups,),
        ``gain``, ``loss``, ``retrained_gain``, ``retrained_loss`` (n_groups, 3), and all but the
        last with the ranges of random groups, as ``gain_scattered`` and ``gain_patches``
        (n_groups, 2); ``shift``, ``shift_patches_low``, ``shift_patches_high`` (n_areas,
        n_concepts) with ``shift_names`` and ``concept_names``.
    label : str
        Data set.
    """
    figure = plt.figure(figsize=(17, 8.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    shown = slice(0, 3)
    changed = {kind: results[kind][shown] for kind in ("keep_only", "leave_out")}
    pictures = results["seen"][shown], results["whole"][shown]
    plot_area_pictures(*pictures, changed, list(results["picture_names"]), figure=left)
    style = {"x": 0.01, "ha": "left", "weight": "bold", "fontsize": 14}
    left.suptitle("Drawn from one group of voxels only, or from all others; same noise", **style)
    right.suptitle("How much each group tells, and what it stands for\n", **style)
    grid = right.add_gridspec(2, 2, height_ratios=[1.25, 1])
    _plot_gain_and_loss(results, right, grid)
    ax = right.add_subplot(grid[1, :])
    limits = results["shift_patches_low"], results["shift_patches_high"]
    concepts = list(results["concept_names"])
    plot_area_shift(results["shift"], *limits, list(results["shift_names"]), concepts, ax=ax)
    ax.set_xlabel(
        "shift of the cosine with a concept, area stimulated by 1 SD\n"
        "bold: beyond 95 % of patches as large, framed: own concept"
    )
    ax.set_ylabel("area stimulated")
    _enlarge(ax)
    label_dataset(right, label)
    return figure


def _plot_gain_and_loss(
    results: Mapping[str, np.ndarray], figure: SubFigure, grid: GridSpec
) -> None:
    """The two panels of figure 6 on ablated and retrained decoders, with one legend."""
    names = [f"{n} ({s})" for n, s in zip(results["names"], results["sizes"], strict=True)]
    titles = ("gained by this only\n(cosine)", "lost without it\n(cosine)")
    for column, (what, title) in enumerate(zip(("gain", "loss"), titles, strict=True)):
        ax = figure.add_subplot(grid[0, column])
        series = {}
        for treatment, prefix in (("ablated", ""), ("retrained", "retrained_")):
            keys = {kind: f"{prefix}{what}_{kind}" for kind in BANDS}
            random = {kind: results[key] for kind, key in keys.items() if key in results}
            series[treatment] = results[f"{prefix}{what}"], random
        plot_area_changes(names, series, xlabel=title, ax=ax)
        ax.locator_params(axis="x", nbins=4)
        _enlarge(ax)
        if column:
            ax.set_yticklabels([])
    lines = [
        Line2D([], [], marker=marker, color=colour, mfc=face, mew=edge, ms=7)
        for (marker, colour, face), edge in zip(LOOKS, (1.0, 1.8), strict=True)
    ]
    words = ["ablated", "retrained", "scattered voxels", "patches"]
    greys = [Patch(color=grey) for grey, _ in BANDS.values()]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.98)}
    figure.legend([*lines, *greys], words, ncols=4, fontsize=12, **place)


def _enlarge(ax: Axes) -> None:
    """Letters for a lecture hall."""
    ax.tick_params(labelsize=12)
    plt.setp([ax.xaxis.label, ax.yaxis.label], size=12)
