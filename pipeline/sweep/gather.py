"""The scores of all runs in one table: means over subjects with intervals over subjects."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from fmri_utils.metrics import Interval, markdown_table, paired_difference
from fmri_utils.project.artifacts import load_arrays, load_json, sha256_file
from fmri_utils.project.profiles import PROJECT_ROOT

from ..steps import last_record
from .runs import Run

FILES = {"embedding": "encoder_scores.json", "picture": "picture_scores.json"}
PANELS = {
    "two-way, embeddings": ("embedding", "contrastive-linear", "two-way identification"),
    "MRR, embeddings": ("embedding", "contrastive-linear", "brain_to_image MRR"),
    "two-way, judge": ("picture", "from the brain", "judge two-way"),
    "PixCorr": ("picture", "from the brain", "PixCorr"),
}
REMEDY = "Run the sweep again: only this run is done anew."
NOTE = (
    "Per-image scores are averaged over seeds, then over a subject's images, then over subjects. "
    "Brackets: 95 % bootstrap interval, subjects drawn first and then images; with one subject, "
    "images only. With few subjects it is too narrow rather than too wide, so each subject's mean "
    "stands beside it. Scores that are no mean over images stay in each run's own results page."
)


def gather(runs: Sequence[Run], *, n_resamples: int = 1000) -> dict:
    """Read the scores that finished runs have written and put them into one table.

    Parameters
    ----------
    runs : sequence of Run
        Finished ones. Scores count if a notebook up to the target wrote them: what later ones left
        may be of an earlier encoder.
    n_resamples : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``rows``: ``kind`` ("embedding" or "picture"), ``area``, ``set``, ``score``, ``better``,
        ``chance``, ``value``, ``low``, ``high``, ``interval_over``, ``subjects`` (number to mean)
        and ``n_seeds``; ``differences``: the same, of each area less the first one, paired by
        subject and image; ``inputs``: the hash of every file that was read. All are empty if no
        run has come to notebook 03.

    Raises
    ------
    ArtifactError
        If a file differs from its manifest.
    """
    values, about, inputs = {}, {}, {}
    for run in runs:
        records = (last_record(run.profile, step) for step in run.request.steps)
        written = {PROJECT_ROOT / name for record in records for name in record["written"]}
        for kind, name in FILES.items():
            path = run.profile.derived / name
            if path not in written or not path.is_file():
                continue
            content = load_json(path, remedy=REMEDY)
            inputs[f"{run.name}/{name}"] = sha256_file(path)
            for key, scores in content["per_image"].items():
                set_name, score = key.split("/", 1)
                row = content["table"]["rows"][score]
                if row["statistic"] == "mean":
                    start = {"kind": kind, "set": set_name, "score": score, "better": row["better"]}
                    about[kind, key] = start | {"chance": row["scores"][set_name]["chance"]}
                    subjects = values.setdefault((kind, key), {}).setdefault(run.area, {})
                    subjects.setdefault(run.profile.subject, []).append(scores)
    same = len({_test_images(run) for run in runs}) == 1
    boot = {"n_resamples": n_resamples, "shared_images": same}
    table = {"rows": [], "differences": [], "inputs": inputs}
    for which, areas in values.items():
        means = {}
        for area, subjects in areas.items():
            means[area] = {subject: np.mean(seeds, axis=0) for subject, seeds in subjects.items()}
            zero = {subject: np.zeros(len(mean)) for subject, mean in means[area].items()}
            row = {**about[which], "area": area, "n_seeds": max(map(len, subjects.values()))}
            table["rows"].append(row | _interval(means[area], zero, **boot))
            first = next(iter(means))
            if area != first and set(means[area]) & set(means[first]):
                row |= {"area": f"{area} - {first}", "chance": None}
                table["differences"].append(row | _interval(means[area], means[first], **boot))
    return table


def _test_images(run: Run) -> tuple[int, ...]:
    path = run.profile.derived / "predictions.h5"
    if not path.is_file():
        return ()
    return tuple(load_arrays(path, remedy=REMEDY, names=("test_ids",))["test_ids"].tolist())


def _interval(
    first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray], **boot: object
) -> dict:
    """Mean of ``first - second`` over the subjects that both have, as a part of a row."""
    both = sorted(set(first) & set(second))
    sides = [[scores[subject] for subject in both] for scores in (first, second)]
    over = "subjects and images"
    if len(both) == 1:
        sides, over = [side[0] for side in sides], "images"
    found = paired_difference(*sides, rng=np.random.default_rng(0), **boot)
    means = {subject: float((first[subject] - second[subject]).mean()) for subject in both}
    return {**vars(found), "interval_over": over, "subjects": means}


def page(table: Mapping, label: str, lacking: Mapping[str, str]) -> str:
    """Markdown of a gathered table.

    Parameters
    ----------
    table : mapping
        From :func:`gather`.
    label : str
        Data set.
    lacking : mapping of str to str
        Name of each run without a result, and why.
    """
    parts = [f"# Sweep: {label}", NOTE]
    if lacking:
        parts.append(f"**{len(lacking)} runs are not in this table:**")
        parts.append("\n".join(f"* {name}: {reason}" for name, reason in lacking.items()))
    for kind in FILES:
        rows = [row for row in table["rows"] if row["kind"] == kind]
        if rows:
            parts += [f"## Scores by {kind}", _markdown(rows)]
    if table["differences"]:
        text = "Paired by subject and image; an area is called better only if its interval leaves "
        parts += ["## Areas compared", text + "0 out.", _markdown(table["differences"])]
    return "\n\n".join(parts) + "\n"


def _markdown(rows: Sequence[Mapping]) -> str:
    lines = []
    for row in rows:
        chance = "not available" if row["chance"] is None else f"{row['chance']:.3f}"
        each = ", ".join(f"{number}: {value:.3f}" for number, value in row["subjects"].items())
        mean = str(Interval(row["value"], row["low"], row["high"]))
        which = row["score"], row["set"], row["area"], row["better"]
        lines.append([*which, chance, mean, each, str(row["n_seeds"])])
    head = ("score", "of", "area", "better", "chance", "mean", "each subject", "seeds")
    return markdown_table(head, lines)


def figure_rows(table: Mapping) -> dict[str, list[Mapping]]:
    """Title of each panel of the figure to its rows, one for each area; without empty panels."""
    found = defaultdict(list)
    for title, (kind, name, score) in PANELS.items():
        for row in table["rows"]:
            if (row["kind"], row["set"]) == (kind, name) and row["score"].startswith(score):
                found[title].append(row)
    return dict(found)
