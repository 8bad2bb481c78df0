"""What made the figures of a folder, in a file beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .artifacts import atomic_path, package_versions, sha256_file

PROVENANCE = "provenance.json"


def write_provenance(
    folder: Path,
    files: Iterable[Path],
    *,
    made_by: str,
    config: Mapping,
    inputs: Mapping[str, str],
) -> Path:
    """Describe all files of a folder that one notebook made, in one file beside them.

    Parameters
    ----------
    folder : pathlib.Path
        The files' folder.
    files : iterable of path-like
        The finished files.
    made_by : str
        Name of the notebook.
    config, inputs
        As for :func:`write_manifest`.

    Returns
    -------
    pathlib.Path
        The file: ``made_by``, ``files`` (name to SHA-256), ``config``, ``inputs``, ``versions``.
    """
    provenance = {
        "made_by": made_by,
        "files": {Path(file).name: sha256_file(file) for file in files},
        "config": dict(config),
        "inputs": dict(inputs),
        "versions": package_versions(),
    }
    path = folder / PROVENANCE
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(provenance, indent=1, sort_keys=True) + "\n")
    return path
