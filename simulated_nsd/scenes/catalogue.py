"""The kinds of things and backgrounds: how they group, where they occur, how they vary."""

from dataclasses import dataclass, field

from simulated_nsd.scenes.palette import HAIR, SKIN

BACKGROUNDS: tuple[str, ...] = (
    "sky", "sea", "beach", "grass", "snow", "street", "room", "night",
)  # fmt: skip

# Colours that a thing in front of this background would be lost in.
BLENDS: dict[str, frozenset[str]] = {
    "sky": frozenset({"blue"}),
    "sea": frozenset({"blue"}),
    "beach": frozenset({"brown"}),
    "grass": frozenset({"green"}),
    "snow": frozenset({"white"}),
    "street": frozenset({"black"}),
    "room": frozenset(),
    "night": frozenset({"black", "blue", "purple", "brown"}),
}


@dataclass(frozen=True)
class Spec:
    """Facts about one kind of thing.

    Attributes
    ----------
    group : str
        Category that the simulated brain and the captions use.
    aspect : float
        Height over width of the bounding box.
    colours : tuple of str
    backgrounds : dict of str to int
        Where it occurs, with weights.
    widths : tuple of two floats
        Smallest and largest width as a main thing of large size.
    support : str
        What it stands on: "ground", "air", "water", "table" or "frame" (cut by the lower edge).
    counts : dict of int to int
        How many there may be, with weights.
    traits : dict of str to tuple of str
        Further ways in which members of the kind differ.
    """

    group: str
    aspect: float
    colours: tuple[str, ...]
    backgrounds: dict[str, int]
    widths: tuple[float, float]
    support: str = "ground"
    counts: dict[int, int] = field(default_factory=lambda: {1: 1})
    traits: dict[str, tuple[str, ...]] = field(default_factory=dict)


_BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
_WHO = ("woman", "man", "girl", "boy")
_WORDS = (
    "STOP", "OPEN", "EXIT", "CAFE", "SALE", "TAXI", "PARK", "ZOO", "BUS", "SLOW", "YES", "HELP",
)  # fmt: skip

