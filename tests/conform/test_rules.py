"""Each rule of the stories stands in the page of the protocol."""

import re
from collections import Counter
from pathlib import Path

import pytest

from squire_gatherings._conform import rules
from squire_gatherings._conform.rules import Rule
from squire_gatherings._conform.stories import STORIES
from tests.conform.mutants import MUTANTS

DOCS = Path(__file__).parents[2] / "docs"
ALWAYS = {name: one for name, one in vars(rules).items() if isinstance(one, Rule)}


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    names: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", (DOCS / page).read_text(), re.MULTILINE):
        name = re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("name", [*STORIES, *ALWAYS])
def test_a_rule_stands_in_the_page(name: str) -> None:
    rule = ALWAYS[name] if name in ALWAYS else STORIES[name].rule
    assert rule.anchor in anchors("protocol.md")
    assert rule.text.endswith(".")


def test_links_within_the_page_lead_somewhere() -> None:
    for page in ("protocol.md", "conformance.md"):
        text = (DOCS / page).read_text()
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors(page)
        if page == "conformance.md":
            there = set(re.findall(r"\]\(protocol.md#([^)]+)\)", text))
            assert there <= anchors("protocol.md")


def test_every_part_of_the_protocol_has_a_mutant() -> None:
    assert len(MUTANTS) >= 20
    assert {one.story for one in MUTANTS.values()} <= set(STORIES)
