"""The commit: brings what was added to the log into the store, one append at a time."""

import logging
import math
from functools import partial

import trio
from attrs import define

from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import Outcome, Unstorable
from squire_gatherings._rules.behaviour import encode_state
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append

_log = logging.getLogger(__name__)


@define(eq=False, weakref_slot=False)
class Commit:
    """Makes the ops of one incarnation durable.

    A store that can take an append without waiting says later how it went. The gathering's task
    then needs neither leave the scope of its deadline nor wait in the store.
    """

    room: Room
    snapshot_seq: int
    """The seq of the last snapshot; 0 if there is none."""
    retry_at: float = math.inf
    """When to try again after the store was unavailable."""
    is_under_way: bool = False
    is_over: bool = False
    """Whether an outcome is there to be taken."""
    _has_snapshot: bool = False
    """Whether the append has one."""
    _to_make: Append | None = None
    """The append that `begin` couldn't begin, since it needs waiting."""
    _number: int = 0
    """The number of the append whose outcome counts, if one is under way."""
    _outcome: Outcome = None
    _begun_at: float = 0.0
    _waiter: trio.lowlevel.Task | None = None

    @property
    def is_due(self) -> bool:
        """Whether something is to be committed, and that may be tried now."""
        log = self.room.log
        return log.seq > log.committed and (
            self.room.trouble is None or trio.current_time() >= self.retry_at
        )

    def begin(self, now: float) -> bool:
        """Begin to commit all that was added, if that needs no waiting.

        Returns:
            Whether it's durable already.
        """
        room, log = self.room, self.room.log
        self._has_snapshot = (
            log.seq >= self.snapshot_seq + room.settings.snapshot_every
            or log.since_snapshot > room.settings.snapshot_bytes
        )
        append = log.append(room.id, self._state() if self._has_snapshot else None)
        self._to_make = None
        self.is_under_way = True
        self._begun_at = now
        number = self._number = self._number + 1
        try:
            # The number tells what the store says of this append from what it says of others.
            if not room.store.append_nowait(append, partial(self._ended, number)):
                return False
        except trio.WouldBlock:
            self._to_make = append
        except Exception as error:
            self._number = number
            self._ended(number, error)
            return False
        # What the store says of it later doesn't count.
        self._number += 1
        self.is_under_way = self.is_over = False
        self._outcome = None
        if self._to_make is not None:
            return False
        count, tally = log.seq - log.committed, room.quotas.tally
        tally.at_once += 1
        # As `tally.committed.add(count)`, for each message of a quiet gathering.
        tally.committed.counts[count.bit_length()] += 1
        tally.committed.total += count
        if self._has_snapshot:
            self._snapshotted()
        return True

    async def make(self) -> None:
        """Commit all that was added; return when that is over, well or not.

        Cancellation: it may still become durable.
        """
        if self.begin(trio.current_time()):
            self._ended(self._number, None)
        elif self.is_under_way:
            await self.wait()
        elif self._to_make is not None:
            append, self._to_make = self._to_make, None
            try:
                await self.room.store.append(append)
            except Exception as error:
                self._ended(self._number, error)
            else:
                self._ended(self._number, None)

    async def wait(self) -> None:
        """Return when no commit is under way.

        Cancellation: the commit goes on, and can be waited for again.
        """
        while self.is_under_way:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def finish(self, now: float) -> StoreUnavailable | None:
        """Take what the commit came to.

        Returns:
            None if everything is durable, or the reason why it isn't yet.

        Raises:
            Exception: What else the store raised, which ends the gathering.
        """
        room = self.room
        tally = room.quotas.tally
        outcome, self._outcome = self._outcome, None
        self.is_over = False
        if outcome is None:
            self.retry_at = math.inf
            tally.commits.add(now - self._begun_at)
            tally.committed.add(room.log.seq - room.log.committed)
            if self._has_snapshot:
                self._snapshotted()
            if room.trouble is None:
                # A message is processed when it's durable; a retry of ours is no activity.
                room.used(now)
            else:
                _log.warning("store available again", extra=room.names())
            return None
        if isinstance(outcome, StoreUnavailable):
            tally.failed_commits += 1
            if room.trouble is None:
                extra = room.names() | {"why": str(outcome)}
                _log.warning("store unavailable", extra=extra)
                room.used(now)
            self.retry_at = now + room.settings.commit_retry_interval
            return outcome
        if isinstance(outcome, ValueError):
            # The store can never take this: to try again would crash the next incarnation, too.
            _, syncs = room.log.uncommitted()
            to_blame = outcome.syncs if isinstance(outcome, Unstorable) else ()
            room.suspects = to_blame or tuple((one.scope, one.id) for one in syncs)
        raise outcome

    def _state(self) -> bytes:
        room = self.room
        try:
            return encode_state(room.behaviour)
        except Exception:
            # Nobody knows which of them led to a state that can't be encoded.
            _, syncs = room.log.uncommitted()
            room.suspects = tuple((one.scope, one.id) for one in syncs)
            raise

    def _snapshotted(self) -> None:
        self._has_snapshot = False
        log = self.room.log
        self.snapshot_seq = log.seq
        log.snapshotted()

    def _ended(self, number: int, outcome: Outcome) -> None:
        """Note what came of the append with this number; only the first time counts."""
        if number != self._number:
            return
        self._number += 1
        self.is_under_way = False
        self.is_over = True
        self._outcome = outcome
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    def _give_up(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED
