"""docs/logs.md names every line that a server's log may get, and every field of it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import squire_gatherings

ROOT = Path(squire_gatherings.__file__).parent
DOC = (ROOT.parent / "docs" / "logs.md").read_text()

ELSEWHERE = ("_client", "_conform", "_load")
"""Packages that are no part of a server."""

LEVELS = ("debug", "info", "warning", "error", "exception", "log")


def rows(heading: str) -> dict[str, str]:
    """Return the rows of the table under a heading: the first cell, and the rest."""
    section = DOC.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \|(.*)\|$", section, re.MULTILINE)
    assert len(found) > 10, heading
    return dict(found)


@cache
def trees() -> tuple[tuple[str, tuple[ast.AST, ...]], ...]:
    """Return the modules of a server that log: name, and all that is in them."""
    files = (
        path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ELSEWHERE
    )
    texts = ((path.name, path.read_text()) for path in sorted(files))
    logging = ("_log.", "enforced(", "refuse(")
    return tuple(
        (name, tuple(ast.walk(ast.parse(text))))
        for name, text in texts
        if any(one in text for one in logging)
    )


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield the places that log: where, the level, and the call."""
    for name, nodes in trees():
        for node in nodes:
            match node:
                case ast.Call(ast.Attribute(ast.Name("_log"), str(level))) if level in LEVELS:
                    yield f"{name}:{node.lineno}", level, node


def event_of(where: str, level: str, call: ast.Call) -> str:
    text = call.args[1] if level == "log" else call.args[0]
    assert isinstance(text, ast.Constant), f"{where}: an event is one text"
    assert "%" not in str(text.value), f"{where}: what varies is a field"
    return str(text.value)


def fields() -> Iterator[tuple[str, str]]:
    """Yield the names of fields that are written out where something is logged."""
    for name, nodes in trees():
        logs = any(isinstance(one, ast.Name) and one.id == "_log" for one in nodes)
        for node in nodes:
            yield from ((name, one) for one in (_of_record(node) if logs else _of_limit(node)))


def _of_limit(node: ast.AST) -> Iterator[str]:
    """What is told besides of a limit that is enforced."""
    match node:
        case ast.Call(ast.Attribute(_, "enforced" | "refuse"), _, keywords):
            yield from (one.arg for one in keywords if one.arg is not None)


def _of_record(node: ast.AST) -> Iterator[str]:
    """What stands in `extra={…}`, or is put together as `told` or `extra` before."""
    match node:
        case ast.Call(_, _, [*_, ast.keyword("extra", value)]):
            yield from _keys(value)
        case ast.Assign([ast.Name("told" | "extra")], value):
            yield from _keys(value)
        case ast.AnnAssign(ast.Name("told" | "extra"), _, value) if value is not None:
            yield from _keys(value)
        case ast.Subscript(ast.Name("told"), ast.Constant(str(name))):
            yield name
        case _:
            yield from _of_limit(node)


def _keys(value: ast.AST) -> Iterator[str]:
    for inner in ast.walk(value):
        if isinstance(inner, ast.Dict):
            yield from (str(key.value) for key in inner.keys if isinstance(key, ast.Constant))


def test_every_line_is_in_the_docs_and_every_line_of_the_docs_may_come() -> None:
    logged = {event_of(*one): one[0] for one in calls()}
    documented = set(rows("Lines"))
    assert {event: where for event, where in logged.items() if event not in documented} == {}
    assert documented - set(logged) == set()


def test_every_field_is_in_the_docs_and_every_field_of_the_docs_may_come() -> None:
    used = {name: where for where, name in fields()} | {"gathering": "", "incarnation": ""}
    documented = set(rows("Fields")) - {"timestamp", "level", "event", "logger", "exception"}
    assert {name: where for name, where in used.items() if name not in documented} == {}
    assert documented - set(used) == set()


def test_the_docs_say_the_level() -> None:
    documented = rows("Lines")
    for where, level, call in calls():
        told = documented[event_of(where, level, call)]
        if level != "log":
            assert {"exception": "error"}.get(level, level) in told, where
