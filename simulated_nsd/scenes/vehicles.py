"""Cars, buses, boats and planes."""

import numpy as np

from simulated_nsd.scenes.canvas import Pen, smooth
from simulated_nsd.scenes.model import Thing
from simulated_nsd.scenes.palette import CREAM, GLASS, INK, PAPER, STEEL, TONES, WOOD, alpha, mix


def _wheel(pen: Pen, x: float, y: float, r: float) -> None:
    pen.oval(x, y, r, r, (34, 34, 44))
    pen.oval(x, y, r * 0.55, r * 0.55, STEEL.light)
    pen.oval(x, y, r * 0.2, r * 0.2, STEEL.dark)


def draw_car(pen: Pen, thing: Thing) -> None:
    """A car from the side, driving to the right; box height 0.48."""
    tone = TONES[thing.colour]
    body = [(-0.49, 0.02), (-0.46, -0.05), (-0.3, -0.075), (0.24, -0.07), (0.42, -0.035)]
    body += [(0.49, 0.04), (0.5, 0.13), (0.46, 0.155), (-0.46, 0.155), (-0.5, 0.12)]
    cabin = [(-0.33, -0.05), (-0.24, -0.2), (-0.17, -0.24), (0.05, -0.24), (0.13, -0.205)]
    pen.poly([*cabin, (0.27, -0.05)], tone.base)
    pen.poly(body, tone.base)
    sill = [(-0.5, 0.09), (0.5, 0.09), (0.5, 0.13), (0.46, 0.16), (-0.46, 0.16), (-0.5, 0.12)]
    pen.poly(sill, tone.dark)
    hood = [(-0.46, -0.045), (-0.3, -0.07), (0.24, -0.065), (0.4, -0.03), (0.42, -0.005)]
    pen.poly([*hood, (-0.47, -0.01)], tone.light)
    rear = [(-0.275, -0.065), (-0.21, -0.178), (-0.16, -0.2), (-0.07, -0.2), (-0.07, -0.065)]
    pen.poly(rear, GLASS.base)
    front = [(-0.03, -0.065), (-0.03, -0.2), (0.04, -0.2), (0.1, -0.175), (0.2, -0.065)]
    pen.poly(front, GLASS.base)
    pen.poly([(0.04, -0.2), (0.1, -0.175), (0.2, -0.065), (0.14, -0.065)], GLASS.light)
    pen.box(-0.04, 0.0, 0.03, 0.02, tone.dark)
    pen.oval(0.465, 0.025, 0.03, 0.032, (255, 240, 170))
    pen.oval(-0.48, 0.03, 0.02, 0.03, (200, 40, 50))
    for x in (-0.29, 0.29):
        pen.oval(x, 0.14, 0.115, 0.115, tone.dark)
        _wheel(pen, x, 0.14, 0.1)


def draw_bus(pen: Pen, thing: Thing) -> None:
    """A bus from the side, driving to the right; box height 0.58."""
    tone = TONES[thing.colour]
    pen.box(-0.5, -0.29, 0.5, 0.21, tone.base, r=0.06)
    pen.box(-0.48, -0.29, 0.48, -0.235, tone.light, r=0.03)
    pen.box(-0.5, 0.12, 0.5, 0.215, tone.dark, r=0.03)
    stripe = PAPER if thing.colour != "white" else TONES["red"].base
    pen.box(-0.5, 0.055, 0.5, 0.09, stripe)
    for i in range(4):
        x = -0.455 + 0.165 * i
        pen.box(x, -0.2, x + 0.14, 0.01, GLASS.base, r=0.02)
        pen.poly([(x + 0.02, -0.2), (x + 0.07, -0.2), (x + 0.03, 0.01), (x, 0.01)], GLASS.light)
    pen.box(0.215, -0.2, 0.335, 0.16, mix(GLASS.base, INK, 0.25), r=0.02)
    pen.box(0.27, -0.2, 0.28, 0.16, tone.dark)
    pen.box(0.37, -0.2, 0.5, 0.02, GLASS.light, r=0.02)
    pen.oval(0.475, 0.15, 0.026, 0.03, (255, 240, 170))
    for x in (-0.28, 0.3):
        pen.oval(x, 0.2, 0.1, 0.1, tone.dark)
        _wheel(pen, x, 0.2, 0.088)


def draw_boat(pen: Pen, thing: Thing) -> None:
    """A sailing boat or a steamer; box height 0.98."""
    tone = TONES[thing.colour]
    if thing.trait("type", "sail") == "sail":
        _sails(pen, thing)
    else:
        _steamer(pen, thing)
    foot = [(0.3, 0.465), (-0.3, 0.47)]
    bow = smooth([(0.5, 0.18), (0.45, 0.33), (0.3, 0.465)], closed=False)
    stern = smooth([(-0.3, 0.47), (-0.42, 0.4), (-0.5, 0.21)], closed=False)
    deck = smooth([(-0.5, 0.21), (-0.25, 0.25), (0.25, 0.245), (0.5, 0.18)], closed=False)
    pen.poly([*deck, *bow, *foot, *stern], tone.base)
    with pen.clip([*deck, *bow, *foot, *stern]) as p:
        p.box(-0.6, 0.34, 0.6, 0.6, tone.dark)
    edge = PAPER if thing.colour != "white" else TONES["blue"].base
    pen.stroke(deck + np.array([0.0, 0.012]), 0.026, edge)


