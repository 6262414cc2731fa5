"""Dialects: how a client greets each kind of server, says message number n, and hears it.

Every message is an object with `n`, nine digits, and padding to the size that is wanted. The
receiver looks for the last `n` in a frame: a frame may carry many.
"""

import re
from collections.abc import Iterator

from attrs import frozen
from pycrdt import Array, Doc, create_update_message

ACK_DELAY = 0.1
"""How many seconds an acknowledgement waits for more, where nothing else is said."""

MARK = b'"n":"'
DIGITS = 9
NUMBER = slice(len(MARK), len(MARK) + DIGITS)
"""The digits' place, counted from the mark."""


def body(n: int, size: int) -> str:
    """Return message number n, as JSON of about `size` bytes."""
    start = f'{{"n":"{n:0{DIGITS}}","pad":"'
    return start + "x" * max(0, size - len(start) - 2) + '"}'


def last_number(frame: bytes) -> int:
    """Return the highest n in a frame, 0 if it's about something else."""
    at = frame.rfind(MARK)
    if at < 0:
        return 0
    return int(frame[at:][NUMBER])


@frozen
class Dialect:
    """A plain server: text goes in, and comes out to all (or back, in an echo)."""

    def path(self, kind: str, room: str) -> str:
        """Return the path under which a room of this kind is reached."""
        return f"/{kind}/{room}"

    def greeting(self) -> tuple[str, ...]:
        """Return what a client says first."""
        return ()

    def is_welcome(self, frame: bytes) -> bool:
        """Whether the client is in the room once it has heard this frame."""
        return frame == b"hi"

    def messages(self, size: int) -> Iterator[str | bytes]:
        """Yield the frames in which messages 1, 2, 3, ... are said."""
        n = 0
        while True:
            n += 1
            yield body(n, size)

    def answered(self, frame: bytes) -> int:
        """Return the n that this frame tells its author about; 0 if none."""
        return last_number(frame)

    def ack(self, n: int) -> str | None:
        """Return how a client acknowledges everything up to n."""
        return None

    def ack_delay(self, welcome: bytes) -> float:
        """Return how many seconds acknowledgements wait, as the welcome says."""
        return ACK_DELAY


@frozen
class Squire(Dialect):
    """Our own protocol: one author a room, so that its seqs are its ns."""

    def path(self, kind: str, room: str) -> str:
        return f"/gatherings/{kind}-{room}"

    def greeting(self) -> tuple[str, ...]:
        return ('{"type":"join"}',)

    def is_welcome(self, frame: bytes) -> bool:
        return b'"joined"' in frame[:30]

    def ack_delay(self, welcome: bytes) -> float:
        told = re.search(rb'"ack_delay":([0-9.]+)', welcome)
        return ACK_DELAY if told is None else float(told[1])

    def messages(self, size: int) -> Iterator[str | bytes]:
        n = 0
        while True:
            n += 1
            yield f'{{"type":"sync","id":"{n}","base":0,"ops":[{body(n, size)}]}}'

    def answered(self, frame: bytes) -> int:
        start = b'{"type":"synced","id":"'
        if not frame.startswith(start):
            return 0
        return int(frame[len(start) : frame.index(b'"', len(start))])

    def ack(self, n: int) -> str | None:
        return f'{{"type":"ack","seq":{n}}}'


@frozen
class SocketIo(Dialect):
    """Socket.IO protocol 5 over Engine.IO 4, on WebSocket from the start."""

    def path(self, kind: str, room: str) -> str:
        return f"/socket.io/?EIO=4&transport=websocket&kind={kind}&room={room}"

    def greeting(self) -> tuple[str, ...]:
        return ("40",)

    def is_welcome(self, frame: bytes) -> bool:
        return frame.startswith(b"40")

    def messages(self, size: int) -> Iterator[str | bytes]:
        n = 0
        while True:
            n += 1
            yield f'42["m",{body(n, size)}]'


@frozen
class Crdt(Dialect):
    """Yjs updates, as y-websocket and pycrdt-websocket speak them: one element more each."""

    def is_welcome(self, frame: bytes) -> bool:
        return frame[:2] == b"\0\0"

    def messages(self, size: int) -> Iterator[str | bytes]:
        doc: Doc[Array[str]] = Doc()
        array = doc.get("log", type=Array)
        n = 0
        while True:
            n += 1
            before = doc.get_state()
            array.append(body(n, size))
            yield create_update_message(doc.get_update(before))


DIALECTS: dict[str, Dialect] = {
    "plain": Dialect(),
    "squire": Squire(),
    "socketio": SocketIo(),
    "crdt": Crdt(),
}
