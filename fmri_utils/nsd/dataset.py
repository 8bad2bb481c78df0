"""What notebooks ask of a data set, whichever it is: the Natural Scenes Dataset, or BOLD5000.

What a data set does not have stays None, with the reason in ``absent``: no notebook asks which
data set it got.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import pandas as pd

from .area_masks import Areas
from .splits import Split, split_by_image


@dataclass(frozen=True, eq=False)
class Dataset:
    """One subject of a data set, and a region of the brain.

    Attributes
    ----------
    name : str
        Of the data set.
    made_of : tuple of str
        Region, space and version of the betas. Published numbers hold for the same only.
    coverage : str
        Which sessions there are: "37 of 40 sessions".
    checked : dict of str to int or None
        Trials that were compared with each source of the design; None where it is not there.
    table : pandas.DataFrame
        Trials, one a row: ``trial``, ``session``, ``row``, ``nsd_id`` (the image's number from 0,
        the same in all sessions), ``shared`` (set apart for the test), ``repeat``; see
        :func:`fmri_utils.nsd.trial_table`.
    set_apart : str
        Which images are never trained on, in words.
    mask : ndarray of bool, shape (X, Y, Z)
        The region.
    brain : ndarray of bool, shape (X, Y, Z)
        All voxels that are known to be brain.
    background : nibabel.Nifti1Image
        Volume under maps, with the affine of all volumes.
    areas : Areas
        Names to bool arrays (n_voxels,), in the order of ``volume[mask]``.
    named : tuple of str
        Those of the areas that are compared with each other.
    read_betas : callable
        Returns float32 (n_trials, n_voxels), percent signal change; rows as ``table``.
    read_images : callable or None
        Of numbers of images and ``size``; returns uint8 (n_images, size, size, 3).
    read_captions : callable or None
        Of numbers of images; returns a list of texts for each.
    read_prf : callable or None
        Returns the table of :func:`fmri_utils.nsd.read_prf`.
    read_ncsnr : callable or None
        Returns the noise-ceiling SNR that is published with the data, (n_voxels,).
    absent : dict of str to str
        What is not there, and why or what stands in.
    """

    name: str
    made_of: tuple[str, str, str]
    coverage: str
    checked: dict[str, int | None]
    table: pd.DataFrame
    set_apart: str
    mask: np.ndarray
    brain: np.ndarray
    background: nib.Nifti1Image
    areas: Areas
    named: tuple[str, ...]
    read_betas: Callable[[], np.ndarray]
    read_images: Callable[..., np.ndarray] | None = None
    read_captions: Callable[[Sequence[int]], list[list[str]]] | None = None
    read_prf: Callable[[], pd.DataFrame] | None = None
    read_ncsnr: Callable[[], np.ndarray] | None = None
    absent: dict[str, str] = field(default_factory=dict)

    def split(self, min_repeats: int) -> Split:
        """Training and test images; see :func:`fmri_utils.nsd.split_by_image`."""
        split = split_by_image(self.table, min_repeats=min_repeats)
        return split._replace(rule=split.rule.replace("shared images", self.set_apart))

    def repeated(self, split: Split) -> tuple[np.ndarray, str]:
        """Trials from which it can be seen how well a voxel repeats itself.

        Returns
        -------
        rows : ndarray of int, shape (n_rows,)
            The training trials, if some training image was shown twice; else the test trials. Do
            not choose voxels by these.
        which : str
            Which trials they are, in words.
        """
        ids = self.table["nsd_id"].to_numpy()[split.train_trials]
        if np.unique(ids).size < ids.size:
            return split.train_trials, "training trials"
        return split.test_trials, "test trials, since no training image was shown twice"

    def has(self, what: str) -> bool:
        """Whether ``read_what`` is there; a printed line says why if it is not."""
        if getattr(self, f"read_{what}") is not None:
            return True
        print(f"not available in {self.name}: {what} ({self.absent[what]})")
        return False
