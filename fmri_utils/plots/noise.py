"""What one looks at before believing betas: noise, its structure, and what a voxel prefers."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..nsd.area_masks import not_available
from .pictures import plot_picture_grid
from .style import CAPTION, COLOURS, SMALL, draw_frame, say_nothing, styled

LINES = (
    (COLOURS["ink"], "o", "-"), (COLOURS["brain"], "s", "--"), (COLOURS["image"], "^", "-."),
    (COLOURS["ceiling"], "D", ":"), (COLOURS["noise"], "v", "--"), (COLOURS["text"], "P", "-."),
)  # fmt: skip


@styled
def plot_ncsnr_histogram(
    ncsnr: np.ndarray, *, published: Mapping[int, float], subject: int
) -> Axes:
    """Noise-ceiling SNR of all voxels, with the published medians of NSD's subjects.

    Parameters
    ----------
    ncsnr : numpy.ndarray, (n_voxels,)
        NaN is left out.
    published : mapping of int to float
        Subject to median, drawn as ticks above the histogram.
    subject : int
        Whose tick is drawn strongly.
    """
    ax = plt.subplots(figsize=(7, 3), layout="constrained")[1]
    values = ncsnr[np.isfinite(ncsnr)]
    if not values.size:
        return say_nothing(ax, "no voxel with a value")
    ax.hist(values, bins=60, color=COLOURS["brain"], alpha=0.6)
    top = ax.get_ylim()[1]
    median = float(np.median(values))
    label = f"median here, {median:.3f}"
    ax.plot([median, median], [0, top], color=COLOURS["ink"], lw=1.5, label=label)
    ax.set(xlabel="ncsnr (signal SD / noise SD of one trial)", ylabel="voxels", ylim=(0, top))
    _published_ticks(ax, published, subject, top)
    ax.legend(loc="center right")
    return ax


def _published_ticks(ax: Axes, published: Mapping[int, float], subject, top: float) -> None:
    """Ticks above the histogram, labels in three rows; subjects of one median share a tick."""
    by_value: dict[float, list[int]] = {}
    for number, value in sorted(published.items(), key=lambda item: item[1]):
        by_value.setdefault(value, []).append(number)
    style = {"va": "bottom", "fontsize": SMALL}
    for row, (value, numbers) in enumerate(by_value.items()):
        own = subject in numbers
        colour = COLOURS["image"] if own else "#666666"
        end = (1.06, 1.14, 1.22)[row % 3] * top
        ax.plot([value, value], [1.02 * top, end], color=colour, lw=2.5 if own else 1.2)
        look = {"color": colour, "weight": "bold" if own else "normal", **style}
        ax.text(value, end, ", ".join(map(str, numbers)), ha="center", **look)
    x = max(by_value) + 0.04
    ax.text(x, 1.06 * top, "published medians of NSD's subjects", color="#666666", **style)
    ax.set_ylim(0, 1.34 * top)


@styled
def plot_noise_correlation(noise: pd.DataFrame) -> Axes:
    """Correlation of the noise of two voxels against their distance, for each area.

    Parameters
    ----------
    noise : pandas.DataFrame
        From ``nsd.quality.noise_correlation``: ``area``, ``distance_mm``, ``correlation``.
    """
    ax = plt.subplots(figsize=(6, 3.2), layout="constrained")[1]
    if noise.empty:
        return say_nothing(ax, not_available("noise correlation", "too few pairs of voxels"))
    areas = noise.groupby("area", sort=False)
    for (colour, marker, line), (name, rows) in zip(LINES, areas, strict=False):
        look = {"marker": marker, "ms": 4, "color": colour, "lw": 1.5}
        look["label"] = "all voxels" if name == "all" else f"both in {name}"
        ax.plot(rows["distance_mm"], rows["correlation"], line, **look)
    ax.axhline(0, color=COLOURS["chance"], lw=1)
    ax.set_xscale("log")
    ax.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    ax.minorticks_off()
    ax.set(xlabel="distance between the voxels (mm)", ylabel="noise correlation (r)")
    ax.legend()
    return ax


@styled
def plot_drift_share(before: np.ndarray, after: np.ndarray, *, chance: float) -> Axes:
    """Share of each voxel's variance between the means of sessions, before and after z-scoring.

    Parameters
    ----------
    before, after : numpy.ndarray, (n_voxels,)
        0 to 1; NaN is left out.
    chance : float
        What independent trials would show.
    """
    ax = plt.subplots(figsize=(8, 2.8), layout="constrained")[1]
    shown = [100 * v[np.isfinite(v) & (v > 0)] for v in (before, after)]
    filled = [v for v in shown if v.size]
    if not filled:
        return say_nothing(ax, "one session: no drift to see")
    low = max(1e-4, min(v.min() for v in filled))
    bins = np.geomspace(low, max(v.max() for v in filled) * 1.01, 60)
    labels = ("as read", "z-scored within sessions")
    colours = COLOURS["image"], COLOURS["brain"]
    for values, label, colour in zip(shown, labels, colours, strict=True):
        ax.hist(values.clip(low), bins=bins, color=colour, alpha=0.6, label=label)
    look = {"color": COLOURS["ink"], "ls": (0, (2, 2)), "lw": 1.5}
    ax.axvline(100 * chance, label="expected without drift", **look)
    ax.set_xscale("log")
    ax.set(xlabel="variance between session means (% of a voxel's variance)", ylabel="voxels")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


@styled
def plot_repeat_reliability(ncsnr: np.ndarray, reliability: np.ndarray) -> Axes:
    """Repeat reliability of every voxel against its noise-ceiling SNR, with the relation expected.

    Two trials of the same images correlate with the share of variance that is signal,
    ncsnr^2 / (1 + ncsnr^2).

    Parameters
    ----------
    ncsnr, reliability : numpy.ndarray, (n_voxels,)
        NaN is left out.
    """
    ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")[1]
    valid = np.isfinite(ncsnr) & np.isfinite(reliability)
    x, y = ncsnr[valid], reliability[valid]
    if not valid.any():
        return say_nothing(ax, "no voxel with both values")
    ax.plot(x, y, ".", ms=2.5, alpha=0.4, color=COLOURS["brain"], rasterized=True, label="voxels")
    line = np.linspace(0, max(float(x.max()), 0.1), 100)
    ax.plot(line, line**2 / (1 + line**2), color=COLOURS["image"], label="ncsnr² / (1 + ncsnr²)")
    ax.axhline(0, color=COLOURS["chance"], lw=1)
    ax.set_xlabel("ncsnr (signal SD / noise SD of one trial)")
    ax.set_ylabel("correlation of two trials (r)")
    ax.legend(loc="upper left", markerscale=4)
    return ax


@styled
def plot_ranked_images(
    best: np.ndarray, worst: np.ndarray, best_responses: np.ndarray, worst_responses: np.ndarray
) -> np.ndarray:
    """Pictures that a voxel answers most and least, each with its response in unseen trials.

    Parameters
    ----------
    best, worst : numpy.ndarray, (n, H, W, 3)
        Pictures, the most extreme first.
    best_responses, worst_responses : numpy.ndarray, (n,)
        Response in trials that the ranking did not use, z-scored.

    Returns
    -------
    numpy.ndarray of Axes, (2, n)
    """
    axes = plot_picture_grid([best, worst], ["strongest\nresponses", "weakest\nresponses"])
    axes[0, 0].figure.set_size_inches(1.15 * axes.shape[1] + 1.2, 2.9)
    colours = COLOURS["image"], COLOURS["brain"]
    for line, responses, colour in zip(
        axes, (best_responses, worst_responses), colours, strict=True
    ):
        for ax, response in zip(line, responses, strict=False):
            title = f"z = {response:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
            ax.set_title(title, **CAPTION)
            draw_frame(ax, colour)
    return axes
