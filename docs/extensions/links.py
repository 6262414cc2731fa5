"""Every link within the site leads to a page, and to a place on it, that is there.

Sphinx looks at the links that it resolves. This looks at what was written: links to copies of
sources, in drawings, in the theme, and to anchors that only the reader of HTML knows.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from attrs import define, field
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


@define(eq=False)
class Page(HTMLParser):
    """The anchors and links of one page."""

    anchors: set[str] = field(factory=set)
    links: set[str] = field(factory=set)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "use":
                self.links.add(value)


def read(folder: Path) -> dict[Path, Page]:
    """Read all pages of a site."""
    pages = {}
    for file in sorted(folder.rglob("*.html")):
        pages[file.resolve()] = page = Page()
        page.feed(file.read_text(encoding="utf-8"))
    return pages


def broken(folder: Path) -> list[str]:
    """Return a line for each link within a site that leads nowhere."""
    pages = read(folder)
    lines = []
    for file, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = pages.get(target)
            if not target.exists():
                lines.append(f"{file.relative_to(folder)}: {link} isn't there")
            elif known and parts.fragment and unquote(parts.fragment) not in known.anchors:
                lines.append(f"{file.relative_to(folder)}: {link} has no such anchor")
    return lines


def check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of links that lead nowhere, once the site is written."""
    if exception is None and app.builder.name == "html":
        for line in broken(Path(app.outdir).resolve()):
            logger.warning(line, type="links")


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx call this when it has written the site."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
