"""What made the figures of a folder, and which of them may stay as they are.

The demo's figures come with the repository. Another processor adds up in another order: its numbers
differ in the sixth digit, some pixels by a shade, and so do the bytes. Therefore a file that is
there stays if the new one says the same within rounding. What is known to differ from machine to
machine (the hashes of derived files, versions) is in ``inputs.json``, which git ignores.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from .artifacts import atomic_path, package_versions, sha256_file

PROVENANCE = "provenance.json"  # the same on every machine
INPUTS = "inputs.json"  # of this machine
FIGURES = (".png", ".pdf", ".gif")
BESIDE = {".pdf": ".png", ".md": ".json"}  # drawn or written from the same numbers, just before
RELATIVE = 1e-4  # of numbers: machines differ by some 1e-6, the table shows three digits
BLOCK, SHADES = 4, 8  # of pictures: the mean of 4 x 4 pixels may differ by 8 of 255


@contextlib.contextmanager
def settled_path(path: Path) -> Iterator[Path]:
    """Like :func:`atomic_path`, but the file that is there stays if the new one says the same.

    It stays only if ``provenance.json`` beside it names its bytes: what was changed by hand is
    always replaced.

    Parameters
    ----------
    path : pathlib.Path
        A picture (PNG, PDF, GIF), or numbers (JSON and a page in Markdown). The PNG is to be
        written before the PDF of the same name, the JSON before the Markdown.

    Yields
    ------
    pathlib.Path
        Where to write.
    """
    with atomic_path(path) as tmp:
        yield tmp
        if _is_described(path) and _say_the_same(path, tmp):
            shutil.copyfile(path, tmp)


def _is_described(path: Path) -> bool:
    """Whether a file has the bytes that the file beside it names."""
    try:
        named = json.loads(path.with_name(PROVENANCE).read_text(encoding="utf-8"))["files"]
        return path.is_file() and named.get(path.name) == sha256_file(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _say_the_same(old: Path, new: Path) -> bool:
    if old.suffix in BESIDE and not _is_described(old.with_suffix(BESIDE[old.suffix])):
        return False  # the numbers or the picture beside it have changed
    if old.suffix == ".md":
        words = [re.sub(r"[\d.]+", "", path.read_text(encoding="utf-8")) for path in (old, new)]
        return words[0] == words[1]
    if old.suffix == ".json":
        return same_numbers(*(json.loads(path.read_text(encoding="utf-8")) for path in (old, new)))
    if figure_origin(old) != figure_origin(new):
        return False
    return old.suffix == ".pdf" or same_pictures(old, new)


def same_numbers(a: object, b: object) -> bool:
    """Whether two contents of JSON files are equal but for rounding, and for ``versions``."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same_numbers(a[k], b[k]) for k in a if k != "versions")
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_numbers, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=RELATIVE / 100)
    return type(a) is type(b) and a == b


def same_pictures(a: Path, b: Path) -> bool:
    """Whether two PNG or GIF files show the same: frames, their times, and pixels but for shades.

    Blocks of pixels are compared, as a line that lies a tenth of a pixel further, or a colour that
    is rounded to its neighbour in a palette, is not seen. A digit or a point elsewhere is.
    """
    with Image.open(a) as one, Image.open(b) as two:
        if one.size != two.size or getattr(one, "n_frames", 1) != getattr(two, "n_frames", 1):
            return False
        for frame in range(getattr(one, "n_frames", 1)):
            one.seek(frame)
            two.seek(frame)
            if one.info.get("duration") != two.info.get("duration"):
                return False
            pixels = [np.asarray(picture.convert("RGB"), np.float32) for picture in (one, two)]
            if _blocks(pixels[0] - pixels[1]).max() > SHADES:
                return False
    return True


def _blocks(difference: np.ndarray) -> np.ndarray:
    """Size of the mean of each block of pixels, the last ones filled up with zeros."""
    height, width = (-size % BLOCK for size in difference.shape[:2])
    padded = np.pad(difference, ((0, height), (0, width), (0, 0)))
    shape = (padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK, 3)
    return np.abs(padded.reshape(shape).mean((1, 3)))


def figure_origin(path: Path) -> dict[str, str]:
    """What a figure says of itself: notebook, configuration and seed; empty if nothing.

    Parameters
    ----------
    path : pathlib.Path
        PNG, PDF or GIF, as :func:`fmri_utils.plots.save_figure` writes them.
    """
    if path.suffix == ".pdf":
        found = re.search(rb"/Subject \(([^()]*)\)", path.read_bytes())
        text = found[1].decode("latin-1") if found else ""
    else:
        try:
            with Image.open(path) as picture:
                text = picture.info.get("Description") or picture.info.get("comment") or ""
        except (OSError, ValueError, SyntaxError):
            text = ""
        text = text.decode("latin-1") if isinstance(text, bytes) else text
    return dict(part.split("=", 1) for part in text.split("; ") if "=" in part)


def write_provenance(
    folder: Path,
    files: Iterable[Path],
    *,
    made_by: str,
    config: Mapping,
    weights: Mapping[str, str] = (),
    inputs: Mapping[str, str],
) -> list[Path]:
    """Describe all files of a folder that one notebook made, in two files beside them.

    Parameters
    ----------
    folder : pathlib.Path
        The files' folder.
    files : iterable of path-like
        The finished files.
    made_by : str
        Name of the notebook.
    config : mapping
        As for :func:`write_manifest`.
    weights, inputs : mapping of str to str
        Files that were read, and their SHA-256: weights, which are the same on every machine, and
        derived files, which are not.

    Returns
    -------
    list of pathlib.Path
        ``provenance.json``: ``made_by``, ``files`` (name to SHA-256), ``config`` and the weights as
        ``inputs``. ``inputs.json``: the derived files as ``inputs``, and ``versions``.
    """
    everywhere = {
        "made_by": made_by,
        "files": {Path(file).name: sha256_file(file) for file in files},
        "config": dict(config),
        "inputs": dict(weights),
    }
    here = {"inputs": dict(inputs), "versions": package_versions()}
    written = []
    for name, content in ((PROVENANCE, everywhere), (INPUTS, here)):
        written.append(folder / name)
        with atomic_path(written[-1]) as tmp:
            tmp.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return written
