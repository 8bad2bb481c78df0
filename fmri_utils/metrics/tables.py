"""The results table: every score beside chance, a baseline and the ceiling, and what it is of."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..project.artifacts import package_versions
from ..project.errors import DataError
from .scores import Score, per_image_arrays
from .statistics import Interval, bootstrap, paired_difference

NOT_AVAILABLE = "not available"
ABOUT = ("dataset", "simulated", "subject", "split", "repeats", "clip_model")
STATISTICS = {"mean": np.mean, "median": np.median}

# Published scores on NSD, mean of subjects 1, 2, 5 and 7 unless said. They stand beside scores of
# real data only. SSIM before scikit-image 0.20 is not comparable and not listed; MindEye picks the
# best of 16 samples, MindEye2 blends in a blurry image before scoring.
PUBLISHED_ROWS = ("PixCorr", "SSIM", "Alex(2)", "Alex(5)", "Incep", "CLIP", "EffNet-B", "SwAV")
RERUN = "Brain-Diffuser, independent rerun"
PUBLISHED = {
    RERUN: (982, 0.238, 0.351, 0.923, 0.953, 0.907, 0.915, 0.718, 0.416),
    "MindEye, subj01": (982, 0.392, 0.347, 0.974, 0.987, 0.945, 0.943, 0.635, 0.358),
    "MindEye2": (1000, 0.322, 0.431, 0.961, 0.986, 0.954, 0.930, 0.619, 0.344),
    "MindTuner": (1000, 0.322, 0.421, 0.958, 0.988, 0.956, 0.938, 0.612, 0.340),
    "Brain-IT (ICLR 2026)": (1000, 0.386, 0.486, 0.984, 0.995, 0.973, 0.964, 0.564, 0.320),
}


def score_table(
    scores: Mapping[str, Mapping[str, Score]],
    *,
    about: Mapping[str, object],
    baseline: str,
    ceiling: str,
    compared: Sequence[tuple[str, str]] = (),
    **boot,
) -> dict:
    """The results table as plain values that JSON can keep.

    Parameters
    ----------
    scores : mapping
        From :func:`~fmri_utils.metrics.picture_scores` or ``embedding_scores``.
    about : mapping
        What the numbers are of: ``dataset``, ``simulated`` (bool), ``subject``, ``split``,
        ``repeats`` (averaged), ``clip_model``; further entries are kept.
    baseline, ceiling : str
        Which sets are the baseline, what needs no brain (the mean training image, the mean
        embedding), and the recovery ceiling (the oracle for embeddings).
    compared : sequence of (str, str)
        Pairs of sets whose difference, first minus second, has a column of its own.
    **boot
        ``rng``, and ``n_resamples`` of images, of :func:`~fmri_utils.metrics.bootstrap`.

    Returns
    -------
    dict
        ``about``, ``versions``, ``n_images``, ``sets`` (baseline first, ceiling last),
        ``baseline``, ``ceiling``, ``differences`` (names of the compared pairs) and ``rows``: row
        to ``better``, ``statistic`` and ``scores``, set or difference to ``value``, ``low``,
        ``high``, ``chance``, ``interval_over``, or to ``not_available`` with the reason.

    Raises
    ------
    DataError
        If ``about`` lacks an entry, a set is missing, or sets differ in rows or images.
    """
    lacking = [key for key in ABOUT if key not in about]
    if lacking:
        raise DataError(
            f"about lacks {lacking}. Expected: {', '.join(ABOUT)}; no number goes without them."
        )
    pairs = {f"{first} - {second}": (first, second) for first, second in compared}
    kinds = [("compared set", name) for pair in compared for name in pair]
    for kind, name in [("baseline", baseline), ("ceiling", ceiling), *kinds]:
        if name not in scores:
            raise DataError(
                f"the {kind} {name!r} is not among the sets {list(scores)}. Expected: scores of it."
            )
    names = [baseline, *(s for s in scores if s not in (baseline, ceiling)), ceiling]
    sizes = {len(values) for values in per_image_arrays(scores).values()}
    if any(list(rows) != list(scores[baseline]) for rows in scores.values()) or len(sizes) > 1:
        raise DataError(
            f"sets differ in rows or images ({sorted(sizes)}). Expected: all scored in one call."
        )
    rows = {}
    for row, some in scores[baseline].items():
        cells = {name: _cell(scores[name][row], **boot) for name in names}
        for name, pair in pairs.items():
            cells[name] = _difference_cell(*(scores[one][row] for one in pair), **boot)
        rows[row] = {"better": some.better, "statistic": some.statistic, "scores": cells}
    known = {"about": dict(about), "versions": package_versions()}
    known |= {"n_images": sizes.pop() if sizes else None}
    known |= {"baseline": baseline, "ceiling": ceiling, "differences": list(pairs)}
    return {**known, "sets": names, "rows": rows}


def _cell(score: Score, **boot) -> dict:
    if score.reason:
        return {"not_available": score.reason}
    interval, over = score.interval, "draws"
    if interval is None:
        over = "images"
        interval = bootstrap(score.per_image, statistic=STATISTICS[score.statistic], **boot)
    return {**vars(interval), "chance": score.chance, "interval_over": over}


def _difference_cell(first: Score, second: Score, **boot) -> dict:
    if first.per_image is None or first.statistic != "mean":
        return {"not_available": first.reason or "only means over images have paired differences"}
    interval = paired_difference(first.per_image, second.per_image, **boot)
    return {**vars(interval), "chance": None, "interval_over": "images"}


def differences(
    scores: Mapping[str, Mapping[str, Score]], first: str, second: str, **boot
) -> dict[str, Interval]:
    """Paired differences ``first - second`` of two sets in every row with one mean over images.

    Parameters
    ----------
    scores, **boot
        As for :func:`score_table`.
    first, second : str
        Sets.

    Returns
    -------
    dict of str to Interval
        A row counts as different only if its interval excludes 0. Medians and drawn candidates
        have no paired difference and are left out.
    """
    for name in (first, second):
        if name not in scores:
            raise DataError(f"no set {name!r} among {list(scores)}.")
    return {
        row: paired_difference(score.per_image, scores[second][row].per_image, **boot)
        for row, score in scores[first].items()
        if score.per_image is not None and score.statistic == "mean"
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def _text(cell: Mapping) -> str:
    if "not_available" in cell:
        return NOT_AVAILABLE
    return f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"


def _chance_text(row: Mapping, methods: list[str]) -> str:
    """Chance of the methods; where it differs, the one that is hardest to beat."""
    found = (row["scores"][name].get("chance") for name in methods)
    values = [value for value in found if value is not None]
    hardest = max if row["better"] == "higher" else min
    return f"{hardest(values):.3f}" if values else NOT_AVAILABLE


def table_markdown(table: Mapping) -> str:
    """Markdown of a :func:`score_table`: chance, baseline, methods, ceiling, differences.

    Parameters
    ----------
    table : mapping
        As made, or as read back from JSON.
    """
    names = table["sets"]
    methods, shown = names[1:-1] or names, [*names, *table.get("differences", ())]
    rows = []
    for row, entry in table["rows"].items():
        cells = [_text(entry["scores"][name]) for name in shown]
        rows.append([row, entry["better"], _chance_text(entry, methods), *cells])
    lines = markdown_table(["score", "better", "chance", *shown], rows)
    about = table["about"]
    versions = ", ".join(f"{name} {v}" for name, v in table["versions"].items())
    notes = [
        f"{about['dataset']}, subject {about['subject']}, {about['split']}, {table['n_images']} "
        f"images, repeats averaged: {about['repeats']}; CLIP `{about['clip_model']}`. Brackets: 95 "
        "% interval over images; over draws where candidates were drawn. Baseline: "
        f"{table['baseline']}; ceiling: {table['ceiling']}. {versions}."
    ]
    for row, entry in table["rows"].items():
        if reason := entry["scores"][names[0]].get("not_available"):
            notes.append(f"* {row}: {NOT_AVAILABLE}: {reason}")
    return "\n".join([lines, "", *notes]) + "\n"


def published_markdown(table: Mapping) -> str:
    """The published scores on NSD with the methods of a table under them, as Markdown.

    Raises
    ------
    DataError
        If the table is of simulated data, which cannot be compared with published scores.
    """
    if table["about"]["simulated"]:
        raise DataError(
            "these are scores of simulated data. Expected: of the real NSD, as the published ones."
        )
    rows = [[name, str(n), *(f"{v:.3f}" for v in v)] for name, (n, *v) in PUBLISHED.items()]
    for name in table["sets"]:
        cells = [table["rows"][row]["scores"][name] for row in PUBLISHED_ROWS]
        texts = [f"{c['value']:.3f}" if "value" in c else NOT_AVAILABLE for c in cells]
        rows.append([f"here: {name}", str(table["n_images"]), *texts])
    return markdown_table(["method", "images", *PUBLISHED_ROWS], rows) + "\n"
