"""Betas of single areas, out of HDF5 files on a server: exact, small, and never taken for whole."""

import asyncio
import dataclasses
import re
import shlex

import h5py
import numpy as np
import pytest
from download_server import Fault, contents
from refusals import refused

from fmri_utils.nsd import NSDLayout, read_betas, roi_mask
from fmri_utils.nsd.betas import beta_file, read_session
from fmri_utils.nsd.paths import available_sessions
from fmri_utils.project.errors import DataError
from pipeline.download import area_betas
from pipeline.download.client import Changed, head
from pipeline.download.settings import parse_request

pytest_plugins = ["nsd_fixture", "download_fixture"]

FOLDER = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
NAME = f"{FOLDER}/betas_session01.hdf5"
URL = f"/nsd/{NAME}"
ROI_NAME = f"{FOLDER}/betas_session01.roi.hdf5"
GRID = (24, 22, 20)


def read(remote, voxels, grid=GRID):
    return area_betas.read_voxels(area_betas.SparseFile(remote, 8, int), voxels, grid)


@pytest.fixture
def rounds(monkeypatch):
    """Numbers of requests that were made at the same time."""
    rounds, parallel = [], area_betas.parallel

    def counted(function, jobs, *more):
        rounds.extend([len(jobs)] if jobs else [])
        return parallel(function, jobs, *more)

    monkeypatch.setattr(area_betas, "parallel", counted)
    return rounds


def cortex(grid, n_voxels):
    """A connected, folded sheet at the back of an ellipsoid, as visual cortex is. (X, Y, Z)."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid), indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.92) ** 2 + (z / 0.85) ** 2)
    fold = 0.85 + 0.09 * np.sin(14 * np.arctan2(y, x)) * np.cos(11 * np.arctan2(z, np.hypot(x, y)))
    back = 0.25 * -z - y > 0.28
    distance = np.where(back & (np.abs(x) > 0.03), np.abs(radius - fold), 9)
    return distance <= np.partition(distance.ravel(), n_voxels - 1)[n_voxels - 1]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Noise on a small grid, as (750, Z, Y, X)."""
    rng = np.random.default_rng(1)
    return rng.integers(-32768, 32768, (750, *GRID[::-1]), dtype=np.int16)


@pytest.fixture(scope="module")
def written(session, tmp_path_factory):
    """Write the session with some index of chunks; returns its bytes."""
    folder = tmp_path_factory.mktemp("written")

    def written(kind):
        path = folder / f"{kind}.hdf5"
        options = {"latest": {"libver": "latest"}, "user block": {"userblock_size": 512}}
        if not path.is_file():
            with h5py.File(path, "w", **options.get(kind, {})) as file:
                shape = {"maxshape": (None,) * 4} if kind == "latest, growing" else {}
                file.create_dataset("betas", data=session, chunks=(750, 1, 1, 1), **shape)
        return path.read_bytes()

    return written


@pytest.fixture
def remote(server):
    """Put bytes on the server and ask for their version."""

    def remote(data):
        server.files["/x.hdf5"] = data
        return asyncio.run(head(f"{server.url}/x.hdf5"))

    return remote


@pytest.mark.parametrize("kind", ["as NSD", "latest", "latest, growing", "user block"])
def test_voxels_come_exactly_whatever_the_index(written, session, remote, kind, rounds):
    voxels = np.flatnonzero(cortex(GRID, 150).T)
    stored = read(remote(written(kind)), voxels)
    np.testing.assert_array_equal(stored, session.reshape(750, -1)[:, voxels])
    assert len(rounds) <= 8


def test_a_small_part_of_the_file_is_fetched(written, server, remote, monkeypatch, rounds):
    mask = cortex(GRID, 237)  # the share that nsdgeneral has of a volume
    for name in ("FIRST_BYTES", "GAP_BYTES"):  # as small beside this file as beside a real one
        monkeypatch.setattr(area_betas, name, 2048)
    data = written("as NSD")
    read(remote(data), np.flatnonzero(mask.T))
    sent = sum(e.sent for e in server.asked())
    assert sent <= 0.12 * len(data) and sum(rounds) == len(server.asked()) < 237
    assert len(rounds) <= 6 and server.n_connections <= 8 + 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=416), r"could not be fetched .*416"),
        (Fault(shift=512), r"could not be fetched .*Requested 0\.\."),
        (Fault(say_length=99), "has changed .*, or a proxy"),
        (Fault(ignore_range=True), r"could not be fetched .*ange"),
    ],
)
def test_answers_that_are_no_part_of_the_file(written, server, remote, fault, error):
    wanted = remote(written("as NSD"))
    server.fail("/x.hdf5", fault)
    refused(error, read, wanted, np.array([77]))


@pytest.mark.parametrize("other", [{"etag": '"other"'}, {"size": 99_999}, {}])
def test_two_versions_are_never_mixed(written, server, remote, other):
    wanted = dataclasses.replace(remote(written("as NSD")), **other)
    if other:  # whether the server checks versions or not
        server.no_preconditions = True
    else:
        server.fail("/x.hdf5", Fault(replace_by=written("latest")))
    refused("has changed.*Run the same command again", read, wanted, np.array([77]), error=Changed)


ONE_VOXEL = {"chunks": (750, 1, 1, 1)}


