"""The results table: every score beside chance and ceiling, and what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping

from .artifacts import package_versions

NOT_AVAILABLE = "not available"


def _cell(score: Mapping | None) -> str:
    if score is None:
        return NOT_AVAILABLE
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def results_table(
    config: Mapping,
    label: str,
    encoder_scores: Mapping,
    picture_scores: Mapping,
    auroc: Mapping[str, float],
) -> str:
    """Markdown text of ``figures/results.md``.

    Parameters
    ----------
    config : mapping
        The profile's settings.
    label : str
        Data set and subject.
    encoder_scores : mapping
        ``two_way``, ``brain_to_image``, ``image_to_brain``: encoder to value, low, high.
    picture_scores : mapping
        ``scores``: score to picture to value, low, high, or None where it is not available.
    auroc : mapping of str to float
        Statistic to AUROC against planted truth; empty for real data.
    """
    n = encoder_scores["n_images"]
    versions = ", ".join(f"{name} {v}" for name, v in package_versions().items())
    parts = [
        f"# Results: {label}",
        f"Profile `{config['name']}`, seed {config['seed']}. {n} test images, all repeats "
        f"averaged; CLIP `{config['clip']['model']}`. Brackets: 95 % bootstrap interval over "
        f"images. {versions}.",
        "## From the brain to CLIP space",
        "`brain_to_image` ranks all test images for a brain pattern, `image_to_brain` all "
        "brain patterns for an image. The oracle is the ceiling; the mean embedding ignores the "
        "brain.",
    ]
    header = ["encoder", "two-way", f"brain_to_image top-1 of {n}", f"image_to_brain top-1 of {n}"]
    rows = [["chance", "0.500", f"{1 / n:.3f}", f"{1 / n:.3f}"]]
    for name in encoder_scores["two_way"]:
        kinds = ("two_way", "brain_to_image", "image_to_brain")
        rows.append([name, *(_cell(encoder_scores[kind][name]) for kind in kinds)])
    parts.append(_table(header, rows))
    parts += [
        "## From CLIP space to a picture",
        "The ceiling is the generator fed with the true embedding; the random embedding is that of "
        "another training image. The judge is a network that took no part in any training here.",
    ]
    names = list(next(iter(picture_scores["scores"].values())))
    chance = {"judge two-way": "0.500", "PixCorr": "see random embedding"}
    rows = [
        [score, chance.get(score, "see random embedding"), *(_cell(row[name]) for name in names)]
        for score, row in picture_scores["scores"].items()
    ]
    parts.append(_table(["score", "chance", *names], rows))
    parts += [
        "## Which voxels carry anything?",
        "AUROC of each statistic for telling tuned voxels from voxels that carry nothing (known "
        "for simulated subjects only). Chance 0.5, ceiling 1.",
    ]
    statistics = ("effect", "contribution", "encoding pattern")
    rows = [[s, "0.500", f"{auroc[s]:.3f}" if s in auroc else NOT_AVAILABLE] for s in statistics]
    parts.append(_table(["statistic", "chance", "AUROC"], rows))
    return "\n\n".join(parts) + "\n"
