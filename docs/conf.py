"""How Sphinx makes the site of these pages: `make docs`."""

import importlib.metadata
import importlib.util

project = "squire_gatherings"
release = importlib.metadata.version("squire-gatherings")
html_title = "squire_gatherings"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinxcontrib_trio",
    "docs.extensions.docstrings",
    "docs.extensions.public_names",
    "docs.extensions.tables",
    "docs.extensions.sources",
    "docs.extensions.pictures",
    "docs.extensions.links",
]

# Fragments of the changelog are no pages.
exclude_patterns = ["changes"]
if importlib.util.find_spec("squire_gatherings.testing") is None:
    exclude_patterns.append("reference/testing*")
suppress_warnings = ["toc.excluded"]

nitpicky = True
# What the standard library and Trio have is named, and not linked.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!squire_gatherings\b).*"),
    (r"py:class", r"squire_gatherings\.testing\._recorder\.M"),  # a type variable
]

myst_heading_anchors = 4

# `sphinxcontrib-trio` extends the documenters that are classes.
autodoc_use_legacy_class_based = True
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 120

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "top_of_page_buttons": [],
}
