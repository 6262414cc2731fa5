"""The client under test as somebody who connects by itself, such as a page in a browser.

It opens a WebSocket to `/control` of this server. Each text message there is a line.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from squire_gatherings._conform.encodings import JSON
from squire_gatherings._conform.links import BadFrames, HungUp, Link
from squire_gatherings._conform.subject import Misbehaved, Subject


@define(eq=False)
class LinkLines:
    """The lines of one control channel."""

    link: Link

    async def send(self, line: bytes) -> None:
        """See `Lines`."""
        await self.link.send_bytes(self.link.frame(line.strip()))

    async def receive(self) -> bytes:
        """See `Lines`."""
        try:
            return await self.link.receive()
        except HungUp:
            raise Misbehaved("it closed its control channel") from None
        except BadFrames as error:
            raise Misbehaved(f"on its control channel it {error}") from None


@define(eq=False)
class Control:
    """Waits for clients that connect by themselves, one after the other."""

    _arrived: trio.Event = field(factory=trio.Event)
    _links: list[Link] = field(factory=list)

    async def controlled(self, link: Link) -> None:
        """Have a control channel; the newest one counts."""
        try:
            await link.accept(JSON)
        except BadFrames:
            return
        self._links.append(link)
        self._arrived.set()
        await link.released.wait()

    @asynccontextmanager
    async def open_subject(self) -> AsyncIterator[Subject]:
        """Wait for a client to open its channel; close that with the block."""
        await self._arrived.wait()
        self._arrived = trio.Event()
        link = self._links.pop()
        for older in self._links:
            older.release()
        self._links.clear()
        try:
            subject = Subject(LinkLines(link))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subject.run)
                yield subject
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await link.close(1000)
