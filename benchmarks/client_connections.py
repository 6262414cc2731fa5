"""What three clients do when a server or a network misbehaves.

Compares the connection of trio-websocket's client, that of `websockets.trio`, and ours
(`squire_gatherings/_client/websocket.py`): one line for each case and client, and what an echo and
a connection cost. docs/dependencies.md quotes the lines. Everything happens in memory, the cases on
a virtual clock: "waits for ever" means for a virtual hour.

    python -m benchmarks.client_connections
"""

import importlib.metadata
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Protocol

import trio
import websockets.trio.client
from attrs import define, field, frozen
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import WebSocketConnection, wrap_client_stream
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from squire_gatherings._client.websocket import WebSocket
from squire_gatherings._wire.websockets_core import retire

quiet = logging.getLogger("benchmarks.client_connections")
quiet.setLevel(logging.CRITICAL)

URL = "ws://host/"
SUBPROTOCOL = "squire.v1+json"
MAX_SIZE = 64 * 1024 * 1024
HOUR = 3600.0

ANSWERS = {
    "closes during the handshake": b"",
    "closes in the middle of a refusal": b"HTTP/1.1 503 Busy\r\nContent-Length: 30\r\n\r\ncut",
    "answers a malformed handshake": b"HTTP/1.1 101 Switching\r\n\r\n",
    "answers something else than HTTP": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "refuses": b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n",
}


class Connection(Protocol):
    """What each client's connection can do."""

    async def send(self, text: str) -> None:
        """Send a message."""

    async def receive(self) -> str:
        """Wait for a message."""


@frozen
class OfTrioWebsocket:
    """A connection of trio-websocket's client."""

    socket: WebSocketConnection

    async def send(self, text: str) -> None:
        """Send a message."""
        await self.socket.send_message(text)

    async def receive(self) -> str:
        """Wait for a message."""
        return str(await self.socket.get_message())


@asynccontextmanager
async def trio_websocket(stream: trio.abc.Stream) -> AsyncIterator[Connection]:
    """Connect as a program does that has a stream of its own."""
    async with trio.open_nursery() as nursery:
        socket = await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]
            "host",
            "/",
            subprotocols=[SUBPROTOCOL],
            max_message_size=MAX_SIZE,
        )
        async with socket:
            yield OfTrioWebsocket(socket)


@frozen
class OfWebsockets:
    """A connection of `websockets.trio`'s client."""

    socket: websockets.trio.client.ClientConnection

    async def send(self, text: str) -> None:
        """Send a message."""
        await self.socket.send(text)

    async def receive(self) -> str:
        """Wait for a message."""
        return str(await self.socket.recv())


@asynccontextmanager
async def websockets_trio(stream: trio.abc.Stream) -> AsyncIterator[Connection]:
    """Connect as a program does that has a stream of its own."""
    async with websockets.trio.client.connect(
        URL,
        stream=stream,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        open_timeout=None,
        max_size=MAX_SIZE,
    ) as socket:
        yield OfWebsockets(socket)


@frozen
class Ours:
    """A connection of ours."""

    socket: WebSocket

    async def send(self, text: str) -> None:
        """Send a message."""
        await self.socket.send_text(text)

    async def receive(self) -> str:
        """Wait for a message."""
        return await self.socket.receive_text()


@asynccontextmanager
async def ours(stream: trio.abc.Stream) -> AsyncIterator[Connection]:
    """Connect as `open_wire` does."""
    socket = WebSocket(stream, parse_uri(URL), SUBPROTOCOL, MAX_SIZE)
    try:
        await socket.shake_hands({})
        yield Ours(socket)
        with trio.move_on_after(5, shield=True):
            await socket.say_goodbye()
    finally:
        socket.retire()
        await trio.aclose_forcefully(stream)


Connect = Callable[[trio.abc.Stream], AbstractAsyncContextManager[Connection]]
CLIENTS: dict[str, Connect] = {
    "trio-websocket": trio_websocket,
    "websockets.trio": websockets_trio,
    "ours": ours,
}


