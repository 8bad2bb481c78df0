"""The collection's composed figures, drawn from the values that the notebooks wrote."""

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from .brain_maps import plot_area_effects, plot_volume
from .curves import plot_collapse, plot_similarity
from .pictures import plot_caption_pairs, plot_picture, plot_picture_grid
from .style import CAPTION, COLOURS, SMALL, headline, label_dataset, styled

BOTTOM, TOP = 0.24, 0.80  # of the panels of figure 1
MARKERS = ("o", "s", "D", "^", "v", "P", "X")  # of methods, in figure 7


def _arrow(figure: Figure, start: Axes, end: Axes, text: str) -> None:
    """An arrow from the right edge of one axes to the left edge of another."""
    a, b = start.get_position(), end.get_position()
    y = (a.y0 + a.y1) / 2
    look = {"arrowstyle": "-|>", "mutation_scale": 16, "color": COLOURS["ink"], "lw": 1.5}
    ends = (a.x1 + 0.005, y), (b.x0 - 0.005, y)
    figure.add_artist(FancyArrowPatch(*ends, transform=figure.transFigure, **look))
    x = (a.x1 + b.x0) / 2
    figure.text(x, y + 0.04, text, ha="center", fontsize=SMALL)


@styled
def fig_model(
    *,
    stimulus: np.ndarray,
    pattern: nib.Nifti1Image,
    background: nib.Nifti1Image,
    weights: np.ndarray,
    embeddings: np.ndarray,
    predicted: np.ndarray,
    truth: np.ndarray,
    stages: Sequence[np.ndarray],
    label: str,
) -> Figure:
    """Figure 1: what happens to one image on its way through the model.

    Parameters
    ----------
    stimulus : numpy.ndarray, (H, W, 3)
        What was seen.
    pattern : nibabel.Nifti1Image
        z-scored betas of that image.
    background : nibabel.Nifti1Image
        Mean functional volume.
    weights : numpy.ndarray, (n_rows, n_columns)
        A part of the encoder's weights.
    embeddings : numpy.ndarray, (n, 2)
        Plane through CLIP space with the test images' embeddings.
    predicted, truth : numpy.ndarray, (2,)
        The image's embedding in that plane, from the brain and from the image.
    stages : sequence of numpy.ndarray, (r, r, 3)
        The generator's picture as it grows, 4 px to full size.
    label : str
        Data set.
    """
    figure = plt.figure(figsize=(13, 4.0))
    boxes = {"seen": (0.01, 0.115), "brain": (0.165, 0.185)}  # left edge, width
    boxes |= {"encoder": (0.405, 0.07), "space": (0.535, 0.14)}
    ax = {n: figure.add_axes((x, BOTTOM, w, TOP - BOTTOM)) for n, (x, w) in boxes.items()}
    plot_picture(stimulus, ax=ax["seen"])
    peak = float(np.percentile(np.abs(np.nan_to_num(pattern.get_fdata())), 99.8))
    colours = {"cmap": "RdBu_r", "vmin": -peak, "vmax": peak, "colorbar": False}
    plot_volume(pattern, background, n_cuts=1, ax=ax["brain"], **colours)
    limit = np.percentile(np.abs(weights), 98)
    ax["encoder"].imshow(weights, aspect="auto", cmap="PuOr", vmin=-limit, vmax=limit)
    ax["encoder"].set(xticks=[], yticks=[], xlabel="voxels (rows) to\nCLIP dimensions")
    _plot_plane(ax["space"], embeddings, predicted, truth)
    left, width = 0.74, 0.255
    sizes = np.linspace(0.035, 0.095, len(stages))
    sizes *= (width - 0.006 * len(stages)) / sizes.sum()
    ratio = figure.get_figwidth() / figure.get_figheight()
    grown = []
    for picture, size in zip(stages, sizes, strict=True):
        height = size * ratio
        grown.append(figure.add_axes((left, 0.52 - height / 2, size, height)))
        grown[-1].imshow(picture.clip(0, 1), interpolation="nearest")
        grown[-1].set(xticks=[], yticks=[], xlabel=f"{len(picture)} px")
        left += size + 0.006
    titles = ("what was seen", "fMRI (betas)", "encoder", "CLIP space")
    middles = [x + w / 2 for x, w in boxes.values()]
    for x, title in zip(middles, titles, strict=True):
        figure.text(x, 0.9, title, ha="center", weight="bold")
    note = "blue: below the voxel's mean,\nred: above it (z)"
    figure.text(middles[1], 0.21, note, ha="center", va="top", fontsize=SMALL)
    figure.text(0.87, 0.9, "LAFITE draws it, coarse to fine", ha="center", weight="bold")
    for start, end in pairwise(ax.values()):
        _arrow(figure, start, end, "")
    _arrow(figure, ax["space"], grown[0], "prior,\nnoise z")
    label_dataset(figure, label)
    return figure


