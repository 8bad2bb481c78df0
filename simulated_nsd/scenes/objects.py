"""Plants, food, furniture and other objects."""

import numpy as np

from simulated_nsd.scenes.canvas import Pen, arc, smooth
from simulated_nsd.scenes.model import Thing
from simulated_nsd.scenes.palette import CREAM, INK, PAPER, TONES, WOOD, Tones, alpha, mix

_LEAF = Tones((120, 190, 104), (70, 150, 80), (42, 108, 66))


def draw_tree(pen: Pen, thing: Thing) -> None:
    """A round tree, a pine or a palm; box height 1.2."""
    tone, species = TONES[thing.colour], thing.trait("species", "round")
    if species == "pine":
        pen.box(-0.06, 0.36, 0.06, 0.6, WOOD.dark)
        for half, top, foot in ((0.48, -0.08, 0.44), (0.4, -0.36, 0.14), (0.29, -0.6, -0.16)):
            pen.poly([(-half, foot), (0, top), (half, foot)], tone.base)
            pen.poly([(0, top), (half, foot), (half * 0.12, foot)], tone.dark)
    elif species == "palm":
        pen.stroke(arc(0.5, 0.58, 0.52, 0.85, 180, 246, 12), 0.1, WOOD.base)
        pen.stroke(arc(0.53, 0.58, 0.52, 0.85, 182, 244, 12), 0.04, WOOD.dark)
        crown = pen.at(0.16, -0.24)
        for i, turn in enumerate((-170, -10, 150, 30, -130, -50, -90)):
            leaf = [(0, -0.05), (0.18, -0.1), (0.4, -0.02), (0.48, 0.1), (0.3, 0.06), (0.1, 0.06)]
            flip = abs(turn) > 90
            arm = crown.at(0, 0, 0.8, flip=flip, turn=180 - turn if flip else turn)
            arm.blob(leaf, tone.dark if i < 2 or i > 5 else tone.base)
        for x in (0.12, 0.2):
            crown.oval(x - 0.16, 0.03, 0.05, 0.05, TONES["brown"].dark)
    else:
        pen.poly([(-0.07, 0.0), (0.07, 0.0), (0.11, 0.6), (-0.11, 0.6)], WOOD.dark)
        pen.stroke([(0, 0.3), (0.18, 0.06)], 0.06, WOOD.dark)
        for x, y, r in ((-0.27, 0.03, 0.23), (0.27, 0.04, 0.23), (0.0, 0.05, 0.26)):
            pen.oval(x, y, r, r, tone.dark)
        for x, y, r in ((-0.23, -0.1, 0.25), (0.22, -0.1, 0.25), (0.0, -0.28, 0.31)):
            pen.oval(x, y, r, r, tone.base)
        for x, y, r in ((-0.2, -0.2, 0.12), (0.0, -0.4, 0.15), (0.17, -0.2, 0.09)):
            pen.oval(x, y, r, r, tone.light)


