"""Towards which concept a voxel pushes the embedding; concepts come from captions.

A concept is a direction in CLIP space: the mean embedding of the captions that use a word minus
that of the captions that do not. The difference removes what all captions share, among it the gap
between CLIP's text and image embeddings (Liang et al. 2022).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from ..encoders import LinearEncoder, unit
from ..project.checks import check_finite
from ..project.errors import DataError
from .embedding_effects import EmbeddingChange, check_betas

SHARES = 0.01, 0.5  # of the captions, that use a word of the vocabulary
BATCH = 50  # trials at once: memory is this times n_voxels


def parse_concepts(lines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Concepts as a profile writes them, "name: word word ...", by name."""
    parts = [line.partition(":") for line in lines]
    return {name.strip(): tuple(words.split()) for name, _, words in parts}


def _word_table(
    captions: Sequence[str], embeddings: np.ndarray, **options
) -> tuple[np.ndarray, list[str]]:
    """Which captions use which words, bool (n_captions, n_words), and the words."""
    if len(captions) != len(embeddings):
        raise DataError(
            f"{len(captions)} captions and {len(embeddings)} embeddings. Expected: as many."
        )
    check_finite(embeddings, "embeddings", ("caption", "dimension"))
    counter = CountVectorizer(binary=True, **options)
    try:
        table = counter.fit_transform(captions).toarray().astype(bool)
    except ValueError as err:
        raise DataError(
            f"no usable word in {len(captions)} captions ({err}). Expected: more captions."
        ) from err
    return table, counter.get_feature_names_out().tolist()


def _direction(used: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    return unit(embeddings[used].mean(0) - embeddings[~used].mean(0))


def vocabulary(captions: Sequence[str], embeddings: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Every common word of a caption corpus and its direction.

    Words in fewer or more captions than :data:`SHARES` are left out, as are English stop words.

    Parameters
    ----------
    captions : sequence of str, (n_captions,)
        Of training images.
    embeddings : numpy.ndarray, (n_captions, C)
        Their CLIP embeddings.

    Returns
    -------
    words : list of str
    directions : numpy.ndarray, (n_words, C)
        Unit length.
    """
    least, most = SHARES
    table, words = _word_table(
        captions, embeddings, stop_words="english", min_df=least, max_df=most
    )
    return words, np.stack([_direction(column, embeddings) for column in table.T])


def concept_directions(
    concepts: Mapping[str, Sequence[str]], captions: Sequence[str], embeddings: np.ndarray
) -> np.ndarray:
    """Direction of each concept: captions with any of its words against all others.

    Parameters
    ----------
    concepts : mapping of str to sequence of str
        From :func:`parse_concepts`; fixed before looking at any effect.
    captions, embeddings
        As for :func:`vocabulary`.

    Returns
    -------
    numpy.ndarray, (n_concepts, C)
        Unit length.

    Raises
    ------
    DataError
        If no caption, or every caption, uses a concept's words.
    """
    table, words = _word_table(captions, embeddings)
    directions = []
    for name, wanted in concepts.items():
        used = table[:, [i for i, word in enumerate(words) if word in set(wanted)]].any(1)
        if used.all() or not used.any():
            raise DataError(
                f"{used.sum()} of {len(captions)} captions use a word of concept {name!r}. "
                "Expected: some, not all; choose words of this corpus."
            )
        directions.append(_direction(used, embeddings))
    return np.stack(directions)


def concept_shift(
    encoder: LinearEncoder,
    betas: np.ndarray,
    directions: np.ndarray,
    *,
    replacement: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Mean over trials of every voxel's signed shift along every direction.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
    directions : numpy.ndarray, (n_directions, C)
        Unit length.
    replacement : float or numpy.ndarray
        As for :func:`fmri_utils.perturbation.embedding_effect`; for microstimulation by k standard
        deviations ``betas + k``.

    Returns
    -------
    numpy.ndarray, (n_voxels, n_directions)
        cos(after, direction) - cos(before, direction).
    """
    betas = check_betas(encoder, betas)
    check_finite(directions, "directions", ("direction", "dimension"))
    values = np.broadcast_to(replacement, betas.shape)
    total = np.zeros((betas.shape[1], len(directions)))
    for start in range(0, len(betas), BATCH):
        rows = slice(start, start + BATCH)
        change = EmbeddingChange.by_value(encoder, betas[rows], values[rows])
        for column, direction in enumerate(directions):
            total[:, column] += change.shift(direction).sum(0)
    return total / len(betas)


def area_shifts(
    encoder: LinearEncoder,
    betas: np.ndarray,
    areas: Mapping[str, np.ndarray],
    directions: np.ndarray,
    *,
    k: float = 1.0,
) -> np.ndarray:
    """Shift of every embedding when all voxels of an area are stimulated together.

    Parameters
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        z-scored.
    areas : mapping of str to bool numpy.ndarray, (n_voxels,)
    directions : numpy.ndarray, (n_directions, C)
        Unit length.
    k : float
        Standard deviations added to every voxel of the area.

    Returns
    -------
    numpy.ndarray, (n_areas, n_trials, n_directions)
        cos(after, direction) - cos(before, direction).
    """
    check_finite(directions, "directions", ("direction", "dimension"))
    before = encoder.predict(betas)
    start = unit(before) @ directions.T
    moved = [before + k * encoder.weights[where].sum(0) for where in areas.values()]
    shifts = [unit(after) @ directions.T - start for after in moved]
    return np.array(shifts).reshape(len(areas), *start.shape)  # there may be no area


def own_leads(
    shifts: np.ndarray, areas: Sequence[str], concepts: Sequence[str]
) -> dict[str, np.ndarray]:
    """How much more a stimulated area moves towards its own concept than to the best other one.

    Parameters
    ----------
    shifts : numpy.ndarray, (n_areas, n_trials, n_concepts)
        From :func:`area_shifts`; two concepts or more.
    areas, concepts : sequence of str
        Names. An area's own concept has its name; areas without one are left out.

    Returns
    -------
    dict of str to numpy.ndarray, (n_trials,)
        The best other concept is chosen anew for each trial.
    """
    leads = {}
    for name, shift in zip(areas, shifts, strict=True):
        if name in concepts:
            own = np.asarray(concepts) == name
            leads[name] = shift[:, own][:, 0] - shift[:, ~own].max(1)
    return leads


def strongest_words(shift: np.ndarray, words: Sequence[str]) -> list[list[str]]:
    """The three words that each row of ``shift`` (n_rows, n_words) pushes towards most."""
    return [[words[i] for i in np.argsort(-row)[:3]] for row in shift]
