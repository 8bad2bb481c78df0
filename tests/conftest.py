"""What several test files share."""

import os
import shutil

import pytest

# Tests run side by side, and threads that wait for a core of another's spin instead of working.
# Before torch and numpy are imported; kernels and workers inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fmri_utils import runner
from fmri_utils.profiles import load_profile


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """What needs the smoke run first and in one process, so that it runs once; files whole."""
    items.sort(key=lambda item: "smoke" not in item.fixturenames)
    for item in items:
        group = "smoke" if "smoke" in item.fixturenames else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


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
