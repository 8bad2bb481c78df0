"""SIGKILL while a checkpoint is converted: it begins again, and what is in its place is whole.

Whole runs that are killed: test_faults.py. Searches and trainings that are interrupted go on where
they stopped: test_search.py, test_lafite_training.py, test_finetuning.py.
"""

import multiprocessing
import signal

import pytest
from nsd_standins import write_lafite

from fmri_utils.lafite.released.convert import import_official


def contents(folder):
    """Bytes of what is in its place; unfinished files lie in hidden folders."""
    return {p.name: p.read_bytes() for p in folder.glob("*") if p.is_file()}


def test_a_conversion_killed_while_it_writes_begins_again(tmp_path):
    source = tmp_path / "released.pkl"
    killed, whole = (tmp_path / name / "lafite.safetensors" for name in ("killed", "whole"))
    with pytest.MonkeyPatch.context() as patch:
        write_lafite(source, patch)  # 20 MB, so that there is time to kill
    import_official(source, whole)
    processes = multiprocessing.get_context("spawn")
    process = processes.Process(target=import_official, args=(source, killed))
    process.start()
    while process.is_alive() and not [
        p for p in killed.parent.rglob("*.safetensors") if p.is_file()
    ]:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not killed.exists()
    assert contents(killed.parent).items() <= contents(whole.parent).items()  # finished ones
    import_official(source, killed)
    assert contents(killed.parent) == contents(whole.parent)
    assert not [*killed.parent.glob(".part-*")]  # what the killed one left is cleared away
