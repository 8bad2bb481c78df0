"""Where workers come from: processes on this machine, or Slurm jobs that are replaced when lost."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client, LocalCluster

from fmri_utils.project.errors import FmriUtilsError, ProfileError

from .settings import Resources
from .tasks import THREAD_VARIABLES

LOST_WORKERS = 3  # a run that took so many workers with it is not given another one


@contextlib.contextmanager
def open_client(resources: Resources, logs: Path) -> Iterator[Client]:
    """Start workers and connect to them; at the end they are gone, whatever happened.

    Parameters
    ----------
    resources : Resources
    logs : pathlib.Path
        Where Slurm writes the output of its jobs.

    Yields
    ------
    distributed.Client
    """
    with dask.config.set({"distributed.scheduler.allowed-failures": LOST_WORKERS}):
        start = _slurm if resources.engine == "slurm" else _local
        with start(resources, logs) as cluster, Client(cluster) as client:
            yield client


def _local(resources: Resources, logs: Path) -> LocalCluster:
    """One process for each run at a time; a process that dies is started again by its nanny."""
    workers = resources.workers
    if resources.gpus:
        workers = min(workers, len(visible_gpus()) // resources.gpus)
    if not workers:
        raise FmriUtilsError(
            f"each run is to have {resources.gpus} GPUs, and this machine has "
            f"{len(visible_gpus())}. Expected: at least as many. Set GPUS=0, or ENGINE=slurm."
        )
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,  # a run is a process of its own, which the worker's limit does not see
        dashboard_address=f":{resources.dashboard}",
        resources=worker_resources(resources),
    )


def _slurm(resources: Resources, logs: Path) -> SLURMCluster:
    """Jobs of one worker each; `adapt` starts another job where one is lost or cancelled."""
    logs.mkdir(parents=True, exist_ok=True)
    extra = list(resources.sbatch)
    if resources.gpus:
        extra.append(f"--gres=gpu:{resources.gpus}")
    named = ",".join(f"{k}={v}" for k, v in worker_resources(resources).items())
    cluster = SLURMCluster(
        queue=resources.partition or None,
        interface=resources.interface or None,
        walltime=resources.walltime,
        memory=resources.memory,
        cores=1,  # of Dask: one run at a time
        processes=1,
        job_cpu=resources.threads,
        job_extra_directives=extra,
        job_script_prologue=[f"export {v}={resources.threads}" for v in THREAD_VARIABLES],
        worker_extra_args=["--resources", named] if named else [],
        log_directory=str(logs),
        scheduler_options={"dashboard_address": f":{resources.dashboard}"},
    )
    cluster.adapt(minimum_jobs=resources.workers, maximum_jobs=resources.workers)
    return cluster


def worker_resources(resources: Resources) -> dict[str, int]:
    """What a worker has and a run needs, in Dask's terms."""
    return {"GPU": resources.gpus} if resources.gpus else {}


def check_device(resources: Resources, device: str) -> None:
    """Refuse what no worker would find before anything starts; Slurm's nodes are not known here.

    Raises
    ------
    ProfileError
        If there is no such device, or workers on this machine are to have a GPU that it lacks.
    """
    import torch

    try:
        kind = "auto" if device == "auto" else torch.device(device).type
    except RuntimeError as err:
        raise ProfileError(
            f"DEVICE is {device!r}. Expected: auto, cpu, cuda or another name that torch knows."
        ) from err
    # Unlike choose_device, the question takes no memory of a GPU that others are to have.
    if resources.engine == "local" and kind == "cuda" and not torch.cuda.is_available():
        raise ProfileError(
            f"DEVICE={device} with ENGINE=local, but torch finds no GPU on this machine. Expected: "
            "a GPU here. Use DEVICE=auto, or ENGINE=slurm with GPUS=1."
        )


def local_gpus(resources: Resources) -> tuple[int, Sequence[str]] | None:
    """GPUs of each worker, and all of this machine; None where there are none to give out."""
    if resources.gpus and resources.engine == "local":
        return resources.gpus, visible_gpus()
    return None  # Slurm gives out its own


def visible_gpus() -> Sequence[str]:
    """Ids of this machine's GPUs that may be used."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [part for part in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if part]
    import torch  # takes seconds, and only GPUs need it

    return [str(number) for number in range(torch.cuda.device_count())]