@pytest.mark.parametrize(
    ("name", "options", "grid", "words"),
    [
        ("betas", {"chunks": (10, 2, 2, 2)}, (2, 2, 2), r"'chunks': .10, 2"),
        ("betas", {}, (2, 2, 2), "'chunks': None"),
        ("other", ONE_VOXEL, (2, 2, 2), "'shape': None"),
        ("betas", ONE_VOXEL | {"dtype": np.float32}, (2, 2, 2), "<f4"),
        ("betas", ONE_VOXEL, (2, 2, 3), "If subject and space are right"),
    ],
)
def test_files_of_another_kind_are_refused(session, remote, tmp_path, name, options, grid, words):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset(name, **{"data": session[:, :2, :2, :2], **options})
    wanted = remote((tmp_path / "x.hdf5").read_bytes())
    refused(words, read, wanted, np.array([0]), grid)


def test_what_is_no_whole_hdf5_file_is_refused(written, remote):
    data = written("as NSD")
    for spoilt in (data[: len(data) // 2], b"<html>log in</html>" * 99):
        refused("cannot be read as HDF5", read, remote(spoilt), np.array([10_000]))


# The whole way: from the bucket through the downloader to the reader


def stored(nsd, mask, sessions=(1,)):
    values = [nsd.subjects[1].stored[s - 1][mask].T for s in sessions]
    return np.concatenate(values) / np.float32(300)


def test_an_area_is_read_as_from_the_whole_file(nsd, fetch, server):
    fetch("BETAS=roi", "SESSIONS=1-2")
    layout = NSDLayout(fetch.root, 1)
    assert available_sessions(layout) == [1, 2]
    assert beta_file(layout, 1) == fetch.root / ROI_NAME
    mask = roi_mask(layout)
    for part in (mask, mask & (np.indices(mask.shape)[2] > 2)):
        np.testing.assert_array_equal(
            read_betas(layout, part, progress=False), stored(nsd, part, (1, 2))
        )
    server.log.clear()
    fetch("BETAS=roi", "SESSIONS=1-2")
    assert server.asked() == []
    path = fetch.root / ROI_NAME  # damaged, it is fetched again
    good = path.read_bytes()
    path.write_bytes(good[:3000] + b"?" + good[3001:])
    fetch("BETAS=roi")
    assert path.read_bytes() == good
    path.rename(fetch.root / NAME)  # the whole file's name
    refused("no dataset 'betas'", read_betas, layout, mask, progress=False)


def test_missing_voxels_are_named_with_the_command_that_fetches_them(nsd, fetch):
    fetch("BETAS=roi")
    layout = NSDLayout(fetch.root, 1)

    def fetch_as_told(mask, words):
        with pytest.raises(DataError, match=words) as err:
            read_betas(layout, mask, progress=False)
        command = shlex.split(re.search(r"`make nsd-download (.*)`", str(err.value))[1])
        assert parse_request(command).root == fetch.root
        fetch(*command)
        np.testing.assert_array_equal(read_betas(layout, mask, progress=False), stored(nsd, mask))

    mask = roi_mask(layout, "nsdgeneral+floc-faces")
    n = np.count_nonzero(mask & ~roi_mask(layout))
    refused(f"{n} voxels of the mask are not in it", read_session, fetch.root / ROI_NAME, mask)
    fetch_as_told(mask, f"{n} of the {mask.sum()} voxels of the mask were not downloaded for 1 of")
    fetch_as_told(np.ones(nsd.shape, bool), r"in no atlas of the folder.*BETAS=hdf5")
    assert "are here as whole files" in fetch("BETAS=roi", "ROI=streams")


def test_another_area_is_added_and_only_it_is_fetched(nsd, fetch, server, monkeypatch):
    monkeypatch.setattr(area_betas, "GAP_BYTES", 0)
    fetch("BETAS=roi", "ROI=nsdgeneral")
    server.log.clear()
    fetch("BETAS=roi", "ROI=lh.streams:early,ventral+floc-faces")
    layout = NSDLayout(fetch.root, 1)
    mask = roi_mask(layout, "nsdgeneral+lh.streams:early,ventral+floc-faces")
    np.testing.assert_array_equal(read_betas(layout, mask, progress=False), stored(nsd, mask))
    with h5py.File(fetch.root / ROI_NAME) as file:
        assert file["voxels"].size == mask.sum()
        assert file.attrs["rois"] == "nsdgeneral+lh.streams:early,ventral+floc-faces"
    n_new = np.count_nonzero(mask & ~roi_mask(layout))
    assert sum(e.sent for e in server.asked()) < 1500 * n_new * 1.5 + 60_000


def test_another_version_on_the_server_replaces_all_voxels(nsd, fetch, server, tmp_path):
    with h5py.File(tmp_path / "new.hdf5", "w") as file:
        data = np.full((750, *nsd.shape[::-1]), 300, np.int16)
        file.create_dataset("betas", data=data, chunks=(750, 1, 1, 1))
    fetch("BETAS=roi")
    server.files[URL] = (tmp_path / "new.hdf5").read_bytes()
    fetch("BETAS=roi", "ROI=floc-faces+nsdgeneral")
    layout = NSDLayout(fetch.root, 1)
    mask = roi_mask(layout, "nsdgeneral+floc-faces")
    assert (read_betas(layout, mask, progress=False) == 1).all()


def test_an_error_leaves_finished_sessions_and_nothing_else(nsd, fetch, server):
    server.fail(URL.replace("session01", "session02"), *[Fault(status=500)] * 99)
    refused(r"session02.hdf5 could not be fetched", fetch, "BETAS=roi", "SESSIONS=1-2")
    layout = NSDLayout(fetch.root, 1)
    assert available_sessions(layout) == [1]
    whole = contents(fetch.root)[ROI_NAME]
    server.faults.clear()
    server.log.clear()
    fetch("BETAS=roi", "SESSIONS=1-2")
    assert contents(fetch.root)[ROI_NAME] == whole
    assert server.asked(part="session01.hdf5") == []
