"""Drawings become part of the page: their text can be selected and found, and follows the theme.

Elsewhere (on GitHub) they are pictures like any other.
"""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

OURS = '<svg xmlns="http://www.w3.org/2000/svg" class="picture"'
"""How the drawings of `docs/pictures` begin. Plots that a program has made stay pictures."""


class Drawings(SphinxTransform):
    """Puts the SVG files that a page shows into it."""

    default_priority = 200

    def apply(self) -> None:
        """Replace each image that is a drawing."""
        for image in list(self.document.findall(nodes.image)):
            if not image["uri"].endswith(".svg"):
                continue
            name, file = self.env.relfn2path(image["uri"], self.env.docname)
            drawing = Path(file).read_text(encoding="utf-8")
            if OURS in drawing:
                self.env.note_dependency(name)
                image.replace_self(nodes.raw("", drawing, format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx apply this to each page that it reads."""
    app.add_transform(Drawings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
