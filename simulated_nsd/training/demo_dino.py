"""Train the demo's student and teacher."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from fmri_utils.dino import (
    DinoSettings,
    ImageSettings,
    LabelledPictures,
    edge_histograms,
    knn_hits,
    load_teacher,
    train_images,
)
from fmri_utils.dino.on_pictures import as_tensor
from fmri_utils.dino.student_teacher import StudentTeacher
from fmri_utils.dino.teacher_files import RECORD
from fmri_utils.metrics import bootstrap, paired_difference
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.tensors import write_safetensors

from .drawn_data import HELD_OUT, PRETRAINING, drawn_scenes
from .report import write_card

SETTINGS = ImageSettings(
    DinoSettings(n_steps=3000, batch_size=64, learning_rate=5e-4, teacher_temperature=0.03)
)
SHOWN = (0, 1, 2, 3)  # held-out scenes of the snapshots
N_TRAIN = 2_000
SEED = 0
N_SCENES, SCENES_SEED = 50_000, 0  # CLIP's, which are drawn already


def train_dino(
    data: dict[str, np.ndarray],
    held_out: dict[str, np.ndarray],
    path: Path,
    checkpoint: Path,
) -> dict:
    """Train on scenes without their labels, write the teacher, return facts for its card.

    Parameters
    ----------
    data, held_out : dict
        From :func:`simulated_nsd.training.drawn_data.drawn_scenes`.
    path : pathlib.Path
        Of the weights.
    checkpoint : pathlib.Path
        The training resumes from it.

    Returns
    -------
    dict
    """
    labelled = LabelledPictures(
        data["images"][:N_TRAIN], data["kind"][:N_TRAIN], held_out["images"], held_out["kind"]
    )
    pair, record = train_images(
        data["images"],
        SETTINGS,
        shown=held_out["images"][list(SHOWN)],
        labelled=labelled.first(600, 300),
        seed=SEED,
        checkpoint=checkpoint,
        progress=True,
    )
    save_teacher(path, pair, SETTINGS, record)
    return {
        "what": "teacher of a self-supervised student-teacher training (DINO), vision transformer",
        "training": f"{SETTINGS.dino.n_steps} steps of {SETTINGS.dino.batch_size} scenes out of "
        f"{len(data['images'])}, seed {SEED}; no labels",
        "scores": report(path, labelled),
    }


def save_teacher(
    path: Path, pair: StudentTeacher, settings: ImageSettings, record: dict[str, np.ndarray]
) -> None:
    """Write the teacher (float16), its centre, and the record of the training."""
    state = {name: value.half().contiguous() for name, value in pair.teacher.state_dict().items()}
    state["centre"] = pair.centre
    for name, values in record.items():
        values = np.asarray(values)
        if values.dtype != np.uint8:
            values = values.astype(np.float16 if values.ndim > 1 else np.float32)
        state[RECORD + name] = torch.from_numpy(np.ascontiguousarray(values))
    about = {"settings": json.dumps(dataclasses.asdict(settings), sort_keys=True)}
    with atomic_path(path) as tmp:
        write_safetensors(tmp, state, about, with_gaps=RECORD)


def report(path: Path, labelled: LabelledPictures) -> dict:
    """Accuracy of nearest neighbours by the weights, by random ones, by pixels, and by edges."""
    teacher, settings, _ = load_teacher(path)
    torch.manual_seed(0)
    networks = {"teacher": teacher.backbone, "random weights": settings.learner().backbone}
    labels = (labelled.train_labels, labelled.test_labels)
    pictures = [as_tensor(x, settings.size) for x in (labelled.train, labelled.test)]
    features = {"pixels": [x.flatten(1).numpy() for x in pictures]}
    features["HOG"] = [edge_histograms(x, settings.patch) for x in pictures]
    for name, network in networks.items():
        with torch.no_grad():
            features[name] = [
                torch.cat([network(part) for part in x.split(250)]).numpy() for x in pictures
            ]
    hits = {n: knn_hits(f[0], labels[0], f[1], labels[1]) for n, f in features.items()}
    found = {
        f"accuracy, {name}": vars(bootstrap(h, rng=np.random.default_rng(0)))
        for name, h in hits.items()
    }
    for name in ("random weights", "pixels", "HOG"):
        gain = paired_difference(hits["teacher"], hits[name], rng=np.random.default_rng(0))
        found[f"teacher - {name}"] = vars(gain)
    return found


def run() -> None:
    """Train if the weights are not there; write weights and card."""
    shipped, work = (PROJECT_ROOT / "data" / name for name in ("pretrained", "pretraining"))
    path = shipped / "dino.safetensors"
    if path.is_file():
        return
    held_out = drawn_scenes(work, stream=HELD_OUT, seed=0, n=1_000, size=64)
    data = drawn_scenes(work, stream=PRETRAINING, seed=SCENES_SEED, n=N_SCENES, size=64)
    facts = train_dino(data, held_out, path, work / "dino.pt")
    write_card(path.with_name("dino-card.json"), **facts)
