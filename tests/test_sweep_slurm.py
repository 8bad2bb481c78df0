"""`make sweep ENGINE=slurm` on a real Slurm of two nodes, disturbed, beside a local sweep.

Minutes, and needs root and `apt-get install slurm-wlm munge`. In a copy of the project each, so
that nothing is up to date and nothing is shared.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from slurm_cluster import Slurm, missing_programs

from fmri_utils.project.artifacts import sha256_file

ROOT = Path(__file__).parents[1]
SETTINGS = (
    *("PROFILE=smoke", "DEVICE=cpu", "SUBJECTS=1 2", "AREAS=nsdgeneral V1", "SEEDS=0 1"),
    *("TARGET=03", "embedding.n_steps=20", "encoder.n_steps=20", "encoder.n_alphas=3"),
    *("WORKERS=4", "DASHBOARD=0"),
)
N_RUNS = 8


def copy_of_project(folder):
    """What a fresh clone of the working tree would hold."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@contextlib.contextmanager
def open_folder():
    """A folder where everybody may look, as munge wants it for its socket; pytest's are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def start_sweep(project, *settings, env=os.environ):
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.sweep", *SETTINGS, *settings],
        cwd=project,
        env={**env, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(project):
    """Hash of every derived file and of the gathered table."""
    folders = (project / "data/derived", project / "runs/smoke/figures")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(project).as_posix(): sha256_file(path) for path in files}


class Disturber:
    """Follows what a sweep says and takes its jobs away."""

    def __init__(self, slurm):
        self.slurm, self.did = slurm, {}

    def follow(self, line):
        done = self.did.get("done", 0)
        if re.search(r" seed \d +done ", line):
            self.did["done"] = done = done + 1
        running = re.search(r" seed \d +running +(node\d) +(02\S*)", line)
        if running and "cancelled" not in self.did:
            self.did["cancelled"] = self.cancel(running[1])
        elif running and done >= 2 and "killed" not in self.did:
            self.did["killed"] = self.kill_worker(running[1])
        elif running and done >= 4 and "node" not in self.did:
            self.did["node"] = running[1]
            self.slurm.kill_node(running[1])
        elif done >= 5 and "node" in self.did and "back" not in self.did:
            self.did["back"] = True
            self.slurm.start_node(self.did["node"])

    def cancel(self, node):
        job = next(job for job, where in self.slurm.jobs().items() if where == node)
        self.slurm.call("scancel", job)
        return job

    def kill_worker(self, node):
        """SIGKILL to the process that holds a running run's other end."""
        for process in self.slurm.processes_on(node):
            with contextlib.suppress(psutil.Error):
                if "pipeline.sweep.child" in process.cmdline():
                    worker = process.parent()
                    worker.kill()
                    return worker.pid
        raise AssertionError(f"no run on {node}")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="starting Slurm takes root")
@pytest.mark.skipif(bool(missing_programs()), reason="Slurm or munge is not installed")
def test_a_disturbed_slurm_sweep_ends_with_what_a_local_one_gives(tmp_path):
    local, remote = (copy_of_project(tmp_path / name) for name in ("local", "remote"))
    sweep = start_sweep(local, "ENGINE=local")
    said = sweep.communicate()[0]
    print(said)
    assert sweep.returncode == 0, said
    shutil.copytree(local / "data/nsd-simulated", remote / "data/nsd-simulated")
    with open_folder() as folder, Slurm(folder / "slurm") as slurm:
        disturber = Disturber(slurm)
        sweep = start_sweep(remote, "ENGINE=slurm", "GPUS=1", "MEMORY=2GB", env=slurm.env)
        said = []
        for line in sweep.stdout:
            print(line, end="", flush=True)
            said.append(line)
            disturber.follow(line)
        assert sweep.wait() == 0
    print(disturber.did)
    assert {"cancelled", "killed", "node", "back"} <= set(disturber.did)
    assert f"{N_RUNS} of {N_RUNS} runs have their results" in "".join(said)
    assert len({line.split(" seed")[0] for line in said if "attempt 2" in line}) >= 1
    wanted = results(local)
    assert len([name for name in wanted if name.endswith("encoder_scores.json")]) == N_RUNS
    assert results(remote) == wanted
