"""Simulate one subject of a dataset, from the first picture to the last file.

Every file appears whole or not at all, and depends on the settings only: a run that was killed goes
on after the last finished file and ends with the same bytes. A subject counts as complete when its
manifest lies in ``ground_truth/``.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from fmri_utils.nsd.paths import COCO_SPLITS, NSDLayout
from fmri_utils.project.errors import DataError
from fmri_utils.project.simulation_config import (
    BETA_VERSIONS,
    N_SUBJECTS,
    TRIALS_PER_SESSION,
    SimulationConfig,
)

from .anatomy import mean_volumes
from .beta_maps import fill, write_beta_maps
from .brain import STAGES, Brain, make_brain, prf_maps, subject_rng
from .experiment import Design, make_design, make_responses
from .folder import Runner, alone, finish, finished, mark_folder, one_thread, runner
from .ground_truth import ground_truth_path, load_signal, save_ground_truth
from .localizer import floc_maps
from .measurement import Measurement, beyond_view, make_measurement
from .nsd_writer import (
    coco_splits,
    save_captions,
    save_design,
    save_design_tables,
    save_responses,
    save_rois,
    save_shared_pngs,
    save_stim_info,
)
from .session_worker import SessionJob, write_session
from .stimulus_file import add_pictures, blocks, caption_block, draw_block, stored_ids
from .stored_volumes import save_volume
from .tuning import make_tuning, true_signals

DRAW_BLOCK = 20
CAPTION_BLOCK = 500
MAX_WORKERS = 4  # each needs about 1 GB while it measures a session of the demo
N_PRF_MISSING = 3  # voxels of nsdgeneral that the pRF experiment does not cover


def simulate_subject(
    root: str | os.PathLike,
    config: SimulationConfig,
    subject: int,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> dict:
    """Simulate a subject in NSD's layout; what is complete is left alone.

    Parameters
    ----------
    root : path-like
        Folder of the dataset. Made if missing. All subjects of one configuration share it.
    config : SimulationConfig
        What is simulated.
    subject : int
        1 to 8.
    workers : int, optional
        Processes; by default one per CPU, at most 4. With 1 everything runs in this process. A
        script that asks for more needs the guard ``if __name__ == "__main__"``.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        ``subject``, ``n_sessions``, ``n_trials``, ``n_images``, ``n_voxels``, ``n_null``,
        ``ncsnr_median`` and ``ncsnr_by_stage`` (nsdgeneral, as measured in the version with the
        least noise) and ``ncsnr_by_version`` (median of each version of the betas).

    Raises
    ------
    DataError
        If the folder holds other data, or the subject does not exist.
    """
    if subject not in range(1, N_SUBJECTS + 1):
        raise DataError(f"subject is {subject!r}. Expected: 1 to {N_SUBJECTS}.")
    root = Path(root)
    mark_folder(root, config)
    layout = NSDLayout(root, subject)
    design = make_design(config)
    found = finished(root, subject, _ids(design, subject).tolist())
    if found is not None:
        return found
    workers = workers or min(os.cpu_count() or 1, MAX_WORKERS)
    with one_thread(), runner(workers, progress) as run:
        _write_common(layout, config, design, run)
        brain = make_brain(config, subject)
        measurement = _plant(layout, config, design, brain, run)
        _measure(layout, config, design, measurement, run)
        _write_subject(layout, config, design, brain, measurement)
        summary = _write_maps(layout, config, design, brain, measurement, run)
    finish(root, subject, summary)
    return summary


def _ids(design: Design, subject: int) -> np.ndarray:
    """Stimulus ids (from 0) of a subject's pictures, shape (n_images,)."""
    return design.subjectim[subject - 1].astype(int) - 1


def _write_common(layout, config: SimulationConfig, design: Design, run: Runner) -> None:
    """Write what all subjects share, except the pictures."""
    with alone(layout.root):
        if not layout.expdesign.is_file():
            save_design(layout, design)
        if not layout.stim_info.is_file():
            save_stim_info(layout, design, config.n_ids)
        if not all(layout.captions(split).is_file() for split in COCO_SPLITS):
            jobs = [(config.seed, ids) for ids in blocks(range(config.n_ids), CAPTION_BLOCK)]
            parts = run(caption_block, jobs, "writing captions")
            captions = [captions for part in parts for captions in part]
            splits = coco_splits(design, config.n_ids)
            save_captions(layout, captions, splits, config.stimulus_px)


