"""NSD's files and byte conventions, written for a simulated subject.

Names and places come from :class:`fmri_utils.nsd.paths.NSDLayout`, the same object that the
reader uses. Nothing here carries a date, so unchanged settings give unchanged bytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io
from PIL import Image

from fmri_utils.nsd.paths import COCO_SPLITS, NSDLayout
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.simulation_config import N_REPEATS, N_SUBJECTS, TRIALS_PER_SESSION

from .cortical_areas import ATLASES, Areas
from .experiment import Design, design_tables
from .stored_volumes import save_volume

MAT_HEADER = b"MATLAB 5.0 MAT-file, simulated Natural Scenes Dataset".ljust(116)
FIRST_COCO_ID = 700_001  # beyond every id of the real COCO images
VAL_EVERY = 25  # COCO's val2017 holds 5,000 of 123,287 images
TAILS = {"Kastner2015": "\t  "}  # what stands behind the names in NSD's own table


def save_rois(layout: NSDLayout, areas: Areas, side: np.ndarray) -> None:
    """Write every atlas for both hemispheres and for each, and its tables of names.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    areas : Areas
        Label volumes.
    side : ndarray of int8, shape (X, Y, Z)
        -1 left, +1 right.
    """
    for atlas, names in ATLASES.items():
        volume = areas.labels[atlas].astype(np.float64)
        save_volume(layout.roi(atlas), volume, tr=False)
        for hemisphere, sign in (("lh", -1), ("rh", 1)):
            half = np.where(side == sign, volume, -1.0)
            save_volume(layout.roi(atlas, hemisphere), half, tr=False)
        tail = TAILS.get(atlas, "")
        lines = [f"{label} {name}{tail}\n" for label, name in enumerate(("Unknown", *names))]
        for brain in (layout.subject_name, "fsaverage"):
            _save_text(layout.ctab(atlas, brain), "".join(lines))


def save_design(layout: NSDLayout, design: Design) -> None:
    """Write ``nsd_expdesign.mat``: classic MAT, integers, two-dimensional arrays."""
    with atomic_path(layout.expdesign) as tmp:
        scipy.io.savemat(tmp, vars(design), do_compression=True)
        with open(tmp, "r+b") as file:  # SciPy writes the date into the free text at the start
            file.write(MAT_HEADER)


def save_stim_info(layout: NSDLayout, design: Design, n_ids: int) -> None:
    """Write ``nsd_stim_info_merged.csv``: one row per stimulus id, which is 0-based here."""
    table = pd.DataFrame(
        {
            "cocoId": coco_ids(n_ids), "cocoSplit": coco_splits(design, n_ids),
            "cropBox": "(0, 0, 0, 0)", "loss": 0.0, "nsdId": np.arange(n_ids), "flagged": False,
            "BOLD5000": False,
            "shared1000": np.isin(np.arange(n_ids) + 1, design.sharedix),
        }
    )  # fmt: skip
    for subject, images in enumerate(design.subjectim, start=1):
        table[f"subject{subject}"] = np.isin(table["nsdId"] + 1, images).astype(int)
    trials = _trials_of_images(design)
    for subject in range(1, N_SUBJECTS + 1):
        for repeat in range(N_REPEATS):
            column = np.zeros(n_ids, int)
            column[design.subjectim[subject - 1] - 1] = trials[:, repeat]
            table[f"subject{subject}_rep{repeat}"] = column
    with atomic_path(layout.stim_info) as tmp:
        table.to_csv(tmp, lineterminator="\n")


def _trials_of_images(design: Design) -> np.ndarray:
    """Trial numbers (from 1) of each image's presentations, (n_images, 3), in order of time."""
    order = np.argsort(design.masterordering[0], kind="stable")
    return order.reshape(-1, N_REPEATS) + 1


def coco_ids(n_ids: int) -> np.ndarray:
    """Made-up COCO ids of all stimuli, (n_ids,)."""
    return FIRST_COCO_ID + np.arange(n_ids)


def coco_splits(design: Design, n_ids: int) -> np.ndarray:
    """COCO split of all stimuli, (n_ids,) of str.

    Of each subject's own pictures one in :data:`VAL_EVERY` is of val2017. The shared ones are of
    train2017, as is reported of NSD's.
    """
    val = np.isin(np.arange(n_ids) + 1, design.subjectim[:, design.sharedix.size :: VAL_EVERY])
    return np.where(val, *reversed(COCO_SPLITS))


def save_captions(
    layout: NSDLayout, captions: Sequence[Sequence[str]], splits: Sequence[str], width: int
) -> None:
    """Write captions in COCO's JSON format, a file for each split.

    Parameters
    ----------
    layout : NSDLayout
        Any subject.
    captions : sequence of sequences of str
        Captions of every stimulus id.
    splits : sequence of str
        COCO split of every stimulus id.
    width : int
        Width and height of the pictures.
    """
    ids = coco_ids(len(captions)).tolist()
    images = [{"id": i, "file_name": f"{i:012d}.png", "width": width, "height": width} for i in ids]
    pairs = [(i, text) for i, texts in zip(ids, captions, strict=True) for text in texts]
    annotations = [
        {"id": number, "image_id": i, "caption": text}
        for number, (i, text) in enumerate(pairs, start=1)
    ]
    info = {"description": "Captions of simulated scenes; no photograph of COCO is involved"}
    split_of = dict(zip(ids, splits, strict=True))
    for split in COCO_SPLITS:
        content = {
            "info": info,
            "licenses": [],
            "images": [one for one in images if split_of[one["id"]] == split],
            "annotations": [one for one in annotations if split_of[one["image_id"]] == split],
        }
        _save_text(layout.captions(split), json.dumps(content))


def save_responses(layout: NSDLayout, table: pd.DataFrame) -> None:
    """Write ``responses.tsv``; NaN as in NSD where there was no answer."""
    with atomic_path(layout.responses) as tmp:
        table.to_csv(tmp, sep="\t", index=False, na_rep="NaN", lineterminator="\n")


def save_design_tables(layout: NSDLayout, design: Design, n_sessions: int) -> None:
    """Write the design matrix of every run: the stimulus id in the volume of its onset."""
    folder = layout.root / "nsddata_timeseries" / "ppdata" / layout.subject_name
    folder = folder / layout.space / "design"
    ids = design.trial_ids(layout.subject, n_sessions).reshape(n_sessions, TRIALS_PER_SESSION)
    for session in range(n_sessions):
        tables = design_tables(design.stimpattern[session], ids[session])
        for run, rows in enumerate(tables, start=1):
            name = f"design_session{session + 1:02d}_run{run:02d}.tsv"
            _save_text(folder / name, "\n".join(map(str, rows)) + "\n")


def save_shared_pngs(layout: NSDLayout, design: Design) -> None:
    """Write the shared pictures as ``sharedNNNN_nsdMMMMM.png``, both numbers from 1.

    Parameters
    ----------
    layout : NSDLayout
        Any subject whose pictures are in ``imgBrick``.
    design : Design
        Which pictures are shared.
    """
    folder = layout.root / "nsddata" / "stimuli" / "nsd" / "shared1000"
    with h5py.File(layout.stimuli, "r") as file:
        for number, nsd_id in enumerate(design.sharedix[0].tolist(), start=1):
            with atomic_path(folder / f"shared{number:04d}_nsd{nsd_id:05d}.png") as tmp:
                Image.fromarray(file["imgBrick"][nsd_id - 1]).save(tmp)


def _save_text(path: Path, text: str) -> None:
    with atomic_path(path) as tmp:
        tmp.write_text(text, encoding="utf-8", newline="\n")
