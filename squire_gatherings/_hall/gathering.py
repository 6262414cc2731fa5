"""The gathering: one actor for one tournament, from its restore to its dispersal."""

import logging
import math
from collections.abc import Callable, Iterable
from itertools import islice

import trio
from attrs import define, field

from squire_gatherings._hall.commit import Commit
from squire_gatherings._hall.delivery import CROWD, Delivery
from squire_gatherings._hall.dispersal import give_notice
from squire_gatherings._hall.lateness import give_turns, is_late
from squire_gatherings._hall.lookup import SyncLookup
from squire_gatherings._hall.requests import Request, Requests
from squire_gatherings._hall.senders import Caller, Onlooker, Sender
from squire_gatherings._hall.store import Append, Restored, Snapshot, Store, store_trouble
from squire_gatherings._rules.behaviour import Behaviour, encode_state, restore_state
from squire_gatherings._rules.deadline import IdleDeadline
from squire_gatherings._rules.op_log import OP_OVERHEAD, OpLog
from squire_gatherings._rules.sync_ids import LookupNeeded, SyncKey
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import (
    GatheringCrashed,
    GatheringDispersed,
    StoreUnavailable,
)
from squire_gatherings._values.ids import new_incarnation_id
from squire_gatherings._values.messages import ClientMessage, Dispersed, ServerMessage, Sync
from squire_gatherings._values.numbers import GatheringNumbers
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallSettings

_log = logging.getLogger(__name__)

TURN_LIMIT = 256
"""How many messages are processed before other gatherings get their turn."""

TURN_COST = 256 * 1024
"""What they may cost, in bytes that take as long: 1,500 small ops, or one large message."""

FOLDED_AT_ONCE = 500
"""How many ops a restore folds before others get their turn."""

MESSAGE_COST = 300
"""What a message in the inbox takes in memory, about, besides its ops."""

SINGLE_COST = MESSAGE_COST + OP_OVERHEAD
"""That of one with a single op, besides its bytes."""


REST_WITHIN = 1.0
"""For how many seconds the rest of a message is waited for that had begun to arrive, where the
deadline is seen late."""

LOOK_AGAIN = 0.05
"""After how many seconds is looked whether it's there."""


