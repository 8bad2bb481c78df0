"""Draw a scene: background, shadows, things, far to near."""

import numpy as np

from simulated_nsd.scenes import animals, buildings, objects, people, vehicles
from simulated_nsd.scenes.backgrounds import draw_background
from simulated_nsd.scenes.canvas import Pen, new_canvas
from simulated_nsd.scenes.catalogue import SPECS
from simulated_nsd.scenes.model import Scene, Thing
from simulated_nsd.scenes.palette import WOOD, alpha, mix

_DRAWERS = {
    **people.DRAWERS,
    **buildings.DRAWERS,
    **vehicles.DRAWERS,
    **animals.DRAWERS,
    **objects.DRAWERS,
}


def draw_scene(scene: Scene, size: int) -> np.ndarray:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the square picture in pixels.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)
        RGB. The same scene has the same look at every size.
    """
    image, pen, factor = new_canvas(int(size))
    draw_background(pen, scene)
    if "table" in scene.decor:
        _table(pen, scene)
    for thing in scene.things[:0:-1]:
        _draw_thing(pen, thing, scene)
    _draw_thing(pen, scene.main, scene)
    return np.asarray(image.reduce(factor) if factor > 1 else image)


def _draw_thing(pen: Pen, thing: Thing, scene: Scene) -> None:
    for single in thing.members():
        spec = SPECS[single.kind]
        local = pen.at(single.x, single.y, single.width)
        afloat = _is_afloat(single, scene)
        if not afloat and spec.support in ("ground", "water") and not _is_flying(single):
            _shadow(local, spec.aspect / 2, scene.background)
        _DRAWERS[single.kind](local.at(0, 0, flip=single.flip), single)
        if afloat:
            _waterline(local, spec.aspect / 2, 0.055 if single.kind == "ball" else 0.024)


def _is_flying(thing: Thing) -> bool:
    return SPECS[thing.kind].support == "air" or thing.trait("pose") == "flying"


def _is_afloat(thing: Thing, scene: Scene) -> bool:
    """Whether a single thing stands in water, which shows at its foot."""
    if thing.kind not in ("boat", "lighthouse", "ball"):
        return False
    if scene.background == "beach":  # the strip of sea behind the sand
        return thing.kind == "boat" and thing.box[3] < scene.horizon + 0.145
    wet = ("sea",) if thing.kind == "ball" else ("sea", "night")
    return scene.background in wet


def _waterline(local: Pen, foot: float, thick: float) -> None:
    for k, opacity in ((0.0, 150), (0.5, 90)):
        y = foot + thick * (k - 0.8)
        local.oval(0, y, 0.48 * (1 - 0.15 * k), thick, alpha((240, 248, 255), opacity))


def _shadow(local: Pen, foot: float, background: str) -> None:
    tone = (60, 80, 120) if background == "snow" else (24, 26, 44)
    for grow, opacity in ((1.0, 40), (0.78, 50)):
        local.oval(0, foot - 0.01, 0.52 * grow, 0.06 * grow, alpha(tone, opacity))


def _table(pen: Pen, scene: Scene) -> None:
    """A table top in the foreground: wood, or a cloth."""
    top = 0.6
    if scene.tint == 1:
        light, dark = (250, 246, 238), (206, 214, 226)
    elif scene.tint == 2:
        light, dark = (150, 190, 188), (112, 152, 156)
    else:
        light, dark = WOOD.light, mix(WOOD.light, WOOD.base, 0.8)
    pen.poly([(0.06, top), (0.94, top), (1.12, 1.02), (-0.12, 1.02)], light)
    pen.poly([(-0.06, 0.94), (1.06, 0.94), (1.12, 1.02), (-0.12, 1.02)], dark)
    thing = scene.main
    foot = thing.y + thing.height * 0.42
    pen.oval(thing.x, foot, thing.width * 0.54, thing.width * 0.11, alpha((60, 40, 40), 50))
