"""Sphinx configuration; `make docs` builds the pages into docs/_build/html."""

import sys
from pathlib import Path

import expunge

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "expunge"
author = "the expunge authors"
project_copyright = "the expunge authors, Apache-2.0"
version = release = expunge.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "flowchart"]
exclude_patterns = ["_build"]
templates_path: list[str] = []
html_theme = "furo"
html_title = "expunge"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
# Docstrings write `name` for code.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
