"""Trained encoders on the disk: one safetensors file, linear map and MLP alike."""

from pathlib import Path

import numpy as np
import torch

from ..project.artifacts import atomic_path
from ..project.errors import WeightsError
from ..project.tensors import read_safetensors, write_safetensors
from .linear import LinearEncoder
from .mlp import MLPEncoder, ResidualMLP

REMEDY = "Run `make 03`."


def save_encoder(encoder: LinearEncoder | MLPEncoder, path: Path) -> None:
    """Write an encoder as safetensors; a manifest is written by ``artifacts.write_manifest``.

    Parameters
    ----------
    encoder : LinearEncoder or MLPEncoder
    path : pathlib.Path
        Appears whole or not at all.
    """
    if isinstance(encoder, MLPEncoder):
        tensors = encoder.network.state_dict()
    else:
        arrays = {"weights": encoder.weights, "intercept": encoder.intercept}
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as tmp:
        write_safetensors(tmp, tensors, {"method": encoder.method})


def load_encoder(path: Path) -> LinearEncoder | MLPEncoder:
    """Read what :func:`save_encoder` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or not an encoder.
    """
    tensors, metadata = read_safetensors(path, what="encoder weights", remedy=REMEDY)
    try:
        method = metadata["method"]
        if "direct.weight" in tensors:
            n_out, width = tensors["direct.weight"].shape
            n_voxels = tensors["body.0.weight"].shape[1]
            with torch.device("meta"):  # sizes are compared before memory is taken for them
                network = ResidualMLP(n_voxels, n_out, width)
            network.load_state_dict(tensors, assign=True)
            return MLPEncoder(network.eval(), n_voxels, method)
        weights, intercept = (tensors[name].numpy() for name in ("weights", "intercept"))
        if weights.ndim != 2 or intercept.shape != weights.shape[1:]:
            raise ValueError(f"weights are {weights.shape}, the intercept is {intercept.shape}")
        return LinearEncoder(weights, intercept, method)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as err:
        raise WeightsError(f"{path} is not an encoder ({err!r}). {REMEDY}") from err
