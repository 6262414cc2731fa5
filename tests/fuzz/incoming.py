"""Targets: what a server says to our client: its messages, and its bytes on the wire.

They give a message, nothing, or `Lost`. An understood message is the same after it has been encoded
and decoded again.
"""

import trio
from websockets.frames import Frame, Opcode
from websockets.uri import WebSocketURI
from websockets.utils import accept_key

from squire_gatherings._client.incoming import decode
from squire_gatherings._client.websocket import Lost, WebSocket
from squire_gatherings._values.messages import ServerMessage
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import JSON
from tests.fuzz import lasting
from tests.fuzz.target import Target, clear


def is_short(text: str) -> None:
    assert len(text) <= 300


def run_messages(data: bytes) -> None:
    try:
        message = decode(data)
    except Lost as lost:
        is_short(clear(lost))
        return
    if message is None:
        return
    assert isinstance(message, ServerMessage)
    for op in getattr(message, "ops", ()) or ():
        op.check()
    assert decode(JSON.encode(Outgoing(message))) == message


ACCEPT = b"$ACCEPT"
"""Stands in a response's head for the answer to the client's random key."""


class Said(trio.abc.Stream):
    """A server that sends these bytes, a piece at a time, and then nothing more."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size
        self._heard = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._heard.endswith(b"\r\n\r\n"):
            return
        self._heard += data
        [line] = [one for one in self._heard.split(b"\r\n") if one.startswith(b"Sec-WebSocket-Key")]
        accept = accept_key(line.partition(b": ")[2].decode())
        head, end, rest = self._data.partition(b"\r\n\r\n")
        self._data = head.replace(ACCEPT, accept.encode()) + end + rest

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: writing never blocks."""

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


async def listen(data: bytes, size: int) -> list[str]:
    """Return all texts that come, and why they end."""
    socket = WebSocket(Said(data, size), URI, JSON.subprotocol, MAX_SIZE)
    found: list[str] = []
    try:
        await socket.shake_hands({})
        while True:
            found.append(await socket.receive_text())
            assert len(found) <= len(data)
    except Lost as lost:
        found.append(clear(lost))
        return found
    finally:
        socket.retire()


async def listen_twice(data: bytes) -> tuple[list[str], list[str]]:
    """Listen to all bytes at once, and to a few at a time."""
    return await listen(data, len(data) + 100), await listen(data, 5)


def run_wire(data: bytes) -> None:
    whole, pieces = lasting.run(listen_twice, data)
    assert [*whole[:-1]] == pieces[: len(whole) - 1]


URI = WebSocketURI(False, "h", 80, "/gatherings/room", "", None, None)
MAX_SIZE = 1000
HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: $ACCEPT\r\nSec-WebSocket-Protocol: squire.v1+json\r\n\r\n"
)


def frames(*texts: str, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return b"".join(Frame(opcode, text.encode(), fin).serialize(mask=False) for text in texts)


_joined = (
    '"gathering":"r","incarnation":"i","seq":2,"role":"member","user":"u",'
    '"idle_timeout":3.5,"expires_in":null'
)
MESSAGES = (
    f'{{"type":"joined",{_joined},"ops":[{{}}],"by":[null],"epoch":"e","max_ops":9}}',
    f'{{"type":"joined",{_joined},"snapshot":{{"a":[]}},"client":"c","rights_expire_in":1}}',
    '{"type":"fetched","id":"1","seq":3,"ops":[],"by":[]}',
    '{"type":"fetched","id":"1","seq":3,"snapshot":null,"epoch":""}',
    '{"type":"synced","id":"1","seqs":[3,4],"ops":[{},{"a":1}]}',
    '{"type":"conflict","id":"1","seq":4,"ops":[{}],"by":["b"],"message":"m"}',
    '{"type":"forward","seq":1,"by":"a","op":{"x":[1.5]}}',
    '{"type":"forward","seq":9223372036854775807,"by":["a"],"ops":[{}],"epoch":"e"}',
    '{"type":"forward","seq":4,"by":"a","op":{},"time":7,"sync":[3,2,"s"]}',
    '{"type":"forward","seq":4,"by":["a","b"],"ops":[{},{}],"syncs":[[3,2,"s"],[5,1,"s"]]}',
    '{"type":"refreshed","role":"member","id":"1","rights_expire_in":5}',
    '{"type":"renew","rights_expire_in":5}',
    '{"type":"ending","gathering":"r","incarnation":"i","rule":"idle","expires_in":5,"at_time":9}',
    '{"type":"ending","gathering":"r","incarnation":"i","rule":"x","expires_in":null,"at_time":null}',
    '{"type":"presence","version":1,"count":1,"anonymous":0,"users":'
    '[{"user":"a","connections":1,"state":{"x":[1.5]}}]}',
    '{"type":"presence","version":2,"since":1,"count":0,"anonymous":1,"users":[],"gone":["a"]}',
    '{"type":"error","code":"c","message":"m","id":"1"}',
    '{"type":"dispersed","gathering":"r","incarnation":"i","reason":"idle","seq":2,"idle_for":1}',
    '{"type":"later"}',
)
_names = [
    "type",
    "gathering",
    "incarnation",
    "seq",
    "seqs",
    "role",
    "user",
    "idle_timeout",
    "expires_in",
    "ops",
    "op",
    "by",
    "epoch",
    "snapshot",
    "client",
    "max_ops",
    "sync",
    "syncs",
    "rights_expire_in",
    "id",
    "message",
    "code",
    "reason",
    "idle_for",
    "joined",
    "fetched",
    "synced",
    "conflict",
    "forward",
    "refreshed",
    "renew",
    "error",
    "dispersed",
    "ending",
    "rule",
    "at_time",
    "ends_in",
    "presence",
    "version",
    "since",
    "count",
    "anonymous",
    "users",
    "connections",
    "state",
    "gone",
]

TARGETS = (
    Target(
        "server_messages",
        run_messages,
        MESSAGES,
        [f'"{one}"' for one in _names] + ["null", "1e308", "-1", "9223372036854775808"],
    ),
    Target(
        "server_bytes",
        run_wire,
        [
            HEAD + frames(MESSAGES[4], "x" * 130),
            HEAD + frames("a", "b", fin=False) + frames("c", opcode=Opcode.CONT),
            HEAD + frames("", "a" * 9, opcode=Opcode.PING) + frames("x" * 1001),
            HEAD + frames("\x03\u00e8", opcode=Opcode.CLOSE),
            HEAD + b"\x88\x02\x03\xe8",
            HEAD + frames("x", opcode=Opcode.BINARY),
            HEAD + b"\x81\x01\xff",
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nfull\n",
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nx",
            HEAD.replace(b"json", b"msgpack"),
            b"\x15\x03\x01\x00\x02\x02\x46",
        ],
        [HEAD, ACCEPT, "\r\n", "Sec-WebSocket-Extensions: ", "Transfer-Encoding: chunked\r\n"],
    ),
)
