"""The procedurally drawn scenes: determinism, drawing, composition and captions."""

import re

import numpy as np
import pytest
from PIL import Image

from simulated_nsd.scenes import (
    BACKGROUNDS,
    KINDS,
    Scene,
    Thing,
    caption_scene,
    draw_scene,
    sample_scene,
    sample_scenes,
)  # fmt: skip
from simulated_nsd.scenes.catalogue import SPECS
from simulated_nsd.scenes.vocabulary import GROUND_PLACES, NOUNS, PEOPLE, TRAIT_NOUNS


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return sample_scenes(3, 0, 1500)


@pytest.fixture(scope="module")
def captions(scenes: list[Scene]) -> list[list[str]]:
    return [caption_scene(s, np.random.default_rng(i)) for i, s in enumerate(scenes[:600])]


def test_scene_depends_on_stream_seed_and_index_only():
    longer, shorter = sample_scenes(0, 7, 30), sample_scenes(0, 7, 12)
    assert longer[:12] == shorter
    assert longer[11] == sample_scene(np.random.default_rng([0, 7, 11]))


def test_streams_and_seeds_never_share_a_scene():
    sets = [set(sample_scenes(stream, seed, 150)) for stream in (0, 1, 2) for seed in (0, 1)]
    assert len(set.union(*sets)) == sum(len(s) for s in sets) == 900


def test_drawing_is_deterministic_and_leaves_no_state(scenes):
    first = [draw_scene(s, 64) for s in scenes[:12]]
    again = [draw_scene(s, 64) for s in reversed(scenes[:12])][::-1]
    np.testing.assert_array_equal(first, again)
    assert (first[0].dtype, first[0].shape) == (np.uint8, (64, 64, 3))


def test_same_look_at_every_size(scenes):
    differences = []
    for scene in scenes[:40]:
        large = Image.fromarray(draw_scene(scene, 425)).resize((64, 64), Image.Resampling.BOX)
        small = draw_scene(scene, 64).astype(float)
        differences.append(np.abs(np.asarray(large, dtype=float) - small).mean())
    assert np.mean(differences) < 4 and np.max(differences) < 10  # of 255; words on signs most


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_on_every_background_and_in_every_colour(scenes, kind):
    of_kind = (scene for scene in scenes if scene.main.kind == kind)
    for background, scene in zip(BACKGROUNDS, of_kind, strict=False):
        empty = Scene(background, (Thing("ball", "red", 5.0, 5.0, 0.1),), 1, 0.6)
        full = Scene(background, (scene.main,), 1, 0.6)
        changed = np.abs(draw_scene(full, 32).astype(int) - draw_scene(empty, 32)).sum(axis=2) > 24
        assert changed.mean() > 0.03, (kind, background)
    main = scene.main
    pictures = {
        draw_scene(Scene("room", (Thing(kind, c, 0.5, 0.5, 0.6, 1, False, main.traits),)), 32)
        .tobytes()
        for c in SPECS[kind].colours
    }  # fmt: skip
    assert len(pictures) == len(set(SPECS[kind].colours))


def test_every_trait_changes_the_picture():
    for kind, spec in SPECS.items():
        base = {name: options[0] for name, options in spec.traits.items()}
        for name, options in spec.traits.items():
            pictures = set()
            for value in options:
                traits = tuple({**base, name: value}.items())
                thing = Thing(kind, spec.colours[0], 0.5, 0.5, 0.6, 1, False, traits)
                pictures.add(draw_scene(Scene("room", (thing,)), 64).tobytes())
            needed = 2 if name == "who" else len(set(options))
            assert len(pictures) >= needed, (kind, name)


def _names(thing: Thing) -> set[str]:
    """Nouns of a thing: singular ones, or of a group those in the plural."""
    which = int(thing.count > 1)
    names = {pair[which] for pair in NOUNS[thing.kind]}
    names |= {pair[which] for (kind, _, _), pair in TRAIT_NOUNS.items() if kind == thing.kind}
    if thing.kind in ("face", "person"):
        names |= {*PEOPLE.values(), "people"} if which else {*PEOPLE, "close-up"}
    return names


def test_captions_name_kind_colour_and_count(scenes, captions):
    for scene, texts in zip(scenes, captions, strict=False):
        main = scene.main
        assert len(texts) == 5
        named = rf"\b({'|'.join(_names(main))})\b"
        assert all(re.search(named, text.lower()) for text in texts), texts
        assert sum(main.colour in t for t in texts) >= 3
        number = {1: "", 2: "(two|pair)", 3: "three", 5: "(five|several)"}[main.count]
        assert all(re.search(number, t.lower()) for t in texts), texts


def test_captions_name_the_background(scenes, captions):
    keys = {
        "sky": "sky", "sea": "sea|ocean|water", "beach": "beach|sand", "snow": "snow",
        "grass": "grass|field|meadow|lawn", "street": "street|city|road", "room": "room|indoors",
        "night": "night",
    }  # fmt: skip
    assert set(keys) == set(GROUND_PLACES) == set(BACKGROUNDS)
    for scene, texts in zip(scenes, captions, strict=False):
        assert sum(bool(re.search(keys[scene.background], t)) for t in texts) >= 3, texts


def test_captions_are_clean_english(captions):
    for text in (t for texts in captions for t in texts):
        assert text[0].isupper() and text.endswith(".")
        assert not re.search(r"  |\s[.,]|\.\.", text), text
        assert not re.search(r"\ba [aeio]|\ba umb|\ban [^aeiou]", text.lower()), text
        assert not re.search(r"\b(a|an|the) (a|an|the)\b", text.lower()), text
