"""The gathering: one actor for one tournament, from its restore to its dispersal."""

import logging
import math
from collections.abc import Callable, Iterable

import trio
from attrs import define, field

from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.commit import Commit
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.inbox import Request
from squire_gatherings._hall.inheritance import Inheritance
from squire_gatherings._hall.lateness import give_turns, is_late
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.requests import Requests
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._hall.travel import Travel
from squire_gatherings._rules.behaviour import Behaviour, Stamp, restore_state
from squire_gatherings._rules.chain import HEAD_SIZE
from squire_gatherings._rules.deadline import IdleDeadline
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._rules.sync_ids import LookupNeeded
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringCrashed, GatheringDispersed, LogDeleted
from squire_gatherings._values.log import Restored
from squire_gatherings._values.messages import Dispersed, Sync
from squire_gatherings._values.outgoing import Outgoing

_log = logging.getLogger(__name__)

HEAVY = 16
"""A turn that so few messages fill was filled by heavy ones."""

TURN_LIMIT = 256
"""How many messages are processed at most before other gatherings get their turn."""

TURN_COST = 256 * 1024
"""What they may cost, in bytes: 1,500 small ops, or one large message."""

FOLDED_AT_ONCE = 500
"""How many ops a restore folds before others get their turn."""

UNCOUNTED = 4096
"""About how many bytes may be added to the log until its ops in memory are counted again."""

REST_WITHIN = 1.0
"""How many seconds we wait for the rest of a message that had begun to arrive, where the deadline
is seen late."""

LOOK_AGAIN = 0.05
"""How many seconds pass until we look again whether that rest is there."""


