"""Three slices of the brain through one voxel, and from a pixel back to a voxel."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from .. import nsd
from ..project.errors import DataError
from .lettering import INK, MARGIN, MUTED, font

# Okabe & Ito's palette and, for a ninth, Tol's wine. Grey: visual, but in no named area.
TINTS = {
    "V1": (0, 114, 178),
    "V2": (86, 180, 233),
    "V3": (0, 158, 115),
    "hV4": (240, 228, 66),
    "faces": (213, 94, 0),
    "bodies": (230, 159, 0),
    "places": (204, 121, 167),
    "words": (136, 34, 85),
    "unassigned": (190, 190, 190),
}
CHOSEN = (255, 255, 255)
HEADING = 26
"""Pixels above a slice, for its name."""
GAP = 14
TARGET = 230
"""Pixels that the longest side of the volume should take, about."""
# Per slice: its name, the axis across it, the axes to the right and up, and what lies at its left.
SLICES = (
    ("from the left", 0, 1, 2, ""),
    ("from behind", 1, 0, 2, "L"),
    ("from above", 2, 0, 1, "L"),
)


class BrainSlices:
    """Draws slices through a voxel and finds the voxel under a pixel.

    Parameters
    ----------
    mask : numpy.ndarray, bool (X, Y, Z)
        Voxels that can be chosen, in the order of ``volume[mask]``. Axes as in NSD: to the right,
        to the front, up; voxels are cubes.
    background : numpy.ndarray, (X, Y, Z)
        Mean volume.
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)

    Attributes
    ----------
    scale : int
        Pixels per voxel.
    size : tuple of int
        Width and height of the picture.
    """

    def __init__(self, mask: np.ndarray, background: np.ndarray, areas: Mapping[str, np.ndarray]):
        if mask.shape != background.shape or mask.ndim != 3:
            shapes = f"{mask.shape} and {background.shape}"
            raise DataError(f"mask and mean volume have shapes {shapes}. Expected: one, in 3D.")
        self.coordinates = np.argwhere(mask)  # in the order of volume[mask]
        self.shape = mask.shape
        self.areas = areas
        self.scale = max(1, round(TARGET / max(mask.shape)))
        self._grey = _grey(background)
        self._own = nsd.main_areas(areas)
        across = [self.scale * self.shape[slice_[2]] + GAP for slice_ in SLICES]
        self.corners = [(MARGIN + sum(across[:i]), HEADING) for i in range(len(SLICES))]
        right = self.corners[-1][0] + self.scale * self.shape[SLICES[-1][2]]
        self.size = (right + 130, HEADING + self.scale * max(self.shape[1:]) + MARGIN)

    def draw(self, voxel: int, *, area: str | None = None, crosshair: bool = True) -> Image.Image:
        """The slices through a voxel.

        Parameters
        ----------
        voxel : int
        area : str, optional
            Shown in full colour, white where it is not an area with a tint of its own.
        crosshair : bool
        """
        at = self.coordinates[voxel]
        volume = self._coloured(area)
        canvas = Image.new("RGB", self.size, "white")
        pen = ImageDraw.Draw(canvas)
        for corner, (name, axis, _, _, left) in zip(self.corners, SLICES, strict=True):
            plane = np.take(volume, at[axis], axis=axis)  # (right, up, 3)
            pixels = np.ascontiguousarray(plane.transpose(1, 0, 2)[::-1])
            height, width = pixels.shape[:2]
            size = width * self.scale, height * self.scale
            canvas.paste(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), corner)
            pen.text((corner[0], 4), name, font=font(14), fill=INK)
            sides = ((4, left), (size[0] - 14, "R")) if left else ()
            for x, side in sides:
                pen.text((corner[0] + x, corner[1] + 3), side, font=font(13), fill="white")
        if crosshair:
            self._crosshair(pen, voxel)
        self._legend(pen)
        return canvas

    def best_view(self, area: str) -> int:
        """The voxel of an area whose three slices hold most of the area."""
        where = np.flatnonzero(self.areas[area])
        inside = self.coordinates[where]
        held = sum(np.bincount(column)[column] for column in inside.T)
        return int(where[held.argmax()])

    def voxel_at(self, x: float, y: float, voxel: int) -> int | None:
        """The voxel of the mask nearest to a pixel of the slices through ``voxel``.

        Parameters
        ----------
        x, y : float
            Pixels from the upper left corner of the picture.

        Returns
        -------
        int or None
            None outside the slices.
        """
        point = self.coordinates[voxel].astype(float)
        for (left, top), (_, _, across, up, _) in zip(self.corners, SLICES, strict=True):
            column, row = (x - left) / self.scale, (y - top) / self.scale
            if 0 <= column < self.shape[across] and 0 <= row < self.shape[up]:
                point[across] = int(column)
                point[up] = self.shape[up] - 1 - int(row)
                return int(((self.coordinates - point) ** 2).sum(1).argmin())
        return None

    def pixels_of(self, voxel: int) -> list[tuple[float, float]]:
        """Centre of a voxel in each of the slices through it, in pixels."""
        at, centres = self.coordinates[voxel], []
        for (left, top), (_, _, across, up, _) in zip(self.corners, SLICES, strict=True):
            row = self.shape[up] - 1 - at[up]
            x, y = left + (at[across] + 0.5) * self.scale, top + (row + 0.5) * self.scale
            centres.append((float(x), float(y)))
        return centres

    def _coloured(self, area: str | None) -> np.ndarray:
        """The volume in grey with tinted areas, uint8 (X, Y, Z, 3)."""
        volume = self._grey.copy()
        x, y, z = self.coordinates.T
        tint, weight = np.zeros((len(x), 3)), np.zeros((len(x), 1))
        for name in reversed(self._own):  # the first of overlapping areas wins, as in voxel names
            where = self._own[name]
            tint[where] = TINTS[name]
            weight[where] = 0.25 if name == "unassigned" else 0.6
        if area is not None:
            weight *= 0.35
            where = self.areas[area]
            tint[where], weight[where] = TINTS.get(area, CHOSEN), 1.0
        volume[x, y, z] = (1 - weight) * volume[x, y, z] + weight * tint
        return volume

    def _crosshair(self, pen: ImageDraw.ImageDraw, voxel: int) -> None:
        """Thin lines through the voxel, open around it, and a frame."""
        half = self.scale / 2 + 2
        for (left, top), (x, y), (_, _, across, up, _) in zip(
            self.corners, self.pixels_of(voxel), SLICES, strict=True
        ):
            right = left + self.scale * self.shape[across] - 1
            bottom = top + self.scale * self.shape[up] - 1
            gap = half + 4
            lines = [(left, y, x - gap, y), (x + gap, y, right, y)]
            lines += [(x, top, x, y - gap), (x, y + gap, x, bottom)]
            for line in lines:
                if line[0] <= line[2] and line[1] <= line[3]:
                    pen.line(line, fill=(255, 255, 255), width=1)
            box = (x - half, y - half, x + half, y + half)
            pen.rectangle(box, outline=(0, 0, 0), width=3)
            pen.rectangle(box, outline=(255, 255, 255), width=1)

    def _legend(self, pen: ImageDraw.ImageDraw) -> None:
        x = self.size[0] - 112
        for row, name in enumerate(self._own):
            y = HEADING + 22 * row
            pen.rectangle((x, y + 2, x + 13, y + 15), fill=TINTS[name], outline=MUTED)
            pen.text((x + 20, y), name, font=font(13), fill=INK)


def _grey(background: np.ndarray) -> np.ndarray:
    """Mean volume in shades of grey, uint8 (X, Y, Z, 3); the brightest hundredth is white."""
    volume = np.nan_to_num(background.astype(np.float32))
    white = np.percentile(volume[volume > 0], 99) if (volume > 0).any() else 1.0
    shade = (200 * (volume / white).clip(0, 1)).astype(np.uint8)
    return np.repeat(shade[..., None], 3, axis=3)
