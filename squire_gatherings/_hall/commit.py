"""The commit: brings what was added to the log into the store, one append at a time."""

import logging
import math
from functools import partial

import trio
from attrs import define, field

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
    """The number of the last append. What the store says of it counts while it is under way."""
    _outcome: Outcome = None
    _begun_at: float = 0.0
    _waiter: trio.lowlevel.Task | None = None
    _due_seq: int = field(init=False)
    """From this seq on, an append has a snapshot."""
    _due_bytes: int = field(init=False)
    """And where the log has added more bytes than these."""

    def __attrs_post_init__(self) -> None:
        self._plan_snapshot()

    @property
    def has_failed(self) -> bool:
        """Whether it is over, nothing is durable, and nobody was told yet."""
        return self.is_over and self._outcome is not None

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
        self._has_snapshot = log.seq >= self._due_seq or log.added > self._due_bytes
        append = log.append(room.id, self._state() if self._has_snapshot else None)
        self._begun_at = now
        self.is_under_way = True
        number = self._number = self._number + 1
        try:
            # The number tells what the store says of this append from what it says of others.
            is_durable = room.store.append_nowait(append, partial(self._ended, number))
        except trio.WouldBlock:
            self._to_make = append
            self._void()
            return False
        except Exception as error:
            self._end(error)
            return False
        if not is_durable:
            return False
        if self.is_under_way:
            self.is_under_way = False
        else:
            self._void()
        tally = room.quotas.tally
        tally.synced += len(append.syncs)
        tally.committed[log.seq - log.committed] += 1
        if self._has_snapshot:
            self._snapshotted()
        return True

    async def make(self) -> None:
        """Commit all that was added; return when that is over, well or not.

        Cancellation: it may still become durable.
        """
        self._to_make = None
        if self.begin(trio.current_time()):
            self._end(None)
        elif self.is_under_way:
            await self.wait()
        elif self._to_make is not None:
            append, self._to_make = self._to_make, None
            try:
                await self.room.store.append(append)
            except Exception as error:
                self._end(error)
            else:
                self._end(None)

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
        room, log = self.room, self.room.log
        tally = room.quotas.tally
        outcome, self._outcome = self._outcome, None
        self.is_over = False
        if outcome is None:
            self.retry_at = math.inf
            tally.commits.add(now - self._begun_at)
            tally.committed[log.seq - log.committed] += 1
            tally.synced += log.uncommitted_syncs
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
            _, syncs = log.uncommitted()
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
        self._plan_snapshot()

    def _plan_snapshot(self) -> None:
        """Decide at which size of the log the next snapshot is due."""
        log, settings = self.room.log, self.room.settings
        self._due_seq = self.snapshot_seq + settings.snapshot_every
        self._due_bytes = log.added - log.since_snapshot + settings.snapshot_bytes

    def _ended(self, number: int, outcome: Outcome) -> None:
        """Note what the store says of the append with this number; only the first time counts."""
        if number != self._number or not self.is_under_way:
            return
        self.is_under_way = False
        self.is_over = True
        self._outcome = outcome
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None
        else:
            self.room.inbox.serve()

    def _end(self, outcome: Outcome) -> None:
        """Note what we know ourselves of the last append, whatever the store says."""
        self.is_under_way = True
        self._ended(self._number, outcome)

    def _void(self) -> None:
        """What the store has said of the last append doesn't count, nor what it says later."""
        self.is_under_way = self.is_over = False
        self._outcome = None

    def _give_up(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED
