"""The encoders' part of ``make study``: every mapper, several seeds and subjects, learning curves.

From cells (:mod:`.encoder_cells`) to tables: means over seeds, intervals over images and subjects.

Takes an hour or so on one core in the profile demo. Every fit and every control is kept when it is
finished, under ``study`` in its subject's derived folder: a killed study goes on.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from fmri_utils.encoders import MapperSettings
from fmri_utils.encoders.controls import SCORES, chance_levels
from fmri_utils.metrics import Interval, paired_difference
from fmri_utils.project.artifacts import save_json
from fmri_utils.project.notebook_files import Files, open_inputs
from fmri_utils.project.profiles import Profile

from .encoder_cells import KINDS, Bench, Cell, StudySettings, all_cells
from .finished import finished

READS = ("betas", "embeddings")
SECTIONS = ("data", "clip", "simulation", "encoder")  # what the study reads
NOT_IN_CELLS = ("subjects", "n_seeds", "n_seeds_other", "n_resamples")  # sizes of the whole study
COMPARED = ("brain_to_image top-1", "brain_to_image MRR", "two-way")
WHICH = ["mapper", "target", "readout", "score"]  # one row of a table
RIDGE, CONTRASTIVE, MLP = ((name, "image", "image") for name in ("ridge", "contrastive", "mlp"))
BOTH = "both targets, read together - image"
# Pairs (mapper, target, readout) that are compared image by image.
PAIRS = {
    "contrastive - ridge": (CONTRASTIVE, RIDGE),
    "contrastive - ridge, both from the mean": tuple(
        (name, "image", "image, from the mean") for name in ("contrastive", "ridge")
    ),
    "mlp - contrastive": (MLP, CONTRASTIVE),
    "mlp - ridge": (MLP, RIDGE),
    "mind_reader - ridge": (("mind_reader", "image", "image"), RIDGE),
    "ridge, re-standardised - raw": (("ridge", "image", "image, re-standardised"), RIDGE),
    f"contrastive: {BOTH}": (("contrastive", "both", "both"), CONTRASTIVE),
    "mlp: trained on both - on image": (("mlp", "both", "image"), MLP),
    f"mlp: {BOTH}": (("mlp", "both", "both"), MLP),
}
CURVES = "sessions", "voxels"

Scores = Sequence[np.ndarray]  # of each subject, image by image
Difference = Callable[[Scores, Scores], Interval]


def run_cells(files: Files, study: StudySettings) -> pd.DataFrame:
    """Run all cells of one subject that are not finished.

    Returns
    -------
    pandas.DataFrame
        As :func:`summarise` takes it.
    """
    bench = functools.cache(lambda: Bench(files, study))
    sizes = {k: v for k, v in dataclasses.asdict(study).items() if k not in NOT_IN_CELLS}
    key = {"mapper": dataclasses.asdict(MapperSettings.of(files.cfg.encoder)), "sizes": sizes}
    rows = []
    for which, cells in itertools.groupby(all_cells(study), lambda cell: cell[:3]):
        cells = {cell.seed: cell for cell in cells}

        def compute(seed: int, cells: dict[int, Cell] = cells) -> dict[str, np.ndarray]:
            start = time.perf_counter()
            found = KINDS[cells[seed].kind](bench(), cells[seed])
            found["seconds"] = time.perf_counter() - start
            return {name: np.round(values, 6) for name, values in found.items()}

        name = f"subject {files.cfg.subject}, {' '.join(which)}"
        found = finished(files, name, key, list(cells), compute)
        for cell, arrays in zip(cells.values(), found, strict=True):
            for name, values in arrays.items():
                readout, _, score = name.rpartition("|")
                row = {**cell._asdict(), "readout": readout, "score": score, "values": values}
                rows.append(row)
    return pd.DataFrame(rows).assign(subject=files.cfg.subject)


def _by_subject(rows: pd.DataFrame) -> Mapping[tuple[str, ...], Scores]:
    """Scores of each subject's images, averaged over seeds, by :data:`WHICH`."""
    found = {}
    for (*key, _), seeds in rows.groupby([*WHICH, "subject"], sort=False)["values"]:
        found.setdefault(tuple(key), []).append(np.mean(list(seeds), 0))
    return found


