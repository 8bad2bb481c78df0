"""A project of tiny notebooks in a folder of its own, to run with the real engine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOK = """# %% [markdown]
# # {title}

# %% tags=["parameters"]
PROFILE = "demo"
SUBJECT = 1
SEED = 0
DEVICE = "auto"
OVERRIDES = []
INTERACTIVE = True

# %%
from pathlib import Path
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.notebook_files import open_inputs
from fmri_utils.project.profiles import load_profile
root = Path.cwd().parent
cfg = load_profile(PROFILE, subject=SUBJECT, seed=SEED, device=DEVICE, overrides=OVERRIDES)
if False:
    open_inputs(cfg, {reads})

# %% [markdown]
# ## At work

# %%
files = open_inputs(cfg)
with atomic_path(cfg.derived / "{title}.txt") as tmp:
    tmp.write_text(f"{title} {{PROFILE}} {{SEED}}")
files.written.append(cfg.derived / "{title}.txt")
{extra}

# %%
files.finish("none")
"""


def copy_project(folder, source=PROJECT):
    """A project of its own: its sources, and the shipped weights by a link.

    What JupyterLab or macOS left among them is not copied: its name begins with a dot.
    """
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("fmri_utils", "simulated_nsd", "pipeline", "notebooks"):
        shutil.copytree(source / name, folder / name, ignore=ignored)
    shutil.copy(source / "constraints.txt", folder)
    (folder / "data").mkdir()
    (folder / "data" / "pretrained").symlink_to(source / "data" / "pretrained")
    return folder


class TinyProject:
    """Notebooks of one line each, which read each other's files.

    Parameters
    ----------
    root : pathlib.Path
        An empty folder.
    reads : dict of str to tuple of str
        Title of each notebook ("02_b") to those whose files it reads.
    """

    def __init__(self, root, reads):
        self.root, self.reads = copy_project(root), reads
        shutil.rmtree(root / "notebooks")
        (root / "notebooks").mkdir()
        table = root / "fmri_utils" / "project" / "notebook_files.py"
        written = {title[:2]: (f"{title}.txt",) for title in reads}
        text = re.sub(
            r"WRITTEN_BY = \{.*?\n\}", f"WRITTEN_BY = {written}", table.read_text(), flags=re.S
        )
        table.write_text(text)
        self.runs = root / "runs" / "smoke" / "subj01"
        self.derived = root / "data" / "derived" / "smoke" / "subj01"
        for title in reads:
            self.write(title)

    def write(self, title, extra=""):
        """A notebook, with something more to do."""
        path = self.root / "notebooks" / f"{title}.py"
        reads = ", ".join(f'"{name}"' for name in self.reads[title])
        path.write_text(NOTEBOOK.format(title=title, extra=extra, reads=reads))
        return path

    def start(self, *arguments, module="pipeline", log=subprocess.PIPE, **environment):
        """Start a command line of the project's own code."""
        variables = os.environ | {"PYTHONPATH": str(self.root), "HF_HUB_OFFLINE": "1"} | environment
        command = [sys.executable, "-m", module, *arguments]
        how = {"cwd": self.root, "env": variables, "text": True, "stdout": subprocess.PIPE}
        # Ctrl-C is ignored by what a shell has started in the background, tests for instance.
        how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(command, **how, stderr=log)

    def call(self, *arguments, module="pipeline", **environment):
        """Exit status, and what it said."""
        process = self.start(*arguments, module=module, log=subprocess.STDOUT, **environment)
        said, _ = process.communicate()
        return process.returncode, said

    def run(self, *arguments, **environment):
        """Titles of the notebooks that were executed, in order; all must go well."""
        code, said = self.call(*arguments, "PROFILE=smoke", **environment)
        assert code == 0, said
        return sorted(re.findall(r"^(\d\d_\w+) done in", said, re.MULTILINE))
