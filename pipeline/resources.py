"""Where runs are done, and with what: ENGINE=, WORKERS=, MEMORY= ... as the engine takes them."""

import importlib.util
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from fmri_utils.project.errors import ProfileError
from fmri_utils.project.settings import checked, settings

from . import setting
from .locks import visible_gpus

UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])i?B?", re.IGNORECASE)
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?")
# Options of sbatch that the executor takes under names of its own.
OWN = {"--account": "slurm_account", "--qos": "qos", "--constraint": "constraint"}


def megabytes(given: str | int) -> int:
    """A memory size; 0 for none."""
    if isinstance(given, int) or not given:
        return given or 0
    if (found := MEMORY.fullmatch(given)) is None:
        raise ValueError(f"{given!r} is no memory size, such as 8GB or 900MB")
    return round(float(found[1]) * UNITS[found[2].upper()])


def minutes(given: str | int) -> int:
    """A time as Slurm writes it: minutes, min:s, h:min:s, d-h, d-h:min; 0 for none."""
    if isinstance(given, int) or not given:
        return given or 0
    if (found := TIME.fullmatch(given)) is None:
        raise ValueError(f"{given!r} is no time, such as 12:00:00 or 1-06:00:00")
    days, first, second, third = (int(part or 0) for part in found.groups())
    in_hours = found[1] or found[4]
    seconds = (first * 60 + second) * 60 + third if in_hours else first * 60 + second
    if days + seconds == 0:
        raise ValueError(f"{given!r} is no time to work in")
    return days * 1440 + math.ceil(seconds / 60)


Memory = Annotated[int, BeforeValidator(megabytes)]
Time = Annotated[int, BeforeValidator(minutes)]
Options = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: shlex.split(given) if isinstance(given, str) else given),
]


@settings
class Resources:
    """Where runs are done, and with what.

    Attributes
    ----------
    engine : str
        "local", "slurm" or a folder.
    workers : int
        Notebooks, or blocks of an atlas, at the same time; 0 for as many as fit.
    threads, gpus, retries : int
        Of each notebook.
    threads_alone : int
        Of a notebook beside which no other of its run can run; 0 for no more.
    memory, walltime : int
        Of each Slurm job, in megabytes and minutes; 0 for Slurm's default.
    partition : str
        Of Slurm; empty for its default.
    sbatch : tuple of str
        Further options of sbatch.
    """

    engine: str = setting("local", "local (here), slurm, or the folder of a Snakemake profile")
    workers: int = setting(0, "at the same time; as many as fit, or 8 jobs, by default", ge=0)
    threads: int = setting(1, "threads of each notebook", ge=1)
    threads_alone: int = 0
    gpus: int = setting(0, "GPUs of each notebook, none by default", ge=0)
    memory: Memory = setting("8GB", "of each Slurm job; empty for the cluster's own")
    walltime: Time = setting("12:00:00", "of each Slurm job; empty for the cluster's own")
    partition: str = setting("", "of Slurm; its default one by default")
    sbatch: Options = setting("", 'for sbatch, such as "--account=x --constraint=a100"')
    retries: int = setting(0, "how often a notebook that failed is tried again in one call", ge=0)

    @property
    def each(self) -> dict[str, object]:
        """What one notebook may use, as the Snakefile takes it."""
        found: dict[str, int | str] = {"gpu": self.gpus} if self.gpus else {}
        local = self.engine == "local"
        if not local:
            # 0 keeps the engine's own guess out of the request as well
            found |= {"mem_mb": self.memory, "runtime": self.walltime}
            options = [option.partition("=") for option in self.sbatch]
            found |= {OWN[name]: value for name, _, value in options if name in OWN}
            extra = shlex.join("".join(option) for option in options if option[0] not in OWN)
            also = {"slurm_partition": self.partition, "slurm_extra": extra}
            found |= {name: value for name, value in also.items() if value}
        alone = self.threads_alone or self.threads
        each = {"threads": self.threads, "threads_alone": alone, "resources": found}
        return {**each, "gpus": self.gpus if local else 0}

    @property
    def options(self) -> list[str]:
        """For Snakemake.

        Raises
        ------
        ProfileError
            If this machine has no GPU to give out, no ``sbatch``, or no such folder.
        """
        again = ["--retries", str(self.retries)] if self.retries else []
        jobs = [*again, "--jobs", str(self.workers or 8)]
        if self.engine == "local":
            cores = self.workers * self.threads or len(os.sched_getaffinity(0))
            there = len(visible_gpus()) if self.gpus else 0
            if there < self.gpus:
                raise ProfileError(
                    f"each notebook is to have {self.gpus} GPUs, and this machine has {there}. "
                    "Expected: at least as many. Set GPUS=0, or ENGINE=slurm."
                )
            gpus = ["--resources", f"gpu={there}"] if self.gpus else []
            return [*again, "--cores", str(max(cores, self.threads)), *gpus]
        if self.engine != "slurm":
            if Path(self.engine).is_dir():
                return ["--profile", self.engine, *jobs]
            raise ProfileError(
                f"ENGINE is {self.engine!r}. Expected: local, slurm, or the folder of a profile."
            )
        if shutil.which("sbatch") is None:
            raise ProfileError(
                "ENGINE=slurm, and this machine has no sbatch. Expected: a login node of a Slurm "
                "cluster. Use ENGINE=local here."
            )
        if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
            raise ProfileError(
                "ENGINE=slurm takes Snakemake's executor for it, which is not installed. Install "
                f'it: {sys.executable} -m pip install -c constraints.txt -e ".[slurm]"'
            )
        ask = ["sacct", "--noheader", "--jobs", "0"]  # fails where there is no accounting
        unknown = subprocess.run(ask, capture_output=True, check=False).returncode
        status = ["--slurm-status-command", "squeue" if unknown else "sacct"]
        status += ["--slurm-init-seconds-before-status-checks", "10"]
        return ["--executor", "slurm", *status, *jobs]


HELP = {k.upper(): f.description for k, f in Resources.__pydantic_fields__.items() if f.description}


def check_device(resources: Resources, device: str) -> None:
    """Refuse what no notebook would find before anything starts; other nodes are not known here.

    Raises
    ------
    ProfileError
        If there is no such device, or notebooks on this machine are to have a GPU that it lacks.
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


def resources_from(named: Mapping[str, str]) -> Resources:
    """From the settings of :data:`HELP` in a command line.

    Raises
    ------
    ProfileError
        On a value that is none.
    """
    given = {name.lower(): named[name] for name in HELP if name in named}
    return checked(Resources, given, "the resources")
