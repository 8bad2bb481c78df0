"""Visual areas as groups of voxels: which there are, and what a decoder makes of each.

Every score of a group is compared with those of random groups of its size, because any large set
of voxels does well (:mod:`.random_groups`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from ..encoders import LinearEncoder, unit
from ..metrics import Interval, bootstrap, similarity_matrix
from ..metrics.identification import find_places
from ..nsd.rois import PUBLISHED_LABELS
from ..project.checks import check_finite
from ..project.errors import DataError
from .groups import changed_embedding, group_embedding
from .random_groups import RandomGroups

FAMILIES = {
    "visual": ("V1", "V2", "V3", "hV4"),
    "localizers": ("faces", "bodies", "places", "words"),
    "unassigned": ("unassigned",),
    "eccentricity": PUBLISHED_LABELS["prf-eccrois"],
    "streams": PUBLISHED_LABELS["streams"],
    "hemispheres": ("lh", "rh"),
}
SCORES = ("cosine", "top1", "reciprocal_rank")
ABLATIONS = ("keep_only", "leave_out")
SEVERAL = "in several"
ROUNDING = 1e-6  # of a mean cosine


def area_groups(areas: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Families of areas that hold a voxel; areas without one are left out.

    Parameters
    ----------
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
        From :func:`fmri_utils.nsd.visual_areas`.

    Returns
    -------
    dict of str to dict of str to bool numpy.ndarray
        Family ("visual", "localizers", ...) to its areas by name.

    Raises
    ------
    DataError
        If there is none.
    """
    found = {
        family: {n: np.asarray(areas[n], bool) for n in names if n in areas and areas[n].any()}
        for family, names in FAMILIES.items()
    }
    found = {family: members for family, members in found.items() if members}
    if not found:
        raise DataError(f"no area with a voxel among {list(areas)}. Expected: some of {FAMILIES}.")
    return found


def unions(
    lists: Mapping[str, Sequence[str]], areas: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Unions of areas by name, such as "V1 to V3" of V1, V2 and V3.

    Parameters
    ----------
    lists : mapping of str to sequence of str
        From :func:`fmri_utils.perturbation.parse_concepts`, which reads "name: area area ...".
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)

    Returns
    -------
    dict of str to bool numpy.ndarray
        Unions that hold a voxel of the region; the others are left out, as in a region of V1 alone.

    Raises
    ------
    DataError
        If an area is not there, or no union holds a voxel.
    """
    found = {}
    for name, members in lists.items():
        unknown = [member for member in members if member not in areas]
        if unknown:
            raise DataError(f"{name!r} is made of {unknown}. Expected: some of {list(areas)}.")
        found[name] = np.any([areas[member] for member in members], axis=0)
    found = {name: where for name, where in found.items() if where.any()}
    if not found:
        raise DataError(f"none of {list(lists)} holds a voxel. Expected: one or more.")
    return found


def overlaps(groups: Mapping[str, np.ndarray]) -> np.ndarray:
    """Voxels that each two groups share, int (n_groups, n_groups); its diagonal is their size."""
    if not groups:
        return np.zeros((0, 0), int)
    table = np.stack([np.asarray(group, bool) for group in groups.values()]).astype(int)
    return table @ table.T


def disjoint(groups: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Groups without overlap: what is in more than one becomes a group "in several" of its own.

    To give a shared voxel to either group would decide beforehand what is asked.
    """
    count = np.sum([np.asarray(group, bool) for group in groups.values()], axis=0)
    parts = {name: np.asarray(group, bool) & (count == 1) for name, group in groups.items()}
    return {name: part for name, part in {**parts, SEVERAL: count > 1}.items() if part.any()}


