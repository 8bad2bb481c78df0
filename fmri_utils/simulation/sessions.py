"""One session in a worker process: measure and write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .brain import subject_rng
from .config import SimulationConfig
from .measurement import Measurement, measure_session
from .volumes import save_betas_hdf5, save_betas_nifti


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
    nifti, hdf5 : pathlib.Path or None
        Files to write; None for one that exists or is not wanted.
    """

    config: SimulationConfig
    subject: int
    session: int
    measurement: Measurement
    images: np.ndarray
    nifti: Path | None
    hdf5: Path | None


def write_session(job: SessionJob) -> None:
    """Simulate one session's betas and write them."""
    m = job.measurement
    rng = subject_rng(job.config, job.subject, "session", job.session)
    betas = measure_session(m, job.images, job.session, job.config, rng)
    if job.hdf5 is not None:
        save_betas_hdf5(job.hdf5, betas, m.inside, m.shape)
    if job.nifti is not None:
        save_betas_nifti(job.nifti, betas, m.inside, m.shape)
