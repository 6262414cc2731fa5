"""Servers that are broken on purpose: the real one behind a stream that tampers with what it says.

Everything is public API: a `Store` that forgets, settings that aren't what is claimed, and
streams for `serve_stream` that take whole frames and pass on others. Run as a program it
serves one fault (the leak, which is to be seen in the memory of a process of its own).
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import msgspec
import trio
from wsproto.frame_protocol import FrameProtocol

from squire_gatherings import Hall, open_hall, serve_stream
from squire_gatherings._load.clients import frames
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.log import Restored
from tests.cli.process import READY

IDLE_TIMEOUT = 0.5
"""The idle timeout that all of them claim, in seconds."""

Message = dict[str, Any]


class Fault:
    """Changes the frames that one connection is sent. The base class changes nothing."""

    idle_timeout = IDLE_TIMEOUT
    """The hall's real idle timeout, in seconds."""

    def __init__(self, shared: Message) -> None:
        self.shared = shared
        """What all connections of this server share."""

    def message(self, message: Message) -> list[Message]:
        """Return the messages to send instead of this one."""
        return [message]

    def close(self, code: int) -> list[int]:
        """Return the codes of the close frames to send instead of this one."""
        return [code]

    def nth(self, message: Message, kind: str, number: int) -> bool:
        """Whether this is the `number`-th message of a kind, over all connections."""
        if message["type"] != kind:
            return False
        self.shared[kind] = self.shared.get(kind, 0) + 1
        return bool(self.shared[kind] == number)


class Drop(Fault):
    """One forward never arrives. It is an early one, so that others follow."""

    def message(self, message: Message) -> list[Message]:
        return [] if self.nth(message, "forward", 2) else [message]


class Repeat(Fault):
    """One forward comes twice for no reason."""

    def message(self, message: Message) -> list[Message]:
        return [message, message] if self.nth(message, "forward", 3) else [message]


class Swap(Fault):
    """One forward comes after the one that follows it."""

    held: Message | None = None

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "forward", 3):
            self.held = message
            return []
        if self.held is not None and message["type"] == "forward":
            held, self.held = self.held, None
            return [message, held]
        return [message]


class Own(Fault):
    """An author is forwarded its own op."""

    def __init__(self, shared: Message) -> None:
        super().__init__(shared)
        self.gathering = ""
        self.synced: list[int] = []
        """The seqs of its ops, but for those that it was forwarded."""

    def message(self, message: Message) -> list[Message]:
        seen = self.shared.setdefault("seen", {})
        if message["type"] == "joined":
            self.gathering = message["gathering"]
        elif message["type"] == "synced":
            self.synced += message["seqs"]
        elif message["type"] == "forward":
            forwarded = seen.setdefault(self.gathering, {})
            forwarded[message["seq"]] = message
            # What the others were forwarded, perhaps a little later than it was told the seq.
            own = [forwarded[seq] for seq in self.synced if seq in forwarded]
            self.synced = [seq for seq in self.synced if seq not in forwarded]
            return [*own, message]
        return [message]


class Altered(Fault):
    """One client gets an op with the wrong contents."""

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "forward", 3):
            message["op"]["pad"] = "y" + message["op"]["pad"][1:]
        return [message]


class Other(Fault):
    """One client gets another op under a seq than the other clients."""

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "forward", 3):
            message["op"]["n"] += 1
        return [message]


class WrongSeq(Fault):
    """An author is told the wrong seq for its op."""

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "synced", 3):
            message["seqs"] = [message["seqs"][0] + 1]
        return [message]


class Unanswered(Fault):
    """One sync is never answered."""

    def message(self, message: Message) -> list[Message]:
        return [] if self.nth(message, "synced", 3) else [message]


class Refused(Fault):
    """One sync is answered with an error."""

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "synced", 3):
            return [{"type": "error", "id": message["id"], "code": "rejected", "message": "no"}]
        return [message]


class Missed(Fault):
    """A client that comes back doesn't get the first op that it missed."""

    def message(self, message: Message) -> list[Message]:
        if message["type"] == "joined" and 0 < len(message["ops"]) < message["seq"]:
            message["ops"] = message["ops"][1:]
        return [message]


class Forgets(Fault):
    """A connection is closed with 4001, without a notice before."""

    def message(self, message: Message) -> list[Message]:
        return [] if self.nth(message, "dispersed", 1) else [message]


class Silent(Fault):
    """One client isn't told of the end: it gets no notice and no close frame."""

    deaf = False

    def message(self, message: Message) -> list[Message]:
        self.deaf = self.nth(message, "dispersed", 1)
        return [] if self.deaf else [message]

    def close(self, code: int) -> list[int]:
        return [] if self.deaf else [code]


class Twice(Fault):
    """The notice comes twice."""

    def message(self, message: Message) -> list[Message]:
        return [message, message] if self.nth(message, "dispersed", 1) else [message]


class Talks(Fault):
    """A message comes after the notice."""

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "dispersed", 1):
            return [message, {"type": "synced", "id": "0", "seqs": [1]}]
        return [message]


