"""Peers that fall silent, or send a byte at a time: an innocent client is served meanwhile."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edges.test_descriptors import submitted
from tests.edges.wire import TEXT, Wire, frame
from tests.forked import serving
from tests.support import examples
from tests.system.frames import request

MANY = 100 if examples(1) == 1 else examples(50)
"""In `make test-long`, 2,000."""

OPEN_DOORS = ("--max-handshakes", "off", "--max-handshakes-per-address", "off")
"""Otherwise clients that stay at the door give way to others (tests/server/test_doors.py)."""

PAUSE = 0.01
"""How many seconds an innocent client waits between its ops, so that it doesn't keep all busy."""

JOIN = frame(TEXT, b'{"type":"join"}')
SYNC = frame(TEXT, b'{"type":"sync","id":"s","base":0,"ops":[{"n":1}]}')


def many(url: str, enter: Callable[[Wire, int], None]) -> Iterator[Wire]:
    for number in range(MANY):
        wire = Wire(url)
        enter(wire, number)
        yield wire


def stay_outside(wire: Wire, number: int) -> None:
    """Only connect."""


def shake_hands(wire: Wire, number: int) -> None:
    wire.shake_hands(f"room-{number % 10}")


def join(wire: Wire, number: int) -> None:
    assert wire.join(f"room-{number % 10}")["type"] == "joined"


@pytest.mark.parametrize(
    ("enter", "sent"),
    [(stay_outside, request("room")), (shake_hands, JOIN), (join, SYNC)],
    ids=["headers", "joins", "frames"],
)
def test_a_byte_at_a_time(enter: Callable[[Wire, int], None], sent: bytes) -> None:
    with (
        serving("--store", "memory:", *OPEN_DOORS) as (process, url),
        contextlib.ExitStack() as stack,
        Wire(url) as innocent,
    ):
        innocent.join("room")
        slow = [stack.enter_context(wire) for wire in many(url, enter)]
        for number in range(len(sent) - 1):
            for wire in slow:
                # The server drops a client that takes too long at the door.
                with contextlib.suppress(ConnectionError):
                    wire.send(sent[number : number + 1])
            assert submitted(innocent, number) == [number + 1]
        if enter is join:
            # They have joined, and their bytes never stopped: once a sync is whole, it counts.
            for wire in slow:
                wire.send(sent[-1:])
                while (message := wire.hear())["type"] != "synced":
                    assert message["type"] == "forward"
        with Wire(url) as another:
            assert another.join("another")["type"] == "joined"
        assert process.poll() is None


def test_half_open_peers_are_dropped() -> None:
    """A peer with a dead line answers no ping: that alone tells the server."""
    with (
        serving("--store", "memory:", "--ping-interval", "300ms") as (process, url),
        contextlib.ExitStack() as stack,
        Wire(url) as innocent,
    ):
        innocent.join("room-0")
        are_gone = threading.Event()
        answers: list[int] = []

        def go_on_submitting() -> None:
            while not are_gone.wait(PAUSE):
                answers.extend(submitted(innocent, len(answers)))

        with ThreadPoolExecutor(1) as threads:
            stays = threads.submit(go_on_submitting)
            try:
                # Each reads what had arrived, and the end; reading sends no answer.
                for wire in [stack.enter_context(wire) for wire in many(url, join)]:
                    wire.until_the_end()
            finally:
                are_gone.set()
            stays.result()
        assert answers == list(range(1, len(answers) + 1))
        assert submitted(innocent, len(answers)) == [len(answers) + 1]
        assert process.poll() is None
