"""Encoders and interrupted training runs on the disk: safetensors, each with its manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..project.artifacts import atomic_path, check_manifest, manifest_path, write_manifest
from ..project.errors import WeightsError
from ..project.tensors import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from .gradient_fit import Run

PATTERN = re.compile(r"step-(\d{6})\.safetensors")


def _finished_pairs(folder: Path) -> list[Path]:
    """Checkpoints that have their manifest, oldest first; others were cut off while writing."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if PATTERN.fullmatch(path.name))
    return [path for path in files if manifest_path(path).is_file()]


def save_checkpoint(folder: Path, run: Run, identity: dict) -> Path:
    """Write where a run stands, then remove the older checkpoints.

    Parameters
    ----------
    folder : pathlib.Path
        Of this run alone.
    run : fmri_utils.encoders.gradient_fit.Run
    identity : dict
        Data and settings that the run belongs to; goes into the manifest.
    """
    path = folder / f"step-{run.step:06d}.safetensors"
    tensors = {f"network.{k}": v for k, v in run.network.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in run.best_state.items()}
    for index, state in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["history"] = torch.tensor(run.history, dtype=torch.float64)
    record = {
        "step": run.step,
        "finished": run.finished,
        "best": run.best,
        "best_step": run.best_step,
        "last_loss": run.last_loss,
    }
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as tmp:
        write_safetensors(tmp, tensors, {"record": json.dumps(record)}, with_gaps="history")
    write_manifest(path, config=identity)
    for old in _finished_pairs(folder):
        if old != path:
            old.unlink()
            manifest_path(old).unlink()
    return path


def load_latest(folder: Path, run: Run, identity: dict) -> bool:
    """Continue from the newest complete checkpoint of a folder, if there is one.

    Returns
    -------
    bool
        Whether there was one.

    Raises
    ------
    WeightsError
        If it belongs to other data or settings.
    ArtifactError
        If it is damaged.
    """
    pairs = _finished_pairs(Path(folder))
    if not pairs:
        return False
    path = pairs[-1]
    remedy = "Delete the folder to train from the start."
    found = check_manifest(path, remedy=remedy)["config"]
    wanted = json.loads(json.dumps(identity))
    differing = sorted(k for k in set(found) | set(wanted) if found.get(k) != wanted.get(k))
    if differing:
        raise WeightsError(
            f"the checkpoint {path} was made with another {', '.join(differing)}. Expected: the "
            "same data and settings; use another folder, or delete this one."
        )
    tensors, metadata = read_safetensors(
        path, what="a checkpoint of a training", remedy=remedy, with_gaps="history"
    )
    try:
        _continue(run, tensors, json.loads(metadata["record"]))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as err:
        raise WeightsError(f"{path} does not fit this training ({err!r}). {remedy}") from err
    return True


def _continue(run: Run, tensors: dict[str, torch.Tensor], record: dict) -> None:
    """Put a run where a checkpoint stands."""
    device = next(run.network.parameters()).device
    run.network.load_state_dict(_part(tensors, "network."))
    run.best_state = {k: v.to(device) for k, v in _part(tensors, "best.").items()}
    state = run.optimiser.state_dict()
    for name, value in _part(tensors, "optimiser.").items():
        index, key = name.split(".", 1)
        state["state"].setdefault(int(index), {})[key] = value
    run.optimiser.load_state_dict(state)
    run.history = tensors["history"].tolist()
    for name, value in record.items():
        setattr(run, name, value)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Tensors whose names start with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
