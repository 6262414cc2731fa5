"""Runs async functions; in a search, all in one Trio run: to begin one takes longer than an input.

That one goes on only while an input is run (Trio's guest mode), in the thread that runs it.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar, TypeVarTuple

import outcome
import trio
from attrs import define, field

T = TypeVar("T")
Args = TypeVarTuple("Args")


@define(eq=False)
class Lasting:
    """One run, in which one async function after the other is run to its end."""

    _ticks: SimpleQueue[Callable[[], object]] = field(factory=SimpleQueue)
    _job: Callable[[], Awaitable[object]] | None = None
    _ended: outcome.Maybe[object] | None = None

    def __attrs_post_init__(self) -> None:
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._ticks.put,
            done_callback=lambda ended: ended.unwrap(),
            host_uses_signal_set_wakeup_fd=True,
        )

    def run(self, job: Callable[[], Awaitable[object]]) -> object:
        """Run an async function; return or raise what it does."""
        self._job, self._ended = job, None
        while self._ended is None:
            self._ticks.get()()
        return self._ended.unwrap()

    async def _main(self) -> None:
        while True:
            if self._job is not None:
                job, self._job = self._job, None
                self._ended = await outcome.acapture(job)
            await trio.lowlevel.checkpoint()


_lasting: list[Lasting] = []


def last() -> None:
    """Have one run last from now on: this thread can't begin another before its process ends."""
    _lasting.append(Lasting())


def run(job: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
    """Run an async function, as `trio.run` does."""
    if not _lasting:
        return trio.run(job, *args)
    return _lasting[0].run(partial(job, *args))  # type: ignore[return-value]
