"""Checks of what comes in, and of what a training has come to: one of each for the whole package.

A room checks once, where values cross its border, and not again in its inner loops. A check looks
at values, so it stands outside of whatever is differentiated or vmapped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import DataError, DivergedError

LOW, HIGH = -0.5, 1.5  # resizing overshoots [0, 1] a little; other ranges go beyond these
ADVICE = (
    "Expected: finite numbers. Lower the learning rate, or raise the temperature of a contrastive "
    "loss. If it is so at the first step, look for the cause in data and weights. What was saved "
    "before stays as it is."
)


def check_finite(
    values: np.ndarray | Tensor,
    name: str,
    axes: Sequence[str] = (),
    *,
    remedy: str = "Find out where these values come from, and mend them there.",
) -> None:
    """Refuse NaN and infinite values, which would spread to everything that is computed from them.

    Parameters
    ----------
    values : array or Tensor, of any shape
    name : str
        For the message.
    axes : sequence of str
        What an index along each axis counts ("trial", "voxel"), for the message.
    remedy : str
        What to do next.

    Raises
    ------
    DataError
        "betas: 1 of 4000 values is NaN, first at trial 3, voxel 17. ..."
    """
    tools = torch if torch.is_tensor(values) else np
    finite = tools.isfinite(values)
    if finite.all():
        return
    if tools is torch:
        finite = finite.cpu().numpy()
    n, n_nan = int((~finite).sum()), int(tools.isnan(values).sum())
    kind = "NaN" if n_nan == n else "NaN or infinite" if n_nan else "infinite"
    first = [int(i) for i in np.unravel_index(finite.argmin(), finite.shape)]
    where = f"index {first}"
    if len(axes) == len(first):
        where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, first, strict=True))
    raise DataError(
        f"{name}: {n} of {finite.size} values {'is' if n == 1 else 'are'} {kind}"
        f"{f', first at {where}' if first else ''}. Expected: finite numbers. {remedy}"
    )


def check_range(images: np.ndarray | Tensor, name: str, *, only_bytes: bool = False) -> None:
    """Refuse pictures whose values are not RGB as this package takes it.

    Parameters
    ----------
    images : array or Tensor, (n, ...)
        RGB as float in [0, 1] (small overshoots are clamped later), or as uint8 in [0, 255].
    name : str
        For the message.
    only_bytes : bool
        Refuse floats too.

    Raises
    ------
    DataError
        On another range or NaN.
    """
    if images.dtype == (torch.uint8 if torch.is_tensor(images) else np.uint8):
        return
    low, high = float(images.min()), float(images.max())
    # Written so that NaN fails as well. A generator's own -1 to 1 would be clamped to half its
    # contrast without a word, and 0 to 255 to white.
    if only_bytes or not (low >= LOW and high <= HIGH):
        floats = "" if only_bytes else "RGB in [0, 1], or "
        raise DataError(
            f"{name}: {images.dtype} values from {low:.3g} to {high:.3g}. "
            f"Expected: {floats}uint8 in [0, 255]; rescale or convert the pictures first."
        )


def check_pictures(
    images: np.ndarray, name: str, *, at_least: int = 1, only_bytes: bool = False
) -> np.ndarray:
    """Pictures as an array (n, H, W, 3), of a range that :func:`check_range` accepts.

    Parameters
    ----------
    images : numpy.ndarray, (n, H, W, 3)
    name, only_bytes
        As for :func:`check_range`.
    at_least : int
        How many pictures there must be.

    Raises
    ------
    DataError
        On another shape or range, NaN, or too few pictures.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or not images.size or len(images) < at_least:
        few = {1: "one picture", 2: "two pictures"}.get(at_least, f"{at_least} pictures")
        raise DataError(
            f"{name}: shape {images.shape}. Expected: at least {few}, (n, height, width, 3), "
            "RGB in [0, 1]."
        )
    check_range(images, name, only_bytes=only_bytes)
    return images


def check_learning(value: float | Tensor | np.ndarray, what: str, step: int) -> None:
    """Stop a training or a search whose numbers are not finite: nothing after it would be usable.

    Ask with the loss before the optimiser's step, so that the weights stay sound.

    Parameters
    ----------
    value : float, Tensor or array
        A loss; pictures or features that were made on the way.
    what : str
        For the message: "the loss".
    step : int
        For the message.

    Raises
    ------
    DivergedError
    """
    if not (torch if torch.is_tensor(value) else np).isfinite(value).all():
        one = f" is {float(value)}" if np.ndim(value) == 0 else ": numbers that are not finite"
        raise DivergedError(f"{what}{one} at step {step}: this run diverged. {ADVICE}")


def check_weights(weights: Mapping[str, Tensor], step: int) -> None:
    """Stop a training whose weights are beyond use; ask before they replace those that were saved.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Of a network's ``state_dict()``.
    step : int
        For the message.

    Raises
    ------
    DivergedError
        If a number is NaN or infinite, or so large (above 1e19) that its square is. What is
        scaled to unit length is then 0, and the loss at chance, without any NaN.
    """
    for name, value in weights.items():
        if not value.detach().float().square().sum().isfinite():
            raise DivergedError(
                f"the weights {name} are NaN, infinite or above 1e19 at step {step}: this run "
                f"diverged. {ADVICE}"
            )
