"""Train the demo CLIP on scenes and captions and write it as an open_clip bundle."""

import math
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision
from tqdm.auto import tqdm

from fmri_utils.project.artifacts import atomic_path, write_json
from fmri_utils.project.checks import check_learning, check_weights
from fmri_utils.project.tensors import load_state, save_state, write_safetensors

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 2], "width": 16, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Soften, shift and stain some images, so that generated ones are not foreign.

    Parameters
    ----------
    images : torch.Tensor, (B, 3, S, S)
        RGB in [0, 1].

    Returns
    -------
    torch.Tensor, (B, 3, S, S)
        The first third slightly cropped, the second blurred, the last with added noise; a caption
        still describes each of them.
    """
    count, size = len(images), images.shape[-1]
    third = count // 3
    sides = torch.randint(int(0.85 * size), size + 1, (1,), generator=generator).item()
    top, left = torch.randint(0, size - sides + 1, (2,), generator=generator).tolist()
    cropped = vision.resized_crop(
        images[:third], top, left, sides, sides, [size, size], antialias=True
    )
    sigma = 0.3 + 1.5 * torch.rand(1, generator=generator).item()
    blurred = vision.gaussian_blur(images[third : 2 * third], 7, sigma)
    level = 0.08 * torch.rand(count - 2 * third, 1, 1, 1, generator=generator)
    noisy = images[2 * third :]
    noisy = noisy + level * torch.randn(noisy.shape, generator=generator)
    return torch.cat([cropped, blurred, noisy]).clamp(0, 1)


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] as the network takes them."""
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (images - mean) / std


def build() -> CLIP:
    """A fresh network of :data:`MODEL`."""
    network = CLIP(**MODEL, output_dict=False)
    return network.to(memory_format=torch.channels_last)  # 1.7 times faster on a CPU


def tokenise(captions: np.ndarray) -> torch.Tensor:
    """Tokens of captions (n, 5) as int32 (n, 5, context)."""
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    unique, inverse = np.unique(captions, return_inverse=True)
    tokens = torch.cat(
        [tokenizer(list(unique[i : i + 5000])) for i in range(0, len(unique), 5000)]
    ).int()
    return tokens[torch.from_numpy(inverse.reshape(captions.shape))]


def train(
    data: dict[str, np.ndarray],
    checkpoint: Path,
    *,
    n_epochs: int,
    batch_size: int = 256,
    seed: int,
) -> CLIP:
    """Train with the symmetric contrastive loss; resumes from ``checkpoint`` after each epoch.

    Parameters
    ----------
    data : dict
        ``images`` (n, 64, 64, 3) uint8 and ``captions`` (n, 5) str.

    Raises
    ------
    DivergedError
        If loss or weights are not finite. The checkpoint stays what it was.
    """
    torch.manual_seed(seed)
    network = build()
    decay = [p for p in network.parameters() if p.ndim >= 2]
    plain = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1.5e-3, betas=(0.9, 0.98))
    images, tokens = torch.from_numpy(data["images"]), tokenise(data["captions"])
    per_epoch = len(images) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.5e-3, total_steps=n_epochs * per_epoch, pct_start=0.08
    )
    settings = {"n_epochs": n_epochs, "batch_size": batch_size, "seed": seed}
    first = 0
    if checkpoint.is_file():
        state = load_state(checkpoint, settings)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
    for epoch in range(first, n_epochs):
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(images), generator=generator)[: per_epoch * batch_size]
        batches = order.view(per_epoch, batch_size)
        bar = tqdm(batches, desc=f"CLIP epoch {epoch + 1}/{n_epochs}", mininterval=5)
        for rows in bar:
            picture = images[rows].permute(0, 3, 1, 2).float() / 255
            which = torch.randint(0, tokens.shape[1], (batch_size,), generator=generator)
            picture = normalise(augment(picture, generator)).to(memory_format=torch.channels_last)
            loss = _loss(network, picture, tokens[rows, which])
            check_learning(loss.detach(), "the loss", schedule.last_epoch)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():  # as in CLIP: the scale never exceeds 100
                network.logit_scale.clamp_(0, math.log(100))
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        check_weights(network.state_dict(), schedule.last_epoch)
        state = {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
            "epoch": epoch + 1,
        }
        save_state(checkpoint, state, settings)
    return network.eval()


def _loss(network: CLIP, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of a batch of matching pairs."""
    image, text, scale = network(images, tokens)
    logits = scale * image @ text.T  # (B, B)
    target = torch.arange(len(logits))
    sides = [functional.cross_entropy(side, target) for side in (logits, logits.T)]
    return (sides[0] + sides[1]) / 2


def save_bundle(network: CLIP, folder: Path) -> None:
    """Write what ``open_clip.create_model_and_transforms("local-dir:FOLDER")`` opens (float16)."""
    config = {
        "model_cfg": MODEL,
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    with atomic_path(folder / "open_clip_model.safetensors") as tmp:
        write_safetensors(tmp, state)
    write_json(folder / "open_clip_config.json", config)
