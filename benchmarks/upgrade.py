"""How long clients wait while a server goes on in a new process, and whether any is closed.

`python -m benchmarks.upgrade --connections 10000 --upgrades 10`: each connection submits an op now
and then, and acknowledges what it is forwarded. Of each upgrade it prints

- the longest wait: from a message to its answer, of all that were sent from when the upgrade was
  asked for until the new process answered;
- the longest silence, in which nobody was answered;
- the pause as both processes saw it: how long the old one read nothing, and how long the new one
  took from when it knew everything;
- the same waits in the seconds before, without an upgrade.

What a client is told is checked: seqs without a hole, one answer to each message.
"""

import heapq
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from attrs import define, field

from squire_gatherings._cli.limits import raise_open_files
from squire_gatherings._stores.sqlite.locks import owner_of

READY = "squire_gatherings listening on "
SETTLE = 3.0
"""How many seconds are measured between two upgrades."""

SPREAD = (5**0.5 - 1) / 2
"""Multiples of it lie evenly between 0 and 1, less whole numbers."""


def frame(message: dict[str, object]) -> bytes:
    """Return a client's frame, masked with zeros."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) < 126:
        return bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data
    return bytes([0x81, 0xFE]) + len(data).to_bytes(2, "big") + bytes(4) + data


@define(eq=False, slots=True)
class Client:
    """One connection."""

    one: socket.socket
    interval: float
    received: bytearray = field(factory=bytearray)
    seq: int = 0
    count: int = 0
    asked_at: float = 0.0
    waits: bool = False
    """Whether an answer is due."""
    is_in: bool = False
    is_closed: bool = False


@define(eq=False)
class Crowd:
    """All connections, served by one loop."""

    clients: list[Client] = field(factory=list)
    selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)
    due: list[tuple[float, int]] = field(factory=list)
    answered: int = 0
    closes: int = 0
    violations: int = 0
    waits: list[float] = field(factory=list)
    """All waits for an answer, since it was emptied."""
    silence: float = 0.0
    """The longest time in which nobody was answered, since it was set to 0."""
    answered_at: float = 0.0

    def connect(self, address: tuple[str, int], number: int, gathering: str, every: float) -> None:
        """Shake hands, and say `join`."""
        one = socket.create_connection(address)
        one.sendall(
            f"GET /gatherings/{gathering} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            + frame({"type": "join", "tail": True})
        )
        one.setblocking(False)
        client = Client(one, every)
        self.clients.append(client)
        self.selector.register(one, selectors.EVENT_READ, number)
        heapq.heappush(self.due, (time.monotonic() + every * (number * SPREAD % 1), number))

    def run(self, until: float) -> None:
        """Send what is due, and take what comes."""
        while (now := time.monotonic()) < until:
            while self.due and self.due[0][0] <= now:
                at, number = heapq.heappop(self.due)
                client = self.clients[number]
                heapq.heappush(self.due, (max(at + client.interval, now), number))
                if client.is_in and not client.waits and not client.is_closed:
                    client.count += 1
                    client.waits, client.asked_at = True, now
                    op = {"n": client.count}
                    self._say(client, type="sync", id=f"{number}-{client.count}", base=0, ops=[op])
            left = min(until, self.due[0][0] if self.due else until) - now
            for key, _ in self.selector.select(max(0.0, left)):
                self._hear(self.clients[key.data])

    def measure(self) -> None:
        """Measure anew."""
        self.waits, self.silence, self.answered_at = [], 0.0, time.monotonic()

    def all_waits(self) -> list[float]:
        """Return all waits in order, also those that aren't over."""
        now = time.monotonic()
        return sorted([*self.waits, *(now - one.asked_at for one in self.clients if one.waits)])

    def _say(self, client: Client, **message: object) -> None:
        try:
            client.one.send(frame(message))
        except OSError:
            self._closed(client)

    def _hear(self, client: Client) -> None:
        try:
            data = client.one.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._closed(client)
            return
        received = client.received
        received += data
        if not client.is_in and received.startswith(b"HTTP"):
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            del received[: end + 4]
        before = client.seq
        while len(received) > 1:
            size, at = received[1], 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(received[2 : 2 + width], "big"), 2 + width
            if len(received) < at + size or len(received) < at:
                break
            opcode, payload = received[0] & 15, bytes(received[at : at + size])
            del received[: at + size]
            if opcode == 8:
                self._closed(client)
                return
            if opcode == 1:
                self._take(client, json.loads(payload))
            elif opcode == 9:
                client.one.send(b"\x8a\x80\0\0\0\0")
        if client.seq > before:
            self._say(client, type="ack", seq=client.seq)

    def _take(self, client: Client, message: dict[str, object]) -> None:
        kind = message["type"]
        if kind == "joined":
            client.is_in, client.seq = True, int(str(message["seq"]))
        elif kind == "synced":
            now = time.monotonic()
            seqs = message["seqs"]
            assert isinstance(seqs, list)
            if not client.waits or not str(message["id"]).endswith(f"-{client.count}"):
                self.violations += 1
            self.waits.append(now - client.asked_at)
            self.silence = max(self.silence, now - self.answered_at)
            self.answered_at = now
            self.answered += 1
            client.waits = False
            self._went_on(client, seqs[0], seqs[-1])
        elif kind == "forward":
            first = int(str(message["seq"]))
            ops = message.get("ops")
            self._went_on(client, first, first + len(ops) - 1 if isinstance(ops, list) else first)
        else:
            self.violations += 1

    def _went_on(self, client: Client, first: int, last: int) -> None:
        if first > client.seq + 1:
            self.violations += 1
        client.seq = max(client.seq, last)

    def _closed(self, client: Client) -> None:
        if not client.is_closed:
            client.is_closed = True
            client.waits = False
            self.closes += 1
            self.selector.unregister(client.one)


