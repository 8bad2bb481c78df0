"""An antialiased canvas and a pen that draws in local coordinates.

Pillow draws hard edges, so the canvas is larger than the picture and is box-averaged at the end.
All shapes are given in local units; the pen carries the affine map to canvas pixels, so that the
same scene has the same look at every size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from simulated_nsd.scenes.palette import RGB

Points = Sequence[tuple[float, float]]
Fill = tuple[int, ...]
CURVE_STEPS = 8  # points of a curve for each given point


@lru_cache(maxsize=64)
def _unit_circle(n: int) -> np.ndarray:
    """Points on the unit circle, shape (n, 2)."""
    angle = np.linspace(0.0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def _spline_basis() -> np.ndarray:
    """Catmull-Rom weights of four neighbouring points, shape (CURVE_STEPS, 4)."""
    t = np.linspace(0.0, 1.0, CURVE_STEPS, endpoint=False)[:, None]
    powers = np.concatenate([np.ones_like(t), t, t**2, t**3], axis=1)
    matrix = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    return powers @ matrix


_BASIS = _spline_basis()


def smooth(points: Points, *, closed: bool = True) -> np.ndarray:
    """Points on a Catmull-Rom curve through the given points.

    Parameters
    ----------
    points : sequence of (x, y), length n >= 3
    closed : bool
        Join the last point to the first.

    Returns
    -------
    ndarray, shape (m, 2)
    """
    p = np.asarray(points, dtype=float)
    if closed:
        neighbours = np.stack([np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)], axis=1)
    else:
        q = np.concatenate([p[:1], p, p[-1:]])
        neighbours = np.stack([q[i : i + len(p) - 1] for i in range(4)], axis=1)
    curve = np.einsum("sk,nkd->nsd", _BASIS, neighbours).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def arc(
    cx: float, cy: float, rx: float, ry: float, start: float, stop: float, n: int = 24
) -> list[tuple[float, float]]:
    """Points on an elliptic arc; angles in degrees, clockwise on screen from the right."""
    angle = np.radians(np.linspace(start, stop, n))
    points = zip(cx + rx * np.cos(angle), cy + ry * np.sin(angle), strict=True)
    return [(float(x), float(y)) for x, y in points]


class Pen:
    """Draws on an image in local coordinates (x to the right, y down).

    Parameters
    ----------
    image : PIL.Image.Image
        RGB image that is drawn on.
    matrix : ndarray, shape (2, 3)
        Affine map from local units to canvas pixels.
    """

    def __init__(self, image: Image.Image, matrix: np.ndarray) -> None:
        self.image = image
        self.matrix = matrix
        self.scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        self._draw = ImageDraw.Draw(image, "RGBA")

    def at(
        self, x: float, y: float, scale: float = 1.0, *, flip: bool = False, turn: float = 0.0
    ) -> "Pen":
        """Give a pen whose origin is at (x, y), scaled, mirrored, turned clockwise (degrees)."""
        c, s = np.cos(np.radians(turn)) * scale, np.sin(np.radians(turn)) * scale
        mirror = -1.0 if flip else 1.0
        local = np.array([[mirror * c, -s, x], [mirror * s, c, y], [0, 0, 1]])
        return Pen(self.image, self.matrix @ local)

    def _pixels(self, points: Points | np.ndarray) -> list[float]:
        p = np.asarray(points, dtype=float)
        return (p @ self.matrix[:, :2].T + self.matrix[:, 2]).ravel().tolist()

    def poly(self, points: Points | np.ndarray, fill: Fill) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._pixels(points), fill=fill)

    def blob(self, points: Points, fill: Fill) -> None:
        """Fill a smooth closed curve through the points."""
        self.poly(smooth(points), fill)

    def oval(
        self, x: float, y: float, rx: float, ry: float, fill: Fill, *, turn: float = 0.0
    ) -> None:
        """Fill an ellipse with centre (x, y), radii rx and ry, turned clockwise (degrees)."""
        self.poly(self.ellipse(x, y, rx, ry, turn=turn), fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, *, turn: float = 0.0) -> np.ndarray:
        """Outline of an ellipse, fine enough for this canvas, shape (n, 2)."""
        n = int(np.clip(10 + 0.5 * max(rx, ry) * self.scale, 12, 96))
        points = _unit_circle(n) * (rx, ry)
        if turn:
            c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
            points = points @ np.array([[c, s], [-s, c]])
        return points + np.array([x, y])

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Fill, *, r: float = 0.0
    ) -> None:
        """Fill a rectangle, with corners rounded by radius ``r``."""
        self.poly(rounded(x0, y0, x1, y1, r), fill)

    def stroke(self, points: Points | np.ndarray, width: float, fill: Fill) -> None:
        """Draw a line with round joints and round ends."""
        flat = self._pixels(points)
        pixels = max(1, round(width * self.scale))
        self._draw.line(flat, fill=fill, width=pixels, joint="curve")
        radius = (pixels - 1) / 2
        if radius >= 1:
            for x, y in (flat[:2], flat[-2:]):
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def text(self, x: float, y: float, word: str, width: float, height: float, fill: Fill) -> None:
        """Write a word, never mirrored, centred at (x, y) and as large as the box allows."""
        left, top, right, bottom = _font(200).getbbox(word, stroke_width=7)
        fit = min(width * self.scale / (right - left), height * self.scale / (bottom - top))
        size = max(4, round(200 * fit))
        px, py = self._pixels([(x, y)])
        # The box of the glyphs, not the line height, is centred.
        left, top, right, bottom = _font(size).getbbox(word)
        corner = (px - (left + right) / 2, py - (top + bottom) / 2)
        stroke = size * 0.035
        self._draw.text(corner, word, font=_font(size), fill=fill, stroke_width=stroke)

    @contextmanager
    def clip(self, points: Points | np.ndarray) -> Iterator["Pen"]:
        """Give a pen whose marks stay inside the polygon."""
        flat = np.array(self._pixels(points)).reshape(-1, 2)
        low = np.maximum(np.floor(flat.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(flat.max(0)).astype(int) + 1, self.image.size)
        if (high <= low).any():  # wholly outside the picture: nothing to draw on
            yield Pen(Image.new("RGB", (1, 1)), self.matrix)
            return
        layer = self.image.crop((*low.tolist(), *high.tolist()))
        mask = Image.new("L", layer.size)
        ImageDraw.Draw(mask).polygon((flat - low).ravel().tolist(), fill=255)
        shifted = self.matrix.copy()
        shifted[:, 2] -= low
        yield Pen(layer, shifted)
        self.image.paste(layer, tuple(low.tolist()), mask)

    def fade(self, top: float, bottom: float, first: RGB, last: RGB) -> None:
        """Fill the band between two heights (local units) with a vertical gradient."""
        y0, y1 = self._pixels([(0, top), (0, bottom)])[1::2]
        y0, y1 = round(y0), round(y1)
        if y1 <= y0:
            return
        share = np.linspace(0.0, 1.0, y1 - y0)[:, None]
        column = np.asarray(first) * (1 - share) + np.asarray(last) * share
        strip = Image.fromarray(np.rint(column).astype(np.uint8)[:, None, :])
        strip = strip.resize((self.image.width, y1 - y0), Image.Resampling.NEAREST)
        self.image.paste(strip, (0, y0))


def rounded(x0: float, y0: float, x1: float, y1: float, r: float) -> list[tuple[float, float]]:
    """Outline of a rectangle with round corners."""
    r = min(r, (x1 - x0) / 2, (y1 - y0) / 2)
    if r <= 0:
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    corners = [(x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180)]
    corners.append((x1 - r, y0 + r, 270))
    return [p for cx, cy, a in corners for p in arc(cx, cy, r, r, a, a + 90, 7)]


def new_canvas(size: int) -> tuple[Image.Image, Pen, int]:
    """Make an empty supersampled canvas.

    Parameters
    ----------
    size : int
        Side of the final picture in pixels.

    Returns
    -------
    image : PIL.Image.Image
    pen : Pen
        Its unit square is the whole picture.
    factor : int
        The canvas is this many times larger than the picture.
    """
    factor = 4 if size <= 128 else 2
    side = size * factor
    image = Image.new("RGB", (side, side))
    return image, Pen(image, np.array([[side, 0.0, 0.0], [0.0, side, 0.0]])), factor
