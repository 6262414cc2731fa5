"""The gathering: one actor for one tournament, from its restore to its dispersal."""

import logging
import math
from collections.abc import Callable
from typing import ClassVar, Protocol

import trio
from attrs import define, field

from squire_gatherings._hall.acting import Acting
from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.commit import Commit
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.hearing import (
    LAST_LOOKS,
    LOOK_AGAIN,
    REST_WITHIN,
    has_nothing_to_say,
    hear_out,
    hear_the_last,
    is_over,
)
from squire_gatherings._hall.inbox import JoinRequest, Request
from squire_gatherings._hall.inheritance import Inheritance, follow
from squire_gatherings._hall.notice import conclude, flush, give_notice, tell
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.requests import Requests
from squire_gatherings._hall.restoring import restore, restore_trouble
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.turns import take_turn
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import (
    LogDeleted,
    StoreUnavailable,
    TakenAway,
)
from squire_gatherings._values.messages import Ack, Fetch, Leave, Sync
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.outgoing import Outgoing

_log = logging.getLogger(__name__)

UNCOUNTED = 4096
"""About how many bytes may be added to the log until its ops in memory are counted again."""

SLEEP_LATER = 1.0
"""One that is to fall asleep, and isn't at rest, looks again after so many seconds; or after"""
EVICT_LATER = 0.05
"""so many, if somebody waits for that."""


class Sleep(Protocol):
    """What is done when a gathering falls asleep, or wakes."""

    def lay_down(self, gathering: "Gathering") -> bool:
        """Let it sleep; return whether it does."""
        ...

    def woke(self, gathering: "Gathering") -> None:
        """It is restored."""
        ...

    def not_restored(self, gathering: "Gathering", why: StoreUnavailable) -> None:
        """It can't be restored now."""
        ...

    def strike(self, gathering: "Gathering") -> None:
        """Have the store forget that it sleeps."""
        ...

    async def struck(self, gathering: "Gathering") -> None:
        """Return when the store has. Raises `StoreUnavailable`."""
        ...


