"""Checks of the betas before they are believed; the same on real and on simulated data.

What a trial has beside the mean of its image is noise. Its size against the signal sets how much of
a voxel can be explained; how alike it is in neighbours, and in trials that follow each other, says
whether averaging over voxels or trials removes it.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from ..project.errors import DataError
from .preprocessing import average_repeats, groups_with_data

# Bins of distance: the first holds the six neighbours of a voxel of 1.8 mm, the second those that
# share an edge or a corner.
DISTANCE_EDGES_MM = (0.0, 2.2, 3.3, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 70.0)

MAX_LAG = 10  # largest distance of two trials
N_SEEDS = 400  # voxels whose distances to all others are computed
PAIRS_AT_ONCE = 500
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def voxel_coordinates(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the voxels of a mask are, in millimetres.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels, in the order of ``volume[mask]``.
    affine : ndarray, shape (4, 4)
        Of any volume of that subject and space.

    Returns
    -------
    ndarray of float64, shape (n_voxels, 3)
    """
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def noise_residuals(betas: np.ndarray, nsd_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each trial has beside the mean of its image's trials.

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Standardised within sessions, or drift counts as noise.
    nsd_id : array_like of int, shape (n_trials,)
        Image of each trial. Images with one trial are left out.

    Returns
    -------
    residuals : ndarray of float32, shape (n_used, n_voxels)
        Enlarged by sqrt(n / (n - 1)) for n trials of an image, so that their variance is that of
        the noise. NaN where a voxel has no data, or none in a second trial of the image
        (:func:`~fmri_utils.nsd.preprocessing.lacking_data`).
    rows : ndarray of int, shape (n_used,)
        The trials, increasing.

    Raises
    ------
    DataError
        If no image has two trials.
    """
    nsd_id = np.asarray(nsd_id)
    residuals, rows = _residuals_of(betas, nsd_id)
    if rows.size == 0:
        raise DataError(
            f"none of the {np.unique(nsd_id).size} images has two trials. Read more sessions."
        )
    for trials, voxels in groups_with_data(betas):
        found, kept = _residuals_of(betas[np.ix_(trials, voxels)], nsd_id[trials])
        residuals[:, voxels] = np.nan
        residuals[np.ix_(np.searchsorted(rows, trials[kept]), voxels)] = found
    return residuals, rows


def _residuals_of(betas: np.ndarray, nsd_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and their rows, of voxels with data in all trials; perhaps none."""
    means, ids, counts = average_repeats(betas, nsd_id)
    image = np.searchsorted(ids, nsd_id)
    rows = np.flatnonzero(counts[image] >= 2)
    n = counts[image[rows]]
    residuals = betas[rows] - means[image[rows]]
    residuals *= np.sqrt(n / (n - 1)).astype(np.float32)[:, None]
    return residuals.astype(np.float32, copy=False), rows


def _unit_columns(values: np.ndarray) -> np.ndarray:
    """Scale every column to a mean square of 1, NaN left out; all NaN where it is all zero."""
    square = np.einsum("tv,tv->v", values, values) / len(values)
    gaps = np.isnan(square)
    known = np.isfinite(values[:, gaps])
    square[gaps] = np.nansum(values[:, gaps] ** 2, axis=0) / known.sum(axis=0).clip(1)
    return values / np.sqrt(np.where(square > 0, square, np.nan)).astype(np.float32)


def noise_correlation(
    residuals: np.ndarray,
    coordinates: np.ndarray,
    rng: np.random.Generator,
    *,
    areas: Mapping[str, np.ndarray],
    n_pairs: int,
) -> pd.DataFrame:
    """Correlation over trials of the noise of two voxels, by their distance.

    Two voxels that lack the data of different trials are not compared: their residuals are from
    means of different trials, which hides some of what they share.

    Parameters
    ----------
    residuals : ndarray of float32, shape (n_used, n_voxels)
        From :func:`noise_residuals`.
    coordinates : ndarray, shape (n_voxels, 3)
        From :func:`voxel_coordinates`, in millimetres.
    rng : numpy.random.Generator
        Draws the pairs.
    areas : mapping of str to bool ndarray, shape (n_voxels,)
        Areas to look at one by one: both voxels of a pair lie in the area.
    n_pairs : int
        Pairs drawn in each bin of :data:`DISTANCE_EDGES_MM`, or all if there are fewer.

    Returns
    -------
    pandas.DataFrame
        ``area`` ("all" first), ``distance_mm`` (mean of the pairs), ``correlation`` (mean of the
        pairs), ``n_pairs``; one row for every bin with at least ten pairs.

    Raises
    ------
    DataError
        If residuals and coordinates are not of the same voxels.
    """
    if residuals.shape[1] != len(coordinates):
        raise DataError(
            f"{residuals.shape[1]} residuals, {len(coordinates)} coordinates. Use the same mask."
        )
    unit = _unit_columns(residuals)
    everywhere, group = np.ones(len(coordinates), bool), np.zeros(len(coordinates), int)
    for number, (_, voxels) in enumerate(groups_with_data(unit), start=1):
        group[voxels] = number
    rows = []
    for name, area in {"all": everywhere, **areas}.items():
        members = np.flatnonzero(area)
        seeds = rng.permutation(members)[:N_SEEDS]
        distance = cdist(coordinates[seeds], coordinates[members])
        pair = np.nonzero(distance > 0)
        first, second, distance = seeds[pair[0]], members[pair[1]], distance[pair]
        bins = np.digitize(distance, DISTANCE_EDGES_MM) - 1
        bins[group[first] != group[second]] = -1
        for number in range(len(DISTANCE_EDGES_MM) - 1):
            found = np.flatnonzero(bins == number)
            if found.size < 10:
                continue
            chosen = rng.permutation(found)[:n_pairs]
            correlation = _mean_correlation(unit, first[chosen], second[chosen])
            rows.append((name, distance[chosen].mean(), correlation, chosen.size))
    return pd.DataFrame(rows, columns=["area", "distance_mm", "correlation", "n_pairs"])


def _mean_correlation(unit: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Mean correlation of pairs of columns that have data in the same trials."""
    product = unit[:, first] * unit[:, second]
    shared = np.isfinite(product).sum(axis=0)
    values = (np.nansum(product, axis=0) / shared.clip(1))[shared > 0]
    return float(values.mean()) if values.size else np.nan


def noise_autocorrelation(
    residuals: np.ndarray, trial: np.ndarray, session: np.ndarray, nsd_id: np.ndarray
) -> np.ndarray:
    """Correlation of the noise of trials that follow each other within a session.

    Two trials of one image are never compared: their residuals are opposed by construction. In
    those of different images, taking away the mean of n trials hides 1/n of what they share, which
    is put back.

    Parameters
    ----------
    residuals : ndarray of float32, shape (n_used, n_voxels)
        From :func:`noise_residuals`.
    trial, session, nsd_id : ndarray of int, shape (n_used,)
        Position in the experiment, session and image of these trials.

    Returns
    -------
    ndarray of float64, shape (10,)
        Mean over voxels, and pairs of trials with data, at lags of 1 to 10 trials; NaN at a lag
        without a pair.
    """
    unit = _unit_columns(residuals)
    labels = np.stack([trial, session, nsd_id])
    total, pairs = np.zeros((2, MAX_LAG))
    whole = np.ones(unit.shape[1], bool)
    for rows, voxels in groups_with_data(unit):
        found, n = _lagged_products(unit[np.ix_(rows, voxels)], *labels[:, rows])
        total, pairs = total + found, pairs + n * voxels.size
        unit[:, voxels], whole[voxels] = 0, False
    found, n = _lagged_products(unit, *labels)
    total, pairs = total + found, pairs + n * np.count_nonzero(whole)
    return np.divide(total, pairs, out=np.full(MAX_LAG, np.nan), where=pairs > 0)


def _lagged_products(unit, trial, session, nsd_id) -> tuple[np.ndarray, np.ndarray]:
    """Products of trials that follow each other, summed over voxels, and how many pairs there are.

    ``unit`` is changed.
    """
    _, image, counts = np.unique(nsd_id, return_inverse=True, return_counts=True)
    n = counts[image]
    unit *= np.sqrt(n / (n - 1)).astype(np.float32)[:, None]
    place = np.full(trial.max(initial=0) + MAX_LAG + 1, -1)
    place[trial] = np.arange(trial.size)
    total, pairs = np.zeros((2, MAX_LAG))
    for lag in range(1, MAX_LAG + 1):
        later = place[trial + lag]
        pair = (later >= 0) & (session == session[later]) & (nsd_id != nsd_id[later])
        first, second = np.flatnonzero(pair), later[pair]
        pairs[lag - 1] = first.size
        for start in range(0, first.size, PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            total[lag - 1] += np.vdot(unit[first[part]], unit[second[part]])
    return total, pairs


def session_drift(betas: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Share of each voxel's variance that lies between the means of sessions (eta squared).

    Parameters
    ----------
    betas : ndarray of float, shape (n_trials, n_voxels)
        Before or after standardising.
    session : array_like of int, shape (n_trials,)

    Returns
    -------
    ndarray of float64, shape (n_voxels,)
        0 to 1; NaN for voxels with data in fewer than two sessions. Sessions in which a voxel is
        constant are left out. Without any drift it is :func:`drift_by_chance` on average.
    """
    session = np.asarray(session)
    share = _drift_of(betas, session)
    for trials, voxels in groups_with_data(betas, session):
        share[voxels] = _drift_of(betas[np.ix_(trials, voxels)], session[trials])
    return share


def _drift_of(betas: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Share of variance between sessions, of voxels with data in all of them."""
    share = np.full(betas.shape[1], np.nan)
    numbers = np.unique(session)
    if numbers.size < 2:
        return share
    mean = betas.mean(axis=0, dtype=np.float64)
    total = betas.var(axis=0, dtype=np.float64)
    between = np.zeros(betas.shape[1])
    for number in numbers:
        rows = session == number
        between += rows.mean() * (betas[rows].mean(axis=0, dtype=np.float64) - mean) ** 2
    return np.divide(between, total, out=share, where=total > 0)


def drift_by_chance(session: np.ndarray) -> float:
    """Share of variance between session means that independent trials would show."""
    return (np.unique(session).size - 1) / (np.asarray(session).size - 1)


def ncsnr_quantiles(ncsnr: np.ndarray, areas: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Distribution of the noise-ceiling SNR over voxels.

    Parameters
    ----------
    ncsnr : ndarray, shape (n_voxels,)
        NaN is left out.
    areas : mapping of str to bool ndarray, shape (n_voxels,)

    Returns
    -------
    pandas.DataFrame
        Index ``all`` and the areas that hold a value; columns ``n_voxels`` and the quantiles.
    """
    everywhere = np.ones(ncsnr.shape, bool)
    rows = {}
    for name, area in {"all": everywhere, **areas}.items():
        values = ncsnr[area & np.isfinite(ncsnr)]
        if values.size:
            rows[name] = [values.size, *np.quantile(values, QUANTILES)]
    columns = ["n_voxels", *(f"{q:.0%}" for q in QUANTILES)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def rank_images(
    responses: np.ndarray, nsd_id: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """Order images by one voxel's response in some trials, and give its response in the others.

    A voxel's largest responses are large in part by luck: ranked and shown in the same trials, even
    pure noise has favourite images. What comes back in trials that the ranking did not see is real.

    Parameters
    ----------
    responses : ndarray of float, shape (n_trials,)
        One voxel, standardised within sessions. Trials without data are left out
        (:func:`~fmri_utils.nsd.preprocessing.lacking_data`).
    nsd_id : array_like of int, shape (n_trials,)
        Image of each trial. Images with one trial are left out.
    rng : numpy.random.Generator
        Divides the trials of every image.

    Returns
    -------
    pandas.DataFrame
        ``nsd_id``, ``ranked_by`` (mean response in the larger half of an image's trials),
        ``held_out`` (mean response in the others) and ``n_trials``; best image first.

    Raises
    ------
    DataError
        If no image has two trials.
    """
    responses, nsd_id = np.asarray(responses), np.asarray(nsd_id)
    for trials, _ in groups_with_data(responses[:, None]):
        responses, nsd_id = responses[trials], nsd_id[trials]
    order = rng.permutation(nsd_id.size)
    table = pd.DataFrame({"nsd_id": nsd_id[order], "response": responses[order]})
    groups = table.groupby("nsd_id")["response"]
    n_trials = groups.transform("size")
    kept = n_trials >= 2
    if not kept.any():
        raise DataError("no image has two trials: one to rank it, one to show. Read more sessions.")
    half = np.where(groups.cumcount() < (n_trials + 1) // 2, "ranked_by", "held_out")
    out = table[kept].pivot_table("response", "nsd_id", half[kept])[["ranked_by", "held_out"]]
    out = out.assign(n_trials=groups.size())
    return out.sort_values("ranked_by", ascending=False, kind="stable").reset_index()
