"""What would fail on a GPU for a forgotten device fails on one that is imitated."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fmri_utils.project.profiles import PROJECT_ROOT, load_profile
from pipeline.steps import steps

SEED = 983  # a run of its own
VIRTUAL = Path(__file__).with_name("virtual_gpu.py")
SMALL = """
import virtual_gpu
virtual_gpu.install()
import torch
from fmri_utils.project.devices import choose_device
from fmri_utils.lafite import Generator, GeneratorConfig

def refused(function):
    try:
        function()
    except (RuntimeError, TypeError):
        return True

device = choose_device("auto")
torch.manual_seed(0)
network = Generator(GeneratorConfig(resolution=32, channel_base=1024))
z, condition = torch.randn(2, 512), torch.randn(2, 512)
expected = network(z, condition)
z, condition = z.to(device), condition.to(device)
assert refused(lambda: network(z, condition))
network.to(device)
image = network(z, condition)
assert image.device == device and torch.equal(image.cpu(), expected)
assert refused(lambda: image.detach().numpy())
assert refused(lambda: torch.randn(3, device=device, generator=torch.Generator()))
assert refused(lambda: torch.randn(3, generator=torch.Generator(device)))
assert refused(lambda: torch.ones(3)[torch.zeros(2, dtype=torch.long, device=device)])
print("as on a GPU")
"""


def python(*arguments):
    """Run Python where the imitation can be imported."""
    paths = os.pathsep.join([str(PROJECT_ROOT), str(VIRTUAL.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_imitation_refuses_what_a_gpu_refuses_and_computes_what_a_cpu_does():
    assert "as on a GPU" in python("-c", SMALL)


@pytest.mark.slow
def test_every_notebook_and_the_explorer_run_on_it():
    profile = load_profile("smoke", seed=SEED)
    stems = [step.stem for step in steps()] + ["explore"]
    try:
        out = python(str(VIRTUAL), str(SEED), *stems)
    finally:
        for folder in (profile.derived, profile.runs, profile.figures):
            shutil.rmtree(folder, ignore_errors=True)
    assert out.count("ran on lazy") == len(stems)