def embedding_scores_of(embeddings: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of many sets of predictions of the same images at once.

    Parameters
    ----------
    embeddings : numpy.ndarray, (k, n_images, C)
    truth : numpy.ndarray, (n_images, C)
        Unit length.

    Returns
    -------
    dict of str to numpy.ndarray, (k, n_images)
        ``cosine`` with the truth; ``top1`` and ``reciprocal_rank`` of brain_to_image among all
        images, as :func:`fmri_utils.metrics.retrieval_scores` defines them.
    """
    table = np.stack([similarity_matrix(truth, e) for e in embeddings])  # (k, brain, image)
    places = find_places(table)
    return {
        "cosine": np.diagonal(table, axis1=1, axis2=2),
        "top1": places.top(1),
        "reciprocal_rank": places.reciprocal_rank,
    }


class AreaScores(NamedTuple):
    """Scores of groups with their voxels alone, and with all others, beside random groups.

    Attributes
    ----------
    names : tuple of str
    sizes : numpy.ndarray of int, (n_groups,)
    per_image : dict of str to dict of str to numpy.ndarray, (n_groups, n_images)
        ``per_image["keep_only"]["cosine"]`` and so on, for :data:`ABLATIONS` and :data:`SCORES`.
    random : dict of str to dict of str to dict of str to numpy.ndarray, (n_groups, n_random)
        Means over images of random groups of each group's size, by control ("scattered",
        "patches"), then as ``per_image``.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    per_image: dict[str, dict[str, np.ndarray]]
    random: dict[str, dict[str, dict[str, np.ndarray]]]

    def means(self, kind: str, score: str) -> np.ndarray:
        """Mean over images, (n_groups,)."""
        return self.per_image[kind][score].mean(1)

    def band(self, kind: str, score: str, control: str) -> np.ndarray:
        """Middle 95 % of the random groups of each group's size, (n_groups, 2).

        A group that is drawn like them lies beyond in 5 % of cases. Among 39 random groups these
        are the smallest and the largest value; fewer give a band that is too narrow.
        """
        return random_band(self.random[control][kind][score])

    def p(self, kind: str, score: str, control: str) -> np.ndarray:
        """Two-sided p of each group among random groups of its size, itself counted in."""
        more = self.random[control][kind][score] - self.means(kind, score)[:, None]
        # The same voxels in another order differ by the rounding of float32.
        tails = [(more <= ROUNDING).sum(1), (more >= -ROUNDING).sum(1)]
        return np.minimum(1, 2 * (1 + np.minimum(*tails)) / (more.shape[1] + 1))

    def difference(
        self, kind: str, score: str, other: np.ndarray, *, rng: np.random.Generator, n: int = 1000
    ) -> list[Interval]:
        """Mean over images of score - other, image by image, with its 95 % bootstrap interval.

        Parameters
        ----------
        other : numpy.ndarray, (n_images,)
            The same score of all voxels, say, or of none.
        n : int
            Resamples of the images.
        """
        rows = self.per_image[kind][score] - other
        return [bootstrap(row, rng=rng, n_resamples=n) for row in rows]

    def records(self, *, rng: np.random.Generator, n: int = 1000) -> list[dict]:
        """One row for each group, kind and score, for a table.

        Parameters
        ----------
        n : int
            Resamples of the images.

        Returns
        -------
        list of dict
            ``kind``, ``group``, ``voxels``, ``score``, ``value`` with its 95 % interval ``low``
            and ``high`` over images; of each control its band and p, as ``patches_low``,
            ``patches_high`` and ``patches_p``.
        """
        rows = []
        for kind, scores in self.per_image.items():
            for score in scores:
                found = self.difference(kind, score, np.zeros(()), rng=rng, n=n)
                columns = {}
                for control in self.random:
                    band, p = self.band(kind, score, control), self.p(kind, score, control)
                    named = zip(("low", "high", "p"), np.column_stack([band, p]).T, strict=True)
                    columns |= {f"{control}_{name}": values for name, values in named}
                for i, name in enumerate(self.names):
                    row = {"kind": kind, "group": name, "voxels": int(self.sizes[i])}
                    row |= {"score": score, **vars(found[i])}
                    rows.append(row | {name: float(values[i]) for name, values in columns.items()})
        return rows


def random_band(random: np.ndarray) -> np.ndarray:
    """The middle 95 % of random groups, (n_groups, n_random) to (n_groups, 2).

    Its ends are the quantiles k / (n_random + 1), by which a further draw lies beyond them in 5 %
    of cases (Weibull's plotting positions); the usual ones are for many draws.
    """
    return np.percentile(random, [2.5, 97.5], axis=-1, method="weibull").T


