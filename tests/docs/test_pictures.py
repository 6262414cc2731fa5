"""The drawings: they can be read without eyes, and all have the same style, in the site too."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"
DRAWINGS = sorted((DOCS / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
COLOUR = re.compile(r"--(\w+): (#\w+);")

drawing = pytest.mark.parametrize("file", DRAWINGS, ids=lambda file: file.stem)


def style(file: Path) -> str:
    return ElementTree.parse(file).getroot().findtext(f"{SVG}style") or ""


@drawing
def test_a_drawing_is_told_to_who_does_not_see_it(file: Path) -> None:
    root = ElementTree.parse(file).getroot()
    assert root.get("class") == "picture"
    named = {element.get("id"): element for element in root.iter() if element.get("id")}
    # Several drawings may be in one page: no id is in two of them.
    assert all(str(name).startswith(f"{file.stem}-") for name in named)
    title, text = str(root.get("aria-labelledby")).split()
    assert named[title].text
    assert len(named[text].text or "") > 100
    assert list(root.iter(f"{SVG}text"))


@drawing
def test_all_have_one_style(file: Path) -> None:
    assert style(file) == style(DRAWINGS[0])


def test_the_site_has_the_colours_of_the_drawings() -> None:
    light, dark = style(DRAWINGS[0]).split("prefers-color-scheme: dark")
    site = (DOCS / "static" / "site.css").read_text()
    for theme, colours in (("light", light), ("dark", dark)):
        rule = site.partition(f'body[data-theme="{theme}"] .picture {{')[2].partition("}")[0]
        assert dict(COLOUR.findall(rule)) == dict(COLOUR.findall(colours))
