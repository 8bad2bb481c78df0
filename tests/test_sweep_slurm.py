"""`make sweep ENGINE=slurm` on a real Slurm of two nodes, disturbed, beside a local sweep.

It needs root, `apt-get install slurm-wlm munge` and the extra "slurm".
"""

import contextlib
import importlib.util
import os
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from slurm_cluster import Slurm, missing_programs
from tiny_project import TinyProject

CHAIN = {"01_a": (), "02_b": ("01_a",)}
SLOWLY = "import time; time.sleep(8)"
SWEEP = ("PROFILE=smoke", "SEEDS=1 2 3 4")

pytestmark = [
    pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="starting Slurm takes root"),
    pytest.mark.skipif(bool(missing_programs()), reason="Slurm or munge is not installed"),
    pytest.mark.skipif(
        importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
        reason="the extra 'slurm' is not installed",
    ),
]


@pytest.fixture(scope="module")
def slurm():
    """A folder where everybody may look, as munge wants it for its socket; pytest's are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with Slurm(Path(name) / "slurm") as slurm:
            yield slurm


def derived(project):
    """Content of every derived file."""
    folder = project.root / "data" / "derived"
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_disturbed_slurm_sweep_ends_with_what_a_local_one_gives(slurm, tmp_path):
    """One job is cancelled and the notebook of another is killed; both are tried again."""
    local, remote = (TinyProject(tmp_path / name, CHAIN) for name in ("local", "remote"))
    for project in (local, remote):
        project.write("01_a", SLOWLY)
    assert local.call(*SWEEP, module="pipeline.sweep")[0] == 0
    settings = (*SWEEP, "ENGINE=slurm", "WORKERS=4", "MEMORY=1GB", "GPUS=1", "RETRIES=2")
    sweep = remote.start(*settings, module="pipeline.sweep", SLURM_CONF=slurm.env["SLURM_CONF"])
    cancelled = killed = None
    while sweep.poll() is None:
        at_work = list(slurm.notebooks())
        if at_work and not cancelled:
            cancelled = next(iter(slurm.jobs()))
            slurm.call("scancel", cancelled)
        elif at_work and not killed:
            time.sleep(3)
            with contextlib.suppress(psutil.Error):
                at_work[-1].kill()
                killed = at_work[-1].pid
        time.sleep(0.5)
    said = sweep.communicate()[1]
    assert sweep.returncode == 0, said
    assert cancelled and killed
    assert "4 of 4 runs have their results" in said
    assert derived(remote) == derived(local) and len(derived(local)) == 8


def test_a_refused_job_ends_with_the_schedulers_own_words_within_seconds(slurm, tmp_path):
    project = TinyProject(tmp_path, CHAIN)
    begin = time.monotonic()
    for setting, words in (("PARTITION=none", "nvalid partition"), ("MEMORY=9TB", "Memory")):
        call = (*SWEEP, "ENGINE=slurm", setting)
        conf = slurm.env["SLURM_CONF"]
        code, said = project.call(*call, module="pipeline.sweep", SLURM_CONF=conf)
        assert code == 2 and words in said and "Traceback" not in said, said
    assert time.monotonic() - begin < 60
