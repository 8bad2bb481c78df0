"""What real data never offer: the planted truth about every voxel, and its reader.

It lies beside NSD's folders, in ``ground_truth/subjNN.h5``, so that no analysis meets it unless it
asks for it.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import reading, require

from .brain import STAGES, Brain, area_names
from .cortical_areas import CATEGORIES
from .measurement import Measurement
from .pixel_features import CHANNELS
from .scenes import BACKGROUNDS, COLOURS, KINDS
from .tuning import CATEGORY, LAYOUT, PARTS, Tuning

AGAIN = "delete it and simulate the subject again (notebook 01)."

FEATURES = {
    "shares": PARTS, "pixels": CHANNELS, "exponent": ("exponent",), "category": CATEGORY,
    "kind": KINDS, "colour": COLOURS, "background": BACKGROUNDS, "layout": LAYOUT,
}  # fmt: skip
"""Names of the columns of every table of tuning."""


class OutsideError(DataError):
    """Voxels lie outside visual cortex, where nothing was planted."""


@dataclass(frozen=True)
class GroundTruth:
    """The planted truth about some voxels.

    Attributes
    ----------
    voxels : pandas.DataFrame
        One row per voxel: ``i j k`` (place in the nibabel volume), ``nsdgeneral``, ``null``
        (carries no signal), ``hemisphere`` ("lh" or "rh"), ``area`` (such as V1v, FFA-1 or, outside
        labelled areas, the stream), ``stage`` (V1 ... parietal), ``prf_x prf_y prf_size`` (degrees,
        right and up positive, SD of the Gaussian), ``prf_eccentricity``, ``prf_angle`` (degrees, 0
        right, 90 up), ``ncsnr``, ``signal_sd`` and ``noise_sd`` (percent signal change),
        ``shared_noise`` (share of the noise variance in the signal's subspace), and
        ``selective_face``, ``..._body``, ``..._place``, ``..._word`` (membership of such an area,
        0 to 1).
    tuning : dict of str to pandas.DataFrame
        Weights, one row per voxel, one named column per feature; keys of :data:`FEATURES`. The
        table ``shares`` says how much of a voxel's signal variance each of them contributes.
    signal : ndarray of float32, shape (n_images, n_voxels)
        Noiseless response to every picture of the subject, z-scored; 0 for null voxels.
    nsd_id : ndarray of int64, shape (n_images,)
        Stimulus id (from 0) of each row of ``signal``; the shared pictures come first.
    covered : ndarray of bool, shape (n_sessions, n_voxels)
        False where a session's field of view missed the voxel (its betas are 0 there).
    """

    voxels: pd.DataFrame
    tuning: dict[str, pd.DataFrame]
    signal: np.ndarray
    nsd_id: np.ndarray
    covered: np.ndarray


def ground_truth_path(root: Path, subject: int) -> Path:
    """Where a subject's truth is stored."""
    return Path(root) / "ground_truth" / f"subj{subject:02d}.h5"


def save_ground_truth(
    path: Path, brain: Brain, tuning: Tuning, measurement: Measurement, nsd_ids: np.ndarray
) -> None:
    """Write the truth about every responsive voxel, atomically.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`ground_truth_path`.
    brain, tuning, measurement
        What was planted.
    nsd_ids : ndarray of int, shape (n_images,)
        Stimulus ids (from 0) of the rows of ``measurement.signal``.
    """
    columns = _voxel_columns(brain, measurement)
    with atomic_path(path) as tmp, h5py.File(tmp, "w") as file:
        for name, values in columns.items():
            if values.dtype.kind == "U":
                values = values.astype(h5py.string_dtype())
            file.create_dataset(f"voxels/{name}", data=values)
        for name, features in FEATURES.items():
            values = getattr(tuning, name)
            stored = file.create_dataset(
                f"tuning/{name}", data=values.reshape(len(values), len(features))
            )
            stored.attrs["features"] = list(features)
        file["signal"] = measurement.signal
        file["nsd_id"] = np.asarray(nsd_ids, np.int64)
        file["covered"] = measurement.covered[:, measurement.responsive]
        file.attrs["grid"] = measurement.shape
        file.attrs["content"] = "planted truth of a simulated subject"


def _voxel_columns(brain: Brain, measurement: Measurement) -> dict[str, np.ndarray]:
    """Columns of ``GroundTruth.voxels``."""
    v = brain.voxels
    i, j, k = np.unravel_index(v.index, measurement.shape)
    columns = {
        "i": i, "j": j, "k": k, "nsdgeneral": v.general, "null": v.null,
        "hemisphere": np.where(v.side < 0, "lh", "rh"),
        "area": area_names(brain.areas, v.index), "stage": np.array(STAGES)[v.stage],
        "prf_x": v.x, "prf_y": v.y, "prf_size": v.size,
        "prf_eccentricity": np.hypot(v.x, v.y),
        "prf_angle": np.degrees(np.arctan2(v.y, v.x)) % 360,
        "ncsnr": v.ncsnr, "signal_sd": measurement.signal_sd,
        "noise_sd": measurement.noise_sd[measurement.responsive],
        "shared_noise": measurement.shared,
    }  # fmt: skip
    for column, name in enumerate(CATEGORIES.values()):
        columns[f"selective_{name}"] = v.category[:, column]
    return columns


def load_ground_truth(root: Path, subject: int, mask: np.ndarray | None = None) -> GroundTruth:
    """Read the planted truth of a simulated subject.

    Parameters
    ----------
    root : path-like
        Folder of the simulated dataset, the one that holds ``nsddata/``.
    subject : int
        1 to 8.
    mask : ndarray of bool, shape (X, Y, Z), optional
        Voxels wanted; nsdgeneral by default. They come in the order of ``volume[mask]``, which is
        also the order of the columns of ``read_betas(layout, mask)``.

    Returns
    -------
    GroundTruth

    Raises
    ------
    DataError
        If the file is missing, or the mask has another shape.
    OutsideError
        If the mask holds voxels that were never meant to respond.
    """
    path = ground_truth_path(root, subject)
    require(
        path,
        "the planted truth of a simulated subject",
        "It is not known of real data. Simulate the subject first (notebook 01).",
    )
    with reading(path, "the planted truth", damaged=AGAIN), h5py.File(path, "r") as file:
        table = file["voxels"]
        index = np.ravel_multi_index([table[n][:] for n in "ijk"], tuple(file.attrs["grid"]))
        rows = _rows_of(mask, index, table["nsdgeneral"][:], tuple(file.attrs["grid"]))
        columns = {
            name: data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:]
            for name, data in table.items()
        }
        voxels = pd.DataFrame(columns).iloc[rows].reset_index(drop=True)
        tuning = {
            name: pd.DataFrame(data[:][rows], columns=list(data.attrs["features"]))
            for name, data in file["tuning"].items()
        }
        return GroundTruth(
            voxels,
            tuning,
            file["signal"][:][:, rows],
            file["nsd_id"][:],
            file["covered"][:][:, rows],
        )


def load_signal(path: Path) -> np.ndarray:
    """Noiseless responses of all responsive voxels, (n_images, V), from the file of the truth."""
    with reading(path, "the planted truth", damaged=AGAIN), h5py.File(path, "r") as file:
        return file["signal"][:]


def _rows_of(mask, index: np.ndarray, general: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Rows of the stored voxels that a mask asks for, in its order."""
    if mask is None:
        return np.flatnonzero(general)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != grid:
        raise DataError(
            f"the mask is {mask.dtype} of shape {mask.shape}; expected bool of shape {grid}, the "
            "grid of this subject."
        )
    wanted = np.flatnonzero(mask)
    unknown = np.setdiff1d(wanted, index)
    if unknown.size:
        raise OutsideError(
            f"{unknown.size} of the mask's {wanted.size} voxels lie outside visual cortex: nothing "
            "was planted there. Expected: voxels of nsdgeneral and of the visual ROIs."
        )
    return np.searchsorted(index, wanted)
