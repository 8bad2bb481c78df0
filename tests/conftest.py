"""What several test files share."""

import functools
import os
import re
import shutil

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from xdist.scheduler import LoadFileScheduling

# Tests run side by side, and threads that wait for a core of another's spin instead of working.
# Before torch and numpy are imported; kernels and workers inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from fmri_utils.project.profiles import PROJECT_ROOT, load_profile
from pipeline.engine import make
from pipeline.request import parse_request

pytest_plugins = ["nsd_fixture", "nsd_fullsize"]  # fixtures of NSD folders


class WholeFiles(LoadFileScheduling):
    """Every file in one process, and all that share the smoke run in the same one."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "smoke" if shares_the_smoke_run(self.config.rootpath / file) else file


@functools.cache  # asked again for every test
def shares_the_smoke_run(file):
    return re.search(r"def \w+\([^)]*\bsmoke\b", file.read_text()) is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items):
    """What needs the smoke run comes first, then the runs of other regions: they take longest."""
    longest = ("smoke", "region_runs")
    items.sort(key=lambda item: [name not in item.fixturenames for name in longest])


@pytest.fixture(scope="session")
def smoke():
    """The smoke run in a folder of its own (another seed), removed after the last test."""
    arguments = ["all", "PROFILE=smoke", "SEED=971"]
    profile = load_profile("smoke", seed=971)
    folders = profile.derived, profile.runs, profile.figures

    def remove():
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    remove()  # what a killed test run has left
    try:
        done = make(parse_request(arguments), progress=False)
        yield profile, arguments, done
    finally:
        remove()


@pytest.fixture(scope="session")
def space():
    """The demo's CLIP."""
    from fmri_utils.clip.space import open_clip_space  # slow, and few tests need it

    return open_clip_space("local-dir:data/pretrained/clip", root=PROJECT_ROOT)


@pytest.fixture(scope="session")
def judge():
    """The demo's judge."""
    from fmri_utils.metrics.judge import load_judge

    return load_judge(PROJECT_ROOT / "data" / "pretrained" / "judge.safetensors")


@pytest.fixture
def close_figures():
    """Figures are closed afterwards, and no setting of matplotlib has changed."""
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


@pytest.fixture
def rng():
    """Random numbers, the same for every test."""
    return np.random.default_rng(0)
