"""What was measured beside what is published of the Natural Scenes Dataset, with its source."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..project.errors import DataError
from .maps import noise_ceiling
from .paths import PSC_SCALE
from .published import NSDGENERAL_VOXELS
from .quality import drift_by_chance
from .reliability import NoiseLikeSignal

# Median noise-ceiling SNR of each subject, for the data of :data:`PUBLISHED_FOR`.
PUBLISHED_NCSNR = dict(enumerate((0.361, 0.361, 0.324, 0.296, 0.415, 0.343, 0.281, 0.226), start=1))

PUBLISHED_FOR = ("nsdgeneral", "func1pt8mm", "betas_fithrf_GLMdenoise_RR")
PUBLISHED_V1_PSC = (2.2, 3.3)  # mean and SD over trials and voxels, subject 1, session 1
SOURCE = "Brain-Score, notebooks of allen2022_fmri"
NOT_PUBLISHED = "not published"
V1_MEAN = "betas in V1, session 1, mean, % signal change"
V1_SD = "betas in V1, session 1, SD, % signal change"
CEILING = "noise ceiling of three trials, median, % of variance"
RELIABILITY = "repeat reliability of single trials, median r"
LIKE_SIGNAL = "noise along the signal's patterns, % of the noise variance"
LIKE_SIGNAL_RATIO = "noise along the signal's patterns, variance / signal's variance"
CHOSEN = "chosen freely"
# How the simulator comes by what is not chosen freely.
SET_BY = {
    **dict.fromkeys(("ncsnr, median", V1_MEAN, V1_SD), "set near the published value"),
    **dict.fromkeys((CEILING, RELIABILITY), "follows from ncsnr"),
    **dict.fromkeys((LIKE_SIGNAL, LIKE_SIGNAL_RATIO), f"{CHOSEN}; sets decoding"),
    "variance between session means without drift, %": "arithmetic",
}


def realism_table(
    *,
    subject: int,
    ncsnr: np.ndarray,
    reliability: np.ndarray,
    noise: pd.DataFrame,
    like_signal: NoiseLikeSignal,
    autocorrelation: np.ndarray,
    drift: tuple[np.ndarray, np.ndarray],
    betas: np.ndarray,
    session: np.ndarray,
    areas: Mapping[str, np.ndarray],
    made_of: tuple[str, str, str] = PUBLISHED_FOR,
) -> pd.DataFrame:
    """Put the quality of a subject's betas beside published values.

    Parameters
    ----------
    subject : int
        1 to 8.
    ncsnr, reliability : ndarray, shape (n_voxels,)
        Noise-ceiling SNR; correlation of single trials (:func:`split_half_reliability`).
    noise : pandas.DataFrame
        From :func:`noise_correlation`.
    like_signal : NoiseLikeSignal
        From :func:`noise_like_signal`.
    autocorrelation : ndarray, shape (n_lags,)
        From :func:`noise_autocorrelation`.
    drift : tuple of two ndarrays, shape (n_voxels,)
        From :func:`session_drift`, before and after standardising.
    betas : ndarray of float, shape (n_trials, n_voxels)
        Percent signal change, as read.
    session : ndarray of int, shape (n_trials,)
    areas : mapping of str to bool ndarray, shape (n_voxels,)
        Levels of the betas are given for ``"V1"``, if it is there.
    made_of : tuple of str
        ROI, space and version of the betas. Published values stand in the table only if they are
        of the same.

    Returns
    -------
    pandas.DataFrame
        ``quantity``, ``measured``, ``published``, ``source``, and ``in the simulator``: whether a
        simulated subject's number was set to the published one, follows from another, or was
        chosen freely. Where nothing is published, or only for other data than these,
        ``published`` says so; it is never a guess.

    Raises
    ------
    DataError
        If the subject is not one of NSD's eight.
    """
    if subject not in PUBLISHED_NCSNR:
        raise DataError(f"subject is {subject!r}; expected 1 to 8, as in NSD.")
    known = _published(subject) if tuple(made_of) == PUBLISHED_FOR else {}
    low, high = np.nanquantile(ncsnr, (0.05, 0.95))
    everywhere = noise[noise["area"] == "all"]
    ends = everywhere.iloc[[0, -1]] if len(everywhere) > 1 else everywhere  # nearest, most distant
    between = {
        f"variance between session means, {when}, median, %": 100 * np.nanmedian(share)
        if np.isfinite(share).any()
        else "needs two sessions"
        for when, share in zip(("as read", "z-scored"), drift, strict=True)
    }
    measured = {
        "voxels": ncsnr.size,
        "ncsnr, median": np.nanmedian(ncsnr),
        "ncsnr, 5 to 95 % of voxels": f"{low:.2f} to {high:.2f}",
        CEILING: np.nanmedian(noise_ceiling(ncsnr, 3)),
        RELIABILITY: np.nanmedian(reliability),
        **{
            f"noise correlation of voxels {distance:.1f} mm apart, mean r": correlation
            for distance, correlation in zip(ends["distance_mm"], ends["correlation"], strict=True)
        },
        LIKE_SIGNAL: 100 * like_signal.share,
        LIKE_SIGNAL_RATIO: like_signal.ratio,
        "noise correlation of successive trials, mean r": autocorrelation[0],
        **between,
        "variance between session means without drift, %": 100 * drift_by_chance(session),
    }
    if "V1" in areas and areas["V1"].any() and 1 in session:
        values = betas[session == 1][:, areas["V1"]]
        measured[V1_MEAN], measured[V1_SD] = values.mean(dtype="f8"), values.std(dtype="f8")
    limit = np.float32(32767) / np.float32(PSC_SCALE)
    share = np.count_nonzero(np.abs(betas) >= limit) / betas.size
    measured["betas at the limits of int16, %"] = 100 * share
    rows = []
    for quantity, value in measured.items():
        published, source = known.get(quantity, (NOT_PUBLISHED, ""))
        shown = value if isinstance(value, str | int) else float(f"{value:.3g}")
        rows.append((quantity, shown, published, source, SET_BY.get(quantity, CHOSEN)))
    columns = ["quantity", "measured", "published", "source", "in the simulator"]
    return pd.DataFrame(rows, columns=columns)


def _published(subject: int) -> dict[str, tuple[float, str]]:
    """Values and sources by quantity."""
    median = PUBLISHED_NCSNR[subject]
    derived = "follows from the published ncsnr: ncsnr² / (1 + ncsnr²)"
    known = {
        "voxels": (NSDGENERAL_VOXELS[subject], SOURCE),
        "ncsnr, median": (median, SOURCE),
        CEILING: (round(float(noise_ceiling(median, 3)), 1), SOURCE),
        RELIABILITY: (round(float(noise_ceiling(median, 1)) / 100, 3), derived),
    }
    if subject == 1:
        known |= {V1_MEAN: (PUBLISHED_V1_PSC[0], SOURCE), V1_SD: (PUBLISHED_V1_PSC[1], SOURCE)}
    return known
