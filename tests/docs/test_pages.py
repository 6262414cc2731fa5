"""The site's pages, without building it: each is in the table of contents, and anchors resolve."""

import re
from pathlib import Path

import pytest

import squire_gatherings
from tests.test_public_face import FACES

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = {
    file.relative_to(DOCS).with_suffix("").as_posix(): file
    for file in sorted(DOCS.rglob("*.md"))
    if "changes" not in file.parts
}
REFERENCE = "\n".join(file.read_text() for file in sorted((DOCS / "reference").glob("*.md")))
INCLUDE = re.compile(r"```\{include\} (\S+)")


def text_of(file: Path) -> str:
    """Return what a page says, with what it includes."""
    text = file.read_text()
    if included := INCLUDE.search(text):
        return (file.parent / included[1]).read_text()
    return text


def anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    prose = re.sub(r"^```.*?^```", "", text_of(file), flags=re.DOTALL | re.MULTILINE)
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.append(re.sub(r"[^\w\- ]", "", shown).replace(" ", "-"))
    # A heading that is there again gets a number.
    return {
        f"{one}-{before}" if (before := found[:at].count(one)) else one
        for at, one in enumerate(found)
    }


def test_each_page_is_in_the_table_of_contents_once() -> None:
    tables = re.findall(r"```\{toctree\}\n(.*?)```", PAGES["index"].read_text(), re.DOTALL)
    entries = [line for table in tables for line in table.split("\n") if line and line[0] != ":"]
    assert sorted([*entries, "index"]) == sorted(PAGES)


@pytest.mark.parametrize("name", [*PAGES, "../README", "../CONTRIBUTING"])
def test_anchors_resolve(name: str) -> None:
    file = (DOCS / name).with_suffix(".md")
    for path, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", file.read_text()):
        target = file.parent / path if path else file
        assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_every_public_name_is_in_the_reference(face: object) -> None:
    documented = set(re.findall(r"^\.\. auto\w+:: (\w+)$", REFERENCE, re.MULTILINE))
    name = getattr(face, "__name__", "")
    if f".. automodule:: {name}\n" in REFERENCE:
        return
    assert set(getattr(face, "__all__", ())) - documented - elsewhere(name) == set()


def elsewhere(face: str) -> set[str]:
    """Return the names that a module has from `squire_gatherings`, whose reference has them."""
    return set() if face == "squire_gatherings" else set(squire_gatherings.__all__)
