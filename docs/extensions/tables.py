"""Tables of the reference that are made of the code: what cancelling does, and codes of errors."""

import inspect
import re
from collections.abc import Iterator
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from docs.extensions.docstrings import restructured
from docs.extensions.public_names import exported
from squire_gatherings import GatheringsError

CANCELLATION = re.compile(r"^Cancellation: *(.*(?:\n.+)*)", re.MULTILINE)


class Table(SphinxDirective):
    """A table of two columns, made of rows of reStructuredText."""

    head: ClassVar[tuple[str, str]]

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the rows."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for first, second in (self.head, *self.rows()):
            lines += [f"   * - {first}", f"     - {second}"]
        return self.parse_text_to_nodes("\n".join(lines))


class Cancellations(Table):
    """Every public call that waits, and what cancelling it does."""

    head = ("call", "cancelled")

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield a row for each call whose docstring tells it."""
        for full, one in exported().items():
            for name, docstring in self._docstrings(full, one):
                if told := CANCELLATION.search(docstring):
                    text = " ".join(told[1].split())
                    text = restructured(text[:1].upper() + text[1:], full)
                    yield f":py:obj:`{name.removeprefix('squire_gatherings.')} <{name}>`", text

    def _docstrings(self, full: str, one: object) -> Iterator[tuple[str, str]]:
        if inspect.isroutine(one):
            yield full, inspect.getdoc(one) or ""
        elif inspect.isclass(one):
            for name, member in vars(one).items():
                if inspect.isroutine(member) and not name.startswith("_"):
                    yield f"{full}.{name}", inspect.getdoc(member) or ""


class ErrorCodes(Table):
    """Every error, with its code on the wire."""

    head = ("``code``", "error")

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield a row for each class of errors."""
        found = {
            one: full
            for full, one in reversed(exported().items())
            if inspect.isclass(one) and issubclass(one, GatheringsError)
        }
        for one, full in sorted(found.items(), key=lambda item: (item[0].code, item[1])):
            yield f"``{one.code}``", f":py:obj:`{one.__name__} <{full}>`"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("cancellations", Cancellations)
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
