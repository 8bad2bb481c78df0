"""CLIP through open_clip: one call opens the small demo model and OpenAI's ViT-B/32 alike.

CLIP (Radford et al. 2021, arXiv 2103.00020) is two networks, one for images and one for text,
trained together so that a picture and its caption land close to each other on the unit sphere.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm.auto import tqdm

from ..metrics.arrays import to_tensor
from ..project.checks import check_pictures
from ..project.errors import DataError, WeightsError
from ..project.reading import require

LOCAL = "local-dir:"


class ClipSpace:
    """An open_clip model with its tokenizer, frozen.

    Attributes
    ----------
    model : torch.nn.Module
        The open_clip model in eval mode.
    dim : int
        Dimensions of the joint embedding, C.
    image_size : int
        Pixels of the model's square input.
    name : str
        Model and weights, for tables.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Callable, name: str):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        size = model.visual.image_size
        self.image_size = size[0] if isinstance(size, (tuple, list)) else size
        self.device = next(model.parameters()).device
        self._mean = torch.tensor(model.visual.image_mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(model.visual.image_std, device=self.device).view(1, 3, 1, 1)
        self.dim = self.encode_texts(["a"]).shape[1]

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Embed images differentiably.

        Parameters
        ----------
        images : torch.Tensor, (B, 3, H, W)
            RGB in [0, 1], square.

        Returns
        -------
        torch.Tensor, (B, C)
            Unit-length embeddings.
        """
        assert images.ndim == 4 and images.shape[1] == 3, images.shape
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode="bicubic", antialias=True)
            images = images.clamp(0, 1)
        features = self.model.encode_image((images - self._mean) / self._std)
        return functional.normalize(features, dim=1)  # (B, C)

    @torch.inference_mode()
    def encode_images(
        self, images: np.ndarray, *, batch_size: int = 250, progress: bool = False
    ) -> np.ndarray:
        """Embed an array of images.

        Parameters
        ----------
        images : numpy.ndarray, (n_images, H, W, 3)
            uint8 RGB in [0, 255], or float RGB in [0, 1] (small overshoots are clamped); square.

        Returns
        -------
        numpy.ndarray, float32, (n_images, C)
            Unit-length embeddings.

        Raises
        ------
        DataError
            If the array has another shape or range, or holds NaN.
        """
        images = check_pictures(images, "images")
        if images.shape[1] != images.shape[2]:
            raise DataError(
                f"images have shape {images.shape}. Expected: (n_images, size, size, 3), square."
            )
        out = []
        starts = range(0, len(images), batch_size)
        for start in tqdm(starts, desc="CLIP images", disable=not progress, leave=False):
            batch = to_tensor(images[start : start + batch_size], self.device)
            out.append(self.embed(batch).cpu().numpy())
        return np.concatenate(out).astype(np.float32)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Embed texts; float32 (n_texts, C), unit length. Equal texts are computed once."""
        different = list(dict.fromkeys(texts))
        out = []
        starts = range(0, len(different), 500)
        for start in tqdm(starts, desc="CLIP texts", disable=not progress, leave=False):
            tokens = self.tokenizer(different[start : start + 500]).to(self.device)
            features = self.model.encode_text(tokens)
            out.append(functional.normalize(features, dim=1).cpu().numpy())
        row = {text: i for i, text in enumerate(different)}
        return np.concatenate(out).astype(np.float32)[[row[text] for text in texts]]


def open_clip_space(
    model: str,
    pretrained: str = "",
    *,
    device: str | torch.device = "cpu",
    root: Path | None = None,
) -> ClipSpace:
    """Open a CLIP model with its weights.

    Parameters
    ----------
    model : str
        A name that open_clip knows, or ``local-dir:FOLDER`` for a folder with
        ``open_clip_config.json`` and ``open_clip_model.safetensors``.
    pretrained : str
        open_clip's tag of the weights ("openai"); empty for a local folder.
    device : str or torch.device
    root : pathlib.Path, optional
        A relative FOLDER is taken relative to it.

    Raises
    ------
    WeightsError
        If the weights are not on the machine or do not fit the model.
    """
    import open_clip  # takes seconds

    name = model
    if model.startswith(LOCAL):
        folder = (root or Path()) / model.removeprefix(LOCAL)
        for file in ("open_clip_config.json", "open_clip_model.safetensors"):
            remedy = "Restore data/pretrained from the repository, or run `make pretrain`."
            require(folder / file, "a part of an open_clip bundle", remedy, WeightsError)
        name = f"{LOCAL}{folder}"
    try:
        network, _, _ = open_clip.create_model_and_transforms(
            name, pretrained=pretrained or None, device=device
        )
        if any(v.isnan().any() for v in network.state_dict().values()):
            raise ValueError("it holds numbers that are not a number")
        label = model.removeprefix(LOCAL) + (f"/{pretrained}" if pretrained else "")
        return ClipSpace(network, open_clip.get_tokenizer(name), label)
    except Exception as err:  # open_clip raises many types for missing or unfit weights
        raise WeightsError(
            f"CLIP {model!r} with weights {pretrained!r} cannot be opened: {err}. Expected: a "
            "model and weights that open_clip knows and has on this machine. `make weights "
            "PROFILE=nsd` fetches OpenAI's ViT-B/32."
        ) from err
