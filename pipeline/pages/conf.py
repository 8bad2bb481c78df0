"""Sphinx's settings for the pages. Nothing in them may ask another machine for anything."""

from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "From fMRI to a picture"
html_title = project
extensions = ["myst_nb"]
html_theme = "furo"
html_static_path = [str(Path(__file__).with_name("site.css"))]
html_css_files = ["site.css"]
html_show_sourcelink = html_copy_source = False

# The notebooks have run already.
nb_execution_mode = "off"
nb_output_stderr = "remove"  # progress bars
nb_merge_streams = True
nb_render_markdown_format = "myst"  # as in the texts: with tables
nb_ipywidgets_js = {}  # would come from another machine; executed without widgets anyway
nb_code_prompt_show = "Solution: show"
nb_code_prompt_hide = "Solution: hide"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"  # browsers know it; Sphinx's default loads a script from elsewhere


def _formula(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    as_block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=as_block))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Formulas as MathML, by docutils."""
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
