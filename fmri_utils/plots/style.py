"""One look for all figures, applied locally, and saving that gives the same bytes each time."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ..project.artifacts import atomic_path

# Okabe & Ito's palette: told apart with every common form of colour blindness.
COLOURS = {
    "brain": "#0072B2",
    "image": "#D55E00",
    "ceiling": "#009E73",
    "chance": "#999999",
    "noise": "#CC79A7",
    "text": "#E69F00",
    "sky": "#56B4E9",
    "ink": "#222222",
}
# Tol's muted palette, for the same reason: areas lie beside each other on a grey brain.
AREA_COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#CC6677",
    "#DDCC77", "#882255", "#AA4499", "#999933",
)  # fmt: skip
DPI = 150  # of saved figures
SMALL = 10  # points; nothing but the name of the data set is smaller
CAPTION = {"loc": "center", "fontsize": SMALL, "fontweight": "normal"}  # above a small picture
SLIDE = 13.33  # inches: as wide as a figure can be shown, so that wider ones shrink
STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": 13,
    "axes.prop_cycle": mpl.cycler(
        color=[COLOURS[name] for name in ("brain", "image", "ceiling", "noise", "text", "sky")]
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,
}


def styled(function: Callable) -> Callable:
    """Run a plotting function in the house style without touching global settings.

    A function that draws into axes, ``ax``, gets new ones where none are given.
    """
    draws_into_axes = "ax" in inspect.signature(function).parameters

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with mpl.rc_context(STYLE):
            if draws_into_axes and kwargs.get("ax") is None:
                kwargs["ax"] = plt.subplots()[1]
            result = function(*args, **kwargs)
            interactive = mpl.is_interactive()
        # A notebook's backend turns this on with its first figure. Were it restored as well, a
        # notebook whose first figure is drawn in here would not show any other.
        mpl.interactive(interactive)
        return result

    return wrapper


def say_nothing(ax: Axes, text: str = "nothing to show") -> Axes:
    """Write into axes without data that there are none, instead of an empty frame."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
    return ax


def draw_chance(ax: Axes, value: float | None, *, label: str | None = None) -> None:
    """Draw a dashed line at the height that chance reaches, if there is one."""
    if value is not None:
        ax.axhline(value, color=COLOURS["chance"], ls=(0, (2, 2)), lw=1.5, label=label)


def draw_frame(ax: Axes, colour: str | None, width: float = 2) -> None:
    """Draw a coloured frame instead of axes; without a colour none."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=colour is not None, color=colour, linewidth=width)


def draw_matrix(ax: Axes, matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draw a small signed matrix with its numbers."""
    limit = float(np.nanmax(np.abs(matrix), initial=0)) or 1.0
    ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    style = {"ha": "center", "va": "center", "fontsize": SMALL}
    for (i, j), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > 0.6 * limit else COLOURS["ink"]
        ax.text(j, i, f"{value:+z.2f}", color=colour, **style)
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set_yticks(range(len(rows)), list(rows))


def headline(figure: Figure | SubFigure, text: str) -> None:
    """Write a figure's title at its left edge."""
    figure.suptitle(text, x=0.01, ha="left", weight="bold")


def label_dataset(figure: Figure, label: str) -> None:
    """Write in the lower right corner what the data are ("simulated, subject 1")."""
    size = 9 * max(1.0, figure.get_figure(root=True).get_figwidth() / SLIDE)
    style = {"ha": "right", "va": "bottom", "fontsize": size, "color": "#666666"}
    if figure.subfigs:
        figure.text(0.995, 0.005, label, **style)
    else:  # as the figure's own label it is given room by the layout
        figure.supxlabel(label, x=0.995, **style)


@styled
def save_figure(figure: Figure, folder: Path, name: str, *, about: Mapping[str, str]) -> list[Path]:
    """Save a figure as PNG and PDF with its provenance and without a date; close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    folder : pathlib.Path
    name : str
        File name without suffix.
    about : mapping of str to str
        What made it: notebook, configuration hash, seed.

    Returns
    -------
    list of pathlib.Path
        The two files; unchanged data give unchanged bytes.
    """
    text = "; ".join(f"{key}={value}" for key, value in sorted(about.items()))
    metadata = {
        "png": {"Title": name, "Description": text, "Software": None},
        "pdf": {"Title": name, "Subject": text, "CreationDate": None, "Producer": None},
    }
    paths = []
    for suffix, entries in metadata.items():
        path = folder / f"{name}.{suffix}"
        with atomic_path(path) as tmp:
            figure.savefig(tmp, dpi=DPI, metadata=entries)
        paths.append(path)
    plt.close(figure)
    return paths
