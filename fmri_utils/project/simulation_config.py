"""Settings of a simulated dataset: sizes, tuning and noise, and nothing that needs a library."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
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
    ncsnr : float
        Median of signal SD / noise SD over nsdgeneral in the subject with a factor of 1, null
        voxels included.
    ncsnr_subject : tuple of float
        Factor on ``ncsnr`` per subject; the defaults follow the differences between NSD's
        subjects.
    shared_noise : float
        Share of a tuned voxel's noise variance that lies in the subspace of the signal: trial by
        trial, a random mixture of the patterns that images evoke. This share sets how hard
        decoding is.
    noise_smoothness : float
        SD in voxels of the Gaussian that makes the other noise alike in neighbours.
    noise_white : float
        Share of that other noise which is independent in every voxel.
    semantic_rank : int
        Dimensions of the space that the mixed tuning for kinds, colours and backgrounds spans.
    drift_gain, drift_offset, drift_trend : float
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

    n_shared: int = 100
    n_own: int = 900
    sessions: tuple[int, ...] = (4, 3, 4, 4, 4, 4, 4, 4)
    grid: tuple[int, ...] = (40, 48, 34)
    n_nsdgeneral: int = 2500
    n_null: int = 250
    stimulus_px: int = 425
    ncsnr: float = 0.36
    ncsnr_subject: tuple[float, ...] = (1.0, 1.0, 0.9, 0.82, 1.15, 0.95, 0.78, 0.63)
    shared_noise: float = 0.4
    noise_smoothness: float = 0.9
    noise_white: float = 0.3
    semantic_rank: int = 10
    drift_gain: float = 0.1
    drift_offset: float = 0.3
    drift_trend: float = 0.15
    beta_versions: tuple[str, ...] = BETA_VERSIONS[:1]
    write_nifti: bool = True
    write_hdf5: bool = True
    write_shared_png: bool = False
    seed: int = 0

    def __post_init__(self):
        self._check_design()
        self._check_volume()
        self._check_noise()
        _require(
            0 < len(self.beta_versions) == len(set(self.beta_versions))
            and set(self.beta_versions) <= set(BETA_VERSIONS),
            f"beta_versions is {self.beta_versions}; expected one or more, each once, of "
            f"{BETA_VERSIONS}",
        )
        _require(self.write_nifti or self.write_hdf5, "write_nifti and write_hdf5 are both false")
        _require(self.seed >= 0, f"seed is {self.seed}; expected 0 or more")

    def _check_design(self) -> None:
        _require(self.n_shared >= 1, f"n_shared is {self.n_shared}; expected 1 or more")
        _require(self.n_own >= 1, f"n_own is {self.n_own}; expected 1 or more")
        _require(
            self.n_images * N_REPEATS % TRIALS_PER_SESSION == 0,
            f"n_shared + n_own is {self.n_images}; expected a multiple of 250, because every image "
            "is shown three times and a session has 750 trials",
        )
        _require(
            len(self.sessions) == N_SUBJECTS
            and all(1 <= n <= self.n_sessions for n in self.sessions),
            f"sessions is {self.sessions}; expected {N_SUBJECTS} numbers from 1 to "
            f"{self.n_sessions}, the sessions that {self.n_images} images fill",
        )
        _require(self.n_sessions <= 99, f"{self.n_images} images need more than 99 sessions")
        _require(self.stimulus_px >= 32, f"stimulus_px is {self.stimulus_px}; expected 32 or more")

    def _check_volume(self) -> None:
        _require(
            len(self.grid) == 3 and min(self.grid) >= 16 and len(set(self.grid)) == 3,
            f"grid is {self.grid}; expected three different numbers of 16 or more",
        )
        _require(
            self.n_nsdgeneral >= 100,
            f"n_nsdgeneral is {self.n_nsdgeneral}; expected 100 or more voxels",
        )
        _require(
            0 <= self.n_null <= self.n_nsdgeneral // 2,
            f"n_null is {self.n_null}; expected 0 to half of n_nsdgeneral ({self.n_nsdgeneral})",
        )
        _require(self.semantic_rank >= 1, f"semantic_rank is {self.semantic_rank}; expected >= 1")

    def _check_noise(self) -> None:
        _require(0 < self.ncsnr <= 2, f"ncsnr is {self.ncsnr}; expected above 0, up to 2")
        _require(
            len(self.ncsnr_subject) == N_SUBJECTS and min(self.ncsnr_subject) > 0,
            f"ncsnr_subject is {self.ncsnr_subject}; expected {N_SUBJECTS} positive factors",
        )
        for name in ("shared_noise", "noise_white"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} is {value}; expected a share from 0 to 1")
        for name in ("noise_smoothness", "drift_gain", "drift_offset", "drift_trend"):
            value = getattr(self, name)
            _require(0 <= value <= 5, f"{name} is {value}; expected 0 to 5")

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
