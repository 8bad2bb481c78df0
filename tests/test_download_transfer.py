"""Whole files: they arrive as they are on the server, or not at all."""

import gzip
import json
import os
import shutil
from datetime import timedelta

import numpy as np
import pytest
from download_server import Fault, contents
from refusals import refused

from fmri_utils.nsd import NSDLayout, read_betas, roi_mask
from fmri_utils.project.artifacts import sha256_file
from fmri_utils.project.errors import DataError
from pipeline.download import client, transfer
from pipeline.download.transfer import alone

pytest_plugins = ["nsd_fixture", "download_fixture"]

FOLDER = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
BETAS = f"{FOLDER}/betas_session01.nii.gz"
URL = f"/nsd/{BETAS}"
ARGUMENT = "BETAS=nifti"


@pytest.fixture
def original(nsd):
    return (nsd.root / BETAS).read_bytes()


@pytest.fixture
def arrived(fetch):
    """Bytes of the session as downloaded, None if it is not there."""

    def arrived():
        path = fetch.root / BETAS
        return path.read_bytes() if path.is_file() else None

    return arrived


def leftovers(root):
    return [p.name for p in root.rglob("*.part*")]


@pytest.mark.parametrize("kind", ["nifti", "hdf5"])
def test_a_subject_arrives_whole_and_can_be_read(nsd, fetch, kind):
    said = fetch(f"BETAS={kind}", "SESSIONS=1-2")
    got = contents(fetch.root)
    assert got == {name: (nsd.root / name).read_bytes() for name in got}
    layout = NSDLayout(fetch.root, 1)
    mask = roi_mask(layout)
    betas = read_betas(layout, mask, progress=False)
    np.testing.assert_array_equal(betas[:750], nsd.subjects[1].stored[0][mask].T / np.float32(300))
    for name in ("nsd_expdesign.mat", "responses.tsv", "lh.streams.nii.gz", "ncsnr.nii.gz"):
        assert any(key.endswith(name) for key in got)
    assert any(key.endswith("prf-visualrois.mgz.ctab") for key in got)
    assert "prf_gain.nii.gz" in said  # which the fixture does not have
    listed = json.loads((fetch.root / "downloads.json").read_text())["files"]
    assert {key: entry["sha256"] for key, entry in listed.items()} == {
        key: sha256_file(nsd.root / key) for key in got
    }
    assert leftovers(fetch.root) == []


def test_what_is_here_is_not_fetched_again(server, fetch, arrived, original, tmp_path):
    fetch(ARGUMENT)
    before, moved = contents(fetch.root), tmp_path / "moved"
    shutil.copytree(fetch.root, moved, copy_function=shutil.copyfile)  # times are new
    server.log.clear()
    assert "fetched" not in fetch(ARGUMENT)
    fetch(ARGUMENT, f"ROOT={moved}")
    assert server.asked("GET") == [] and contents(fetch.root) == before
    server.files[URL] = gzip.compress(b"new" * 5000)
    assert "nii.gz: the server has another version now" in fetch(ARGUMENT)
    assert arrived() == original


def test_dropped_connections_are_resumed_where_they_broke(server, fetch, arrived, original):
    server.fail(URL, *(Fault(drop_after=n) for n in (0, 1000, 20_000, 5)))
    fetch(ARGUMENT)
    assert arrived() == original
    asked = server.asked(part=BETAS)
    starts = [e.headers["range"].removesuffix(f"-{len(original) - 1}") for e in asked]
    assert starts == ["bytes=0", "bytes=0", "bytes=1000", "bytes=21000", "bytes=21005"]
    assert {e.headers["if-match"] for e in asked} == {server.etag(URL)}
    assert sum(e.sent for e in asked) == len(original)


def test_a_connection_that_stalls_is_dropped(server, fetch, arrived, original, monkeypatch):
    monkeypatch.setitem(client.CLIENT_OPTIONS, "read_timeout", timedelta(seconds=0.5))
    server.fail(URL, Fault(stall_after=1000))
    fetch(ARGUMENT)
    server.go.set()
    assert arrived() == original


def test_a_server_that_stays_in_trouble_or_is_not_there_is_a_clear_error(server, fetch, arrived):
    server.fail(URL, Fault(status=503), Fault(status=429), *[Fault(status=500)] * 99)
    refused(r"session01.nii.gz could not .*6 retries.*500.*run the", fetch, ARGUMENT)
    assert arrived() is None
    refused(r"6 retries.*Connection refused", fetch, "NSD_URL=http://127.0.0.1:9")


def test_what_cannot_be_had_is_said_before_anything_is_fetched(server, fetch):
    for status, words in ((403, "withheld"), (404, "does not exist on the server")):
        server.always[URL] = Fault(status=status)
        with pytest.raises(DataError, match=words) as err:
            fetch(ARGUMENT)
        assert BETAS in str(err.value) and server.asked("GET") == []


