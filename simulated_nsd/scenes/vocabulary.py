"""Vocabulary of the captions: nouns, adjectives and places."""

# Singular and plural nouns of each kind; traits refine them in ``captions``.
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "face": (("face", "faces"), ("portrait", "portraits")),
    "person": (("person", "people"), ("figure", "figures")),
    "house": (("house", "houses"), ("cottage", "cottages"), ("home", "homes")),
    "lighthouse": (("lighthouse", "lighthouses"),),
    "sign": (("sign", "signs"),),
    "car": (("car", "cars"), ("automobile", "automobiles")),
    "bus": (("bus", "buses"), ("city bus", "city buses")),
    "boat": (("boat", "boats"),),
    "plane": (("plane", "planes"), ("airplane", "airplanes"), ("jet", "jets")),
    "dog": (("dog", "dogs"), ("puppy", "puppies")),
    "cat": (("cat", "cats"), ("kitten", "kittens")),
    "bird": (("bird", "birds"),),
    "elephant": (("elephant", "elephants"),),
    "tree": (("tree", "trees"),),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "pizza": (("pizza", "pizzas"),),
    "cake": (("cake", "cakes"),),
    "ball": (("ball", "balls"),),
    "sofa": (("sofa", "sofas"), ("couch", "couches")),
    "umbrella": (("umbrella", "umbrellas"), ("parasol", "parasols")),
}

# Nouns that a trait value allows beside those of the kind.
TRAIT_NOUNS: dict[tuple[str, str, str], tuple[str, str]] = {
    ("boat", "type", "sail"): ("sailboat", "sailboats"),
    ("boat", "type", "steam"): ("steamboat", "steamboats"),
    ("tree", "species", "pine"): ("pine tree", "pine trees"),
    ("tree", "species", "palm"): ("palm tree", "palm trees"),
    ("flower", "species", "tulip"): ("tulip", "tulips"),
    ("flower", "species", "daisy"): ("daisy", "daisies"),
    ("flower", "species", "sunflower"): ("sunflower", "sunflowers"),
    ("ball", "pattern", "panels"): ("beach ball", "beach balls"),
    ("ball", "pattern", "stripe"): ("striped ball", "striped balls"),
    ("ball", "pattern", "star"): ("ball with a star", "balls with stars"),
}
PEOPLE: dict[str, str] = {"woman": "women", "man": "men", "girl": "girls", "boy": "boys"}

# Where, for things on the ground, in the air, and for close-ups.
GROUND_PLACES: dict[str, tuple[str, ...]] = {
    "sky": ("under a wide sky", "on a hill under the sky", "against the sky"),
    "sea": ("at sea", "on the water", "in the ocean", "on the sea"),
    "beach": ("on the beach", "on a sandy beach", "on the sand by the sea"),
    "grass": ("on the grass", "in a green field", "in a meadow", "on a green lawn"),
    "snow": ("in the snow", "on snowy ground", "in a snowy field"),
    "street": ("on the street", "on a city street", "in the city", "on the road"),
    "room": ("in a room", "in the living room", "inside a room", "indoors on a wooden floor"),
    "night": ("at night", "under the night sky", "in the dark of night"),
}
AIR_PLACES: dict[str, tuple[str, ...]] = {
    "sky": ("in the sky", "high in the sky", "among the clouds of the sky"),
    "sea": ("over the sea", "above the ocean", "above the water"),
    "beach": ("over the beach", "above a sandy beach"),
    "grass": ("over a green field", "above the grass", "over a meadow"),
    "snow": ("over the snow", "above a snowy field"),
    "street": ("above the street", "over a city street"),
    "room": ("in a room",),
    "night": ("in the night sky", "at night", "through the dark night sky"),
}
BEHIND_PLACES: dict[str, tuple[str, ...]] = {
    "sky": ("in front of the sky", "under a wide sky", "against the sky"),
    "sea": ("in front of the sea", "by the ocean", "by the sea"),
    "beach": ("on the beach", "at a sandy beach"),
    "grass": ("in a green field", "in a meadow", "in front of a green field"),
    "snow": ("in the snow", "in front of a snowy field"),
    "street": ("on the street", "in front of city buildings", "on a city street"),
    "room": ("in a room", "inside a room", "in the living room"),
    "night": ("at night", "under the night sky"),
}
TABLE_PLACES: dict[str, tuple[str, ...]] = {
    "sky": ("on a table under the sky",),
    "sea": ("on a table by the sea",),
    "beach": ("on a table at the beach", "on a table by the sandy beach"),
    "grass": ("on a table on the grass", "on a picnic table in a green field"),
    "snow": ("on a table in the snow", "on a table outside in the snow"),
    "street": ("on a table on the street", "on a cafe table in the city"),
    "room": ("on a table in a room", "on the table indoors", "on a table in the living room"),
    "night": ("on a table at night", "on a table under the night sky"),
}

LARGE = ("large", "big")
SMALL = ("small", "little")
COUNT_WORDS = {2: ("two", "a pair of"), 3: ("three", "a group of three"), 5: ("five", "several")}
VERBS: dict[str, tuple[str, ...]] = {
    "house": ("standing",),
    "lighthouse": ("standing", "rising"),
    "sign": ("standing",),
    "car": ("parked", "driving"),
    "bus": ("driving", "parked"),
    "boat": ("floating", "sailing"),
    "plane": ("flying",),
    "dog": ("standing",),
    "cat": ("sitting",),
    "elephant": ("standing", "walking"),
    "tree": ("growing", "standing"),
    "flower": ("growing", "blooming"),
    "pizza": ("lying", "served"),
    "cake": ("served", "standing"),
    "ball": ("lying",),
    "sofa": ("standing",),
    "umbrella": ("standing open", "open"),
}
DECOR_PHRASES: dict[str, str] = {
    "sun": "the sun is shining",
    "clouds": "there are white clouds",
    "mountains": "there are mountains behind",
    "snowfall": "snow is falling",
    "moon": "the moon is shining",
    "city": "the city lights are on",
    "hills": "there are hills behind",
    "palm": "there is a palm tree at the shore",
    "island": "there is an island in the distance",
    "picture": "a picture hangs on the wall",
    "window": "there is a window in the wall",
    "rug": "there is a round rug on the floor",
    "pines": "there are pines in the distance",
}
