"""``python -m pipeline.pages PROFILE=demo SUBJECT=1``, which is what ``make html`` calls.

From executed notebooks to pages: what is missing, what goes into them, and Sphinx.
"""

import shutil
from pathlib import Path

import nbformat

from fmri_utils.project.artifacts import OUTPUTS_MIME, own_files
from fmri_utils.project.command import command
from fmri_utils.project.errors import ArtifactError, FmriUtilsError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from ..execute import run
from ..request import Request, parse_request
from ..steps import Step, reasons, steps

NOTEBOOKS = PROJECT_ROOT / "notebooks"
OUTPUT = PROJECT_ROOT / "build" / "html"
EXPLORER = NOTEBOOKS / "explore.py"
TEXTS = ("index.md", "figures.md", "glossary.md")
WIDGET = "application/vnd.jupyter.widget-view+json"  # without widgets only progress bars
SETTINGS = {"parameters", "injected-parameters"}  # tags of the cells that hold them
CONTENTS = """
```{{toctree}}
:hidden:
:caption: Notebooks

{notebooks}
```

```{{toctree}}
:hidden:
:caption: Beside them

figures
results
glossary
```
"""


def check_executed(profile: Profile) -> None:
    """Refuse to show what the present sources have not given.

    Raises
    ------
    ArtifactError
        If a numbered notebook has not run, or not since something changed.
    """
    for step in steps():
        if reasons(profile, step):
            raise ArtifactError(
                f"{step.stem} has not run in {profile.runs.relative_to(PROJECT_ROOT)}, or not "
                "since something changed. The pages show executed notebooks. Run `make all "
                f"PROFILE={profile.name} SUBJECT={profile.subject}` with your other settings first."
            )


def run_explorer(request: Request) -> None:
    """Execute explore.ipynb without widgets, for its view at the start, if it is not up to date."""
    everything = tuple(name for step in steps() for name in step.writes)
    run(Step(EXPLORER, everything, ()), request)


def page_of(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook as its page shows it.

    Settings and progress bars are left out; ``alt`` of a cell's metadata becomes the alternative
    text of its pictures.
    """
    notebook.metadata.pop("widgets", None)  # the state of progress bars
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(OUTPUTS_MIME, None)  # its text is shown, the rest is ours
        if SETTINGS & set(cell.metadata.get("tags", [])):
            cell.metadata["tags"] = ["remove-cell"]
        if "alt" in cell.metadata:
            cell.metadata["mystnb"] = {"image": {"alt": cell.metadata["alt"]}}
    return notebook


def write_sources(profile: Profile, folder: Path) -> None:
    """Gather what Sphinx reads: executed notebooks, texts, figures and the table of results.

    Parameters
    ----------
    profile : Profile
        Its runs and figures are shown.
    folder : pathlib.Path
        Made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = [*(step.stem for step in steps()), EXPLORER.stem]
    for name in names:
        notebook = nbformat.read(profile.runs / f"{name}.ipynb", as_version=4)
        nbformat.write(page_of(notebook), folder / f"{name}.ipynb")
    for name in TEXTS:
        text = (NOTEBOOKS / name).read_text().replace("](../figures/", "](figures/")
        (folder / name).write_text(text)
    with open(folder / "index.md", "a") as index:
        index.write(CONTENTS.format(notebooks="\n".join(names)))
    shutil.copy(profile.figures / "results.md", folder)
    (folder / "figures").mkdir()
    for path in own_files(profile.figures, "*.png") + own_files(profile.figures, "*.gif"):
        shutil.copy(path, folder / "figures")


def build_site(sources: Path, output: Path) -> None:
    """Render the sources with Sphinx.

    Parameters
    ----------
    sources : pathlib.Path
        From :func:`write_sources`.
    output : pathlib.Path
        Made anew; ``index.html`` is the first page.

    Raises
    ------
    FmriUtilsError
        If Sphinx has found anything to complain about, a link without a target for instance.
    """
    from sphinx.cmd.build import build_main

    shutil.rmtree(output, ignore_errors=True)
    configuration = str(Path(__file__).parent)
    cache = str(sources / ".doctrees")
    arguments = ["-b", "html", "-c", configuration, "-d", cache, "-q", "-W", "--keep-going"]
    if build_main([*arguments, str(sources), str(output)]):
        raise FmriUtilsError(
            f"Sphinx complained (see above) about the pages made from {sources}. What it could "
            f"make is in {output}. Correct the sources in notebooks/ and run `make html` again."
        )


@command
def main(arguments: list[str]) -> None:
    """Check what was executed, add the explorer's first view, and render all of it."""
    request = parse_request(arguments)
    check_executed(request.profile)
    run_explorer(request)
    sources = request.profile.runs / "html-sources"
    write_sources(request.profile, sources)
    build_site(sources, OUTPUT)
    print(f"open {OUTPUT.relative_to(PROJECT_ROOT)}/index.html")


if __name__ == "__main__":
    raise SystemExit(main())
