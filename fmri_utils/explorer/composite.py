"""A view as one picture: seen, read from the brain, with the change, difference; and the words."""

import io
import math

import numpy as np
from PIL import Image, ImageDraw

from .lettering import ACCENT, INK, MARGIN, MUTED, font, write
from .view import View

PANEL, GAP = 232, 16
WIDTH = 2 * MARGIN + 4 * PANEL + 3 * GAP
TOP = 68
"""Pixels above the pictures."""
HEIGHT = TOP + PANEL + 152
MAX_GAIN = 10_000.0
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"


def round_down(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** math.floor(math.log10(value))
    # a number such as 0.3 / 0.1 falls short of 3 by rounding
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))


def difference_gain(before: np.ndarray, after: np.ndarray) -> float:
    """Factor that makes a difference of two pictures fill the range of grey; 1 for equal ones.

    By the largest but one in a hundred of the differences, or a single pixel would set it, and
    never below 1. A round number, so that two views can be compared.
    """
    difference = np.abs(after - before)
    peak = float(np.quantile(difference, 0.99)) or float(difference.max())
    return min(max(round_down(0.5 / peak), 1.0), MAX_GAIN) if peak > 0 else 1.0


def difference_picture(before: np.ndarray, after: np.ndarray, gain: float) -> np.ndarray:
    """Difference times gain around middle grey, (H, W, 3) in [0, 1]; brighter is more."""
    return (0.5 + gain * (after - before)).clip(0, 1)


def compose(view: View, *, label: str, new_noise_rms: float) -> Image.Image:
    """Draw a view.

    Parameters
    ----------
    view : View
    label : str
        What the data are ("simulated, subject 1").
    new_noise_rms : float
        Pixel RMS of new noise alone, for comparison.

    Returns
    -------
    PIL.Image.Image
    """
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(canvas)
    gain = difference_gain(view.before, view.after)
    pictures = [view.seen, view.before, view.after]
    pictures.append(difference_picture(view.before, view.after, gain))
    names = ["seen", "read from the brain", "after the change", f"difference × {gain:,.10g}"]
    columns = [MARGIN + i * (PANEL + GAP) for i in range(4)]
    for x, picture, name in zip(columns, pictures, names, strict=True):
        pen.text((x, TOP - 22), name, font=font(14, bold=True), fill=INK)
        pixels = Image.fromarray((picture * 255).round().astype(np.uint8))
        canvas.paste(pixels.resize((PANEL, PANEL), Image.Resampling.BILINEAR), (x, TOP))
    _heading(pen, view, label, new_noise_rms)
    y = TOP + PANEL + 8
    _captions(pen, (columns[0], y), "A person wrote", [view.caption])
    _captions(pen, (columns[1], y), "Nearest captions", view.captions_before)
    old = set(view.captions_before)
    title = "Nearest now, new in colour" if {*view.captions_after} - old else "Nearest now"
    _captions(pen, (columns[2], y), title, view.captions_after, old)
    _bars(pen, (columns[3], y), view.shift)
    return canvas


def png(image: Image.Image) -> bytes:
    """A picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=1)  # more would cost time between two events
    return buffer.getvalue()


def stack(*images: Image.Image) -> Image.Image:
    """Pictures below each other, on white."""
    width = max(image.width for image in images)
    canvas = Image.new("RGB", (width, sum(image.height for image in images)), "white")
    y = 0
    for image in images:
        canvas.paste(image, (0, y))
        y += image.height
    return canvas


def _heading(pen: ImageDraw.ImageDraw, view: View, label: str, new_noise_rms: float) -> None:
    """What was done and how much it did, above the pictures."""
    state = view.state
    noise = f"new noise, draw {state.seed}" if state.fresh else "same noise"
    pen.text((MARGIN, 4), f"{view.change}, {noise}", font=font(16, bold=True), fill=INK)
    numbers = f"embedding moved by {view.turn:.2g} (1 - cosine)   |   picture changed by "
    numbers += f"{view.rms:.2g} (RMS; new noise alone: {new_noise_rms:.2g})"
    pen.text((MARGIN, 25), numbers, font=font(13), fill=INK)
    right = f"image {state.image}   |   {label}"
    x = WIDTH - MARGIN - font(13).getlength(right)
    pen.text((x, 7), right, font=font(13), fill=MUTED)


def _captions(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    title: str,
    captions: list[str],
    old: set[str] | None = None,
) -> None:
    """A list of captions; those that are not among ``old`` in colour."""
    x, y = at
    pen.text((x, y), title, font=font(13, bold=True), fill=INK)
    y += 20
    for number, caption in enumerate(captions, start=1):
        text = f"{number}. {caption}" if len(captions) > 1 else caption
        fill = INK if old is None or caption in old else ACCENT
        lines = 2 if len(captions) > 1 else 5
        y = write(pen, (x, y), text, PANEL, max_lines=lines, fill=fill) + 4


def _bars(pen: ImageDraw.ImageDraw, at: tuple[float, float], shift) -> None:
    """Signed shift along each concept, with the number and the length of a full bar."""
    x, y = at
    pen.text((x, y), "Shift along concepts (cosine)", font=font(13, bold=True), fill=INK)
    peak = max((abs(v) for v in shift.values()), default=0.0)
    full = 1 / round_down(1 / peak) if peak > 0 else 1.0  # 1, 2, 5 upwards
    middle, half = x + 122, 44
    for row, (name, value) in enumerate(shift.items()):
        top = y + 24 + 24 * row
        pen.text((x, top), name, font=font(13), fill=INK)
        end = middle + half * value / full
        box = (min(middle, end), top + 2, max(middle, end), top + 14)
        pen.rectangle(box, fill=POSITIVE if value > 0 else NEGATIVE)
        pen.text((middle + half + 4, top), f"{value:+.2g}", font=font(13), fill=INK)
    bottom = y + 24 + 24 * len(shift)
    pen.line((middle, y + 22, middle, bottom), fill=MUTED)
    pen.text((x, bottom + 4), f"full bar: {full:.3g}", font=font(12), fill=MUTED)