@define(eq=False, weakref_slot=True)
class Gathering:
    """One incarnation. Whoever holds it may find that it has ended: `accepting` tells.

    From the moment that `accepting` is False (the point of no return) nothing reaches it.
    """

    id: str
    settings: HallSettings
    store: Store
    make_behaviour: Callable[[], Behaviour]
    on_gone: Callable[[str], None]
    """Called with the id last of all, when nothing is left to do."""
    incarnation: str = field(factory=new_incarnation_id)
    refused: frozenset[SyncKey] = frozenset()
    """Syncs that crashed an earlier incarnation."""
    suspects: tuple[SyncKey, ...] = ()
    """Syncs that crashed this one."""
    is_wanted: bool = False
    """Whether it's to stay though nobody has used it: somebody asked just for that."""
    accepting: bool = False
    reason: DispersalReason | None = None
    """Why it is to end, or ended."""
    notice: Dispersed | None = None
    """What its onlookers were told last."""
    processed: int = 0
    opened_at: float = 0.0
    behaviour: Behaviour = field(init=False)
    serves_snapshots: bool = field(init=False)
    log: OpLog = field(init=False)
    deadline: IdleDeadline = field(init=False)
    delivery: Delivery = field(init=False)
    commit: Commit = field(init=False)
    lookup: SyncLookup = field(init=False)
    requests: Requests = field(init=False)
    _inbox: list[tuple[Sender, Request]] = field(factory=list)
    _sleeper: trio.lowlevel.Task | None = None
    """Our task, while it waits for something to arrive."""
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _snapshot_at: int = 0
    """With which seq a snapshot is due."""
    _has_snapshot: bool = False
    """Whether one is being committed."""
    _commit_retry_at: float = math.inf
    _numbered: int = 0
    _taken: int = 0
    """How many messages were taken out of the inbox so far."""
    _notice_by: float = math.inf

    # Going in: none of these waits, and each may find the gathering ended.

    def put(self, sender: Caller, request: Request) -> None:
        """Put a request into the inbox; raises `GatheringDispersed` past the end."""
        if not self.accepting:
            raise GatheringDispersed(f"gathering {self.id} has dispersed")
        self._inbox.append((sender, request))
        self._wake()

    def put_from(self, onlooker: Onlooker, message: ClientMessage) -> None:
        """Put a message of an onlooker into the inbox, which it must be able to take."""
        if onlooker.waiting and isinstance(message, Sync):
            ops = message.ops
            onlooker.cost += SINGLE_COST + len(ops[0].json) if len(ops) == 1 else _cost(ops)
        onlooker.waiting += 1
        self._inbox.append((onlooker, message))
        if self._sleeper is not None:
            self._wake()

    async def ask(self, caller: Caller, request: Request) -> ServerMessage:
        """Put a request into the inbox, and wait for its answer, which comes whatever happens.

        Raises what is wrong with it, `GatheringCrashed`, or `GatheringDispersed`, with nothing
        done or (a sync) its outcome unknown. Cancelled, what it began is ended.
        """
        self.put(caller, request)
        callers = self.requests.callers
        callers.add(caller)
        try:
            return await caller.wait()
        finally:
            callers.discard(caller)
            caller.gone()

    def next_number(self) -> int:
        """Return a number for a new onlooker, from 1 on."""
        self._numbered += 1
        return self._numbered

    def gone(self, onlooker: Onlooker) -> None:
        """An onlooker's connection has closed. Counts as no activity."""
        if self.delivery.detach(onlooker) and not self.delivery.onlookers:
            self._emptied()

    def visited(self, *, counted: bool) -> None:
        """Somebody who asked for something, or wanted in, is done. If nobody is here, it's empty.

        Where nothing ever counted, it goes at once, unless it is wanted.
        """
        if not self.accepting or self.delivery.onlookers:
            return
        if not (self.processed or self.is_wanted or self._inbox):
            self.end(DispersalReason.EMPTY)
        elif counted or self.deadline.emptied_at is None:
            self._emptied()

    def _emptied(self) -> None:
        self.deadline.emptied(trio.current_time())
        # The deadline may only have come nearer; elsewhere it only moves away.
        self._scope.deadline = min(self._scope.deadline, self.deadline.at)

    def end(self, reason: DispersalReason, *, by: float = math.inf) -> None:
        """Disperse now: what is in the inbox is still processed, nothing more comes in.

        The notice may take `close_grace`, but not longer than until `by`.
        """
        self._notice_by = min(self._notice_by, by)
        if self.accepting:
            self.accepting = False
            self.reason = reason
            self._wake()

    def numbers(self) -> GatheringNumbers:
        """Return the operator's numbers."""
        return GatheringNumbers(
            gathering=self.id,
            incarnation=self.incarnation,
            opened_at=self.opened_at,
            processed=self.processed,
            last_processed_at=self.deadline.last_processed_at,
            deadline=self.deadline.at,
            onlookers=len(self.delivery.onlookers),
            seq=self.log.committed,
            unacked=self.delivery.unacked,
        )

    # The life.

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Live: restore, `task_status.started()`, process, disperse, return.

        Raises what the restore raises (`StoreUnavailable`, `GatheringCrashed`) and nothing
        afterwards: a crash ends in a notice and a log entry. When cancelled, it gives
        notice with reason `shutdown` within `close_grace` first.
        """
        try:
            await self._restore()
            reason = DispersalReason.SHUTDOWN
            try:
                async with trio.open_nursery() as nursery:
                    self.delivery = Delivery(
                        self.id,
                        self.settings,
                        self.store,
                        self.log,
                        nursery,
                        self.gone,
                        incarnation=self.incarnation,
                        inbox=self._inbox_counts,
                    )
                    self.requests = Requests(self, self.settings.max_ops)
                    self.accepting = True
                    task_status.started()
                    # It keeps what `nursery.start` needed: a seventh of our whole memory.
                    del task_status
                    reason = await self._live()
                    nursery.cancel_scope.cancel()
            except* Exception as errors:
                reason = DispersalReason.CRASHED
                _log.error("gathering crashed", exc_info=errors, extra=self._names())
            finally:
                # Nobody is left to talk to, wherever the cancellation or the crash struck.
                self.accepting = False
                self.reason = reason
                await self._disperse(reason)
                # These refer back: without them the last reference ends it, not the next
                # garbage collection.
                self.delivery.retire()
                del self.requests
        finally:
            self.on_gone(self.id)

    async def _restore(self) -> None:
        with store_trouble():
            restored = await self.store.load(self.id, recent_syncs=self.settings.recent_syncs)
            if not isinstance(restored, Restored):
                raise TypeError(f"load returned {restored!r:.80}")
        self.log = OpLog(self.settings.tail_bytes, self.settings.recent_syncs, self.incarnation)
        try:
            self.behaviour = self.make_behaviour()
            self.serves_snapshots = bool(self.behaviour.serves_snapshots)
            if restored.snapshot is not None:
                self._snapshot_at = restored.snapshot.seq
                restore_state(self.behaviour, restored.snapshot.state)
            for number, logged in enumerate(restored.ops, start=1):
                self.behaviour.fold(logged.op)
                if not number % FOLDED_AT_ONCE:
                    await trio.lowlevel.checkpoint()
            self.log.restore(restored)
        except Exception as error:
            _log.exception("gathering can't be restored", extra=self._names())
            raise GatheringCrashed(f"gathering {self.id} can't be restored") from error
        self._snapshot_at += self.settings.snapshot_every
        self.commit = Commit(self.store)
        self.lookup = SyncLookup(self.id, self.store, self.log.syncs)
        self.opened_at = trio.current_time()
        self.deadline = IdleDeadline(
            self.settings.idle_timeout, self.settings.empty_timeout, self.opened_at
        )

    async def _live(self) -> DispersalReason:
        """Process messages until the deadline passes or somebody says `end`."""
        task = trio.lowlevel.current_task()
        commit, lookup, delivery = self.commit, self.lookup, self.delivery
        while True:
            with trio.move_on_at(min(self.deadline.at, self._commit_retry_at)) as self._scope:
                while True:
                    if commit.is_under_way:
                        await commit.wait()
                        self._finish_commit(trio.current_time())
                    elif not self._inbox and self.reason is None:
                        self._sleeper = task
                        await trio.lowlevel.wait_task_rescheduled(self._stop_sleeping)
                    if self._inbox and not delivery.behind:
                        self._turn()
                    if commit.is_under_way:
                        continue
                    if self.log.seq > self.log.committed or self.reason is not None:
                        break
                    if lookup.is_due or delivery.behind:
                        break
                    if self._inbox:
                        await trio.lowlevel.checkpoint()
            # Only here, outside the scope, may it wait for long: the deadline never interrupts
            # what is being processed.
            await commit.wait()
            if commit.is_over:
                self._finish_commit(trio.current_time())
            if delivery.behind:
                await delivery.bring_the_rest()
                self.log.trim()
            if lookup.is_due:
                await lookup.look_up()
            elif self._must_commit():
                await commit.make(self._append())
                self._finish_commit(trio.current_time())
            elif self._inbox:
                await trio.lowlevel.checkpoint()
            elif self.reason is not None:
                return self.reason
            elif trio.current_time() >= self.deadline.at:
                if self.requests.reading:
                    self._sleeper = task
                    await trio.lowlevel.wait_task_rescheduled(self._stop_sleeping)
                    continue
                await self._hear_out()
                # The point of no return: no checkpoint since this look at the inbox.
                if self._is_over():
                    self.accepting = False
                    empty = self.deadline.is_empty_case
                    return DispersalReason.EMPTY if empty else DispersalReason.IDLE

    def _is_over(self) -> bool:
        """Whether the deadline has passed, and nothing is left to be done."""
        if self._inbox or self.reason is not None or self.requests.reading:
            return False
        return trio.current_time() >= self.deadline.at

    def finished_reading(self) -> None:
        """A request that had to wait for the store is processed only now."""
        self.deadline.processed(trio.current_time())
        self._wake()

    async def _hear_out(self) -> None:
        """Take in what reached this host before the deadline, and nobody has read yet.

        A timer fires when it can, which may be late (a pause of the machine, a slow fold), and
        in the same turn in which a message becomes readable. Where it's late, a message that had
        begun to arrive is waited for, too, for a moment.
        """
        if not is_late(self.deadline.at):
            # Tasks that wait for a stream of theirs are woken in the first turn, and run by the
            # next.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            await self._read_arrived()
            return
        until = trio.current_time() + REST_WITHIN
        await give_turns()
        look_at = trio.current_time()
        while await self._read_arrived() and self._is_over() and look_at < until:
            look_at += LOOK_AGAIN
            await trio.sleep_until(look_at)

    async def _read_arrived(self) -> bool:
        """Take in what has arrived; return whether somebody's message isn't there as a whole."""
        is_receiving = False
        for number, onlooker in enumerate(tuple(self.delivery.onlookers.values()), start=1):
            onlooker.read_arrived()
            is_receiving = is_receiving or onlooker.receiving > 0
            if not number % CROWD:
                await trio.lowlevel.checkpoint()
        return is_receiving

    def _wake(self) -> None:
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    def _stop_sleeping(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _turn(self) -> None:
        """Process what has arrived, without a checkpoint."""
        taken = counted = 0
        requests, log = self.requests, self.log
        limit = requests.spent + log.added + TURN_COST
        try:
            for sender, request in self._inbox[:TURN_LIMIT]:
                requests.current = sender
                taken += 1
                counted += requests.process(sender, request)
                if isinstance(sender, Onlooker):
                    sender.waiting -= 1
                    if not sender.waiting:
                        sender.cost = 0
                    if sender.room is not None:
                        sender.make_room()
                if requests.spent + log.added > limit:
                    break
        except LookupNeeded:
            taken -= 1
            self.lookup.prepare(
                (sender.scope, request.id)
                for sender, request in islice(self._inbox, taken, TURN_LIMIT)
                if isinstance(request, Sync) and sender.identity.may_submit
            )
        except Exception:
            if isinstance(request, Sync):
                self.suspects = ((sender.scope, request.id),)
            raise
        finally:
            # Also when the behaviour raises: the rest is for the next incarnation.
            del self._inbox[:taken]
            self._taken += taken
        requests.current = None
        now = trio.current_time()
        if counted:
            self.processed += counted
            self.deadline.processed(now)
        if requests.trouble is None and log.seq > log.committed:
            if self.commit.begin(self._append()):
                self._committed(now)
        elif log.seq == log.committed:
            requests.finish(now)

    # Committing.

    def _must_commit(self) -> bool:
        return self.log.seq > self.log.committed and (
            self.requests.trouble is None or trio.current_time() >= self._commit_retry_at
        )

    def _append(self) -> Append:
        ops, syncs = self.log.uncommitted()
        snapshot = None
        self._has_snapshot = (
            self.log.seq >= self._snapshot_at
            or self.log.since_snapshot > self.settings.snapshot_bytes
        )
        if self._has_snapshot:
            try:
                snapshot = Snapshot(self.log.seq, encode_state(self.behaviour))
            except Exception:
                # Which of them made a state that can't be put down isn't known.
                self.suspects = tuple((one.scope, one.id) for one in syncs)
                raise
        return Append(self.id, self.log.committed + 1, ops, syncs, snapshot)

    def _finish_commit(self, now: float) -> None:
        """What was added is durable, or those who asked are told that it isn't (yet)."""
        outcome = self.commit.take_outcome()
        trouble = self.requests.trouble
        if outcome is None:
            if trouble is None:
                # What is processed is so when it's durable; a retry of ours counts for nothing.
                self.deadline.processed(now)
            else:
                _log.warning("store available again", extra=self._names())
            self._committed(now)
        elif isinstance(outcome, StoreUnavailable):
            if trouble is None:
                _log.warning("store unavailable: %s", outcome, extra=self._names())
                self.deadline.processed(now)
            self._commit_retry_at = now + self.settings.commit_retry_interval
            self.requests.postpone(outcome)
        else:
            if isinstance(outcome, ValueError):
                # It can't be stored, now or ever: to try again would crash the next one, too.
                _, syncs = self.log.uncommitted()
                self.suspects = tuple((one.scope, one.id) for one in syncs)
            raise outcome

    def _committed(self, now: float) -> None:
        self._commit_retry_at = math.inf
        if self._has_snapshot:
            self._has_snapshot = False
            self._snapshot_at = self.log.seq + self.settings.snapshot_every
            self.log.snapshotted()
        self.delivery.begin_batch(self.log.committed)
        # It stays in memory until all who are here have been brought it.
        self.log.commit(trim=False)
        self.requests.finish(now)
        self.delivery.end_batch(now)
        if not self.delivery.behind:
            self.log.trim()

    # Coming to an end.

    async def _disperse(self, reason: DispersalReason) -> None:
        crashed = reason is DispersalReason.CRASHED
        lost = GatheringCrashed(f"gathering {self.id} crashed while it worked on this")
        ended = GatheringDispersed(f"gathering {self.id} has dispersed")
        self.requests.abandon(lost if crashed else ended, ended)
        self._inbox.clear()
        idle_for = trio.current_time() - self.deadline.last_processed_at
        notice = Dispersed(self.id, self.incarnation, reason, self.log.committed, idle_for)
        self.notice = notice
        onlookers = tuple(self.delivery.onlookers.values())
        for onlooker in onlookers:
            onlooker.was_crashed = crashed
            self.delivery.detach(onlooker)
        grace = min(self.settings.close_grace, max(0.0, self._notice_by - trio.current_time()))
        await give_notice(onlookers, notice, reason, grace)
        _log.debug("gathering dispersed: %s", reason, extra=self._names())

    def _inbox_counts(self) -> tuple[int, int]:
        return self._taken, self._taken + len(self._inbox)

    def _names(self) -> dict[str, object]:
        return {"gathering": self.id, "incarnation": self.incarnation}


def _cost(ops: Iterable[Op]) -> int:
    """Return what a sync of these in the inbox takes in memory, about."""
    return MESSAGE_COST + sum(OP_OVERHEAD + len(op.json) for op in ops)