def _plot_plane(ax: Axes, embeddings: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> None:
    """The plane through CLIP space of figure 1."""
    ax.plot(*embeddings.T, ".", color=COLOURS["chance"], ms=5, alpha=0.6)
    ax.annotate("", truth, predicted, arrowprops={"arrowstyle": "-", "color": "#888888", "ls": ":"})
    ax.plot(*truth, "o", color=COLOURS["image"], ms=10, label="the image itself")
    where = {"color": COLOURS["brain"], "label": "from the brain, after the prior"}
    ax.plot(*predicted, "*", ms=15, **where)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#bbbbbb")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.03), fontsize=SMALL, handletextpad=0.2)


@styled
def fig_reconstructions(
    truth: np.ndarray, ceiling: np.ndarray, samples: np.ndarray, *, label: str
) -> Figure:
    """Figure 2: ground truth beside samples.

    Parameters
    ----------
    truth, ceiling : numpy.ndarray, (n_images, H, W, 3)
        What was seen; the generator fed with the true embedding.
    samples : numpy.ndarray, (n_images, n_z, H, W, 3)
        The generator fed with the embedding read from the brain, several noise vectors z.
    """
    rows = [truth, ceiling, *samples.swapaxes(0, 1)]
    labels = ["seen", "ceiling:\ntrue embedding", "from the brain"]
    labels += [f"another z ({k + 1})" for k in range(1, samples.shape[1])]
    axes = plot_picture_grid(rows, labels)
    figure = axes[0, 0].figure
    headline(figure, "The first test images: seen, and read from the brain")
    label_dataset(figure, label)
    return figure


@styled
def fig_joint_embedding(
    *,
    pictures: np.ndarray,
    captions: Sequence[str],
    cosines: np.ndarray,
    matching: Sequence[bool],
    records: Mapping[str, Mapping[str, np.ndarray]],
    chance: float,
    label: str,
) -> Figure:
    """Figure 3: matching and non-matching pairs, and the collapse without negatives.

    Parameters
    ----------
    pictures, captions, cosines, matching
        As for :func:`plot_caption_pairs`, six of each.
    records : mapping
        Objective to the record of :func:`fmri_utils.clip.joint.train_joint`.
    chance : float
        Chance of retrieval.
    """
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    plot_caption_pairs(pictures, captions, cosines, matching, axes=top.subplots(1, len(pictures)))
    headline(top, "Matching (green) and non-matching (orange) pairs in CLIP space")
    axes = bottom.subplots(1, 4, width_ratios=[1.15, 1.15, 1.2, 1.2])
    plot_similarity(records["infonce"]["similarity"], title="with negatives", ax=axes[0])
    plot_similarity(records["positive_only"]["similarity"], title="matching only", ax=axes[1])
    curves = {name: [record] for name, record in records.items()}
    plot_collapse(curves, "spread", ax=axes[2])
    axes[2].set(ylim=(0, 1.05), title="spread of the space", ylabel="0: one point for everything")
    plot_collapse(curves, "top1", chance=chance, ax=axes[3])
    axes[3].set(ylim=(0, None), title="retrieval, held-out images", ylabel="brain_to_image top-1")
    handles, names = axes[3].get_legend_handles_labels()
    bottom.legend(handles, names, loc="outside lower center", ncols=5)
    label_dataset(figure, label)
    return figure


@styled
def fig_leave_one_out(
    results: Mapping[str, np.ndarray],
    *,
    effect_map: nib.Nifti1Image,
    background: nib.Nifti1Image,
    areas: Mapping[str, np.ndarray],
    label: str,
) -> Figure:
    """Figure 4: leave one voxel out, beside new noise, and the map over all voxels.

    Parameters
    ----------
    results : mapping
        ``seen``, ``baseline`` (H, W, 3): what was seen; the picture with every voxel.
        ``perturbed`` (n_shown, H, W, 3), ``names``, ``rms`` (n_shown,): without one voxel each, the
        same z and noise. ``noise`` (n_noise, H, W, 3), ``new_noise_rms`` (n_noise,): every voxel,
        new z and noise. ``effect`` (n_voxels,): mean embedding effect. ``null`` (n_voxels,) bool:
        voxels known to carry nothing; empty for real data.
    effect_map, background : nibabel.Nifti1Image
        The effect in the subject's space; mean functional volume.
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
    """
    effect, null = results["effect"], results["null"]
    columns = len(results["perturbed"]) + 1
    figure = plt.figure(figsize=(11, 10.6), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # inches; slices have no margin of their own
    size = 10.2 / columns  # of a picture, inches
    grid = figure.add_gridspec(5, columns, height_ratios=[size] * 3 + [1.9, 2.6])
    axes = np.array([[figure.add_subplot(grid[r, c]) for c in range(columns)] for r in range(3)])
    plot_picture(results["seen"], title="seen", ax=axes[0, 0])
    plot_picture(results["baseline"], title="from all voxels", ax=axes[1, 0])
    _plot_changes(axes[:2, 1:], results)
    shown = zip(results["noise"], results["new_noise_rms"], axes[2, 1:], strict=False)
    for picture, value, ax in shown:
        plot_picture(picture, title=f"RMS {value:.2g}", ax=ax)
    words = ("one voxel\nleft out", "difference,\nscaled", "only the noise\nis new")
    for ax, text in zip(axes[:, 1], words, strict=True):
        ax.set_ylabel(text)
    axes[2, 0].axis("off")
    ax = figure.add_subplot(grid[3, :])
    title = "Embedding effect of every voxel, $10^5$ (1 - cosine)"
    top = 1e5 * float(np.nanpercentile(effect, 98)) if np.isfinite(effect).any() else None
    scaled = nib.Nifti1Image(1e5 * effect_map.get_fdata(), effect_map.affine)
    plot_volume(scaled, background, title=title, ax=ax, n_cuts=8, vmin=0, vmax=top)
    ax = figure.add_subplot(grid[4, :])
    reference = float(np.median(effect[null])) if null.any() else None
    plot_area_effects(effect, areas, reference=reference, ax=ax)
    dashed = "" if reference is None else " (dashed: median of voxels that carry nothing)"
    ax.set_title(f"... and by area{dashed}")
    headline(figure, "One voxel left out, beside new noise")
    label_dataset(figure, label)
    return figure


def _plot_changes(axes: np.ndarray, results: Mapping[str, np.ndarray]) -> None:
    """Perturbed pictures above their differences, each difference with its gain."""
    shown = zip(results["perturbed"], results["names"], results["rms"], *axes, strict=True)
    for picture, name, value, above, below in shown:
        plot_picture(picture, title=name, ax=above)
        difference = picture - results["baseline"]
        peak = np.abs(difference).max()
        gain = 0.5 / peak if peak > 0 else 1.0
        plot_picture((0.5 + gain * difference).clip(0, 1), ax=below)
        title = f"x{gain:.3g}, RMS {value:.2g}"
        below.set_title(title, **CAPTION)


@styled
def plot_score_rows(table: Mapping, rows: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Scores in [0, 1], a line each: chance, baseline, methods with their interval, ceiling.

    The bar goes from what needs no brain, chance or the baseline, to the ceiling. There is none
    where the interval of another set reaches a ceiling below 1: then it is no ceiling.

    Parameters
    ----------
    table : mapping
        From :func:`fmri_utils.metrics.score_table`.
    rows : sequence of str
        Rows to show; each must be a score of which more is better and at most 1.
    """
    names = table["sets"]
    methods = names[1:-1]
    palette = [COLOURS[name] for name in ("brain", "noise", "ink", "sky", "text")]
    looks = [
        {"marker": marker, "color": colour, "ms": 6}
        for _, marker, colour in zip(methods, cycle(MARKERS), cycle(palette), strict=False)
    ]
    for y, row in enumerate(rows):
        cells = table["rows"][row]["scores"]
        chance = max((cells[m]["chance"] or 0.0) for m in methods)
        baseline, ceiling = (cells[names[i]]["value"] for i in (0, -1))
        best = max(names[:-1], key=lambda name: cells[name]["high"])
        if ceiling < 1 and cells[best]["high"] >= ceiling:
            _say_no_ceiling(ax, y, best, [chance, *(cells[name]["low"] for name in names)])
        else:
            ends = [max(chance, baseline), ceiling]
            ax.plot(ends, [y, y], color="#dddddd", lw=7, solid_capstyle="butt", zorder=0)
        ax.plot(chance, y, "|", color=COLOURS["chance"], ms=14, mew=2)
        ax.plot(ceiling, y, "|", color=COLOURS["ceiling"], ms=14, mew=3)
        ax.plot(baseline, y, "o", mfc="none", color=COLOURS["image"], ms=7)
        for k, (name, look) in enumerate(zip(methods, looks, strict=True)):
            cell, shift = cells[name], (k - (len(methods) - 1) / 2) * 0.8 / max(len(methods), 5)
            ax.plot([cell["low"], cell["high"]], [y + shift] * 2, color=look["color"], lw=1.5)
            ax.plot(cell["value"], y + shift, **look)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="score, 95 % intervals")
    ends = {"marker": "|", "ms": 12}
    shown = [
        {**ends, "color": COLOURS["chance"], "mew": 2},
        {"marker": "o", "mfc": "none", "color": COLOURS["image"], "ms": 7},
        *looks,
        {**ends, "color": COLOURS["ceiling"], "mew": 3},
    ]
    handles = [plt.Line2D([], [], ls="", **look) for look in shown]
    ceiling = "ceiling" if names[-1] == "ceiling" else f"ceiling: {names[-1]}"
    labels = ["chance", names[0], *methods, ceiling]
    ax.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=3)
    return ax


def _say_no_ceiling(ax: Axes, y: float, reached_by: str, marks: Sequence[float]) -> None:
    """Beside the marks of a row, where there is room."""
    left = min(marks) > 0.5
    place = {"xytext": (-8 if left else 14, 0), "textcoords": "offset points", "va": "center"}
    text, end = f"no ceiling: {reached_by} reaches it", min(marks) if left else max(marks)
    ax.annotate(text, (end, y), ha="right" if left else "left", fontsize=SMALL, **place)


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
