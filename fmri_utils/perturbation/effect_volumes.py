"""Effects as NIfTI volumes in the subject's own space, which any viewer opens."""

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from ..nsd import to_volume
from ..project.artifacts import atomic_path, write_manifest


def save_maps(
    folder: Path, maps: Mapping[str, np.ndarray], mask: np.ndarray, affine: np.ndarray, **about
) -> list[Path]:
    """Write one volume per map, each with its manifest.

    Parameters
    ----------
    folder : pathlib.Path
    maps : mapping of str to numpy.ndarray, (n_voxels,)
        Name of the file without ending to values in the order of ``volume[mask]``.
    mask : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
        Of the subject's volumes.
    **about
        ``config`` and ``inputs`` of :func:`fmri_utils.project.artifacts.write_manifest`.

    Returns
    -------
    list of pathlib.Path
        ``NAME.nii.gz``, float32, NaN outside the mask.
    """
    paths = []
    for name, values in maps.items():
        path = Path(folder) / f"{name}.nii.gz"
        image = to_volume(np.asarray(values, np.float32), mask, affine)
        with atomic_path(path) as tmp:
            nib.save(image, tmp)
        write_manifest(path, **about)
        paths.append(path)
    return paths
