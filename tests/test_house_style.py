"""What keeps the collection readable: pairs in sync, short cells, thin package, layered imports."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

from fmri_utils.project.artifacts import own_files
from pipeline.pairing import notebook_sources, sync

ROOT = Path(__file__).parents[1]
NOTEBOOKS = notebook_sources(ROOT / "notebooks")
NUMBERED = [p for p in NOTEBOOKS if p.name[0].isdigit()]
PACKAGES = ("fmri_utils", "simulated_nsd", "pipeline")
PACKAGE = [path for name in PACKAGES for path in own_files(ROOT / name, "**/*.py")]

OPENING = ("you learn", "you need", "reads", "writes", "minutes")
FIRST = {
    "01_data_prep": ("fMRI", "*voxels*", "*BOLD*", "*beta*", "(glossary.md)"),
    "02_joint_embedding": ("CLIP (Radford", "*embedding*"),
    "04_lafite_reconstruction": ("(GAN)", "*generator*", "*discriminator*", "*condition*"),
    "07_self_supervised": ("DINO (Caron", "*student*", "*teacher*"),
}
GLOSSARY = (
    *("voxel", "beta", "BOLD", "fMRI", "ROI", "noise ceiling", "ncsnr", "retinotopy", "pRF"),
    "CLIP",
    *("embedding", "contrastive", "InfoNCE", "ridge", "MRR", "two-way", "condition", "truncation"),
    *("GAN", "W", "latent", "FWER", "FDR", "EMA", "teacher", "student", "Shapley value", "DINO"),
)

# A room may import rooms of its own layer or of layers above it in this list.
LAYERS = [
    *({"project"}, {"nsd", "lafite"}, {"metrics"}, {"encoders"}, {"clip", "pictures", "dino"}),
    *({"perturbation"}, {"visual_areas", "plots"}, {"explorer"}, {"simulated_nsd"}, {"pipeline"}),
]


def code_cells(path):
    return [c for c in jupytext.read(path).cells if c.cell_type == "code"]


def test_every_notebook_has_its_twin_in_sync():
    assert len(NUMBERED) >= 6
    assert sync(ROOT / "notebooks", check=True) == []


@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_cells_are_short_and_talk(path):
    cells = jupytext.read(path).cells
    lengths = [len(c.source.splitlines()) for c in code_cells(path)]
    assert statistics.median(lengths) <= 6
    assert statistics.quantiles(lengths, n=10)[-1] <= 15
    assert max(lengths) <= 30
    assert len(cells) - len(lengths) >= 0.4 * len(lengths)  # the others are text


@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_notebooks_open_and_close_as_promised(path):
    cells = jupytext.read(path).cells
    assert cells[0].source.startswith(f"# # {path.stem[:2]}"[2:])
    assert "**Question.**" in cells[0].source
    assert cells[1].metadata.get("tags") == ["parameters"]
    assert re.search(r"\.finish\(|list_outputs\(", cells[-1].source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_openings_say_what_one_learns_what_one_needs_and_how_long_it_takes(path):
    opening = jupytext.read(path).cells[0].source
    rows = dict(re.findall(r"(?m)^\| ([a-z ]+) \| (.+) \|$", opening))
    assert list(rows) == [*OPENING]
    minutes = r"to run: smoke .* demo .* nsd .*; to work through: about \d+$"
    assert re.match(minutes, rows["minutes"])


@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_exercises_have_folded_solutions_and_answers(path):
    """Question, solution, answer: predicted first, so source and output are folded away."""
    cells = jupytext.read(path).cells
    asked = [i for i, c in enumerate(cells) if "### Exercise " in c.source]
    assert asked
    assert 2 <= sum(cells[i].source.count("### Exercise ") for i in asked) <= 3
    assert "## Exercises" in cells[asked[0]].source
    for i in asked:
        question, solution, answer = cells[i : i + 3]
        assert question.source.rstrip()[-1] in "?." and "?" in question.source
        assert solution.cell_type == "code" and len(solution.source.splitlines()) <= 15
        assert solution.metadata["tags"] == ["hide-cell"]
        assert solution.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
        assert "print(" in solution.source or "plot" in solution.source
        assert answer.source.startswith("<details>\n<summary>Answer</summary>\n\n")
        assert answer.source.count("<details>") == answer.source.count("</details>") == 1
    assert sum("hide-cell" in c.metadata.get("tags", []) for c in cells) == len(asked)


def test_terms_are_introduced_where_they_come_first():
    for stem, terms in FIRST.items():
        opening = jupytext.read(ROOT / "notebooks" / f"{stem}.py").cells[0].source
        for term in terms:
            assert term in opening, term


def test_the_glossary_has_the_terms():
    text = (ROOT / "notebooks" / "glossary.md").read_text()
    terms = re.findall(r"(?m)^### (.+)\n\n(.+)", text)
    names = [name for name, _ in terms]
    assert len(set(names)) == len(names)
    for term in GLOSSARY:
        assert any(re.search(rf"\b{re.escape(term)}\b", name) for name in names), term
    for section in re.split(r"(?m)^## ", text)[1:]:
        listed = [name.lower() for name in re.findall(r"(?m)^### (.+)", section)]
        assert listed == sorted(listed)


@pytest.mark.parametrize("path", [*PACKAGE, *NOTEBOOKS], ids=lambda p: p.stem)
def test_letters_are_not_too_small(path):
    sizes = re.findall(r"(?:font|label|title)size\"?[=:]\s*([\d.]+)", path.read_text())
    assert all(float(size) >= 9 for size in sizes)


@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_notebooks_define_nothing_and_do_not_ask_for_the_profile(path):
    tree = ast.parse("\n".join(c.source for c in code_cells(path)))
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
    assert not [n.lineno for n in ast.walk(tree) if isinstance(n, kinds)]
    assert not re.search(r"if\s+(PROFILE|cfg\.name)\b", path.read_text())
    # Hashes, remedies and file names belong to fmri_utils.project.notebook_files.
    assert not re.search(r"sha256|remedy|manifest|\.h5\"", ast.unparse(tree))


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_package_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def room_of(module):
    """The room a module is in: a folder of fmri_utils, or one of the other two packages."""
    first, *rest = module.split(".")
    return (rest or [first])[0] if first == "fmri_utils" else first


def imported_rooms(path):
    """Rooms that a module imports, wherever in the file."""
    parts = path.relative_to(ROOT).with_suffix("").parts  # fmri_utils, room, ...
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = list(parts[: -node.level]) if node.level else []
        base += (node.module or "").split(".") if node.module else []
        if base[0] in PACKAGES:
            names = [alias.name for alias in node.names] if base == ["fmri_utils"] else [""]
            yield from (room_of(".".join([*base, *filter(None, [name])])) for name in names)


def test_imports_are_layered():
    level = {room: i for i, rooms in enumerate(LAYERS) for room in rooms}
    for path in PACKAGE:
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if room == "__init__":
            continue
        assert room in level, f"{room} stands in no layer"
        for other in imported_rooms(path):
            assert level[other] <= level[room], f"{path} imports {other}"


def test_light_modules_do_not_import_torch():
    light = "fmri_utils, fmri_utils.project.profiles, fmri_utils.nsd, simulated_nsd.scenes"
    code = f"import sys, {light}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
