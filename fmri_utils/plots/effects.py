"""Effects of voxels: step sizes, places in the picture, concepts, redundancy, and their atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..metrics import Interval
from ..nsd.area_masks import not_available
from .brain_maps import plot_volume
from .curves import plot_scores
from .style import COLOURS, SMALL, label_dataset, say_nothing, styled

LINES = ("brain", "image", "ceiling", "noise", "text", "sky")


@styled
def plot_step_sizes(
    steps: np.ndarray, errors: Mapping[str, np.ndarray], *, ax: Axes | None = None
) -> Axes:
    """How far first-order effects and finite differences are apart, over the size of the step.

    Parameters
    ----------
    steps : numpy.ndarray, (n_steps,)
        Standard deviations of the voxel.
    errors : mapping of str to numpy.ndarray, (n_steps, n_voxels)
        Precision ("float64") to relative differences, from ``perturbation.eps_curve``.
    """
    ax = ax or plt.subplots()[1]
    errors = {name: values for name, values in errors.items() if values.size}
    if not errors:
        return say_nothing(ax)
    for colour, (name, values) in zip(LINES, errors.items(), strict=False):
        ax.loglog(steps, np.median(values, axis=1), "o-", ms=4, color=COLOURS[colour], label=name)
        span = values.min(1), values.max(1)
        ax.fill_between(steps, *span, color=COLOURS[colour], alpha=0.2, lw=0)
    ax.set(xlabel="step (SD of the voxel)", ylabel="relative difference")
    ax.legend()
    return ax


@styled
def plot_places(
    maps: np.ndarray, titles: Sequence[str], *, axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Where in the picture effects fall, one small map each.

    Parameters
    ----------
    maps : numpy.ndarray, (n, n_cells^2)
        Row by row from the upper left.
    titles : sequence of str
    """
    if axes is None:
        n = max(1, len(maps))
        axes = plt.subplots(1, n, figsize=(1.6 * n, 1.9), squeeze=False, layout="constrained")[1][0]
    for ax in axes[len(maps) :]:
        say_nothing(ax)
    side = round(maps.shape[1] ** 0.5)
    for one, title, ax in zip(maps, titles, axes[: len(maps)], strict=True):
        ax.imshow(one.reshape(side, side), cmap="inferno", vmin=0)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, loc="center", fontsize=SMALL, fontweight="normal")
    return axes


@styled
def plot_matrix(
    matrix: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """A small signed matrix with its numbers."""
    ax = ax or plt.subplots()[1]
    if not matrix.size:
        return say_nothing(ax, not_available(ylabel or "the table", "no area with a voxel"))
    limit = float(np.nanmax(np.abs(matrix), initial=0)) or 1.0
    ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > 0.6 * limit else COLOURS["ink"]
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=colour)
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


@styled
def plot_redundancy(
    redundancies: Sequence[int], curves: Mapping[str, Sequence[Interval]], *, ax: Axes | None = None
) -> Axes:
    """AUROC of every statistic against the number of voxels that know the same."""
    ax = ax or plt.subplots()[1]
    for colour, (name, intervals) in zip(LINES, curves.items(), strict=False):
        values = [interval.value for interval in intervals]
        ax.plot(redundancies, values, "o-", ms=4, color=COLOURS[colour], label=name)
        low, high = ([getattr(i, end) for i in intervals] for end in ("low", "high"))
        ax.fill_between(redundancies, low, high, color=COLOURS[colour], alpha=0.15, lw=0)
    ax.axhline(0.5, color=COLOURS["chance"], ls=(0, (2, 2)), lw=1.5)
    ax.set(xscale="log", ylim=(-0.03, 1.03), ylabel="AUROC", xlabel="voxels per source")
    ax.set_xticks(redundancies, [str(r) for r in redundancies], minor=False)
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


@styled
def plot_shares(shares: Mapping[str, float], *, ax: Axes | None = None) -> Axes:
    """Shares of variance as one stacked bar's parts, in per cent."""
    ax = ax or plt.subplots()[1]
    names = list(shares)
    ax.barh(range(len(names)), [100 * shares[n] for n in names], color=COLOURS["brain"])
    for row, name in enumerate(names):
        ax.text(
            100 * shares[name] + 1, row, f"{100 * shares[name]:.1f}", va="center", fontsize=SMALL
        )
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="share of pixel variance (%)", ylim=(len(names) - 0.4, -0.6), xlim=(0, 108))
    return ax


