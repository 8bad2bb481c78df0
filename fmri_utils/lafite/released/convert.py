"""Convert a released LAFITE checkpoint once, to safetensors: ``make lafite-import FILE=x.pkl``.

Two files come out. ``OUT`` holds the averaged generator, with its configuration and a card, for
:func:`fmri_utils.lafite.load_generator`. Beside it, ``<OUT>-training.safetensors`` holds all
networks, for fine-tuning (``train(initial=...)``). Afterwards the pickle is not needed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ...project.artifacts import atomic_path
from ...project.errors import WeightsError
from ...project.reading import require
from ..generator_files import FORMAT, in_fixed_order
from ..state import discriminator_from_state, generator_from_state
from .reader import WHERE, OfficialCheckpoint, read_official

ROOT = Path(__file__).resolve().parents[3]
OUT = ROOT / "data" / "weights" / "lafite.safetensors"
SETTINGS = ("FILE", "OUT", "TRAINING")
TRAINING_FORMAT = "fmri_utils.lafite.networks"
LICENCE = (
    "The weights' licence is the source's, not this project's MIT licence: the networks that "
    "LAFITE derives from are under NVIDIA's non-commercial licence. Ask its authors before you "
    "pass them on or use them for anything but research."
)


def import_official(
    source: str | os.PathLike,
    out: str | os.PathLike = OUT,
    *,
    training: bool = True,
    report: Callable[[str], None] = lambda line: None,
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
    report : callable
        Told in a line what goes on.

    Returns
    -------
    list of pathlib.Path
        The files written; none if ``out`` was made from the same source before.

    Raises
    ------
    WeightsError
        If the source cannot be read safely, its tensors are not LAFITE's (the message names those
        that are missing or unexpected), or ``out`` exists and comes from elsewhere.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise WeightsError(f"OUT is {out}; expected a name that ends in .safetensors.")
    report(f"reading {source} as data; nothing in it is executed")
    checkpoint = read_official(source)
    beside = out.with_name(f"{out.stem}-training.safetensors")
    training = training and "D" in checkpoint.networks
    wanted = [path for path in (beside, out)[not training :] if not _is_done(path, checkpoint)]
    card = _card(Path(source), checkpoint)
    networks = {}
    for name in [_best(checkpoint), *(("G", "G_ema", "D") if beside in wanted else ())]:
        if wanted and name in checkpoint.networks and name not in networks:
            report(f"checking {name} ({len(checkpoint.networks[name])} tensors)")
            networks[name] = _build(name, checkpoint, source)
    if beside in wanted:
        _write_training(beside, networks, checkpoint, card)
    if out in wanted:  # last, so that a killed conversion begins again
        _write_generator(out, networks[_best(checkpoint)], checkpoint, card)
    return wanted


def _best(checkpoint: OfficialCheckpoint) -> str:
    """The generator to draw with."""
    for name in ("G_ema", "G"):
        if name in checkpoint.networks:
            return name
    raise WeightsError(
        f"the checkpoint holds {sorted(checkpoint.networks)}; expected a generator, G_ema or G."
    )


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
        f"{path} exists and was not made from this checkpoint. It is left alone: delete or move "
        "it, or give another OUT=."
    )


def _setting(checkpoint: OfficialCheckpoint, network: str, name: str, default: object) -> object:
    """A setting that leaves no trace in the tensors, if the file records it."""
    for key, value in checkpoint.settings.get(network, {}).items():
        if key.split(".")[-1] == name:
            return value
    return default


def _build(name: str, checkpoint: OfficialCheckpoint, source: str | os.PathLike) -> nn.Module:
    """One network, every tensor's name and shape checked."""
    state = checkpoint.networks[name]
    try:
        if name == "D":
            normalize = _setting(checkpoint, "D", "d_use_norm", False)
            return discriminator_from_state(state, normalize_features=normalize is True)
        network = generator_from_state(state)
        clamp = _setting(checkpoint, name, "conv_clamp", 256.0)
        if clamp is not None and (type(clamp) not in (int, float) or clamp <= 0):
            raise WeightsError(f"conv_clamp is {clamp!r}; expected a positive number or none.")
        if clamp != network.config.clamp:
            config = dataclasses.replace(network.config, clamp=clamp and float(clamp))
            network = generator_from_state(state, config=config)
        return network
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


def _card(source: Path, checkpoint: OfficialCheckpoint) -> dict:
    """What the files say about where they come from."""
    return {
        "what": "LAFITE, converted from a released checkpoint; same numbers",
        "source_file": source.name,
        "source_sha256": checkpoint.sha256,
        "source_bytes": checkpoint.n_bytes,
        "generator": _best(checkpoint),
        "networks": {name: len(state) for name, state in checkpoint.networks.items()},
        "settings": checkpoint.settings.get(_best(checkpoint), {}),
        "licence": LICENCE,
    }


def _metadata(form: str, config: object, card: dict) -> dict[str, str]:
    return {
        "format": form,
        "config": json.dumps(config, sort_keys=True),
        "card": json.dumps(card, sort_keys=True),
    }


def _write_generator(
    path: Path, network: nn.Module, checkpoint: OfficialCheckpoint, card: dict
) -> None:
    """The generator as :func:`fmri_utils.lafite.load_generator` reads it."""
    tensors = _stored(network, checkpoint.networks[_best(checkpoint)])
    metadata = _metadata(FORMAT, dataclasses.asdict(network.config), card)
    with atomic_path(path) as tmp:
        tmp.write_bytes(in_fixed_order(save(tensors, metadata)))


def _write_training(
    path: Path, networks: dict[str, nn.Module], checkpoint: OfficialCheckpoint, card: dict
) -> None:
    """All networks with their names in front, as training starts from."""
    tensors, config = {}, {}
    for name, network in networks.items():
        config[name] = dataclasses.asdict(network.config)
        stored = _stored(network, checkpoint.networks[name])
        tensors |= {f"{name}.{key}": value for key, value in stored.items()}
    with atomic_path(path) as tmp:
        tmp.write_bytes(in_fixed_order(save(tensors, _metadata(TRAINING_FORMAT, config, card))))


def parse_settings(arguments: Sequence[str]) -> tuple[Path, Path, bool]:
    """FILE, OUT and TRAINING out of NAME=value arguments.

    Raises
    ------
    WeightsError
        If a setting is unknown or FILE is not given.
    """
    settings = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    unknown = sorted({a.split("=", 1)[0] for a in arguments} - set(SETTINGS))
    if unknown:
        raise WeightsError(f"unknown setting {unknown}. Valid: FILE=, OUT=, TRAINING=yes or no.")
    if not settings.get("FILE"):
        raise WeightsError(
            f"FILE is not given. Expected: make lafite-import FILE=checkpoint.pkl. {WHERE}."
        )
    training = settings.get("TRAINING", "yes")
    if training not in ("yes", "no"):
        raise WeightsError(f"TRAINING is {training!r}; expected yes or no.")
    out = Path(settings.get("OUT") or OUT).expanduser()
    return Path(settings["FILE"]).expanduser(), out, training == "yes"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 on success, 2 on a clear error."""

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    try:
        source, out, training = parse_settings(sys.argv[1:] if arguments is None else arguments)
        written = import_official(source, out, training=training, report=say)
    except WeightsError as err:
        say(f"error: {err}")
        return 2
    for path in written:
        say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    say(LICENCE if written else f"nothing to do: {out} was made from this file before")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
