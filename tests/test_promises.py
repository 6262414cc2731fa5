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
