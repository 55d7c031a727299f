"""The site: Sphinx with MyST, the generator of phonopy, phono3py and ASE's neighbours. Built by ``make docs``."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version

sys.path.insert(0, os.path.dirname(__file__))  # command_lines.py

project = "Phonons and thermal conductivity from any force field"
html_title = "screen-cli and its three plugins"
author = "The SDNNFF ecosystem developers"
copyright = f"{author}, BSD-3-Clause"
release = version = installed_version("screen-cli")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "numpydoc",
    "sphinx-mathjax-offline",  # formulas without a network
]
exclude_patterns = ["images/README.md"]
suppress_warnings = ["mystnb.unknown_mime_type"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
nb_execution_mode = os.environ.get("DOCS_NOTEBOOKS", "off")  # "force" runs the tutorials: make docs-notebooks
nb_execution_timeout = 900
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's parameter lines carry type, shape and unit
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
templates_path = ["_templates"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp"