def draw_flower(pen: Pen, thing: Thing) -> None:
    """A single flower with leaves, in a pot where it is not growing; box height 1.3."""
    tone, species = TONES[thing.colour], thing.trait("species", "daisy")
    foot = 0.36 if thing.trait("pot") else 0.65
    pen.stroke([(0, -0.2), (0.02, 0.2), (0.0, foot)], 0.06, _LEAF.base)
    for side, y in ((-1, 0.3), (1, 0.22)):
        p = pen.at(0, y + (0.12 if not thing.trait("pot") else 0), flip=side < 0)
        leaf = [(0, 0.08), (0.14, -0.08), (0.36, -0.12), (0.26, 0.06)]
        p.blob(leaf, _LEAF.dark if side < 0 else _LEAF.base)
    if thing.trait("pot"):
        pen.poly([(-0.25, 0.36), (0.25, 0.36), (0.18, 0.65), (-0.18, 0.65)], (206, 112, 76))
        pen.poly([(0.08, 0.36), (0.25, 0.36), (0.18, 0.65), (0.06, 0.65)], (170, 86, 60))
        pen.box(-0.29, 0.3, 0.29, 0.4, (222, 132, 94), r=0.02)
    head = pen.at(0, -0.27)
    if species == "tulip":
        back = [(-0.3, -0.34), (-0.14, -0.16), (0.0, -0.38), (0.14, -0.16), (0.3, -0.34)]
        head.poly([*back, (0.2, 0.2), (-0.2, 0.2)], tone.dark)
        left = [(-0.31, -0.34), (-0.33, -0.02), (-0.2, 0.24), (0.02, 0.28), (0.06, 0.1)]
        left += [(-0.12, -0.14)]
        head.blob(left, tone.base)
        head.blob([(-x, y) for x, y in left], tone.base)
        front = [(0, -0.3), (-0.13, -0.02), (-0.08, 0.22), (0.08, 0.22), (0.13, -0.02)]
        head.blob(front, tone.light)
        return
    n, length, half = (7, 0.25, 0.125) if species == "daisy" else (12, 0.27, 0.075)
    petal = tone.base
    for i in range(n):
        p = head.at(0, 0, turn=360 * i / n - 90)
        p.oval(length - 0.02, 0, length * 0.62, half, tone.dark if i % 2 else petal)
        p.oval(length - 0.05, 0, length * 0.5, half * 0.72, petal if i % 2 else tone.light)
    heart = TONES["brown"] if species == "sunflower" else TONES["yellow"]
    if species == "daisy" and thing.colour in ("yellow", "orange"):
        heart = TONES["brown"]
    r = 0.17 if species == "sunflower" else 0.14
    head.oval(0, 0, r, r, heart.dark)
    head.oval(-0.012, -0.015, r * 0.82, r * 0.82, heart.base)


def draw_pizza(pen: Pen, thing: Thing) -> None:
    """A pizza on a plate, seen from above at a slant; box height 0.66."""
    plate = TONES[thing.colour]
    p = pen.at(0, 0)
    p.oval(0, 0.025, 0.5, 0.305, plate.dark)
    p.oval(0, -0.01, 0.5, 0.305, plate.base)
    p.oval(0, -0.02, 0.44, 0.262, plate.light)
    p.oval(0, -0.02, 0.395, 0.24, (150, 90, 48))
    p.oval(0, -0.04, 0.395, 0.24, (226, 164, 88))
    p.oval(0, -0.04, 0.345, 0.205, (214, 78, 50))
    p.oval(0, -0.042, 0.325, 0.19, (252, 206, 96))
    spots = [(-0.17, -0.11), (0.05, -0.16), (0.2, -0.06), (0.13, 0.07), (-0.08, 0.07)]
    topping = thing.trait("topping", "salami")
    for x, y in [*spots, (-0.23, 0.01), (-0.01, -0.04)]:
        if topping == "salami":
            p.oval(x, y, 0.062, 0.04, (168, 44, 40))
            p.oval(x - 0.004, y - 0.005, 0.05, 0.031, (212, 74, 62))
        elif topping == "olives":
            p.oval(x, y, 0.05, 0.033, (44, 42, 52))
            p.oval(x, y, 0.02, 0.013, (232, 176, 84))
        else:
            p.oval(x, y, 0.065, 0.028, _LEAF.dark, turn=200 * x)
            p.oval(x + 0.05, y + 0.03, 0.028, 0.02, (212, 74, 62))
    cut = [(0, -0.04), (0.385, 0.04), (0.3, 0.125)]
    p.poly(cut, plate.light)
    p.poly([(0, -0.04), (0.385, 0.04), (0.375, 0.055), (0.02, -0.03)], (196, 130, 66))


