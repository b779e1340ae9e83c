"""How Sphinx builds the site; `ci/docs` runs it."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "fastinit"
author = "The fastinit developers"
copyright = "The fastinit developers"
html_title = "fastinit"

extensions = [
    "absent_torch",
    "myst_parser",
    "plain_docstrings",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinxcontrib.programoutput",
]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # the type `bytes` of a property that is itself called bytes

# Pages: Markdown. A link to a heading is checked like any other.
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
highlight_language = "text"

# Reference: from docstrings.
default_role = "code"
autodoc_mock_imports = ["torch"]
autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_typehints = "signature"
autodoc_use_type_comments = False  # would look for the source of a stand-in, without end
autodoc_member_order = "bysource"
add_module_names = False
python_display_short_literal_types = True
maximum_signature_line_length = 100

# The help of the commands, as a terminal of this width shows it, without colours.
os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}

html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
