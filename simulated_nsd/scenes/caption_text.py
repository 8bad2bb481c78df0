"""Sentences about scenes: COCO-style captions of one, and prompts for a kind of thing."""

import numpy as np

from simulated_nsd.scenes.catalogue import SPECS
from simulated_nsd.scenes.model import Scene, Thing
from simulated_nsd.scenes.palette import COLOURS
from simulated_nsd.scenes.sampling import pick
from simulated_nsd.scenes.vocabulary import (
    AIR_PLACES,
    BEHIND_PLACES,
    COUNT_WORDS,
    DECOR_PHRASES,
    GROUND_PLACES,
    LARGE,
    NOUNS,
    PEOPLE,
    SMALL,
    TABLE_PLACES,
    TRAIT_NOUNS,
    VERBS,
)

PROMPT_PLACES = (
    *("in the sky", "at sea", "on the beach", "on the grass"),
    *("in the snow", "on the street", "in a room", "at night"),
)


def caption_scene(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Write five captions of a scene.

    Each caption mentions another part of the description. Three of the five name the main thing,
    its colour and the background.
    """
    captions: list[str] = []
    for write in (_plain, _sized, _placed, _accompanied, _verbose):
        # A scene has few words of its own: another draw usually removes a repetition.
        for _ in range(8):
            text = _sentence(write(scene, rng))
            if text not in captions:
                break
        captions.append(text)
    return [captions[i] for i in rng.permutation(len(captions)).tolist()]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f"{'an' if phrase[0].lower() in 'aeio' or phrase.startswith('umb') else 'a'} {phrase}"


def _nouns(thing: Thing) -> list[tuple[str, str]]:
    """Singular and plural nouns that fit the thing."""
    special = [TRAIT_NOUNS[key] for name, value in thing.traits
               if (key := (thing.kind, name, value)) in TRAIT_NOUNS]  # fmt: skip
    return [*NOUNS[thing.kind], *special]


def noun_phrase(thing: Thing, rng: np.random.Generator, adjective: str = "") -> str:
    """Name a thing with its colour, its count and perhaps another adjective."""
    if SPECS[thing.kind].group in ("face", "body"):
        return _people_phrase(thing, rng, adjective)
    singular, plural = pick(rng, tuple(_nouns(thing)))
    tail = _tail(thing, rng)
    colour = "" if thing.kind in ("pizza",) else thing.colour
    noun = singular if thing.count == 1 else plural
    words = " ".join(w for w in (adjective, colour, noun) if w) + tail
    return article(words) if thing.count == 1 else f"{pick(rng, COUNT_WORDS[thing.count])} {words}"


def _tail(thing: Thing, rng: np.random.Generator) -> str:
    """What follows the noun: the word on a sign, the plate of a pizza, the pot of a flower."""
    if thing.kind == "sign":
        word = thing.trait("word")
        return pick(rng, (f" that says {word}", f" with the word {word}", f" reading {word}"))
    if thing.kind == "pizza":
        topping = f" with {thing.trait('topping')}" if rng.random() < 0.6 else ""
        return f"{topping} on {article(thing.colour + ' plate')}"
    if thing.kind == "cake" and rng.random() < 0.6:
        top = {"cherry": "a cherry"}.get(thing.trait("topping"), thing.trait("topping"))
        return f" with {top} on top"
    if thing.kind == "flower" and thing.trait("pot"):
        return " in a pot" if thing.count == 1 else " in pots"
    return ""


def _people_phrase(thing: Thing, rng: np.random.Generator, adjective: str) -> str:
    clothes = {"face": ("shirt", "top", "sweater")}.get(thing.kind)
    who = [member.trait("who") for member in thing.members()]
    if clothes is None:
        options = ("dress", "outfit") if who[0] in ("woman", "girl") else ("shirt", "outfit")
        clothes = options if thing.count == 1 else ("clothes",)
    worn = pick(rng, clothes)
    worn = f"{thing.colour} {worn}" if worn == "clothes" else article(f"{thing.colour} {worn}")
    if thing.count > 1:
        noun = PEOPLE[who[0]] if len(set(who)) == 1 else "people"
        return f"{pick(rng, COUNT_WORDS[thing.count])} {noun} in {worn}"
    hair = f" with {thing.trait('hair')} hair" if rng.random() < 0.5 else ""
    if thing.kind == "face":
        hair = hair or " "
        view = pick(rng, ("the face of {}", "a close-up of {}", "a portrait of {}", "{}'s face"))
        person = article(f"{thing.trait('mood')} {who[0]}")
        if "'s" in view:
            return f"{view.format(person)} above {worn}"
        return f"{view.format(person)}{hair.rstrip()} in {worn}"
    extra = adjective if adjective not in LARGE else ""
    return f"{article(f'{extra} {who[0]}'.strip())}{hair} in {worn}"


def _place(scene: Scene, thing: Thing, rng: np.random.Generator) -> str:
    places = {"air": AIR_PLACES, "frame": BEHIND_PLACES, "table": TABLE_PLACES}
    support = "air" if thing.trait("pose") == "flying" else SPECS[thing.kind].support
    return pick(rng, places.get(support, GROUND_PLACES)[scene.background])


def side(thing: Thing) -> str:
    """Which third of the picture the thing's centre is in: left, middle or right."""
    return "left" if thing.x < 0.43 else "right" if thing.x > 0.57 else "middle"


def _where(thing: Thing, rng: np.random.Generator) -> str:
    if side(thing) == "middle":
        return pick(rng, ("in the middle", "in the middle of the picture", "in the center"))
    end = pick(rng, ("", " side", " of the picture"))
    return f"on the {side(thing)}{end}"


def _size(thing: Thing, rng: np.random.Generator) -> str:
    return pick(rng, LARGE if thing.width >= 0.5 else SMALL)


def _verb(thing: Thing, rng: np.random.Generator) -> str:
    if thing.kind == "person":
        return thing.trait("pose")
    if thing.kind == "bird":
        return "flying" if thing.trait("pose") == "flying" else "standing"
    if thing.kind == "flower" and thing.trait("pot"):
        return "standing"
    return pick(rng, VERBS[thing.kind]) if thing.kind in VERBS else ""


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _plain(scene: Scene, rng: np.random.Generator) -> str:
    """Thing, what it does, and where."""
    main = scene.main
    return _join(noun_phrase(main, rng), _verb(main, rng), _place(scene, main, rng))


def _sized(scene: Scene, rng: np.random.Generator) -> str:
    """Thing with its size, and where."""
    main = scene.main
    adjective = _size(main, rng)
    return _join(noun_phrase(main, rng, adjective), _place(scene, main, rng))


def _placed(scene: Scene, rng: np.random.Generator) -> str:
    """Thing, its position in the picture, and the background."""
    main = scene.main
    return _join(noun_phrase(main, rng), _place(scene, main, rng), _where(main, rng))


def _accompanied(scene: Scene, rng: np.random.Generator) -> str:
    """Thing with what accompanies it, or with what the background shows."""
    main = scene.main
    phrase = noun_phrase(main, rng)
    extras = [noun_phrase(thing, rng, pick(rng, ("", "small"))) for thing in scene.things[1:]]
    if extras:
        link = pick(rng, ("with", "together with", "and"))
        return _join(phrase, link, " and ".join(extras))
    place = _place(scene, main, rng)
    return _join(phrase, place, _decor(scene, rng))


def _verbose(scene: Scene, rng: np.random.Generator) -> str:
    """A full sentence: there is, we see."""
    main = scene.main
    phrase, place = noun_phrase(main, rng), _place(scene, main, rng)
    be = "is" if main.count == 1 or phrase.startswith("a ") else "are"
    starts = (f"there {be}", "the picture shows", "we see", "this is a picture of")
    start = pick(rng, starts[:3] if main.kind == "face" else starts)
    extra = ""
    if len(scene.things) > 1 and rng.random() < 0.6:
        other = pick(rng, scene.things[1:])
        extra = f"and {noun_phrase(other, rng)} {_where(other, rng)}"
    return _join(start, phrase, place, extra)


def _decor(scene: Scene, rng: np.random.Generator) -> str:
    shown = tuple(name for name in scene.decor if name in DECOR_PHRASES)
    return f"while {DECOR_PHRASES[pick(rng, shown)]}" if shown else ""


def kind_prompts(kind: str) -> list[str]:
    """Prompts for one kind of thing: its nouns in every colour and place, one and two of them."""
    nouns = [*NOUNS[kind], *(pair for key, pair in TRAIT_NOUNS.items() if key[0] == kind)]
    if kind in ("person", "face"):
        nouns += list(PEOPLE.items())
    forms = {
        "person": ("A {one} in {colour} {place}.", "Two {many} in {colour} {place}."),
        "face": ("The face of a {one} in {colour} {place}.", "The faces of {many} {place}."),
    }.get(kind, ("A {colour} {one} {place}.", "Two {colour} {many} {place}."))
    return [
        form.format(colour=colour, place=place, one=one, many=many)
        for colour in COLOURS
        for place in PROMPT_PLACES
        for one, many in nouns
        for form in forms
    ]
