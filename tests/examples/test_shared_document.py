"""The shared document: two clients that edit at once, what is refused, and what is restored."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text
from trio.testing import MockClock

from examples.shared_document import SharedDocument, decode, encode, open_editor
from squire_gatherings import OpRejected
from squire_gatherings.testing import Rehearsal, open_test_hall

ROOT = Path(__file__).parents[2]


async def test_two_clients_edit_at_once(autojump_clock: MockClock) -> None:
    async with open_test_hall(SharedDocument) as room:
        async with room.open_client("alice") as one, room.open_client("bob") as other:
            async with open_editor(one, "minutes") as alice, open_editor(other, "minutes") as bob:
                alice.text += "middle"
                await bob.reads("middle")
                # No checkpoint between these: neither has seen what the other writes.
                alice.text.insert(0, "<")
                bob.text += ">"
                await alice.reads("<middle>")
                await bob.reads("<middle>")
                await room.hall.disperse("minutes")
            async with open_editor(one, "minutes") as carol:  # restored from the store
                assert str(carol.text) == "<middle>"
        page = await room.hall.fetch("minutes", at=1)
        past = Doc[Any]()
        past.apply_update(decode(page.snapshot))
        assert str(past.get("text", type=Text)) == "middle"


@pytest.mark.parametrize("value", [{}, {"update": 7}, {"update": "§"}, {"update": "AAECAw=="}])
def test_what_is_no_update_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(OpRejected, match="no update of a document"):
        Rehearsal(SharedDocument).submit(value)


def updates() -> dict[int, list[bytes]]:
    """Return what four people write at random, each alone."""
    chance = random.Random(1)
    written: dict[int, list[bytes]] = {author: [] for author in range(4)}
    for found in written.values():
        doc = Doc[Any]()
        text = doc.get("text", type=Text)
        watching = doc.observe(lambda event, found=found: found.append(event.update))
        for letter in "abcdef":
            text.insert(chance.randrange(len(text) + 1), letter)
        doc.unobserve(watching)
    return written


def test_any_order_of_authors_and_any_snapshot_come_to_the_same() -> None:
    chance, written, texts = random.Random(2), updates(), set()
    for _ in range(5):
        order = [author for author in range(4) for _ in range(6)]
        chance.shuffle(order)
        left = {author: iter(found) for author, found in written.items()}
        rehearsal = Rehearsal(SharedDocument)
        for author in order:
            rehearsal.submit({"update": encode(next(left[author]))})
        texts.add(str(rehearsal.behaviour.doc.get("text", type=Text)))
    assert len(texts) == 1
    assert len(texts.pop()) == 24


def test_it_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.shared_document"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    text = "Friday. Round 1 begins at eight. Bring your own dice."
    assert done.stdout == f"alice: {text}\nbob:   {text}\n"
