"""Train LAFITE on a folder's worth of images, on one device or on several.

::

    torchrun --nproc-per-node=4 -m pipeline.train_lafite IMAGES=images.npy OUT=runs/lafite \\
        CLIP=ViT-B-32-quickgelu PRETRAINED=openai batch_size=32 n_images=1000000 mirror=true

``IMAGES`` is a uint8 array (N, size, size, 3). Any name of
:class:`~fmri_utils.lafite.TrainingConfig` may be set, and ``generator.NAME`` and
``discriminator.NAME``; ``INITIAL`` names networks to start from. Resolution, width of the
condition and CLIP's input follow from images and CLIP. ``batch_size`` is that of all processes
together. Without torchrun (``python -m``) there is one process. The same command goes on after an
interruption. ``OUT`` gets checkpoints, loss curves and samples, and at the end the averaged
generator, ``lafite.safetensors``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from fmri_utils.clip.space import ClipSpace, open_clip_space
from fmri_utils.lafite import (
    DiscriminatorConfig,
    GeneratorConfig,
    Observers,
    TrainingConfig,
    TrainingData,
    save_generator,
    train,
)
from fmri_utils.lafite.training.processes import Processes
from fmri_utils.plots import save_progress
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.command import command
from fmri_utils.project.devices import choose_device
from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import reading

from .request import taken

NEEDED = ("IMAGES", "OUT", "CLIP")
NAMES = (*NEEDED, "PRETRAINED", "INITIAL", "DEVICE")
AT_ONCE = 1000  # images of which a copy is made
PARTS = {"": TrainingConfig, "generator": GeneratorConfig, "discriminator": DiscriminatorConfig}


def parse_settings(arguments: Sequence[str]) -> tuple[dict[str, str], dict[str, dict]]:
    """Paths and names in capitals, and settings by part, out of NAME=value arguments.

    Raises
    ------
    DataError
        If a name is unknown, a value cannot be read, or something needed is missing.
    """
    named, rest = taken(arguments, NAMES)
    settings = {part: {} for part in PARTS}
    for argument in rest:
        name, _, text = argument.partition("=")
        part, _, field = name.rpartition(".")
        valid = {f.name for f in dataclasses.fields(PARTS[part])} if part in PARTS else set()
        if field not in valid - {"generator", "discriminator"}:
            raise DataError(
                f"setting {argument!r} is unknown. Expected: NAME=value, with NAME one of "
                f"{', '.join(NAMES)}, a setting of TrainingConfig, or generator.NAME or "
                "discriminator.NAME."
            )
        try:
            settings[part][field] = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError as err:
            raise DataError(
                f"{argument!r}: {text!r} is no value. Expected: a number, true, false or [list]."
            ) from err
    if missing := [name for name in NEEDED if not named.get(name)]:
        raise DataError(f"{', '.join(missing)} not given. Expected: {', '.join(NEEDED)}.")
    return named, settings


def training_config(settings: dict[str, dict], resolution: int, clip: ClipSpace) -> TrainingConfig:
    """The settings, with what follows from images and CLIP.

    Raises
    ------
    DataError
        If a value is out of range, or two do not fit each other.
    """
    shared = {"resolution": resolution, "condition_dim": clip.dim}
    try:
        return TrainingConfig(
            generator=GeneratorConfig(**(shared | settings["generator"])),
            discriminator=DiscriminatorConfig(**(shared | settings["discriminator"])),
            **({"clip_size": clip.image_size} | settings[""]),
        )
    except (TypeError, ValueError) as err:
        raise DataError(f"the settings do not fit: {err}") from err


def shared_embeddings(
    images: np.ndarray, clip: ClipSpace, processes: Processes, folder: Path, *, mirror: bool
) -> np.ndarray:
    """CLIP embeddings (N, C) of the images, or of their mirror images.

    Each process computes its part. They are kept in ``folder``, so that a run that goes on with
    another number of processes, and other rounding, sees the same.
    """
    digest = hashlib.sha256(f"{clip.name} {mirror} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images[:, ::16, ::16]))
    path = folder / f"embeddings-{digest.hexdigest()[:16]}.npy"
    if not processes.any(path.is_file(), clip.device):
        n = -(-len(images) // processes.size)
        own = images[processes.rank * n : (processes.rank + 1) * n]
        embeddings = torch.zeros(n, clip.dim)
        for start in range(0, len(own), AT_ONCE):
            part = own[start : start + AT_ONCE]
            part = np.ascontiguousarray(part[:, :, ::-1] if mirror else part)
            embeddings[start : start + len(part)] = torch.from_numpy(clip.encode_images(part))
        embeddings = processes.gather(embeddings.to(clip.device))[: len(images)]
        if processes.rank == 0:
            with atomic_path(path) as tmp:
                np.save(tmp, embeddings.numpy(force=True))
        processes.wait()
    return np.load(path, allow_pickle=False)


def run(named: dict[str, str], settings: dict[str, dict], device: torch.device) -> Path | None:
    """Train; returns the generator's file in the first process, if the run is finished.

    Raises
    ------
    DataError, WeightsError
        If a file cannot be read or does not fit.
    """
    processes = Processes.current()
    damaged = "expected a .npy file, uint8 (N, size, size, 3)."
    with reading(named["IMAGES"], "IMAGES", damaged=damaged):
        images = np.load(named["IMAGES"], mmap_mode="c", allow_pickle=False)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(
            f"{named['IMAGES']} holds {images.dtype} {images.shape}. Expected: uint8 (N, size, "
            "size, 3)."
        )
    clip = open_clip_space(named["CLIP"], named.get("PRETRAINED", ""), device=device)
    config = training_config(settings, images.shape[1], clip)
    out = Path(named["OUT"])
    embeddings, mirrored = (
        shared_embeddings(images, clip, processes, out, mirror=mirror) if wanted else None
        for mirror, wanted in ((False, True), (True, config.mirror))
    )
    data, label = TrainingData(images, embeddings, mirrored), Path(named["IMAGES"]).stem
    drawn = save_progress(out, label, about={"made by": "pipeline.train_lafite"})
    how = {"observers": Observers(drawn), "out_dir": out, "device": device}
    how["initial"] = named.get("INITIAL")
    result = train(config, data, lambda pictures: clip.embed(pictures / 2 + 0.5), **how)
    if processes.rank > 0:
        return None
    card = {"data": f"{len(images)} images, {label}", "clip": clip.name, "images": result.images}
    path = out / "lafite.safetensors"
    save_generator(path, result.generator, card | {"training": config.to_dict()})
    return path


@command
def main(arguments: list[str]) -> None:
    """Train with NAME=value settings, alone or as one of torchrun's processes."""
    together = "RANK" in os.environ  # torchrun's
    try:
        named, settings = parse_settings(arguments)
        device = choose_device(named.get("DEVICE", "auto"))
        if device.type == "cuda" and together:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        if together:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        path = run(named, settings, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if path is not None:
        sys.stderr.write(f"wrote {path}\n")


if __name__ == "__main__":
    raise SystemExit(main())