@define(eq=False)
class Server:
    """The other end, which says and reads only what a case wants."""

    stream: trio.abc.Stream
    protocol: ServerProtocol = field(
        factory=lambda: ServerProtocol(
            subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=MAX_SIZE, logger=quiet
        )
    )

    async def shake_hands(self) -> None:
        """Let the client in."""
        while not (events := self.protocol.events_received()):
            self.protocol.receive_data(await self.stream.receive_some())
        [request] = events
        assert isinstance(request, Request)
        self.protocol.send_response(self.protocol.accept(request))
        await self.flush()

    async def flush(self) -> None:
        """Send what is waiting to go out."""
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send_all(data)

    async def say(self, text: str) -> None:
        """Send a message."""
        self.protocol.send_text(text.encode())
        await self.flush()

    async def hear(self) -> str:
        """Wait for a message; raise if what comes is broken, and `EOFError` at its end."""
        while True:
            events = self.protocol.events_received()
            await self.flush()
            for event in events:
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    return bytes(event.data).decode()
                if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    raise EOFError("the client closed")
            if self.protocol.parser_exc is not None:
                raise self.protocol.parser_exc
            data = await self.stream.receive_some()
            if not data:
                raise EOFError("the client hung up")
            self.protocol.receive_data(data)

    async def finish(self) -> None:
        """Answer until the client is gone, then hang up, as servers do."""
        with suppress(EOFError, ProtocolError, UnicodeDecodeError):
            while True:
                await self.hear()
        await self.stream.aclose()


@define(eq=False)
class Narrow(trio.abc.HalfCloseableStream):
    """A stream on which a write lasts until the other side has read it."""

    pair: Any
    taken: trio.Event = field(factory=trio.Event)
    size: int = 64 * 1024
    room: int = field(init=False)
    more: trio.Event = field(factory=trio.Event)
    is_closed: bool = False

    def __attrs_post_init__(self) -> None:
        self.room = self.size

    async def send_all(self, data: Any) -> None:
        """Send, but no more than there is room for."""
        view = memoryview(data)
        while view:
            while not self.room:
                self.more = trio.Event()
                await self.more.wait()
            part, view = view[: self.room], view[self.room :]
            self.room -= len(part)
            await self.pair.send_all(part)

    def read(self, count: int) -> None:
        """Make room: the other side has read this many bytes."""
        self.room += count
        self.more.set()

    async def wait_send_all_might_not_block(self) -> None:
        """Do nothing: the interface asks for it."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive, and make room on the other side."""
        data = bytes(await self.pair.receive_some(max_bytes))
        if self.other is not None:
            self.other.read(len(data))
        return data

    other: "Narrow | None" = None

    async def send_eof(self) -> None:
        """Do nothing: the interface asks for it."""
        await self.pair.send_eof()

    async def aclose(self) -> None:
        """Close this end."""
        self.is_closed = True
        await self.pair.aclose()


def narrow_pair() -> tuple[Narrow, Narrow]:
    """Return two ends, each of which holds 64 KiB."""
    one, two = (Narrow(end) for end in memory_stream_pair())
    one.other, two.other = two, one
    return one, two


def leaves(error: BaseException) -> str:
    """Name what an exception group holds, however deep."""
    if isinstance(error, BaseExceptionGroup):
        return f"group of {', '.join(leaves(one) for one in error.exceptions)}"
    return repr(error)[:150]


Script = Callable[[Server], Awaitable[None]]
Use = Callable[[Connection], Awaitable[str]]


async def meet(connect: Connect, script: Script, use: Use) -> str:
    """Let a client meet a server that follows a script; return how it went."""
    client, server = narrow_pair()
    outcome = "connected"

    async def serve() -> None:
        one = Server(server)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            await script(one)
        retire(one.protocol)

    with trio.move_on_after(HOUR) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                async with connect(client) as connection:
                    outcome = await use(connection)
            except Exception as error:
                outcome = f"{outcome}, " if outcome != "connected" else ""
                outcome += leaves(error)
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught:
        return "waits for ever" if outcome == "connected" else f"{outcome}; closing waits for ever"
    return outcome if client.is_closed else f"{outcome}; leaves its stream open"


async def nothing(_: Connection) -> str:
    """Do nothing with the connection."""
    return "connected"


# The cases. Each returns what it saw.


async def answers(connect: Connect, answer: bytes) -> str:
    """The server answers the handshake with this, and closes."""

    async def script(server: Server) -> None:
        await server.stream.receive_some()
        if answer:
            await server.stream.send_all(answer)
        await server.stream.aclose()

    return await meet(connect, script, nothing)


async def closes_first(connect: Connect) -> str:
    """The server closes, as it does when a gathering disperses."""

    async def script(server: Server) -> None:
        await server.shake_hands()
        server.protocol.send_close(4001, "dispersed")
        await server.flush()
        await server.finish()

    async def use(connection: Connection) -> str:
        try:
            await connection.receive()
        except Exception as error:
            return f"{type(error).__name__}, {'4001' if '4001' in str(error) else 'no code'}"
        return "a message"

    return await meet(connect, script, use)


