"""Settings of a simulated dataset: sizes, tuning and noise."""

from typing import Annotated

from pydantic import Field

from .settings import Count, Flag, Fraction, Integer, Line, Number, Positive, Whole, settings

N_SUBJECTS = 8
N_REPEATS = 3
TRIALS_PER_SESSION = 750
VOXEL_MM = 1.8
TR_S = 4 / 3
FIELD_DEG = 8.4  # width of the pictures in degrees of visual angle
PSC_SCALE = 300  # int16 = 300 x percent signal change
RUNS_PER_SESSION = 12
TRIALS_PER_RUN = 75  # including blanks
# NSD's versions of the betas, b3, b2 and b1: from the least to the most noise.
BETA_VERSIONS = ("betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf")

# Numbers that NSD's format fixes stand above; everything that a profile may set stands below.


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


PER_SUBJECT = Field(min_length=N_SUBJECTS, max_length=N_SUBJECTS)
Moderate = Annotated[Number, Field(ge=0, le=5)]


@settings
class SimulationConfig:
    """What is simulated. The defaults are the demo's sizes.

    NSD's format fixes three presentations of every image, 750 trials a session and eight
    subjects in the design, so ``n_shared + n_own`` must be a multiple of 250.

    Attributes
    ----------
    n_shared, n_own : int
        Images that all subjects see, and images that only one subject sees.
    sessions : tuple of int
        Sessions that each of the eight subjects completed; the plan may be longer.
    grid : tuple of int
        Voxels along X, Y, Z. All different, so that no exchange of axes goes unnoticed.
    n_nsdgeneral : int
        Voxels in the nsdgeneral mask, both hemispheres.
    n_null : int
        Voxels of nsdgeneral that carry no signal.
    stimulus_px : int
        Width and height of the stored pictures.
    ncsnr : Number
        Median of signal SD / noise SD over nsdgeneral in the subject with a factor of 1, null
        voxels included.
    ncsnr_subject : tuple of float
        Factor on ``ncsnr`` per subject; the defaults follow the differences between NSD's
        subjects.
    shared_noise : Number
        Share of a tuned voxel's noise variance that lies in the subspace of the signal: trial by
        trial, a random mixture of the patterns that images evoke. A free choice, for which no
        measurement exists; at a given ncsnr it sets how hard decoding is.
    null_shared_noise : Number
        The same share in a null voxel: noise that it has in common with the tuned voxels nearest to
        it. A free choice as well; with more, a decoder can subtract more of the noise.
    noise_smoothness : Number
        SD in voxels of the Gaussian that makes the other noise alike in neighbours.
    noise_white : Number
        Share of that other noise which is independent in every voxel.
    semantic_rank : int
        Dimensions of the space that the mixed tuning for kinds, colours and backgrounds spans.
    drift_gain, drift_offset, drift_trend : Number
        SD over sessions of the logarithm of a voxel's gain; of its offset; and of its slow trend
        within a session. The last two in units of the voxel's SD.
    beta_versions : tuple of str
        Which of NSD's versions of the betas are written, any of ``BETA_VERSIONS``: the same
        responses, with more noise in b2 (``betas_fithrf``) and most in b1 (``betas_assumehrf``).
    write_nifti, write_hdf5 : bool
        Which of NSD's two formats of the betas are written; at least one.
    write_shared_png : bool
        Also write the shared images as PNG files.
    seed : int
        Seed of everything.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    n_shared: Count = 100
    n_own: Count = 900
    sessions: Annotated[tuple[Count, ...], PER_SUBJECT] = (4, 3, 4, 4, 4, 4, 4, 4)
    grid: tuple[Annotated[Integer, Field(ge=16)], ...] = (40, 48, 34)
    n_nsdgeneral: Annotated[Integer, Field(ge=100)] = 2500
    n_null: Whole = 250
    stimulus_px: Annotated[Integer, Field(ge=32)] = 425
    ncsnr: Annotated[Number, Field(gt=0, le=2)] = 0.36
    ncsnr_subject: Annotated[tuple[Positive, ...], PER_SUBJECT] = (
        *(1.0, 1.0, 0.9, 0.82, 1.15, 0.95, 0.78, 0.63),
    )
    shared_noise: Fraction = 0.4
    null_shared_noise: Fraction = 0.05
    noise_smoothness: Moderate = 0.9
    noise_white: Fraction = 0.3
    semantic_rank: Count = 10
    drift_gain: Moderate = 0.1
    drift_offset: Moderate = 0.3
    drift_trend: Moderate = 0.15
    beta_versions: tuple[Line, ...] = BETA_VERSIONS[:1]
    write_nifti: Flag = True
    write_hdf5: Flag = True
    write_shared_png: Flag = False
    seed: Whole = 0

    def __post_init__(self):
        _require(
            self.n_images * N_REPEATS % TRIALS_PER_SESSION == 0,
            f"n_shared + n_own is {self.n_images}; expected a multiple of 250, because every image "
            "is shown three times and a session has 750 trials",
        )
        _require(
            max(self.sessions) <= self.n_sessions <= 99,
            f"sessions is {self.sessions}; expected numbers from 1 to {self.n_sessions}, the "
            f"sessions that {self.n_images} images fill, and at most 99",
        )
        _require(
            len(self.grid) == len(set(self.grid)) == 3,
            f"grid is {self.grid}; expected three different numbers of 16 or more",
        )
        _require(
            self.n_null <= self.n_nsdgeneral // 2,
            f"n_null is {self.n_null}; expected 0 to half of n_nsdgeneral ({self.n_nsdgeneral})",
        )
        _require(
            0 < len(self.beta_versions) == len(set(self.beta_versions))
            and set(self.beta_versions) <= set(BETA_VERSIONS),
            f"beta_versions is {self.beta_versions}; expected one or more, each once, of "
            f"{BETA_VERSIONS}",
        )
        _require(self.write_nifti or self.write_hdf5, "write_nifti and write_hdf5 are both false")

    @property
    def n_images(self) -> int:
        """Images that one subject sees."""
        return self.n_shared + self.n_own

    @property
    def n_ids(self) -> int:
        """Images in the whole experiment: rows of ``imgBrick``."""
        return self.n_shared + N_SUBJECTS * self.n_own

    @property
    def n_sessions(self) -> int:
        """Sessions in the plan."""
        return self.n_images * N_REPEATS // TRIALS_PER_SESSION