SPECS: dict[str, Spec] = {
    "face": Spec(
        "face", 1.06, (*_BRIGHT, "black", "grey"),
        {**dict.fromkeys(BACKGROUNDS, 2), "sea": 3, "sky": 3}, (0.72, 1.0), "frame",
        traits={"who": _WHO, "hair": tuple(HAIR), "skin": tuple(SKIN),
                "mood": ("smiling", "laughing", "surprised", "serious"),
                "style": ("a", "b", "c")},
    ),
    "person": Spec(
        "body", 1.5, (*_BRIGHT, "black"),
        {"grass": 2, "snow": 2, "street": 2, "room": 2, "beach": 3, "night": 1, "sky": 2},
        (0.5, 0.63), counts={1: 6, 2: 3, 3: 1},
        traits={"who": _WHO, "hair": tuple(HAIR), "skin": tuple(SKIN),
                "pose": ("waving", "standing", "running")},
    ),
    "house": Spec(
        "place", 0.95, ("white", "red", "yellow", "blue", "pink", "brown", "orange", "green"),
        {"grass": 3, "snow": 3, "street": 1, "night": 2, "sky": 3, "beach": 1}, (0.6, 0.9),
    ),
    "lighthouse": Spec(
        "place", 1.5, ("red", "blue", "black", "green", "orange", "yellow"),
        {"sea": 6, "beach": 2, "night": 3, "sky": 3, "snow": 1}, (0.5, 0.63), "rock",
    ),
    "sign": Spec(
        "word", 1.15, ("red", "yellow", "green", "blue", "white", "black", "orange", "pink"),
        {"street": 4, "grass": 2, "snow": 2, "beach": 2, "night": 2, "sky": 2}, (0.6, 0.82),
        traits={"word": _WORDS, "shape": ("board", "octagon", "round", "arrow")},
    ),
    "car": Spec(
        "vehicle", 0.48, ("red", "orange", "yellow", "green", "blue", "white", "black", "purple"),
        {"street": 5, "snow": 2, "grass": 2, "night": 2, "beach": 1}, (0.6, 0.92),
        counts={1: 8, 2: 2},
    ),
    "bus": Spec(
        "vehicle", 0.58, ("red", "orange", "yellow", "green", "blue", "white", "pink"),
        {"street": 5, "snow": 2, "night": 2, "grass": 2, "beach": 1}, (0.7, 0.95),
    ),
    "boat": Spec(
        "vehicle", 0.98, ("red", "orange", "yellow", "green", "white", "black", "brown", "blue"),
        {"sea": 8, "night": 2, "beach": 2}, (0.55, 0.85), "water", counts={1: 8, 2: 2, 3: 1},
        traits={"type": ("sail", "sail", "steam")},
    ),
    "plane": Spec(
        "vehicle", 0.5, (*_BRIGHT, "grey"),
        {"sky": 6, "night": 2, "sea": 4, "snow": 2, "grass": 1}, (0.62, 0.95), "air",
        counts={1: 8, 2: 1, 3: 1},
    ),
    "dog": Spec(
        "animal", 0.84, ("brown", "black", "white", "orange", "grey", "yellow"),
        {"grass": 3, "street": 2, "room": 3, "snow": 2, "beach": 2, "night": 1}, (0.55, 0.9),
        counts={1: 8, 2: 2},
    ),
    "cat": Spec(
        "animal", 1.12, ("black", "white", "orange", "grey", "brown"),
        {"room": 4, "grass": 2, "street": 2, "snow": 1, "night": 2}, (0.5, 0.78),
        counts={1: 7, 2: 2, 3: 1},
    ),
    "bird": Spec(
        "animal", 0.8, ("red", "blue", "yellow", "white", "black", "green", "orange", "pink"),
        {"sky": 5, "sea": 4, "grass": 1, "snow": 2, "beach": 1, "night": 1}, (0.52, 0.85),
        counts={1: 6, 2: 2, 3: 2}, traits={"pose": ("flying", "standing")},
    ),
    "elephant": Spec(
        "animal", 0.8, ("grey", "grey", "brown", "pink", "blue"),
        {"grass": 5, "beach": 2, "street": 1, "night": 1, "snow": 2, "sky": 2}, (0.6, 0.95),
        counts={1: 8, 2: 2},
    ),
    "tree": Spec(
        "plant", 1.2, ("green", "green", "green", "orange", "yellow", "red", "pink"),
        {"grass": 3, "snow": 2, "night": 2, "sky": 3, "street": 1, "beach": 2}, (0.55, 0.78),
        counts={1: 8, 2: 1, 3: 1}, traits={"species": ("round", "pine", "palm")},
    ),
    "flower": Spec(
        "plant", 1.3, ("red", "yellow", "pink", "purple", "white", "orange", "blue"),
        {"grass": 3, "room": 3, "sky": 3, "snow": 1, "night": 1, "street": 1}, (0.5, 0.7),
        counts={1: 6, 3: 3, 5: 2}, traits={"species": ("daisy", "tulip", "sunflower")},
    ),
    "pizza": Spec(
        "food", 0.66, ("red", "yellow", "green", "blue", "white", "black", "purple"),
        {"room": 5, "grass": 1, "beach": 2, "street": 2, "night": 1, "sea": 1},
        (0.65, 0.95), "table",
        traits={"topping": ("salami", "olives", "basil")},
    ),
    "cake": Spec(
        "food", 0.86, ("pink", "brown", "white", "yellow", "green", "red", "purple"),
        {"room": 5, "grass": 1, "beach": 1, "street": 1, "night": 2, "snow": 1, "sea": 1},
        (0.58, 0.85), "table", traits={"topping": ("candles", "cherry", "berries")},
    ),
    "ball": Spec(
        "object", 1.0, (*_BRIGHT, "black"),
        {"grass": 3, "beach": 3, "snow": 2, "street": 1, "room": 2, "sea": 4, "sky": 1},
        (0.5, 0.78), counts={1: 6, 2: 2, 3: 2},
        traits={"pattern": ("panels", "stripe", "star")},
    ),
    "sofa": Spec(
        "object", 0.56, (*_BRIGHT, "grey", "brown"),
        {"room": 6, "grass": 1, "street": 1, "beach": 1, "snow": 1, "night": 1}, (0.65, 0.95),
    ),
    "umbrella": Spec(
        "object", 1.05, (*_BRIGHT, "black"),
        {"beach": 4, "street": 2, "grass": 1, "snow": 2, "night": 2, "sky": 3}, (0.58, 0.85),
        counts={1: 8, 2: 2},
    ),
}  # fmt: skip

KINDS: tuple[str, ...] = tuple(SPECS)
GROUPS: dict[str, str] = {kind: spec.group for kind, spec in SPECS.items()}

# Small things that may accompany the main one.
COMPANIONS: dict[str, tuple[str, ...]] = {
    "sky": ("bird", "plane", "tree", "house"),
    "sea": ("boat", "bird", "lighthouse", "plane"),
    "beach": ("ball", "umbrella", "boat", "person", "bird", "dog"),
    "grass": ("tree", "flower", "ball", "dog", "house", "bird", "person"),
    "snow": ("tree", "person", "house", "bird", "dog"),
    "street": ("car", "person", "tree", "bus", "dog", "ball"),
    "room": ("cat", "ball", "flower", "dog", "umbrella"),
    "night": ("house", "tree", "plane", "bird", "cat"),
}
# Companions that fit on a table, and on dark water.
TABLE_COMPANIONS: tuple[str, ...] = ("flower", "cat", "ball")
WATER_COMPANIONS: tuple[str, ...] = ("boat", "lighthouse", "plane", "bird")
# What the background itself may show; each is present with probability one half.
DECOR: dict[str, tuple[str, ...]] = {
    "sky": ("sun", "clouds"),
    "sea": ("sun", "clouds", "island"),
    "beach": ("sun", "clouds", "palm"),
    "grass": ("sun", "clouds", "hills"),
    "snow": ("mountains", "snowfall", "pines"),
    "street": ("clouds", "lamp"),
    "room": ("window", "picture", "lamp", "rug"),
    "night": ("moon", "city", "hills"),
}
HORIZONS: dict[str, tuple[float, float]] = {
    "sky": (0.84, 0.92),
    "sea": (0.40, 0.58),
    "beach": (0.34, 0.46),
    "grass": (0.50, 0.66),
    "snow": (0.52, 0.68),
    "street": (0.58, 0.68),
    "room": (0.62, 0.74),
    "night": (0.66, 0.80),
}
