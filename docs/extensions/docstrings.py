"""Docstrings are Markdown with Google's sections; autodoc reads reStructuredText.

A name in backticks that programs can import becomes a link, anything else code. Fences become
blocks of code.
"""

import ast
import inspect
import re
import textwrap
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import attrs
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import squire_gatherings._exports as exports
from docs.extensions.public_names import exported, public_name

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
MARKED = re.compile(r"(?<![`:])`([^`]+)`(?!`)")
LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)]+)\)")
NAME = re.compile(r"[A-Za-z_][\w.]*")
CANCELLATION = re.compile(r"^Cancellation: ", re.MULTILINE)
PAGE = re.compile(r"\bdocs/([\w-]+)\.md\b")
DEFAULT = re.compile(r"attr_dict\['(\w+)'\]\.default")
ANNOTATED = re.compile(r"Annotated\[(.+?), ~?msgspec\.Meta\([^)]*\)\]")
SECTIONS: Any = Config(napoleon_custom_sections=[("Keys", "params_style")])


def restructured(text: str, owner: str) -> str:
    """Return a docstring as reStructuredText.

    Args:
        text: The docstring, without the indentation that all of its lines have.
        owner: The full name of the class whose docstring, or whose member's, it is; empty if none.
    """
    parts = []
    end = 0
    for fence in FENCE.finditer(text):
        parts.append(_prose(text[end : fence.start()], owner))
        code = textwrap.indent(textwrap.dedent(fence[3]), f"{fence[1]}   ")
        parts.append(f"{fence[1]}.. code-block:: {fence[2]}\n\n{code}")
        end = fence.end()
    parts.append(_prose(text[end:], owner))
    return "".join(parts)


def _prose(text: str, owner: str) -> str:
    text = MARKED.sub(lambda marked: _marked(marked[1], owner), text)
    text = PAGE.sub(r":doc:`/\1`", LINK.sub(r"`\1 <\2>`__", text))
    return CANCELLATION.sub("**Cancellation:** ", text)


def _marked(code: str, owner: str) -> str:
    name = code.removesuffix("()")
    if NAME.fullmatch(name):
        for full in (public_name(name), f"{owner}.{name}"):
            if full is not None and _exists(full):
                return f":py:obj:`{code} <{full}>`"
    return f"``{' '.join(code.split())}``"


def _exists(full: str) -> bool:
    if full in exported():
        return True
    owner, _, member = full.rpartition(".")
    one = exported().get(owner)
    if member.startswith("_") or not inspect.isclass(one):
        return False
    static = inspect.getattr_static(one, member, None)
    return inspect.isroutine(static) or isinstance(static, property)


@cache
def _module_of_alias() -> dict[str, str]:
    """Return the modules in which names of `_exports` are defined."""
    tree = ast.parse(Path(exports.__file__).read_text())
    return {
        name.name: str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }


def _docstring_of_value(full: str) -> list[str]:
    """Return what is written below a value that has no docstring by itself."""
    name = full.rpartition(".")[2]
    module = _module_of_alias().get(name)
    if module is None:
        return []
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    return list(analyzer.attr_docs.get(("", name), []))


def process(app: Sphinx, what: Any, name: str, one: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring."""
    if what == "data":
        lines[:] = _docstring_of_value(name) or lines
    owner = name if what in ("class", "exception") else name.rpartition(".")[0]
    lines[:] = restructured("\n".join(lines), owner).split("\n")
    # Of an attribute, napoleon takes what comes before a colon for a type.
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines, SECTIONS, app, what, name, one, options).lines()


def signature(
    app: Sphinx, what: str, name: str, one: Any, options: Any, arguments: str, returns: str
) -> tuple[str, str] | None:
    """Leave out what checks values, how errors are made, and what programs don't make."""
    if what == "exception":
        return "", ""
    if what == "class" and inspect.isclass(one):
        if issubclass(one, Enum):
            return "", ""
        fields = getattr(one, "__attrs_attrs__", ())
        hidden = any(field.init and field.name.startswith("_") for field in fields)
        if hidden or getattr(one, "_is_protocol", False):
            return "", ""
        arguments = DEFAULT.sub(lambda found: _default(one, found[1]), arguments or "")
        arguments = arguments.replace("= NOTHING", "= ...")
    return ANNOTATED.sub(r"\1", arguments or ""), returns


def _default(one: type, name: str) -> str:
    """Return the default of a field, for which the `__init__` that attrs has made says no more."""
    default = attrs.fields_dict(one)[name].default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return "..."
    return (
        f"{type(default).__name__}.{default.name}" if isinstance(default, Enum) else repr(default)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Have autodoc ask here."""
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
