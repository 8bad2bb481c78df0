"""Train the judge: a classifier of scenes that no generator is ever trained against."""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm.auto import tqdm

from fmri_utils.metrics.judge import HEADS, Judge
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.checks import check_learning, check_weights
from fmri_utils.project.tensors import write_safetensors

from .demo_clip import augment


def train(data: dict[str, np.ndarray], *, n_epochs: int, batch_size: int = 200, seed: int) -> Judge:
    """Train on labelled scenes: ``images`` (n, 64, 64, 3) uint8 and the labels of each head."""
    torch.manual_seed(seed)
    classes = {head: np.unique(data[head]).tolist() for head in HEADS}
    targets = {h: torch.from_numpy(np.searchsorted(classes[h], data[h])) for h in HEADS}
    judge = Judge(classes).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=1e-3, weight_decay=0.02)
    images = torch.from_numpy(data["images"])
    per_epoch = len(images) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2e-3, total_steps=n_epochs * per_epoch
    )
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(n_epochs):
        order = torch.randperm(len(images), generator=generator)[: per_epoch * batch_size]
        batches, about = order.view(per_epoch, batch_size), f"judge epoch {epoch + 1}/{n_epochs}"
        for rows in tqdm(batches, desc=about, mininterval=5):
            picture = augment(images[rows].permute(0, 3, 1, 2).float() / 255, generator)
            logits = judge(picture.to(memory_format=torch.channels_last))
            losses = [functional.cross_entropy(logits[h], targets[h][rows]) for h in HEADS]
            loss = torch.stack(losses).sum()
            check_learning(loss.detach(), "the loss", schedule.last_epoch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    check_weights(judge.state_dict(), schedule.last_epoch)
    return judge.eval()


def save_judge(judge: Judge, path: Path) -> None:
    """Write the judge's weights (float16) with its classes."""
    state = {name: value.half().contiguous() for name, value in judge.state_dict().items()}
    about = {"classes": json.dumps(judge.classes), "width": str(judge.width)}
    with atomic_path(path) as tmp:
        write_safetensors(tmp, state, about)