def score_areas(
    encoder: LinearEncoder,
    betas: np.ndarray,
    truth: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    controls: Mapping[str, RandomGroups],
    n_random: int,
    rng: np.random.Generator,
    progress: bool = False,
) -> AreaScores:
    """Keep each group only, and leave it out; so with random groups of its size.

    Parameters
    ----------
    betas : numpy.ndarray, (n_images, n_voxels)
        z-scored: a voxel is left out by setting it to 0.
    truth : numpy.ndarray, (n_images, C)
        Unit length.
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
    controls : mapping of str to RandomGroups
        Kinds of random groups by name.
    n_random : int
        Random groups of each size and kind.

    Raises
    ------
    DataError
        If a group is empty.
    """
    whole, per_image = encoder.predict(betas), {}
    for kind in ABLATIONS:
        made = [changed_embedding(encoder, betas, whole, g, kind) for g in groups.values()]
        per_image[kind] = embedding_scores_of(np.stack(made), truth)
    sizes = np.array([np.count_nonzero(group) for group in groups.values()])
    random = {}
    for name, control in controls.items():
        drawn, counts = {kind: [] for kind in ABLATIONS}, control.sizes(groups)
        for _ in tqdm(range(n_random), desc=name, disable=not progress, leave=False):
            parts = control.sums(betas, encoder.weights, counts, rng)
            made = {"keep_only": encoder.intercept + parts, "leave_out": whole - parts}
            for kind, embeddings in made.items():
                found = embedding_scores_of(embeddings, truth)
                drawn[kind].append([found[score].mean(1) for score in SCORES])
        random[name] = {
            kind: dict(zip(SCORES, np.stack(means, axis=2), strict=True))
            for kind, means in drawn.items()
        }
    return AreaScores(tuple(groups), sizes, per_image, random)


def random_shift(
    encoder: LinearEncoder,
    betas: np.ndarray,
    groups: Mapping[str, np.ndarray],
    directions: np.ndarray,
    *,
    control: RandomGroups,
    n_random: int,
    rng: np.random.Generator,
    progress: bool = False,
) -> np.ndarray:
    """Shift along directions when random groups are stimulated; the null of ``area_shifts``.

    Parameters
    ----------
    betas : numpy.ndarray, (n_images, n_voxels)
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
        Areas whose sizes the random groups have; there may be none.
    directions : numpy.ndarray, (n_directions, C)
        Unit length.
    control : RandomGroups

    Returns
    -------
    numpy.ndarray, (n_random, n_groups, n_directions)
        Mean over images of cos(after, direction) - cos(before, direction).
    """
    check_finite(directions, "directions", ("direction", "dimension"))
    before = encoder.predict(betas)
    start = (unit(before) @ directions.T).mean(0)
    found = np.empty((n_random, len(groups), len(directions)))
    raised, sizes = np.ones((1, betas.shape[1]), encoder.weights.dtype), control.sizes(groups)
    for i in tqdm(range(n_random if groups else 0), disable=not progress, leave=False):
        moved = before + control.sums(raised, encoder.weights, sizes, rng)
        found[i] = (unit(moved) @ directions.T).mean(1) - start
    return found


def area_pictures(
    draw: Callable,
    encoder: LinearEncoder,
    betas: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    z: torch.Tensor,
    kinds: Sequence[str] = ABLATIONS,
    progress: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pictures with all voxels, and with each group kept alone, left out or stimulated.

    All pictures of an image are drawn in one batch with the same z and the same noise buffers, so
    that they differ by the group and by nothing else.

    Parameters
    ----------
    draw : callable
        From :func:`fmri_utils.perturbation.renderer`.
    betas : numpy.ndarray, (n_images, n_voxels)
    groups : mapping of str to bool numpy.ndarray, (n_voxels,)
    z : torch.Tensor, (1, z_dim)
    kinds : sequence of str
        Of :data:`fmri_utils.visual_areas.groups.KINDS`.

    Returns
    -------
    whole : numpy.ndarray, (n_images, H, W, 3)
        In [0, 1].
    changed : dict of str to numpy.ndarray, (n_images, n_groups, H, W, 3)
        By kind.
    """
    rows = [encoder.predict(betas)]
    rows += [group_embedding(encoder, betas, g, kind) for kind in kinds for g in groups.values()]
    condition = torch.from_numpy(unit(np.stack(rows, axis=1)).astype(np.float32))  # (n, 1 + .., C)
    bar = tqdm(condition, desc="pictures", disable=not progress, leave=False)
    pictures = np.stack([draw(z.expand(len(one), -1), one, False) for one in bar])
    parts = np.split(pictures[:, 1:], len(kinds), axis=1)
    return pictures[:, 0], dict(zip(kinds, parts, strict=True))