def draw_cake(pen: Pen, thing: Thing) -> None:
    """A cake with icing on a stand; box height 0.86."""
    tone = TONES[thing.colour]
    sponge = Tones((246, 214, 150), (230, 186, 116), (196, 146, 84))
    if thing.colour in ("white", "yellow"):
        sponge = Tones((176, 122, 84), (146, 96, 64), (110, 70, 48))
    pen.oval(0, 0.385, 0.5, 0.045, (196, 204, 216))
    pen.oval(0, 0.37, 0.5, 0.045, (240, 244, 248))
    pen.box(-0.4, -0.04, 0.4, 0.36, sponge.base, r=0.03)
    pen.oval(0, 0.35, 0.4, 0.05, sponge.base)
    pen.box(0.15, -0.04, 0.4, 0.36, sponge.dark, r=0.03)
    pen.box(-0.4, 0.2, 0.4, 0.25, CREAM)
    pen.poly(_drip(), tone.base)
    with pen.clip(_drip()) as inside:
        inside.box(0.15, -0.2, 0.5, 0.3, tone.dark)
    pen.oval(0, -0.1, 0.415, 0.085, tone.light)
    topping = thing.trait("topping", "candles")
    if topping == "candles":
        for x, y, colour in ((-0.22, -0.1, "blue"), (0.0, -0.07, "red"), (0.22, -0.1, "green")):
            pen.box(x - 0.025, y - 0.22, x + 0.025, y, TONES[colour].base)
            pen.box(x + 0.004, y - 0.22, x + 0.025, y, TONES[colour].dark)
            pen.oval(x, y - 0.27, 0.03, 0.055, (255, 176, 60))
            pen.oval(x, y - 0.26, 0.014, 0.028, (255, 244, 190))
    elif topping == "cherry":
        pen.oval(0, -0.13, 0.17, 0.055, PAPER)
        pen.stroke(arc(0.14, -0.24, 0.14, 0.16, 180, 250, 8), 0.018, (70, 110, 50))
        pen.oval(0, -0.2, 0.1, 0.1, (204, 34, 52))
        pen.oval(-0.035, -0.235, 0.026, 0.026, (255, 150, 150))
    else:
        for i, x in enumerate(np.linspace(-0.3, 0.3, 5)):
            berry = TONES["red" if i % 2 == 0 else "purple"]
            pen.oval(x, -0.135 + 0.25 * x * x, 0.068, 0.068, berry.dark)
            pen.oval(x - 0.01, -0.145 + 0.25 * x * x, 0.05, 0.05, berry.base)


def _drip() -> np.ndarray:
    """Outline of icing that runs down the side of a cake."""
    edge = [(0.42, -0.1), (0.415, 0.02)]
    for i, low in enumerate((0.12, 0.17, 0.1, 0.18, 0.11, 0.16)):
        x = 0.35 - 0.14 * i
        edge += [(x + 0.035, low - 0.02), (x, low), (x - 0.035, low - 0.02), (x - 0.07, 0.03)]
    return smooth([*edge[:-1], (-0.415, 0.02), (-0.42, -0.1)], closed=False)


def draw_ball(pen: Pen, thing: Thing) -> None:
    """A ball with panels, a stripe or a star; box height 1."""
    tone = TONES[thing.colour]
    other = PAPER if thing.colour != "white" else TONES["blue"].base
    disc = pen.ellipse(0, 0, 0.5, 0.5)
    with pen.clip(disc) as p:
        p.box(-0.5, -0.5, 0.5, 0.5, tone.base)
        pattern = thing.trait("pattern", "panels")
        if pattern == "panels":
            hub = (-0.1, -0.16)
            for i in range(3):
                p.poly([hub, *arc(*hub, 0.9, 0.9, 120 * i, 120 * i + 60, 8)], other)
            p.oval(*hub, 0.075, 0.075, tone.light)
        elif pattern == "stripe":
            q = p.at(0, 0, turn=-18)
            q.box(-0.7, -0.13, 0.7, 0.13, other)
        else:
            p.poly(_star(0.0, -0.02, 0.3), other)
        rim = [*arc(0, 0, 0.52, 0.52, -50, 140, 24), *arc(-0.1, -0.1, 0.5, 0.5, 125, -35, 24)]
        p.poly(rim, alpha((30, 24, 60), 62))
        p.oval(-0.2, -0.28, 0.1, 0.065, alpha((255, 255, 255), 150), turn=-38)