def _sails(pen: Pen, thing: Thing) -> None:
    tone = TONES[thing.colour]
    jib = TONES["red"].base if thing.colour == "white" else tone.light
    pen.box(-0.045, -0.49, -0.015, 0.24, WOOD.dark)
    leech = smooth([(0.01, -0.46), (0.17, -0.2), (0.32, 0.02), (0.42, 0.17)], closed=False)
    with pen.clip([*leech, (0.01, 0.17)]) as p:
        p.box(-0.1, -0.5, 0.6, 0.2, PAPER)
        p.box(-0.1, 0.06, 0.6, 0.2, mix(PAPER, (120, 130, 170), 0.2))
    luff = smooth([(-0.07, -0.38), (-0.18, -0.1), (-0.36, 0.17)], closed=False)
    pen.poly([*luff, (-0.07, 0.17)], jib)
    pen.poly([(-0.015, -0.49), (0.12, -0.455), (-0.015, -0.42)], tone.base)


def _steamer(pen: Pen, thing: Thing) -> None:
    tone = TONES[thing.colour]
    for x, y, r in ((-0.14, -0.36, 0.07), (-0.25, -0.42, 0.06), (-0.34, -0.45, 0.045)):
        pen.oval(x, y, r, r, alpha((240, 242, 246), 220))
    funnel = TONES["red"] if thing.colour == "white" else tone
    pen.box(-0.1, -0.3, 0.06, 0.0, funnel.base)
    pen.box(0.01, -0.3, 0.06, 0.0, funnel.dark)
    pen.box(-0.12, -0.31, 0.08, -0.25, INK)
    pen.box(-0.33, 0.04, 0.32, 0.26, PAPER, r=0.03)
    pen.box(-0.2, -0.1, 0.22, 0.06, PAPER, r=0.03)
    pen.box(-0.33, 0.19, 0.32, 0.26, mix(PAPER, (120, 130, 170), 0.25))
    for x in (-0.13, -0.01, 0.11):
        pen.box(x - 0.04, -0.06, x + 0.04, 0.02, GLASS.dark, r=0.02)
    for x in (-0.24, -0.08, 0.08, 0.23):
        pen.oval(x, 0.12, 0.035, 0.035, GLASS.dark)


def draw_plane(pen: Pen, thing: Thing) -> None:
    """A plane from the side, flying to the right, nose a little up; box height 0.5."""
    tone = TONES[thing.colour]
    p = pen.at(0, 0.01, 0.98, turn=-7)
    p.poly([(0.06, -0.03), (-0.1, -0.2), (-0.18, -0.2), (-0.1, -0.03)], tone.dark)
    p.poly([(-0.34, -0.03), (-0.49, -0.24), (-0.39, -0.24), (-0.2, -0.06)], tone.dark)
    body = [(-0.49, -0.07), (-0.3, -0.1), (0.0, -0.11), (0.28, -0.105), (0.42, -0.07), (0.5, 0.01)]
    p.blob([*body, (0.42, 0.065), (0.2, 0.09), (-0.1, 0.085), (-0.32, 0.04)], tone.base)
    belly = [(0.5, 0.012), (0.42, 0.065), (0.2, 0.09), (-0.1, 0.085), (-0.34, 0.03)]
    belly += [(-0.1, 0.03), (0.25, 0.03)]
    p.blob(belly, tone.dark if thing.colour == "white" else mix(tone.light, CREAM, 0.45))
    p.poly([(0.36, -0.075), (0.42, -0.062), (0.465, -0.02), (0.37, -0.025)], GLASS.light)
    pane = GLASS.light if thing.colour != "white" else GLASS.dark
    for i in range(6):
        p.oval(-0.24 + 0.1 * i, -0.04, 0.026, 0.028, pane)
    wing = [(0.12, 0.03), (-0.14, 0.24), (-0.24, 0.24), (-0.1, 0.03)]
    p.poly(wing, mix(tone.base, tone.dark, 0.55))
    tail = [(-0.34, -0.02), (-0.5, 0.07), (-0.43, 0.07), (-0.22, -0.01)]
    p.poly(tail, mix(tone.base, tone.dark, 0.5))
    p.box(-0.06, 0.11, 0.07, 0.165, STEEL.dark, r=0.025)


DRAWERS = {"car": draw_car, "bus": draw_bus, "boat": draw_boat, "plane": draw_plane}
