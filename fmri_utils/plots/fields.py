"""Population receptive fields: on the brain, and in the visual field."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from ..project.simulation_config import FIELD_DEG
from .brain_maps import plot_volume
from .style import CAPTION, COLOURS, SMALL, styled

# Right, up, left, down and right again. Left and right differ in hue, up and down in lightness, so
# that every form of colour vision tells them apart; none is the grey of the brain underneath.
ANGLE_MAP = LinearSegmentedColormap.from_list(
    "polar angle", ["#D55E00", "#F0E442", "#2D8FD5", "#24113A", "#D55E00"]
)


@styled
def plot_prf_angle(
    angle: nib.Nifti1Image, background: nib.Nifti1Image, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Polar angle of the receptive fields on slices of the brain, with a wheel for a legend.

    Parameters
    ----------
    angle : nibabel.Nifti1Image, (X, Y, Z)
        Degrees counter-clockwise from the right horizontal meridian; NaN where there is none.
    background : nibabel.Nifti1Image, (X, Y, Z)
    """
    degrees = angle.get_fdata()
    degrees = np.where(np.isfinite(degrees), degrees, np.nan) % 360
    # An angle of exactly 0 would be taken for "nothing here".
    shown = np.where(degrees == 0, 360.0, degrees)
    image = nib.Nifti1Image(shown, angle.affine)
    limits = {"vmin": 0.0, "vmax": 360.0, "cmap": ANGLE_MAP, "colorbar": False}
    plot_volume(image, background, title=title, ax=ax, **limits)
    if np.isfinite(degrees).any():
        _wheel(ax.inset_axes((1.02, 0.15, 0.1, 0.7)))
    return ax


def _wheel(ax: Axes) -> None:
    """A disc that shows which colour stands for which direction in the visual field."""
    at = np.linspace(-1, 1, 200)
    x, y = np.meshgrid(at, at)
    radius = np.hypot(x, y)
    colours = ANGLE_MAP((np.degrees(np.arctan2(y, x)) % 360) / 360)
    colours[..., 3] = (radius > 0.35) & (radius <= 1)
    ax.imshow(colours, origin="lower", extent=(-1, 1, -1, 1))
    ax.set(xticks=[], yticks=[], xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    ax.spines[:].set_visible(False)
    ax.set_title("up", pad=1, **CAPTION)
    ax.set_xlabel("visual field", fontsize=SMALL)
    ax.text(1.08, 0, "right", va="center", fontsize=SMALL)


@styled
def plot_field_coverage(
    x: np.ndarray, y: np.ndarray, size: np.ndarray, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Where an area's receptive fields lie in the visual field, as circles of one SD.

    Parameters
    ----------
    x, y, size : numpy.ndarray, (n_voxels,)
        Centre (right and up positive) and SD in degrees of visual angle; NaN is left out.
        The square is the picture, of which the person looks at the middle.
    """
    valid = np.isfinite(x) & np.isfinite(y) & np.isfinite(size)
    x, y, size = x[valid], y[valid], size[valid]
    half = FIELD_DEG / 2
    circles = EllipseCollection(
        2 * size, 2 * size, np.zeros(size.size), units="xy", offsets=np.column_stack([x, y]),
        transOffset=ax.transData, facecolors="none", edgecolors=COLOURS["brain"], linewidths=0.6,
        alpha=0.3,
    )  # fmt: skip
    ax.add_collection(circles)
    ax.plot(x, y, ".", ms=2, color=COLOURS["ink"], rasterized=True)
    look = {"fill": False, "ec": COLOURS["image"], "lw": 1.5}
    ax.add_patch(Rectangle((-half, -half), FIELD_DEG, FIELD_DEG, **look))
    ax.plot(0, 0, "+", ms=9, mew=2, color=COLOURS["image"])
    limit = 1.55 * half
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=title)
    ax.set(xticks=[-half, 0, half], yticks=[-half, 0, half])
    ax.set(xlabel="right of fixation (deg)", ylabel="above fixation (deg)")
    return ax


@styled
def plot_area_fields(prf: pd.DataFrame, areas: Mapping[str, np.ndarray]) -> np.ndarray:
    """Receptive fields of some areas side by side; see :func:`plot_field_coverage`.

    Parameters
    ----------
    prf : pandas.DataFrame
        ``x``, ``y`` and ``size`` of every voxel, from :func:`fmri_utils.nsd.read_prf`.
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
        The voxels to show of each area. Without any area there is no figure.

    Returns
    -------
    numpy.ndarray of Axes, (n_areas,)
    """
    if not areas:
        return np.empty(0, object)
    size = {"figsize": (10.5, 3.3), "layout": "constrained", "squeeze": False}
    axes = plt.subplots(1, len(areas), **size)[1][0]
    for (name, where), ax in zip(areas.items(), axes, strict=True):
        fields = prf[where]
        title = f"{name}, {len(fields)} voxels"
        plot_field_coverage(fields["x"], fields["y"], fields["size"], title=title, ax=ax)
    return axes