@styled
def plot_reliability(
    z: np.ndarray,
    significant: np.ndarray,
    null: np.ndarray | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Studentised reliability of all voxels, and from where on it survives correction.

    Parameters
    ----------
    z : numpy.ndarray, (n_voxels,)
    significant : numpy.ndarray of bool, (n_voxels,)
        Family-wise.
    null : numpy.ndarray of bool, (n_voxels,), optional
        Voxels known to carry nothing, drawn apart.
    """
    ax = ax or plt.subplots()[1]
    if not np.isfinite(z).any():
        return say_nothing(ax, "no voxel with a value")
    bins = np.linspace(np.nanmin(z), np.nanmax(z), 50)
    if null is None:
        ax.hist(z, bins, color=COLOURS["brain"], alpha=0.7, label="all voxels")
    else:
        ax.hist(z[~null], bins, color=COLOURS["brain"], alpha=0.7, label="tuned voxels")
        ax.hist(z[null], bins, color=COLOURS["image"], alpha=0.8, label="voxels without signal")
    if significant.any():
        ax.axvline(z[significant].min(), color=COLOURS["ink"], ls=":", label="family-wise .05")
    ax.set(xlabel="reliability (SDs of its null)", ylabel="voxels")
    ax.set_ylim(top=1.4 * ax.get_ylim()[1])  # room for the legend
    ax.legend(loc="upper left")
    return ax


@styled
def fig_voxel_atlas(
    results: Mapping[str, np.ndarray],
    *,
    sensitivity_map: nib.Nifti1Image,
    reliability_map: nib.Nifti1Image,
    background: nib.Nifti1Image,
    label: str,
) -> Figure:
    """Figure 4b: how much and how reliably every voxel acts, and what to make of it.

    Parameters
    ----------
    results : mapping
        ``effects.h5``: ``auroc_names``, ``auroc``, ``auroc_low``, ``auroc_high`` (empty for real
        data), ``concept_names``, ``area_shift_names``, ``area_shift`` (n_areas, n_concepts),
        ``share_names``, ``shares``, ``steps``, ``step_error_float64`` and ``..._float32``.
    sensitivity_map, reliability_map : nibabel.Nifti1Image
        Pixel RMS per SD of every voxel; its studentised reliability.
    background : nibabel.Nifti1Image
    label : str
        Data set.
    """
    figure = plt.figure(figsize=(13, 10), layout="constrained")
    grid = figure.add_gridspec(4, 2, height_ratios=[1, 1, 1.5, 1.5])
    data = sensitivity_map.get_fdata()
    scaled = nib.Nifti1Image(1e3 * data, sensitivity_map.affine)
    titles = ("Image effect, $10^3$ pixel RMS per SD", "Reliability, SDs of its null")
    for row, (image, title) in enumerate(zip((scaled, reliability_map), titles, strict=True)):
        values = image.get_fdata()
        top = np.nanpercentile(values, 99) if np.isfinite(values).any() else None
        ax = figure.add_subplot(grid[row, :])
        plot_volume(image, background, title=title, ax=ax, n_cuts=8, vmin=0, vmax=top)
    names = list(results["auroc_names"])
    ax = figure.add_subplot(grid[2, 0])
    if names:
        columns = (results[k] for k in ("auroc", "auroc_low", "auroc_high"))
        rows = [Interval(*map(float, v)) for v in zip(*columns, strict=True)]
        xlabel = "AUROC, tuned against empty voxels"
        plot_scores(dict(zip(names, rows, strict=True)), chance=0.5, xlabel=xlabel, ax=ax)
    else:
        say_nothing(ax, "no planted truth: real data")
    plot_matrix(
        results["area_shift"],
        results["area_shift_names"],
        results["concept_names"],
        xlabel="shift of the cosine with this concept",
        ylabel="area stimulated by 1 SD",
        ax=figure.add_subplot(grid[2, 1]),
    )
    shares = dict(zip(results["share_names"], results["shares"], strict=True))
    plot_shares(shares, ax=figure.add_subplot(grid[3, 0]))
    errors = {name: results[f"step_error_{name}"] for name in ("float64", "float32")}
    plot_step_sizes(results["steps"], errors, ax=figure.add_subplot(grid[3, 1]))
    figure.suptitle("Every voxel at once", x=0.01, ha="left", weight="bold")
    label_dataset(figure, label)
    return figure
