"""Rounds: what one task reads is processed in its step, as if each gathering's task had done it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import Hall
from squire_gatherings._hall.inbox import Inbox
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._hall.store import Outcome
from squire_gatherings._hall.turns import TURN_LIMIT
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import LogBehaviour, Submission
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from squire_gatherings._values.messages import Ack, ClientMessage, ForwardBatch, Sync, Synced
from squire_gatherings._values.op import Op
from tests.support import Recorder, examples

ROOM = "friday-night"


@contextmanager
def reading(hall: Hall) -> Iterator[None]:
    """What is delivered within the block has come in one step of a reader."""
    one = quotas_of(hall).round
    one.begin()
    try:
        yield
    finally:
        one.end()


def sync(name: str, count: int = 1) -> Sync:
    return Sync(name, 0, tuple(Op(b"{}") for _ in range(count)))


def answers(client: Recorder) -> list[str]:
    return [one.id for one in client.of(Synced)]


class Later(MemoryStore):
    """A store whose appends end when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[Callable[[], None]] = []

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        def end() -> None:
            super(Later, self).append_nowait(append, ended)
            ended(None)

        self.under_way.append(end)
        return False

    def end(self) -> None:
        ending, self.under_way = self.under_way, []
        for one in ending:
            one()


async def test_what_is_read_is_answered_and_forwarded_before_the_next_checkpoint(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        author, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        await hall.join(ROOM, other)
        await wait_all_tasks_blocked()
        with reading(hall):
            membership.deliver_nowait(sync("a"))
            membership.deliver_nowait(sync("b"))
            assert not answers(author), "others may still be read"
        assert answers(author) == ["a", "b"]
        assert [(one.seq, len(one.ops)) for one in other.of(ForwardBatch)] == [(1, 2)]


async def test_a_message_in_a_step_moves_the_deadline(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        begun = trio.current_time()
        for _ in range(3):
            await trio.sleep_until(trio.current_time() + 9)
            with reading(hall):
                membership.deliver_nowait(sync(str(trio.current_time())))
        last = trio.current_time()
        assert last - begun == pytest.approx(27)
        await client.wait_closed()
        assert trio.current_time() == pytest.approx(last + 10)


async def test_a_crash_is_the_gatherings_and_not_the_readers(autojump_clock: MockClock) -> None:
    class Crashing(LogBehaviour):
        def judge(self, ops: Sequence[Op], submission: Submission) -> Any:
            raise KeyError("n")

    async with open_hall(store=MemoryStore(), behaviour=Crashing) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await wait_all_tasks_blocked()
        with reading(hall):
            membership.deliver_nowait(sync("a"))
        await client.wait_closed()
        assert client.closed[0][1] is CloseCode.CRASHED


async def test_what_comes_while_a_commit_is_under_way_is_processed_when_that_ends(
    autojump_clock: MockClock,
) -> None:
    store = Later()
    async with open_hall(store=store) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await wait_all_tasks_blocked()
        with reading(hall):
            membership.deliver_nowait(sync("a"))
        with reading(hall):
            membership.deliver_nowait(sync("b"))
        membership.deliver_nowait(sync("c"))
        await wait_all_tasks_blocked()
        assert len(store.under_way) == 1
        store.end()
        assert answers(client) == ["a"]
        store.end()
        assert answers(client) == ["a", "b", "c"]
        await wait_all_tasks_blocked()


async def test_a_deadline_that_passes_during_a_commit_waits_for_it(
    autojump_clock: MockClock,
) -> None:
    store = Later()
    async with open_hall(store=store, idle_timeout=10) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await wait_all_tasks_blocked()
        with reading(hall):
            membership.deliver_nowait(sync("a"))
        await trio.sleep(15)
        assert not client.closed
        store.end()
        await wait_all_tasks_blocked()
        assert answers(client) == ["a"]
        durable_at = trio.current_time()
        await client.wait_closed()
        assert trio.current_time() == pytest.approx(durable_at + 10)


async def test_a_commit_that_fails_in_a_step_is_tried_again(autojump_clock: MockClock) -> None:
    class Unwilling(MemoryStore):
        refusals = 1

        def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
            if self.refusals:
                self.refusals -= 1
                ended(StoreUnavailable("busy"))
                return False
            return super().append_nowait(append, ended)

    async with open_hall(store=Unwilling(), commit_retry_interval=1) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await wait_all_tasks_blocked()
        with reading(hall):
            membership.deliver_nowait(sync("a"))
        await trio.sleep(0.5)
        assert not answers(client)
        await trio.sleep(1)
        assert answers(client) == ["a"]


async def test_who_sends_much_in_a_step_leaves_others_their_turns(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), inbox_limit=10 * TURN_LIMIT) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await wait_all_tasks_blocked()
        with reading(hall):
            for number in range(3 * TURN_LIMIT):
                membership.deliver_nowait(sync(str(number)))
        assert len(answers(client)) == TURN_LIMIT
        await wait_all_tasks_blocked()
        assert len(answers(client)) == 3 * TURN_LIMIT


async def test_a_hall_that_is_cancelled_within_a_step_takes_leave(
    autojump_clock: MockClock,
) -> None:
    class Ending(LogBehaviour):
        def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
            scope.cancel()
            return ops

    client = Recorder()
    with trio.CancelScope() as scope:
        async with open_hall(store=MemoryStore(), behaviour=Ending) as hall:
            membership = await hall.join(ROOM, client)
            await wait_all_tasks_blocked()
            with reading(hall):
                membership.deliver_nowait(sync("a"))
            assert answers(client) == ["a"]
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert client.closed[0][1] is CloseCode.GOING_AWAY


@define(eq=False)
class Going:
    """A gathering that does one thing when it goes on, and could then sleep on."""

    act: Callable[[], object]
    scope: trio.CancelScope | None = None
    is_committing: bool = False

    def advance(self) -> bool:
        self.act()
        return True


async def test_who_is_woken_or_cancelled_while_it_is_served_wakes() -> None:
    inbox = Inbox()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_soon, inbox)
            assert await inbox.wait(Going(inbox.wake)) is None
            nursery.start_soon(serve_soon, inbox)
            await inbox.wait(Going(scope.cancel))
            await trio.lowlevel.checkpoint()
            raise AssertionError("the checkpoint didn't raise")
    assert scope.cancelled_caught


