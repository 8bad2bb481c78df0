"""Houses, lighthouses and signs."""

from simulated_nsd.scenes.canvas import Pen, arc
from simulated_nsd.scenes.model import Thing
from simulated_nsd.scenes.palette import (
    CREAM,
    GLASS,
    INK,
    PAPER,
    ROCK,
    STEEL,
    TONES,
    Tones,
    alpha,
    mix,
)

_ROOFS = {
    "white": TONES["red"],
    "red": Tones((110, 116, 134), (78, 84, 104), (54, 58, 78)),
    "yellow": TONES["brown"],
    "blue": TONES["orange"],
    "pink": TONES["purple"],
    "brown": TONES["green"],
    "orange": TONES["blue"],
    "green": TONES["red"],
}


def draw_house(pen: Pen, thing: Thing) -> None:
    """A house with a gable seen from the front and a side wing; box height 0.95."""
    wall, roof = TONES[thing.colour], _ROOFS[thing.colour]
    bottom = 0.475
    pen.box(0.2, -0.4, 0.31, -0.1, mix(roof.dark, (90, 60, 60), 0.4))
    pen.box(0.0, -0.06, 0.46, bottom, wall.dark)
    pen.poly([(-0.18, -0.44), (0.34, -0.44), (0.5, -0.03), (-0.02, -0.03)], roof.base)
    front = [(-0.42, -0.06), (-0.18, -0.42), (0.08, -0.06), (0.08, bottom), (-0.42, bottom)]
    pen.poly(front, wall.base)
    pen.poly([(-0.5, -0.01), (-0.18, -0.475), (0.14, -0.01), (0.05, -0.01), (-0.18, -0.345),
              (-0.41, -0.01)], roof.dark)  # fmt: skip
    pen.oval(-0.17, -0.13, 0.062, 0.062, PAPER)
    pen.oval(-0.17, -0.13, 0.045, 0.045, GLASS.dark)
    door = TONES["brown"] if thing.colour != "brown" else TONES["red"]
    pen.box(-0.245, 0.1, -0.085, bottom, PAPER, r=0.03)
    pen.box(-0.225, 0.12, -0.105, bottom, door.base, r=0.02)
    pen.oval(-0.125, 0.31, 0.014, 0.014, CREAM)
    for x0, y0, x1, y1 in ((0.16, 0.08, 0.38, 0.27), (-0.385, 0.12, -0.275, 0.3)):
        pen.box(x0 - 0.02, y0 - 0.02, x1 + 0.02, y1 + 0.02, PAPER)
        pen.box(x0, y0, x1, y1, (255, 226, 132) if thing.trait("lit") else GLASS.base)
        mid = (x0 + x1) / 2
        pen.box(mid - 0.008, y0, mid + 0.008, y1, PAPER)
        pen.box(x0, (y0 + y1) / 2 - 0.008, x1, (y0 + y1) / 2 + 0.008, PAPER)
    pen.oval(0.27, bottom - 0.01, 0.17, 0.055, (72, 140, 84))
    pen.oval(-0.37, bottom - 0.005, 0.1, 0.045, (72, 140, 84))


