"""Where NSD keeps its files: paths only, and errors that say what to fetch.

The folder tree is that of the public bucket ``natural-scenes-dataset`` (Allen et al., 2022,
Nature Neuroscience 25, 116-126, and the NSD Data Manual), so a downloaded folder and a simulated
one are read by the same code.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..project.artifacts import own_files
from ..project.errors import DataError

# Stimulus trials in every NSD session: 12 runs of alternately 63 and 62 trials.
TRIALS_PER_SESSION = 750

# Volume betas are stored as int16 of 300 times percent signal change.
PSC_SCALE = 300

# Volume spaces that this reader knows, and the beta versions that exist in each.
SPACES = {
    "func1pt8mm": ("betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"),
    "func1mm": ("betas_fithrf", "betas_fithrf_GLMdenoise_RR"),
}

# The parts of COCO that NSD's images come from; each has a file of captions.
COCO_SPLITS = ("train2017", "val2017")

REMEDY = (
    "Fetch it with `make nsd-download SUBJECT=...` (after submitting the NSD data access "
    "agreement), or write the simulated folder again."
)


@dataclass(frozen=True)
class NSDLayout:
    """Paths of one subject's files in an NSD folder.

    Parameters
    ----------
    root : path-like
        The folder that holds ``nsddata/``, ``nsddata_betas/`` and ``nsddata_stimuli/``.
    subject : int
        1 for subj01, and so on.
    space : {"func1pt8mm", "func1mm"}
        Volume space. Surface betas have other units and are not read here.
    beta_version : str
        Folder of the betas, e.g. ``betas_fithrf_GLMdenoise_RR``.

    Raises
    ------
    DataError
        If ``root`` is not an NSD folder, or subject, space or version do not exist.
    """

    root: Path
    subject: int
    space: str = "func1pt8mm"
    beta_version: str = "betas_fithrf_GLMdenoise_RR"

    def __post_init__(self):
        object.__setattr__(self, "root", Path(self.root))
        if not isinstance(self.subject, int | np.integer) or self.subject < 1:
            raise DataError(f"subject is {self.subject!r}; expected an integer from 1 (subj01).")
        object.__setattr__(self, "subject", int(self.subject))
        if self.space not in SPACES:
            raise DataError(f"space is {self.space!r}; expected one of {list(SPACES)}.")
        if self.beta_version not in SPACES[self.space]:
            raise DataError(
                f"beta_version is {self.beta_version!r}; expected one of "
                f"{list(SPACES[self.space])}."
            )
        if not (self.root / "nsddata").is_dir():
            there = sorted(p.name for p in self.root.iterdir())[:8] if self.root.is_dir() else None
            found = "does not exist" if there is None else f"holds no folder nsddata/, but {there}"
            raise DataError(
                f"the NSD folder {self.root} {found}. Expected the folder above nsddata/. Check "
                "the path; download or simulate the data first."
            )

    @property
    def subject_name(self) -> str:
        """``subj01`` for subject 1."""
        return f"subj{self.subject:02d}"

    @property
    def experiment(self) -> Path:
        """Folder of the design files, common to all subjects."""
        return self.root / "nsddata" / "experiments" / "nsd"

    @property
    def expdesign(self) -> Path:
        """MATLAB file with the order of the trials."""
        return self.experiment / "nsd_expdesign.mat"

    @property
    def stim_info(self) -> Path:
        """Table of all images: COCO id, crop, who saw it in which trials."""
        return self.experiment / "nsd_stim_info_merged.csv"

    @property
    def ppdata(self) -> Path:
        """Folder of the subject's maps, ROIs and behaviour."""
        return self.root / "nsddata" / "ppdata" / self.subject_name

    @property
    def responses(self) -> Path:
        """Behavioural responses, one row per acquired trial."""
        return self.ppdata / "behav" / "responses.tsv"

    @property
    def brainmask(self) -> Path:
        """Voxels that hold betas."""
        return self.ppdata / self.space / "brainmask.nii.gz"

    @property
    def mean_volume(self) -> Path:
        """Mean functional volume, the background for figures."""
        return self.ppdata / self.space / "mean.nii.gz"

    def prf(self, name: str) -> Path:
        """Map of one parameter of the population receptive fields, e.g. ``"angle"``."""
        return self.ppdata / self.space / f"prf_{name}.nii.gz"

    def roi(self, name: str, hemisphere: str | None = None) -> Path:
        """Label volume of an atlas, of both hemispheres or of ``"lh"`` or ``"rh"``."""
        prefix = f"{hemisphere}." if hemisphere else ""
        return self.ppdata / self.space / "roi" / f"{prefix}{name}.nii.gz"

    def ctab(self, name: str, brain: str | None = None) -> Path:
        """Table of the label names of an atlas: the subject's, or another ``brain``'s.

        NSD also has tables of ``"fsaverage"``, the average brain. Programs by others read those.
        """
        labels = self.root / "nsddata" / "freesurfer" / (brain or self.subject_name) / "label"
        return labels / f"{name}.mgz.ctab"

    @property
    def betas(self) -> Path:
        """Folder of the betas of this space and version."""
        ppdata = self.root / "nsddata_betas" / "ppdata"
        return ppdata / self.subject_name / self.space / self.beta_version

    def betas_nifti(self, session: int) -> Path:
        """Betas of a session (from 1) as NIfTI, (X, Y, Z, trial)."""
        return self.betas / f"betas_session{session:02d}.nii.gz"

    def betas_hdf5(self, session: int) -> Path:
        """Betas of a session (from 1) as HDF5, (trial, Z, Y, X)."""
        return self.betas / f"betas_session{session:02d}.hdf5"

    def betas_roi(self, session: int) -> Path:
        """Betas of some voxels of a session (from 1), as ``make nsd-download`` writes them."""
        return self.betas / f"betas_session{session:02d}.roi.hdf5"

    def ncsnr(self, split: int | None = None) -> Path:
        """Noise-ceiling SNR map, of all images or of one ``split`` (1 or 2) of them."""
        return self.betas / ("ncsnr.nii.gz" if split is None else f"ncsnr_split{split}.nii.gz")

    @property
    def stimuli(self) -> Path:
        """All images, as shown."""
        return self.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"

    @property
    def stimuli_coco(self) -> Path:
        """Some of the images, cropped from COCO's: near to what was shown, not identical."""
        return self.stimuli.with_name("nsd_stimuli_coco.hdf5")

    def captions(self, split: str) -> Path:
        """COCO captions of a COCO split, e.g. ``"train2017"``."""
        return self.stimuli.parent / "annotations" / f"captions_{split}.json"

    def design_tables(self, session: int) -> list[Path]:
        """Design matrices (``.tsv``) of a session's runs, if the time series were fetched."""
        ppdata = self.root / "nsddata_timeseries" / "ppdata" / self.subject_name
        return own_files(ppdata / self.space / "design", f"design_session{session:02d}_run*.tsv")


