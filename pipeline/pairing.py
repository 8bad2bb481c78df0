"""The ``.ipynb`` twin of a ``.py`` notebook, determined by its source byte for byte."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from fmri_utils.project.artifacts import atomic_path, own_files
from fmri_utils.project.command import command

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

    Cell ids are hashes of position and content (jupytext draws them at random), so the same source
    gives the same bytes.
    """
    import jupytext  # takes seconds; who only lists notebooks does not need it
    import nbformat

    notebook = jupytext.read(source, fmt="py:percent")
    for index, cell in enumerate(notebook.cells):
        digest = hashlib.sha256(f"{index}\n{cell.source}".encode()).hexdigest()
        cell["id"] = digest[:8]
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return nbformat.writes(notebook)


def sync(folder: Path, *, check: bool) -> list[Path]:
    """Rebuild the twins; return those that were missing or out of date.

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
            with atomic_path(twin) as tmp:
                tmp.write_text(text)
    return stale


@command
def main(arguments: list[str]) -> None:
    """Rebuild the twins in the folders that are named, as ``make sync`` does."""
    for folder in arguments:
        for twin in sync(Path(folder), check=False):
            print(f"rebuilt: {twin}")


if __name__ == "__main__":
    raise SystemExit(main())
