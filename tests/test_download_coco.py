"""Stimuli cropped from COCO's photographs, and COCO's captions."""

import errno
import io
import json
import zipfile
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from download_server import Fault
from PIL import Image
from refusals import refused

from fmri_utils.nsd import NSDLayout, read_captions, read_images, trial_table
from fmri_utils.nsd.design import read_stim_info
from fmri_utils.project.errors import ArtifactError, DataError
from pipeline.download import coco

pytest_plugins = ["nsd_fixture", "download_fixture"]

SIDE = 20
CAPTIONS = "nsddata_stimuli/stimuli/nsd/annotations"
ZIP = "/coco/annotations/annotations_trainval2017.zip"


def photograph(nsd_id):
    """A smooth picture of 50 x 40 pixels that no other id has; 0.1 is cropped from each side."""
    rng = np.random.default_rng(nsd_id)
    colours = rng.integers(40, 220, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(colours).resize((50, 40), Image.Resampling.BICUBIC)


def as_jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def url_of(nsd_id):
    """As in the fixture's table of stimuli."""
    return f"/coco/{'train2017' if nsd_id % 3 else 'val2017'}/{1000 + 7 * nsd_id:012d}.jpg"


@pytest.fixture(scope="module")
def archive(nsd):
    buffer = io.BytesIO()
    folder = nsd.root / CAPTIONS
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("captions_train2017.json", "captions_val2017.json"):
            file.write(folder / name, f"annotations/{name}")
        file.writestr("annotations/instances_val2017.json", "{}")
        file.writestr("../../outside.txt", "a path out of the folder")
        file.writestr("/tmp/outside-absolute.txt", "an absolute path")
    return buffer.getvalue()


@pytest.fixture
def bucket(server, nsd, archive, monkeypatch):
    """The server with COCO on it, and small pictures."""
    monkeypatch.setattr(coco, "SIDE", SIDE)
    monkeypatch.setattr(coco, "trial_table", some_trials)
    ids = np.unique(nsd.nsd_id[1][:1500:25])
    server.files |= {url_of(i): as_jpeg(photograph(i)) for i in ids} | {ZIP: archive}
    return server


@pytest.fixture
def layout(bucket, fetch):
    """The subject after a download of one session's stimuli."""
    fetch("STIMULI=coco")
    return NSDLayout(fetch.root, 1)


def some_trials(layout, sessions):
    """As if subjects had seen fewer images: hundreds of requests take time."""
    return trial_table(layout, sessions)[::25]


def seen(layout, sessions=(1,)):
    return np.unique(some_trials(layout, sessions)["nsd_id"])


def test_pictures_are_cropped_as_they_were_shown_and_found_by_the_reader(layout):
    ids = seen(layout)
    images = read_images(layout, ids, progress=False)
    assert images.shape == (ids.size, SIDE, SIDE, 3)
    crops = [photograph(i).crop((5, 0, 45, 40)).resize((SIDE, SIDE), 3) for i in ids]
    assert np.abs(images.astype(float) - np.stack(crops)).mean() < 3  # JPEG at quality 95
    again = read_images(layout, [ids[7], ids[2], ids[7]], size=8, progress=False)
    assert again.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(again[0], again[2])
    assert np.abs(again[1].astype(float) - again[0]).mean() > 5
    with h5py.File(layout.stimuli_coco) as file:
        assert "not bit-identical" in file.attrs["note"]
        np.testing.assert_array_equal(file["nsd_ids"], ids)


def test_crops_follow_height_and_width():
    numbers = np.arange(426)[:, None, None] + np.zeros((1, 640, 3))
    wide = Image.fromarray((numbers % 256).astype(np.uint8))
    crop = coco.parse_crop("(0, 0, .1671875, .1671875)")  # NSD's documentation has this example
    assert coco.crop_picture(wide, crop, 426).shape == (426, 426, 3)
    columns = np.broadcast_to(np.arange(60, dtype=np.uint8)[None, :, None], (40, 60, 3))
    left = coco.crop_picture(Image.fromarray(columns), (0, 0, 0.1, 14 / 60), 40)
    assert (left[0, 0, 0], left[0, -1, 0]) == (6, 45)
    rows = np.ascontiguousarray(columns.transpose(1, 0, 2))
    top = coco.crop_picture(Image.fromarray(rows), (0.1, 14 / 60, 0, 0), 40)
    assert (top[0, 0, 0], top[-1, 0, 0]) == (6, 45)
    unequal = Image.fromarray(columns), (0.1, 0, 0, 0), 40
    refused("leaves 60 x 36 pixels", coco.crop_picture, *unequal)
    for text in ("(0, 0, 0)", "(0, 0, 0, 1)", "(0,0,-.1,0)", "x", "__import__('os')"):
        refused("cropBox is", coco.parse_crop, text)


def test_images_that_were_not_downloaded_and_those_that_were_shown(layout, nsd, fetch):
    ids = seen(layout)[:4]
    absent = np.setdiff1d(np.arange(nsd.n_all), seen(layout))[:2]
    with pytest.raises(DataError, match=rf"2 of 3 images .* first is {absent[0]}.*SUBJECT=1"):
        read_images(layout, [*absent, ids[0]], progress=False)
    refused("73KID counts from 1", read_images, layout, [nsd.n_all], progress=False)
    fetch("STIMULI=brick")  # these are preferred
    np.testing.assert_array_equal(read_images(layout, ids, progress=False), nsd.images[ids])


def test_further_sessions_are_added(layout, fetch, bucket):
    before, first = seen(layout), read_images(layout, seen(layout), progress=False)
    bucket.log.clear()
    fetch("STIMULI=coco", "SESSIONS=2")
    both = seen(layout, (1, 2))
    assert len(bucket.asked(part=".jpg")) == both.size - before.size
    np.testing.assert_array_equal(read_images(layout, before, progress=False), first)
    assert read_images(layout, both, progress=False).shape[0] == both.size
    bucket.log.clear()
    assert "are here" in fetch("STIMULI=coco", "SESSIONS=1-2")
    assert bucket.asked() == []


def test_what_came_before_an_error_is_kept(bucket, fetch, nsd):
    ids = np.unique(nsd.nsd_id[1][:750:25])
    gone = url_of(ids[22])
    data = bucket.files.pop(gone)
    refused(r"000000\d+\.jpg does not exist", fetch, "STIMULI=coco")
    layout = NSDLayout(fetch.root, 1)
    refused("file of stimuli is missing", read_images, layout, ids[:2], progress=False)
    n_first = len([e for e in bucket.asked(part=".jpg") if e.status == 200])
    bucket.files[gone] = data
    bucket.log.clear()
    fetch("STIMULI=coco")
    assert n_first >= 14
    assert len(bucket.asked(part=".jpg")) <= ids.size - n_first + 8  # of the threads at work
    assert read_images(layout, ids, progress=False).shape[0] == ids.size
    assert not list(fetch.root.rglob("*.jpg"))
    assert not list(fetch.root.rglob("*.part*"))


def test_a_photograph_that_comes_damaged_is_not_kept(bucket, fetch, nsd):
    nsd_id = int(nsd.nsd_id[1][0])
    url = url_of(nsd_id)
    good = bucket.files[url]
    bucket.fail(url, Fault(drop_after=300), Fault(flip=300))
    refused(r"came damaged.*expected a JPEG of MD5", fetch, "STIMULI=coco")
    bucket.files[url] = b"<html>log in</html>"
    refused(r"begins with b'<html>", fetch, "STIMULI=coco")
    bucket.files[url] = as_jpeg(Image.open(io.BytesIO(good)).convert("L"))  # grey becomes RGB
    fetch("STIMULI=coco")
    image = read_images(NSDLayout(fetch.root, 1), [nsd_id], progress=False)[0]
    assert (image == image[..., :1]).all() and image.std() > 5


def test_a_damaged_file_of_pictures_is_noticed(layout, fetch):
    data = layout.stimuli_coco.read_bytes()
    layout.stimuli_coco.write_bytes(data[:-1000])
    refused("cannot be read", read_images, layout, seen(layout)[:3], progress=False)
    fetch("STIMULI=coco")
    assert layout.stimuli_coco.stat().st_size == len(data)


def test_captions_are_unpacked_and_nothing_else(layout, nsd, fetch, bucket):
    names = {p.name for p in (fetch.root / CAPTIONS).iterdir()}
    assert names == {"captions_train2017.json", "captions_val2017.json"}
    assert not list(fetch.root.parent.rglob("outside*"))
    ids = seen(layout)[:5]
    assert read_captions(layout, ids) == read_captions(NSDLayout(nsd.root, 1), ids)
    assert json.loads((fetch.root / CAPTIONS / "captions_val2017.json").read_text())["annotations"]
    bucket.log.clear()
    fetch("STIMULI=coco")
    assert bucket.asked(method="HEAD", part="annotations") == bucket.asked() == []


def test_the_archive_is_kept_when_the_disk_is_full(bucket, fetch):
    full = OSError(errno.ENOSPC, "No space left")
    with patch.object(coco.shutil, "copyfileobj", side_effect=full):
        refused("No space left", fetch, "STIMULI=brick", error=ArtifactError)
    bucket.log.clear()
    fetch("STIMULI=brick")
    assert not bucket.asked(method="GET", part="annotations_trainval2017")
    assert (fetch.root / CAPTIONS / "captions_val2017.json").is_file()
    assert not (fetch.root / CAPTIONS / "annotations_trainval2017.zip").exists()


@pytest.mark.parametrize(
    ("spoil", "limit"),
    [
        (lambda data: data.replace(b"captions_val2017", b"captions_val2014"), 2**30),
        (lambda data: data[:400] + bytes([data[400] ^ 1]) + data[401:], 2**30),
        (lambda data: b"<html>log in</html>", 2**30),
        (lambda data: data, 1000),
    ],
)
def test_a_bad_archive_is_refused_and_removed(bucket, fetch, archive, spoil, limit):
    bucket.multipart = True  # its ETag says nothing of its bytes
    bucket.files[ZIP] = spoil(archive)
    longest = patch.object(coco, "MOST_CAPTION_BYTES", limit)
    with longest, pytest.raises(DataError, match="cannot be unpacked"):
        fetch("STIMULI=brick")
    left = {p.name for p in (fetch.root / CAPTIONS).iterdir()}
    assert not {"captions_val2017.json", "annotations_trainval2017.zip"} & left
    bucket.files[ZIP] = archive
    fetch("STIMULI=brick")
    assert (fetch.root / CAPTIONS / "captions_val2017.json").is_file()


def test_a_table_without_crops_is_a_clear_error(layout, fetch, bucket):
    table = read_stim_info(layout).drop(columns="cropBox").to_csv().encode()
    bucket.files["/nsd/nsddata/experiments/nsd/nsd_stim_info_merged.csv"] = table
    for name in (layout.stim_info, layout.stimuli_coco):
        name.unlink()
    refused("no column cropBox", fetch, "STIMULI=coco")
