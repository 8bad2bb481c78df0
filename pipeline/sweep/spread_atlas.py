"""Effects of all voxels on all test pictures, spread over workers, of one run.

``python -m pipeline.sweep.spread_atlas PROFILE=demo SUBJECTS=1 ENGINE=slurm WORKERS=16``. Notebook
05 does this for a few pictures. A block of the work is one picture with all its voxels: the costly
pass through the generator is the same for every voxel. A block that is finished is kept. On this
machine's GPUs there is one worker for each; Slurm's jobs have a GPU with GPUS=1.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from distributed import Client, as_completed

from fmri_utils import encoders, perturbation
from fmri_utils.lafite import load_generator
from fmri_utils.pictures import reconstruction
from fmri_utils.project import artifacts
from fmri_utils.project.command import command
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.parts import Spread
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from .engines import check_device, local_gpus, open_client, visible_gpus, worker_resources
from .settings import Resources, parse
from .tasks import own_gpus

RESULT = "atlas.h5"


def spread_over(client: Client, resources: Resources) -> Spread:
    """Let the workers of a client do the parts of :class:`fmri_utils.project.parts.Parts`.

    The folder of the parts must be seen by all of them. A part that is lost with its worker is
    done by another.
    """

    def spread(function: Callable[[int], int], numbers: Sequence[int]) -> Iterator[int]:
        shared = client.submit(_given, function, pure=False)  # sent once, not with every number
        futures = client.map(
            _block,
            numbers,
            function=shared,
            threads=resources.threads,
            gpus=local_gpus(resources),
            retries=resources.retries,
            resources=worker_resources(resources),
            pure=False,
        )
        for future in as_completed(futures):
            yield future.result()

    return spread


def _given(function: Callable) -> Callable:
    return function


def _block(
    number: int,
    function: Callable[[int], int],
    threads: int,
    gpus: tuple[int, Sequence[str]] | None,
) -> int:
    torch.set_num_threads(threads)
    if gpus is not None:  # read when this process first asks for a GPU, and the same in each block
        os.environ["CUDA_VISIBLE_DEVICES"] = own_gpus(*gpus)
    try:
        return function(number)
    except ProfileError as err:
        raise ProfileError(
            f"on {platform.node()}: {err} With ENGINE=slurm, GPUS=1 gives each job a GPU."
        ) from err


def _with_gpus(resources: Resources, device: str) -> Resources:
    """Where workers on this machine compute on GPUs, one each: all would crowd onto the first."""
    unsaid = resources.engine == "local" and not resources.gpus and device in ("auto", "cuda")
    if unsaid and torch.cuda.is_available() and visible_gpus():
        return replace(resources, gpus=1)
    return resources


def _workers(resources: Resources, logs: Path) -> Spread:
    """As :func:`spread_over`, with workers that are started for what is missing, if anything."""

    def spread(function: Callable[[int], int], numbers: Sequence[int]) -> Iterator[int]:
        if not numbers:
            return
        with open_client(resources.for_tasks(len(numbers)), logs) as client:
            sys.stderr.write(f"dashboard: {client.dashboard_link}\n")
            yield from spread_over(client, resources)(function, numbers)

    return spread


def voxel_atlas(profile: Profile, spread: Spread | None = None) -> perturbation.ImageEffects:
    """Sensitivity of every test picture to every voxel, stored in the run's derived folder.

    Parameters
    ----------
    profile : Profile
        A run whose notebooks 01 to 03 are done.
    spread : callable, optional
        From :func:`spread_over`; one picture after the other by default, with the same values.

    Raises
    ------
    ArtifactError
        If notebook 03 has not been run.
    """
    files = open_inputs(profile, "predictions", "matched", "generator")
    arrays, encoder = files["predictions"], encoders.load_encoder(files["matched"])
    generator = load_generator(files["generator"])
    effects = perturbation.image_effects(
        generator,
        encoder,
        arrays["pattern"],
        reconstruction.draw_z(generator, 1, profile.seed),
        folder=profile.derived / "parts",
        key={"atlas": True, **files.hashes},
        n_probes=profile.perturbation.n_probes,
        psi=profile.lafite.truncation_psi,
        seed=profile.seed,
        progress=True,
        spread=spread,
        device=profile.device,  # of whoever does a picture
    )
    found = {"sensitivity": effects.sensitivity, "test_ids": arrays["test_ids"]}
    artifacts.save_arrays(profile.derived / RESULT, found, **files.origin)
    return effects


@command
def main(arguments: list[str]) -> None:
    """Settings as for a sweep, of a single run."""
    sweep = parse(arguments)
    if len(sweep.runs) > 1:
        raise ProfileError(
            f"{len(sweep.runs)} runs. Expected: one subject, area and seed, whose pictures are "
            "spread over the workers."
        )
    profile = sweep.runs[0].profile
    check_device(sweep.resources, profile.device)
    resources = _with_gpus(sweep.resources, profile.device)
    logs = PROJECT_ROOT / "runs" / profile.name / "slurm"
    voxel_atlas(profile, _workers(resources, logs))
    sys.stderr.write(f"{(profile.derived / RESULT).relative_to(PROJECT_ROOT)}\n")


if __name__ == "__main__":
    raise SystemExit(main())
