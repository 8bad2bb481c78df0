"""What notebooks ask of a data set, whichever it is: the Natural Scenes Dataset, or BOLD5000.

To add a third, write a function that returns a :class:`Dataset` and name it in :data:`DATASETS`.
What a data set does not have stays None, with the reason in ``absent``: no notebook asks which
data set it got.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ..project.errors import DataError
from . import bold5000
from .area_masks import Areas, visual_areas
from .betas import read_betas
from .design import trial_table
from .maps import read_brainmask, read_mean_volume, read_ncsnr, read_prf
from .paths import NSDLayout
from .rois import roi_mask
from .sessions import first_sessions, session_coverage
from .splits import Split, split_by_image
from .stimuli import read_captions, read_images
from .trial_sources import check_design


@dataclass(frozen=True, eq=False)
class Dataset:
    """One subject of a data set, and a region of the brain.

    Attributes
    ----------
    name : str
        Of the data set.
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
    read_betas : callable
        Returns float32 (n_trials, n_voxels), percent signal change; rows as ``table``.
    read_images : callable
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
    coverage: str
    checked: dict[str, int | None]
    table: pd.DataFrame
    set_apart: str
    mask: np.ndarray
    brain: np.ndarray
    background: nib.Nifti1Image
    areas: Areas
    read_betas: Callable[[], np.ndarray]
    read_images: Callable[..., np.ndarray]
    read_captions: Callable[[Sequence[int]], list[list[str]]] | None = None
    read_prf: Callable[[], pd.DataFrame] | None = None
    read_ncsnr: Callable[[], np.ndarray] | None = None
    absent: dict[str, str] = field(default_factory=dict)

    def split(self, min_repeats: int) -> Split:
        """Training and test images; see :func:`fmri_utils.nsd.split_by_image`."""
        split = split_by_image(self.table, min_repeats=min_repeats)
        return split._replace(rule=split.rule.replace("shared images", self.set_apart))

    def has(self, what: str) -> bool:
        """Whether ``read_what`` is there; a printed line says why if it is not."""
        if getattr(self, f"read_{what}") is not None:
            return True
        print(f"not available in {self.name}: {what} ({self.absent[what]})")
        return False


def open_nsd(
    root: Path, subject: int, *, region: str = "nsdgeneral", n_sessions: int = 0, version: str = ""
) -> Dataset:
    """Open a subject of the Natural Scenes Dataset, or of a simulated folder like it.

    Parameters
    ----------
    root : path-like
        The folder.
    subject : int
        From 1.
    region : str
        As for :func:`fmri_utils.nsd.roi_mask`.
    n_sessions : int
        Only the first sessions; 0 for all.
    version : str
        Folder of the betas; the usual one by default.
    """
    layout = NSDLayout(root, subject, **({"beta_version": version} if version else {}))
    sessions = first_sessions(layout, n_sessions)
    mask = roi_mask(layout, region)
    return Dataset(
        name="NSD",
        coverage=session_coverage(layout),
        checked=check_design(layout, sessions),
        table=trial_table(layout, sessions),
        set_apart="shared images",
        mask=mask,
        brain=read_brainmask(layout),
        background=read_mean_volume(layout),
        areas=visual_areas(layout, mask),
        read_betas=lambda: read_betas(layout, mask, sessions),
        read_images=lambda ids, size=None: read_images(layout, ids, size),
        read_captions=lambda ids: read_captions(layout, ids),
        read_prf=lambda: read_prf(layout, mask),
        read_ncsnr=lambda: read_ncsnr(layout, mask),
    )


def open_bold5000(
    root: Path, subject: int, *, region: str = "all", n_sessions: int = 0, version: str = ""
) -> Dataset:
    """Open a subject of BOLD5000, Release 2.0.

    Parameters
    ----------
    root : path-like
        A folder with the files anywhere below it.
    subject : int
        1 to 4.
    region : str
        "all", or areas joined by ``+``: "EarlyVis+LOC".
    n_sessions : int
        Only the first sessions; 0 for all.
    version : str
        Order of the columns, if it is another one than NumPy's: "+z+y+x" for MATLAB's.
    """
    order = {"order": version} if version else {}
    found = bold5000.read_subject(root, subject, region, n_sessions, **order)
    n_all = len(bold5000.RUNS[subject])
    left_out = f"; {found.n_left_out} voxels are left out: not finite" if found.n_left_out else ""
    return Dataset(
        name="BOLD5000",
        coverage=f"{found.table['session'].nunique()} of {n_all} sessions{left_out}",
        checked={"stim_file": len(found.table)},
        table=found.table,
        set_apart="images shown more than once",
        mask=found.mask,
        brain=found.mask,
        background=nib.Nifti1Image(found.mask.astype(np.float32), found.affine),
        areas=found.areas,
        read_betas=lambda: found.betas,
        read_images=lambda ids, size=None: bold5000.read_pictures(
            found.files, found.images[np.asarray(ids)].tolist(), size
        ),
        absent={
            "captions": "they were written for COCO's pictures only",
            "prf": "receptive fields were not measured",
            "ncsnr": "no map is published; repeats of the test images give one",
            "background": "the union of the areas stands in",
        },
    )


DATASETS = {"nsd": open_nsd, "bold5000": open_bold5000}


def open_dataset(name: str, root: Path, subject: int, **which: object) -> Dataset:
    """Open a subject of a data set.

    Parameters
    ----------
    name : str
        A key of :data:`DATASETS`.
    root : path-like
        Its folder.
    subject : int
        From 1.
    **which
        ``region``, ``n_sessions`` and ``version``, as the data set's own function takes them.

    Raises
    ------
    DataError
        If there is no such data set, or it cannot be read.
    """
    if name not in DATASETS:
        raise DataError(f"no data set {name!r}. Expected one of {', '.join(DATASETS)}.")
    return DATASETS[name](root, subject, **which)