async def sends_while_we_send(connect: Connect) -> str:
    """Both sides send much; the server reads nothing until its own message has been read."""
    much = "x" * 1_000_000

    async def script(server: Server) -> None:
        await server.shake_hands()
        await server.say(much)
        await server.hear()
        await server.finish()

    async def use(connection: Connection) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.send, much)
            await trio.testing.wait_all_tasks_blocked()
            await connection.receive()
        return "both arrive"

    return await meet(connect, script, use)


async def send_is_cancelled(connect: Connect) -> str:
    """The network is slow, a send is cancelled in the middle, and the program sends again."""
    heard = "nothing"

    async def script(server: Server) -> None:
        nonlocal heard
        await server.shake_hands()
        await trio.sleep(10)
        try:
            with trio.move_on_after(60):
                heard = f"a message of {len(await server.hear())} bytes"
        except EOFError:
            heard = "the connection ends"
        except Exception as error:
            heard = f"what is no message ({type(error).__name__})"
        await server.stream.aclose()

    async def use(connection: Connection) -> str:
        with trio.move_on_after(1):
            await connection.send("x" * 100_000)
        told = "nothing is said to the program"
        try:
            with trio.fail_after(100):
                await connection.send("y" * 100_000)
        except Exception as error:
            told = f"the program is told ({type(error).__name__})"
        await trio.sleep(100)
        return f"{told}; the server hears {heard}"

    return await meet(connect, script, use)


async def sends_fail(connect: Connect) -> str:
    """The server has said why it ends, and reset the connection; the program sends first."""

    async def script(server: Server) -> None:
        await server.shake_hands()
        for n in range(20):
            await server.say(f"message {n}")
        server.stream.pair.receive_stream.close()  # type: ignore[attr-defined]
        await trio.sleep_forever()

    async def use(connection: Connection) -> str:
        await trio.sleep(1)
        with suppress(Exception):
            await connection.send("hello")
        count = 0
        try:
            with trio.move_on_after(60):
                while True:
                    await connection.receive()
                    count += 1
        except Exception:
            pass
        return f"{count} of 20 messages are read"

    return await meet(connect, script, use)


async def slow_message(connect: Connect) -> str:
    """A message takes two minutes; the server's pong lies behind it."""

    async def script(server: Server) -> None:
        await server.shake_hands()
        server.protocol.send_text(b"x" * 1_000_000)
        data = b"".join(server.protocol.data_to_send())
        for start in range(0, len(data), 10_000):
            await server.stream.send_all(data[start : start + 10_000])
            await trio.sleep(1.2)
        await server.finish()

    async def use(connection: Connection) -> str:
        return f"{len(await connection.receive())} bytes arrive"

    return await meet(connect, script, use)


CASES: dict[str, Callable[[Connect], Awaitable[str]]] = {
    **{name: partial(answers, answer=answer) for name, answer in ANSWERS.items()},
    "closes first": closes_first,
    "sends 1 MB while we do": sends_while_we_send,
    "a send is cancelled midway": send_is_cancelled,
    "a send fails before what came is read": sends_fail,
    "a message takes two minutes": slow_message,
}


async def echo_cost(connect: Connect) -> str:
    """The time of an echo, and how many tasks a connection has."""
    rounds, best = 2000, float("inf")

    async def script(server: Server) -> None:
        await server.shake_hands()
        with suppress(EOFError):
            while True:
                await server.say(await server.hear())
        await server.finish()

    async def use(connection: Connection) -> str:
        nonlocal best
        text = "x" * 200
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(rounds):
                await connection.send(text)
                await connection.receive()
            best = min(best, (time.perf_counter() - began) / rounds)
        return f"{best * 1e6:.0f} us an echo, both ends; {tasks} tasks in all"

    return await meet(connect, script, use)


def main() -> None:
    """Print everything."""
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    logging.getLogger("trio-websocket").setLevel(logging.CRITICAL)
    for name in ("trio-websocket", "websockets", "trio"):
        print(name, importlib.metadata.version(name))
    for case, run in CASES.items():
        print(f"\n{case}:")
        for name, connect in CLIENTS.items():
            outcome = trio.run(run, connect, clock=MockClock(autojump_threshold=0))
            print(f"  {name}: {outcome}")
    print("\ncost:")
    for name, connect in CLIENTS.items():
        print(f"  {name}: {trio.run(echo_cost, connect)}")


if __name__ == "__main__":
    main()
