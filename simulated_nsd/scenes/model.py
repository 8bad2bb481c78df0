"""What a scene is: its background, its things, and where they are."""

from dataclasses import dataclass, replace

from simulated_nsd.scenes.catalogue import SPECS


@dataclass(frozen=True)
class Thing:
    """One thing, or a group of equal things, in a scene.

    Attributes
    ----------
    kind, colour : str
        One of ``KINDS`` and one of ``COLOURS``. The colour is that of the thing's most telling
        part: clothes of a person, plate of a pizza, walls of a house.
    x, y : float
        Centre of the bounding box as a fraction of the image, y down.
    width : float
        Width of the bounding box (of the whole group) as a fraction of the image width.
    count : int
        How many there are.
    flip : bool
        Mirrored left to right.
    traits : tuple of (name, value)
        What distinguishes members of the kind, e.g. ``("hair", "black")`` or ``("word", "STOP")``.
    """

    kind: str
    colour: str
    x: float
    y: float
    width: float
    count: int = 1
    flip: bool = False
    traits: tuple[tuple[str, str], ...] = ()

    def trait(self, name: str, default: str = "") -> str:
        """Value of one trait, or the default where this thing has none of that name."""
        return dict(self.traits).get(name, default)

    @property
    def height(self) -> float:
        """Height of the bounding box as a fraction of the image height."""
        return self.width * group_aspect(self.kind, self.count)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom as fractions of the image; may reach beyond 0 and 1."""
        half_w, half_h = self.width / 2, self.height / 2
        return (self.x - half_w, self.y - half_h, self.x + half_w, self.y + half_h)

    def members(self) -> "tuple[Thing, ...]":
        """The single things of a group, back to front; their ``count`` is 1."""
        if self.count == 1:
            return (self,)
        aspect = SPECS[self.kind].aspect
        top = self.y - self.height / 2
        # Animals and people face each other; vehicles go the same way.
        social = SPECS[self.kind].group in ("animal", "body")
        turned = _TURNED[self.count] if social else ()
        side = -1 if self.flip else 1
        singles = []
        for i, (dx, back, share) in enumerate(LAYOUTS[self.count]):
            width = share * self.width
            bottom = top + self.height - back * self.width
            x, y = self.x + side * dx * self.width, bottom - width * aspect / 2
            varied = {"flip": self.flip ^ (i in turned), "traits": _vary(self, i)}
            singles.append(replace(self, x=x, y=y, width=width, count=1, **varied))
        return tuple(singles)


@dataclass(frozen=True)
class Scene:
    """One picture: a background and up to three things, the main one first.

    Attributes
    ----------
    background : str
        One of ``BACKGROUNDS``.
    things : tuple of Thing
        Main thing first.
    seed : int
        Fixes where clouds, stars, windows and the like are.
    horizon : float
        Height of the line between far and near as a fraction of the image, from the top.
    tint : int
        Which of the background's colour moods, 0 to 2.
    decor : tuple of str
        What else the background shows, e.g. ``("sun", "clouds")``.
    """

    background: str
    things: tuple[Thing, ...]
    seed: int = 0
    horizon: float = 0.6
    tint: int = 0
    decor: tuple[str, ...] = ()

    @property
    def main(self) -> Thing:
        """The main thing."""
        return self.things[0]


# Per count: horizontal centre, how far back (up), and width of each member, back to front, all in
# units of the group's width.
LAYOUTS: dict[int, tuple[tuple[float, float, float], ...]] = {
    2: ((0.26, 0.04, 0.48), (-0.25, 0.0, 0.50)),
    3: ((0.01, 0.17, 0.36), (0.32, 0.02, 0.36), (-0.31, 0.0, 0.38)),
    5: ((-0.20, 0.10, 0.26), (0.20, 0.09, 0.26), (0.0, 0.02, 0.30),
        (0.36, 0.0, 0.28), (-0.36, 0.0, 0.28)),
}  # fmt: skip

_TURNED: dict[int, tuple[int, ...]] = {2: (0,), 3: (1,), 5: (1, 3)}


def group_aspect(kind: str, count: int) -> float:
    """Height over width of the bounding box of a group."""
    aspect = SPECS[kind].aspect
    if count == 1:
        return aspect
    return max(back + share * aspect for _, back, share in LAYOUTS[count])


def _vary(thing: Thing, index: int) -> tuple[tuple[str, str], ...]:
    """Give each member of a group of people its own hair and skin."""
    if SPECS[thing.kind].group not in ("face", "body"):
        return thing.traits
    options = SPECS[thing.kind].traits
    varied = []
    for name, value in thing.traits:
        if name in ("hair", "skin", "who") and index:
            value = options[name][(options[name].index(value) + index) % len(options[name])]
        varied.append((name, value))
    return tuple(varied)
