"""Effects of voxels: step sizes, places in the picture, redundancy, reliability."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..metrics import Interval
from .style import CAPTION, COLOURS, SMALL, draw_chance, say_nothing, styled

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
def plot_places(maps: np.ndarray, titles: Sequence[str]) -> Sequence[Axes]:
    """Where in the picture effects fall, one small map each.

    Parameters
    ----------
    maps : numpy.ndarray, (n, n_cells^2)
        Row by row from the upper left.
    titles : sequence of str
    """
    n = max(1, len(maps))
    axes = plt.subplots(1, n, figsize=(1.6 * n, 1.9), squeeze=False, layout="constrained")[1][0]
    for ax in axes[len(maps) :]:
        say_nothing(ax)
    side = round(maps.shape[1] ** 0.5)
    for one, title, ax in zip(maps, titles, axes[: len(maps)], strict=True):
        ax.imshow(one.reshape(side, side), cmap="inferno", vmin=0)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, **CAPTION)
    return axes


@styled
def plot_redundancy(
    redundancies: Sequence[int], curves: Mapping[str, Sequence[Interval]], *, ax: Axes | None = None
) -> Axes:
    """AUROC of every statistic against the number of voxels that know the same."""
    for colour, (name, intervals) in zip(LINES, curves.items(), strict=False):
        values = [interval.value for interval in intervals]
        ax.plot(redundancies, values, "o-", ms=4, color=COLOURS[colour], label=name)
        low, high = ([getattr(i, end) for i in intervals] for end in ("low", "high"))
        ax.fill_between(redundancies, low, high, color=COLOURS[colour], alpha=0.15, lw=0)
    draw_chance(ax, 0.5)
    ax.set(xscale="log", ylim=(-0.03, 1.03), ylabel="AUROC", xlabel="voxels per source")
    ax.set_xticks(redundancies, [str(r) for r in redundancies], minor=False)
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


@styled
def plot_shares(shares: Mapping[str, np.ndarray], *, ax: Axes | None = None) -> Axes:
    """Shares of variance in per cent: a bar for the mean over images, a dot for each image.

    Parameters
    ----------
    shares : mapping of str to numpy.ndarray, (n_images,)
    """
    for row, values in enumerate(100 * np.array(list(shares.values()))):
        ax.barh(row, values.mean(), color=COLOURS["brain"], alpha=0.6)
        ax.plot(values, np.full(len(values), row), ".", ms=4, color=COLOURS["ink"])
        ax.text(values.max() + 2, row, f"{values.mean():.1f}", va="center", fontsize=SMALL)
    ax.set_yticks(range(len(shares)), list(shares))
    ax.set(xlabel="share of pixel variance (%)", ylim=(len(shares) - 0.4, -0.6), xlim=(0, 112))
    return ax


@styled
def plot_tested_reliability(
    z: np.ndarray, significant: np.ndarray, null: np.ndarray | None, *, ax: Axes | None = None
) -> Axes:
    """Studentised reliability of all voxels, and from where on it survives correction.

    Parameters
    ----------
    z : numpy.ndarray, (n_voxels,)
    significant : numpy.ndarray of bool, (n_voxels,)
        Family-wise.
    null : numpy.ndarray of bool, (n_voxels,), or None
        Voxels known to carry nothing, drawn apart.
    """
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
    ax.legend(loc="upper right")
    return ax
