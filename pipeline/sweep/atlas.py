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
from ..resources import check_device
from .runs import parse

MODULE, RESULT = "pipeline.sweep.atlas", "atlas.h5"
READS = "predictions.h5", "matched.safetensors", "prior.safetensors"


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
    from fmri_utils.pictures import reconstruction
    from fmri_utils.pictures.prior import open_generator
    from fmri_utils.project import artifacts
    from fmri_utils.project.devices import choose_device
    from fmri_utils.project.notebook_files import open_inputs

    files = open_inputs(profile, "predictions", "matched", "prior", "generator")
    arrays, encoder = files["predictions"], encoders.load_encoder(files["matched"])
    generator = open_generator(files, device=choose_device(profile.device))
    pattern, z = arrays["pattern"], reconstruction.draw_z(generator, 1, profile.seed)
    how = {"n_probes": profile.perturbation.n_probes, "psi": profile.lafite.truncation_psi}
    kept = {"folder": profile.derived / "parts", "key": {"atlas": True, **files.hashes}}
    only = range(block, len(pattern), n_blocks) if n_blocks > 1 else None
    effects = perturbation.image_effects(
        generator, encoder, pattern, z, **how, **kept, only=only, seed=profile.seed, progress=True
    )
    if effects is not None:
        found = {"sensitivity": effects.sensitivity, "test_ids": arrays["test_ids"]}
        artifacts.save_arrays(profile.derived / RESULT, found, **files.origin)


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
    resources, local = sweep.resources, sweep.resources.engine == "local"
    on_gpu = local and not resources.gpus and request.profile.device in ("auto", "cuda")
    if on_gpu and visible_gpus():  # one each: all would crowd onto the first
        resources = replace(resources, gpus=1)
    n = resources.workers or (len(os.sched_getaffinity(0)) if local else 8)
    calls = {f"atlas-{i}-of-{n}": (MODULE, f"block={i}/{n}") for i in range(n)}
    jobs = [Job(name, call, READS, (request.folder,)) for name, call in calls.items()]
    check(run([request], resources, jobs=jobs))
    voxel_atlas(request.profile)
    sys.stderr.write(f"{Path(RESULT)} of {request.folder}\n")


if __name__ == "__main__":
    raise SystemExit(main())
