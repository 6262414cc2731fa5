"""The parts of the nemesis: a fault that isn't made, and a check that sees nothing, are silent."""

import time
from pathlib import Path

import pytest
import trio

from tests.nemesis.clocks import clock_of, step
from tests.nemesis.diary import Diary
from tests.nemesis.ends import Ends
from tests.nemesis.proxy import Mode, Proxy


async def echo(stream: trio.SocketStream) -> None:
    """Send back what comes."""
    async for data in stream:
        await stream.send_all(data)


async def comes(stream: trio.SocketStream, seconds: float = 10.0) -> bytes | None:
    """Return what comes; nothing where the connection has ended, None where it doesn't in time."""
    with trio.move_on_after(seconds):
        try:
            return await stream.receive_some()
        except trio.BrokenResourceError:
            return b""
    return None


async def test_a_proxy_passes_stalls_and_refuses() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def connect() -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", port)

    proxy = Proxy(connect)
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        await nursery.start(proxy.serve)
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
            await client.send_all(b"one")
            assert await comes(client) == b"one"
            proxy.turn(Mode.STALLED)
            await client.send_all(b"two")
            assert await comes(client, 0.05) is None
            # What was held back comes through, and nothing is lost.
            proxy.turn(Mode.PASSING)
            assert await comes(client) == b"two"
            proxy.turn(Mode.REFUSING)
            assert await comes(client) == b""
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
            assert await comes(client) == b""
        nursery.cancel_scope.cancel()


def found(diary: Diary) -> list[str]:
    return [one.split(": ", 1)[1] for one in diary.violations]


def ends_of(diary: Diary) -> Ends:
    ends = Ends("room", 4.0, 1.0, diary)
    ends.joined("i", 100.0)
    ends.sent = 103.0
    ends.answered("i", 103.0)
    return ends


@pytest.mark.parametrize(
    ("now", "idle_for", "what"),
    [
        (107.1, 4.0, []),
        (106.5, 4.0, ["room i ended 0.500 s early"]),
        (107.1, 3.0, ["room i ended after 3.000 s of idleness"]),
        (108.5, 4.0, ["room i ended 1.500 s late"]),
    ],
)
def test_an_end_is_on_time(now: float, idle_for: float, what: list[str]) -> None:
    diary = Diary(settle=1.0)
    ends_of(diary).noticed("i", 7, idle_for, now)
    assert found(diary) == what


def test_an_end_may_be_late_while_something_is_done_but_never_early() -> None:
    diary = Diary(settle=1.0)
    with diary.fault("something"):
        diary.faults[0].begins = 105.0
        ends_of(diary).noticed("i", 7, 4.0, 110.0)
        assert not diary.violations
        ends_of(diary).noticed("i", 7, 4.0, 105.0)
    assert found(diary) == ["room i ended 2.000 s early"]


def test_all_are_told_the_same_end() -> None:
    diary = Diary(settle=1.0)
    ends = ends_of(diary)
    ends.noticed("i", 7, 4.0, 107.1)
    ends.noticed("i", 8, 4.0, 107.1)
    assert found(diary) == ["room i ended at 7, and at 8"]
    assert ends.lives["i"].as_end().seq == 7


def test_a_fault_is_felt_for_a_while() -> None:
    diary = Diary(settle=2.0)
    with diary.fault("something"):
        pass
    diary.faults[0].begins, diary.faults[0].ends = 10.0, 11.0
    assert not diary.is_disturbed(5.0, 9.0)
    assert diary.is_disturbed(5.0, 10.5)
    assert diary.is_disturbed(12.5, 20.0)
    assert not diary.is_disturbed(13.5, 20.0)


def test_a_wall_clock_is_set(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    step(file, -3600.0)
    clock = clock_of(file)
    assert -3601.0 < clock() - time.time() < -3599.0
    step(file, 10.0)
    assert 9.0 < clock() - time.time() < 11.0
