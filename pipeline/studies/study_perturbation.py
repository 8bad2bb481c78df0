"""The perturbation study: ``python -m pipeline.studies perturbation PROFILE=demo``.

What takes too long for notebook 05: family-wise error over 200 subjects in whom no voxel carries
anything, the maps of five training seeds, and redundancy over several subjects. Written to
``study_perturbation.json`` beside the figures, where notebook 05 reads it. About twenty minutes on
one core in the demo. Every run is kept when it is finished, under ``study`` in the run's derived
folder: a killed study goes on.
"""

from __future__ import annotations

import numpy as np

from fmri_utils import encoders, perturbation
from fmri_utils.encoders import MapperSettings
from fmri_utils.project import artifacts
from fmri_utils.project.errors import DataError
from fmri_utils.project.notebook_files import Files, open_inputs
from fmri_utils.project.parts import Parts
from fmri_utils.project.profiles import Profile
from simulated_nsd.ground_truth import load_ground_truth

from .calibration import NullTrials, calibrate

RESULTS = "study_perturbation.json"
SECTIONS = ("data", "clip", "simulation", "encoder")  # what the study reads
REDUNDANCIES = (1, 3, 10, 30, 60)
N_RUNS, N_SEEDS, N_SUBJECTS = 200, 5, 5


def null_trials(files: Files) -> NullTrials:
    """Draws test trials without signal, at the times of the real test trials."""
    profile, brain = files.cfg, files["betas"]
    truth = load_ground_truth(profile.data_root, profile.subject, brain["mask"])
    session = brain["session"]
    first = np.searchsorted(session, session)  # trials are in the order of the sessions
    last = np.searchsorted(session, session, side="right") - 1
    position = np.arange(len(session)) - first
    time = 2 * position / np.maximum(last - first, 1) - 1
    rows = perturbation.repeat_rows(brain["nsd_id"], brain["is_test"])
    return NullTrials(truth, profile.simulation, session[rows], time[rows])


def study_seeds(files: Files) -> dict:
    """How far maps agree between contrastive encoders that differ in their seed only."""
    brain, clip, e = files["betas"], files["embeddings"], files.cfg.encoder
    train = brain["is_train"]
    target = clip["image"][np.searchsorted(clip["nsd_id"], brain["nsd_id"][train])]
    settings = {"n_steps": e.n_steps, "batch_size": e.batch_size, "temperature": e.temperature}
    settings |= {"learning_rate": e.learning_rate, "weight_decay": e.weight_decay}
    pattern, truth = (files["predictions"][name] for name in ("pattern", "truth"))
    parts = Parts(files.cfg.derived / "study", {"study": "seeds", **settings, **files.hashes})

    def compute(seed: int) -> dict[str, np.ndarray]:
        how = {"settings": MapperSettings(**settings, voxel_dropout=0), "seed": seed}
        data = brain["betas"][train], target, brain["nsd_id"][train]
        encoder, _ = encoders.fit_mapper("contrastive", *data, **how)
        return {
            "effect": perturbation.embedding_effect(encoder, pattern).mean(0),
            "contribution": perturbation.contribution(encoder, pattern, truth).mean(0),
        }

    parts.run(range(N_SEEDS), compute, progress=True, what="training seeds")
    runs = [parts.load(seed) for seed in range(N_SEEDS)]
    found = {}
    for name in ("effect", "contribution"):
        agreement = perturbation.between_maps(np.stack([run[name] for run in runs]))
        found[name] = {"mean": agreement.mean, "low": agreement.low, "high": agreement.high}
    return {"n_seeds": N_SEEDS, "encoder": "contrastive", "rank_correlation": found}


def study_redundancy(n_subjects: int) -> dict:
    """AUROC of every statistic against redundancy, mean and range over linear subjects."""
    curves = [
        perturbation.redundancy_curve(REDUNDANCIES, seed=seed, progress=True)
        for seed in range(n_subjects)
    ]
    found = {}
    for name in curves[0]:
        values = np.array([[interval.value for interval in curve[name]] for curve in curves])
        rows = (values.mean(0), values.min(0), values.max(0))
        found[name] = dict(zip(("mean", "low", "high"), np.round(rows, 4).tolist(), strict=True))
    return {"n_subjects": n_subjects, "redundancies": list(REDUNDANCIES), "auroc": found}


def run_study(profile: Profile) -> None:
    """Run all parts, or what is missing of them, and write the results with their manifest.

    Raises
    ------
    DataError
        If the profile has real data, of which no truth is known.
    """
    if profile.simulation is None:
        raise DataError(
            f"profile {profile.name!r} has real data. Expected: a simulated subject, whose noise "
            "can be drawn again without its signal. Run the study with PROFILE=demo."
        )
    files = open_inputs(profile, "betas", "embeddings", "predictions", "matched")
    calibration = calibrate(
        encoders.load_encoder(files["matched"]),
        null_trials(files),
        folder=profile.derived / "study",
        key={"study": "calibration", **files.hashes},
        n_runs=N_RUNS,
        progress=True,
    )
    results = {
        "calibration": calibration,
        "seeds": study_seeds(files),
        "redundancy": study_redundancy(N_SUBJECTS),
    }
    path = profile.figures / RESULTS
    artifacts.save_json(path, results, config=profile.as_dict(*SECTIONS), inputs=files.hashes)
    print(
        f"family-wise error {calibration['rate']:.3f} "
        f"[{calibration['low']:.3f}, {calibration['high']:.3f}] over {N_RUNS} runs"
    )
