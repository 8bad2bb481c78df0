"""Ways of using the generator, compared on the same images.

* What does searching for z, or for the noise images, gain over a plain random z, if both may draw
  as many pictures (:func:`compare_searches`)?
* What does fine-tuning on embeddings predicted from the brain gain (:func:`compare_fine_tuning`)?

(``make compare`` puts two whole runs side by side.)

Scores come from networks and pixels that no search and no training here ever saw.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..lafite import Generator
from ..metrics.judge import Judge
from . import finetuning, search
from .reconstruction import draw

PLAIN = "plain random z"
BEST, BY_Z, BY_NOISE = "best of n", "z optimised", "noise optimised"
LOW_LEVEL = "z optimised, with blurred picture"
HEADLINES = ("judge two-way", "judge kind", "PixCorr", "SSIM")


def folder_name(name: str) -> str:
    """A set's name as a folder is called: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def mean_scores(
    seen: np.ndarray,
    draws: Mapping[str, Sequence[np.ndarray]],
    *,
    judge: Judge | None,
    **scoring,
) -> metrics.scores.Scores:
    """Scores of sets of pictures, averaged over several draws of each set image by image.

    Parameters
    ----------
    seen : numpy.ndarray, (N, H, W, 3)
    draws : mapping of str to sequence of numpy.ndarray, (N, H, W, 3)
    judge : Judge, optional
        Without it its rows say so.
    **scoring
        Such as ``chance_pairs``, as for :func:`fmri_utils.metrics.picture_scores`.

    Returns
    -------
    dict
        As :func:`fmri_utils.metrics.picture_scores`.
    """
    out = {}
    for name, several in draws.items():
        sets = {str(k): pictures for k, pictures in enumerate(several)}
        scored = metrics.picture_scores(seen, sets, judge=judge, networks=(), **scoring)
        out[name] = {}
        for row, first in scored["0"].items():
            if first.per_image is None:
                out[name][row] = first
                continue
            mean = np.mean([scored[k][row].per_image for k in sets], axis=0)
            out[name][row] = dataclasses.replace(first, per_image=mean)
    return out


def compared(
    repeats: Sequence[metrics.scores.Scores], baseline: str, *, rng: np.random.Generator
) -> dict[str, dict[str, dict]]:
    """Each set's mean scores with intervals, and its paired difference from a baseline.

    Parameters
    ----------
    repeats : sequence of dict
        Scores of the same sets on the same images, one entry for each seed. Seeds and images are
        both resampled; a few seeds tell whether a result is one seed's, not how seeds vary.
    baseline : str

    Returns
    -------
    dict
        Row to set to ``value``, ``low``, ``high``, ``chance``, and ``difference`` (the same three,
        and ``by_seed``; absent for the baseline); or to ``not_available`` with the reason.
        JSON-serialisable.
    """

    def interval(arrays: list[np.ndarray], others: list[np.ndarray]) -> dict:
        return dict(vars(metrics.paired_difference(arrays, others, rng=rng, shared_images=True)))

    table = {}
    for row in repeats[0][baseline]:
        table[row] = {}
        for name in repeats[0]:
            score = repeats[0][name][row]
            if score.per_image is None:
                table[row][name] = {"not_available": score.reason}
                continue
            own = [scores[name][row].per_image for scores in repeats]
            entry = interval(own, [np.zeros(len(one)) for one in own])
            table[row][name] = {**entry, "chance": score.chance}
            if name != baseline:
                first = [scores[baseline][row].per_image for scores in repeats]
                gain = interval(own, first)
                gain["by_seed"] = [float((a - b).mean()) for a, b in zip(own, first, strict=True)]
                table[row][name]["difference"] = gain
    return table


def gains_markdown(rows: Mapping[str, Mapping[str, Mapping]], baseline: str) -> str:
    """Markdown of :func:`compared`: the baseline's scores, and every other set's difference.

    Behind ± is the smallest difference that could have been seen (``Interval.half_width``).

    Parameters
    ----------
    rows : mapping
        As made, or as read back from JSON; :data:`HEADLINES` are shown where they are available.
    baseline : str
    """
    sets = next(iter(rows.values()), ())
    shown, others = _shown(rows, baseline), [name for name in sets if name != baseline]
    gains = gain_intervals(rows, baseline, others)
    lines = [[baseline, *(str(_interval(rows[row][baseline])) for row in shown)]]
    lines += [[name, *(gains[name][row].signed() for row in shown)] for name in others]
    return metrics.markdown_table(["", *shown], lines)


def gain_intervals(
    rows: Mapping[str, Mapping[str, Mapping]], baseline: str, names: Sequence[str]
) -> dict[str, dict[str, metrics.Interval]]:
    """Differences of some sets from the baseline: set to headline score to interval.

    Parameters
    ----------
    rows, baseline
        As for :func:`gains_markdown`.
    names : sequence of str
        Sets, without the baseline.
    """
    return {
        name: {row: _interval(rows[row][name]["difference"]) for row in _shown(rows, baseline)}
        for name in names
    }


def _shown(rows: Mapping, baseline: str) -> list[str]:
    return [row for row in HEADLINES if row in rows and "not_available" not in rows[row][baseline]]


