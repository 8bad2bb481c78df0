"""Values of voxels shown on the subject's own mean volume."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Patch
from nilearn import plotting

from ..nsd.area_masks import not_available
from .style import AREA_COLOURS, COLOURS, draw_chance, say_nothing, styled


@contextmanager
def _quick_garbage() -> Iterator[None]:
    """Hide what exists from the garbage collector, which nilearn calls for every image it reads.

    One search of all that a notebook holds takes longer than the drawing.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@styled
def plot_volume(
    image: nib.Nifti1Image,
    background: nib.Nifti1Image,
    *,
    title: str = "",
    cmap: str = "inferno",
    vmin: float | None = None,
    vmax: float | None = None,
    n_cuts: int = 6,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Slices of a volume over the subject's mean functional volume.

    NSD's functional space is not MNI, so there is no standard brain to draw it on.

    Parameters
    ----------
    image : nibabel.Nifti1Image, (X, Y, Z)
        Zero, NaN or infinite where there is nothing to show; if that is everywhere, the background
        is drawn alone, and a printed line says so.
    background : nibabel.Nifti1Image, (X, Y, Z)
    vmin, vmax : float, optional
        Ends of the colours; by default, or if NaN, 0 (the smallest value if negative) and the
        largest value.
    """
    data = image.get_fdata()
    data = np.where(np.isfinite(data), data, 0)
    shown = nib.Nifti1Image(data, image.affine)
    low = min(0.0, float(data.min())) if vmin is None or np.isnan(vmin) else vmin
    high = float(data.max()) if vmax is None or np.isnan(vmax) else vmax
    held = data if data.any() else np.nan_to_num(background.get_fdata())
    cuts = _informative_cuts(held, image.affine, n_cuts)
    slices = {"display_mode": "z", "cut_coords": cuts, "axes": ax, "title": None}
    # nilearn would write the numbers of its colour bar over the last slice.
    slices |= {"annotate": False, "black_bg": False, "colorbar": False}
    with _quick_garbage():
        if data.any():
            colours = {"cmap": cmap, "vmin": low, "vmax": high, "threshold": 1e-9}
            interpolation = {"resampling_interpolation": "nearest"}
            plotting.plot_stat_map(shown, bg_img=background, **slices, **colours, **interpolation)
        else:
            not_available(title or "the map", "no voxel with a value")
            plotting.plot_anat(background, **slices)
    if title:
        ax.set_title(title)
    if colorbar and data.any():
        colours = ScalarMappable(Normalize(low, high), cmap)
        bar = ax.inset_axes((1.01, 0.05, 0.012, 0.9))
        ax.figure.colorbar(colours, cax=bar, ticks=np.linspace(low, high, 3), format="%.3g")
    return ax


@styled
def plot_areas(
    labels: nib.Nifti1Image,
    names: Sequence[str],
    background: nib.Nifti1Image,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Areas in colours of their own over the mean volume, with a legend.

    Parameters
    ----------
    labels : nibabel.Nifti1Image, (X, Y, Z)
        1 for the first of ``names`` and so on; 0 or NaN elsewhere.
    names : sequence of str
        At most nine; without any, the panel says so.
    """
    if not names:
        return say_nothing(ax, not_available(title or "areas", "no voxel in a named one"))
    span = {"vmin": 0.5, "vmax": len(AREA_COLOURS) + 0.5, "cmap": ListedColormap(AREA_COLOURS)}
    plot_volume(labels, background, title=title, colorbar=False, ax=ax, **span)
    patches = [Patch(color=c, label=name) for c, name in zip(AREA_COLOURS, names, strict=False)]
    ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(names))
    return ax


def _informative_cuts(data: np.ndarray, affine: np.ndarray, n_cuts: int) -> list[float]:
    """World z of slices spread over the share of the axis that holds most values."""
    mass = (data != 0).sum((0, 1)).astype(float)
    mass = mass if mass.any() else np.ones_like(mass)
    cumulative = np.cumsum(mass) / mass.sum()
    index = np.unique(np.searchsorted(cumulative, np.linspace(0.06, 0.94, n_cuts)))
    if n_cuts == 1:
        index = [mass.argmax()]
    return [float(affine[2, 2] * i + affine[2, 3]) for i in index]


@styled
def plot_area_effects(
    effect: np.ndarray,
    areas: Mapping[str, np.ndarray],
    *,
    reference: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Each voxel's effect as a dot, by area, with the area's median.

    Parameters
    ----------
    effect : numpy.ndarray, (n_voxels,)
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
    reference : float, optional
        Drawn as a horizontal line, such as the median of voxels known to carry nothing.
    """
    ax.set_yscale("log")  # first: limits of nothing are not for a logarithm
    rng = np.random.default_rng(0)  # where the dots lie, nothing else
    for column, mask in enumerate(areas.values()):
        values = effect[mask]
        x = column + rng.uniform(-0.3, 0.3, len(values))
        ax.plot(x, values, ".", ms=2.5, alpha=0.35, color=COLOURS["brain"], rasterized=True)
        if len(values):
            ax.plot([column - 0.35, column + 0.35], [np.median(values)] * 2, color=COLOURS["ink"])
    draw_chance(ax, reference)
    ax.set_xticks(range(len(areas)), list(areas), rotation=45, ha="right")
    ax.set_ylabel("embedding effect (1 - cosine)")
    return ax
