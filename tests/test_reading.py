"""Why a file cannot be read: only one that is damaged is to be deleted, others may be whole."""

import contextlib
import errno
import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from lafite_fixture import released
from test_malformed_nsd import files, folder  # noqa: F401

from fmri_utils.lafite import read_official_pickle
from fmri_utils.metrics.feature_networks import WeightsFile
from fmri_utils.nsd import betas as nsd_betas
from fmri_utils.nsd.betas import beta_file
from fmri_utils.plots import results
from fmri_utils.project import artifacts, errors
from fmri_utils.project.parts import Parts
from fmri_utils.project.profiles import _read_toml
from fmri_utils.project.reading import outer_cause, reading, require
from fmri_utils.project.tensors import read_safetensors, read_saved_state, write_safetensors
from pipeline.download.client import Remote
from pipeline.download.coco import stored_ids as cropped_ids
from pipeline.download.transfer import _damage
from simulated_nsd.folder import finished, manifest_path
from simulated_nsd.ground_truth import load_signal
from simulated_nsd.stimulus_file import stored_ids
from simulated_nsd.training.drawn_data import drawn_scenes

NOBODY = 65534
AGAIN = {"remedy": "Run `make 01`."}


@contextlib.contextmanager
def not_permitted(path):
    """Take all permissions of a file away, also from an administrator's tests."""
    mine = [p for p in path.parents if p.stat().st_uid == os.geteuid() and len(p.parts) > 2]
    before = {p: p.stat().st_mode for p in (path, *mine)}
    for parent in mine:
        parent.chmod(before[parent] | 0o011)  # nobody, too, gets as far as the file
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        for changed, mode in before.items():
            changed.chmod(mode)


@contextlib.contextmanager
def written_elsewhere(paths):
    """Another process has the HDF5 files open for writing."""
    names = sorted(map(str, set(paths)))
    code = f"import h5py; f = [h5py.File(p, 'r+') for p in {names}]; print(1, flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:
        assert other.stdout.readline() == b"1\n"
        yield
        other.communicate(b"\n")


def keeps_it(message, cause):
    assert cause in message and "The file may be whole: keep it." in message
    assert "elete" not in message and "etch it again" not in message


def damage(path):
    """What the downloader finds wrong with a file that has the length of the server's."""
    return _damage(path, Remote("", path.stat().st_size, None), path.name)


@pytest.fixture
def others(tmp_path):
    """Files that are not of an NSD folder, with the reading of each."""

    def at(name):
        return tmp_path / name

    artifacts.save_arrays(at("a.h5"), {"x": np.arange(3)}, config={})
    artifacts.save_json(at("b.json"), [1], config={})
    write_safetensors(at("c.safetensors"), {"x": torch.ones(2)})
    torch.save({"x": 1}, at("d.pt"))
    parts = Parts(tmp_path, {})
    parts.run([0], lambda _: {"x": np.ones(2)})
    with h5py.File(at("e.hdf5"), "w") as file:
        for name in ("nsd_ids", "signal"):
            file[name] = np.arange(3)
        file.create_dataset("imgBrick", (2, 2, 2, 3), np.uint8, chunks=(1, 2, 2, 3))
    np.savez(at("scenes-0-0-500-8.npz"), images=np.zeros(1))
    at("f.toml").write_text("subject = 1\n")
    row = {"table": 1, "metric": 1, "method": 1, "not_available": ""}
    at("results.json").write_text(json.dumps({"rows": [row | dict.fromkeys(results.NUMBERS, 1)]}))
    manifest_path(tmp_path, 1).parent.mkdir()
    summary = {"files": {"none": 1}, "summary": {}}
    manifest_path(tmp_path, 1).write_text(json.dumps(summary))
    at("g.pkl").write_bytes(released())
    weights = WeightsFile("net", "c.safetensors", "http://x", "", 1, at("c.safetensors"))
    what = {"what": "weights", **AGAIN}
    scenes = {"stream": 0, "seed": 0, "n": 500, "size": 8}
    return {
        "arrays": (at("a.h5"), lambda: artifacts.load_arrays(at("a.h5"), **AGAIN)),
        "manifest": (at("a.h5.json"), lambda: artifacts.load_arrays(at("a.h5"), **AGAIN)),
        "json": (at("b.json"), lambda: artifacts.load_json(at("b.json"), **AGAIN)),
        "safetensors": (at("c.safetensors"), lambda: read_safetensors(at("c.safetensors"), **what)),
        "state": (at("d.pt"), lambda: read_saved_state(at("d.pt"), **AGAIN)),
        "part": (parts.path(0), lambda: parts.load(0)),
        "cropped": (at("e.hdf5"), lambda: cropped_ids(at("e.hdf5"))),
        "brick": (at("e.hdf5"), lambda: stored_ids(at("e.hdf5"))),
        "truth": (at("e.hdf5"), lambda: load_signal(at("e.hdf5"))),
        "whole": (at("e.hdf5"), lambda: damage(at("e.hdf5"))),
        "scenes": (at("scenes-0-0-500-8.npz"), lambda: drawn_scenes(tmp_path, **scenes)),
        "profile": (at("f.toml"), lambda: _read_toml(at("f.toml"))),
        "results": (at("results.json"), lambda: results.read_results(at("results.json"))),
        "simulated": (manifest_path(tmp_path, 1), lambda: finished(tmp_path, 1, [])),
        "network": (at("c.safetensors"), lambda: weights.find()),
        "released": (at("g.pkl"), lambda: read_official_pickle(at("g.pkl"))),
    }


