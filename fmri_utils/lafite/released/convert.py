"""Convert a released LAFITE checkpoint once, to safetensors: ``make lafite-import FILE=x.pkl``.

Two files come out. ``OUT`` holds the averaged generator, with its configuration and a card, for
:func:`fmri_utils.lafite.load_generator`. Beside it, ``<OUT>-training.safetensors`` holds all
networks, for fine-tuning (``train(initial=...)``). Afterwards the pickle is not needed.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ...project.artifacts import atomic_path
from ...project.command import command
from ...project.errors import WeightsError
from ...project.reading import require
from ...project.settings import checked, settings
from ...project.tensors import write_safetensors
from ..generator_files import described
from ..state import discriminator_from_state, generator_from_state
from .reader import WHERE, OfficialCheckpoint, read_official

OUT = Path(__file__).resolve().parents[3] / "data" / "weights" / "lafite.safetensors"
TRAINING_FORMAT = "fmri_utils.lafite.networks"
LICENCE = (
    "The weights' licence is the source's, not this project's MIT licence: the networks that "
    "LAFITE derives from are under NVIDIA's non-commercial licence. Ask its authors before you "
    "pass them on or use them for anything but research."
)


def import_official(
    source: str | os.PathLike, out: str | os.PathLike, *, training: bool = True
) -> list[Path]:
    """Convert a released checkpoint.

    Parameters
    ----------
    source : path-like
        The ``.pkl``; read by :func:`fmri_utils.lafite.read_official_pickle`.
    out : path-like
        Where the generator goes (G_ema, or G where there is none).
    training : bool
        Write G, D and G_ema to ``<out>-training.safetensors`` too, if the file has D.

    Returns
    -------
    list of pathlib.Path
        The files written; none if all were made from the same source before.

    Raises
    ------
    WeightsError
        If the source cannot be read safely, its tensors are not LAFITE's (the message names those
        that are missing or unexpected), or ``out`` exists and comes from elsewhere.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise WeightsError(f"OUT is {out}; expected a name that ends in .safetensors.")
    checkpoint = read_official(source)
    states = checkpoint.networks
    best = next((name for name in ("G_ema", "G") if name in states), None)
    if best is None:
        raise WeightsError(f"the file holds {sorted(states)}; expected a generator, G_ema or G.")
    paths = [out.with_name(f"{out.stem}-training.safetensors"), out]  # the generator last
    with_training = training and "D" in states
    if not with_training:
        del paths[0]
    done = [_is_done(path, checkpoint) for path in paths]
    if all(done):
        return []
    names = [n for n in ("G_ema", "G", "D") if n in states] if with_training else [best]
    networks = {name: _build(name, checkpoint, source) for name in names}
    card = {
        "what": "LAFITE, converted from a released checkpoint; same numbers",
        "source_file": Path(source).name,
        "source_sha256": checkpoint.sha256,
        "source_bytes": checkpoint.n_bytes,
        "generator": best,
        "networks": {name: len(state) for name, state in states.items()},
        "settings": checkpoint.settings.get(best, {}),
        "licence": LICENCE,
    }
    stored = {name: _stored(network, states[name]) for name, network in networks.items()}
    configs = {name: dataclasses.asdict(network.config) for name, network in networks.items()}
    for path in paths:
        tensors, about = stored[best], described(configs[best], card)
        if path != out:
            tensors = {f"{n}.{key}": v for n, state in stored.items() for key, v in state.items()}
            about = described(configs, card) | {"format": TRAINING_FORMAT}
        with atomic_path(path) as tmp:
            write_safetensors(tmp, tensors, about)
    return paths


def _is_done(path: Path, checkpoint: OfficialCheckpoint) -> bool:
    """Whether a file was made from this checkpoint before; one from elsewhere is not replaced."""
    if not path.exists():
        return False
    require(path, "an earlier result", "Give another OUT=.", WeightsError)
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {}).get("card", "{}"))
    except (SafetensorError, ValueError):
        card = {}
    if isinstance(card, dict) and card.get("source_sha256") == checkpoint.sha256:
        return True
    raise WeightsError(
        f"{path} exists and was not made from this checkpoint. Move it, or give another OUT=."
    )


def _build(name: str, checkpoint: OfficialCheckpoint, source: str | os.PathLike) -> nn.Module:
    """One network, every tensor's name and shape checked."""
    state = checkpoint.networks[name]
    # Settings that leave no trace in the tensors, if the file records them; the first of a name.
    told = reversed(checkpoint.settings.get(name, {}).items())
    recorded = {key.split(".")[-1]: value for key, value in told}
    try:
        if name == "D":
            normalize = recorded.get("d_use_norm") is True
            return discriminator_from_state(state, normalize_features=normalize)
        network = generator_from_state(state)
        clamp = recorded.get("conv_clamp", 256.0)
        if clamp is not None and (type(clamp) not in (int, float) or clamp <= 0):
            raise WeightsError(f"conv_clamp is {clamp!r}; expected a positive number or none.")
        config = dataclasses.replace(network.config, clamp=clamp and float(clamp))
        return network if config == network.config else generator_from_state(state, config=config)
    except WeightsError as err:
        hint = " With TRAINING=no only the generator is converted." if name == "D" else ""
        raise WeightsError(f"{source}, network {name}: {err}{hint}") from err


def _stored(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors as exact as in the source: half precision stays, double becomes float."""
    half = (torch.float16, torch.bfloat16)
    out = {}
    for key, value in network.state_dict().items():
        out[key] = value.to(state[key].dtype if state[key].dtype in half else torch.float32)
        if not torch.isfinite(out[key]).all():
            raise WeightsError(f"{key} does not fit float32; expected weights below 1e38.")
    return out


@settings
class ImportSettings:
    """What ``make lafite-import`` takes, as NAME=value."""

    FILE: str = ""
    OUT: str = str(OUT)
    TRAINING: Literal["yes", "no"] = "yes"


@command
def main(arguments: list[str]) -> None:
    """Command line of :func:`import_official`."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    asked = checked(ImportSettings, given, "the settings of lafite-import", WeightsError)
    if not asked.FILE:
        raise WeightsError(
            f"FILE is not given. Expected: make lafite-import FILE=checkpoint.pkl. {WHERE}."
        )
    source, out = Path(asked.FILE).expanduser(), Path(asked.OUT).expanduser()
    sys.stderr.write(f"reading {source} as data; nothing in it is executed\n")
    written = import_official(source, out, training=asked.TRAINING == "yes")
    for path in written:
        sys.stderr.write(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)\n")
    sys.stderr.write(f"{LICENCE if written else f'nothing to do: {out} was made of it before'}\n")


if __name__ == "__main__":
    raise SystemExit(main())
