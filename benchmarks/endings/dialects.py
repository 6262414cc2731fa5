"""Dialects: how a client comes into a room, says one thing there, and hears that it arrived."""

from typing import Protocol

import aiohttp
import msgspec
from attrs import frozen
from pycrdt import Array, Doc, create_update_message, write_var_uint

from benchmarks.peers.dialects import DIALECTS, Dialect

JOIN_ROOM, ROOM_DATA = 10, 13
"""Of Colyseus' protocol."""

SYNC, AUTH, SYNC_STATUS = 0, 2, 8
"""Of Hocuspocus' protocol."""


class Speaks(Protocol):
    """How a client speaks."""

    async def place(self, url: str, room: str, http: aiohttp.ClientSession) -> str:
        """Return the URL of a room's WebSocket."""

    def greeting(self, room: str) -> tuple[str | bytes, ...]:
        """Return what a client says first."""

    def is_welcome(self, frame: bytes) -> bool:
        """Whether the client is in the room once it has heard this frame."""

    def once_in(self) -> tuple[bytes, ...]:
        """Return what a client says when it has been let in."""

    def message(self, room: str) -> str | bytes:
        """Return the one thing that it says."""

    def is_answer(self, frame: bytes) -> bool:
        """Whether this frame shows that the server has what was said."""


@frozen
class Known:
    """A dialect of `benchmarks.peers`."""

    dialect: Dialect
    answer: bytes
    """With which an answer begins."""

    async def place(self, url: str, room: str, http: aiohttp.ClientSession) -> str:
        return url + self.dialect.path("fan", room)

    def greeting(self, room: str) -> tuple[str | bytes, ...]:
        return self.dialect.greeting()

    def is_welcome(self, frame: bytes) -> bool:
        return self.dialect.is_welcome(frame)

    def once_in(self) -> tuple[bytes, ...]:
        return ()

    def message(self, room: str) -> str | bytes:
        return next(self.dialect.messages(200))

    def is_answer(self, frame: bytes) -> bool:
        return frame.startswith(self.answer)


@frozen
class Colyseus:
    """Colyseus 0.18: a seat is reserved over HTTP; messages are a type and MessagePack."""

    async def place(self, url: str, room: str, http: aiohttp.ClientSession) -> str:
        asked = url.replace("ws://", "http://") + "/matchmake/create/timed"
        async with http.post(asked, json={"name": room}) as response:
            seat = await response.json()
        return f"{url}/{seat['processId']}/{seat['roomId']}?sessionId={seat['sessionId']}"

    def greeting(self, room: str) -> tuple[str | bytes, ...]:
        return ()

    def is_welcome(self, frame: bytes) -> bool:
        return frame[:1] == bytes([JOIN_ROOM])

    def once_in(self) -> tuple[bytes, ...]:
        return (bytes([JOIN_ROOM]),)

    def message(self, room: str) -> str | bytes:
        return bytes([ROOM_DATA]) + msgspec.msgpack.encode("m") + msgspec.msgpack.encode({"n": 1})

    def is_answer(self, frame: bytes) -> bool:
        return frame[:1] == bytes([ROOM_DATA])


@frozen
class Hocuspocus:
    """Hocuspocus 4: as y-websocket, with the document's name before each message."""

    async def place(self, url: str, room: str, http: aiohttp.ClientSession) -> str:
        return url

    def greeting(self, room: str) -> tuple[str | bytes, ...]:
        return (_text(room) + bytes([AUTH, 0]) + _text("token"),)

    def is_welcome(self, frame: bytes) -> bool:
        return _kind(frame) == AUTH

    def once_in(self) -> tuple[bytes, ...]:
        return ()

    def message(self, room: str) -> str | bytes:
        doc: Doc[Array[str]] = Doc()
        doc.get("log", type=Array).append("x" * 200)
        return _text(room) + create_update_message(doc.get_update())

    def is_answer(self, frame: bytes) -> bool:
        return _kind(frame) == SYNC_STATUS


def _text(text: str) -> bytes:
    return write_var_uint(len(text)) + text.encode()


def _kind(frame: bytes) -> int:
    """Return the type of a Hocuspocus message, which follows a short name."""
    return frame[1 + frame[0]]


SPEAKS: dict[str, Speaks] = {
    "squire": Known(DIALECTS["squire"], b'{"type":"synced"'),
    "plain": Known(DIALECTS["plain"], b'{"n"'),
    "crdt": Known(DIALECTS["crdt"], b"\0\2"),
    "colyseus": Colyseus(),
    "hocuspocus": Hocuspocus(),
}
