"""The gathering: one actor for one tournament; what it does with what has arrived."""

import math
from collections.abc import Callable
from typing import ClassVar, Protocol

import trio
from attrs import define, field

from squire_gatherings._hall.acting import Acting
from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.commit import Commit
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.inheritance import Inheritance, follow
from squire_gatherings._hall.putting_off import refuse_all
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.requests import Requests
from squire_gatherings._hall.restoring import restore, restore_trouble
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.turns import take_turn
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import StoreUnavailable, TakenAway

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
    """One incarnation: its parts, and what is done at each turn. `running` has its task."""

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
    makes_rules: bool = False
    """Whether its behaviour says by which rules it ends."""
    acting: Acting | None = None
    """What its behaviour does by itself."""
    notice_at: float = 0.0
    """When the notice was given."""
    slow: list[Client] | None = None
    """Those to whom the notice couldn't be sent at once."""

    async def restore(self) -> None:
        """Restore the state from the store."""
        if self.acting is not None:
            # An earlier attempt got as far as that.
            self.acting.closed(None)
        room, settings = self.room, self.room.settings
        snapshot_seq = await restore(room, self.make_behaviour)
        with restore_trouble(room):
            self.makes_rules = hasattr(room.behaviour, "end_rules")
            if self.makes_rules:
                room.ask_for_rules()
            self.acting = Acting.of(room)
            if self.acting is not None and self.inheritance is None:
                self.acting.opened()
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
        self.prepare()
        self.requests = self.make_requests(
            room, self.delivery, self.answers, self.refreshes, self.make_behaviour
        )

    def prepare(self) -> None:
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
            if self.makes_rules:
                room.ask_for_rules()
        self.inheritance = inheritance
        inheritance.apply(room)
        return True

    # Falling asleep.

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

    def falls_asleep(self) -> bool:
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
        self.leave()
        room.clients = {}

    def leave(self) -> None:
        """Nothing is left of it in memory, and with what all share."""
        room = self.room
        room.scope = None
        room.turnstile.forget(room)
        room.uncount()

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
                self.turn()
        return commit.is_under_way or not (room.inbox.waiting or self.leaves_scope())

    def leaves_scope(self) -> bool:
        """Whether something is to be done that may take long, outside the scope of the deadline."""
        room, log = self.room, self.room.log
        if log.seq > log.committed or room.reason is not None:
            return True
        return self.requests.awaits_lookup or self.delivery.batch is not None

    def turn(self) -> None:
        """Process what has arrived, without a checkpoint, and begin to commit what came of it."""
        room, log = self.room, self.room.log
        if room.lease is not None and not room.may_show:
            refuse_all(room)
            if room.lease.is_lost:
                room.end(DispersalReason.MOVED)
            return
        if self.acting is not None:
            self.acting.act_if_due()
        moved = take_turn(room, self.requests, self.answers)
        now = trio.current_time()
        if moved is not None:
            counted, mover, what = moved
            room.processed += counted
            room.used(now, what.__class__, mover.identity.user)
        if room.trouble is None and log.seq > log.committed:
            if self.makes_rules or self.acting is not None:
                self._folded()
            if self.commit.begin(now):
                self._committed(now)
        elif log.seq == log.committed:
            self.answers.give(now)

    # Committing.

    async def settle(self) -> None:
        """Return when no commit is under way, and what the last one came to has been told."""
        commit = self.commit
        await commit.wait()
        if self.room.lease is not None:
            if commit.has_failed:
                self._finish_commit()
            await self.hold_on()
        if commit.is_over:
            self._finish_commit()

    async def hold_on(self) -> None:
        """Wait until it is certain again that no other node has the gathering.

        Whoever asks for something meanwhile is told that it can't be done now.

        Raises:
            TakenAway: Another node has it, or it is to end and nobody knows.
        """
        room = self.room
        while not room.may_show:
            if room.lease is None or room.lease.is_lost or room.reason is not None:
                raise TakenAway(f"gathering {room.id} may be another node's")
            refuse_all(room)
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
        if self.makes_rules or self.acting is not None:
            self._heed()
        if log.added > log.look_at:
            # Seldom. A batch stays in memory until all clients have been brought it.
            if not delivery.batch:
                log.trim()
            self.room.count_tail()

    def _folded(self) -> None:
        """Ask the behaviour what follows of its new state, which isn't durable yet."""
        if self.makes_rules:
            self.room.ask_for_rules()
        if self.acting is not None:
            self.acting.put_off()

    def _heed(self) -> None:
        """Do what follows of the behaviour's state, which is durable now."""
        if self.makes_rules:
            self.room.apply_rules("behaviour", None)
        if self.acting is not None:
            self.acting.plan()
