"""Steps: how many steps of Python's bytecode a message takes, here and in an earlier revision.

A busy machine doesn't disturb these counts, and an hour later they are the same; but what is done
in C isn't in them, nor what the kernel does. The server runs with plain sockets as its clients, in
one process, and each step of the package's functions is counted by a trace function.

    python -m benchmarks.steps 31783ef
    python -m benchmarks.steps 31783ef --functions 20
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import trio
from attrs import asdict, frozen
from websockets.frames import Frame, Opcode

from squire_gatherings import Server, open_hall, serve

HERE = Path(__file__).resolve().parent.parent
RESTED = 20
"""How many rounds pass before counting begins."""


@frozen
class Work:
    """One kind of work: in each of `rooms`, one author syncs `burst` ops at once.

    Its `others` are forwarded them. Then comes the next round.
    """

    name: str
    rooms: int
    others: int = 0
    burst: int = 1
    rounds: int = 5
    durable: bool = False


ALL = (
    Work("echo, 1 in flight", 10),
    Work("echo, 50 in flight", 4, burst=50, rounds=2),
    Work("echo, 1 in flight, durable", 10, durable=True),
    Work("echo, 50 in flight, durable", 4, burst=50, rounds=2, durable=True),
    Work("fan-out to 10", 2, others=10),
    Work("fan-out to 100", 1, others=100, rounds=3),
)


class Steps:
    """Counts the steps of each function of the package, in all threads."""

    def __init__(self) -> None:
        self.counts: Counter[CodeType] = Counter()
        self.is_counting = False
        self._folder = os.path.join(os.getcwd(), "squire_gatherings", "")

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        """Be told of a call; for `sys.settrace`."""
        code = frame.f_code
        if not self.is_counting or not code.co_filename.startswith(self._folder):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def step(frame: FrameType, event: str, _: object) -> Any:
            if event == "opcode" and self.is_counting:
                self.counts[code] += 1
            return step

        return step

    def by_name(self, messages: int) -> dict[str, float]:
        """Return the steps of each function, a message."""
        found: Counter[str] = Counter()
        for code, count in self.counts.items():
            found[f"{code.co_filename.removeprefix(self._folder)}:{code.co_qualname}"] += count
        return {name: count / messages for name, count in found.items()}


def _frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


async def _receive(one: socket.socket, until: bytes) -> None:
    received = b""
    while until not in received:
        await trio.lowlevel.wait_readable(one)
        received += one.recv(65536)


async def _join(port: int, room: int) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port))
    one.setblocking(False)
    head = (
        f"GET /gatherings/room-{room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    one.send(head.encode())
    await _receive(one, b"\r\n\r\n")
    one.send(_frame('{"type": "join"}'))
    await _receive(one, b'"joined"')
    return one


async def _count(work: Work, steps: Steps, store: str) -> None:
    async with (
        # Nobody acknowledges here.
        open_hall(store=store, retry_interval=3600, retry_limit=7200) as hall,
        trio.open_nursery() as nursery,
    ):
        server: Server = await nursery.start(
            lambda **started: serve(hall, host="127.0.0.1", port=0, **started)
        )
        port = server.addresses[0][1]
        authors = [await _join(port, room) for room in range(work.rooms)]
        others = [await _join(port, room) for room in range(work.rooms) for _ in range(work.others)]
        number = 0
        for round_number in range(RESTED + work.rounds):
            if round_number == RESTED:
                steps.is_counting = True
            frames = b""
            for _ in range(work.burst):
                number += 1
                op = f'{{"n":"{number:09}","pad":"{170 * "x"}"}}'
                frames += _frame(f'{{"type":"sync","id":"{number}","base":0,"ops":[{op}]}}')
            for one in authors:
                one.send(frames)
            for one in authors:
                await _receive(one, f'"id":"{number}"'.encode())
            for one in others:
                await _receive(one, f'"{number:09}"'.encode())
        steps.is_counting = False
        nursery.cancel_scope.cancel()


def count(work: Work) -> dict[str, float]:
    """Return the steps that each function takes for a message of this work."""
    steps = Steps()
    threading.settrace(steps.trace)
    sys.settrace(steps.trace)
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/rooms.sqlite3" if work.durable else "memory:"
        trio.run(_count, work, steps, store)
    sys.settrace(None)
    return steps.by_name(work.rounds * work.rooms * work.burst)


def count_in(tree: Path, work: Work) -> dict[str, float]:
    """Return the same of the package in a folder."""
    command = [sys.executable, "-P", __file__, "--count", json.dumps(asdict(work))]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(revision: str, functions: int) -> None:
    """Print the steps of all kinds of work, before and after; and what differs most."""
    print(f"{'steps a message':30} {'before':>8} {'after':>8} ratio", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", base, revision], check=True)
        try:
            for work in ALL:
                before, after = count_in(base, work), count_in(HERE, work)
                old, new = sum(before.values()), sum(after.values())
                print(f"{work.name:30} {old:8,.0f} {new:8,.0f} {new / old:5.2f}", flush=True)
                apart = {
                    name: after.get(name, 0.0) - before.get(name, 0.0) for name in before | after
                }
                for name in sorted(apart, key=lambda name: -abs(apart[name]))[:functions]:
                    print(f"{apart[name]:+10.1f}  {name}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", base], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", nargs="?", help="what to compare with, as git names it")
    parser.add_argument("--functions", type=int, default=0, help="name so many that differ most")
    parser.add_argument("--count", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count is not None:
        print(json.dumps(count(Work(**json.loads(options.count)))))
    elif options.revision is None:
        parser.error("what to compare with?")
    else:
        compare(options.revision, options.functions)


if __name__ == "__main__":
    main()
