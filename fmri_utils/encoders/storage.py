"""Trained encoders on the disk: one safetensors file, linear map and MLP alike."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from ..artifacts import atomic_path
from ..errors import WeightsError
from .linear import LinearEncoder
from .mlp import MLPEncoder, MLPSettings, ResidualMLP


def save_encoder(encoder: LinearEncoder | MLPEncoder, path: Path) -> None:
    """Write an encoder as safetensors; :func:`fmri_utils.artifacts.write_manifest` describes it.

    Parameters
    ----------
    encoder : LinearEncoder or MLPEncoder
    path : pathlib.Path
        Appears whole or not at all.
    """
    metadata = {"method": encoder.method}
    if isinstance(encoder, MLPEncoder):
        metadata["mlp"] = json.dumps(asdict(encoder.network.settings))
        tensors = encoder.network.state_dict()
    else:
        arrays = {"weights": encoder.weights, "intercept": encoder.intercept}
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as tmp:
        save_file(tensors, tmp, metadata=metadata)


def load_encoder(path: Path, *, remedy: str) -> LinearEncoder | MLPEncoder:
    """Read what :func:`save_encoder` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not an encoder.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path} is missing. Expected: encoder weights. {remedy}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata()
        method, tensors = metadata["method"], load_file(path)
        if "mlp" in metadata:
            return _mlp(tensors, MLPSettings(**json.loads(metadata["mlp"])), method)
        arrays = (tensors[name].numpy() for name in ("weights", "intercept"))
        return LinearEncoder(*arrays, method)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as err:
        raise WeightsError(f"{path} is not an encoder ({err!r}). {remedy}") from err


def _mlp(tensors: dict[str, torch.Tensor], settings: MLPSettings, method: str) -> MLPEncoder:
    n_voxels = tensors["body.0.weight"].shape[1]
    network = ResidualMLP(n_voxels, tensors["direct.weight"].shape[0], settings)
    network.load_state_dict(tensors)
    return MLPEncoder(network.eval(), n_voxels, method)
