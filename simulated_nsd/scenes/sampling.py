"""Draw scenes at random: which things, where, how large, in which colours."""

import numpy as np

from simulated_nsd.scenes.catalogue import (
    BLENDS,
    COMPANIONS,
    DECOR,
    HORIZONS,
    KINDS,
    SPECS,
    TABLE_COMPANIONS,
    WATER_COMPANIONS,
)
from simulated_nsd.scenes.model import Scene, Thing, group_aspect

LARGE_SHARE = 0.87  # share of scenes whose main thing is drawn from the kind's large widths
MARGIN = 0.02
MAX_HIDDEN = 0.25  # share of a companion's box that another thing may cover


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene at random; all kinds of main things are equally likely."""
    kind = pick(rng, KINDS)
    spec = SPECS[kind]
    background = _weighted(rng, spec.backgrounds)
    horizon = float(rng.uniform(*HORIZONS[background]))
    tint = int(rng.integers(3))
    decor = [name for name in DECOR[background] if rng.random() < 0.5]
    if spec.support == "table":
        decor.append("table")
    main = _sample_main(rng, kind, background, horizon)
    things = [main]
    for _ in range(int(rng.choice([0, 1, 2], p=[0.25, 0.5, 0.25]))):
        extra = _sample_companion(rng, background, horizon, things)
        if extra is not None:
            things.append(extra)
    return Scene(background, tuple(things), int(rng.integers(2**31)), horizon, tint, tuple(decor))


def sample_scenes(stream: int, seed: int, n: int) -> list[Scene]:
    """Draw ``n`` scenes; scene i depends on (stream, seed, i) only.

    Parameters
    ----------
    stream : int
        0 for the stimuli of subjects, 1 for pretraining, 2 for held-out evaluation; streams never
        share a scene.
    seed, n : int
    """
    return [sample_scene(np.random.default_rng([stream, seed, i])) for i in range(n)]


def _weighted(rng: np.random.Generator, weights: dict) -> str | int:
    """Draw a key in proportion to its weight."""
    keys, values = list(weights), np.array(list(weights.values()), dtype=float)
    return keys[int(rng.choice(len(keys), p=values / values.sum()))]


def pick(rng: np.random.Generator, options: tuple):
    """Draw one of several options, each as likely as the next."""
    return options[int(rng.integers(len(options)))]


def _sample_colour(rng: np.random.Generator, kind: str, background: str) -> str:
    """A colour of the kind that stands out from the background."""
    options = [c for c in SPECS[kind].colours if c not in BLENDS[background]]
    return pick(rng, tuple(options))


def _sample_traits(
    rng: np.random.Generator, kind: str, background: str, colour: str
) -> tuple[tuple[str, str], ...]:
    traits = {name: pick(rng, options) for name, options in SPECS[kind].traits.items()}
    if kind == "bird":
        traits["pose"] = "flying" if background in ("sky", "sea", "night") else traits["pose"]
    if kind == "tree":
        if background == "beach":
            traits["species"] = "palm"
        elif traits["species"] == "palm" and background in ("snow", "night", "sky"):
            traits["species"] = "pine"
        if colour != "green" and traits["species"] != "round":
            traits["species"] = "round"
    if kind == "flower" and background in ("room", "street"):
        traits["pot"] = "yes"
    if kind in ("house", "lighthouse") and background == "night":
        traits["lit"] = "yes"
    return tuple(traits.items())


def _sample_main(rng: np.random.Generator, kind: str, background: str, horizon: float) -> Thing:
    spec = SPECS[kind]
    count = int(_weighted(rng, spec.counts))
    low, high = spec.widths
    if rng.random() < LARGE_SHARE:
        width = rng.uniform(low, high)
        if count > 1:
            width = rng.uniform(0.75, 0.96)
    else:
        width = rng.uniform(0.36, min(low, 0.5)) * (1.0 if count == 1 else 1.4)
        if spec.support == "frame":
            width = rng.uniform(0.5, low)
    aspect = group_aspect(kind, count)
    width = min(width, 0.94 / aspect)
    if spec.support == "frame":
        width = min(width, 0.9)
    room = max(0.5 - width / 2 - MARGIN, 0.0)
    x = 0.5 + rng.uniform(-room, room)
    colour = _sample_colour(rng, kind, background)
    traits = _sample_traits(rng, kind, background, colour)
    height = width * aspect
    support = "air" if dict(traits).get("pose") == "flying" else spec.support
    bottom = _bottom(rng, support, background, horizon, height)
    y, flip = float(bottom - height / 2), bool(rng.random() < 0.5)
    return Thing(kind, colour, float(x), y, float(width), count, flip, traits)


def _bottom(
    rng: np.random.Generator, support: str, background: str, horizon: float, height: float
) -> float:
    """Height of the lower edge of a main thing, from the top of the picture."""
    if support == "frame":
        return 1.0 + 0.02 * height
    if support == "air":
        lowest = min(0.95, max(horizon, 0.6)) if background != "sky" else 0.9
        return rng.uniform(height + 0.03, max(lowest, height + 0.06))
    if support == "table":
        return rng.uniform(0.86, 0.92)
    near = 0.2 if background == "beach" else 0.08  # on the sand, not in the strip of sea
    low = max(horizon + near, height + 0.03)
    high = max({"sea": 0.9, "sky": 0.97}.get(background, 0.96), low)
    return min(rng.uniform(low, high), 0.985)


def _sample_companion(
    rng: np.random.Generator, background: str, horizon: float, things: list[Thing]
) -> Thing | None:
    """A small thing beside the others, or None where there is no free place for it."""
    main = things[0]
    table = SPECS[main.kind].support == "table"
    taken = {thing.kind for thing in things}
    options = [kind for kind in _companions(background, main.kind) if kind not in taken]
    for kind in rng.permutation(options).tolist():
        spec = SPECS[kind]
        colours = tuple(c for c in spec.colours if c not in BLENDS[background] and c != main.colour)
        colour = pick(rng, colours)
        traits = _sample_traits(rng, kind, "room" if table else background, colour)
        flying = spec.support == "air" or dict(traits).get("pose") == "flying"
        flip = bool(rng.random() < 0.5)
        for _ in range(12):
            width = float(rng.uniform(0.14, 0.25)) * min(1.0, 1.25 / spec.aspect**0.5)
            height = width * spec.aspect
            if flying:
                bottom = rng.uniform(height + 0.03, max(horizon - 0.1, height + 0.1))
            elif table:
                bottom = rng.uniform(0.68, 0.76)
            else:
                ashore = 0.13 if background == "beach" and kind != "boat" else 0.0
                bottom = min(horizon + ashore + rng.uniform(0.05, 0.14), 0.97)
            x = float(rng.uniform(0.42 * width, 1 - 0.42 * width))
            thing = Thing(kind, colour, x, float(bottom - height / 2), width, 1, flip, traits)
            if all(_hidden(thing, other, flying) < MAX_HIDDEN for other in things):
                return thing
    return None


def _companions(background: str, main: str) -> tuple[str, ...]:
    """Kinds that may accompany the main thing."""
    if SPECS[main].support == "table":
        return TABLE_COMPANIONS
    if background == "night" and main in ("boat", "lighthouse"):
        return WATER_COMPANIONS
    return COMPANIONS[background]


def _hidden(small: Thing, other: Thing, flying: bool) -> float:
    """Share of a companion that another thing covers.

    On the ground only the sides count, for a thing behind the upper edge of another one would look
    as if it stood on top of it.
    """
    ax0, ay0, ax1, ay1 = small.box
    bx0, by0, bx1, by1 = other.box
    across = max(min(ax1, bx1) - max(ax0, bx0), 0.0) / (ax1 - ax0)
    down = max(min(ay1, by1) - max(ay0, by0), 0.0) / (ay1 - ay0)
    return across * down if flying else across
