"""Pictures in grids, and pictures with captions."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..project.checks import check_range
from .style import CAPTION, COLOURS, SMALL, draw_frame, say_nothing, styled


@styled
def plot_picture(
    picture: np.ndarray, *, title: str = "", ax: Axes | None = None, colour: str | None = None
) -> Axes:
    """Show one RGB picture, uint8 or float in [0, 1], without ticks; optionally framed.

    Another range, or NaN, is a DataError: matplotlib would clip it.
    """
    check_range(np.asarray(picture)[None], "picture")
    ax.imshow(picture, interpolation="bilinear", vmin=0, vmax=1)
    draw_frame(ax, colour)
    if title:
        ax.set_title(title, **CAPTION)
    return ax


@styled
def plot_picture_grid(rows: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Rows of pictures, labelled at the left.

    Parameters
    ----------
    rows : sequence of numpy.ndarray, each (n_columns, H, W, 3)
    labels : sequence of str
        One per row.

    Returns
    -------
    numpy.ndarray of Axes, (n_rows, n_columns)
    """
    columns = max(1, len(rows[0]))
    size = {"figsize": (0.85 * columns + 1.3, 0.88 * len(rows) + 0.1), "layout": "constrained"}
    axes = plt.subplots(len(rows), columns, squeeze=False, **size)[1]
    for row, label, line in zip(rows, labels, axes, strict=True):
        for ax in line[len(row) :]:
            say_nothing(ax)
        for picture, ax in zip(row, line[: len(row)], strict=True):
            plot_picture(picture, ax=ax)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return axes


@styled
def plot_caption_pairs(
    pictures: np.ndarray,
    captions: Sequence[str],
    cosines: np.ndarray,
    matching: Sequence[bool],
    *,
    axes: Sequence[Axes],
) -> None:
    """Pictures above captions, framed by whether the pair matches, with their cosine."""
    for picture, caption, cosine, match, ax in zip(
        pictures, captions, cosines, matching, axes, strict=True
    ):
        colour = COLOURS["ceiling"] if match else COLOURS["image"]
        plot_picture(picture, ax=ax, colour=colour)
        ax.set_title(f"cos {cosine:+.2f}", loc="center", color=colour, fontsize=11)
        ax.set_xlabel(textwrap.fill(caption, 20), fontsize=SMALL)


@styled
def plot_nearest_captions(
    pictures: np.ndarray,
    own: Sequence[str],
    nearest: Sequence[Sequence[str]],
    *,
    axes: Sequence[Axes],
) -> None:
    """Pictures above their own caption and, below it, the nearest ones of a library.

    Parameters
    ----------
    pictures : numpy.ndarray, (n, H, W, 3)
    own : sequence of str
        A caption of each picture.
    nearest : sequence of sequence of str
        For each picture the captions found, best first.
    """
    for picture, caption, found, ax in zip(pictures, own, nearest, axes, strict=True):
        plot_picture(picture, ax=ax)
        ax.set_title(textwrap.fill(caption, 28), style="italic", **CAPTION)
        lines = [textwrap.fill(f"{k}. {text}", 28) for k, text in enumerate(found, start=1)]
        below = "\n".join(["nearest of other images:", *lines])
        ax.text(0, -0.04, below, transform=ax.transAxes, va="top", fontsize=SMALL)
