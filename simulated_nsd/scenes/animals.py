"""Dogs, cats, birds and elephants."""

from simulated_nsd.scenes.canvas import Pen, arc
from simulated_nsd.scenes.model import Thing
from simulated_nsd.scenes.palette import INK, PAPER, TONES, Tones, mix

_PINK = (240, 150, 160)


def draw_dog(pen: Pen, thing: Thing) -> None:
    """A dog from the side, looking to the right; box height 0.84."""
    tone = TONES[thing.colour]
    pale = mix(tone.light, PAPER, 0.55)
    pen.stroke(arc(-0.32, -0.2, 0.14, 0.2, 95, 200, 12), 0.065, tone.base)
    for x in (-0.2, 0.2):
        pen.stroke([(x, 0.1), (x, 0.36)], 0.1, tone.dark)
        pen.oval(x + 0.025, 0.385, 0.075, 0.035, tone.dark)
    body = [(-0.38, -0.02), (-0.3, -0.1), (0.0, -0.1), (0.24, -0.14), (0.32, 0.02), (0.26, 0.18)]
    pen.blob([*body, (0.0, 0.17), (-0.3, 0.19), (-0.39, 0.1)], tone.base)
    pen.oval(0.22, 0.1, 0.09, 0.11, pale, turn=20)
    for x in (-0.31, 0.09):
        pen.stroke([(x, 0.1), (x, 0.36)], 0.11, tone.base)
        pen.oval(x + 0.025, 0.385, 0.08, 0.036, pale)
    pen.oval(-0.29, 0.09, 0.11, 0.14, tone.base)
    pen.stroke([(0.21, -0.13), (0.2, 0.0)], 0.2, tone.base)
    collar = TONES["red" if thing.colour != "orange" else "blue"].base
    pen.stroke([(0.1, -0.03), (0.31, 0.0)], 0.05, collar)
    pen.oval(0.21, -0.22, 0.17, 0.165, tone.base)
    pen.oval(0.36, -0.16, 0.135, 0.09, pale)
    pen.oval(0.46, -0.2, 0.04, 0.034, INK)
    pen.stroke(arc(0.38, -0.16, 0.08, 0.06, 30, 130, 8), 0.018, INK)
    pen.oval(0.265, -0.255, 0.036, 0.04, (255, 255, 255))
    pen.oval(0.272, -0.252, 0.025, 0.029, INK)
    ear = [(0.06, -0.37), (0.0, -0.2), (0.03, -0.04), (0.12, -0.06), (0.17, -0.24), (0.15, -0.37)]
    pen.blob(ear, tone.dark)


def draw_cat(pen: Pen, thing: Thing) -> None:
    """A cat sitting, seen from the front; box height 1.12."""
    tone = TONES[thing.colour]
    pale = mix(tone.light, PAPER, 0.6 if thing.colour != "black" else 0.3)
    pen.stroke(arc(0.2, 0.28, 0.24, 0.2, 90, -60, 16), 0.1, tone.dark)
    pen.blob([(-0.17, -0.08), (-0.27, 0.2), (-0.3, 0.46), (-0.15, 0.555), (0.15, 0.555),
              (0.3, 0.46), (0.27, 0.2), (0.17, -0.08)], tone.base)  # fmt: skip
    pen.oval(0, 0.2, 0.12, 0.2, pale)
    for side in (-1, 1):
        pen.oval(side * 0.22, 0.44, 0.1, 0.115, tone.dark)
        pen.stroke([(side * 0.09, 0.26), (side * 0.085, 0.47)], 0.13, tone.base)
        pen.oval(side * 0.09, 0.51, 0.085, 0.05, pale)
    for side in (-1, 1):
        pen.poly([(side * 0.32, -0.55), (side * 0.335, -0.22), (side * 0.06, -0.4)], tone.base)
        pen.poly([(side * 0.285, -0.48), (side * 0.295, -0.3), (side * 0.14, -0.4)], _PINK)
    pen.oval(0, -0.2, 0.345, 0.265, tone.base)
    for x in (-0.09, 0.0, 0.09):
        pen.stroke([(x, -0.45), (x * 0.7, -0.36)], 0.035, tone.dark)
    _cat_face(pen, tone, pale)


def _cat_face(pen: Pen, tone: Tones, pale: tuple[int, int, int]) -> None:
    for side in (-1, 1):
        pen.oval(side * 0.07, -0.1, 0.1, 0.075, pale)
        pen.oval(side * 0.15, -0.235, 0.075, 0.07, (196, 222, 92))
        pen.oval(side * 0.15, -0.235, 0.03, 0.062, INK)
        pen.stroke([(side * 0.17, -0.1), (side * 0.4, -0.13)], 0.012, PAPER)
        pen.stroke([(side * 0.17, -0.08), (side * 0.39, -0.05)], 0.012, PAPER)
    pen.poly([(-0.045, -0.16), (0.045, -0.16), (0, -0.11)], (226, 104, 120))
    for side in (-1, 1):
        pen.stroke(arc(side * 0.045, -0.1, 0.045, 0.045, 10, 170, 8), 0.016, INK)


def draw_bird(pen: Pen, thing: Thing) -> None:
    """A bird, flying or standing, heading to the right; box height 0.8."""
    if thing.trait("pose", "standing") == "flying":
        _flying(pen, TONES[thing.colour], thing.colour)
    else:
        _standing(pen, TONES[thing.colour], thing.colour)


def _beak(colour: str) -> tuple[int, int, int]:
    return TONES["orange"].base if colour not in ("orange", "red") else TONES["yellow"].base