@define(eq=False, weakref_slot=False)
class Gathering:
    """The task of one incarnation: restores its room, processes what arrives, and ends it."""

    room: Room
    make_behaviour: Callable[[], Behaviour]
    on_gone: Callable[[str], None]
    """Called with the gathering's id when nothing is left to do."""
    refreshes: Refreshes
    inheritance: Inheritance | None = None
    """What it goes on with, if another process has begun it."""
    delivery: Delivery = field(init=False)
    commit: Commit = field(init=False)
    answers: Answers = field(init=False)
    requests: Requests = field(init=False)
    _processing: Sender | None = None
    """The sender of the message that is being processed."""

    # From its opening to its end.

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Restore the room, call `task_status.started()`, process what arrives, and disperse.

        Raises:
            StoreUnavailable: It can't be restored now.
            GatheringCrashed: Its behaviour can't be restored. A later crash isn't raised: it ends
                in a notice and a log entry.

        Cancellation: clients get a notice with reason `shutdown` first, within `close_grace`.
        """
        room = self.room
        try:
            await self._restore()
            reason = DispersalReason.SHUTDOWN
            try:
                async with trio.open_nursery() as room.nursery:
                    room.accepting = True
                    task_status.started()
                    # It keeps alive what `nursery.start` needed: a seventh of our whole memory.
                    del task_status
                    if self.inheritance is not None:
                        await self.inheritance.ours.wait()
                        self.inheritance = None
                    reason = await self._live()
                    room.nursery.cancel_scope.cancel()
            except* LogDeleted as errors:
                reason = DispersalReason.ADMIN
                _log.warning("%s", errors.exceptions[0], extra=room.names())
            except* Exception as errors:
                reason = DispersalReason.CRASHED
                _log.error("gathering crashed", exc_info=errors, extra=room.names())
            finally:
                # Nobody is left to talk to, wherever the cancellation or the crash struck.
                room.accepting = False
                room.reason = reason
                await self._disperse(reason)
        finally:
            room.uncount()
            self.on_gone(room.id)

    async def _restore(self) -> None:
        room, settings = self.room, self.room.settings
        with store_trouble():
            restored = await room.store.load(room.id, recent_syncs=settings.recent_syncs)
            if not isinstance(restored, Restored):
                raise TypeError(f"load returned {restored!r:.80}")
            if settings.max_log is not None:
                room.log_bytes = await room.store.size(room.id)
            if not isinstance(restored.head, bytes) or len(restored.head) not in (0, HEAD_SIZE):
                raise TypeError(f"load returned {restored.head!r:.80} as the head of the chain")
        room.log = OpLog(settings.tail_bytes, settings.recent_syncs, room.incarnation)
        snapshot_seq = 0
        try:
            behaviour = room.behaviour = self.make_behaviour()
            room.serves_snapshots = bool(behaviour.serves_snapshots)
            if restored.snapshot is not None:
                snapshot_seq = restored.snapshot.seq
                restore_state(behaviour, restored.snapshot.state)
            for number, logged in enumerate(restored.ops, start=1):
                seq = snapshot_seq + number
                behaviour.fold(logged.op, Stamp(seq, logged.time, logged.by))
                if not number % FOLDED_AT_ONCE:
                    await trio.lowlevel.checkpoint()
            room.log.restore(restored)
        except Exception as error:
            _log.exception("gathering can't be restored", extra=room.names())
            raise GatheringCrashed(f"gathering {room.id} can't be restored") from error
        room.count_tail()
        room.opened_at = trio.current_time()
        room.deadline = IdleDeadline(settings.idle_timeout, settings.empty_timeout, room.opened_at)
        if self.inheritance is not None:
            self.inheritance.apply(room)
        self.commit = Commit(room, snapshot_seq)
        self.delivery = Delivery(room)
        self.answers = Answers(room, self.delivery)
        travel = Travel(room, self.make_behaviour)
        self.requests = Requests(room, self.delivery, self.answers, self.refreshes, travel)

    async def _live(self) -> DispersalReason:
        """Process messages until the deadline passes or somebody says `end`."""
        room, inbox, log = self.room, self.room.inbox, self.room.log
        commit, requests, delivery = self.commit, self.requests, self.delivery
        while True:
            with trio.move_on_at(min(room.deadline.at, commit.retry_at)) as room.scope:
                while True:
                    if commit.is_under_way:
                        await commit.wait()
                        self._finish_commit()
                    elif not inbox.waiting and room.reason is None:
                        await inbox.wait()
                    if inbox.waiting and not delivery.batch:
                        self._turn()
                    if commit.is_under_way:
                        continue
                    if log.seq > log.committed or room.reason is not None:
                        break
                    if requests.awaits_lookup or delivery.batch:
                        break
                    if inbox.waiting:
                        await trio.lowlevel.checkpoint()
            # It may wait for long only here, outside the scope: the deadline never interrupts
            # what is being processed.
            await commit.wait()
            if commit.is_over:
                self._finish_commit()
            if delivery.batch:
                await delivery.bring_the_rest()
                log.trim()
                if log.added - room.counted_at > UNCOUNTED:
                    room.count_tail()
            if requests.awaits_lookup:
                await requests.look_up()
            elif commit.is_due:
                await commit.make()
                self._finish_commit()
            elif inbox.waiting:
                await trio.lowlevel.checkpoint()
            elif room.reason is not None:
                return room.reason
            elif trio.current_time() >= room.deadline.at:
                if self.answers.reading:
                    await inbox.wait()
                    continue
                await self._hear_out()
                # The point of no return: no checkpoint since this look at the inbox.
                if self._is_over():
                    room.accepting = False
                    empty = room.deadline.is_empty_case
                    return DispersalReason.EMPTY if empty else DispersalReason.IDLE

    def _is_over(self) -> bool:
        """Whether the deadline has passed, and nothing is left to be done."""
        room = self.room
        if room.inbox.waiting or room.reason is not None or self.answers.reading:
            return False
        return trio.current_time() >= room.deadline.at

    async def _hear_out(self) -> None:
        """Take in what reached this host before the deadline and wasn't read yet.

        A timer fires when it can, which may be late (a pause of the machine, a slow fold), and
        in the same turn in which a message becomes readable. Where it's late, a message that had
        begun to arrive is waited for, too, for a moment.
        """
        if not is_late(self.room.deadline.at):
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
        for number, client in enumerate(tuple(self.room.clients.values()), start=1):
            while client.read_arrived() and not self.room.inbox.waiting:
                await trio.lowlevel.checkpoint()
            if self.room.inbox.waiting:
                # That's enough to live on, for now.
                return False
            is_receiving = is_receiving or client.receiving > 0
            if not number % CROWD:
                await trio.lowlevel.checkpoint()
        return is_receiving

    def _turn(self) -> None:
        """Process what has arrived, without a checkpoint."""
        taken = counted = 0
        room, inbox, log = self.room, self.room.inbox, self.room.log
        requests, answers = self.requests, self.answers
        limit = answers.spent + log.added + TURN_COST
        messages = inbox.waiting[:TURN_LIMIT]
        is_full = False
        try:
            for sender, request in messages:
                self._processing = sender
                taken += 1
                counted += requests.process(sender, request)
                if isinstance(sender, Client):
                    # As `sender.processed()`, which would cost a crowd's acknowledgements more.
                    sender.waiting -= 1
                    if not sender.waiting:
                        sender.cost = 0
                        sender.fills_turns = False
                    if sender.space is not None:
                        sender.make_space()
                if answers.spent + log.added > limit:
                    is_full = True
                    break
        except LookupNeeded:
            taken -= 1
            requests.prepare_lookup(
                (sender.scope, request.id)
                for sender, request in messages[taken:]
                if isinstance(request, Sync)
            )
        except Exception:
            if isinstance(request, Sync):
                room.suspects = ((sender.scope, request.id),)
            raise
        finally:
            # Also when the behaviour raises: the rest is for the next incarnation.
            if inbox.cost:
                inbox.relieve(taken)
            del inbox.waiting[:taken]
            inbox.taken += taken
        self._processing = None
        if is_full and taken <= HEAVY and inbox.waiting:
            self._put_behind(sender)
        now = trio.current_time()
        if counted:
            room.processed += counted
            room.deadline.processed(now)
        if room.trouble is None and log.seq > log.committed:
            if self.commit.begin():
                self._committed(now)
        elif log.seq == log.committed:
            answers.give(now)

    def _put_behind(self, sender: Sender) -> None:
        """Let others come before what else this sender has said: it has filled a turn.

        It also comes after those who filled a turn before, and whose messages still wait. The
        messages of each sender stay in order.
        """
        if isinstance(sender, Client) and sender.waiting:
            sender.fills_turns = True
        order: tuple[list[tuple[Sender, Request]], ...] = ([], [], [])
        for one in self.room.inbox.waiting:
            who = one[0]
            fills = isinstance(who, Client) and who.fills_turns
            order[2 if who is sender else int(fills)].append(one)
        self.room.inbox.waiting = [*order[0], *order[1], *order[2]]

    # Committing.

    def _finish_commit(self) -> None:
        """Go on after a commit: all is durable, or those who asked are told that it isn't yet."""
        now = trio.current_time()
        unavailable = self.commit.finish(now)
        if unavailable is None:
            self._committed(now)
        else:
            self.answers.postpone(unavailable)

    def _committed(self, now: float) -> None:
        """Bring everybody what is durable now, and give the answers that waited for it."""
        log, delivery, terms = self.room.log, self.delivery, self.room.terms
        if terms.due < math.inf:
            # Nobody is brought what it may not read any more.
            terms.look()
        delivery.begin_batch(log.committed)
        # The batch stays in memory until all clients have been brought it.
        log.commit(trim=False)
        self.answers.give(now)
        delivery.bring_batch(now)
        if not delivery.batch:
            log.trim()
        if log.added - self.room.counted_at > UNCOUNTED:
            self.room.count_tail()

    # Coming to an end.

    async def _disperse(self, reason: DispersalReason) -> None:
        """Answer all who asked, and give the final notice."""
        room = self.room
        crashed = reason is DispersalReason.CRASHED
        lost = GatheringCrashed(f"gathering {room.id} crashed while it worked on this")
        ended = GatheringDispersed(f"gathering {room.id} has dispersed")
        self.answers.abandon(self._processing, lost if crashed else ended, ended)
        room.inbox.clear()
        now = trio.current_time()
        idle_for = now - room.deadline.last_processed_at
        notice = Dispersed(room.id, room.incarnation, reason, room.log.committed, idle_for)
        room.notice = notice
        clients = tuple(room.clients.values())
        for client in clients:
            client.was_crashed = crashed
            room.detach(client)
        grace = min(room.settings.close_grace, max(0.0, room.notice_by - now))
        await _give_notice(clients, notice, reason, grace)
        if not room.is_moved:
            _log.debug("gathering dispersed: %s", reason, extra=room.names())


async def _give_notice(
    clients: Iterable[Client], notice: Dispersed, reason: DispersalReason, grace: float
) -> None:
    """Send `notice` and a close frame to all, and wait at most `grace` seconds for the slow.

    Shielded from cancellation, so that clients hear of a shutdown, too. Those that still have
    a backlog after `grace` are cut off.
    """
    outgoing = Outgoing(notice)
    slow: list[Client] = []
    for client in clients:
        client.send(outgoing)
        client.close(reason.close_code, reason)
        if client.backlog:
            slow.append(client)
    if not slow:
        return
    with trio.move_on_after(grace, shield=True):
        async with trio.open_nursery() as nursery:
            for client in slow:
                nursery.start_soon(client.flush)
    for client in slow:
        if client.backlog:
            client.abort()
