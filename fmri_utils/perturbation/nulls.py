"""Does a voxel carry the image through the decoder? Tests against what chance would give.

The reliability test asks, on single trials: does it matter *which image* a voxel's value comes
from? Putting in the value of another repeat of the same image should move the embedding less than
the value of a repeat of another image. For a voxel that carries nothing, neither is closer.
"""

from collections.abc import Iterable
from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

from ..encoders import LinearEncoder
from ..nsd.preprocessing import groups_with_data
from ..project.checks import check_finite
from ..project.errors import DataError

# Numbers in one block of images x images x voxels; small enough for a processor's cache.
MAX_ELEMENTS = 400_000


def repeat_rows(nsd_id: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
    """Rows of the trials of each image, (n_repeats, n_images), for images with equally many.

    Parameters
    ----------
    nsd_id : numpy.ndarray, (n_trials,)
    keep : numpy.ndarray of bool, (n_trials,), optional
        Trials to look at.

    Returns
    -------
    numpy.ndarray of int
        Images shown less often than the most frequent ones are left out.

    Raises
    ------
    DataError
        If no image was shown twice.
    """
    rows = np.arange(len(nsd_id)) if keep is None else np.flatnonzero(keep)
    shown = np.asarray(nsd_id)[rows]
    ids, image, counts = np.unique(shown, return_inverse=True, return_counts=True)
    most = counts.max(initial=0)
    if most < 2:
        raise DataError(
            f"none of {len(ids)} images was shown twice. Expected: repeats; keep more trials."
        )
    order = np.argsort(image, kind="stable")
    grouped = rows[order[np.isin(image[order], np.flatnonzero(counts == most))]]
    return grouped.reshape(-1, most).T


def draw_pairings(
    n_permutations: int,
    n_repeats: int,
    n_images: int,
    rng: np.random.Generator,
    *,
    session: np.ndarray | None = None,
) -> np.ndarray:
    """Image whose trial stands in each place, (1 + n_permutations, n_repeats, n_images).

    Row 0 is the true pairing. In the others the first repeat stays and each further repeat is
    permuted over images, one permutation for all voxels.

    Parameters
    ----------
    session : numpy.ndarray, (n_repeats, n_images), optional
        Session of each trial. A trial then only takes the place of a trial of its own session, so
        a wrong pair lies in the same two sessions as the true pair: repeats of one image share a
        session more often than trials of two images.
    """
    pairings = np.tile(np.arange(n_images), (n_permutations + 1, n_repeats, 1))
    session = np.zeros((n_repeats, n_images)) if session is None else np.asarray(session)
    for repeat in range(1, n_repeats):
        rank = np.unique(session[repeat], return_inverse=True)[1]
        shuffled = np.argsort(rank + rng.random((n_permutations, n_images)), axis=1)
        pairings[1:, repeat, np.argsort(rank, kind="stable")] = shuffled
    return pairings


def reliability(encoder: LinearEncoder, repeats: np.ndarray, pairings: np.ndarray) -> np.ndarray:
    """Reliability of every voxel through the decoder, observed and under re-paired repeats.

    T is the mean of [d(value from another image) - d(another repeat of the same image)], in units
    of 1 - cosine: positive where a voxel repeats itself.

    Exact, without approximation for small steps: the effect of every value of a voxel in every
    trial is computed once, and a re-pairing only picks among them.

    Parameters
    ----------
    encoder : LinearEncoder
        Not fitted to these images. Its weights nearly cancel in the test: it says whether a voxel
        repeats itself, not how much it contributes.
    repeats : numpy.ndarray, (n_repeats, n_images, n_voxels)
        Single trials, z-scored. Pairs with a trial without data
        (:func:`fmri_utils.nsd.preprocessing.lacking_data`) are left out for the voxels that lack
        it: two trials of one session would agree in their zeros.
    pairings : numpy.ndarray of int, (1 + n_permutations, n_repeats, n_images)
        From :func:`draw_pairings`.

    Returns
    -------
    numpy.ndarray, (1 + n_permutations, n_voxels)
        T with repeats paired across images; row 0 is the true pairing, the observed T.
    """
    repeats = np.asarray(repeats)
    if repeats.ndim != 3 or len(repeats) < 2 or pairings.shape[1:] != repeats.shape[:2]:
        raise DataError(
            f"repeats have shape {repeats.shape}, pairings {pairings.shape}. Expected: two repeats "
            "or more, (n_repeats, n_images, n_voxels), and pairings of them."
        )
    n_repeats, n_images, n_voxels = repeats.shape
    picks = _pick_matrices(pairings)
    f = np.stack([encoder.predict(trials) for trials in repeats])
    null = np.zeros((len(pairings), n_voxels))
    size = max(1, MAX_ELEMENTS // n_images**2)
    every = np.arange(n_repeats * n_images)
    blocks, gaps = [], groups_with_data(repeats.reshape(-1, n_voxels))
    for trials, voxels in [(every, np.arange(n_voxels)), *gaps]:
        has_data = np.isin(every, trials).reshape(n_repeats, n_images)
        blocks += [(has_data, voxels[at : at + size]) for at in range(0, voxels.size, size)]
    for has_data, voxels in blocks:
        found = []
        for (own, other), pick in picks.items():
            both = has_data[own][:, None] & has_data[other]
            n_same, weights = np.trace(both), pick @ both.ravel().astype(np.float32)
            if not n_same or both.sum() == n_same or not weights.all():
                continue
            values = repeats[[own, other]][..., voxels]
            table = _swap_effects(encoder.weights[voxels], f[own], values)
            table[~both] = 0
            same = table[np.arange(n_images), np.arange(n_images)].sum(0)
            different = (table.sum((0, 1)) - same) / (both.sum() - n_same)
            moved = pick @ table.reshape(n_images**2, -1) / weights[:, None]
            found.append(different - moved)
        null[:, voxels] = np.mean(found, axis=0) if found else 0
    return null


def _pick_matrices(pairings: np.ndarray) -> dict[tuple[int, int], sparse.csr_array]:
    """For each ordered pair of repeats, which entries of (image, image) a pairing averages."""
    n_pairings, n_repeats, n_images = pairings.shape
    rows = np.repeat(np.arange(n_pairings), n_images)
    share = np.full(rows.size, 1 / n_images, np.float32)
    picks = {}
    for own, other in permutations(range(n_repeats), 2):
        column = (pairings[:, own] * n_images + pairings[:, other]).ravel()
        shape = (n_pairings, n_images**2)
        picks[own, other] = sparse.csr_array((share, (rows, column)), shape=shape)
    return picks


def _swap_effects(weights: np.ndarray, f: np.ndarray, values: np.ndarray) -> np.ndarray:
    """1 - cosine when trial i's value becomes that of trial j, (n_images, n_images, n_voxels).

    ``values`` are (2, n_images, n_voxels): the trials themselves, and those that values come from.
    """
    own = (f**2).sum(1)[:, None]
    along = f @ weights.T  # (n, V)
    norms = (weights**2).sum(1)
    across = np.maximum(norms - along**2 / own, 0)[:, None]  # |W_v|^2 across f
    step = values[1][None] - values[0][:, None]  # (n, n, V)
    own, along = own[:, None], along[:, None]
    moved = own + step * (2 * along + step * norms)
    cosine = (own + step * along) / np.sqrt(own * moved)
    # As in EmbeddingChange.effect; steps of single voxels never turn the embedding by 90 degrees.
    return step**2 * across / moved / (1 + np.maximum(cosine, 0))


def without_trends(betas: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Betas less a cubic polynomial of time in each session, for every voxel.

    Repeats of one image often lie close together in a session, where slow trends are alike. A voxel
    without any signal would seem to repeat itself.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
    session : numpy.ndarray, (n_trials,)
        Trials of a session in the order in which they were measured.
    """
    out = np.array(betas)
    for rows in (np.flatnonzero(session == one) for one in np.unique(session)):
        shapes = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(rows)), 3)
        shapes = shapes.astype(out.dtype)
        out[rows] -= shapes @ np.linalg.lstsq(shapes, out[rows])[0]
    return out


def reliability_of_folds(
    folds: Iterable[tuple[LinearEncoder, np.ndarray]],
    betas: np.ndarray,
    nsd_id: np.ndarray,
    session: np.ndarray,
    *,
    n_permutations: int,
    block_size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Reliability over all images, each tested by a decoder that was fitted without it.

    Slow trends within sessions are removed first (:func:`without_trends`). Pairings are drawn
    within blocks of images, and within sessions (:func:`draw_pairings`). A block holds images whose
    later repeats lie in the same sessions, as far as there are enough of them.

    Parameters
    ----------
    folds : iterable of (LinearEncoder, numpy.ndarray of int)
        A decoder and the trials that it was not fitted to, from :func:`cross_fit`.
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored.
    nsd_id, session : numpy.ndarray of int, (n_trials,)
        Image and session of each trial.
    n_permutations : int
        Wrong pairings.
    block_size : int
        Images of a block, about. Time and memory grow with it.

    Returns
    -------
    numpy.ndarray, (1 + n_permutations, n_voxels)
        As from :func:`reliability`: the mean over blocks, weighted by their images.
    """
    betas, total, n_images = without_trends(betas, session), 0, 0
    for encoder, held in folds:
        rows = repeat_rows(nsd_id, np.isin(np.arange(len(nsd_id)), held))
        order = np.lexsort((rng.random(rows.shape[1]), *session[rows][:0:-1]))
        for block in np.array_split(order, max(1, len(order) // block_size)):
            trials = rows[:, block]
            how = {"rng": rng, "session": session[trials]}
            pairings = draw_pairings(n_permutations, *trials.shape, **how)
            total = total + len(block) * reliability(encoder, betas[trials], pairings)
            n_images += len(block)
    return total / n_images


class Significance(NamedTuple):
    """What a permutation null says of every voxel.

    Attributes
    ----------
    z : numpy.ndarray, (n_voxels,)
        Distance of the observed value from the mean of the wrong pairings, in their SD. For maps
        and figures; the p values do not come from it.
    p : numpy.ndarray, (n_voxels,)
        One-sided, of one voxel alone.
    p_corrected : numpy.ndarray, (n_voxels,)
        By the largest of all voxels: controls the chance of any false voxel (family-wise error).
    q : numpy.ndarray, (n_voxels,)
        Benjamini & Hochberg (1995): the expected share of false ones among voxels below q. No p
        is smaller than one over the number of pairings, 1 / n. So q can fall below .05 only where
        n_voxels / (.05 n) voxels or more have this smallest p.
    """

    z: np.ndarray
    p: np.ndarray
    p_corrected: np.ndarray
    q: np.ndarray


def max_t(null: np.ndarray) -> Significance:
    """Single-voxel, family-wise and false-discovery p values from one permutation null.

    Voxels are studentised first (Westfall & Young 1993): otherwise the few with the largest
    weights alone would decide what the largest of all voxels is under the null. Mean and SD are
    taken over all pairings for the p values, the true one included, which keeps the test exact.
    This bounds the studentised value by the root of the number of wrong pairings. The ``z`` that is
    returned is for display and has no such bound: its mean and SD are those of the wrong pairings.

    Parameters
    ----------
    null : numpy.ndarray, (1 + n_permutations, n_voxels)
        Row 0 observed; larger is more.

    Returns
    -------
    Significance
        Voxels that never vary get z = 0 and p = 1.
    """
    check_finite(null, "null", ("pairing", "voxel"))
    sd = null.std(0)
    z = np.divide(null - null.mean(0), sd, out=np.zeros(null.shape), where=sd > 0)
    z = z.astype(np.float32)  # ties are ties
    p = (z >= z[0]).mean(0)
    largest = np.sort(z.max(1))
    p_corrected = 1 - np.searchsorted(largest, z[0], side="left") / len(null)
    wrong = null[1:] if len(null) > 2 else null
    spread = wrong.std(0)
    distance = np.divide(null[0] - wrong.mean(0), spread, out=np.zeros_like(sd), where=spread > 0)
    return Significance(distance, p, p_corrected, stats.false_discovery_control(p))


def matched_rank(effect: np.ndarray, size: np.ndarray, *, n_matched: int = 100) -> np.ndarray:
    """Voxel-label null: is an effect large among voxels with the same |W_v| x SD?

    Parameters
    ----------
    effect : numpy.ndarray, (n_voxels,)
        Such as an image effect.
    size : numpy.ndarray, (n_voxels,)
        Norm of a voxel's weights times its standard deviation.
    n_matched : int
        Voxels closest in size that each voxel is compared with, itself included.

    Returns
    -------
    numpy.ndarray, (n_voxels,)
        Share of the matched voxels whose effect is at least as large: a p value for the label.
    """
    n = len(effect)
    if not 2 <= n_matched <= n:
        raise DataError(f"n_matched is {n_matched} of {n} voxels. Expected: 2 to all.")
    check_finite(effect, "effects", ("voxel",))
    check_finite(size, "sizes", ("voxel",))
    order = np.argsort(size, kind="stable")
    ranked = np.asarray(effect)[order]
    first = np.clip(np.arange(n) - n_matched // 2, 0, n - n_matched)
    windows = np.lib.stride_tricks.sliding_window_view(ranked, n_matched)[first]
    out = np.empty(n)
    out[order] = (windows >= ranked[:, None]).mean(1)
    return out