def _bird_eye(pen: Pen, x: float, y: float) -> None:
    pen.oval(x, y, 0.036, 0.036, (255, 255, 255))
    pen.oval(x + 0.005, y, 0.024, 0.024, INK)


def _flying(pen: Pen, tone: Tones, colour: str) -> None:
    far = [(0.1, 0.06), (0.14, -0.16), (0.3, -0.36), (0.2, -0.1), (0.2, 0.06)]
    pen.blob(far, tone.dark)
    pen.poly([(-0.2, 0.16), (-0.5, 0.14), (-0.46, 0.22), (-0.5, 0.3), (-0.2, 0.28)], tone.dark)
    pen.blob([(-0.28, 0.2), (-0.05, 0.08), (0.18, 0.06), (0.32, 0.14), (0.26, 0.27), (0.0, 0.37),
              (-0.18, 0.32)], tone.base)  # fmt: skip
    pen.blob([(-0.14, 0.29), (0.06, 0.24), (0.26, 0.25), (0.12, 0.35), (-0.02, 0.37)],
             mix(tone.light, PAPER, 0.55))  # fmt: skip
    pen.oval(0.28, 0.09, 0.135, 0.125, tone.base)
    pen.poly([(0.38, 0.04), (0.5, 0.1), (0.38, 0.145)], _beak(colour))
    _bird_eye(pen, 0.315, 0.07)
    wing = [(0.12, 0.16), (0.08, -0.06), (-0.06, -0.28), (-0.3, -0.4), (-0.27, -0.24)]
    pen.blob([*wing, (-0.31, -0.14), (-0.23, -0.06), (-0.22, 0.04), (-0.08, 0.16)], tone.dark)
    inner = [(0.1, 0.12), (0.06, -0.06), (-0.06, -0.23), (-0.21, -0.31), (-0.12, -0.08)]
    pen.blob([*inner, (-0.05, 0.08)], tone.light)


def _standing(pen: Pen, tone: Tones, colour: str) -> None:
    legs = (150, 96, 60)
    for x in (-0.03, 0.09):
        pen.stroke([(x, 0.22), (x, 0.375)], 0.03, legs)
        pen.stroke([(x - 0.05, 0.385), (x + 0.07, 0.385)], 0.028, legs)
    pen.poly([(-0.18, 0.02), (-0.48, 0.12), (-0.5, 0.2), (-0.42, 0.23), (-0.1, 0.2)], tone.dark)
    pen.blob([(-0.28, 0.06), (-0.1, -0.12), (0.16, -0.16), (0.3, 0.02), (0.24, 0.22), (0.0, 0.3),
              (-0.2, 0.22)], tone.base)  # fmt: skip
    pen.blob([(0.08, 0.0), (0.28, -0.04), (0.27, 0.14), (0.12, 0.27), (-0.04, 0.27), (0.04, 0.12)],
             mix(tone.light, PAPER, 0.5))  # fmt: skip
    pen.oval(0.2, -0.19, 0.2, 0.19, tone.base)
    pen.poly([(0.36, -0.26), (0.5, -0.17), (0.36, -0.11)], _beak(colour))
    _bird_eye(pen, 0.26, -0.22)
    pen.blob([(-0.36, 0.14), (-0.14, -0.04), (0.06, -0.02), (0.08, 0.1), (-0.06, 0.2)], tone.dark)
    pen.stroke([(-0.2, 0.1), (0.0, 0.06)], 0.03, tone.light)


def draw_elephant(pen: Pen, thing: Thing) -> None:
    """An elephant from the side, heading to the right; box height 0.8."""
    tone = TONES[thing.colour]
    nails = mix(tone.light, PAPER, 0.5)
    pen.stroke([(-0.46, -0.1), (-0.49, 0.12)], 0.03, tone.dark)
    for x in (-0.22, 0.13):
        pen.box(x - 0.075, 0.1, x + 0.075, 0.37, tone.dark, r=0.03)
    body = [(-0.47, 0.0), (-0.42, -0.24), (-0.2, -0.34), (0.06, -0.31), (0.2, -0.16), (0.2, 0.12)]
    pen.blob([*body, (0.0, 0.2), (-0.3, 0.21), (-0.44, 0.16)], tone.base)
    for x in (-0.36, 0.02):
        pen.box(x - 0.085, 0.05, x + 0.085, 0.4, tone.base, r=0.04)
        pen.box(x - 0.07, 0.365, x + 0.07, 0.4, nails, r=0.015)
    trunk = [(0.38, -0.12), (0.43, 0.06), (0.41, 0.24), (0.45, 0.33)]
    pen.stroke(trunk[:3], 0.115, tone.base)
    pen.stroke(trunk[1:], 0.09, tone.base)
    pen.poly([(0.26, 0.02), (0.36, 0.02), (0.37, 0.14), (0.3, 0.13)], PAPER)
    pen.oval(0.28, -0.14, 0.185, 0.2, tone.base)
    pen.blob([(0.2, -0.3), (0.06, -0.4), (-0.12, -0.32), (-0.15, -0.08), (-0.02, 0.09),
              (0.13, 0.03), (0.2, -0.1)], tone.dark)  # fmt: skip
    pen.blob([(0.14, -0.26), (0.04, -0.32), (-0.08, -0.27), (-0.1, -0.08), (-0.02, 0.02),
              (0.1, -0.02)], mix(tone.light, _PINK, 0.45))  # fmt: skip
    pen.oval(0.34, -0.17, 0.034, 0.038, (255, 255, 255))
    pen.oval(0.347, -0.166, 0.024, 0.028, INK)


DRAWERS = {"dog": draw_dog, "cat": draw_cat, "bird": draw_bird, "elephant": draw_elephant}