class Reason(Fault):
    """The notice gives a wrong reason."""

    def message(self, message: Message) -> list[Message]:
        if message["type"] == "dispersed":
            message["reason"] = "empty"
        return [message]


class WrongCode(Fault):
    """The notice is followed by the wrong close code."""

    def close(self, code: int) -> list[int]:
        return [1000] if code == 4001 else [code]


class _Lies(Fault):
    """The server claims an idle timeout that it doesn't have."""

    def message(self, message: Message) -> list[Message]:
        if "idle_timeout" in message:
            message["idle_timeout"] = IDLE_TIMEOUT
        if "idle_for" in message:
            message["idle_for"] += IDLE_TIMEOUT
        return [message]


class Early(_Lies):
    """Gatherings end early, and their notices deny it."""

    idle_timeout = IDLE_TIMEOUT * 0.7


class Never(_Lies):
    """Gatherings don't end."""

    idle_timeout = 3600.0


class AdmitsEarly(Fault):
    """The notice says that the gathering wasn't idle for long enough."""

    def message(self, message: Message) -> list[Message]:
        if message["type"] == "dispersed":
            message["idle_for"] = IDLE_TIMEOUT - 0.1
        return [message]


class Closes(Fault):
    """One connection is closed without a notice."""

    ended = False

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "forward", 3):
            self.ended = True
            return []
        return [message]


class Babbles(Fault):
    """The server sends a message that the protocol doesn't have."""

    def message(self, message: Message) -> list[Message]:
        if self.nth(message, "forward", 3):
            return [message, {"type": "weather", "is": "fine"}]
        return [message]


class Leak(Fault):
    """The memory that a connection uses is never freed."""

    def message(self, message: Message) -> list[Message]:
        if message["type"] == "joined":
            self.shared.setdefault("leak", []).append(b"x" * (2 * 1024 * 1024))
        return [message]


class Loses(Fault):
    """The store loses the last op that it acknowledged (see `Forgetful`)."""


@attrs.define(eq=False)
class Forgetful(MemoryStore):
    """A store whose logs lack their last op when they are read again."""

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        whole = await super().load(gathering, recent_syncs=recent_syncs)
        return Restored(max(0, whole.seq - 1), None, whole.ops[:-1])


def _singles(message: Message) -> list[Message]:
    """Return a forward of several ops as one for each: faults are counted by op."""
    if message["type"] != "forward" or "ops" not in message:
        return [message]
    same = {"type": "forward"} | {key: message[key] for key in ("epoch",) if key in message}
    ops = enumerate(zip(message["ops"], message["by"], strict=True), start=message["seq"])
    return [same | {"seq": seq, "op": op, "by": by} for seq, (op, by) in ops]


class TamperingStream(trio.abc.Stream):
    """A server's stream that cuts what it is sent into frames, and lets a fault change them."""

    def __init__(self, stream: trio.SocketStream, fault: Fault) -> None:
        self._stream = stream
        self._fault = fault
        self._handshake = True
        self._frames = frames.FrameReader()
        self._framer = FrameProtocol(client=False, extensions=[])

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._handshake:
            self._handshake = False
            await self._stream.send_all(data)
            return
        out = b""
        for opcode, payload in self._frames.feed(bytes(data)):
            out += b"".join(self._instead(opcode, payload))
        if out:
            await self._stream.send_all(out)
        if isinstance(self._fault, Closes) and self._fault.ended:
            await self._stream.aclose()

    def _instead(self, opcode: int, payload: bytes) -> list[bytes]:
        if opcode == frames.TEXT:
            messages = [
                message
                for single in _singles(msgspec.json.decode(payload))
                for message in self._fault.message(single)
            ]
            encoded = [msgspec.json.encode(message).decode() for message in messages]
            return [bytes(self._framer.send_data(text)) for text in encoded]
        if opcode == frames.CLOSE:
            codes = self._fault.close(frames.close_code(payload))
            return [bytes(self._framer.close(code)) for code in codes]
        return [bytes(self._framer.pong(payload))]

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def serve_broken(
    fault: type[Fault],
    retry_interval: float = 0.25,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve with a fault until cancelled; tell the caller the port."""
    shared: Message = {}
    store = Forgetful() if fault is Loses else MemoryStore()
    async with (
        open_hall(
            store=store,
            idle_timeout=fault.idle_timeout,
            close_grace=0.5,
            retry_interval=retry_interval,
            retry_limit=3 * retry_interval,
        ) as hall,
        trio.open_nursery() as nursery,
    ):
        handler = partial(_serve_client, hall, lambda: fault(shared))
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, handler, 0, host="127.0.0.1", handler_nursery=nursery)
        )
        task_status.started(listeners[0].socket.getsockname()[1])


async def _serve_client(
    hall: Hall, make_fault: Callable[[], Fault], stream: trio.SocketStream
) -> None:
    await serve_stream(hall, TamperingStream(stream, make_fault()))


async def main() -> None:
    """Serve the leak."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_broken, {"leak": Leak, "none": Fault}[sys.argv[1]])
        print(f"{READY}ws://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    trio.run(main)
