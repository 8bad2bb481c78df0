"""Stimuli and captions from COCO: the photographs that NSD's stimuli were cropped from.

NSD's own file of all 73,000 stimuli has 39.6 GB. The about 10,000 of one subject come as 1.6 GB of
COCO's JPEGs, and are cropped here as the table of stimuli says. COCO's JPEGs and NSD's resizing are
not known to the bit, so the results are near to what was shown, and not identical.
"""

import ast
import functools
import hashlib
import io
import shutil
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import PIL
from PIL import Image
from tqdm.auto import tqdm

from fmri_utils.nsd.design import read_stim_info, trial_table
from fmri_utils.nsd.paths import COCO_SPLITS, NSDLayout
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError
from fmri_utils.project.reading import reading

from .client import Remote, get, parallel
from .consent import say
from .settings import Request
from .transfer import Records, check_space

SIDE = 425  # pixels of NSD's stimuli
JPEG_START = b"\xff\xd8"
JPEG_BYTES = 170_000  # of one of COCO's photographs, about
AGAIN = "delete it and run the same command again."
NO_PICTURE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's errors
MOST_CAPTION_BYTES = 2**30  # the real files have 92 and 4 MB
NOTE = (
    "Cropped from COCO's JPEGs by cropBox and resized (bicubic, antialiased). Near to what NSD's "
    "subjects saw (imgBrick in nsd_stimuli.hdf5), but not bit-identical."
)


def fetch_pictures(request: Request, layout: NSDLayout, records: Records) -> None:
    """Bring the pictures that the subject saw in some sessions, cropped as they were shown.

    They are added to those of earlier calls. JPEGs are kept until all have come, so a call that was
    stopped goes on where it was.

    Parameters
    ----------
    request : Request
        Its subject and sessions.
    layout : NSDLayout
        The folder, with the design files.
    records : Records
        The list of finished files.

    Raises
    ------
    DataError
        If one cannot be had or read, or the table of stimuli is not as expected.
    """
    path = layout.stimuli_coco
    ids = np.unique(trial_table(layout, request.sessions)["nsd_id"].to_numpy())
    here = stored_ids(path) if records.is_whole(path) else np.empty(0, np.int64)
    new = np.setdiff1d(ids, here)
    if new.size == 0:
        say(f"All {ids.size} pictures of these sessions are here.")
        return
    check_space(layout.root, (new.size + here.size) * SIDE**2 * 3 + new.size * JPEG_BYTES)
    info = read_stim_info(layout)
    if "cropBox" not in info:
        raise DataError(f"the table of stimuli has no column cropBox; it has {list(info)[:8]} ...")
    rows = info.iloc[new]
    photographs = zip(rows["cocoSplit"], rows["cocoId"], strict=True)
    names = [f"{split}/{int(coco_id):012d}.jpg" for split, coco_id in photographs]
    folder = path.with_name("coco_jpegs.part")
    bring = functools.partial(fetch_jpeg, request.coco_url, folder)
    bar = {"unit": "image", "disable": None}
    parallel(bring, names, request.connections, desc="COCO", **bar)
    both = np.union1d(new, here)
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        images = file.create_dataset("images", (both.size, SIDE, SIDE, 3), np.uint8)
        file.create_dataset("nsd_ids", data=both, track_times=False)
        about = {"note": NOTE, "coco_url": request.coco_url, "n_nsd_ids": len(info)}
        file.attrs.update(about | {"pillow": PIL.__version__})
        if here.size:
            with h5py.File(path) as old:
                for place, picture in zip(np.searchsorted(both, here), old["images"], strict=True):
                    images[place] = picture
        jobs = zip(np.searchsorted(both, new), names, rows["cropBox"], strict=True)
        for place, name, crop in tqdm(jobs, "crop", new.size, **bar):
            images[place] = crop_picture(open_picture(folder / name), parse_crop(crop), SIDE)
    records.add(path, Remote(request.coco_url, 0, None))
    shutil.rmtree(folder)


def stored_ids(path: Path) -> np.ndarray:
    """NSD ids (from 0) of the pictures in a file, increasing."""
    with reading(path, "the pictures cropped before", damaged=AGAIN), h5py.File(path) as file:
        return file["nsd_ids"][()]


