"""Noise vectors that say what an embedding leaves open: where things are, what else is there.

Left to itself, a generator has to find out by adversarial training, over millions of images, that
the noise vector may decide what the embedding does not. Drawn scenes come with their descriptions,
so the demo generator is shown a noise vector that already fits the picture: each fact of the scene
becomes one standard normal number, through its distribution *given the embedding* (a Gaussian
copula). A fact that the embedding settles leaves plain noise; one that it leaves open becomes an
axis of the noise. Vectors drawn at random afterwards therefore stand for scenes that are likely
under the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import nn
from torch.nn import functional

from fmri_utils.project.checks import check_learning, check_weights
from fmri_utils.project.errors import DataError

from ..scenes import KINDS, Scene
from ..scenes.catalogue import DECOR, SPECS

N_HIDDEN = 256
N_COMPANIONS, N_TRAITS, N_DRAWS = 2, 5, 6
COUNTS = (1, 2, 3, 5)
DECORATIONS = tuple(dict.fromkeys(name for names in DECOR.values() for name in names))
COLOURS = tuple(dict.fromkeys(c for spec in SPECS.values() for c in spec.colours))
UNKNOWN = -1  # a choice that this scene does not have


@dataclass(frozen=True)
class SceneFacts:
    """What there is to say about scenes.

    Attributes
    ----------
    numbers : dict of str to numpy.ndarray, float (n,)
        Places and sizes; NaN where a scene has no such thing.
    choices : dict of str to numpy.ndarray, int (n,)
        Indices of an option, -1 where there is no such choice.
    """

    numbers: dict[str, np.ndarray]
    choices: dict[str, np.ndarray]

    @classmethod
    def of(cls, scenes: list[Scene]) -> SceneFacts:
        """Collect the facts of scenes."""
        rows = [_facts_of(scene) for scene in scenes]
        numbers = {name: np.array([r[0][name] for r in rows]) for name in rows[0][0]}
        choices = {name: np.array([r[1][name] for r in rows]) for name in rows[0][1]}
        open_ones = {name: v for name, v in choices.items() if v.max() > 0}
        return cls(numbers, open_ones)


def _facts_of(scene: Scene) -> tuple[dict[str, float], dict[str, int]]:
    main, companions = scene.main, scene.things[1 : 1 + N_COMPANIONS]
    draws = np.random.default_rng(scene.seed).random(N_DRAWS)  # as the background's painter has it
    numbers = {"x": main.x, "bottom": main.box[3]}
    numbers |= {"width": np.log(main.width), "horizon": scene.horizon}
    numbers |= {f"draw {i}": value for i, value in enumerate(draws[1:], 1)}
    choices = {"flip": int(main.flip), "side": int(draws[0] < 0.5), "tint": scene.tint}
    choices |= {"count": COUNTS.index(main.count), "companions": len(companions)}
    choices |= {name: int(name in scene.decor) for name in DECORATIONS}
    options = SPECS[main.kind].traits
    traits = [options[name].index(main.trait(name)) for name in options]
    traits += [UNKNOWN] * (N_TRAITS - len(traits))
    choices |= {f"trait {i}": value for i, value in enumerate(traits[:N_TRAITS])}
    for i in range(N_COMPANIONS):
        thing = companions[i] if i < len(companions) else None
        for name in ("x", "y", "width"):
            numbers[f"{name} {i}"] = getattr(thing, name) if thing else np.nan
        choices[f"colour {i}"] = COLOURS.index(thing.colour) if thing else UNKNOWN
        choices[f"turned {i}"] = int(thing.flip) if thing else UNKNOWN
    kinds = {thing.kind for thing in companions}
    choices |= {f"a {kind}": int(kind in kinds) for kind in KINDS}
    return numbers, choices


class FactPredictor(nn.Module):
    """What an embedding says about the facts: a mean for numbers, odds for choices.

    Parameters
    ----------
    n_in : int
        Dimensions of the embedding.
    facts : SceneFacts
        For the names, the number of options, and the scale of numbers.
    """

    def __init__(self, n_in: int, facts: SceneFacts):
        super().__init__()
        self.numbers = tuple(facts.numbers)
        self.options = {name: int(v.max()) + 1 for name, v in facts.choices.items()}
        n_out = len(self.numbers) + sum(self.options.values())
        self.layers = nn.Sequential(
            nn.Linear(n_in, N_HIDDEN), nn.GELU(), nn.Dropout(0.1), nn.Linear(N_HIDDEN, n_out)
        )

    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Means (B, n_numbers), and the logits (B, n_options) of each choice."""
        size = embeddings.shape[1] ** 0.5  # entries of unit variance
        out = self.layers(embeddings * size)
        means, rest = out[:, : len(self.numbers)], out[:, len(self.numbers) :]
        return means, list(rest.split(list(self.options.values()), dim=1))


