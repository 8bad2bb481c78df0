"""Networks from checkpoints' tensors: every size is read off the shapes.

Keys are LAFITE's parameter names, either bare (``synthesis.b4.const``) or with the name of the
network in front (``G_ema.``, ``G.``, ``D.``); with such prefixes, one mapping can hold all three
networks and the one asked for is picked (the generator: ``G_ema``, else ``G``).
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..project.errors import WeightsError
from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator, GeneratorConfig, block_resolutions, channels_by_rule
from .layers import fir_filter

NETWORKS = ("G_ema", "G", "D")
SHOWN, SHOWN_CHARACTERS = 8, 500  # names, and what torch says, in an error message


def _short(names) -> str:
    """The first few names of a sorted list, and how many follow."""
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _select(state: Mapping, wanted: tuple[str, ...]) -> dict[str, Tensor]:
    """Copies of one network's tensors under bare names, all float32 or all float64."""
    if not isinstance(state, Mapping) or not state:
        what = "empty" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise WeightsError(f"the state is {what}; expected a mapping from names to tensors.")
    prefixes = {name for name in NETWORKS if any(key.startswith(f"{name}.") for key in state)}
    if prefixes:
        stray = [key for key in state if key.split(".")[0] not in NETWORKS]
        if stray:
            raise WeightsError(
                f"keys without the name of a network beside keys with one: {_short(stray)}. "
                f"Expected every key to begin with one of {NETWORKS}, or none."
            )
        found = [name for name in wanted if name in prefixes]
        if not found:
            raise WeightsError(
                f"the state holds {sorted(prefixes)}; expected {' or '.join(wanted)}."
            )
        skip = len(found[0]) + 1
        state = {key[skip:]: v for key, v in state.items() if key.startswith(f"{found[0]}.")}
    out = {}
    for key, value in state.items():
        out[key] = torch.as_tensor(np.asarray(value) if not torch.is_tensor(value) else value)
        if not out[key].is_floating_point():
            raise WeightsError(f"{key} has type {out[key].dtype}; expected floating point.")
    double = any(tensor.dtype == torch.float64 for tensor in out.values())
    kind = {"device": "cpu", "dtype": torch.float64 if double else torch.float32}
    out = {key: tensor.detach().to(**kind, copy=True).contiguous() for key, tensor in out.items()}
    bad = [key for key, tensor in out.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(f"NaN or infinite values in {_short(bad)}. Take another checkpoint.")
    return out


def _shape(state: Mapping[str, Tensor], key: str, n_axes: int) -> torch.Size:
    """Shape of a tensor that the sizes are read from."""
    if key not in state:
        raise WeightsError(f"{key} is missing. Expected a LAFITE network; it has that parameter.")
    shape = state[key].shape
    if len(shape) != n_axes:
        raise WeightsError(f"{key} has shape {tuple(shape)}; expected {n_axes} axes.")
    return shape


def _resolutions(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Resolutions 4 ... R of the blocks in a state."""
    found = {int(m[1]) for key in state if (m := re.match(pattern, key))}
    if not found:
        raise WeightsError(
            f"no key looks like {pattern}: not a LAFITE network. First keys: {_short(state)}."
        )
    try:
        wanted = block_resolutions(max(found))
    except ValueError as err:
        raise WeightsError(f"block names give the resolutions {sorted(found)}: {err}") from err
    if found != set(wanted):
        raise WeightsError(f"blocks at {sorted(found)}; expected all of {wanted}.")
    return wanted


def _channel_sizes(resolution: int, channels: tuple[int, ...]) -> dict:
    """Resolution, channel_base and channel_max; the channels if these do not describe them."""
    base, most = channels[-1] * resolution, max(channels)
    sizes = {"resolution": resolution, "channel_base": base, "channel_max": most}
    ruled = channels_by_rule(resolution, base, most) == channels
    return sizes if ruled else sizes | {"channels": channels}


def _build(kind: type, config, state: dict[str, Tensor]) -> nn.Module:
    """A network of the given sizes with a state's tensors, every name and shape compared."""
    fir = fir_filter(torch.ones(1))
    for key in [key for key in state if key.endswith(".resample_filter")]:  # buffers there
        given = state.pop(key)
        if given.shape != (4, 4) or not torch.allclose(given.float(), fir):
            raise WeightsError(f"{key} is another filter than outer([1, 3, 3, 1]) / 64.")
    with torch.device("meta"):  # takes no memory before the sizes are compared
        network = kind(config)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as err:
        said = " ".join(str(err).split())[:SHOWN_CHARACTERS]
        raise WeightsError(
            f"{said} ... Expected: the LAFITE network, complete, with no class labels."
        ) from None
    return network.eval().requires_grad_(False)


def _structure_1(state: Mapping[str, Tensor], resolutions: list[int]) -> dict:
    """Which layers have structure 1: as ``change`` if it describes them, else by name."""
    layers = [f"b{r}.{name}" for r in resolutions for name in ("conv0", "conv1", "torgb")][1:]
    ones = [layer for layer in layers if f"synthesis.{layer}.scale_layer_0.weight" in state]
    for change in resolutions[::-1]:
        if ones == [layer for layer in layers if int(layer.split(".")[0][1:]) > change]:
            return {"change": change}
    return {"structure_1": tuple(ones)}


def infer_generator_config(state: Mapping[str, Tensor]) -> GeneratorConfig:
    """Read a generator's sizes off the shapes of its tensors (bare names).

    Raises
    ------
    WeightsError
        If a tensor that the sizes are read from is missing or has another number of axes.
    """
    resolutions = _resolutions(state, r"synthesis\.b(\d+)\.")
    channels = tuple(_shape(state, f"synthesis.b{r}.conv1.weight", 4)[0] for r in resolutions)
    n_mapping = len({m[1] for key in state if (m := re.match(r"mapping\.fc(\d+)\.", key))})
    w_dim, z_dim = _shape(state, "mapping.fc0.weight", 2)
    first = "synthesis.b4.conv1"
    kind = "scale_layer" if f"{first}.scale_layer_0.weight" in state else "pre"
    inner_dim, condition_dim = _shape(state, f"{first}.{kind}_0.weight", 2)
    hidden_dim, _ = _shape(state, f"{first}.{kind}_1.weight", 2)
    return GeneratorConfig(
        n_conditions=2 if f"{first}.second_0.weight" in state else 1,
        z_dim=z_dim,
        w_dim=w_dim,
        condition_dim=condition_dim,
        hidden_dim=hidden_dim,
        inner_dim=inner_dim,
        mapping_layers=n_mapping,
        **_channel_sizes(resolutions[-1], channels),
        **_structure_1(state, resolutions),
    )


def infer_discriminator_config(
    state: Mapping[str, Tensor], normalize_features: bool
) -> DiscriminatorConfig:
    """Read a discriminator's sizes off the shapes of its tensors (bare names).

    Raises
    ------
    WeightsError
        If a tensor that the sizes are read from is missing or has another number of axes.
    """
    resolutions = _resolutions(state, r"b(\d+)\.")
    channels = tuple(_shape(state, f"b{r}.conv0.weight", 4)[1] for r in resolutions[1:])
    channels = (_shape(state, "b4.conv.weight", 4)[0], *channels)
    sizes = _channel_sizes(resolutions[-1], channels)
    sizes["condition_dim"] = _shape(state, "b4.fts.weight", 2)[0]
    return DiscriminatorConfig(**sizes, normalize_features=normalize_features)


def generator_from_state(state: Mapping, *, config: GeneratorConfig | None = None) -> Generator:
    """Build a generator from a checkpoint's tensors, inferring every size.

    Parameters
    ----------
    state : mapping of str to Tensor or array
        LAFITE's parameter names, bare or with ``G_ema.`` / ``G.`` in front (``G_ema`` is
        preferred). ``resample_filter`` buffers may be absent.
    config : GeneratorConfig, optional
        Sizes that the tensors must have, instead of those inferred from them.

    Returns
    -------
    Generator
        In eval mode, float32 (float64 if the tensors are), gradients of the parameters off.

    Raises
    ------
    WeightsError
        If a key is missing or unexpected (a network with class labels has such), a shape does not
        fit, or a value is not finite.
    """
    state = _select(state, ("G_ema", "G"))
    try:
        config = config or infer_generator_config(state)
    except ValueError as err:
        raise WeightsError(f"the tensors' shapes are no generator's: {err}") from err
    return _build(Generator, config, state)


def discriminator_from_state(state: Mapping, normalize_features: bool = False) -> Discriminator:
    """Build a discriminator from a checkpoint's tensors, inferring every size.

    Parameters
    ----------
    state : mapping of str to Tensor or array
        LAFITE's parameter names, bare or with ``D.`` in front.
    normalize_features : bool
        LAFITE's option ``d_use_norm``, which leaves no trace in the tensors.

    Returns
    -------
    Discriminator
        In eval mode, gradients of the parameters off.

    Raises
    ------
    WeightsError
        As :func:`generator_from_state`.
    """
    state = _select(state, ("D",))
    try:
        config = infer_discriminator_config(state, normalize_features)
    except ValueError as err:
        raise WeightsError(f"the tensors' shapes are no discriminator's: {err}") from err
    return _build(Discriminator, config, state)
