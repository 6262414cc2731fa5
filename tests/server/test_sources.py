"""Sources: what a poller reads, and when it stops, on real sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._poller import Poller
from squire_gatherings._server.sources import PolledSource


@contextmanager
def two_ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


class Reader:
    """Takes what comes, until it has enough."""

    def __init__(self, enough: int = 10**9) -> None:
        self.got: list[bytes] = []
        self.enough = enough
        self.came = trio.Event()

    def take(self, data: bytes) -> bool:
        self.got.append(data)
        self.came.set()
        self.came = trio.Event()
        return bool(data) and len(self.got) < self.enough


async def test_everything_that_comes_is_taken_until_the_end() -> None:
    with Poller() as poller, two_ends() as (ours, theirs):
        reader = Reader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            async with trio.open_nursery() as feeding:
                feeding.start_soon(PolledSource(poller, ours).feed, reader.take)
                await wait_all_tasks_blocked()
                for piece in (b"a", b"bc"):
                    came = reader.came
                    theirs.send(piece)
                    await came.wait()
                theirs.close()
            nursery.cancel_scope.cancel()
        assert reader.got == [b"a", b"bc", b""]


async def test_a_reader_that_has_enough_is_given_no_more() -> None:
    """Later bytes wait in the kernel for the next `feed`."""
    with Poller() as poller, two_ends() as (ours, theirs):
        source, reader = PolledSource(poller, ours), Reader(enough=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            theirs.send(b"first")
            await source.feed(reader.take)
            theirs.send(b"second")
            await wait_all_tasks_blocked()
            assert reader.got == [b"first"]
            reader.enough = 2
            await source.feed(reader.take)
            assert reader.got == [b"first", b"second"]
            nursery.cancel_scope.cancel()


async def test_cancelling_loses_nothing() -> None:
    with Poller() as poller, two_ends() as (ours, theirs):
        source, reader = PolledSource(poller, ours), Reader(enough=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            async with trio.open_nursery() as feeding:
                feeding.start_soon(source.feed, reader.take)
                await wait_all_tasks_blocked()
                feeding.cancel_scope.cancel()
            theirs.send(b"later")
            await wait_all_tasks_blocked()
            assert reader.got == []
            await source.feed(reader.take)
            assert reader.got == [b"later"]
            nursery.cancel_scope.cancel()


async def test_an_error_in_take_comes_out_of_feed_and_harms_no_other() -> None:
    def take(data: bytes) -> bool:
        raise ZeroDivisionError

    with Poller() as poller, two_ends() as (ours, theirs), two_ends() as (other, others):
        reader = Reader(enough=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            theirs.send(b"x")
            with pytest.raises(ZeroDivisionError):
                await PolledSource(poller, ours).feed(take)
            others.send(b"y")
            await PolledSource(poller, other).feed(reader.take)
            assert reader.got == [b"y"]
            nursery.cancel_scope.cancel()


async def test_many_are_read_in_one_go_and_stopping_one_of_them_is_safe() -> None:
    """A source that is found readable stops another one that was found at the same moment."""
    with Poller() as poller:
        pairs = [socket.socketpair() for _ in range(200)]
        readers = [Reader() for _ in pairs]
        stopped: list[int] = []
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in pairs]

            async def feed(number: int) -> None:
                def take(data: bytes) -> bool:
                    scopes[(number + 100) % 200].cancel()
                    return readers[number].take(data)

                with scopes[number]:
                    await PolledSource(poller, pairs[number][0]).feed(take)
                stopped.append(number)

            for number, (ours, theirs) in enumerate(pairs):
                ours.setblocking(False)
                theirs.send(b"x")
                nursery.start_soon(feed, number)
            await wait_all_tasks_blocked()
            nursery.start_soon(poller.run)
            while len(stopped) < 100:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        # Of two that stop each other, the first was read, and the other never after it.
        for number in range(100):
            assert readers[number].got + readers[number + 100].got in ([b"x"], [b"x", b"x"])
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
