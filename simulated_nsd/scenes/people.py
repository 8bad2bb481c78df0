"""Faces and whole persons."""

from simulated_nsd.scenes.canvas import Pen, arc, smooth
from simulated_nsd.scenes.model import Thing
from simulated_nsd.scenes.palette import HAIR, INK, SKIN, TONES, Tones, alpha, mix

_LONG = ("woman", "girl")


def draw_face(pen: Pen, thing: Thing) -> None:
    """A head and shoulders in close-up; box height 1.06."""
    skin, hair = SKIN[thing.trait("skin", "tan")], HAIR[thing.trait("hair", "brown")]
    cloth = TONES[thing.colour]
    who, style = thing.trait("who", "woman"), thing.trait("style", "a")
    p = pen.at(0, -0.02)
    _hair_behind(p, hair, who, style)
    shoulders = [(-0.5, 0.58), (-0.47, 0.42), (-0.34, 0.33), (-0.12, 0.27), (0.12, 0.27)]
    shoulders += [(0.34, 0.33), (0.47, 0.42), (0.5, 0.58)]
    p.poly([*smooth(shoulders, closed=False), (0.5, 0.7), (-0.5, 0.7)], cloth.base)
    p.poly([(0.2, 0.7), (0.3, 0.32), (0.47, 0.42), (0.5, 0.58), (0.5, 0.7)], cloth.dark)
    p.box(-0.11, 0.12, 0.11, 0.36, skin.dark, r=0.05)
    p.oval(0, 0.3, 0.135, 0.09, skin.dark)
    p.stroke(arc(0, 0.28, 0.155, 0.12, 10, 170), 0.04, cloth.light)
    for side in (-1, 1):
        p.oval(side * 0.285, -0.07, 0.05, 0.075, skin.dark if side > 0 else skin.base)
    head = [(-0.275, -0.2), (-0.285, -0.02), (-0.235, 0.16), (-0.1, 0.275), (0.1, 0.275)]
    head += [(0.235, 0.16), (0.285, -0.02), (0.275, -0.2), (0.15, -0.38), (-0.15, -0.38)]
    p.blob(head, skin.base)
    with p.clip(p.ellipse(0, -0.05, 0.283, 0.335)) as inside:
        inside.oval(0.33, -0.02, 0.16, 0.4, mix(skin.base, skin.dark, 0.55))
    if who == "man" and style == "c":
        _beard(p, skin, hair)
    _hair_front(p, hair, who, style)
    _features(p, skin, hair, thing.trait("mood", "smiling"))


def _hair_behind(p: Pen, hair: Tones, who: str, style: str) -> None:
    if who not in _LONG:
        return
    if style == "a":  # long
        p.blob([(-0.3, -0.32), (-0.38, 0.0), (-0.37, 0.36), (-0.2, 0.44), (0.2, 0.44),
                (0.37, 0.36), (0.38, 0.0), (0.3, -0.32), (0.0, -0.5)], hair.dark)  # fmt: skip
    elif style == "b":  # bob
        p.blob([(-0.3, -0.3), (-0.39, -0.05), (-0.36, 0.2), (-0.2, 0.2), (0.2, 0.2),
                (0.36, 0.2), (0.39, -0.05), (0.3, -0.3), (0.0, -0.5)], hair.dark)  # fmt: skip
    elif who == "woman":  # bun
        p.oval(0, -0.46, 0.13, 0.1, hair.dark)
    else:  # pigtails
        for side in (-1, 1):
            p.oval(side * 0.38, 0.0, 0.09, 0.17, hair.dark, turn=-12 * side)


def _hair_front(p: Pen, hair: Tones, who: str, style: str) -> None:
    if who in _LONG:
        cap = [(-0.3, -0.02), (-0.325, -0.22), (-0.2, -0.43), (0.0, -0.485), (0.2, -0.43)]
        cap += [(0.325, -0.22), (0.3, -0.02), (0.24, -0.17), (0.05, -0.28), (-0.12, -0.26)]
        p.blob([*cap, (-0.24, -0.16)], hair.base)
        p.stroke(arc(-0.02, -0.2, 0.22, 0.2, 205, 275), 0.04, hair.light)
    elif style == "b":  # curls
        for x, y in ((-0.28, -0.2), (-0.23, -0.33), (-0.1, -0.42), (0.06, -0.43), (0.2, -0.36),
                     (0.28, -0.22)):  # fmt: skip
            p.oval(x, y, 0.1, 0.1, hair.base)
        p.oval(-0.12, -0.43, 0.045, 0.045, hair.light)
        p.oval(0.07, -0.45, 0.04, 0.04, hair.light)
    else:  # short, parted
        cap = [(-0.3, -0.1), (-0.32, -0.26), (-0.2, -0.44), (0.05, -0.49), (0.25, -0.41)]
        cap += [(0.325, -0.24), (0.3, -0.09), (0.25, -0.22), (0.08, -0.25), (-0.14, -0.31)]
        p.blob([*cap, (-0.26, -0.2)], hair.base)
        p.stroke(arc(0.02, -0.24, 0.22, 0.18, 215, 285), 0.04, hair.light)


def _beard(p: Pen, skin: Tones, hair: Tones) -> None:
    p.blob([(-0.275, -0.02), (-0.25, 0.18), (-0.1, 0.31), (0.1, 0.31), (0.25, 0.18),
            (0.275, -0.02), (0.2, 0.07), (0.0, 0.05), (-0.2, 0.07)], hair.base)  # fmt: skip


