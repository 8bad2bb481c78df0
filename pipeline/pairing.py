"""The ``.ipynb`` twin of a ``.py`` notebook, determined by its source byte for byte."""

import hashlib
import json
import os
import re
import sys
from pathlib import Path

from fmri_utils.project.artifacts import atomic_path, name_in, own_files
from fmri_utils.project.command import command
from fmri_utils.project.errors import FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT

NAME = re.compile(r"(\d\d_[a-z0-9_]+|explore)\.py")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook_sources(folder: Path) -> list[Path]:
    """The collection's notebooks in a folder, in order: numbered ones and ``explore.py``.

    Whatever else lies there (``untitled.py``, a copy that JupyterLab named ``01_x-Copy1.py``) is
    the user's.
    """
    return [path for path in own_files(folder, "*.py") if NAME.fullmatch(path.name)]


def notebook_from_source(source: Path) -> str:
    """Text of the stripped notebook that belongs to a py:percent source.

    Cell ids are hashes of place and content (jupytext draws them at random), so the same source
    gives the same bytes, and a twin that was edited is known by itself.
    """
    import jupytext  # takes seconds; who only lists notebooks does not need it
    import nbformat

    notebook = jupytext.read(source, fmt="py:percent")
    for index, cell in enumerate(notebook.cells):
        cell["id"] = _cell_id(index, len(notebook.cells), cell.source)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return nbformat.writes(notebook)


def _cell_id(index: int, n_cells: int, source: str) -> str:
    return hashlib.sha256(f"{index} of {n_cells}\n{source}".encode()).hexdigest()[:8]


def is_edited(twin: Path) -> bool:
    """Whether cells of a twin were changed, added or removed since it was made of its source.

    Outputs do not count: a run gives them again. A file that cannot be read counts as edited.
    """
    try:
        cells = json.loads(twin.read_text())["cells"]
        return any(
            cell["id"] != _cell_id(index, len(cells), "".join(cell["source"]))
            for index, cell in enumerate(cells)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return twin.is_file()


def warn_of_edits(folder: Path) -> None:
    """Say which twins hold work that a run will not use."""
    for source in notebook_sources(folder):
        twin = source.with_suffix(".ipynb")
        if is_edited(twin):
            sys.stderr.write(
                f"{twin.name} was edited, and runs use {source.name}. To run what you changed: "
                f"jupytext --to py:percent {name_in(PROJECT_ROOT, twin)}, then `make sync`.\n"
            )


def sync(folder: Path, *, check: bool) -> list[Path]:
    """Rebuild the twins; return those that were missing or out of date.

    Of a twin that was edited a copy is kept beside it, as ``03_name.edited.ipynb``.

    Parameters
    ----------
    folder : pathlib.Path
        Holds the ``.py`` sources, see :func:`notebook_sources`.
    check : bool
        Only compare; write nothing.
    """
    stale = []
    for source in notebook_sources(folder):
        twin, text = source.with_suffix(".ipynb"), notebook_from_source(source)
        if twin.is_file() and twin.read_text() == text:
            continue
        stale.append(twin)
        if not check:
            _keep_edits(twin)
            with atomic_path(twin) as tmp:
                tmp.write_text(text)
    return stale


def _keep_edits(twin: Path) -> None:
    if is_edited(twin):
        kept = twin.with_suffix(".edited.ipynb")
        if kept.exists():
            raise FmriUtilsError(
                f"{kept} holds earlier work. Move or delete that copy, then sync again."
            )
        os.replace(twin, kept)
        print(f"{twin.name} was edited; your version is kept as {kept}")


@command
def main(arguments: list[str]) -> None:
    """Rebuild the twins in the folders that are named, as ``make sync`` does."""
    for folder in arguments:
        for twin in sync(Path(folder), check=False):
            print(f"rebuilt: {twin}")


if __name__ == "__main__":
    raise SystemExit(main())
