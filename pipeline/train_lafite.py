"""Train LAFITE on the stimuli of an NSD folder or on one's own images, on one device or several.

::

    make lafite-train PROFILE=nsd GPUS=4 batch_size=32 n_images=1000000 mirror=true
    make lafite-train IMAGES=images.npy OUT=runs/lafite CLIP=ViT-B-32-quickgelu PRETRAINED=openai

With ``PROFILE`` these are the images of its NSD folder without the shared ones, which are the test
images; ``SIZE`` is their width in pixels, 256 by default, CLIP is the profile's, and any key of the
profile may be set ("data.root=..."). ``IMAGES`` is a uint8 array (N, size, size, 3).

Any name of :class:`~fmri_utils.lafite.TrainingConfig` may be set, and ``generator.NAME`` and
``discriminator.NAME``; ``INITIAL`` names networks to start from. Resolution, width of the
condition and CLIP's input follow from images and CLIP. ``batch_size`` is that of all processes
together; ``GPUS`` starts as many by torchrun. The same command goes on after an interruption.
``OUT`` gets checkpoints, loss curves with the Frechet distance to images that were held out, and
samples; at the end the averaged generator, ``lafite.safetensors``, which with ``PROFILE`` goes
where the profile looks for it as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
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
from fmri_utils.metrics.frechet import training_monitor
from fmri_utils.plots import save_progress
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.command import command
from fmri_utils.project.devices import choose_device
from fmri_utils.project.errors import DataError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile
from fmri_utils.project.reading import reading

from .lafite_stimuli import embedded_captions, n_held_out, resized_stimuli
from .request import VARIABLES, parse_request, taken

NEEDED = ("IMAGES", "OUT", "CLIP")
NAMES = (*NEEDED, "PRETRAINED", "SIZE", "INITIAL", "GPUS", *VARIABLES)
FILE = "lafite.safetensors"
AT_ONCE = 1000  # images of which a copy is made
PARTS = {"": TrainingConfig, "generator": GeneratorConfig, "discriminator": DiscriminatorConfig}


def parse_settings(arguments: Sequence[str]) -> tuple[dict[str, str], dict[str, dict], list[str]]:
    """Paths and names in capitals, settings by part, and keys of a profile, from NAME=value.

    Raises
    ------
    DataError
        If a name is unknown, a value cannot be read, or something needed is missing.
    """
    named, rest = taken(arguments, NAMES)
    settings, keys = {part: {} for part in PARTS}, []
    for argument in rest:
        name, _, text = argument.partition("=")
        part, _, field = name.rpartition(".")
        if named.get("PROFILE") and part not in PARTS:
            keys.append(argument)
            continue
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
    for name in ("SIZE", "GPUS"):
        if not named.setdefault(name, "256" if name == "SIZE" else "1").isdecimal():
            raise DataError(f"{name} is {named[name]!r}. Expected: a whole number.")
    missing = [name for name in NEEDED if not named.get(name)]
    if missing and not named.get("PROFILE"):
        raise DataError(
            f"{', '.join(missing)} not given. Expected: PROFILE, or {', '.join(NEEDED)}."
        )
    if named.get("PROFILE") and (mixed := {"IMAGES", "CLIP", "PRETRAINED"} & set(named)):
        raise DataError(f"PROFILE and {', '.join(sorted(mixed))} were given. Expected: either.")
    return named, settings, keys


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a run's images and CLIP come from, and where its files go.

    ``goal`` is the second place of the finished generator: where the profile looks for it.
    """

    images: np.ndarray
    clip: ClipSpace
    out: Path
    label: str
    profile: Profile | None = None

    @property
    def goal(self) -> Path | None:
        return None if self.profile is None else self.profile.path(self.profile.lafite.weights)