def test_requests_under_way_end_quietly_when_one_fails(server, capfd):
    """Their answers came when nobody waited any more: a traceback, or even an abort."""
    server.files |= {f"/{i}": b"x" * 2000 for i in range(60) if i != 20}
    urls = [f"{server.url}/{i}" for i in range(60)]
    for _ in range(15):
        with pytest.raises(client.Absent):
            client.parallel(client.head, urls, 32)
    assert capfd.readouterr().err == ""


def test_a_file_that_changes_meanwhile_is_never_mixed(server, fetch, arrived, original):
    other = gzip.compress(b"another version " * 999)
    other += b"\0" * (len(original) - len(other))  # may stand behind the end of a gzip stream
    assert len(other) == len(original)
    server.fail(URL, Fault(drop_after=1000, replace_by=other))
    refused(r"session01.nii.gz (has changed|could not be fetched)", fetch, ARGUMENT)
    assert arrived() is None
    fetch(ARGUMENT)
    assert arrived() == other and leftovers(fetch.root) == []


@pytest.mark.parametrize(
    ("name", "multipart"), [(BETAS, False), (BETAS, True), (BETAS.replace("nii.gz", "hdf5"), False)]
)
def test_a_changed_byte_is_noticed(nsd, server, fetch, name, multipart):
    server.multipart = multipart  # then the ETag is no MD5, and gzip's own checksum has to do
    server.fail(f"/nsd/{name}", Fault(flip=9000))
    kind = "BETAS=hdf5" if name.endswith("hdf5") else ARGUMENT
    refused(r"session01\..* came damaged: .*Run the same", fetch, kind)
    assert not (fetch.root / name).exists()
    fetch(kind)
    assert (fetch.root / name).read_bytes() == (nsd.root / name).read_bytes()
    if kind == "BETAS=hdf5":  # cut off on the server
        server.multipart = True
        server.files[f"/nsd/{name}"] = (nsd.root / name).read_bytes()[:-3000]
        (fetch.root / name).unlink()
        refused("came damaged", fetch, kind)


@pytest.mark.parametrize("damage", ["", "too long", "other version", "no version"])
def test_an_unfinished_file_is_not_read_and_resumed_unless_its_origin_is_unknown(
    server, fetch, arrived, original, damage, monkeypatch
):
    monkeypatch.setattr(transfer, "PIECE", 2000)
    server.fail(URL, Fault(), Fault(), Fault(drop_after=700), *[Fault(status=500)] * 7)
    refused("500", fetch, ARGUMENT)  # two pieces stay, as after a kill
    (part,) = fetch.root.glob(BETAS + ".*.part")
    assert part.stat().st_size == 4000
    layout = NSDLayout(fetch.root, 1)
    refused("there are no betas", read_betas, layout, roi_mask(layout), progress=False)
    server.faults.clear()
    server.log.clear()
    if damage == "too long":
        part.write_bytes(original + b"more")
    elif damage == "other version":
        server.files[URL] = original = gzip.compress(original, mtime=0)
    elif damage:
        server.send_validators = False
        part.rename(part.with_name("betas_session01.nii.gz..part"))
    fetch(ARGUMENT)
    assert arrived() == original
    kept = 0 if damage else 4000
    assert sum(e.sent for e in server.asked(part=BETAS)) == len(original) - kept
    assert leftovers(fetch.root) == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed", "flipped, of the same time"])
def test_a_finished_file_that_was_damaged_is_fetched_again(fetch, arrived, original, damage):
    fetch(ARGUMENT)
    path, bad = fetch.root / BETAS, bytearray(original)
    times = path.stat()
    bad[5000] ^= 1
    path.write_bytes(original[:-1] if damage == "cut" else bad)
    if damage == "removed":
        path.unlink()
    elif damage.endswith("time"):
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "1 fetched and checked" in fetch(ARGUMENT, f"VERIFY={int(damage.endswith('time'))}")
    assert arrived() == original


@pytest.mark.parametrize("change", [b"x", b"more", b""])
def test_files_brought_by_other_means_are_compared(server, nsd, fetch, change):
    name = "nsddata/ppdata/subj01/behav/responses.tsv"
    original = (nsd.root / name).read_bytes()
    path = fetch.root / name
    path.parent.mkdir(parents=True)
    path.write_bytes(original)
    assert "1 brought by other means" in fetch(ARGUMENT)
    assert server.asked("GET", name) == []
    (fetch.root / "downloads.json").unlink()
    other = original[:-1] + change
    path.write_bytes(other)
    refused(r"responses.tsv was not brought.*is left alone.*Delete it", fetch, ARGUMENT)
    assert path.read_bytes() == other


def test_a_full_disk_is_told_before_anything_is_fetched(server, fetch, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 2e8 + 10))
    refused(r"has 200MB free.*Make room", fetch, ARGUMENT)
    assert server.asked("GET") == []


def test_folders_that_are_in_use_simulated_or_damaged_are_left_alone(fetch):
    fetch.root.mkdir()
    with alone(fetch.root), pytest.raises(DataError, match="another download is at work"):
        fetch(ARGUMENT)
    for name, words in (("downloads.json", "delete it"), ("simulation.json", "must not mix")):
        (fetch.root / name).write_text("{")
        refused(words, fetch, ARGUMENT)
