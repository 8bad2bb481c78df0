"""The page of results: every score beside chance, a baseline and the ceiling."""

from __future__ import annotations

from collections.abc import Mapping

from .metrics import published_markdown, table_markdown

NOT_AVAILABLE = "not available"


def results_page(
    config: Mapping,
    label: str,
    encoder_table: Mapping,
    picture_table: Mapping,
    auroc: Mapping[str, float],
) -> str:
    """Markdown text of ``figures/results.md``.

    Parameters
    ----------
    config : mapping
        The profile's settings.
    label : str
        Data set and subject.
    encoder_table, picture_table : mapping
        From :func:`fmri_utils.metrics.score_table`.
    auroc : mapping of str to float
        Statistic to AUROC against planted truth; empty for real data.
    """
    parts = [
        f"# Results: {label}",
        f"Profile `{config['name']}`, seed {config['seed']}.",
        "## From the brain to CLIP space",
        "`brain_to_image` ranks all test images for a brain pattern, `image_to_brain` all "
        "brain patterns for an image. The oracle is the ceiling; the mean embedding ignores the "
        "brain.",
        table_markdown(encoder_table),
        "## From CLIP space to a picture",
        "The ceiling is the generator fed with the true embedding; the random embedding is that of "
        "another training image. The judge is a network that took no part in any training here.",
        table_markdown(picture_table),
    ]
    if not picture_table["about"]["simulated"]:
        parts += ["Beside published scores:", published_markdown(picture_table)]
    parts += [
        "## Which voxels carry anything?",
        "AUROC of each statistic for telling tuned voxels from voxels that carry nothing (known "
        "for simulated subjects only). Chance 0.5, ceiling 1.",
    ]
    rows = [f"| {name} | 0.500 | {value:.3f} |" for name, value in auroc.items()]
    rows = rows or [f"| all of notebook 05 | 0.500 | {NOT_AVAILABLE} |"]
    parts.append("\n".join(["| statistic | chance | AUROC |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(part.strip() for part in parts) + "\n"
