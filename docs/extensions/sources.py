"""Links to files and folders of the repository that are no pages lead to copies in the site.

The pages link to `../examples/swiss_night` or `../CHANGELOG.md`, as it suits who reads them in the
repository. The site has such files below `source/`, with their code highlighted.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.osutil import relative_uri

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = {"README.md": "index", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
"""The files beside `docs` that the site has as pages."""


class Sources(SphinxTransform):
    """Has links to the repository's files lead to their copies."""

    default_priority = 210

    def apply(self) -> None:
        """Replace each link to a file or folder that is no page."""
        for link in list(self.document.findall(nodes.Element)):
            if not isinstance(link, pending_xref | download_reference):
                continue
            if link.get("reftype") != "myst":
                continue
            page = self._page(link["reftarget"])
            if page is not None:
                uri = relative_uri(self._uri(self.env.docname), self._uri(page))
                reference = nodes.reference("", "", internal=True, refuri=uri)
                reference.extend(link.children)
                link.replace_self(reference)

    def _uri(self, page: str) -> str:
        return str(self.app.builder.get_target_uri(page))

    def _page(self, target: str) -> str | None:
        if target in self.env.found_docs:
            return None
        file = (DOCS / self.env.docname).parent.joinpath(target).resolve()
        if not file.exists():
            # An included page is read as if it were in `docs`, and its suffix is gone by then.
            file = file.with_name(f"{file.name}.md")
        if not file.exists() or not file.is_relative_to(ROOT):
            return None
        path = file.relative_to(ROOT).as_posix()
        if path in PAGES:
            return PAGES[path]
        linked: set[str] = getattr(self.env, "linked_sources", set())
        linked.add(path)
        self.env.linked_sources = linked  # type: ignore[attr-defined]
        return f"source/{path}"


def copies(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each file and folder that is linked to, and for all that is in a folder."""
    waiting = sorted(getattr(app.env, "linked_sources", set()))
    seen = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        file = ROOT / path
        if file.is_dir():
            inside = sorted(one.name for one in file.iterdir() if _is_source(one))
            waiting += [f"{path}/{name}" for name in inside]
            body = _list(app, path, inside)
        else:
            body = _highlighted(file)
        body = f"<h1>{escape(path)}</h1>{body}"
        yield f"source/{path}", {"title": path, "body": body}, "page.html"


def _is_source(file: Path) -> bool:
    """Return whether a file is text, or a folder in which such may be."""
    if file.name.startswith((".", "__pycache__")):
        return False
    if file.is_dir():
        return True
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _list(app: Sphinx, path: str, inside: list[str]) -> str:
    uri_of = app.builder.get_target_uri
    items = []
    for name in inside:
        uri = relative_uri(uri_of(f"source/{path}"), uri_of(f"source/{path}/{name}"))
        items.append(f'<li><a href="{escape(uri)}">{escape(name)}</a></li>')
    return f"<ul>{''.join(items)}</ul>"


def _highlighted(file: Path) -> str:
    try:
        lexer = get_lexer_for_filename(file.name)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight(file.read_text(encoding="utf-8"), lexer, HtmlFormatter(cssclass="highlight"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx replace the links, and write the pages they lead to."""
    app.add_transform(Sources)
    app.connect("html-collect-pages", copies)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
