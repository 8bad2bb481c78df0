"""Curves and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from .style import COLOURS, SMALL, draw_chance, styled

if TYPE_CHECKING:
    from ..metrics import Interval  # brings torch, which takes seconds

OBJECTIVE_STYLES = {
    "infonce": ("InfoNCE (with negatives)", COLOURS["brain"], "-"),
    "positive_only": ("matching pairs only", COLOURS["image"], "-"),
    "variance": ("variance kept (VICReg)", COLOURS["ceiling"], "--"),
    "stop_gradient": ("stop-gradient", COLOURS["noise"], ":"),
}


@styled
def plot_session_drift(
    before: np.ndarray, after: np.ndarray, session: np.ndarray, *, ax: Axes | None = None
) -> Axes:
    """Mean over voxels of each trial's betas, before and after z-scoring within sessions.

    Parameters
    ----------
    before, after : numpy.ndarray, (n_trials,)
        Mean beta in percent signal change, and mean z-score.
    session : numpy.ndarray of int, (n_trials,)
    """
    for number in np.unique(session):
        rows = np.flatnonzero(session == number)
        ax.axvspan(rows[0], rows[-1], color="#000000", alpha=0.03 if number % 2 else 0.08, lw=0)
    ax.plot(before, ".", ms=2, color=COLOURS["image"], alpha=0.5, label="raw (% signal change)")
    ax.plot(after, ".", ms=2, color=COLOURS["brain"], alpha=0.5, label="z-scored within session")
    ax.set(xlabel="trial", ylabel="mean over voxels")
    ax.legend(markerscale=5, loc="upper right")
    return ax


@styled
def plot_ncsnr(
    ncsnr: np.ndarray, areas: Mapping[str, np.ndarray], *, ax: Axes | None = None
) -> Axes:
    """Distribution of noise-ceiling SNR in several areas.

    Parameters
    ----------
    ncsnr : numpy.ndarray, (n_voxels,)
        Signal SD over noise SD of a single trial.
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
    """
    names = list(areas)
    values = [ncsnr[areas[n] & np.isfinite(ncsnr)] for n in names]
    parts = ax.violinplot(values, showextrema=False, showmedians=True, widths=0.8)
    for body in parts["bodies"]:
        body.set(facecolor=COLOURS["brain"], alpha=0.5)
    parts["cmedians"].set_color(COLOURS["ink"])
    ax.set_xticks(range(1, len(names) + 1), names, rotation=45, ha="right")
    ax.set_ylabel("ncsnr (signal SD / noise SD)")
    return ax


@styled
def plot_similarity(similarity: np.ndarray, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Matrix of cosines between brain patterns (rows) and images (columns)."""
    shown = ax.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set(xlabel="images", ylabel="brain patterns", title=title, xticks=[], yticks=[])
    ax.figure.colorbar(shown, ax=ax, shrink=0.8, label="cosine", ticks=[-1, 0, 1])
    return ax


@styled
def plot_collapse(
    records: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    quantity: str,
    *,
    chance: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One quantity that ``clip.joint.train_joint`` recorded, against steps, per objective.

    Parameters
    ----------
    records : mapping of str to sequence of mapping
        Objective to its records, one for each seed; their mean is a line, their range a band.
    """
    for name, seeds in records.items():
        label, colour, line = OBJECTIVE_STYLES[name]
        step, values = seeds[0]["step"], np.stack([record[quantity] for record in seeds])
        ax.fill_between(step, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
        ax.plot(step, values.mean(0), line, color=colour, label=label)
    draw_chance(ax, chance, label="chance")
    ax.set_xlabel("training steps")
    return ax


@styled
def plot_temperatures(
    records: Mapping[float, Mapping[str, np.ndarray]], *, chance: float, ax: Axes | None = None
) -> Axes:
    """What is left at the end of training with InfoNCE at several temperatures.

    Parameters
    ----------
    records : mapping of float to mapping
        Temperature to the record of ``clip.joint.train_joint``.
    chance : float
        Chance of retrieval.
    """
    ax.set_xscale("log")  # first: limits of nothing are not for a logarithm
    lines = {
        "spread": ("spread", COLOURS["ceiling"], "--"),
        "matching": ("cosine, matching pairs", COLOURS["brain"], "-"),
        "non_matching": ("cosine, non-matching pairs", COLOURS["image"], "-"),
        "top1": ("brain_to_image top-1", COLOURS["ink"], "-"),
    }
    for quantity, (label, colour, line) in lines.items():
        values = [record[quantity][-1] for record in records.values()]
        ax.plot(list(records), values, line, marker="o", color=colour, label=label)
    draw_chance(ax, chance, label="chance")
    ax.set(xlabel="temperature", ylabel="held-out images", ylim=(-0.05, 1.05))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


@styled
def plot_ridge_path(best_alphas: np.ndarray, alphas: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """How many embedding dimensions chose each penalty."""
    counts = [(np.isclose(best_alphas, a, rtol=1e-3)).sum() for a in alphas]
    ax.bar(np.log10(alphas), counts, width=0.35, color=COLOURS["brain"])
    ax.set(xlabel="log10 ridge penalty", ylabel="embedding dimensions")
    return ax


@styled
def plot_scores(
    scores: Mapping[str, Interval], *, chance: float, xlabel: str, ax: Axes | None = None
) -> Axes:
    """Scores with 95 % intervals, one line each, beside chance."""
    for row, score in enumerate(scores.values()):
        ax.plot([score.low, score.high], [row, row], color=COLOURS["brain"], lw=3, alpha=0.5)
        ax.plot(score.value, row, "o", color=COLOURS["brain"], ms=8)
        place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"{score.value:.2f}", (score.value, row), fontsize=SMALL, **place)
    ax.axvline(chance, color=COLOURS["chance"], ls=(0, (2, 2)), lw=1.5)
    place = {"xycoords": ("data", "axes fraction"), "xytext": (3, 2), "va": "bottom"}
    style = {"textcoords": "offset points", "fontsize": SMALL, "color": "#666666"}
    ax.annotate(f"chance {chance:.2g}", (chance, 0), **place, **style)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set(xlabel=xlabel, ylim=(len(scores) - 0.4, -0.7))
    return ax