def score_rows(rows: pd.DataFrame, difference: Difference) -> list[dict]:
    """One row for each mapper, target, readout and score of one kind of cell.

    Means over subjects of the means over images, with hierarchical bootstrap intervals.
    """
    means = rows.assign(mean=rows["values"].map(np.mean)).groupby([*WHICH, "subject"])["mean"]
    seed_sd = means.std().groupby(WHICH).mean()
    table = []
    for key, scores in _by_subject(rows).items():
        zero = [np.zeros_like(one) for one in scores]
        row = dict(zip(WHICH, key, strict=True)) | vars(difference(scores, zero))
        row["chance"] = float(np.mean([chance_levels(len(one))[row["score"]] for one in scores]))
        row["subjects"] = [float(one.mean()) for one in scores]
        row["seed_sd"] = float(seed_sd[key]) if np.isfinite(seed_sd[key]) else None
        table.append(row)
    return table


def difference_rows(rows: pd.DataFrame, difference: Difference) -> list[dict]:
    """Paired differences between mappers, over images and subjects; :data:`PAIRS`."""
    scores, n_subjects = _by_subject(rows), rows["subject"].nunique()
    table = []
    for name, pair in PAIRS.items():
        for score in COMPARED:
            sides = [scores.get((*key, score), ()) for key in pair]
            if min(map(len, sides)) < n_subjects:
                continue
            found = difference(*sides)
            each = [float((a - b).mean()) for a, b in zip(*sides, strict=True)]
            row = {"difference": name, "score": score, **vars(found), "subjects": each}
            table.append({**row, "excludes_zero": found.excludes(0)})
    return table


def curve_rows(rows: pd.DataFrame, kind: str, difference: Difference) -> list[dict]:
    """Curves of the linear mappers: sizes that all subjects have, scores with their intervals."""
    table = pd.DataFrame(score_rows(rows[rows["score"].isin(COMPARED)], difference))
    table = table[table["subjects"].map(len) == rows["subject"].nunique()]
    size, which = f"n_{kind}", ["mapper", "score"]
    points = table.assign(**{size: table["readout"].astype(int)}).groupby(which, sort=False)
    return points[[size, "value", "low", "high"]].agg(list).reset_index().to_dict("records")


def summarise(cells: pd.DataFrame, difference: Difference) -> dict:
    """All tables of the study, as JSON keeps them.

    Parameters
    ----------
    cells : pandas.DataFrame
        A row for each score of each cell: ``subject``, ``kind``, ``mapper``, ``target``, ``seed``,
        ``readout``, ``score`` and ``values``, an array with an entry for each image.
    difference : callable
        Of two scores of each subject, image by image: mean with its interval.

    Returns
    -------
    dict
        ``mappers``, ``shuffled`` and ``left_out``: lists of rows with ``mapper``, ``target``,
        ``readout``, ``score``, ``value``, ``low``, ``high``, ``chance``, ``subjects``, ``seed_sd``;
        ``differences``; ``sessions`` and ``voxels``: curves.
    """
    subjects = cells["subject"].unique().tolist()
    of_kind = dict(list(cells[cells["score"].isin(SCORES)].groupby("kind")))
    found = {"n_subjects": len(subjects), "subjects": subjects}
    found["mappers"] = score_rows(of_kind["mapper"], difference)
    found["differences"] = difference_rows(of_kind["mapper"], difference)
    found |= {kind: score_rows(of_kind[kind], difference) for kind in ("shuffled", "left_out")}
    return found | {kind: curve_rows(of_kind[kind], kind, difference) for kind in CURVES}


def run_study(profile: Profile, study: StudySettings) -> None:
    """Write the tables of all subjects with their manifest, and run the cells that are missing."""
    cells, inputs, tested = [], {}, set()
    for number in sorted(set(study.subjects)):
        files = open_inputs(dataclasses.replace(profile, subject=number), *READS)
        cells.append(run_cells(files, study))
        inputs |= {f"{files.cfg.run_name}/{name}": digest for name, digest in files.hashes.items()}
        brain = files["betas"]
        tested.add(tuple(np.unique(brain["nsd_id"][brain["is_test"]])))
    table = pd.concat(cells, ignore_index=True)
    about = {
        "dataset": profile.dataset_name,
        "simulated": profile.simulation is not None,
        "clip_model": profile.clip.model,
        "split": "shared images test, repeats averaged; intervals over subjects and images",
        "settings": dataclasses.asdict(MapperSettings.of(profile.encoder)),
        "seconds": float(table.query("score == 'seconds'")["values"].sum()),
    }
    boot = {"rng": np.random.default_rng(profile.seed), "n_resamples": study.n_resamples}

    def difference(first: Scores, second: Scores) -> Interval:
        same = len(tested) == 1 and len({len(scores) for scores in first}) == 1
        return paired_difference(first, second, shared_images=same, **boot)

    summary = summarise(table, difference)
    config = {**profile.as_dict(*SECTIONS), "study": dataclasses.asdict(study)}
    path = profile.figures / "study_encoders.json"
    save_json(path, {"about": about, **summary}, config=config, inputs=inputs)