def open_source(named: dict[str, str], keys: Sequence[str], device: torch.device) -> Source:
    """Open what the settings name; a profile's stimuli are resized by the first call.

    Raises
    ------
    DataError, WeightsError
        If a file cannot be read, or another generator lies where the new one would go.
    """
    if not named.get("PROFILE"):
        path = Path(named["IMAGES"])
        with reading(path, "IMAGES", damaged="expected a .npy file, uint8 (N, size, size, 3)."):
            images = np.load(path, mmap_mode="c", allow_pickle=False)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(
                f"{path} holds {images.dtype} {images.shape}. Expected: uint8 (N, size, size, 3)."
            )
        clip = open_clip_space(named["CLIP"], named.get("PRETRAINED", ""), device=device)
        return Source(images, clip, Path(named["OUT"]), path.stem)
    which = [f"{name}={named[name]}" for name in VARIABLES if named.get(name)]
    profile, size = parse_request([*which, *keys]).profile, int(named["SIZE"])
    goal = profile.path(profile.lafite.weights)
    out = Path(named.get("OUT") or goal.parent / f"lafite-training-{size}")
    if goal.exists() and not (out / FILE).is_file():
        raise DataError(
            f"{goal} exists and is not of {out}. Move it away, or set lafite.weights=another/file."
        )
    images = resized_stimuli(profile, size, out)
    where = {"device": device, "root": PROJECT_ROOT}
    clip = open_clip_space(profile.clip.model, profile.clip.pretrained, **where)
    return Source(images, clip, out, f"{profile.dataset_name}, stimuli", profile)


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


def run(source: Source, config: TrainingConfig, initial: str | None) -> Path | None:
    """Train; returns the generator's file in the first process, if the run is finished.

    Raises
    ------
    DataError, WeightsError
        If data, settings and networks do not fit each other.
    """
    processes, clip, out = Processes.current(), source.clip, source.out
    n = len(source.images) - n_held_out(len(source.images))
    images, held = source.images[:n], source.images[n:]
    embeddings, mirrored = (
        shared_embeddings(images, clip, processes, out, mirror=mirror) if wanted else None
        for mirror, wanted in ((False, True), (True, config.mirror))
    )
    captions = captions_of(source, config)
    data = TrainingData(images, embeddings, mirrored, None if captions is None else captions[:n])
    about = {"made by": "pipeline.train_lafite"}
    observers = Observers(save_progress(out, source.label, about=about))
    if len(held) and processes.rank == 0:
        conditions = clip.encode_images(held)
        if config.generator.n_conditions == 2:
            conditions = np.concatenate([conditions, captions[n:, 0]], axis=1)
        floor = {"others": images[: len(held)]}  # as many real ones
        monitor = training_monitor(held, clip.encode_images, **floor, device=clip.device)
        observers = dataclasses.replace(observers, monitor=monitor, grid_conditions=conditions)
    how = {"observers": observers, "out_dir": out, "device": clip.device, "initial": initial}
    result = train(config, data, lambda pictures: clip.embed(pictures / 2 + 0.5), **how)
    if processes.rank > 0:
        return None
    distances = [row for row in result.history if any("frechet" in k or k == "fid" for k in row)]
    card = {"data": f"{n} images, {source.label}", "clip": clip.name, "images": result.images}
    card |= {"held out": len(held), "distance": distances[-1] if distances else {}}
    path = out / FILE
    save_generator(path, result.generator, card | {"training": config.to_dict()})
    if source.goal is not None:
        with atomic_path(source.goal) as tmp:
            shutil.copyfile(path, tmp)
        path = source.goal
    return path


def captions_of(source: Source, config: TrainingConfig) -> np.ndarray | None:
    """Embeddings (N, 5, C) of the images' captions, if the settings ask for any."""
    wanted = config.caption_probability > 0 or config.generator.n_conditions == 2
    if not wanted or source.profile is None:
        return None
    return embedded_captions(source.profile, source.clip, source.out)


@command
def main(arguments: list[str]) -> None:
    """Train with NAME=value settings, alone or as one of torchrun's processes."""
    together = "RANK" in os.environ  # torchrun's
    try:
        named, settings, keys = parse_settings(arguments)
        device = choose_device(named.get("DEVICE") or "auto")
        if device.type == "cuda" and together:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        source = open_source(named, keys, device)
        config = training_config(settings, source.images.shape[1], source.clip)
        if int(named["GPUS"]) > 1 and not together:
            captions_of(source, config)  # computed now, so that no process of many waits for it
            several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={named['GPUS']}"]
            command_line = ["-m", *several, "-m", "pipeline.train_lafite", *arguments]
            os.execv(sys.executable, [sys.executable, *command_line])
        if together:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        path = run(source, config, named.get("INITIAL"))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if path is not None:
        sys.stderr.write(f"wrote {path}\n")


if __name__ == "__main__":
    raise SystemExit(main())
