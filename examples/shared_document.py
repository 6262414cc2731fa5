"""A document that several people edit at once: a CRDT (Yjs, by pycrdt) as a behaviour.

What `python -m examples.shared_document` shows: two clients write into the same text at the same
time, offline from each other, and end with the same text, which has what both wrote.
"""

import base64
import binascii
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from pycrdt import Doc, Text, TransactionEvent

from squire_gatherings import Op, OpRejected, Stamp, Submission, open_hall, serve
from squire_gatherings.client import Client, Gathering, open_client


class SharedDocument:
    """The server's side, and each client's copy of it: it merges whatever comes.

    An op is a Yjs update: `{"update": "<base64>"}`. Nothing conflicts, so no base is too old.
    """

    serves_snapshots = True

    def __init__(self) -> None:
        self.doc = Doc[Any]()

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """Let pass what is an update. It's tried on an empty document, so that nothing changes."""
        for op in ops:
            try:
                Doc[Any]().apply_update(decode(op.value.get("update")))
            except ValueError as error:
                raise OpRejected(f"that's no update of a document: {error}") from None
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        """Merge it."""
        self.doc.apply_update(decode(op.value["update"]))

    def snapshot(self) -> Any:
        """Return the whole document, as one update."""
        return encode(self.doc.get_update())

    def restore(self, snapshot: Any) -> None:
        """Take a document over."""
        self.doc = Doc()
        self.doc.apply_update(decode(snapshot))


def encode(update: bytes) -> str:
    """Return an update as text, which JSON can say."""
    return base64.b64encode(update).decode()


def decode(text: object) -> bytes:
    """Return the update that a text is. Raises `ValueError`."""
    if not isinstance(text, str):
        raise ValueError("it is base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


class Editor:
    """A document on somebody's screen, which becomes the same as everybody else's."""

    def __init__(self, gathering: Gathering) -> None:
        """Begin with what the gathering has."""
        self._gathering = gathering
        self._mine, self._unsent = trio.open_memory_channel[bytes](math.inf)
        self._is_theirs = False
        self._change = trio.Event()
        self.doc = Doc[Any]()
        self.text = self.doc.get("text", type=Text)
        self._take(decode(gathering.snapshot()))
        self.doc.observe(self._changed)

    def _take(self, update: bytes) -> None:
        self._is_theirs = True
        try:
            self.doc.apply_update(update)
        finally:
            self._is_theirs = False

    async def reads(self, text: str) -> None:
        """Wait until the text is this one."""
        while str(self.text) != text:
            await self._change.wait()

    def _changed(self, event: TransactionEvent) -> None:
        self._change.set()
        self._change = trio.Event()
        if not self._is_theirs:
            self._mine.send_nowait(event.update)

    async def send(self) -> None:
        """Submit what is written here, until it is cancelled."""
        async for update in self._unsent:
            await self._gathering.submit({"update": encode(update)})

    async def receive(self) -> None:
        """Merge what others write, until the gathering disperses."""
        async for change in self._gathering:
            self._take(decode(change.op["update"]))


@asynccontextmanager
async def open_editor(client: Client, gathering_id: str) -> AsyncIterator[Editor]:
    """Edit a document for as long as the block lasts."""
    async with (
        client.join(gathering_id, behaviour=SharedDocument) as gathering,
        trio.open_nursery() as nursery,
    ):
        editor = Editor(gathering)
        nursery.start_soon(editor.send)
        nursery.start_soon(editor.receive)
        yield editor
        nursery.cancel_scope.cancel()


async def main() -> None:
    """Let two people write at once."""
    async with open_hall(behaviour=SharedDocument) as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        async with (
            open_client(f"ws://{host}:{port}") as client,
            open_editor(client, "minutes") as alice,
            open_editor(client, "minutes") as bob,
        ):
            alice.text += "Round 1 begins at eight."
            await bob.reads("Round 1 begins at eight.")
            # Both write before either has seen what the other writes.
            alice.text.insert(0, "Friday. ")
            bob.text += " Bring your own dice."
            for editor in (alice, bob):
                await editor.reads("Friday. Round 1 begins at eight. Bring your own dice.")
            print(f"alice: {alice.text}\nbob:   {bob.text}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