def available_sessions(layout: NSDLayout, *, allow_gaps: bool = False) -> list[int]:
    """Sessions (from 1) whose betas are in the folder, in any format, also of some voxels only.

    A folder that ends early is a choice; one that lacks a session in between is almost always a
    download that failed, and would pass as a smaller data set.

    Parameters
    ----------
    layout : NSDLayout
        The subject.
    allow_gaps : bool
        List what is there, also if a session before the last one is missing.

    Raises
    ------
    DataError
        If there are none, or a session before the last one is missing.
    """
    pattern = re.compile(r"betas_session(\d\d)\.(nii\.gz|hdf5|roi\.hdf5)")
    names = [path.name for path in layout.betas.iterdir()] if layout.betas.is_dir() else []
    sessions = sorted({int(m[1]) for m in map(pattern.fullmatch, names) if m})
    if not sessions:
        raise DataError(f"there are no betas of {layout.subject_name} in {layout.betas}. {REMEDY}")
    missing = sorted(set(range(1, sessions[-1])) - set(sessions))
    if missing and not allow_gaps:
        before = f", or only the first {missing[0] - 1}" if missing[0] > 1 else ""
        raise DataError(
            f"{missing_betas(layout, missing)}, though later ones are there. {REMEDY} Or say which "
            f"sessions you want: sessions={sessions}{before}."
        )
    return sessions


def missing_betas(layout: NSDLayout, sessions: list[int]) -> str:
    """Say which sessions have no betas, and the files that were looked for."""
    files = [f"{layout.betas_hdf5(s).name} or {layout.betas_nifti(s).name}" for s in sessions]
    more = f" and {len(files) - 2} more" if len(files) > 2 else ""
    which = f"session {sessions[0]}" if len(sessions) == 1 else f"sessions {sessions}"
    return (
        f"the betas of {which} of {layout.subject_name} are missing: no "
        f"{', no '.join(files[:2])}{more} in {layout.betas}"
    )


def check_sessions(layout: NSDLayout, sessions: Iterable[int] | None) -> list[int]:
    """Validate a list of sessions; ``None`` stands for all that are in the folder.

    Betas and trial tables are matched row by row, so both go through this function: the sessions
    are numbered from 1, increase, and have no duplicates.

    Raises
    ------
    DataError
        If a session is not a whole number from 1, comes twice or out of order.
    """
    values = available_sessions(layout) if sessions is None else list(sessions)
    whole = all(isinstance(s, int | np.integer) and s >= 1 for s in values)
    if not values or not whole or any(b <= a for a, b in itertools.pairwise(values)):
        raise DataError(
            f"sessions are {values}; expected different whole numbers from 1, in increasing order."
        )
    return [int(s) for s in values]
