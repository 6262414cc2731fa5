"""What the site needs beside Sphinx. Skipped where Sphinx isn't installed: `make docs` has it."""

from pathlib import Path

import pytest

pytest.importorskip("sphinx")

from docs.extensions.docstrings import restructured
from docs.extensions.links import broken
from docs.extensions.public_names import public_name
from squire_gatherings import Hall


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("raises `BadBase` then", "raises :py:obj:`BadBase <squire_gatherings.BadBase>` then"),
        ("see `Hall.join`", "see :py:obj:`Hall.join <squire_gatherings.Hall.join>`"),
        ("as `join()` does", "as :py:obj:`join() <squire_gatherings.Hall.join>` does"),
        ("within `close_grace` seconds", "within ``close_grace`` seconds"),
        ("`ws://HOST:PORT`", "``ws://HOST:PORT``"),
        ("`two\nlines`", "``two lines``"),
        ("[Trio](https://trio.readthedocs.io)", "`Trio <https://trio.readthedocs.io>`__"),
        ("see docs/events.md.", "see :doc:`/events`."),
        ("Cancellation: nothing.", "**Cancellation:** nothing."),
        ("```python\nx = `1`\n```", ".. code-block:: python\n\n   x = `1`\n"),
    ],
)
def test_docstrings_become_what_autodoc_reads(written: str, read: str) -> None:
    assert restructured(written, "squire_gatherings.Hall") == read


@pytest.mark.parametrize(
    ("defined", "public"),
    [
        ("squire_gatherings.Hall", "squire_gatherings.Hall"),
        ("Hall", "squire_gatherings.Hall"),
        (f"{Hall.__module__}.Hall.join", "squire_gatherings.Hall.join"),
        ("squire_gatherings._client.gathering.Gathering", "squire_gatherings.client.Gathering"),
        ("squire_gatherings._hall.room.Room", None),
    ],
)
def test_objects_have_their_public_names(defined: str, public: str | None) -> None:
    assert public_name(defined) == public


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="two.html#end"></a><a href="https://x"></a>'
        '<a href="#gone"></a><a href="two.html#gone"></a><a href="three.html"></a><img src="a.png">'
    )
    (tmp_path / "two.html").write_text('<p id="end"></p><a href="one.html"></a>')
    assert broken(tmp_path) == [
        "one.html: #gone has no such anchor",
        "one.html: a.png isn't there",
        "one.html: three.html isn't there",
        "one.html: two.html#gone has no such anchor",
    ]