def _star(x: float, y: float, r: float) -> list[tuple[float, float]]:
    angles = np.radians(np.arange(10) * 36 - 90)
    radii = np.where(np.arange(10) % 2 == 0, r, 0.42 * r)
    points = zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)
    return [(float(px), float(py)) for px, py in points]


def draw_sofa(pen: Pen, thing: Thing) -> None:
    """A sofa from the front; box height 0.56."""
    tone = TONES[thing.colour]
    for x in (-0.38, 0.38):
        pen.poly([(x - 0.03, 0.2), (x + 0.03, 0.2), (x + 0.02, 0.28), (x - 0.02, 0.28)], WOOD.dark)
    pen.box(-0.4, -0.28, 0.4, 0.15, tone.base, r=0.09)
    pen.box(-0.005, -0.25, 0.005, 0.0, tone.dark)
    pen.box(-0.38, -0.265, 0.38, -0.2, tone.light, r=0.03)
    pen.box(-0.4, 0.0, 0.4, 0.22, tone.dark, r=0.04)
    for x0 in (-0.385, 0.01):
        pen.box(x0, -0.03, x0 + 0.375, 0.1, tone.light, r=0.045)
    for side in (-1, 1):
        x0, x1 = sorted((side * 0.5, side * 0.35))
        pen.box(x0, -0.12, x1, 0.23, tone.base, r=0.07)
        pen.box(x0 + 0.02, -0.105, x1 - 0.02, -0.03, tone.light, r=0.035)
    pillow = TONES["yellow" if thing.colour not in ("yellow", "orange", "white") else "blue"]
    p = pen.at(-0.2, -0.09, turn=-10)
    p.box(-0.1, -0.09, 0.1, 0.09, pillow.base, r=0.03)
    p.box(-0.1, 0.03, 0.1, 0.09, pillow.dark, r=0.03)


def draw_umbrella(pen: Pen, thing: Thing) -> None:
    """An open umbrella; box height 1.05."""
    tone = TONES[thing.colour]
    light = PAPER if thing.colour != "white" else TONES["red"].base
    pen.box(-0.022, -0.4, 0.022, 0.42, WOOD.dark)
    pen.stroke(arc(0.085, 0.42, 0.085, 0.085, 180, 10, 10), 0.045, INK)
    pen.stroke([(0, -0.44), (0, -0.5)], 0.035, INK)
    dome = [*arc(0, 0.03, 0.5, 0.49, 180, 360, 40)]
    edge = []
    for i in range(4):
        x = 0.375 - 0.25 * i
        edge += arc(x, 0.03, 0.125, 0.06, 0, -180, 8)
    shape = [*dome, *edge]
    with pen.clip(shape) as p:
        p.box(-0.5, -0.5, 0.5, 0.1, tone.base)
        p.poly([(0, -0.46), (-0.25, 0.03), (-0.25, 0.1), (0.0, 0.1)], light)
        for x0, x1, fill in ((-0.25, 0.0, light), (0.25, 0.5, mix(light, tone.dark, 0.25))):
            p.poly([(x0, 0.1), *_rib(x0), *_rib(x1)[::-1], (x1, 0.1)], fill)
        p.poly([(0, 0.1), (0.25, 0.1), *_rib(0.25)], mix(tone.base, tone.dark, 0.45))


def _rib(x: float) -> list[tuple[float, float]]:
    """One side of an umbrella's panel, from the edge to the tip."""
    angles = np.linspace(np.pi / 2, 0, 8)
    return [(x * np.sin(a), 0.03 - 0.49 * np.cos(a)) for a in angles]


DRAWERS = {"tree": draw_tree, "flower": draw_flower, "pizza": draw_pizza, "cake": draw_cake}
DRAWERS |= {"ball": draw_ball, "sofa": draw_sofa, "umbrella": draw_umbrella}
