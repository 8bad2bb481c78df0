"""Type for pictures that are drawn without matplotlib, which is too slow between two events."""

import functools
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

INK, MUTED, ACCENT = "#222222", "#666666", "#B34700"
MARGIN = 12
SIZE = 13  # of captions


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """matplotlib's own typeface, so that figures and explorer look alike."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def wrap(text: str, width: float, size: int, max_lines: int) -> list[str]:
    """Lines of at most ``width`` pixels; what does not fit ends in an ellipsis."""
    face, lines = font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > max_lines:
        lines = lines[:max_lines]
        while lines[-1] and face.getlength(lines[-1] + " …") > width:
            lines[-1] = lines[-1].rpartition(" ")[0]
        lines[-1] += " …"
    return lines


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    width: float,
    *,
    max_lines: int,
    fill: str,
) -> float:
    """Write wrapped text; return where the next line would begin."""
    x, y = at
    for line in wrap(text, width, SIZE, max_lines):
        pen.text((x, y), line, font=font(SIZE), fill=fill)
        y += SIZE * 1.3
    return y
