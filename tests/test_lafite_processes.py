"""Training in two processes: the weights of one, files by the first, and resuming."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import process_jobs
import pytest
import torch
from safetensors.torch import load_file

from fmri_utils.errors import DataError
from fmri_utils.lafite.checkpoints import checkpoint_files
from fmri_utils.lafite.discriminator import minibatch_deviation
from fmri_utils.lafite.processes import Processes

ROOT = Path(__file__).parents[1]
FIVE_STEPS = 5 * process_jobs.CONFIG.batch_size


def torchrun(*arguments, n=2):
    """Start ``n`` processes as a user does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, f"--nproc-per-node={n}", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def two(folder, *settings):
    done = torchrun(process_jobs.__file__, folder, *settings)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in (0, 1)]


def assert_same_weights(folder, other):
    (one,), (two,) = checkpoint_files(folder), checkpoint_files(other)
    assert one.name == two.name
    one, two = load_file(one), load_file(two)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-5, msg=key)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return folder, process_jobs.run(folder, monitor=lambda pictures: {"pictures": len(pictures)})


def test_two_processes_give_the_weights_of_one(alone, tmp_path):
    """Five steps with every loss term and regulariser on."""
    folder, result = alone
    first, second = two(tmp_path)
    assert first["images"] == second["images"] == FIVE_STEPS
    assert first["grids"] == [16, 32, 40]
    assert second["grids"] == []
    assert_same_weights(folder, tmp_path)
    terms = {"reconstruction", "adversarial", "itd", "itc", "iid", "iic", "path_length", "d_itd"}
    assert terms | {"r1", "mean_path_length"} <= set(result.history[0])
    for row, other in zip(result.history, first["history"], strict=True):
        row, other = ({k: v for k, v in r.items() if "second" not in k} for r in (row, other))
        assert other == pytest.approx(row, rel=1e-4, abs=1e-5)
    files = {path.name for path in tmp_path.iterdir() if "process" not in path.name}
    assert files == {"checkpoint-000000040.pt", "checkpoint-000000040.safetensors"}


def test_two_processes_go_on_where_they_stopped_or_one_did(alone, tmp_path):
    """After one step by one process, and one more by two that are out of time."""
    process_jobs.run(tmp_path, max_seconds=0)
    (path,) = checkpoint_files(tmp_path)
    assert path.stem == "checkpoint-000000008"
    assert [seen["images"] for seen in two(tmp_path, "max_seconds=0")] == [16, 16]
    assert [seen["images"] for seen in two(tmp_path)] == [FIVE_STEPS, FIVE_STEPS]
    assert_same_weights(alone[0], tmp_path)


@pytest.mark.parametrize("batch", [2, 8, 24])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_sample_is_somebodys_with_its_whole_group(batch, size):
    group = min(4, batch)
    if batch // group % size:
        pytest.skip("not an even share")
    x = torch.randn(batch, 2, 4, 4)
    expected = minibatch_deviation(x, 4)
    shares = [Processes(rank, size).rows(batch, 4) for rank in range(size)]
    assert sorted(torch.cat(shares).tolist()) == list(range(batch))
    for rows in shares:
        assert rows.tolist() == sorted(rows.tolist())
        torch.testing.assert_close(minibatch_deviation(x[rows], 4), expected[rows])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 12}, "multiple of 8"),
        ({"path_fraction": 0.4}, "path length"),
        ({"batch_summed": True}, "batch_summed"),
    ],
)
def test_shares_that_are_not_even_are_refused(changes, message):
    config = dataclasses.replace(process_jobs.CONFIG, **changes)
    Processes().check(config)
    with pytest.raises(DataError, match=message):
        Processes(0, 2).check(config)