def _interval(values: Mapping) -> metrics.Interval:
    return metrics.Interval(*(values[key] for key in ("value", "low", "high")))


def study_remark(study: Mapping, weights: str) -> str:
    """Whether the results of a study are of the generator in use, in words.

    Parameters
    ----------
    study : mapping
        Its results; empty if there are none.
    weights : str
        SHA-256 of the generator's file.
    """
    if not study:
        return "no results of `make study` here: it has not been run with this profile"
    if study["weights"] != weights:
        return "`make study` was run with other weights of the generator; run it again"
    return f"`make study` was run with this generator, seeds {study['seeds']}"


@dataclass(frozen=True, eq=False)
class SearchComparison:
    """Pictures of every method, and what the searches saw of them.

    Attributes
    ----------
    draws : dict of str to list of numpy.ndarray, (N, H, W, 3)
        Method to its pictures, in a list of one.
    trajectories : dict of str to dict of str to numpy.ndarray, (n_records, N)
        Method to what its search recorded.
    passes : dict of str to int
        Generator passes per picture.
    z : Tensor, (N, z_dim)
        Of the plain draws.
    """

    draws: dict[str, list[np.ndarray]]
    trajectories: dict[str, dict[str, np.ndarray]]
    passes: dict[str, int]
    z: Tensor


def compare_searches(
    generator: Generator,
    condition: np.ndarray,
    objective: search.Objective,
    *,
    passes: int,
    rng: torch.Generator,
    blurred: search.Blurred | None = None,
    folder: Path | None = None,
    progress: bool = False,
    **drawing,
) -> SearchComparison:
    """Pictures for predicted embeddings by every way of choosing the noise, at equal passes.

    A plain random z cannot use more than one pass: its expected score is the same however many are
    drawn.

    Parameters
    ----------
    generator : Generator
    condition : numpy.ndarray, (N, C)
        Predicted embeddings: what the generator is fed with, and what the searches aim at.
    objective : Objective
        Without low-level part; that is added where ``blurred`` is given.
    passes : int
        Generator passes per picture; a gradient step counts three.
    rng : torch.Generator
        On the CPU.
    blurred : Blurred, optional
        Without it the method that uses it is left out.
    folder : pathlib.Path, optional
        Keeps finished batches of every method; the same call resumes.
    progress, **drawing
        ``truncation_psi``, ``batch_size``, as for :func:`~fmri_utils.pictures.search.best_of_n`.

    Raises
    ------
    DataError
        As the searches.
    """
    z = torch.randn(len(condition), generator.config.z_dim, generator=rng)
    draws = {PLAIN: [draw(generator, z, condition, **drawing)]}
    shared = {"rng": rng, "progress": progress, **drawing}
    descent = {"n_steps": search.steps_within(passes), "z": z}
    target = search.make_target(condition)
    ways = {
        BEST: (search.best_of_n, target, objective, {"n": passes}),
        BY_Z: (search.optimise_z, target, objective, descent),
        BY_NOISE: (search.optimise_noise, target, objective, descent),
    }
    if blurred is not None:
        guided = dataclasses.replace(objective, low_level_weight=blurred.weight)
        both = search.make_target(condition, blurred)
        ways[LOW_LEVEL] = search.optimise_z, both, guided, descent
    trajectories, spent = {}, {PLAIN: 1}
    for name, (method, goal, aim, own) in ways.items():
        kept = None if folder is None else folder / folder_name(name)
        found = method(generator, condition, goal, aim, folder=kept, **own, **shared)
        draws[name], trajectories[name] = [found.pictures], found.trajectory
        spent[name] = found.passes
    return SearchComparison(draws, trajectories, spent, z)


def compare_fine_tuning(
    start: Generator,
    train_step: Callable[[finetuning.FineTuning, str], Generator],
    options: Mapping[str, finetuning.FineTuning],
    conditions: Mapping[str, Sequence[np.ndarray]],
    *,
    z: Tensor,
    **drawing,
) -> dict[str, dict[str, list[np.ndarray]]]:
    """Pictures before fine-tuning and after every option, from the same z.

    Parameters
    ----------
    start : Generator
        Before.
    train_step : callable
        From an option and its name to the fine-tuned generator.
    options : mapping of str to FineTuning
    conditions : mapping of str to sequence of numpy.ndarray, (N, C)
        "brain" and "ceiling" to embeddings read from the brain, and the images' own: of the image
        and, for generators of two conditions, of its caption.
    z : Tensor, (n_z, N, z_dim)
        Draws; scores are averaged over them. An option with ``zero_z`` draws once, with z = 0.
    **drawing
        ``truncation_psi`` and ``batch_size``, as for :func:`~.reconstruction.draw`.

    Returns
    -------
    dict
        As ``conditions``: set ("before", and each option) to pictures, for :func:`mean_scores`.
    """
    out = {kind: {} for kind in conditions}
    for name, option in {"before": None, **options}.items():
        generator = start if option is None else train_step(option, name)
        zs = [torch.zeros_like(z[0])] if option is not None and option.zero_z else list(z)
        for kind, parts in conditions.items():
            condition = np.concatenate(parts[: generator.config.n_conditions], axis=1)
            out[kind][name] = [draw(generator, one, condition, **drawing) for one in zs]
    return out
