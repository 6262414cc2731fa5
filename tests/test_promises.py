"""The promises in the docs: each test that they name exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if NAMED.search(page.read_text())]


def functions_of(path: Path) -> set[str]:
    """Return the names of the functions that a module defines."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_that_is_named_exists(page: Path) -> None:
    for path, name in NAMED.findall(page.read_text()):
        assert (ROOT / path).exists(), path
        assert name in functions_of(ROOT / path), f"{path}::{name}"


def test_each_row_of_promises_names_a_test() -> None:
    rows = re.findall(r"^\| (?!promise|---).*\|$", (ROOT / "docs/reliability.md").read_text(), re.M)
    assert len(rows) > 15
    for row in rows:
        tests = row.rsplit(" | ", 1)[1]
        assert NAMED.search(tests) or "the system test" in tests, row


# What is promised against people who attack.

NO_PROMISES = {"Assets", "Ways in", "What isn't defended"}
"""Sections of docs/security.md without promises."""


def named_in(text: str) -> list[str]:
    """Return what a text names: tests, files of them, folders of them."""
    return re.findall(r"`(test_\w+(?:\.py)?|tests/[\w/]+(?:\.py)?(?:::\w+)?)`", text)


def test_each_test_that_security_names_exists() -> None:
    files = [*(ROOT / "tests").rglob("*.py")]
    there = {name for path in files for name in functions_of(path)}
    there |= {path.name for path in files}
    named = named_in((ROOT / "docs/security.md").read_text())
    assert len(named) > 80
    for one in named:
        path, _, function = one.partition("::")
        if "/" not in path:
            assert path in there, one
        else:
            assert (ROOT / path).exists(), one
            assert not function or function in functions_of(ROOT / path), one


def test_each_section_and_each_row_of_security_names_a_test() -> None:
    text = (ROOT / "docs/security.md").read_text()
    sections = re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]
    assert len(sections) > 10
    for section in sections:
        title = section.partition("\n")[0]
        assert title in NO_PROMISES or named_in(section), title
    rows = 0
    for table in re.findall(r"^\|.*\btests? \|\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE):
        for row in table.splitlines():
            rows += 1
            assert named_in(row.rsplit(" | ", 1)[1]), row
    assert rows > 40
