"""The commit: one append at a time on its way into the store, and whoever waits for it."""

from functools import partial

import trio
from attrs import define

from squire_gatherings._hall.store import Append, Outcome, Store


@define(eq=False)
class Commit:
    """What one gathering is having made durable.

    A store that can take an append without waiting says later how it went: so the gathering's task
    needs neither leave the scope of its deadline nor wait in the store.
    """

    store: Store
    is_under_way: bool = False
    is_over: bool = False
    """Whether an outcome is there to be taken."""
    _number: int = 0
    """Of the append whose outcome is waited for; another number: of none."""
    _outcome: Outcome = None
    _waiter: trio.lowlevel.Task | None = None

    def begin(self, append: Append) -> bool:
        """Begin it, if that needs no waiting; whether it's durable already."""
        self.is_under_way = True
        self._number += 1
        try:
            # What is said twice, or of an earlier append, says nothing of this one.
            if not self.store.append_nowait(append, partial(self._told, self._number)):
                return False
        except trio.WouldBlock:
            self._number += 1
            self.is_under_way = self.is_over = False
            self._outcome = None
            return False
        except Exception as error:
            self._number += 1
            self._ended(error)
            return False
        self._number += 1
        self.is_under_way = self.is_over = False
        self._outcome = None
        return True

    async def make(self, append: Append) -> None:
        """Begin it, and return when it's over. When cancelled, it may still become durable."""
        if self.begin(append):
            self._ended(None)
        elif self.is_under_way:
            await self.wait()
        elif not self.is_over:
            try:
                await self.store.append(append)
            except Exception as error:
                self._ended(error)
            else:
                self._ended(None)

    async def wait(self) -> None:
        """Return when it's over. Cancelling the wait changes nothing about the commit."""
        while self.is_under_way:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def take_outcome(self) -> Outcome:
        """Return what it came to, once."""
        outcome, self._outcome = self._outcome, None
        self.is_over = False
        return outcome

    def _told(self, number: int, outcome: Outcome) -> None:
        if number == self._number:
            self._number += 1
            self._ended(outcome)

    def _ended(self, outcome: Outcome) -> None:
        self.is_under_way = False
        self.is_over = True
        self._outcome = outcome
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    def _give_up(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED
