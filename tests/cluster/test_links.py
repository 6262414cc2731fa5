"""Links: many clients on one connection, none of which holds up another."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import define, field
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._cluster import links
from squire_gatherings._cluster.links import KEEP_ALIVE, Link, RelayedStream
from squire_gatherings._cluster.relay import STREAM_WINDOW, Asked, Relay
from squire_gatherings._cluster.upkeep import Away
from tests.support import examples

ASKED = Asked("192.0.2.7", is_proxied=False, is_local=True, passed=1)


@define(eq=False)
class Pair:
    """Two nodes, one of which relays clients to the other."""

    one: Link
    other: Link
    came: list[tuple[RelayedStream, Asked]] = field(factory=list)

    async def open(self) -> tuple[RelayedStream, RelayedStream]:
        """Relay a client; return both ends."""
        count = len(self.came)
        ours = await self.one.open(ASKED)
        return ours, self.came[count][0]


class Cut(trio.abc.Stream):
    """A stream that brings so many bytes at once, and no more."""

    def __init__(self, stream: trio.abc.Stream, sizes: list[int]) -> None:
        self.stream, self.sizes, self.turn = stream, sizes, 0

    async def send_all(self, data: "bytes | bytearray | memoryview") -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> "bytes | bytearray":
        self.turn += 1
        return await self.stream.receive_some(self.sizes[self.turn % len(self.sizes)])

    async def aclose(self) -> None:
        await self.stream.aclose()


@asynccontextmanager
async def linked(*, sizes: list[int] | None = None, takes: bool = True) -> AsyncIterator[Pair]:
    ours, theirs = trio.testing.memory_stream_pair()
    sizes = sizes or [100_000]
    pair = Pair(
        Link(Cut(ours, sizes), Relay(is_client=True)),
        Link(Cut(theirs, sizes), Relay(is_client=False)),
    )

    def opened(stream: RelayedStream, asked: Asked) -> None:
        pair.came.append((stream, asked))
        if takes:
            stream.take()

    pair.other.on_opened = opened
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.one.run)
        nursery.start_soon(pair.other.run)
        yield pair
        nursery.cancel_scope.cancel()


async def read_all(stream: RelayedStream) -> bytes:
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


async def test_a_client_is_told_as_it_is() -> None:
    for asked in (
        ASKED,
        Asked(None, is_proxied=True, is_local=False, passed=0),
        Asked("2001:db8::1", is_proxied=True, is_local=True, passed=2),
    ):
        async with linked() as pair:
            await pair.one.open(asked)
            assert pair.came[0][1] == asked


@given(
    st.lists(st.lists(st.integers(0, 200_000), max_size=4), min_size=1, max_size=4),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=8),
)
@settings(max_examples=examples(15))
def test_all_arrives_in_order_however_it_is_cut(
    messages: list[list[int]], sizes: list[int]
) -> None:
    if sum(map(sum, messages)) / min(sizes) > 20_000:
        sizes = [max(size, 500) for size in sizes]

    async def client(pair: Pair, number: int, lengths: list[int]) -> None:
        ours = await pair.one.open(ASKED)
        theirs = next(one for one, _ in pair.came if one.number == ours.number)
        said = [bytes([number + 1]) * length for length in lengths]

        async def say(stream: RelayedStream) -> None:
            for one in said:
                await stream.send_all(one)
            await stream.send_eof()

        async def hear(stream: RelayedStream) -> None:
            assert await read_all(stream) == b"".join(said)

        async with trio.open_nursery() as nursery:
            for end in (ours, theirs):
                nursery.start_soon(say, end)
                nursery.start_soon(hear, end)
        for end in (ours, theirs):
            await end.aclose()

    async def main() -> None:
        async with linked(sizes=sizes) as pair:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    for number, lengths in enumerate(messages):
                        nursery.start_soon(client, pair, number, lengths)
            await trio.testing.wait_all_tasks_blocked()
            assert not pair.one.streams
            assert not pair.other.streams
            assert pair.one.held == pair.other.held == 0

    trio.run(main)


async def test_who_reads_nothing_stops_itself_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked() as pair:
        slow, to_slow = await pair.open()
        quick, to_quick = await pair.open()
        with trio.move_on_after(1) as scope:
            await to_slow.send_all(b"x" * 10 * STREAM_WINDOW)
        assert scope.cancelled_caught
        assert slow.holds <= STREAM_WINDOW
        async with trio.open_nursery() as nursery:
            nursery.start_soon(to_quick.send_all, b"y" * 50 * STREAM_WINDOW)
            got = 0
            while got < 50 * STREAM_WINDOW:
                got += len(await quick.receive_some())
        # And it can go on.
        assert len(await slow.receive_some()) <= STREAM_WINDOW
        await to_quick.send_eof()
        assert await read_all(quick) == b""


async def test_where_too_much_waits_the_one_ends_that_holds_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "MOST_HELD", 100_000)
    async with linked() as pair:
        small, to_small = await pair.open()
        most, to_most = await pair.open()
        other, to_other = await pair.open()
        await to_small.send_all(b"s" * 1000)
        await to_most.send_all(b"m" * 60_000)
        with trio.move_on_after(5):
            await to_other.send_all(b"o" * 50_000)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await most.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await to_most.send_all(b"more")
        assert await small.receive_some() == b"s" * 1000
        assert len(await other.receive_some()) == 50_000
        assert pair.one.held == 0


async def test_the_end_of_one_is_the_end_of_no_other() -> None:
    async with linked() as pair:
        ours, theirs = await pair.open()
        others = await pair.open()
        await theirs.send_all(b"last")
        await theirs.aclose()
        # What was sent before still arrives.
        assert await ours.receive_some() == b"last"
        assert await ours.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"nobody takes it")
        await ours.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some()
        await others[0].send_all(b"hello")
        assert await others[1].receive_some() == b"hello"


async def test_the_end_of_the_connection_is_everybodys_end() -> None:
    async with linked() as pair:
        ours, theirs = await pair.open()
        await theirs.send_all(b"last")
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(pair.other.stream)
        assert await ours.receive_some() == b"last"
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"x")
        with pytest.raises(Away):
            await pair.one.open(ASKED)


async def test_a_node_that_takes_nobody_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked(takes=False) as pair:
        with pytest.raises(Away, match="takes no clients now"):
            await pair.one.open(ASKED)
        await trio.testing.wait_all_tasks_blocked()
        assert not pair.one.streams
        # The other one knows that nobody waits.
        [(stream, _)] = pair.came
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_a_node_that_says_no_is_believed() -> None:
    async with linked(takes=False) as pair:
        pair.other.on_opened = lambda stream, _: stream.refuse("it is full")
        with pytest.raises(Away, match="it is full"):
            await pair.one.open(ASKED)


async def test_a_connection_that_is_used_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are a billion streams, and then another connection is needed."""
    monkeypatch.setattr(H2Connection, "HIGHEST_ALLOWED_STREAM_ID", 3)
    async with linked() as pair:
        ours, _ = await pair.open()
        await pair.open()
        with pytest.raises(Away, match="no more streams"):
            await pair.open()
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()


