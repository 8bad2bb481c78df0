"""What the demo's networks can do, measured on scenes that none of them was trained on."""

from pathlib import Path

import numpy as np

from fmri_utils.clip.space import ClipSpace
from fmri_utils.metrics import frechet_distance, retrieval_scores, two_way_identification
from fmri_utils.metrics.judge import HEADS, Judge
from fmri_utils.project.artifacts import package_versions, write_json

from ..scenes.caption_text import kind_prompts

N_DRAWS = 30  # of 100 images, for retrieval
LICENCE = "MIT, like the code; made of drawn scenes only"


def write_card(path: Path, **facts: object) -> None:
    """Write a model card beside the weights."""
    card = {"licence": LICENCE, "versions": package_versions(), **facts}
    write_json(path, card, sort_keys=True)


def zero_shot(space: ClipSpace, embeddings: np.ndarray, kinds: np.ndarray) -> float:
    """Share of images whose nearest prompt names their main thing.

    Parameters
    ----------
    embeddings : numpy.ndarray, (n_images, C)
    kinds : numpy.ndarray of str, (n_images,)
    """
    prompts = {kind: kind_prompts(kind) for kind in np.unique(kinds)}
    names = np.repeat(list(prompts), [len(p) for p in prompts.values()])
    texts = space.encode_texts([text for group in prompts.values() for text in group])
    return float((names[np.argmax(embeddings @ texts.T, axis=1)] == kinds).mean())


def caption_retrieval(
    space: ClipSpace, embeddings: np.ndarray, captions: np.ndarray, *, seed: int
) -> float:
    """Mean top-1 of image to caption among 100 images with distinct captions.

    Parameters
    ----------
    embeddings : numpy.ndarray, (n_images, C)
    captions : numpy.ndarray of str, (n_images, 5)
    """
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(N_DRAWS):
        drawn: dict[str, int] = {}
        for image in rng.permutation(len(captions)):
            drawn.setdefault(str(captions[image, rng.integers(captions.shape[1])]), int(image))
            if len(drawn) == 100:
                break
        texts = space.encode_texts(list(drawn))
        found = retrieval_scores(texts, embeddings[list(drawn.values())])["brain_to_image"]
        scores.append(found["top1"].mean())
    return float(np.mean(scores))


def clip_report(space: ClipSpace, held_out: dict[str, np.ndarray]) -> dict[str, float]:
    """Scores of the demo CLIP on held-out scenes."""
    embeddings = space.encode_images(held_out["images"])
    top1 = caption_retrieval(space, embeddings, held_out["captions"], seed=0)
    named = zero_shot(space, embeddings, held_out["kind"])
    return {"image_to_caption_top1_of_100": top1, "zero_shot_main_thing": named}


def judge_report(judge: Judge, held_out: dict[str, np.ndarray]) -> dict[str, float]:
    """Accuracy of the judge's heads on held-out scenes."""
    seen = judge.look(held_out["images"])
    return {head: float((seen[head] == held_out[head]).mean()) for head in HEADS}


def ceiling_report(
    judge: Judge,
    pictures: np.ndarray,
    held_out: dict[str, np.ndarray],
    others: np.ndarray | None = None,
) -> dict[str, float]:
    """What the judge says of pictures drawn from the true embeddings of held-out scenes.

    Parameters
    ----------
    pictures : numpy.ndarray, (n, 64, 64, 3)
        In [0, 1].
    others : numpy.ndarray, (n, 64, 64, 3), optional
        As many other scenes: their Fréchet distance is the floor of that of the pictures.
    """
    truth, drawn = judge.look(held_out["images"]), judge.look(pictures)
    scores = {f"{h}_accuracy": float((drawn[h] == held_out[h]).mean()) for h in HEADS}
    features = truth["features"], drawn["features"]
    scores["frechet_distance_in_judge_space"] = frechet_distance(*features)
    if others is not None:
        floor = frechet_distance(truth["features"], judge.look(others)["features"])
        scores["frechet_distance_in_judge_space, real scenes"] = floor
    return {"two_way": two_way_identification(*features), **scores}
