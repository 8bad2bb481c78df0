"""How a training of the generator is going: curves of the losses, and a grid of fixed samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .pictures import plot_picture_grid
from .style import label_dataset, save_figure, say_nothing, styled

if TYPE_CHECKING:
    from torch import Tensor

PANELS = {
    "generator": ("reconstruction", "adversarial", "itd", "itc", "iid", "iic", "path_length"),
    "discriminator": ("d_adversarial", "d_itd", "r1"),
    "share told apart": ("d_real_sign", "d_fake_sign"),
}
NOT_MEASURED = {"images", "images_per_second", *sum(PANELS.values(), ())}
N_COLUMNS = 8


@styled
def plot_losses(history: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Curves of a training's history, a panel for each kind of term that it has.

    Parameters
    ----------
    history : sequence of mapping
        As :class:`fmri_utils.lafite.TrainingResult` has it; terms as weighted in the loss.

    Returns
    -------
    numpy.ndarray of Axes
        Those of generator, discriminator, the mean signs of its logits, and what the monitor
        measured.
    """
    found = {name for row in history for name in row}
    panels = {**PANELS, "measured": sorted(found - NOT_MEASURED)}
    panels = {title: [n for n in names if n in found] for title, names in panels.items()}
    panels = {title: names for title, names in panels.items() if names}
    n = max(1, len(panels))
    axes = plt.subplots(1, n, figsize=(3.1 * n, 2.6), squeeze=False, layout="constrained")[1][0]
    for ax in axes[len(panels) :]:
        say_nothing(ax, "nothing was trained yet")
    for ax, (title, names) in zip(axes[: len(panels)], panels.items(), strict=True):
        for name in names:
            rows = [row for row in history if name in row]
            ax.plot([r["images"] for r in rows], [r[name] for r in rows], ".-", label=name, lw=1)
        ax.set_title(title)
        ax.set(xlabel="images seen")
        ax.legend()
    return axes


def save_progress(
    folder: Path, label: str, *, about: Mapping[str, str]
) -> Callable[[int, Tensor, Sequence[Mapping[str, float]]], None]:
    """What :func:`fmri_utils.lafite.train` can call as ``on_grid``: writes files to look at.

    ``grid-<images>`` (PNG and PDF) holds the first 16 fixed samples, one file for each call, and
    ``losses`` the curves so far.

    Parameters
    ----------
    folder : pathlib.Path
    label : str
        The data set, as it is to be seen in the pictures.
    about : mapping of str to str
        As for :func:`save_figure`.
    """

    def save(images: int, pictures: Tensor, history: Sequence[Mapping[str, float]]) -> None:
        rgb = (pictures[: 2 * N_COLUMNS].clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1)
        rows = np.array_split(rgb.numpy(force=True), -(-len(rgb) // N_COLUMNS))
        width = min(map(len, rows))
        grid = plot_picture_grid([row[:width] for row in rows], [""] * len(rows))
        for name, axes in ((f"grid-{images:09d}", grid), ("losses", plot_losses(history))):
            label_dataset(axes.flat[0].figure, label)
            save_figure(axes.flat[0].figure, folder, name, about=about)

    return save
