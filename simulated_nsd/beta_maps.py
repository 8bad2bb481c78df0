"""Maps that are computed from the stored betas of a subject: means, variance explained, ncsnr."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri_utils.nsd.betas import beta_file, read_session
from fmri_utils.nsd.paths import NSDLayout
from fmri_utils.project.simulation_config import PSC_SCALE

from .folder import Runner
from .measurement import Measurement, noise_ceiling_snr, repeat_variance
from .stored_volumes import save_volume

N_PARTS = 4  # parts of the brain that workers read side by side


@dataclass(frozen=True)
class PartJob:
    """What a worker needs to compute the maps of some voxels.

    Attributes
    ----------
    files : tuple of pathlib.Path
        Betas of the sessions, in order.
    mask : ndarray of bool, shape (X, Y, Z)
        The voxels.
    covered : ndarray of bool, shape (n_sessions, n_voxels)
        False where a session missed a voxel.
    images : ndarray of int, shape (n_sessions * 750,)
        Image of every trial.
    """

    files: tuple[Path, ...]
    mask: np.ndarray
    covered: np.ndarray
    images: np.ndarray


def part_maps(job: PartJob) -> dict[str, np.ndarray]:
    """Compute the maps of some voxels from their betas; runs in a worker process.

    Returns
    -------
    dict of str to ndarray of float32
        ``mean`` (300 x percent signal change) and ``R2`` (percent), shape (n_sessions, n_voxels);
        ``ncsnr``, ``ncsnr_split1`` and ``ncsnr_split2``, shape (n_voxels,).
    """
    means, explained = [], []

    def sessions() -> Iterator[np.ndarray]:
        for path, covered in zip(job.files, job.covered, strict=True):
            betas = read_session(path, job.mask)
            means.append(betas.mean(axis=0) * PSC_SCALE)  # NSD's mean maps keep the factor 300
            power = np.maximum(np.mean(betas**2, axis=0), 1e-9)
            explained.append(np.where(covered, 100 * betas.mean(axis=0) ** 2 / power, np.nan))
            yield betas

    variance = repeat_variance(sessions(), job.images, job.covered)
    return {
        "mean": np.array(means, np.float32),
        "R2": np.array(explained, np.float32),
        "ncsnr": noise_ceiling_snr(variance),
        "ncsnr_split1": noise_ceiling_snr(variance[::2]),
        "ncsnr_split2": noise_ceiling_snr(variance[1::2]),
    }


def write_beta_maps(layout: NSDLayout, m: Measurement, images: np.ndarray, run: Runner):
    """Write the maps of one version of the betas.

    ``R2`` stands in for the variance that responses explain of a time series, which is not
    simulated: the share of the betas' power that is their mean, the response to any picture.

    Parameters
    ----------
    layout : NSDLayout
        The subject and the version.
    m : Measurement
        The grid and the sessions' coverage.
    images : ndarray of int, shape (n_sessions * 750,)
        Image of every trial.
    run : Runner
        Maps a function over jobs.

    Returns
    -------
    ndarray of float32, shape (M,)
        Noise-ceiling SNR as measured; NaN where a voxel has no data.
    """
    files = tuple(beta_file(layout, session + 1) for session in range(len(m.covered)))
    parts = _parts(m)
    jobs = []
    for part in parts:
        mask = np.zeros(m.shape, bool)
        mask.ravel()[m.inside[part]] = True
        jobs.append(PartJob(files, mask, m.covered[:, part], images))
    maps = {}
    for part, found in zip(parts, run(part_maps, jobs, "measuring noise ceilings"), strict=True):
        for name, values in found.items():
            maps.setdefault(name, np.empty((*values.shape[:-1], m.inside.size), np.float32))
            maps[name][..., part] = values
    for name, outside in (("mean", 0), ("R2", np.nan)):
        stem = "meanbeta" if name == "mean" else name
        for session, values in enumerate(maps[name], start=1):
            path = layout.betas / f"{stem}_session{session:02d}.nii.gz"
            save_volume(path, fill(m, values, outside))
    save_volume(layout.betas / "meanbeta.nii.gz", fill(m, np.mean(maps["mean"], axis=0), 0))
    save_volume(layout.betas / "R2.nii.gz", fill(m, _mean_of_valid(maps["R2"]), np.nan))
    for split in (None, 1, 2):
        name = "ncsnr" if split is None else f"ncsnr_split{split}"
        save_volume(layout.ncsnr(split), fill(m, maps[name], np.nan))
    return maps["ncsnr"]


def _parts(m: Measurement) -> list[np.ndarray]:
    """Cut the brain across z, so that no run of neighbours on disk is cut; positions in inside."""
    order = np.argsort(
        np.ravel_multi_index(np.unravel_index(m.inside, m.shape), m.shape, order="F")
    )
    return [np.sort(part) for part in np.array_split(order, N_PARTS)]


def _mean_of_valid(values: np.ndarray) -> np.ndarray:
    """Mean over sessions, (n_voxels,); NaN where no session has a value."""
    valid = np.isfinite(values)
    total = np.where(valid, values, 0).sum(axis=0)
    out = np.full(total.shape, np.nan, np.float32)
    return np.divide(total, valid.sum(axis=0), out=out, where=valid.any(axis=0))


def fill(m: Measurement, values: np.ndarray, outside: float) -> np.ndarray:
    """Values of the brain mask's voxels, (M,), as a volume of the same type."""
    out = np.full(m.shape, outside, values.dtype)
    out.ravel()[m.inside] = values
    return out
