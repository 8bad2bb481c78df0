"""Backgrounds: what is behind the things."""

import numpy as np

from simulated_nsd.scenes.canvas import Pen, arc, rounded
from simulated_nsd.scenes.model import Scene
from simulated_nsd.scenes.palette import PAPER, RGB, TONES, WOOD, alpha, mix

_SKIES = (
    ((86, 164, 230), (206, 234, 248)),
    ((110, 184, 226), (250, 226, 200)),
    ((98, 190, 206), (222, 244, 236)),
)
_SEA_SKIES = (
    ((120, 190, 238), (222, 240, 248)),
    ((138, 206, 226), (236, 246, 232)),
    ((238, 128, 96), (255, 214, 140)),
)
_SEAS = (
    ((40, 118, 186), (22, 78, 142)),
    ((34, 150, 172), (16, 98, 136)),
    ((92, 96, 160), (44, 56, 116)),
)
_MEADOWS = (
    ((142, 196, 88), (92, 158, 66)),
    ((166, 200, 84), (116, 164, 60)),
    ((112, 184, 108), (66, 144, 82)),
)
_WALLS = ((238, 214, 178), (168, 204, 200), (214, 196, 222))
_NIGHTS = (
    ((14, 20, 58), (58, 66, 128)),
    ((26, 16, 62), (98, 62, 130)),
    ((8, 28, 58), (34, 88, 122)),
)
_FACADES = (
    ((206, 178, 158), (178, 186, 196), (222, 204, 170)),
    ((186, 168, 186), (204, 196, 182), (166, 180, 190)),
    ((214, 190, 150), (188, 158, 142), (172, 188, 176)),
)


def draw_background(pen: Pen, scene: Scene) -> None:
    """Draw the background of a scene over the whole canvas."""
    _PAINTERS[scene.background](pen, scene, np.random.default_rng(scene.seed))


def cloud(pen: Pen, x: float, y: float, w: float) -> None:
    """A flat-bottomed cloud."""
    p, white = pen.at(x, y, w), (255, 255, 255)
    shade = mix(white, (150, 180, 210), 0.22)
    p.oval(0, 0.02, 0.5, 0.12, shade)
    for cx, cy, r in ((-0.24, -0.04, 0.16), (0.02, -0.12, 0.22), (0.26, -0.03, 0.15)):
        p.oval(cx, cy, r, r, white)
    p.box(-0.46, -0.06, 0.46, 0.09, white, r=0.075)


def _sun(pen: Pen, x: float, y: float, r: float) -> None:
    colour = (255, 226, 110)
    for grow, opacity in ((1.9, 36), (1.45, 60)):
        pen.oval(x, y, r * grow, r * grow, alpha(colour, opacity))
    pen.oval(x, y, r, r, colour)


def _heaven(pen: Pen, scene: Scene, rng: np.random.Generator, top: RGB, low: RGB) -> None:
    """Sky down to the horizon, with sun and clouds where the scene has them."""
    pen.fade(0, scene.horizon + 0.03, top, low)
    side = rng.random() < 0.5
    if "sun" in scene.decor:
        x, y = (0.16 if side else 0.84), rng.uniform(0.12, 0.2)
        _sun(pen, x, y, rng.uniform(0.07, 0.1))
    if "clouds" in scene.decor:
        cloud(pen, (0.78 if side else 0.22), rng.uniform(0.12, 0.22), rng.uniform(0.3, 0.42))
        cloud(pen, rng.uniform(0.3, 0.7), rng.uniform(0.26, 0.34), rng.uniform(0.2, 0.28))


def _hills(pen: Pen, y: float, height: float, colour: RGB, phase: float) -> None:
    """A wavy ridge, filled down to the lower edge."""
    x = np.linspace(-0.02, 1.02, 60)
    wave = np.sin(2 * np.pi * (0.9 * x + phase)) + 0.5 * np.sin(2 * np.pi * (2.1 * x + 2.3 * phase))
    ridge = np.stack([x, y - height * (0.5 + wave / 3)], axis=1)
    pen.poly(np.concatenate([ridge, [(1.02, 1.02), (-0.02, 1.02)]]), colour)


