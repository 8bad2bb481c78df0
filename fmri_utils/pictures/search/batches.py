"""Long searches, batch by batch: a run that was killed goes on after the last finished batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ...project.artifacts import atomic_path
from ...project.errors import ArtifactError, WeightsError
from ...project.reading import reading
from ...project.tensors import read_safetensors, write_safetensors

PROBE = "probe"


def tensor_hash(*tensors: Tensor | None) -> str:
    """Hexadecimal SHA-256 of tensors' values and shapes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(None if tensor is None else tuple(tensor.shape)).encode())
        if tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def network_hash(network: nn.Module) -> str:
    """Hexadecimal SHA-256 of a network's parameters and buffers."""
    return tensor_hash(*network.state_dict().values())


def in_parts(
    compute: Callable[[slice], dict[str, Tensor]],
    n: int,
    batch_size: int,
    *,
    folder: Path | None,
    about: Callable[[], tuple[dict, Tensor]],
    desc: str,
    progress: bool,
) -> dict[str, Tensor]:
    """Compute batches of rows and join them; with a folder, keep each finished batch.

    Parameters
    ----------
    compute : callable
        From a slice of rows to tensors whose first axis is those rows. Must not depend on what was
        computed before, so that the batches of two runs can be joined.
    n, batch_size : int
    folder : pathlib.Path or None
        One file per batch, written atomically. A run that finds files of the same search takes them
        over; without a folder nothing is kept.
    about : callable
        What decides the result, asked only with a folder: a JSON-serialisable dict that must be
        equal, and a tensor that must be nearly so.
    desc, progress : str, bool
        Of the progress bar.

    Raises
    ------
    ArtifactError
        If a file in the folder is damaged or of another search.
    """
    facts, probe = about() if folder is not None else ({}, None)
    parts = []
    for start in tqdm(range(0, n, batch_size), desc=desc, disable=not progress, leave=False):
        rows = slice(start, min(start + batch_size, n))
        path = None if folder is None else Path(folder) / f"rows-{rows.start:06d}.safetensors"
        if path is not None and path.is_file():
            parts.append(_read(path, facts, probe))
            continue
        part = {name: value.detach().cpu().contiguous() for name, value in compute(rows).items()}
        if path is not None:
            with atomic_path(path) as tmp:
                text = json.dumps(facts, sort_keys=True)
                write_safetensors(tmp, {**part, PROBE: probe.contiguous()}, {"about": text})
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _read(path: Path, facts: dict, probe: Tensor) -> dict[str, Tensor]:
    """A finished batch, after checking that it is of this search."""
    what, remedy = "a batch of a search", "delete it; it will be computed again."
    try:
        tensors, metadata = read_safetensors(path, what=what, remedy=remedy)
    except WeightsError as err:
        raise ArtifactError(f"{err}") from err
    with reading(path, what, damaged=remedy, error=ArtifactError):
        saved, before = dict(json.loads(metadata["about"])), tensors.pop(PROBE)
    facts = json.loads(json.dumps(facts))
    differing = [key for key in sorted({*saved, *facts}) if saved.get(key) != facts.get(key)]
    # Not by hash: the image encoder's last digits depend on the number of threads.
    if before.shape != probe.shape or not torch.allclose(before, probe, atol=1e-3):
        differing.append("image encoder")
    if differing:
        raise ArtifactError(
            f"{path} belongs to another search: {', '.join(differing)} differ. Use another folder, "
            "or delete this one to search again."
        )
    return tensors