async def test_a_node_that_stalls_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """It takes what is written, and says nothing: as one that was stopped, or cut off."""
    ours, theirs = trio.testing.memory_stream_pair()
    link = Link(ours, Relay(is_client=True))
    began = trio.current_time()
    await link.run()
    assert 2 * KEEP_ALIVE < trio.current_time() - began <= 3 * KEEP_ALIVE
    assert await theirs.receive_some()


async def test_one_that_is_only_silent_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with linked() as pair:
        ours, theirs = await pair.open()
        await trio.sleep(100 * KEEP_ALIVE)
        await ours.send_all(b"still here")
        assert await theirs.receive_some() == b"still here"


@given(
    st.one_of(
        st.binary(min_size=1, max_size=200),
        st.builds(
            lambda kind, flags, stream, body: (
                len(body).to_bytes(3, "big")
                + bytes([kind, flags])
                + stream.to_bytes(4, "big")
                + body
            ),
            st.integers(0, 12),
            st.integers(0, 255),
            st.integers(0, 2**31 - 1),
            st.binary(max_size=60),
        ),
    ),
    st.booleans(),
)
@settings(max_examples=examples(60))
def test_whatever_a_node_sends_the_link_ends_or_goes_on(nonsense: bytes, is_client: bool) -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        link = Link(
            ours, Relay(is_client=is_client), None if is_client else lambda one, _: one.take()
        )
        greeting = Relay(is_client=not is_client).to_send()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            await theirs.send_all(greeting + nonsense)
            await trio.testing.wait_all_tasks_blocked()
            await theirs.send_eof()
        assert link.held == 0 or link.streams

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
