"""The data sets that can be opened. A third is a function that returns a :class:`.Dataset`."""

from pathlib import Path

from ..project.errors import DataError
from .area_masks import NAMED_AREAS, visual_areas
from .betas import read_betas
from .bold5000 import open_bold5000
from .dataset import Dataset
from .design import trial_table
from .maps import read_brainmask, read_mean_volume, read_ncsnr, read_prf
from .paths import NSDLayout
from .rois import roi_mask
from .sessions import first_sessions, session_coverage
from .stimuli import read_captions, read_images
from .trial_sources import check_design


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
        made_of=(region, layout.space, layout.beta_version),
        coverage=session_coverage(layout),
        checked=check_design(layout, sessions),
        table=trial_table(layout, sessions),
        set_apart="shared images",
        mask=mask,
        brain=read_brainmask(layout),
        background=read_mean_volume(layout),
        areas=visual_areas(layout, mask),
        named=NAMED_AREAS,
        read_betas=lambda: read_betas(layout, mask, sessions),
        read_images=lambda ids, size=None: read_images(layout, ids, size),
        read_captions=lambda ids: read_captions(layout, ids),
        read_prf=lambda: read_prf(layout, mask),
        read_ncsnr=lambda: read_ncsnr(layout, mask),
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
