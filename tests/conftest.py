"""What several test files share."""

import shutil

import pytest

from fmri_utils import runner
from fmri_utils.profiles import load_profile


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
