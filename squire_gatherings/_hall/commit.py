"""The commit: what was added to the log on its way into the store, one append at a time."""

import logging
import math
from functools import partial

import trio
from attrs import define

from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import Append, Outcome, Snapshot
from squire_gatherings._rules.behaviour import encode_state
from squire_gatherings._values.errors import StoreUnavailable

_log = logging.getLogger(__name__)


@define(eq=False)
class Commit:
    """What one incarnation is having made durable.

    A store that can take an append without waiting says later how it went: so the gathering's task
    needs neither leave the scope of its deadline nor wait in the store.
    """

    room: Room
    snapshot_at: int
    """The seq from which on the next append has a snapshot."""
    retry_at: float = math.inf
    """When to try again after the store was unavailable."""
    is_under_way: bool = False
    is_over: bool = False
    """Whether an outcome is there to be taken."""
    _has_snapshot: bool = False
    """Whether the append has one."""
    _number: int = 0
    """Of the append whose outcome is waited for; another number: of none."""
    _outcome: Outcome = None
    _waiter: trio.lowlevel.Task | None = None

    @property
    def is_due(self) -> bool:
        """Whether something is to be committed, and may be tried now."""
        log = self.room.log
        return log.seq > log.committed and (
            self.room.trouble is None or trio.current_time() >= self.retry_at
        )

    def begin(self) -> bool:
        """Begin it, if that needs no waiting; return whether it's durable already."""
        return self._begin(self._append())

    async def make(self) -> None:
        """Begin it, and return when it's over.

        Cancellation: it may still become durable.
        """
        append = self._append()
        if self._begin(append):
            self._ended(None)
        elif self.is_under_way:
            await self.wait()
        elif not self.is_over:
            try:
                await self.room.store.append(append)
            except Exception as error:
                self._ended(error)
            else:
                self._ended(None)

    async def wait(self) -> None:
        """Return when it's over.

        Cancellation: it goes on, and can be waited for again.
        """
        while self.is_under_way:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def finish(self, now: float) -> StoreUnavailable | None:
        """Take what it came to, once: None if everything is durable, or why it isn't yet.

        Raises what else the store raised, which ends the gathering.
        """
        room = self.room
        outcome, self._outcome = self._outcome, None
        self.is_over = False
        if outcome is None:
            if room.trouble is None:
                # What is processed is so when it's durable; a retry of ours counts for nothing.
                room.deadline.processed(now)
            else:
                _log.warning("store available again", extra=room.names())
            return None
        if isinstance(outcome, StoreUnavailable):
            if room.trouble is None:
                _log.warning("store unavailable: %s", outcome, extra=room.names())
                room.deadline.processed(now)
            self.retry_at = now + room.settings.commit_retry_interval
            return outcome
        if isinstance(outcome, ValueError):
            # It can't be stored, now or ever: to try again would crash the next one, too.
            _, syncs = room.log.uncommitted()
            room.suspects = tuple((one.scope, one.id) for one in syncs)
        raise outcome

    def succeeded(self) -> None:
        """Everything is durable."""
        self.retry_at = math.inf
        if self._has_snapshot:
            self._has_snapshot = False
            log = self.room.log
            self.snapshot_at = log.seq + self.room.settings.snapshot_every
            log.snapshotted()

    def _append(self) -> Append:
        room, log = self.room, self.room.log
        ops, syncs = log.uncommitted()
        snapshot = None
        self._has_snapshot = (
            log.seq >= self.snapshot_at or log.since_snapshot > room.settings.snapshot_bytes
        )
        if self._has_snapshot:
            try:
                snapshot = Snapshot(log.seq, encode_state(room.behaviour))
            except Exception:
                # Which of them made a state that can't be put down isn't known.
                room.suspects = tuple((one.scope, one.id) for one in syncs)
                raise
        return Append(room.id, log.committed + 1, ops, syncs, snapshot)

    def _begin(self, append: Append) -> bool:
        self.is_under_way = True
        self._number += 1
        try:
            # What is said twice, or of an earlier append, says nothing of this one.
            if not self.room.store.append_nowait(append, partial(self._told, self._number)):
                return False
        except trio.WouldBlock:
            durable = False
        except Exception as error:
            self._number += 1
            self._ended(error)
            return False
        else:
            durable = True
        self._number += 1
        self.is_under_way = self.is_over = False
        self._outcome = None
        return durable

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
