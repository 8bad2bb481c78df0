"""Named colours, each with a light, a base and a dark tone, and the tones of skin and hair."""

from typing import NamedTuple

RGB = tuple[int, int, int]


class Tones(NamedTuple):
    """Three tones of one colour: lit, base and shaded."""

    light: RGB
    base: RGB
    dark: RGB


TONES: dict[str, Tones] = {
    "red": Tones((246, 112, 98), (222, 62, 60), (168, 38, 52)),
    "orange": Tones((255, 182, 100), (244, 140, 48), (204, 98, 32)),
    "yellow": Tones((255, 230, 130), (250, 202, 62), (218, 154, 36)),
    "green": Tones((134, 202, 122), (66, 158, 88), (36, 108, 72)),
    "blue": Tones((112, 176, 236), (48, 116, 204), (30, 76, 150)),
    "purple": Tones((180, 142, 220), (132, 84, 184), (88, 52, 136)),
    "pink": Tones((255, 190, 208), (244, 134, 172), (206, 88, 132)),
    "brown": Tones((184, 132, 94), (140, 88, 58), (98, 58, 40)),
    "black": Tones((86, 88, 104), (46, 48, 60), (26, 26, 36)),
    "white": Tones((255, 255, 252), (241, 241, 238), (202, 207, 216)),
    "grey": Tones((190, 196, 204), (146, 153, 166), (102, 109, 124)),
}
COLOURS: tuple[str, ...] = tuple(TONES)

SKIN: dict[str, Tones] = {
    "pale": Tones((255, 228, 210), (250, 211, 188), (226, 174, 150)),
    "tan": Tones((244, 204, 164), (232, 182, 138), (200, 146, 104)),
    "brown": Tones((196, 142, 104), (174, 118, 82), (140, 90, 60)),
    "dark": Tones((140, 96, 72), (114, 74, 54), (84, 52, 40)),
}
HAIR: dict[str, Tones] = {
    "black": Tones((74, 68, 80), (44, 40, 50), (26, 24, 32)),
    "brown": Tones((138, 90, 60), (102, 62, 40), (72, 42, 30)),
    "blond": Tones((255, 226, 140), (238, 196, 92), (204, 156, 60)),
    "red": Tones((228, 130, 70), (198, 92, 44), (154, 64, 32)),
    "grey": Tones((214, 216, 222), (178, 182, 192), (140, 144, 156)),
}

INK: RGB = (40, 42, 56)
PAPER: RGB = (250, 248, 242)
CREAM: RGB = (252, 240, 214)
GLASS = Tones((214, 238, 248), (164, 208, 232), (110, 160, 194))
WOOD = Tones((214, 168, 116), (180, 130, 84), (136, 94, 60))
STEEL = Tones((208, 213, 220), (160, 167, 178), (108, 115, 128))
ROCK = Tones((150, 146, 148), (116, 112, 118), (84, 80, 90))


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Blend two colours; ``share`` is the weight of the second (0 to 1)."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def alpha(colour: RGB, opacity: int) -> tuple[int, int, int, int]:
    """Add an opacity (0 to 255) to a colour."""
    return (*colour, opacity)
