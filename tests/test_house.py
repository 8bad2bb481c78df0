"""What keeps the house thin: packages, rooms, names and sizes."""

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from fmri_utils.project.artifacts import own_files

ROOT = Path(__file__).parents[1]
# Lines with code on them: no docstrings, comments or blank lines. They may be lowered.
CEILINGS = {"fmri_utils": 12_137, "simulated_nsd": 4_500, "pipeline": 3_557, "tests": 13_592}
PACKAGES = [name for name in CEILINGS if name != "tests"]
N_ROOMS, N_TWICE = 12, 8
USUAL = {"__init__", "__main__", "settings"}
# Nothing in the tree calls these: users do, to read released weights, to score pictures, and for
# data without noise ceilings.
FOR_USERS = {
    *("estimate_ncsnr", "Discriminator"),
    *("read_official_pickle", "generator_from_state", "discriminator_from_state"),
    *("load_generator", "train", "two_way_identification", "retrieval", "pixcorr", "ssim"),
    "picture_scores",
}


def sources(folder):
    return own_files(ROOT / folder, "**/*.py")


def code_lines(path):
    """Number of lines that hold a token which is neither a comment nor part of a docstring."""
    text = path.read_text()
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    quiet |= {tokenize.ENDMARKER}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in quiet
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        with_docstring = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, with_docstring) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_code_lines_are_counted_without_words(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        '"""Module."""\n\n# why\nX = """a\nb"""\n\ndef f():\n    """Doc."""\n    return (\n1)\n'
    )
    assert code_lines(path) == 5


@pytest.mark.parametrize("folder", CEILINGS)
def test_packages_stay_thin(folder):
    assert sum(map(code_lines, sources(folder))) <= CEILINGS[folder]


def test_rooms_are_few_and_every_module_is_in_one():
    inner = [p.relative_to(ROOT / "fmri_utils").parts for p in sources("fmri_utils")]
    assert {parts[0] for parts in inner if len(parts) == 1} == {"__init__.py"}
    assert len({parts[0] for parts in inner if len(parts) > 1}) <= N_ROOMS


def test_few_file_names_occur_twice():
    count = Counter(path.stem for name in PACKAGES for path in sources(name))
    assert len([stem for stem, n in count.items() if n > 1 and stem not in USUAL]) <= N_TWICE


def names_used(path):
    """All names, attributes and imported names of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


def test_a_room_exports_what_others_use():
    used = {path: set(names_used(path)) for name in PACKAGES for path in sources(name)}
    for folder in ("notebooks", "benchmarks"):
        used |= {path: set(names_used(path)) for path in own_files(ROOT / folder, "*.py")}
    idle = {}
    for front in (path for path in used if path.name == "__init__.py"):
        imports = [n for n in ast.parse(front.read_text()).body if isinstance(n, ast.ImportFrom)]
        exported = {a.asname or a.name for n in imports if n.level == 1 for a in n.names}
        outside = [names for path, names in used.items() if path.parent != front.parent]
        unused = exported - FOR_USERS - set().union(*outside)
        if unused:
            idle[front.parent.relative_to(ROOT).as_posix()] = sorted(unused)
    assert not idle
