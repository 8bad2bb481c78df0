"""What a notebook depends on besides the files that it opens: its code, its settings, its weights.

Code is followed by name: a notebook that says ``plots.plot_losses`` depends on the module that
defines ``plot_losses``, and not on all that the room exports. Comments, docstrings and layout do
not count. So an edited figure of notebook 07 reruns no training of notebook 03.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("fmri_utils", "simulated_nsd", "pipeline")


def code_digests(source: Path, root: Path) -> dict[str, str]:
    """Digest of the code of a notebook, and of each module of the project that it needs.

    Parameters
    ----------
    source : pathlib.Path
        A Python file below ``root``.
    root : pathlib.Path
        The project.

    Returns
    -------
    dict of str to str
        Name relative to ``root`` to hexadecimal SHA-256.
    """
    found, waiting = {}, [source]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name not in found:
            found[name], needed = _read(path, path.stat().st_mtime_ns, root)
            waiting += needed
    return dict(sorted(found.items()))


@functools.cache  # modules are shared by most notebooks
def _read(path: Path, _changed: int, root: Path) -> tuple[str, tuple[Path, ...]]:
    tree = _parsed(path)
    needed = tuple(_needed(path, tree, root))
    return _digest(tree), needed


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _digest(tree: ast.Module) -> str:
    """Of what runs: docstrings and positions are left out."""
    for node in ast.walk(tree):
        described = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if described and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _needed(path: Path, tree: ast.Module, root: Path) -> Iterator[Path]:
    """Modules that define what a file imports, and uses of the rooms that it imports as a whole."""
    imported = list(_imported(path, tree, root))
    rooms = {name: place for name, place in imported if place.is_dir()}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    uses = [node for node in attributes if getattr(node.value, "id", None) in rooms]
    imported += [(node.attr, _resolved(rooms[node.value.id], node.attr)) for node in uses]
    return (place for _, place in imported if place.is_file())


def _imported(path: Path, tree: ast.Module, root: Path) -> Iterator[tuple[str, Path]]:
    """Local name of all that a file imports from the project, and the module or room of each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (base := _folder(path, node, root)):
            for alias in node.names:
                yield alias.asname or alias.name, _resolved(base, alias.name)


def _folder(path: Path, node: ast.ImportFrom, root: Path) -> Path | None:
    """The package or module that names are imported from; None if it is not the project's."""
    parts = (node.module or "").split(".")
    if not node.level and parts[0] not in PACKAGES:
        return None
    return (path.parents[node.level - 1] if node.level else root).joinpath(*parts)


def _resolved(base: Path, name: str) -> Path:
    """Where ``from base import name`` finds it: the file that defines it, or a package's folder."""
    for module in (base, base / name):
        if module.with_suffix(".py").is_file():
            return module.with_suffix(".py")
    if (base / name / "__init__.py").is_file():
        return base / name
    return _exported(base).get(name, base / "__init__.py")


@functools.cache
def _exported(package: Path) -> dict[str, Path]:
    """Names that a package's ``__init__`` imports from its modules, and where each is defined."""
    front = package / "__init__.py"
    root = next(folder for folder in package.parents if not (folder / "__init__.py").is_file())
    return dict(_imported(front, _parsed(front), root))