def _standardised(facts: SceneFacts) -> torch.Tensor:
    """Numbers with mean 0 and SD 1, (n, n_numbers), NaN where there is none."""
    values = np.stack(list(facts.numbers.values()), axis=1)
    values = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    return torch.from_numpy(values).float()


def fit_predictor(
    embeddings: np.ndarray, facts: SceneFacts, *, n_epochs: int = 8, batch_size: int = 500
) -> FactPredictor:
    """Learn what embeddings say about the facts.

    Parameters
    ----------
    embeddings : numpy.ndarray, (n, C)
        Unit length.
    """
    torch.manual_seed(0)
    inputs, numbers = torch.from_numpy(embeddings).float(), _standardised(facts)
    choices = torch.from_numpy(np.stack(list(facts.choices.values()), axis=1)).long()
    model = FactPredictor(inputs.shape[1], facts)
    per_epoch = -(-len(inputs) // batch_size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2e-3, total_steps=n_epochs * per_epoch
    )
    for _ in range(n_epochs):
        for rows in torch.randperm(len(inputs)).split(batch_size):
            means, logits = model(inputs[rows])
            known = ~numbers[rows].isnan()
            loss = (means - numbers[rows])[known].square().mean()
            for k, odds in enumerate(logits):
                known = choices[rows, k] != UNKNOWN
                if known.any():
                    chosen = choices[rows[known], k]
                    loss = loss + 0.1 * functional.cross_entropy(odds[known], chosen)
            check_learning(loss.detach(), "the loss", schedule.last_epoch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    check_weights(model.state_dict(), schedule.last_epoch)
    return model.eval()


@torch.inference_mode()
def noise_of(
    model: FactPredictor, embeddings: np.ndarray, facts: SceneFacts, z_dim: int
) -> np.ndarray:
    """Noise vectors that stand for the scenes.

    A number becomes the normal score of its residual; option k of a choice becomes a normal number
    drawn from the part of the distribution that has the choice's odds, so that a threshold which
    depends on the embedding reads the option off. What a scene does not have, and what is left of
    the vector, is noise.

    Returns
    -------
    numpy.ndarray, float32 (n, z_dim)
        Each column standard normal over the scenes.

    Raises
    ------
    DataError
        If ``z_dim`` is smaller than the number of facts.
    """
    rng = np.random.default_rng(0)
    means, logits = model(torch.from_numpy(embeddings).float())
    residuals = (_standardised(facts) - means).numpy()
    z = rng.standard_normal((len(embeddings), z_dim)).astype(np.float32)
    n_numbers = residuals.shape[1]
    if n_numbers + len(logits) > z_dim:
        raise DataError(
            f"z_dim is {z_dim}; expected at least {n_numbers + len(logits)}, one for each fact of "
            "a scene. Widen the generator's noise vector."
        )
    for k in range(n_numbers):
        known = np.flatnonzero(~np.isnan(residuals[:, k]))
        ranks = np.argsort(np.argsort(residuals[known, k]))
        z[known, k] = ndtri((ranks + 0.5) / len(known))
    for k, (odds, chosen) in enumerate(zip(logits, facts.choices.values(), strict=True), n_numbers):
        known = np.flatnonzero(chosen != UNKNOWN)
        shares = odds[known].double().softmax(1).numpy()
        upper = shares.cumsum(axis=1)[np.arange(len(known)), chosen[known]]
        lower = upper - shares[np.arange(len(known)), chosen[known]]
        u = rng.uniform(lower, upper).clip(1e-4, 1 - 1e-4)
        z[known, k] = ndtri(u)
    return z