async def serve_soon(inbox: Inbox) -> None:
    await wait_all_tasks_blocked()
    inbox.serve()


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=6), max_size=8))
@settings(max_examples=examples(50))
def test_steps_come_to_the_same_as_tasks(steps: list[list[tuple[int, int]]]) -> None:
    """Whoever speaks in which step: the answers and the log are those of messages one by one."""

    async def live(within: bool) -> list[list[tuple[str, tuple[int, ...]]]]:
        async with open_hall(store=MemoryStore()) as hall:
            clients = [Recorder() for _ in range(3)]
            members = [await hall.join(ROOM, one, client=str(n)) for n, one in enumerate(clients)]
            await wait_all_tasks_blocked()
            number = 0
            for step in steps:
                messages: list[tuple[int, ClientMessage]] = []
                for who, what in step:
                    number += 1
                    messages.append((who, Ack(0) if what == 4 else sync(f"{number}", what + 1)))
                if within:
                    with reading(hall):
                        for who, message in messages:
                            members[who].deliver_nowait(message)
                else:
                    for who, message in messages:
                        await members[who].deliver(message)
                await wait_all_tasks_blocked()
            return [[(told.id, told.seqs) for told in one.of(Synced)] for one in clients]

    by_steps, by_tasks = (
        trio.run(live, within, clock=MockClock(autojump_threshold=0)) for within in (True, False)
    )
    assert by_steps == by_tasks