def _sky(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    top, low = _SKIES[scene.tint]
    pen.fade(0, 1, top, low)
    if "sun" in scene.decor:
        _sun(pen, rng.choice([0.15, 0.85]), rng.uniform(0.12, 0.2), rng.uniform(0.07, 0.1))
    spots = [(0.2, 0.2, 0.4), (0.82, 0.36, 0.38), (0.25, 0.68, 0.34), (0.8, 0.74, 0.4)]
    keep = spots if "clouds" in scene.decor else spots[int(rng.integers(2)) :: 3]
    for x, y, w in keep:
        cloud(pen, x + rng.uniform(-0.08, 0.08), y + rng.uniform(-0.06, 0.06), w)
    near = _MEADOWS[scene.tint][0]
    phase = rng.random()
    _hills(pen, scene.horizon + 0.02, 0.05, mix(near, low, 0.45), phase)
    _hills(pen, scene.horizon + 0.05, 0.035, near, phase + 0.4)


def water(pen: Pen, rng: np.random.Generator, top: float, near: RGB, far: RGB, light: RGB) -> None:
    """Water from a height to the lower edge, with glints."""
    pen.fade(top, 1, far, near)
    first, last = top + 0.04, 0.97
    for y in np.linspace(first, last, 9):
        depth = (y - first) / (last - first)
        half, thick = 0.05 + 0.09 * depth, 0.004 + 0.007 * depth
        pen.oval(rng.uniform(0, 1), float(y), half, thick, alpha(light, 120))


def _sea(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    _heaven(pen, scene, rng, *_SEA_SKIES[scene.tint])
    far, near = _SEAS[scene.tint]
    if "island" in scene.decor:
        x = rng.choice([0.12, 0.88])
        pen.oval(x, scene.horizon, 0.2, 0.06, mix((70, 120, 110), far, 0.35))
    glint = mix(_SEA_SKIES[scene.tint][1], (255, 255, 255), 0.3)
    water(pen, rng, scene.horizon, near, far, glint)


def _beach(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    _heaven(pen, scene, rng, *_SEA_SKIES[scene.tint if scene.tint < 2 else 0])
    h = scene.horizon
    far, near = _SEAS[1]
    pen.fade(h, h + 0.2, far, mix(near, (120, 220, 214), 0.55))
    shore = h + 0.15
    x = np.linspace(-0.02, 1.02, 40)
    line = shore + 0.018 * np.sin(2 * np.pi * (1.3 * x + rng.random()))
    foot = [(1.02, 1.02), (-0.02, 1.02)]
    pen.poly(np.concatenate([np.stack([x, line - 0.016], 1), foot]), (246, 250, 246))
    pen.poly(np.concatenate([np.stack([x, line], 1), foot]), (224, 190, 136))
    pen.poly(np.concatenate([np.stack([x, line + 0.03], 1), foot]), (244, 216, 162))
    pen.fade(min(shore + 0.1, 0.9), 1, (244, 216, 162), (230, 192, 132))
    if "palm" in scene.decor:
        from_left = rng.random() < 0.5
        p = pen.at(0.06 if from_left else 0.94, shore + 0.1, 0.5, flip=not from_left)
        p.stroke(arc(0.4, 0.0, 0.38, 0.72, 180, 232), 0.05, (150, 108, 72))
        for turn in (-70, -25, 20, 65, 110):
            p.at(0.17, -0.56).at(0, 0, turn=turn).oval(0.15, 0, 0.17, 0.045, (60, 140, 88))


def _grass(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    sky = _SKIES[scene.tint]
    _heaven(pen, scene, rng, *sky)
    far, near = _MEADOWS[scene.tint]
    phase = rng.random()
    if "hills" in scene.decor:
        _hills(pen, scene.horizon, 0.16, mix(near, sky[1], 0.55), phase)
    _hills(pen, scene.horizon + 0.02, 0.06, mix(near, sky[0], 0.22), phase + 0.3)
    pen.fade(scene.horizon + 0.02, 1, far, near)
    tuft = mix(near, (20, 70, 40), 0.3)
    for _ in range(9):
        p = pen.at(rng.uniform(0, 1), rng.uniform(scene.horizon + 0.08, 0.98), 0.03)
        p.poly(
            [(-0.7, 0), (-0.5, -1), (-0.1, 0), (0.2, -1.2), (0.4, 0), (0.9, -0.8), (0.8, 0)], tuft
        )


def _pine(pen: Pen, x: float, y: float, w: float, colour: RGB) -> None:
    p = pen.at(x, y, w)
    for i in range(3):
        p.poly([(-0.5 + 0.1 * i, -0.3 * i), (0.5 - 0.1 * i, -0.3 * i), (0, -0.7 - 0.3 * i)], colour)


def _snow(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    top, low = (((150, 190, 222), (228, 238, 246)), ((168, 178, 210), (250, 226, 222)),
                ((128, 172, 204), (214, 232, 240)))[scene.tint]  # fmt: skip
    h = scene.horizon
    pen.fade(0, h + 0.05, top, low)
    if "mountains" in scene.decor:
        for x, height, half in ((0.24, 0.34, 0.36), (0.76, 0.42, 0.42)):
            x += rng.uniform(-0.06, 0.06)
            pen.poly([(x - half, h + 0.05), (x, h - height), (x + half, h + 0.05)], (138, 160, 192))
            c = 0.36
            cap = [(x - half * c, h - height * (1 - c)), (x, h - height)]
            cap += [(x + half * c, h - height * (1 - c)), (x + 0.05, h - height * 0.74)]
            cap += [(x - 0.04, h - height * 0.6)]
            pen.poly(cap, (252, 253, 255))
    if "pines" in scene.decor:
        for x in (*rng.uniform(0.0, 0.24, 2), *rng.uniform(0.76, 1.0, 2)):
            _pine(pen, float(x), h + 0.03, rng.uniform(0.09, 0.13), (84, 124, 128))
    phase = rng.random()
    _hills(pen, h + 0.02, 0.06, (226, 234, 244), phase)
    pen.fade(h + 0.04, 1, (246, 249, 252), (222, 231, 243))
    if "snowfall" in scene.decor:
        for x, y, r in zip(*rng.uniform(0, 1, (2, 26)), rng.uniform(0.007, 0.014, 26), strict=True):
            pen.oval(x, y, r, r, (255, 255, 255))


def _street(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    pen.fade(0, scene.horizon, *_SKIES[scene.tint])
    if "clouds" in scene.decor:
        cloud(pen, rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.14), 0.34)
    h = scene.horizon
    facades = _FACADES[scene.tint]
    edge = -rng.uniform(0, 0.15)
    for i in range(4):
        w, top = rng.uniform(0.27, 0.34), rng.uniform(0.1, 0.32)
        wall = facades[i % 3]
        pen.box(edge, top, edge + w, h + 0.01, wall)
        pen.box(edge, top, edge + w, top + 0.025, mix(wall, (70, 60, 70), 0.3))
        pane = mix(wall, (80, 110, 140), 0.45)
        for x in (0.12, 0.42, 0.72):
            for y in np.arange(top + 0.07, h - 0.1, 0.12):
                pen.box(edge + x * w, y, edge + (x + 0.18) * w, y + 0.065, pane)
        edge += w
    pen.box(0, h, 1, h + 0.09, (206, 202, 198))
    pen.box(0, h + 0.08, 1, h + 0.1, (158, 156, 158))
    pen.fade(h + 0.1, 1, (116, 118, 128), (90, 92, 104))
    y = (h + 0.1 + 1) / 2
    for x in np.arange(-0.1, 1.1, 0.3) + rng.uniform(0, 0.2):
        pen.poly([(x, y), (x + 0.16, y), (x + 0.15, y + 0.025), (x - 0.02, y + 0.025)], PAPER)
    if "lamp" in scene.decor:
        x = rng.choice([0.07, 0.93])
        pen.stroke([(x, h + 0.06), (x, 0.2)], 0.016, (70, 72, 84))
        pen.oval(x, 0.18, 0.035, 0.04, (255, 236, 170))


def _room(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    wall = _WALLS[scene.tint]
    h = scene.horizon
    pen.fade(0, h, mix(wall, (255, 255, 255), 0.18), wall)
    pen.fade(h, 1, (188, 134, 92), (162, 108, 72))
    for x in np.linspace(-0.3, 1.3, 9):
        pen.stroke([(0.5 + (x - 0.5) * 0.7, h), (x, 1.0)], 0.006, (150, 100, 66))
    pen.box(0, h - 0.025, 1, h + 0.008, mix(wall, (255, 255, 255), 0.65))
    left = rng.random() < 0.5
    x, other = (0.2, 0.8) if left else (0.8, 0.2)
    if "window" in scene.decor:
        _window(pen, x, 0.26)
    if "picture" in scene.decor:
        pen.box(other - 0.11, 0.12, other + 0.11, 0.34, WOOD.dark)
        pen.box(other - 0.09, 0.14, other + 0.09, 0.32, PAPER)
        art = TONES[("red", "blue", "orange")[scene.tint]]
        pen.oval(other + 0.02, 0.23, 0.05, 0.05, art.light)
        pen.poly([(other - 0.09, 0.32), (other - 0.03, 0.24), (other + 0.05, 0.32)], art.dark)
    if "rug" in scene.decor:
        rug = TONES[("red", "purple", "blue")[scene.tint]]
        pen.oval(0.5, (h + 1.04) / 2, 0.46, (1 - h) * 0.4, mix(rug.base, wall, 0.45))
        pen.oval(0.5, (h + 1.04) / 2, 0.38, (1 - h) * 0.31, mix(rug.light, wall, 0.55))
    if "lamp" in scene.decor:
        x = 0.93 if left else 0.07
        pen.stroke([(x, h + 0.06), (x, 0.34)], 0.014, (110, 84, 66))
        shade = [(x - 0.08, 0.36), (x - 0.05, 0.22), (x + 0.05, 0.22), (x + 0.08, 0.36)]
        pen.poly(shade, (255, 226, 150))


def _window(pen: Pen, x: float, y: float) -> None:
    pen.box(x - 0.155, y - 0.185, x + 0.155, y + 0.185, (252, 250, 246))
    pen.box(x - 0.13, y - 0.16, x + 0.13, y + 0.16, (160, 210, 238))
    with pen.clip(rounded(x - 0.13, y - 0.16, x + 0.13, y + 0.16, 0)) as p:
        p.oval(x + 0.05, y + 0.2, 0.2, 0.14, (128, 186, 110))
        p.oval(x - 0.05, y - 0.06, 0.07, 0.03, (255, 255, 255))
    pen.box(x - 0.01, y - 0.16, x + 0.01, y + 0.16, (252, 250, 246))
    pen.box(x - 0.13, y - 0.01, x + 0.13, y + 0.01, (252, 250, 246))


def _night(pen: Pen, scene: Scene, rng: np.random.Generator) -> None:
    top, low = _NIGHTS[scene.tint]
    h = scene.horizon
    pen.fade(0, h + 0.04, top, low)
    for x, y, r in zip(*rng.uniform(0, 1, (2, 26)), rng.uniform(0.004, 0.009, 26), strict=True):
        pen.oval(x, y * (h - 0.05), r, r, (250, 244, 214))
    side = rng.random() < 0.5
    if "moon" in scene.decor:
        x, y = (0.17 if side else 0.83), rng.uniform(0.15, 0.2)
        pen.oval(x, y, 0.14, 0.14, alpha((250, 240, 200), 30))
        pen.oval(x, y, 0.095, 0.095, (250, 240, 200))
        if scene.seed % 2:
            pen.oval(x + 0.04, y - 0.025, 0.08, 0.08, mix(top, low, 0.2))
    if "hills" in scene.decor:
        _hills(pen, h, 0.14, mix(low, (20, 30, 60), 0.45), rng.random())
    if "city" in scene.decor:
        for x in np.arange(-0.04, 1.0, 0.13):
            y = h - rng.uniform(0.06, 0.24)
            pen.box(x, y, x + 0.115, h + 0.05, mix(low, (14, 16, 40), 0.62))
            for wx in (0.025, 0.065):
                for wy in np.arange(y + 0.025, h - 0.02, 0.055):
                    if rng.random() < 0.5:
                        pen.box(x + wx, wy, x + wx + 0.022, wy + 0.028, (250, 214, 120))
    if scene.main.kind in ("boat", "lighthouse"):
        water(pen, rng, h, (16, 28, 70), mix(low, (20, 40, 90), 0.6), (190, 196, 230))
        return
    pen.fade(h, 1, (52, 82, 84), (30, 52, 64))


_PAINTERS = {"sky": _sky, "sea": _sea, "beach": _beach, "grass": _grass}
_PAINTERS |= {"snow": _snow, "street": _street, "room": _room, "night": _night}
