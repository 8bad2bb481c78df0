"""Nothing that comes from outside is executed: no pickle, no text, no path out of an archive.

Searched for in the syntax trees of the package, the notebooks, the benchmarks and the tests. The
tests make hostile files on purpose; what they use for that is listed, file by file.

Weights are read as safetensors, released LAFITE checkpoints by an unpickler that calls nothing of
what they name, and what ``torch.save`` wrote (checkpoints of a training, torchvision's weights) by
PyTorch's restricted reader, ``weights_only=True``.
"""

import ast
import re
from pathlib import Path

import jupytext
import pytest

from fmri_utils.project.artifacts import own_files
from pipeline.pairing import notebook_sources

ROOT = Path(__file__).parents[1]
NOTEBOOKS = notebook_sources(ROOT / "notebooks")
ROOMS = ("fmri_utils", "simulated_nsd", "pipeline", "benchmarks")
PACKAGE = [path for name in ROOMS for path in own_files(ROOT / name, "**/*.py")]
TESTS = own_files(ROOT / "tests", "**/*.py")

ALLOWED_IN_TESTS = {
    # make pickles, hostile ones among them
    "lafite_fixture.py": {"pickle"},
    "test_frechet.py": {"pickle"},
    "test_lafite_official.py": {"pickle"},
    "test_malformed_checkpoints.py": {"pickle"},
    # also does, in a process of its own, what an unwary tool would: to show that they are hostile
    "lafite_pickles.py": {"exec", "pickle"},
    # runs the cells of the project's own notebooks
    "test_regions.py": {"exec"},
}
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
LOADERS = {"Unpickler", "read_pickle", "_load_from_bytes", "import_module", "__import__"}


EXECUTORS = {"eval", "exec", "compile"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def dangers(source):
    """What in a source text can execute something from outside, as (line, what).

    ``pickle.UnpicklingError`` may be caught: torch raises it on a file that it refuses.
    """
    tree = ast.parse(source)
    errors = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "pickle.UnpicklingError"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {a.name for a in node.names if (a.name, a.asname) != ("pickle", None)}
            found = {name.split(".")[0] for name in names} & UNPICKLERS
        elif isinstance(node, ast.ImportFrom):
            module, names = (node.module or "").split(".")[0], {a.name for a in node.names}
            found = {module} & UNPICKLERS if names != {"UnpicklingError"} else set()
            found |= names & LOADERS | (
                {"torch's load"} if module == "torch" and "load" in names else set()
            )
        elif isinstance(node, ast.Name):
            found = {node.id} & (UNPICKLERS | LOADERS) if id(node) not in errors else set()
        elif isinstance(node, ast.Attribute):
            found = {node.attr} & (UNPICKLERS | LOADERS)
        elif isinstance(node, ast.Call):
            found = unsafe_call(node)
        else:
            continue
        yield from ((node.lineno, what) for what in found)


def unsafe_call(node):
    """Calls, or arguments of calls, that run what they read, or write where an archive says."""
    keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
    function = ast.unparse(node.func)
    last = function.rsplit(".", 1)[-1]
    found = {"allow_pickle"} if keywords.get("allow_pickle", "False") != "False" else set()
    found |= {function} & (EXECUTORS | SHELLS | {f"builtins.{name}" for name in EXECUTORS})
    if keywords.get("shell", "False") != "False":
        found.add("shell")
    if function.startswith("yaml.") and last not in {"safe_load", "safe_dump", "dump"}:
        found.add(function)
    if last == "unpack_archive":
        found.add(last)
    if isinstance(node.func, ast.Attribute) and last in {"extract", "extractall"}:
        found |= {last} if keywords.get("filter") != "'data'" else set()
    if function.endswith("hub.load"):
        found.add("torch.hub")
    elif re.fullmatch(r"(torch|torch\.serialization|serialization)\.load", function):
        found |= {"no weights_only=True"} if keywords.get("weights_only") != "True" else set()
    return found


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle; pickle.loads(x)", "import pickle; load(path, pickle_module=pickle)"),
        *("import pickle as data", "from pickle import loads", "import joblib"),
        *("import torch; torch.serialization.pickle.Unpickler", "torch.load(io.BytesIO(x))"),
        *("torch.serialization.load(x)", "from torch import load", "torch.hub.load('a', 'b')"),
        *("torch.storage._load_from_bytes(x)", "np.load(path, allow_pickle=given)"),
        *("pd.read_pickle(path)", "importlib.import_module('pick' + 'le')", "eval(text)"),
        *("builtins.exec(text)", "subprocess.Popen(line, shell=given)", "os.system(line)"),
        *("yaml.load(file, Loader=yaml.UnsafeLoader)", "yaml.unsafe_load(file)"),
        *("tarfile.open(path).extractall(folder)", "archive.extract(member, folder)"),
        *("archive.extractall(folder, filter='fully_trusted')", "shutil.unpack_archive(path)"),
    ],
)
def test_what_is_dangerous_is_found(source):
    assert list(dangers(source))


def code(path):
    """A file's Python; of a notebook its code cells, without the lines of IPython."""
    if path not in NOTEBOOKS:
        return path.read_text()
    cells = [c.source for c in jupytext.read(path).cells if c.cell_type == "code"]
    lines = "\n".join(cells).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


def test_nothing_from_outside_is_executed():
    files = [*PACKAGE, *NOTEBOOKS]
    found = {path.name: {what for _, what in dangers(code(path))} for path in files}
    # Released checkpoints are read by an unpickler of ours, which calls nothing that they name.
    assert {name: what for name, what in found.items() if what} == {"inert_pickle.py": {"pickle"}}


def test_tests_use_only_what_they_need_to_make_hostile_files():
    found = {path.name: {what for _, what in dangers(code(path))} for path in TESTS}
    assert {name: what for name, what in found.items() if what} == ALLOWED_IN_TESTS