@define(eq=False, weakref_slot=False)
class Gathering:
    """The task of one incarnation: restores its room, processes what arrives, and ends it."""

    make_delivery: ClassVar[type[Delivery]] = Delivery
    make_answers: ClassVar[type[Answers]] = Answers
    make_requests: ClassVar[type[Requests]] = Requests
    room: Room
    make_behaviour: Callable[[], Behaviour]
    on_gone: Callable[[str], None]
    """Called with the gathering's id when nothing is left to do."""
    refreshes: Refreshes
    inheritance: Inheritance | None = None
    """What it goes on with, if another process has begun it."""
    sleep: Sleep | None = None
    """What is done when it falls asleep, or wakes; None where none sleeps."""
    delivery: Delivery = field(init=False)
    commit: Commit = field(init=False)
    answers: Answers = field(init=False)
    requests: Requests = field(init=False)
    _makes_rules: bool = False
    """Whether its behaviour says by which rules it ends."""
    _acting: Acting | None = None
    """What its behaviour does by itself."""
    _notice_at: float = 0.0
    _slow: list[Client] | None = None
    """Those to whom the notice couldn't be sent at once."""

    # From its opening to its end.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Restore the room, call `task_status.started()`, process what arrives, and disperse.

        One that has slept is restored only if somebody wants something of its log. It may fall
        asleep (again): then this returns without a trace.

        Raises:
            StoreUnavailable: It can't be restored now.
            GatheringCrashed: Its behaviour can't be restored. A later crash isn't raised: it ends
                in a notice and a log entry.

        Cancellation: before `started`, it ends without a trace. Afterwards clients get a notice
            with reason `shutdown` first, within `close_grace`.
        """
        room = self.room
        try:
            if not room.is_resting:
                room.enter(Stage.OPENING)
                await self._restore()
                if room.life is not None:
                    await room.life.opened(room.log.seq)
                else:
                    # See `Registry.start`: one whose caller has just gone isn't opened.
                    await trio.lowlevel.checkpoint_if_cancelled()
            reason = DispersalReason.SHUTDOWN
            try:
                async with trio.open_nursery() as room.nursery:
                    if room.is_resting:
                        await self._come_round()
                    else:
                        room.accepting = True
                        room.enter(Stage.OPEN)
                    task_status.started()
                    # It keeps alive what `nursery.start` needed: a seventh of our whole memory.
                    del task_status
                    inheritance = self.inheritance
                    if not room.is_resting and (
                        inheritance is None or await self._wait_for_it(inheritance)
                    ):
                        reason = await self._live()
                    if room.nursery.child_tasks:
                        room.nursery.cancel_scope.cancel()
                    elif not room.is_awaited:
                        await room.turnstile.wait_to_go(room)
            except* LogDeleted as errors:
                reason = DispersalReason.ADMIN
                why = str(errors.exceptions[0])
                _log.warning("the log was changed beside us", extra=room.names() | {"why": why})
            except* TakenAway as errors:
                # Another node tells what becomes of it.
                room.quotas.tally.taken_away += 1
                reason, room.is_kept = DispersalReason.MOVED, True
                why = str(errors.exceptions[0])
                _log.warning("gathering taken away", extra=room.names() | {"why": why})
            except* Exception as errors:
                reason = DispersalReason.CRASHED
                _log.error("gathering crashed", exc_info=errors, extra=room.names())
            finally:
                # Nobody is left to talk to, wherever the cancellation or the crash struck.
                if not room.is_asleep:
                    await self._give_notice(reason)
                    if self._slow is not None:
                        grace = room.settings.close_grace
                        until = min(self._notice_at + grace, room.notice_by)
                        await flush(self._slow, until, room.quotas.tally)
        finally:
            if self._acting is not None:
                lives_on = room.is_asleep or room.is_moved or room.is_kept
                self._acting.closed(None if lives_on else room.reason)
            if not room.is_asleep:
                self._leave()
                room.enter(None)
                self.on_gone(room.id)

    def _leave(self) -> None:
        """Nothing is left of it in memory, and with what all share."""
        room = self.room
        room.scope = None
        room.turnstile.forget(room)
        room.uncount()

    async def _restore(self) -> None:
        """Restore the state from the store."""
        if self._acting is not None:
            # An earlier attempt got as far as that.
            self._acting.closed(None)
        room, settings = self.room, self.room.settings
        snapshot_seq = await restore(room, self.make_behaviour)
        with restore_trouble(room):
            self._makes_rules = hasattr(room.behaviour, "end_rules")
            if self._makes_rules:
                room.ask_for_rules()
            self._acting = Acting.of(room)
            if self._acting is not None and self.inheritance is None:
                self._acting.opened()
        now = trio.current_time()
        if not room.is_resting:
            room.deadline = Deadline(room.given.rules, now, now)
            if settings.sleep_after is not None:
                room.deadline.sleep_after = settings.sleep_after
        if self.inheritance is not None:
            self.inheritance.apply(room)
        else:
            room.begun()
        self.commit = Commit(room, snapshot_seq)
        self._prepare()
        self.requests = self.make_requests(
            room, self.delivery, self.answers, self.refreshes, self.make_behaviour
        )

    def _prepare(self) -> None:
        """Make what gives answers."""
        self.delivery = self.make_delivery(self.room)
        self.answers = self.make_answers(self.room, self.delivery)

    # In place of an opening: it goes on where another process was.

    def follow(self, inheritance: Inheritance) -> bool:
        """Be where another process is by now that still has this incarnation.

        Returns:
            False if it can't, as ops are missing: then it must be restored anew.

        Raises:
            GatheringCrashed: Its behaviour can't follow.
        """
        room = self.room
        with restore_trouble(room):
            if not follow(room, inheritance.state):
                return False
            if self._makes_rules:
                room.ask_for_rules()
        self.inheritance = inheritance
        inheritance.apply(room)
        return True

    async def _wait_for_it(self, inheritance: Inheritance) -> bool:
        """Wait until the incarnation is ours, and somebody says something or wakes it.

        Returns:
            Whether it is. If not, it is to end.
        """
        room = self.room
        while not inheritance.is_ours:
            if room.reason is not None:
                return False
            await room.inbox.wait()
            # It may have followed the other process meanwhile.
            inheritance = self.inheritance or inheritance
        self.inheritance = None
        room.begun()
        if self._acting is not None:
            self._acting.opened()
        for client in tuple(room.clients.values()):
            room.terms.add(client)
            self.delivery.resume(client)
        return True

    async def _live(self) -> DispersalReason:
        """Process messages until the deadline passes or somebody says `end`; give notice then.

        Where nothing is processed for long, it falls asleep instead, and the return means nothing.
        """
        room, inbox, log = self.room, self.room.inbox, self.room.log
        commit, requests, delivery = self.commit, self.requests, self.delivery
        turnstile, acting = room.turnstile, self._acting
        if acting is not None:
            acting.plan()
        looks = LAST_LOOKS
        while True:
            room.look()
            due = min(room.deadline.next_at, commit.retry_at)
            with trio.move_on_at(turnstile.enter(room, due)) as room.scope:
                while True:
                    nothing_to_do = not inbox.waiting and room.reason is None
                    if (commit.is_under_way or nothing_to_do) and await inbox.wait(self):
                        break
                    if self.advance():
                        continue
                    if self._leaves_scope():
                        break
                    await trio.lowlevel.checkpoint()
            room.scope = None
            turnstile.leave(room)
            # It may wait for long only here, outside the scope: the deadline never interrupts
            # what is being processed.
            await self._settle()
            if delivery.batch:
                await delivery.bring_the_rest()
                if delivery.batch:
                    continue
                log.trim()
                if log.added - room.counted_at > UNCOUNTED:
                    room.count_tail()
            if requests.awaits_lookup:
                await requests.look_up()
            elif commit.is_due:
                await commit.make()
                await self._settle()
            elif room.reason is not None and not inbox.waiting:
                return await self._part(room.reason)
            elif acting is not None and acting.is_due:
                if room.quotas.is_leaving:
                    await trio.sleep(LOOK_AGAIN)
                else:
                    self._turn()
            elif room.accepting and room.is_due() and room.deadline.is_final:
                looks = await hear_the_last(room, self.answers, looks)
                if not looks:
                    # The point of no return. What is in the inbox is still processed.
                    rule = self._rule()
                    room.end(rule)
                    if not inbox.waiting:
                        return await self._part(rule)
            elif inbox.waiting:
                await trio.lowlevel.checkpoint()
            elif not room.is_due():
                room.warn_if_due()
                looks = LAST_LOOKS
                if trio.current_time() >= room.deadline.sleep_at and self._falls_asleep():
                    return DispersalReason.SHUTDOWN
            elif self.answers.reading:
                await inbox.wait()
            else:
                ended_by = await self._part_unless_heard()
                if ended_by is not None:
                    return ended_by

    async def _part(self, reason: DispersalReason) -> DispersalReason:
        with self.room.turnstile.turn(self.room):
            await self._give_notice(reason)
        return reason

    async def _part_unless_heard(self) -> DispersalReason | None:
        """Hear everybody out, and give notice if nobody says anything.

        Returns:
            The rule that has ended it; None if it isn't over.
        """
        give_up_at = trio.current_time() + REST_WITHIN
        while True:
            with self.room.turnstile.turn(self.room):
                is_receiving = await hear_out(self.room)
                # The point of no return: no checkpoint between this look and the notice.
                if not is_over(self.room, self.answers) or not self.room.may_show:
                    return None
                if not is_receiving or trio.current_time() >= give_up_at:
                    # The program may have changed the rules meanwhile.
                    rule = self._rule()
                    await self._give_notice(rule)
                    return rule
            # Others have their turns meanwhile.
            await trio.sleep(LOOK_AGAIN)

    def _rule(self) -> DispersalReason:
        """Return the rule that ends it."""
        rule = self.room.deadline.which
        assert rule is not None
        return rule

    # Falling asleep, and coming round.

    def at_work(self) -> str | None:
        """Return what is under way, so that it can't sleep or go on elsewhere; None if nothing."""
        room, commit, answers = self.room, self.commit, self.answers
        if room.trouble is not None:
            return f"the store doesn't take what was added to gathering {room.id}"
        if (
            room.inbox.waiting
            or room.log.seq != room.log.committed
            or commit.is_under_way
            or commit.is_over
            or self.delivery.batch is not None
            or answers.deferred
            or answers.reading
            or self.requests.awaits_lookup
            or room.callers
        ):
            return f"gathering {room.id} is at work"
        return None

    def _falls_asleep(self) -> bool:
        """Fall asleep if nothing is under way; otherwise look again later. No checkpoint."""
        room, deadline = self.room, self.room.deadline
        committed = room.log.committed
        if (
            self.sleep is not None
            and room.reason is None
            and len(room.nursery.child_tasks) == self.delivery.retries
            and self.at_work() is None
            and all(client.is_at_rest(committed) for client in room.clients.values())
            and self.sleep.lay_down(self)
        ):
            return True
        later = EVICT_LATER if deadline.sleep_after == -math.inf else SLEEP_LATER
        deadline.awake_to = trio.current_time() + later
        return False

    def fall_asleep(self) -> None:
        """It has: what is in memory goes."""
        room = self.room
        room.is_resting = room.is_asleep = True
        room.accepting = False
        self._leave()
        room.clients = {}

    async def _come_round(self) -> None:
        """Go on after a sleep: be restored, if somebody wants something of the log; end, if it is
        time; or sleep on."""
        room, inbox, sleep = self.room, self.room.inbox, self.sleep
        assert sleep is not None
        self._prepare()
        looks, is_struck = LAST_LOOKS, room.lease is None
        while True:
            if room.lease is not None:
                await self._hold_on()
            if not is_struck and self._ends_asleep():
                is_struck = await self._is_struck(sleep)
            elif inbox.waiting or (room.is_called and room.accepting and not room.is_due()):
                if await self._is_restored_again(sleep):
                    return
            elif room.reason is not None:
                await self._part(room.reason)
                return
            elif not room.is_due():
                room.warn_if_due()
                if sleep.lay_down(self):
                    return
                await trio.lowlevel.checkpoint()
            elif room.deadline.is_final:
                looks = await hear_the_last(room, self.answers, looks)
                if not looks:
                    room.end(self._rule())
            elif await self._part_unless_heard() is not None:
                return

    def _ends_asleep(self) -> bool:
        """Whether it is to end now without being restored."""
        room = self.room
        if room.inbox.waiting or room.is_kept:
            return False
        return room.reason is not None or (room.is_due() and not room.is_called)

    async def _is_struck(self, sleep: Sleep) -> bool:
        """Have the store forget that it sleeps, so that no other node goes on with it after its end
        was told; return whether that is done, or wait a moment."""
        sleep.strike(self)
        try:
            await sleep.struck(self)
        except StoreUnavailable:
            with trio.move_on_after(self.room.settings.commit_retry_interval):
                await self.room.inbox.wait()
            return False
        return True

    async def _is_restored_again(self, sleep: Sleep) -> bool:
        """Restore the state, and return whether that is done. The end comes before, if nobody has
        said anything that may put it off."""
        room, inbox = self.room, self.room.inbox
        try:
            with trio.move_on_at(math.inf if inbox.waiting else room.deadline.at) as scope:
                sleep.strike(self)
                await self._restore()
                await sleep.struck(self)
        except StoreUnavailable as error:
            room.is_called = False
            self._put_all_off(error)
            sleep.not_restored(self, error)
            return False
        if scope.cancelled_caught:
            return False
        room.is_resting = room.is_called = False
        room.deadline.awake_to = trio.current_time() + room.deadline.sleep_after
        room.enter(Stage.OPEN)
        sleep.woke(self)
        return True

    def _put_all_off(self, error: StoreUnavailable) -> None:
        """Tell all whose messages wait that these can't be processed now."""
        inbox = self.room.inbox
        waiting = tuple(inbox.waiting)
        inbox.clear()
        for sender, request in waiting:
            self._put_off(sender, request, error)

    def _refuse_all(self) -> None:
        """Put all off: the gathering may be another node's. Whoever asks uses it all the same."""
        room = self.room
        asked = [one for one in room.inbox.waiting if _is_use(one[1])]
        self._put_all_off(StoreUnavailable(f"gathering {room.id} may be another node's"))
        if asked:
            sender, request = asked[-1]
            room.processed += len(asked)
            room.used(trio.current_time(), request.__class__, sender.identity.user)

    def _put_off(self, sender: Sender, request: Request, error: StoreUnavailable) -> None:
        """Tell a sender that a message can't be processed now, if it needs the log."""
        if isinstance(sender, Client):
            sender.processed()
            if isinstance(request, Leave):
                sender.leaving = True
                self.room.let_go(sender)
        if not isinstance(request, Ack | Leave):
            sender.fail(error, getattr(request, "id", None))

    # Processing.

    @property
    def scope(self) -> trio.CancelScope | None:
        """See `Sleeping`."""
        return self.room.scope

    @property
    def is_committing(self) -> bool:
        """See `Sleeping`."""
        return self.commit.is_under_way

    def advance(self) -> bool:
        """Take what a commit came to, and process what has arrived, without a checkpoint.

        Returns:
            Whether nothing is left to do but to wait: for messages, or for a commit.
        """
        room, commit = self.room, self.commit
        if not commit.is_under_way:
            if commit.is_over:
                self._finish_commit()
            if room.inbox.waiting and self.delivery.batch is None:
                self._turn()
        return commit.is_under_way or not (room.inbox.waiting or self._leaves_scope())

    def _leaves_scope(self) -> bool:
        """Whether something is to be done that may take long, outside the scope of the deadline."""
        room, log = self.room, self.room.log
        if log.seq > log.committed or room.reason is not None:
            return True
        return self.requests.awaits_lookup or self.delivery.batch is not None

    def _turn(self) -> None:
        """Process what has arrived, without a checkpoint, and begin to commit what came of it."""
        room, log = self.room, self.room.log
        if room.lease is not None and not room.may_show:
            self._refuse_all()
            if room.lease.is_lost:
                room.end(DispersalReason.MOVED)
            return
        if self._acting is not None:
            self._acting.act_if_due()
        moved = take_turn(room, self.requests, self.answers)
        now = trio.current_time()
        if moved is not None:
            counted, mover, what = moved
            room.processed += counted
            room.used(now, what.__class__, mover.identity.user)
        if room.trouble is None and log.seq > log.committed:
            if self._makes_rules or self._acting is not None:
                self._folded()
            if self.commit.begin(now):
                self._committed(now)
        elif log.seq == log.committed:
            self.answers.give(now)

    # Committing.

    async def _settle(self) -> None:
        """Return when no commit is under way, and what the last one came to has been told."""
        commit = self.commit
        await commit.wait()
        if self.room.lease is not None:
            if commit.has_failed:
                self._finish_commit()
            await self._hold_on()
        if commit.is_over:
            self._finish_commit()

    async def _hold_on(self) -> None:
        """Wait until it is certain again that no other node has the gathering.

        Whoever asks for something meanwhile is told that it can't be done now.

        Raises:
            TakenAway: Another node has it, or it is to end and nobody knows.
        """
        room = self.room
        while not room.may_show:
            if room.lease is None or room.lease.is_lost or room.reason is not None:
                raise TakenAway(f"gathering {room.id} may be another node's")
            self._refuse_all()
            await room.inbox.wait()

    def _finish_commit(self) -> None:
        """Go on after a commit: all is durable, or those who asked are told that it isn't yet.

        Nothing is done while it isn't certain that the gathering is ours: `_settle` does it later.
        """
        if self.room.lease is not None and not (self.room.may_show or self.commit.has_failed):
            return
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
        log.commit()
        self.answers.give(now)
        delivery.bring_batch(now)
        if self._makes_rules or self._acting is not None:
            self._heed()
        if log.added > log.look_at:
            # Seldom. A batch stays in memory until all clients have been brought it.
            if not delivery.batch:
                log.trim()
            self.room.count_tail()

    def _folded(self) -> None:
        """Ask the behaviour what follows of its new state, which isn't durable yet."""
        if self._makes_rules:
            self.room.ask_for_rules()
        if self._acting is not None:
            self._acting.put_off()

    def _heed(self) -> None:
        """Do what follows of the behaviour's state, which is durable now."""
        if self._makes_rules:
            self.room.apply_rules("behaviour", None)
        if self._acting is not None:
            self._acting.plan()

    # Coming to an end.

    async def _give_notice(self, reason: DispersalReason) -> None:
        """Go beyond the point of no return. See `give_notice`; only the first call does it."""
        if self.room.notice is None:
            if not self.room.may_show:
                # Another node may have it, and tell how it ends.
                reason, self.room.is_kept = DispersalReason.MOVED, True
            self._notice_at = trio.current_time()
            fails = self._acting is not None and self._acting.is_failing
            if self.sleep is not None and self.room.is_resting and not self.room.is_kept:
                # At the moment at which the end is told: that comes into the store by itself, and
                # nobody may say later that it sleeps.
                self.sleep.strike(self)
            slow = await give_notice(self.room, self.answers, reason, is_failing=fails)
            self._slow = slow or None

    def part_at_once(self) -> Callable[[], None] | None:
        """Give notice while its task waits for messages, if it is due and at rest.

        No checkpoint. For many that are due at once: the task's turn would cost more than this.

        Returns:
            What wakes its task, which has only to go then. None if it must come to its end by
            itself: it is at work, or somebody has said something, or it can't be told yet whether
            anybody has.
        """
        room, acting = self.room, self._acting
        if (
            not room.may_show
            or not (room.accepting and room.waits and room.inbox.is_awaited)
            or (acting is not None and acting.is_due)
            or self.at_work() is not None
            or not has_nothing_to_say(room)
            or not is_over(room, self.answers)
        ):
            return None
        # The point of no return.
        self._notice_at = trio.current_time()
        fails = acting is not None and acting.is_failing
        clients = conclude(room, self.answers, self._rule(), is_failing=fails)
        assert room.notice is not None
        self._slow = tell(room, clients, Outgoing(room.notice)) or None
        return room.inbox.wake


def _is_use(request: Request) -> bool:
    """Whether a message counts as activity, though the store can't serve it."""
    if isinstance(request, JoinRequest):
        return request.is_activity
    return isinstance(request, Sync | Fetch)