def _features(p: Pen, skin: Tones, hair: Tones, mood: str) -> None:
    raised = 0.035 if mood == "surprised" else 0.0
    for side in (-1, 1):
        x = side * 0.115
        p.oval(x, -0.06, 0.058, 0.046 + raised * 0.4, (255, 255, 255))
        p.oval(x, -0.058, 0.034, 0.036, INK)
        p.oval(x - 0.01, -0.072, 0.011, 0.011, (255, 255, 255))
        lift = -0.012 if mood == "serious" else raised
        inner, outer = (side * 0.05, -0.132 - lift), (side * 0.185, -0.112 - lift)
        p.stroke(smooth([inner, (x, -0.15 - lift), outer], closed=False), 0.026, hair.dark)
        if mood != "serious":
            p.oval(side * 0.18, 0.055, 0.05, 0.036, alpha((236, 96, 96), 70))
    p.stroke([(0.0, -0.02), (0.022, 0.045), (-0.012, 0.052)], 0.02, skin.dark)
    lips = (176, 58, 66)
    if mood == "laughing":
        p.poly(arc(0, 0.105, 0.115, 0.11, 0, 180), (132, 34, 46))
        p.poly([(-0.11, 0.104), (0.11, 0.104), (0.095, 0.14), (-0.095, 0.14)], (255, 255, 255))
    elif mood == "smiling":
        p.stroke(arc(0, 0.09, 0.1, 0.075, 15, 165), 0.032, lips)
    elif mood == "surprised":
        p.oval(0, 0.15, 0.05, 0.065, (132, 34, 46))
    else:
        p.stroke([(-0.075, 0.148), (0.075, 0.148)], 0.032, lips)


def draw_person(pen: Pen, thing: Thing) -> None:
    """A whole body, arms spread so that it is wide; box height 1.5."""
    skin, hair = SKIN[thing.trait("skin", "tan")], HAIR[thing.trait("hair", "brown")]
    cloth = TONES[thing.colour]
    who, pose = thing.trait("who", "woman"), thing.trait("pose", "waving")
    legs = TONES["brown"] if thing.colour in ("blue", "black", "purple") else TONES["blue"]
    _legs(pen, legs, pose)
    arms = {
        "waving": ([(-0.15, -0.28), (-0.33, -0.1), (-0.43, 0.06)],
                   [(0.15, -0.28), (0.36, -0.36), (0.42, -0.6)]),
        "standing": ([(-0.15, -0.28), (-0.29, -0.1), (-0.43, 0.02)],
                     [(0.15, -0.28), (0.29, -0.1), (0.43, 0.02)]),
        "running": ([(-0.15, -0.28), (-0.38, -0.18), (-0.42, -0.02)],
                    [(0.15, -0.28), (0.3, -0.1), (0.43, -0.26)]),
    }[pose]  # fmt: skip
    for arm, tone in zip(arms, (cloth.base, cloth.dark), strict=True):
        pen.oval(*arm[-1], 0.062, 0.062, skin.base)
        pen.stroke(arm, 0.115, tone)
        pen.oval(*arm[-1], 0.06, 0.06, skin.base)
    pen.box(-0.06, -0.42, 0.06, -0.28, skin.dark, r=0.03)
    if who in _LONG:
        pen.poly([(-0.17, -0.33), (0.17, -0.33), (0.15, -0.06), (0.29, 0.3), (-0.29, 0.3),
                  (-0.15, -0.06)], cloth.base)  # fmt: skip
        pen.poly(
            [(0.07, -0.33), (0.17, -0.33), (0.15, -0.06), (0.29, 0.3), (0.12, 0.3)], cloth.dark
        )
        pen.box(-0.155, -0.08, 0.155, -0.02, cloth.light, r=0.02)
    else:
        pen.box(-0.19, -0.35, 0.19, 0.14, cloth.base, r=0.08)
        pen.box(0.07, -0.35, 0.19, 0.14, cloth.dark, r=0.06)
        pen.box(-0.185, 0.1, 0.185, 0.16, legs.dark, r=0.02)
    _small_head(pen.at(0, -0.56, 0.19), skin, hair, who)


def _legs(pen: Pen, tone: Tones, pose: str) -> None:
    shoe = (62, 48, 56)
    feet = ((-0.11, 0.69), (0.11, 0.69))
    if pose == "running":
        knee, feet = ((-0.2, 0.38), (0.24, 0.34)), ((-0.36, 0.52), (0.22, 0.69))
    else:
        knee = ((-0.1, 0.4), (0.1, 0.4))
    for i, (k, f) in enumerate(zip(knee, feet, strict=True)):
        hip = (-0.09, 0.12) if i == 0 else (0.09, 0.12)
        pen.oval(f[0] + 0.04, f[1] + 0.01, 0.105, 0.05, shoe)
        pen.stroke([hip, k, f], 0.15, tone.base if i == 0 else tone.dark)
        pen.oval(f[0] + 0.03, f[1] + 0.012, 0.1, 0.05, shoe)


def _small_head(p: Pen, skin: Tones, hair: Tones, who: str) -> None:
    if who in _LONG:
        p.blob([(-0.9, -0.5), (-1.1, 0.3), (-1.0, 1.0), (1.0, 1.0), (1.1, 0.3), (0.9, -0.5),
                (0, -1.1)], hair.dark)  # fmt: skip
    p.oval(0, 0, 0.86, 1.0, skin.base)
    fringe = [(-0.95, 0.0), (-0.9, -0.6), (-0.4, -1.05), (0.4, -1.05), (0.9, -0.6), (0.95, 0.0)]
    p.blob([*fringe, (0.6, -0.4), (0.0, -0.55), (-0.6, -0.4)], hair.base)
    for side in (-1, 1):
        p.oval(side * 0.33, 0.08, 0.13, 0.15, INK)
    p.stroke(arc(0, 0.3, 0.34, 0.25, 20, 160), 0.14, (176, 58, 66))


DRAWERS = {"face": draw_face, "person": draw_person}