def _plant(layout, config, design: Design, brain: Brain, run: Runner) -> Measurement:
    """Draw the pictures, plant the signal, save the truth; or read what a killed run has saved."""
    ids = _ids(design, layout.subject)
    n_sessions = config.sessions[layout.subject - 1]
    path = ground_truth_path(layout.root, layout.subject)
    if path.is_file() and stored_ids(layout.stimuli).issuperset(ids.tolist()):
        return make_measurement(brain, load_signal(path), config, n_sessions)
    jobs = [(config.seed, part, config.stimulus_px) for part in blocks(ids, DRAW_BLOCK)]
    compressed, scenes, maps = {}, [], []
    for pictures, described, features in run(draw_block, jobs, "drawing pictures"):
        compressed |= pictures
        scenes += described
        maps.append(features)
    with alone(layout.root):
        add_pictures(layout.stimuli, config.n_ids, config.stimulus_px, compressed)
        if config.write_shared_png:
            save_shared_pngs(layout, design)
    tuning = make_tuning(brain, config, subject_rng(config, layout.subject, "tuning"))
    signal = true_signals(brain.voxels, tuning, scenes, np.concatenate(maps))
    measurement = make_measurement(brain, signal, config, n_sessions)
    save_ground_truth(path, brain, tuning, measurement, ids)
    return measurement


def _measure(layout, config, design: Design, measurement: Measurement, run: Runner) -> None:
    """Write the betas of the sessions that are not there yet."""
    images = design.masterordering[0].astype(int) - 1
    jobs = []
    for session in range(1, config.sessions[layout.subject - 1] + 1):
        files = {}
        for version in config.beta_versions:
            one = replace(layout, beta_version=version)
            wanted = [one.betas_hdf5(session)] if config.write_hdf5 else []
            wanted += [one.betas_nifti(session)] if config.write_nifti else []
            if missing := [path for path in wanted if not path.is_file()]:
                files[version] = missing
        rows = slice((session - 1) * TRIALS_PER_SESSION, session * TRIALS_PER_SESSION)
        if files:
            job = SessionJob(config, layout.subject, session, measurement, images[rows], files)
            jobs.append(job)
    for _ in run(write_session, jobs, "measuring sessions"):
        pass


def _write_subject(layout, config, design: Design, brain: Brain, m: Measurement) -> None:
    """Write behaviour, anatomy, ROIs, and the maps of the pRF and localizer experiments."""
    subject, n_sessions = layout.subject, config.sessions[layout.subject - 1]
    rng = subject_rng(config, subject, "volumes")
    save_responses(layout, make_responses(design, subject, n_sessions, rng))
    save_design_tables(layout, design, n_sessions)
    epi, t1 = mean_volumes(brain.anatomy, rng)
    save_volume(layout.mean_volume, epi)
    save_volume(layout.mean_volume.with_name("T1_to_func1pt8mm.nii.gz"), t1)
    save_volume(layout.brainmask, brain.anatomy.brainmask.astype(np.int16))
    unseen = beyond_view(brain, N_PRF_MISSING)
    maps = prf_maps(brain, rng) | {"meanvol": np.where(brain.anatomy.brainmask, epi, np.nan)}
    for name, volume in maps.items():
        volume[unseen] = np.nan
        save_volume(layout.prf(name), volume)
    for name, volume in floc_maps(brain, subject_rng(config, subject, "localizer")).items():
        save_volume(layout.mean_volume.with_name(f"floc_{name}tval.nii.gz"), volume)
    save_rois(layout, brain.areas, brain.anatomy.side)
    for session, covered in enumerate(m.covered, start=1):
        path = layout.brainmask.with_name(f"valid_session{session:02d}.nii.gz")
        save_volume(path, fill(m, covered.astype(np.int16), 0))


def _write_maps(layout, config, design: Design, brain, m: Measurement, run: Runner) -> dict:
    """Write the maps of every version of the betas; return the summary."""
    order = design.masterordering[0, : len(m.covered) * TRIALS_PER_SESSION].astype(int)
    ncsnr = {
        version: write_beta_maps(replace(layout, beta_version=version), m, order, run)
        for version in sorted(config.beta_versions, key=BETA_VERSIONS.index)
    }
    return _summary(config, layout.subject, brain, ncsnr)


def _summary(config, subject: int, brain: Brain, ncsnr: dict[str, np.ndarray]) -> dict:
    """What a user wants to know about the finished subject; the version with least noise first."""
    inside = np.flatnonzero(brain.anatomy.brainmask)
    voxels, general = brain.voxels, brain.voxels.general
    place = np.searchsorted(inside, voxels.index[general])
    medians = {v: round(float(np.nanmedian(values[place])), 3) for v, values in ncsnr.items()}
    first = next(iter(ncsnr.values()))[place]
    stages = {name: first[voxels.stage[general] == i] for i, name in enumerate(STAGES)}
    n_sessions = config.sessions[subject - 1]
    return {
        "subject": subject,
        "n_sessions": n_sessions,
        "n_trials": n_sessions * TRIALS_PER_SESSION,
        "n_images": config.n_images,
        "n_voxels": int(general.sum()),
        "n_null": int(voxels.null.sum()),
        "ncsnr_median": next(iter(medians.values())),
        "ncsnr_by_stage": {
            name: round(float(np.nanmedian(values)), 3)
            for name, values in stages.items()
            if np.isfinite(values).any()
        },
        "ncsnr_by_version": medians,
    }
