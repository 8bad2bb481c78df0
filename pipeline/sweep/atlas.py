"""Effects of all voxels on all test pictures of one run, in blocks that need not wait.

``python -m pipeline.sweep.atlas PROFILE=demo SUBJECTS=1 ENGINE=slurm WORKERS=16``. Notebook 05 does
this for a few pictures. The unit of the work is one picture with all its voxels: the costly pass
through the generator is the same for every voxel. As many blocks of pictures as there are workers
are jobs of the engine; a picture that is finished is kept.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from fmri_utils.project.command import command
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import Profile

from ..engine import Job, check, run
from ..execute import as_job
from ..locks import visible_gpus
from ..request import parse_request
from ..resources import Resources, check_device
from .runs import parse

RESULT = "atlas.h5"
READS = "predictions.h5", "matched.safetensors"


def voxel_atlas(profile: Profile, block: int = 0, n_blocks: int = 1) -> None:
    """Sensitivity of every test picture to every voxel, stored in the run's derived folder.

    Parameters
    ----------
    profile : Profile
        A run whose notebooks 01 to 03 are done.
    block, n_blocks : int
        Every ``n_blocks``-th picture from this one on; the result is written by the only block, or
        by a call for one block after all others have ended.

    Raises
    ------
    ArtifactError
        If notebook 03 has not been run.
    """
    from fmri_utils import encoders, perturbation
    from fmri_utils.lafite import load_generator
    from fmri_utils.pictures import reconstruction
    from fmri_utils.project import artifacts
    from fmri_utils.project.devices import choose_device
    from fmri_utils.project.notebook_files import open_inputs

    files = open_inputs(profile, "predictions", "matched", "generator")
    arrays, encoder = files["predictions"], encoders.load_encoder(files["matched"])
    generator = load_generator(files["generator"], device=choose_device(profile.device))
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
        only=range(block, len(arrays["pattern"]), n_blocks) if n_blocks > 1 else None,
    )
    if effects is not None:
        found = {"sensitivity": effects.sensitivity, "test_ids": arrays["test_ids"]}
        artifacts.save_arrays(profile.derived / RESULT, found, **files.origin)


def _with_gpus(resources: Resources, device: str) -> Resources:
    """Where blocks on this machine compute on GPUs, one each: all would crowd onto the first."""
    unsaid = resources.engine == "local" and not resources.gpus and device in ("auto", "cuda")
    return replace(resources, gpus=1) if unsaid and visible_gpus() else resources


@command
def main(arguments: list[str]) -> None:
    """Settings as for a sweep, of a single run; or ``block=2/16`` and those of the run."""
    if arguments and arguments[0].startswith("block="):
        block, n_blocks = arguments[0].removeprefix("block=").split("/")
        with as_job():
            voxel_atlas(parse_request(arguments[1:]).profile, int(block), int(n_blocks))
        return
    sweep = parse(arguments)
    if len(sweep.runs) > 1:
        raise ProfileError(f"{len(sweep.runs)} runs. Expected: one subject, area and seed.")
    request = replace(sweep.runs[0].request, targets=("03",))  # all that it needs
    check_device(sweep.resources, request.profile.device)
    resources = _with_gpus(sweep.resources, request.profile.device)
    n = resources.workers or (8 if resources.engine != "local" else len(os.sched_getaffinity(0)))
    blocks = [
        Job(f"atlas-{block}-of-{n}", ("pipeline.sweep.atlas", f"block={block}/{n}"), READS)
        for block in range(n)
    ]
    check(run([request], resources, jobs=blocks))
    voxel_atlas(request.profile)
    sys.stderr.write(f"{Path(RESULT)} of {request.folder}\n")


if __name__ == "__main__":
    raise SystemExit(main())
