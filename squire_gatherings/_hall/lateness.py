"""Lateness: what is done when a timer fires late, since the process was kept from running.

The machine was paused, or something blocked for long. What arrived meanwhile lies in sockets, and
the tasks that read them need turns before they have it; nobody is judged before.
"""

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio
from attrs import define, field

LATE = 0.1
"""How many seconds late a timer may fire and not count as late: a busy process is a little late."""

HELD_UP = 0.5
"""A timer may limit a client, or a check of who it is. If it fires more than so many seconds late,
that is our fault: we were kept from hearing them."""

TURNS = 128
"""How many turns everybody gets.

A stream is read by a task of its own, in one turn for each piece (of 4 KiB, with
`trio-websocket`): in so many it has read a message of 256 KiB, and a join has gone its way.
"""

LEAST_TURNS, WITHIN = 12, 0.25
"""How many turns are enough once so many seconds have passed: in an overloaded process each turn
takes long, and what is due shouldn't wait for a hundred of them."""

TO_JOIN = 4
"""A task may join those that wait already while they have had fewer turns than this."""


T = TypeVar("T")


class TookTooLong(Exception):
    """An attempt took longer than it may, and the process wasn't held up."""


@define(eq=False)
class _Turns:
    began: float
    count: int = 0
    over: trio.Event = field(factory=trio.Event)

    @property
    def are_enough(self) -> bool:
        if self.count >= TURNS:
            return True
        return self.count >= LEAST_TURNS and trio.current_time() >= self.began + WITHIN


_under_way: trio.lowlevel.RunVar[_Turns | None] = trio.lowlevel.RunVar("turns", None)

_many_since: trio.lowlevel.RunVar[float] = trio.lowlevel.RunVar("many since", -math.inf)
"""All tasks have had many turns since then."""

_one_since: trio.lowlevel.RunVar[float] = trio.lowlevel.RunVar("one since", -math.inf)
"""All tasks that were waiting for a socket then, which had something to read, have had a turn."""


def is_late(due: float, late: float = LATE) -> bool:
    """Whether a timer that was due then is late now."""
    return trio.current_time() - due > late


async def attempt_within(seconds: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what `attempt` returns; make it again each time that the process was held up.

    Args:
        seconds: How long each attempt may take.
        attempt: Is cancelled after that. Must be safe to make again.

    Raises:
        TookTooLong: It took longer, and the timer wasn't late.
        Exception: What the attempt raised.

    Cancellation: the attempt is cancelled.
    """
    while True:
        due = trio.current_time() + seconds
        with trio.move_on_at(due):
            return await attempt()
        if not is_late(due, HELD_UP):
            raise TookTooLong


async def give_turns(since: float) -> None:
    """Return when all tasks have had many turns since then: fewer where they take long.

    Those who ask at the same time share them: a thousand timers that are late cost hardly more
    than one. Not a checkpoint if they have had them already; cancelling it changes nothing for
    others.
    """
    if _many_since.get() >= since:
        return
    turns = _under_way.get()
    while turns is not None and turns.count < TO_JOIN and not turns.over.is_set():
        await turns.over.wait()
        if turns.are_enough:
            return
        # The task that counted was cancelled.
        turns = _under_way.get()
    turns = _Turns(trio.current_time())
    _under_way.set(turns)
    try:
        while not turns.are_enough:
            await trio.lowlevel.checkpoint()
            turns.count += 1
        _many_since.set(max(turns.began, _many_since.get()))
    finally:
        turns.over.set()


def were_turns_given(since: float) -> bool:
    """Whether all have had the turns that they must have before one that was due then ends.

    Then neither `give_turns` nor `give_a_turn` would wait.
    """
    if not is_late(since):
        return _one_since.get() >= since
    return _many_since.get() >= since


async def give_a_turn(since: float) -> None:
    """Return when all tasks have had a turn for which something was there to be read then.

    Not a checkpoint if they have had it already.
    """
    if _one_since.get() >= since:
        return
    began = trio.current_time()
    # Tasks that wait for a stream of theirs are woken in the first turn, and run by the next.
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    _one_since.set(max(began, _one_since.get()))


@contextmanager
def time_limit(
    nursery: trio.Nursery, seconds: float, late: float = LATE
) -> Iterator[trio.CancelScope]:
    """Cancel the block after so many seconds; give it as many again each time that this is late.

    A task in `nursery` watches meanwhile: a deadline that is passed can't be moved any more.
    """
    watching = trio.CancelScope()

    async def watch() -> None:
        with watching:
            while True:
                due = trio.current_time() + seconds
                await trio.sleep_until(due)
                if not is_late(due, late):
                    scope.cancel()
                    return

    with trio.CancelScope() as scope:
        nursery.start_soon(watch)
        try:
            yield scope
        finally:
            watching.cancel()
