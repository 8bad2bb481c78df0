"""Where runs are done, and with what: ENGINE=, WORKERS=, MEMORY= ... as the engine takes them."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from fmri_utils.project.errors import ProfileError
from fmri_utils.project.settings import checked, settings

from .engine import Each
from .locks import visible_gpus

HELP = {
    "ENGINE": "local (this machine; the default), slurm, or the folder of a Snakemake profile",
    "WORKERS": "notebooks at the same time; as many as fit on this machine, or 8 jobs, by default",
    "THREADS": "threads of each notebook, 1 by default",
    "GPUS": "GPUs of each notebook, 0 by default",
    "MEMORY": "of each Slurm job, such as 8GB (the default); empty for the cluster's own",
    "WALLTIME": "of each Slurm job, such as 12:00:00 (the default); empty for the cluster's own",
    "PARTITION": "of Slurm; its default one by default",
    "SBATCH": 'further options of sbatch, such as "--account=x --constraint=a100"',
    "RETRIES": "how often a notebook that failed is tried again in one call, 0 by default",
}
UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])i?B?", re.IGNORECASE)
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?")
OWN = {"--account": "slurm_account", "--qos": "qos", "--constraint": "constraint"}
"""Options of sbatch that the executor takes under names of its own."""


def megabytes(text: str) -> str:
    """A memory size, checked."""
    if text and (found := MEMORY.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no memory size, such as 8GB or 900MB")
    return str(round(float(found[1]) * UNITS[found[2].upper()])) if text else ""


def minutes(text: str) -> str:
    """A time as Slurm writes it (minutes, min:s, h:min:s, d-h, d-h:min), in minutes."""
    if not text:
        return ""
    found = TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time, such as 12:00:00 or 1-06:00:00")
    days, first, second, third = (int(part or 0) for part in found.groups())
    if found[1]:
        total = days * 1440 + first * 60 + second
    elif found[4]:
        total = first * 60 + second + (third > 0)
    else:
        total = first + (second > 0)
    if total == 0:
        raise ValueError(f"{text!r} is no time to work in")
    return str(total)


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
    memory, walltime, partition : str
        Of each Slurm job, in megabytes and minutes; empty for Slurm's default.
    sbatch : tuple of str
        Further options of sbatch.
    """

    engine: str = "local"
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    memory: Annotated[str, AfterValidator(megabytes)] = "8192"
    walltime: Annotated[str, AfterValidator(minutes)] = "720"
    partition: str = ""
    sbatch: tuple[str, ...] = ()
    retries: Annotated[int, Field(ge=0)] = 0

    @property
    def each(self) -> Each:
        """What one notebook may use."""
        if self.engine == "local":
            asked = {"gpu": self.gpus} if self.gpus else {}
            return Each(self.threads, self.threads, self.gpus, asked)
        found: dict[str, int | str] = {"gpu": self.gpus} if self.gpus else {}
        # 0 keeps the engine's own guess out of the request as well
        found |= {"mem_mb": int(self.memory or 0), "runtime": int(self.walltime or 0)}
        extra = []
        for option in self.sbatch:
            name, _, value = option.partition("=")
            if name in OWN:
                found[OWN[name]] = value
            else:
                extra.append(option)
        if self.partition:
            found["slurm_partition"] = self.partition
        if extra:
            found["slurm_extra"] = shlex.join(extra)
        return Each(self.threads, self.threads, 0, found)

    @property
    def options(self) -> list[str]:
        """For Snakemake.

        Raises
        ------
        ProfileError
            If this machine has no GPU to give out, no ``sbatch``, or no such folder.
        """
        again = ["--retries", str(self.retries)] if self.retries else []
        if self.engine == "local":
            cores = self.workers * self.threads or len(os.sched_getaffinity(0))
            gpus = ["--resources", f"gpu={len(_enough_gpus(self.gpus))}"] if self.gpus else []
            return [*again, "--cores", str(max(cores, self.threads)), *gpus]
        jobs = [*again, "--jobs", str(self.workers or 8)]
        if self.engine != "slurm":
            if not Path(self.engine).is_dir():
                raise ProfileError(
                    f"ENGINE is {self.engine!r}. Expected: local, slurm, or the folder of a "
                    "Snakemake profile."
                )
            return ["--profile", self.engine, *jobs]
        if shutil.which("sbatch") is None:
            raise ProfileError(
                "ENGINE=slurm, and this machine has no sbatch. Expected: a login node of a Slurm "
                "cluster. Use ENGINE=local here."
            )
        ask = ["sacct", "--noheader", "--jobs", "0"]  # fails where there is no accounting
        accounting = not subprocess.run(ask, capture_output=True, check=False).returncode
        command = "sacct" if accounting else "squeue"
        if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
            raise ProfileError(
                "ENGINE=slurm takes Snakemake's executor for it, which is not installed. Install "
                f'it: {sys.executable} -m pip install -c constraints.txt -e ".[slurm]"'
            )
        return [
            *("--executor", "slurm", "--slurm-status-command", command, *jobs),
            *("--slurm-init-seconds-before-status-checks", "10"),
        ]


def _enough_gpus(needed: int) -> list[str]:
    there = visible_gpus()
    if len(there) < needed:
        raise ProfileError(
            f"each notebook is to have {needed} GPUs, and this machine has {len(there)}. Expected: "
            "at least as many. Set GPUS=0, or ENGINE=slurm."
        )
    return there


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
    given = {
        field.name: named[field.name.upper()]
        for field in fields(Resources)
        if field.name.upper() in named
    }
    if "sbatch" in given:
        given["sbatch"] = tuple(shlex.split(given["sbatch"]))
    return checked(Resources, given, "the resources")
