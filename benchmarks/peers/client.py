"""The client that loads a server: one process, one scenario, one line of JSON as its result."""

import argparse
import asyncio
import json
import resource
import time
from typing import Any

import psutil  # type: ignore[import-untyped]
import uvloop
from attrs import define, field
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.peers.dialects import ACK_DELAY, DIALECTS, MARK, NUMBER, Dialect
from benchmarks.peers.scenarios import ALL, SCALE, Scenario

GIVE_UP_AFTER = 10.0
CONNECTING_AT_ONCE = 20


@define(eq=False)
class Room:
    """One room, and who in it still lacks message `goal`."""

    author: "Client | None" = None
    goal: int = 0
    lacking: int = 0
    reached: asyncio.Event = field(factory=asyncio.Event)

    def aim(self, goal: int, lacking: int) -> None:
        self.goal, self.lacking = goal, lacking
        self.reached.clear()

    def one_has_it(self) -> None:
        """One more has everything up to the goal."""
        self.lacking -= 1
        if not self.lacking:
            self.reached.set()


class Client(WSListener):  # type: ignore[misc,unused-ignore]
    """One connection."""

    def __init__(
        self, dialect: Dialect, room: Room, echo: Any, *, is_author: bool, binary: bool
    ) -> None:
        self.dialect = dialect
        self.room = room
        self.is_author = is_author
        self.echo = echo
        self.last = 0
        self.acked = 0
        self.ack_delay = ACK_DELAY
        self.ack_after = 0.0
        self.welcome = asyncio.Event()
        self.kind = WSMsgType.BINARY if binary else WSMsgType.TEXT
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # This does as little as it can: a slow client would make all servers look alike.
        data = frame.get_payload_as_bytes()
        at = data.rfind(MARK)
        if at >= 0 and not self.is_author:
            now = int(data[at + NUMBER.start : at + NUMBER.stop])
            before = self.last
            if now > before:
                self.last = now
                if before < self.room.goal <= now:
                    self.room.one_has_it()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.hear(data)

    def hear(self, data: bytes) -> None:
        """Take in what isn't a message for a client."""
        if not self.welcome.is_set():
            if self.dialect.is_welcome(data):
                self.ack_delay = self.dialect.ack_delay(data)
                self.welcome.set()
        elif data == b"2":
            self.say("3")  # Engine.IO's own ping
        elif self.is_author:
            now = self.dialect.answered(data)
            if now and self.echo is not None:
                self.echo(self)
            before, self.last = self.last, max(self.last, now)
            if before < self.room.goal <= now:
                self.room.one_has_it()

    def say(self, message: str | bytes) -> None:
        self.transport.send(self.kind, message if isinstance(message, bytes) else message.encode())


async def acknowledge(clients: list[Client]) -> None:
    """Acknowledge lazily, as the protocol asks, spread over the interval."""
    for index, client in enumerate(clients):
        client.ack_after = time.perf_counter() + client.ack_delay * index / len(clients)
    while True:
        start = time.perf_counter()
        for index, client in enumerate(clients):
            if client.last > client.acked and start >= client.ack_after:
                client.ack_after = start + client.ack_delay - ACK_DELAY / 2
                client.acked = client.last
                message = client.dialect.ack(client.last)
                if message is not None:
                    client.say(message)
            if index % 50 == 49:
                ahead = ACK_DELAY * (index + 1) / len(clients)
                await asyncio.sleep(max(0.0, start + ahead - time.perf_counter()))
        await asyncio.sleep(max(0.0, start + ACK_DELAY - time.perf_counter()))