@click.command()
@click.option("--connections", default=10_000, show_default=True)
@click.option("--members", default=10, show_default=True, help="Connections of a gathering.")
@click.option("--rate", default=500.0, show_default=True, help="Ops per second, of all together.")
@click.option("--upgrades", default=10, show_default=True)
@click.option("--settle", default=SETTLE, show_default=True, help="Seconds between two upgrades.")
@click.option("--folder", help="Where the store is: /dev/shm waits for no disk.")
def main(
    connections: int, members: int, rate: float, upgrades: int, settle: float, folder: str | None
) -> None:
    """Measure the pauses of upgrades."""
    raise_open_files()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path, log = Path(place) / "rooms.sqlite3", Path(place) / "log"
        command = [sys.executable, "-m", "squire_gatherings", "serve", "--port", "0"]
        command += ["--store", f"sqlite:///{path}", "--max-handshakes", "off"]
        command += ["--max-connections-per-address", "off", "--max-handshakes-per-address", "off"]
        command += ["--log-level", "info", "--log-format", "json"]
        with log.open("w") as errors:
            first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert first.stdout is not None
            url = first.stdout.readline().removeprefix(READY).strip()
            host, port = url.removeprefix("ws://").rsplit(":", 1)
            crowd = Crowd()
            _fill(crowd, (host, int(port)), connections, members, rate)
            _upgrade_often(crowd, path, log, upgrades, settle)
        finally:
            owner = owner_of(path)
            if owner is not None:
                os.kill(owner[0], signal.SIGKILL)
            first.kill()


def _fill(
    crowd: Crowd, address: tuple[str, int], connections: int, members: int, rate: float
) -> None:
    began = time.monotonic()
    for number in range(connections):
        crowd.connect(address, number, f"g{number // members}", connections / rate)
        if not number % 50:
            crowd.run(time.monotonic() + 0.01)
    while not all(one.is_in or one.is_closed for one in crowd.clients):
        crowd.run(time.monotonic() + 0.1)
    seconds = time.monotonic() - began
    print(f"{connections} connections in {seconds:.1f} s, {rate:g} ops/s", flush=True)


def _upgrade_often(crowd: Crowd, path: Path, log: Path, upgrades: int, settle: float) -> None:
    found: dict[str, list[float]] = {"wait": [], "silence": [], "old": [], "new": []}
    for number in range(1, upgrades + 1):
        crowd.measure()
        crowd.run(time.monotonic() + settle)
        usual = crowd.all_waits()
        owner = owner_of(path)
        assert owner is not None
        crowd.measure()
        asked_at = time.monotonic()
        os.kill(owner[0], signal.SIGUSR2)
        while True:
            crowd.run(time.monotonic() + 0.1)
            now = owner_of(path)
            if now is None or now[0] != owner[0] or "failed" in now[1]:
                break
        took = time.monotonic() - asked_at
        answered = crowd.answered
        while crowd.answered < answered + 100 and not all(one.is_closed for one in crowd.clients):
            crowd.run(time.monotonic() + 0.1)
        waits = crowd.all_waits()
        seen = {"wait": waits[-1], "silence": crowd.silence, **_told(log, number)}
        for name, seconds in seen.items():
            found[name].append(seconds)
        failed = "" if now is not None and now[0] != owner[0] else f" FAILED: {now}"
        print(
            f"{number:4}: {_shown(seen)}; p99 of waits {_part(waits, 0.99)};"
            f" ready after {took:.1f} s; without: p50 {_part(usual, 0.5)},"
            f" max {_part(usual, 1)}; closes {crowd.closes}, violations {crowd.violations}{failed}",
            flush=True,
        )
    for name, values in found.items():
        values.sort()
        print(f"{name:8} p50 {_part(values, 0.5)}, p99 {_part(values, 0.99)}, max", end=" ")
        print(_part(values, 1))
    print(
        f"{upgrades} upgrades, {crowd.answered} answers;"
        f" closes {crowd.closes}, violations {crowd.violations}"
    )


def _told(log: Path, number: int) -> dict[str, float]:
    """Return what both processes said of the pause."""
    said = [json.loads(line) for line in log.read_text().splitlines() if '"pause"' in line]
    old = [one["pause"] for one in said if "successor" in one]
    new = [one["pause"] for one in said if "successor" not in one]
    return (
        {"old": old[number - 1], "new": new[number - 1]} if len(old) == len(new) == number else {}
    )


def _shown(seen: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in seen.items())


def _part(values: list[float], part: float) -> str:
    if not values:
        return "-"
    return f"{values[min(len(values) - 1, int(len(values) * part))] * 1000:.0f} ms"


if __name__ == "__main__":
    main()
