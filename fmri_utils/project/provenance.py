"""What made the figures of a folder, and which of them may stay as they are.

The demo's figures come with the repository. Another processor adds up in another order: its numbers
differ in the sixth digit, some pixels by a shade, and so do the bytes. Some trainings amplify this
until their curves differ. Therefore a file that is there stays

* if the new one says the same within rounding;
* or, of figures, if the same code, settings and weights made it and ``results.json`` has stayed.

What is known to differ from machine to machine (the hashes of derived files, versions) is in
``inputs.json``, which git ignores.
"""

import functools
import json
import math
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from .artifacts import atomic_path, own_files, package_versions, sha256_file, sha256_json
from .profiles import PROJECT_ROOT

PROVENANCE = "provenance.json"  # the same on every machine
INPUTS = "inputs.json"  # of this machine
FIGURES = (".png", ".pdf", ".gif")
SOURCES = (
    *("fmri_utils/**/*.py", "fmri_utils/**/*.toml", "simulated_nsd/**/*.py"),
    *("notebooks/[0-9][0-9]_*.py", "constraints.txt"),
)
RESULTS = "results.json"
RELATIVE = 1e-4  # of numbers: machines differ by some 1e-6, the table shows three digits
# Of pictures, of 255 shades: the mean of 4 x 4 pixels may differ by as much as where the edge of a
# line lies a third of a pixel further; on average over all pixels, a few of a thousand by a shade.
BLOCK, EDGE, MEAN = 4, 24, 0.01


@functools.cache
def code_digest() -> str:
    """Hash of all that results come from but data and weights: sources without comments, pins."""
    sources = [path for pattern in SOURCES for path in own_files(PROJECT_ROOT, pattern)]
    texts = [path.read_text(encoding="utf-8").splitlines() for path in sources]
    return sha256_json([[line for line in text if line.lstrip()[:1] != "#"] for text in texts])


def publish(
    drawn: Iterable[Path],
    folder: Path,
    *,
    made_by: str,
    config: Mapping,
    weights: Mapping[str, str],
    inputs: Mapping[str, str],
) -> list[Path]:
    """Put figures and results into their folder, but leave there what may stay.

    A file stays only if ``provenance.json`` names its bytes: what was changed by hand is replaced.

    Parameters
    ----------
    drawn : iterable of pathlib.Path
        New files, elsewhere: PNG, PDF and GIF, ``results.json`` and ``results.md``.
    folder : pathlib.Path
        Where they belong.
    made_by, config, weights, inputs
        As for :func:`write_provenance`.

    Returns
    -------
    list of pathlib.Path
        All files in the folder, those of :func:`write_provenance` included.
    """
    old, recipe = _described(folder), _recipe(made_by, config, weights)
    same_recipe = all(old.get(name) == value for name, value in recipe.items())
    stayed: set[str] = set()
    # A PDF is judged by the picture of the same name, a page by the numbers.
    first = {".json": 0, ".png": 1}
    for new in sorted(drawn, key=lambda path: (first.get(path.suffix, 2), path.name)):
        path = folder / new.name
        as_written = path.is_file() and old["files"].get(path.name) == sha256_file(path)
        if as_written and _may_stay(path, new, stayed, same_recipe):
            stayed.add(path.name)
            continue
        with atomic_path(path) as tmp:
            shutil.copyfile(new, tmp)
    files = [folder / new.name for new in drawn]
    about = {"made_by": made_by, "config": config, "weights": weights, "inputs": inputs}
    return [*files, *write_provenance(folder, files, **about)]


def _may_stay(path: Path, new: Path, stayed: set[str], same_recipe: bool) -> bool:
    """Whether a file that is there is as good as a new one."""
    if path.suffix == ".json":
        return same_numbers(*(json.loads(p.read_text(encoding="utf-8")) for p in (path, new)))
    if path.suffix == ".md":
        words = [re.sub(r"[\d.]+", "", p.read_text(encoding="utf-8")) for p in (path, new)]
        return path.with_suffix(".json").name in stayed and words[0] == words[1]
    if figure_origin(path) != figure_origin(new):
        return False
    if same_recipe and RESULTS in stayed:
        return True
    if path.suffix == ".pdf":
        return path.with_suffix(".png").name in stayed
    return same_pictures(path, new)


def _described(folder: Path) -> Mapping:
    """What ``provenance.json`` says of a folder; nothing if it is missing or damaged."""
    try:
        content = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        return content if isinstance(content["files"], Mapping) else {"files": {}}
    except (OSError, ValueError, LookupError, TypeError):
        return {"files": {}}


def _recipe(made_by: str, config: Mapping, weights: Mapping[str, str]) -> dict:
    """What makes a folder's files, as JSON gives it back."""
    recipe = {"made_by": made_by, "config": config, "inputs": weights, "code": code_digest()}
    return json.loads(json.dumps(recipe))


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

    Blocks of pixels are compared: a line that lies a tenth of a pixel further, or a colour that is
    rounded to its neighbour in a palette, is not seen. A digit or a point elsewhere is.
    """
    with Image.open(a) as one, Image.open(b) as two:
        if one.size != two.size or getattr(one, "n_frames", 1) != getattr(two, "n_frames", 1):
            return False
        for frame in range(getattr(one, "n_frames", 1)):
            one.seek(frame)
            two.seek(frame)
            if one.info.get("duration") != two.info.get("duration"):
                return False
            shown = [picture.convert("RGB") for picture in (one, two)]
            difference = np.asarray(ImageChops.difference(*shown))
            blocks = (np.asarray(picture.reduce(BLOCK), int) for picture in shown)
            if difference.mean() > MEAN or np.abs(np.subtract(*blocks)).max() > EDGE:
                return False
    return True


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
        ``provenance.json``: ``made_by``, ``files`` (name to SHA-256), ``config``, the weights as
        ``inputs`` and ``code`` (:func:`code_digest`). ``inputs.json``: the derived files as
        ``inputs``, and ``versions``.
    """
    names = {"files": {Path(file).name: sha256_file(file) for file in files}}
    everywhere = _recipe(made_by, config, dict(weights)) | names
    here = {"inputs": dict(inputs), "versions": package_versions()}
    written = []
    for name, content in ((PROVENANCE, everywhere), (INPUTS, here)):
        written.append(folder / name)
        with atomic_path(written[-1]) as tmp:
            tmp.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return written