async def connect(
    url: str, dialect: Dialect, scenario: Scenario, echo: Any
) -> tuple[list[Room], list[Client]]:
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    rooms: list[Room] = []
    clients: list[Client] = []
    binary = type(dialect).__name__ == "Crdt"

    async def one(room: Room, path: str, author: bool) -> None:
        async with gate:
            _, client = await ws_connect(
                lambda: Client(dialect, room, echo, is_author=author, binary=binary),
                url + path,
                max_frame_size=1 << 26,
            )
            assert isinstance(client, Client)
            for greeting in dialect.greeting():
                client.say(greeting)
            await asyncio.wait_for(client.welcome.wait(), GIVE_UP_AFTER)
        if author:
            room.author = client
        else:
            clients.append(client)

    run = f"{time.monotonic_ns():x}"
    paths = [dialect.path(scenario.kind, f"{run}-{number}") for number in range(scenario.rooms)]
    async with asyncio.TaskGroup() as group:
        for path in paths:
            rooms.append(Room())
            group.create_task(one(rooms[-1], path, True))
    # pycrdt-websocket forgets clients that come while it makes a room, so the room comes first.
    async with asyncio.TaskGroup() as group:
        for room, path in zip(rooms, paths, strict=True):
            for _ in range(scenario.clients):
                group.create_task(one(room, path, False))
    return rooms, clients


async def fan_out(
    room: Room, dialect: Dialect, scenario: Scenario, done: list[tuple[float, int]], until: float
) -> None:
    assert room.author is not None
    messages = dialect.messages(scenario.size)
    n = 0
    while time.perf_counter() < until:
        n += scenario.burst
        room.aim(n, scenario.clients + 1)
        for _ in range(scenario.burst):
            room.author.say(next(messages))
        await asyncio.wait_for(room.reached.wait(), GIVE_UP_AFTER)
        done.append((time.perf_counter(), scenario.burst * scenario.clients))


async def run(
    url: str,
    dialect: Dialect,
    scenario: Scenario,
    warm: float,
    seconds: float,
    server: psutil.Process | None,
) -> Any:
    answers = [0]
    streams: dict[Client, Any] = {}

    def echo(client: Client) -> None:
        answers[0] += 1
        client.say(next(streams[client]))

    rooms, clients = await connect(
        url, dialect, scenario, echo if scenario.kind == "echo" else None
    )
    acknowledging = asyncio.create_task(acknowledge(clients))
    done: list[tuple[float, int]] = []
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        if scenario.kind == "fan":
            until = begin + warm + seconds
            for room in rooms:
                group.create_task(fan_out(room, dialect, scenario, done, until))
        else:
            for room in rooms:
                assert room.author is not None
                streams[room.author] = dialect.messages(scenario.size)
                for _ in range(scenario.burst):
                    room.author.say(next(streams[room.author]))
        await asyncio.sleep(warm)
        before = (len(done), answers[0], time.perf_counter(), _cpu(), _cpu_of(server))
        await asyncio.sleep(seconds)
        elapsed = time.perf_counter() - before[2]
        work = answers[0] - before[1]
        cpu = (_cpu() - before[3]) / elapsed
        server_cpu = (_cpu_of(server) - before[4]) / elapsed
        if scenario.kind == "echo":
            for client in streams:
                client.transport.disconnect()
    acknowledging.cancel()
    rate = work / elapsed if scenario.kind == "echo" else _rate(done, before[0], begin)
    return {"rate": rate, "client_cpu": cpu, "server_cpu": server_cpu}


def _rate(done: list[tuple[float, int]], first: int, begin: float) -> float:
    """Return deliveries a second from the completion before `first` to the last one.

    From one to another, so that a burst that takes long counts for as much as was done of it.
    """
    start = done[first - 1][0] if first else begin
    return sum(count for _, count in done[first:]) / (done[-1][0] - start)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("dialect", choices=DIALECTS)
    parser.add_argument("scenario", choices=[one.name for one in (*ALL, *SCALE)])
    parser.add_argument("--warm", type=float, default=0.4)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--server", type=int, help="process whose CPU share is told, too")
    options = parser.parse_args()
    [scenario] = [one for one in (*ALL, *SCALE) if one.name == options.scenario]
    server = None if options.server is None else psutil.Process(options.server)
    dialect = DIALECTS[options.dialect]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(
            run(options.url, dialect, scenario, options.warm, options.seconds, server)
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
