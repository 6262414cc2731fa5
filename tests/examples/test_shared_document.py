"""The shared document: two clients that edit at once, what is refused, and what is restored."""

import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pycrdt import Doc, Text

from examples.shared_document import SharedDocument, decode, encode, open_editor
from squire_gatherings import Identity, Op, OpRejected, Stamp, Submission, open_hall, serve
from squire_gatherings.client import open_client

ROOT = Path(__file__).parents[2]
NOBODY = Submission(Identity(None, "member"), 0, 0)


async def test_two_clients_edit_at_once() -> None:
    async with open_hall(behaviour=SharedDocument) as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        async with open_client(f"ws://{host}:{port}") as client:
            async with (
                open_editor(client, "minutes") as alice,
                open_editor(client, "minutes") as bob,
            ):
                alice.text += "middle"
                await bob.reads("middle")
                # No checkpoint between these: neither has seen what the other writes.
                alice.text.insert(0, "<")
                bob.text += ">"
                await alice.reads("<middle>")
                await bob.reads("<middle>")
                await hall.disperse("minutes")
            async with open_editor(client, "minutes") as carol:  # restored from the store
                assert str(carol.text) == "<middle>"
                page = await hall.fetch("minutes", at=1)
                past = Doc[Any]()
                past.apply_update(decode(page.snapshot))
                assert str(past.get("text", type=Text)) == "middle"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("value", [{}, {"update": 7}, {"update": "§"}, {"update": "AAECAw=="}])
def test_what_is_no_update_is_refused(value: dict[str, object]) -> None:
    document = SharedDocument()
    before = document.snapshot()
    with pytest.raises(OpRejected, match="no update of a document"):
        document.judge([Op.of(value)], NOBODY)
    assert document.snapshot() == before


def test_any_order_of_authors_and_any_snapshot_come_to_the_same() -> None:
    chance = random.Random(1)
    written: dict[int, list[bytes]] = {author: [] for author in range(4)}
    for updates in written.values():
        doc = Doc[Any]()
        text = doc.get("text", type=Text)
        watching = doc.observe(lambda event, updates=updates: updates.append(event.update))
        for letter in "abcdef":
            text.insert(chance.randrange(len(text) + 1), letter)
        doc.unobserve(watching)
    texts = set()
    for cut in range(0, 24, 5):
        order = [author for author in written for _ in range(6)]
        chance.shuffle(order)
        left = {author: iter(updates) for author, updates in written.items()}
        document = SharedDocument()
        for seq, author in enumerate(order, 1):
            op = Op.of({"update": encode(next(left[author]))})
            assert document.judge([op], NOBODY) == [op]
            document.fold(op, Stamp(seq, 0, None))
            if seq == cut:
                resumed = SharedDocument()
                resumed.restore(document.snapshot())
                document = resumed
        texts.add(str(document.doc.get("text", type=Text)))
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
