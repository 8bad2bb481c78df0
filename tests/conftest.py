"""What several test files share."""

import os
import re
import shutil
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# Tests run side by side, and threads that wait for a core of another's spin instead of working.
# Before torch and numpy are imported; kernels and workers inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fmri_utils import runner
from fmri_utils.profiles import load_profile


class WholeFiles(LoadScopeScheduling):
    """Every file in one process, and all that share the smoke run in the same one."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::", 1)[0]
        return "smoke" if re.search(r"def \w+\([^)]*\bsmoke\b", Path(file).read_text()) else file


def pytest_xdist_make_scheduler(config, log):
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items):
    """What needs the smoke run comes first: it takes longest."""
    items.sort(key=lambda item: "smoke" not in item.fixturenames)


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
        done = runner.run(runner.parse_request(arguments), progress=False)
        yield profile, arguments, done
    finally:
        remove()
