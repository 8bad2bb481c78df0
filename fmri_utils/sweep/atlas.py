"""Effects of all voxels on all test pictures, spread over workers, of one run.

``python -m fmri_utils.sweep.atlas PROFILE=demo SUBJECTS=1 ENGINE=slurm WORKERS=16``. Notebook 05
does this for a few pictures. A block of the work is one picture with all its voxels: the costly
pass through the generator is the same for every voxel. A block that is finished is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from distributed import Client, as_completed

from .. import artifacts, encoders, perturbation, reconstruction
from ..devices import choose_device
from ..errors import FmriUtilsError, ProfileError
from ..lafite import load_generator
from ..perturbation.parts import Spread
from ..profiles import PROJECT_ROOT, Profile
from .engines import open_client, worker_resources
from .settings import Resources, parse

RESULT = "atlas.h5"


def spread_over(client: Client, resources: Resources) -> Spread:
    """Let the workers of a client do the parts of :class:`fmri_utils.perturbation.Parts`.

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
            retries=resources.retries,
            resources=worker_resources(resources),
            pure=False,
        )
        for future in as_completed(futures):
            yield future.result()

    return spread


def _given(function: Callable) -> Callable:
    return function


def _block(number: int, function: Callable[[int], int], threads: int) -> int:
    torch.set_num_threads(threads)
    return function(number)


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
    files = {name: profile.derived / name for name in ("predictions.h5", "matched.safetensors")}
    files["generator"] = profile.path(profile.lafite.weights)
    arrays = artifacts.load_arrays(files["predictions.h5"], remedy="Run `make 03`.")
    encoder = encoders.load_encoder(files["matched.safetensors"], remedy="Run `make 03`.")
    generator = load_generator(files["generator"], device=choose_device(profile.device))
    key = {name: artifacts.sha256_file(path) for name, path in files.items()}
    effects = perturbation.image_effects(
        generator,
        encoder,
        arrays["pattern"],
        reconstruction.draw_z(generator, 1, profile.seed),
        folder=profile.derived / "parts",
        key={"atlas": True, **key},
        n_probes=profile.perturbation.n_probes,
        psi=profile.lafite.truncation_psi,
        seed=profile.seed,
        progress=True,
        spread=spread,
    )
    found = {"sensitivity": effects.sensitivity, "test_ids": arrays["test_ids"]}
    artifacts.save_arrays(profile.derived / RESULT, found, config=profile.as_dict(), inputs=key)
    return effects


def main(arguments: Sequence[str]) -> int:
    """Settings as for a sweep, of a single run; 0 on success, 2 on a clear error."""
    try:
        sweep = parse(arguments)
        if len(sweep.runs) > 1:
            raise ProfileError(
                f"{len(sweep.runs)} runs. Expected: one subject, area and seed, whose pictures are "
                "spread over the workers."
            )
        profile, resources = sweep.runs[0].profile, sweep.resources
        with open_client(resources, PROJECT_ROOT / "runs" / profile.name / "slurm") as client:
            sys.stderr.write(f"dashboard: {client.dashboard_link}\n")
            voxel_atlas(profile, spread_over(client, resources))
    except FmriUtilsError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    sys.stderr.write(f"{(profile.derived / RESULT).relative_to(PROJECT_ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
