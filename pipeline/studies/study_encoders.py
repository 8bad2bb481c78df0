"""The encoders' part of ``make study``: every mapper, several seeds and subjects, all controls.

Takes an hour or so on one core in the profile demo. Every fit and every control is kept when it is
finished, under ``study`` in its subject's derived folder: a killed study goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import time

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from fmri_utils.encoders import MapperSettings
from fmri_utils.project.artifacts import save_json
from fmri_utils.project.notebook_files import Files, open_inputs
from fmri_utils.project.parts import Parts
from fmri_utils.project.profiles import Profile

from .encoder_cells import KINDS, Bench, Cell, StudySettings, all_cells
from .encoder_tables import summarise

READS = ("betas", "embeddings")
SECTIONS = ("data", "clip", "simulation", "encoder")  # what the study reads
NOT_IN_CELLS = ("subjects", "n_seeds", "n_seeds_other", "n_resamples")  # sizes of the whole study


def run_cells(files: Files, study: StudySettings) -> pd.DataFrame:
    """Run all cells of one subject that are not finished.

    Returns
    -------
    pandas.DataFrame
        As :func:`.encoder_tables.summarise` takes it.
    """
    bench = functools.cache(lambda: Bench(files, study))
    sizes = {k: v for k, v in dataclasses.asdict(study).items() if k not in NOT_IN_CELLS}
    key = {"mapper": dataclasses.asdict(MapperSettings.of(files.cfg.encoder)), "sizes": sizes}

    def compute(cell: Cell, _: int) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        found = KINDS[cell.kind](bench(), cell)
        found["seconds"] = time.perf_counter() - start
        return {name: np.round(values, 6) for name, values in found.items()}

    rows = []
    for cell in tqdm(all_cells(study), desc=f"subject {files.cfg.subject}"):
        key["cell"] = cell[:3]
        parts = Parts(files.cfg.derived / "study", {**key, **files.hashes})
        parts.run([cell.seed], functools.partial(compute, cell))
        for name, values in parts.load(cell.seed).items():
            readout, _, score = name.rpartition("|")
            rows.append({**cell._asdict(), "readout": readout, "score": score, "values": values})
    return pd.DataFrame(rows).assign(subject=files.cfg.subject)


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
    summary = summarise(
        table,
        rng=np.random.default_rng(profile.seed),
        n_resamples=study.n_resamples,
        shared_images=len(tested) == 1,
    )
    config = {**profile.as_dict(*SECTIONS), "study": dataclasses.asdict(study)}
    path = profile.figures / "study_encoders.json"
    save_json(path, {"about": about, **summary}, config=config, inputs=inputs)