def refused(read):
    with pytest.raises(errors.FmriUtilsError) as caught:
        read()
    return str(caught.value)


def test_files_without_permission_are_kept(folder, others):  # noqa: F811
    for path, read in (*files(folder).values(), *others.values()):
        read()  # whole, it is read
        with not_permitted(path):
            message = refused(read)
        assert path.name.split(".")[0] in message
        keeps_it(message, "This user may not read it. Ask its owner")


def test_files_that_are_written_elsewhere_are_kept(folder, others):  # noqa: F811
    kinds = ("hdf5", "roi hdf5", "stimuli", "arrays", "part", "cropped", "brick", "truth")
    paths, reads = zip(*map({**files(folder), **others}.get, kinds), strict=True)
    with written_elsewhere(paths):
        for read in reads:
            keeps_it(refused(read), "Another process is writing it. Wait until")
    for read in reads:
        read()


SYSTEM = {
    errno.ENOLCK: "no locks, which HDF5 asks for. Set HDF5_USE_FILE_LOCKING=FALSE",
    524: "no locks, which HDF5 asks for",
    errno.EIO: "The disk or the network did not deliver it",
    errno.ELOOP: f"The system says: {os.strerror(errno.ELOOP)}",
}


@pytest.mark.parametrize("number", SYSTEM)
def test_what_the_system_says_of_betas_is_told_with_its_remedy(number, folder, monkeypatch):  # noqa: F811
    _, read = files(folder)["hdf5"]

    def fail(*_args, **_how):
        raise OSError(f"Unable to open file (unable to lock file, errno = {number}, ...)")

    monkeypatch.setattr(nsd_betas.h5py, "File", fail)
    keeps_it(refused(read), SYSTEM[number])


OUT_OF_MEMORY = {
    "Python": MemoryError(),
    "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 b"),
    "CUDA": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
}


@pytest.mark.parametrize("raised", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
@pytest.mark.parametrize("kind", ["nifti", "hdf5", "ncsnr", "stimuli"])
def test_running_out_of_memory_is_no_damage(kind, raised, folder, monkeypatch):  # noqa: F811
    def fail(*_args, **_how):
        raise raised

    _, read = files(folder)[kind]
    for name in ("fmri_utils.nsd.betas", "fmri_utils.nsd.maps"):
        monkeypatch.setattr(f"{name}.igzip.open", fail)
    monkeypatch.setattr("h5py.File", fail)
    keeps_it(refused(read), "Memory ran out. Read less at once")


def test_a_header_that_asks_for_more_than_the_file_can_hold_is_damage(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"12345678" * 50)

    def message(shape):
        with (
            pytest.raises(errors.DataError) as caught,
            reading(path, "a map", damaged="delete it."),
        ):
            np.empty(shape)
        return str(caught.value)

    assert "damaged or of another kind: delete it." in message((2**50,))
    err = MemoryError()
    err.shape, err.dtype = (10**5,), np.dtype(float)
    assert "Memory ran out" in outer_cause(path, err)


def test_a_damaged_file_is_to_be_replaced(tmp_path):
    path = tmp_path / "x.hdf5"
    path.write_bytes(b"this is no HDF5 file")
    damaged = {"damaged": "delete it.", "error": errors.WeightsError}
    with pytest.raises(errors.WeightsError) as caught, reading(path, "tensors", **damaged):
        h5py.File(path)
    assert re.search(r"x\.hdf5 cannot be read \(OSError: .*kind: delete it\.", str(caught.value))
    assert "signature" in damage(path)


def test_errors_of_ours_pass_unchanged(tmp_path):
    ours = errors.ProfileError("this is what is wrong")
    with pytest.raises(errors.ProfileError) as caught, reading(tmp_path, "a file", damaged=""):
        raise ours
    assert caught.value is ours


def test_what_is_required_is_missing_a_folder_or_not_to_be_looked_for(tmp_path):
    path = tmp_path / "in" / "x.nii.gz"
    with pytest.raises(errors.DataError, match=r"a map is missing: .* does not exist\. Fetch it\."):
        require(path, "a map", "Fetch it.")
    path.mkdir(parents=True)
    with pytest.raises(errors.ArtifactError, match=r"It is a folder\. Expected: a file\."):
        require(path, "a map", "Fetch it.", errors.ArtifactError)
    path.rmdir()
    path.write_bytes(b"1")
    assert require(path, "a map", "") == path
    with not_permitted(path.parent):
        keeps_it(refused(lambda: require(path, "a map", "Delete it.")), "x on all folders above")
        keeps_it(refused(lambda: artifacts.own_files(path.parent, "*")), "x on all folders above")


def test_a_closed_folder_of_betas_is_not_taken_for_an_empty_one(folder):  # noqa: F811
    with not_permitted(folder.layout.betas):
        keeps_it(refused(lambda: beta_file(folder.layout, 1)), "x on all folders above")


def test_hdf5s_own_mark_is_not_taken_for_damage(tmp_path):
    """A file that a killed process had open; HDF5 gives no number of an error then."""
    path = tmp_path / "x.hdf5"
    path.write_bytes(b"1")
    said = "Unable to open file (file is already open for write (may use <h5clear file> ...)"
    assert "If that process was killed, take the mark away" in outer_cause(path, OSError(said))
    assert outer_cause(path, OSError(errno.EINVAL, "Invalid argument")) == ""
