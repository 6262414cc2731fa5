"""The poller: which reader it tells of what, on real sockets, and that other tasks get turns."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._poller import MUCH, READ, TURN_SIZE, WRITE, Poller


@contextmanager
def readable_sockets(count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            ours.setblocking(False)
            theirs.send(b"x")
            found.append(ours)
        yield found


def reads(one: socket.socket, told: list[int], size: int = 1) -> Callable[[int], int]:
    def ready(events: int) -> int:
        told.append(events)
        if events & READ:
            one.recv(10)
        return size

    return ready


async def test_a_socket_is_served_for_the_events_that_were_asked_for_last() -> None:
    with Poller() as poller, readable_sockets(1) as [one]:
        told: list[int] = []

        def written(events: int) -> int:
            told.append(events)
            poller.watch(one, reads(one, told))
            return 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            poller.watch(one, written, WRITE)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert told == [WRITE, READ]


async def test_a_forgotten_socket_is_served_no_more_and_may_be_forgotten_again() -> None:
    with Poller() as poller, readable_sockets(1) as [one]:
        told: list[int] = []
        poller.watch(one, reads(one, told))
        poller.forget(one)
        poller.forget(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert told == []


async def test_other_tasks_get_their_turn_when_much_was_read() -> None:
    with Poller() as poller, readable_sockets(3) as sockets:
        told: list[int] = []
        seen: list[int] = []
        for one in sockets:
            poller.watch(one, reads(one, told, size=TURN_SIZE))

        async def look() -> None:
            while True:
                seen.append(len(told))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(look)
            while len(told) < 3:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert {1, 2} & set(seen)


async def test_sockets_whose_peers_are_unknown_come_last_and_in_turn() -> None:
    with Poller() as poller, readable_sockets(6) as sockets:
        order: list[int] = []

        def note(number: int) -> Callable[[int], int]:
            def ready(_: int) -> int:
                sockets[number].recv(10)
                order.append(number)
                return TURN_SIZE if number < 3 else 1

            return ready

        async with trio.open_nursery() as nursery:
            for number, one in enumerate(sockets):
                poller.watch(one, note(number), is_known=number >= 3)
            nursery.start_soon(poller.run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert sorted(order[:3]) == [3, 4, 5]
        assert sorted(order[3:]) == [0, 1, 2]


async def test_a_source_that_brought_much_comes_last_next_time() -> None:
    with Poller() as poller, ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(3)]
        order: list[int] = []

        def note(number: int) -> Callable[[int], int]:
            def ready(_: int) -> int:
                pairs[number][0].recv(1)
                order.append(number)
                return MUCH if number == 0 else 1

            return ready

        async with trio.open_nursery() as nursery:
            for number, (ours, theirs) in enumerate(pairs):
                ours.setblocking(False)
                theirs.send(b"xxx")
                poller.watch(ours, note(number))
            nursery.start_soon(poller.run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert [place for place, number in enumerate(order) if number == 0][1:] == [5, 8]
        assert len(order) == 9


async def test_sockets_are_held_back_while_something_is_urgent() -> None:
    is_busy, quiet = True, trio.Event()
    with Poller(is_busy=lambda: is_busy) as poller, readable_sockets(3) as sockets:
        told: list[int] = []
        in_turn: list[int] = []
        for number, one in enumerate(sockets):
            poller.watch(one, reads(one, told))
            if number:
                poller.put_behind(one, partial(in_turn.append, number))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(poller.serve_held, quiet.wait)
            await wait_all_tasks_blocked()
            assert told == [READ]
            assert not in_turn
            poller.forget(sockets[2])
            is_busy = False
            quiet.set()
            await wait_all_tasks_blocked()
            assert told == [READ] * 2
            assert in_turn == [1]
            nursery.cancel_scope.cancel()


async def test_what_comes_to_a_socket_that_was_held_is_read() -> None:
    with Poller(is_busy=lambda: True) as poller, ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        ours.setblocking(False)
        heard: list[bytes] = []

        def ready(_: int) -> int:
            with suppress(BlockingIOError):
                heard.append(ours.recv(10))
            return 1

        poller.watch(ours, ready)
        poller.put_behind(ours, lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(poller.serve_held, trio.lowlevel.checkpoint)
            await wait_all_tasks_blocked()
            theirs.send(b"late")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert heard == [b"late"]


async def test_each_step_begins_and_is_over_before_others_have_their_turn() -> None:
    told: list[str] = []

    class Step:
        def begin(self) -> None:
            told.append("begin")

        def end(self) -> None:
            told.append("end")

    with Poller(Step()) as poller, readable_sockets(6) as sockets:

        def ready(_: int) -> int:
            told.append("read")
            return TURN_SIZE // 2

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            for one in sockets:
                poller.watch(one, ready)
            for _ in range(20):
                await trio.lowlevel.checkpoint()
                assert told[-1:] in ([], ["end"])
            nursery.cancel_scope.cancel()
    steps = " ".join(told).split("begin")
    assert len(steps) > 4
    # Cancelled between two of them, the last may end twice.
    assert all(step.split().count("end") == 1 for step in steps[1:-1])