async def fetch_jpeg(server: str, folder: Path, name: str) -> None:
    """Bring one photograph, unless it is here.

    Raises
    ------
    DataError
        If it does not exist, or comes damaged.
    """
    url, path = f"{server}/{name}", folder / name
    if path.is_file():
        return
    data, remote = await get(url)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if remote.md5 not in (None, md5) or not data.startswith(JPEG_START):
        raise DataError(
            f"{url} came damaged: it begins with {data[:12]!r} and has the MD5 {md5}; expected a "
            f"JPEG of MD5 {remote.md5}. Is a proxy between? If not, run the same command again."
        )
    # Thousands of small files: waiting for the disk at each would take longer than fetching them.
    # One that a power cut spoils is found when it is cropped.
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def open_picture(jpeg: Path) -> Image.Image:
    """Decode a photograph to RGB, all of it.

    Raises
    ------
    DataError
        If it is damaged; it is removed then.
    """
    data = jpeg.read_bytes()  # apart: what cannot be read now may be whole
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            return picture.convert("RGB")
    except NO_PICTURE as err:
        jpeg.unlink()
        raise DataError(
            f"{jpeg} was damaged after it came ({err}). It is removed: run the same command again."
        ) from err


def crop_picture(picture: Image.Image, crop: tuple[float, ...], side: int) -> np.ndarray:
    """Cut a photograph to the square that was shown, and resize it.

    Parameters
    ----------
    picture : PIL.Image.Image
        The photograph.
    crop : tuple of float
        Shares of height (top, bottom) and width (left, right) that are cut away; ``cropBox`` of
        NSD's table of stimuli.
    side : int
        Pixels of the result.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)

    Raises
    ------
    DataError
        If what is left is no square.
    """
    top, bottom, left, right = crop
    width, height = picture.size
    x, y = round(left * width), round(top * height)
    wide = width - round(right * width) - x
    high = height - round(bottom * height) - y
    if min(wide, high) < 1 or abs(wide - high) > 1:
        raise DataError(
            f"cropBox {crop} leaves {wide} x {high} pixels of a photograph of {width} x {height}; "
            "expected a square. Fetch nsd_stim_info_merged.csv again, which is another one."
        )
    box = (x, y, x + wide, y + high)
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC, box=box))


def parse_crop(text: object) -> tuple[float, ...]:
    """Read a ``cropBox`` such as ``(0, 0, 0.1671875, 0.1671875)``.

    Raises
    ------
    DataError
        If it is anything else than four shares from 0 to 1.
    """
    try:
        crop = tuple(float(share) for share in ast.literal_eval(str(text)))
        if len(crop) == 4 and all(0 <= share < 1 for share in crop):
            return crop
    except (ValueError, SyntaxError, TypeError):
        pass
    raise DataError(f"cropBox is {text!r}; expected four shares from 0 to 1, in brackets.")


def unpack_captions(layout: NSDLayout, archive: Path, remote: Remote, records: Records) -> None:
    """Take COCO's captions out of their archive, which is removed afterwards.

    Parameters
    ----------
    layout : NSDLayout
        The folder.
    archive : pathlib.Path
        As it came.
    remote : Remote
        The archive on the server.
    records : Records
        The list of finished files.

    Raises
    ------
    DataError
        If the archive is damaged or lacks them.
    """
    for split in COCO_SPLITS:
        with atomic_path(layout.captions(split)) as part:
            extract(archive, f"annotations/captions_{split}.json", part)
    archive.unlink()
    for split in COCO_SPLITS:
        records.add(layout.captions(split), remote)


def extract(archive: Path, member: str, path: Path) -> None:
    """Take one member, by its exact name, out of an archive to a place of our own choice.

    No name in the archive is ever used as a path, and no more than a gigabyte is unpacked.

    Raises
    ------
    DataError
        If the archive is damaged, has no such member, or the member is far too long. The archive
        is removed then; on a full disk it is whole, and stays.
    """
    try:
        with zipfile.ZipFile(archive) as file, open(path, "wb") as out:
            info = file.getinfo(member)
            if info.file_size > MOST_CAPTION_BYTES:
                raise zipfile.BadZipFile(f"{member} would have {info.file_size} bytes")
            with file.open(info) as stream:  # checks the member's CRC at its end
                shutil.copyfileobj(stream, out)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError) as err:
        archive.unlink()
        raise DataError(
            f"the captions cannot be unpacked from {archive} ({type(err).__name__}: {err}). "
            f"Expected {member} in it. It is removed: run the same command again."
        ) from err
