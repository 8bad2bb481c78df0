"""One session in a worker process: measure and write."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_utils.project.simulation_config import BETA_VERSIONS, SimulationConfig

from .brain import subject_rng
from .measurement import Measurement, measure_session, noisier_versions
from .stored_volumes import save_betas_hdf5, save_betas_nifti


@dataclass(frozen=True)
class SessionJob:
    """What a worker needs to write a session.

    Attributes
    ----------
    config : SimulationConfig
    subject, session : int
        From 1.
    measurement : Measurement
        Signal and noise of every voxel.
    images : ndarray of int, shape (750,)
        Position of each trial's picture among the subject's pictures, from 0.
    files : mapping of str to tuple of list of pathlib.Path
        Version of the betas to the files that are missing: NIfTI or HDF5, told by their suffix.
    """

    config: SimulationConfig
    subject: int
    session: int
    measurement: Measurement
    images: np.ndarray
    files: Mapping[str, list[Path]]


def write_session(job: SessionJob) -> None:
    """Simulate one session's betas and write them in all versions that are wanted."""
    m = job.measurement
    rng = subject_rng(job.config, job.subject, "session", job.session)
    betas = measure_session(m, job.images, job.session, job.config, rng)
    rng = subject_rng(job.config, job.subject, "versions", job.session)
    last = max(job.files, key=BETA_VERSIONS.index)
    for version, measured in noisier_versions(m, betas, job.config, rng):
        for path in job.files.get(version, ()):
            save = save_betas_hdf5 if path.suffix == ".hdf5" else save_betas_nifti
            save(path, measured, m.inside, m.shape)
        if version == last:
            break