def draw_lighthouse(pen: Pen, thing: Thing) -> None:
    """A striped tower on a rock; box height 1.5."""
    tone = TONES[thing.colour]
    pen.blob([(-0.5, 0.75), (-0.46, 0.62), (-0.28, 0.53), (-0.05, 0.48), (0.25, 0.52),
              (0.45, 0.63), (0.5, 0.75)], ROCK.base)  # fmt: skip
    pen.blob([(0.05, 0.75), (0.12, 0.56), (0.32, 0.58), (0.46, 0.66), (0.49, 0.75)], ROCK.dark)
    pen.oval(-0.25, 0.6, 0.12, 0.035, ROCK.light)
    if thing.trait("lit"):
        for side in (-1, 1):
            beam = [(0, -0.5), (side * 1.7, -0.85), (side * 1.7, -0.35)]
            pen.poly(beam, alpha((255, 236, 150), 70))
    tower = [(-0.17, -0.36), (0.17, -0.36), (0.26, 0.56), (-0.26, 0.56)]
    with pen.clip(tower) as p:
        p.box(-0.4, -0.4, 0.4, 0.6, PAPER)
        for top in (-0.2, 0.1, 0.4):
            p.box(-0.4, top, 0.4, top + 0.15, tone.base)
        p.poly([(0.05, -0.4), (0.4, -0.4), (0.4, 0.6), (0.09, 0.6)], alpha((40, 40, 70), 56))
    pen.box(-0.055, 0.42, 0.055, 0.56, TONES["brown"].dark, r=0.05)
    pen.oval(0.0, 0.02, 0.04, 0.055, GLASS.dark)
    pen.box(-0.24, -0.41, 0.24, -0.35, tone.dark, r=0.02)
    pen.box(-0.13, -0.58, 0.13, -0.41, (255, 232, 140))
    pen.box(-0.02, -0.58, 0.02, -0.41, tone.dark)
    pen.poly([(-0.18, -0.57), (-0.1, -0.68), (0, -0.73), (0.1, -0.68), (0.18, -0.57)], tone.base)
    pen.oval(0, -0.725, 0.025, 0.025, tone.dark)


def draw_sign(pen: Pen, thing: Thing) -> None:
    """A sign with a word on it, on a pole; box height 1.15."""
    tone, shape = TONES[thing.colour], thing.trait("shape", "board")
    ink = INK if thing.colour in ("white", "yellow", "orange", "pink") else (255, 255, 255)
    rim = tone.dark if thing.colour in ("white", "yellow", "pink") else (255, 255, 255)
    pen.box(-0.035, 0.0, 0.035, 0.575, STEEL.base)
    pen.box(0.008, 0.0, 0.035, 0.575, STEEL.dark)
    outline, inner, room = {
        "board": (_frame(0.5, 0.36, 0.06), _frame(0.46, 0.32, 0.04), (0.8, 0.5)),
        "octagon": (_octagon(0.41), _octagon(0.37), (0.64, 0.3)),
        "round": (arc(0, 0, 0.41, 0.41, 0, 360, 60), arc(0, 0, 0.365, 0.365, 0, 360, 60),
                  (0.58, 0.3)),
        "arrow": (_arrow(1.0), _arrow(0.9), (0.68, 0.34)),
    }[shape]  # fmt: skip
    p = pen.at(0, -0.17)
    p.at(0.012, 0.018).poly(outline, tone.dark)
    p.poly(outline, rim)
    p.poly(inner, tone.base)
    with p.clip(inner) as inside:
        inside.poly([(-0.6, -0.5), (0.12, -0.5), (-0.4, 0.5), (-0.6, 0.5)], alpha(tone.light, 90))
    p.text(-0.05 if shape == "arrow" else 0, 0, thing.trait("word", "STOP"), *room, ink)


def _frame(half_w: float, half_h: float, r: float) -> list[tuple[float, float]]:
    corners = ((1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270))
    return [
        point
        for sx, sy, a in corners
        for point in arc(sx * (half_w - r), sy * (half_h - r), r, r, a, a + 90, 6)
    ]


def _octagon(radius: float) -> list[tuple[float, float]]:
    c = radius * 0.414
    return [(radius, c), (c, radius), (-c, radius), (-radius, c),
            (-radius, -c), (-c, -radius), (c, -radius), (radius, -c)]  # fmt: skip


def _arrow(s: float) -> list[tuple[float, float]]:
    h = 0.27 + (s - 1) * 0.35
    return [(-0.5 * s, -h), (0.27 * s, -h), (0.5 * s, 0.0), (0.27 * s, h), (-0.5 * s, h)]


DRAWERS = {"house": draw_house, "lighthouse": draw_lighthouse, "sign": draw_sign}
