"""The docs: links lead somewhere, marked examples run, prose wraps, and names are the code's."""

import inspect
import re
from pathlib import Path

import attrs
import pytest

from squire_gatherings import Connection, Hall, HallSettings
from squire_gatherings.client import Client, ClientSettings
from tests.forked import run_code

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"<!-- tested -->\n```python\n(.*?)```", page.read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_run(code: str, tmp_path: Path) -> None:
    strict = "import warnings\nwarnings.simplefilter('error')\n"
    returned, _, err = run_code(strict + code, cwd=tmp_path)
    assert (returned, err) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_wraps_at_100_columns(page: Path) -> None:
    """Rows of tables, code and longer links can't wrap."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for line in prose.splitlines():
        assert len(line) <= 100 or line.startswith("|") or " " not in line.strip(), line


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


@pytest.mark.parametrize(
    ("name", "settings"), [("embedding", HallSettings), ("client", ClientSettings)]
)
def test_every_setting_is_named(name: str, settings: type) -> None:
    text = page(name)
    for field in attrs.fields(settings):
        assert f"`{field.name}`" in text, field.name


def test_every_part_of_a_connection_is_named() -> None:
    text = page("embedding")
    for name in vars(Connection):
        if not name.startswith("_"):
            assert re.search(rf"`(await )?{name}[`(]", text), name


@pytest.mark.parametrize(
    ("name", "prefix", "one"), [("embedding", "hall", Hall), ("client", "client", Client)]
)
def test_calls_have_the_arguments_that_the_docs_name(name: str, prefix: str, one: type) -> None:
    """This checks running text and tables; other tests run the code."""
    calls = re.findall(rf"`(?:await )?{prefix}\.(\w+)\(([^`]*)\)`", page(name))
    assert calls
    for called, arguments in calls:
        parameters = inspect.signature(getattr(one, called)).parameters
        for keyword in re.findall(r"(\w+)=", arguments):
            assert keyword in parameters, f"{called}({keyword}=)"
