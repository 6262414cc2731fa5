"""Requests: what a gathering does with each kind of message."""

from collections.abc import Callable, Iterable
from functools import partial

import trio
from attrs import define
from msgspec import UNSET

from squire_gatherings._hall.admission import let_in
from squire_gatherings._hall.answers import ENTRY_COST, Answers, Deferred, show
from squire_gatherings._hall.clients import Caller, Client, Sender
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.inbox import JoinRequest, Request
from squire_gatherings._hall.lookup import SyncLookup
from squire_gatherings._hall.proving import is_unproven, read_proof
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.travel import Travel
from squire_gatherings._rules.behaviour import Behaviour, Submission, judge_and_fold
from squire_gatherings._rules.op_log import fingerprint
from squire_gatherings._rules.places import is_full
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._rules.sync_ids import LookupNeeded, SyncKey
from squire_gatherings._values.errors import (
    BadBase,
    BadRequest,
    Forbidden,
    GatheringsError,
    LogFull,
    OpConflict,
    OpRejected,
    StoreUnavailable,
    TooBig,
    Unauthorized,
)
from squire_gatherings._values.log import Shown, SyncRecord
from squire_gatherings._values.messages import (
    Ack,
    Conflict,
    Fetch,
    Fetched,
    Leave,
    PresenceUpdate,
    Refresh,
    Sync,
    Synced,
)
from squire_gatherings._values.text import sayable

WHOLE = 2**62
"""A number of bytes that is no limit."""

REFUSED = 2
"""A wrong request counts as so many frames that say nothing."""

REPEATED = 1
COST_OF_A_FRAME = 1024
"""A repeated sync counts as one such frame, and one more for so many bytes that take as long."""


@define(eq=False, weakref_slot=False)
class Requests:
    """Processes the messages of one incarnation."""

    room: Room
    delivery: Delivery
    answers: Answers
    refreshes: Refreshes
    make_behaviour: Callable[[], Behaviour]
    awaits_lookup: bool = False
    """Whether a message waits for what `look_up` finds, or does."""
    _is_first_join: bool = False
    _lookup: SyncLookup | None = None
    """Made when it is needed first; most gatherings never need it."""

    def process(self, sender: Sender, request: Request) -> bool:
        """Process one message; return whether it counts as activity.

        Raises:
            LookupNeeded: The store must be asked first; nothing was done.
            FirstJoin: The store must be told first; nothing was done.
        """
        if sender.identity.expires_at is not None and self.room.terms.have_ended(sender):
            self._refuse(sender, request)
            return False
        try:
            if isinstance(request, Sync):
                return self._sync(sender, request)
            if isinstance(request, Ack):
                return self._ack(sender, request)
            if isinstance(request, Fetch):
                return self._fetch(sender, request)
            if isinstance(request, JoinRequest):
                return let_in(self.room, self.answers, self.delivery, sender, request)
            if isinstance(request, Leave):
                return self._leave(sender)
            if isinstance(request, Refresh):
                return self._refresh(sender, request)
            if isinstance(request, PresenceUpdate):
                return self._presence(sender, request)
            raise BadRequest(f"unexpected {type(request).__name__}")
        except GatheringsError as error:
            sender.fail(error, getattr(request, "id", None))
            if isinstance(request, Sync):
                self.room.quotas.tally.syncs[error.code] += 1
                self.answers.spent += _cost(request)
            if not isinstance(error, OpRejected | StoreUnavailable):
                sender.wasted(REFUSED)
            return isinstance(error, OpRejected | StoreUnavailable)

    def prepare_lookup(self, keys: Iterable[SyncKey]) -> None:
        """Choose which of these syncs to `look_up` in the store."""
        if self._lookup is None:
            room = self.room
            self._lookup = SyncLookup(room.id, room.store, room.log.syncs)
        self._lookup.prepare(keys)
        self.awaits_lookup = True

    def prepare_first_join(self) -> None:
        """Somebody is to be let in first: have `look_up` tell it to the store before."""
        self.awaits_lookup = self._is_first_join = True

    async def look_up(self) -> None:
        """Ask the store about the syncs that were prepared, or tell it of a first join.

        Cancellation: they must be prepared again.
        """
        self.awaits_lookup = False
        if self._is_first_join:
            self._is_first_join = False
            assert self.room.life is not None
            await self.room.life.admit()
            return
        assert self._lookup is not None
        await self._lookup.look_up()

    # Those whose rights end.

    def _refuse(self, sender: Sender, request: Request) -> None:
        """Serve a sender whose rights have ended: it may renew them, say what it has, or leave."""
        try:
            if isinstance(request, Refresh):
                self._refresh(sender, request)
            elif isinstance(request, Ack):
                self._ack(sender, request)
            elif isinstance(request, Leave):
                if isinstance(sender, Client):
                    # It is owed no answer that could still be given.
                    sender.held = None
                    self._let_go(sender)
            else:
                raise Unauthorized("its rights have ended")
        except GatheringsError as error:
            sender.fail(error, getattr(request, "id", None))
            sender.wasted(REFUSED)

    # One method for each kind of message.

    def _refresh(self, sender: Sender, refresh: Refresh) -> bool:
        if isinstance(sender, Client) and sender.attached:
            self.refreshes.begin(self.room, self.delivery, sender, refresh)
        return False

    def _presence(self, sender: Sender, update: PresenceUpdate) -> bool:
        presence = self.room.presence
        if presence is None:
            raise Forbidden("nobody is told here who is present")
        if isinstance(sender, Client) and sender.attached:
            presence.said(self.room.id, sender, update.state)
        return False

    def _ack(self, sender: Sender, ack: Ack) -> bool:
        if not isinstance(sender, Client) or not sender.attached:
            return False
        if ack.seq > self.room.log.committed:
            raise BadBase(f"ack of {ack.seq}, but the last op is {self.room.log.committed}")
        if ack.seq <= sender.acked:
            sender.wasted(1)
        sender.acked = max(sender.acked, ack.seq)
        self.delivery.acknowledged(sender, ack.seq, trio.current_time())
        return True

    def _leave(self, sender: Sender) -> bool:
        if isinstance(sender, Client) and not sender.leaving:
            # What it asked before is answered before, also where that waits for the store.
            log = self.room.log
            if self.room.trouble is not None or log.seq == log.committed:
                self._let_go(sender)
            else:
                let_go = partial(self._let_go, sender)
                self.answers.put_off(Deferred(sender, None, let_go, False, is_leave=True))
        return True

    def _let_go(self, client: Client, _: float = 0.0) -> None:
        client.leaving = True
        self.room.let_go(client)

    def _fetch(self, sender: Sender, fetch: Fetch) -> bool:
        if isinstance(sender, Client) and not sender.attached:
            return False
        if fetch.at is not None or fetch.at_time is not None:
            if fetch.at is not None and fetch.at_time is not None:
                raise BadRequest("a fetch has `at` or `at_time`, not both")
            travel = Travel(self.room, self.make_behaviour)
            fetched_then = partial(travel.fetched, self.answers, sender, fetch)
            self.answers.from_store(sender, fetch.id, fetched_then)
        elif sender.proof and is_unproven(self.room):
            self.answers.from_store(sender, fetch.id, partial(self._prove, sender, fetch))
        else:
            self._fetch_now(sender, fetch)
        return True

    async def _prove(self, sender: Sender, fetch: Fetch) -> None:
        await read_proof(self.room)
        self.room.check_may_show()
        self._fetch_now(sender, fetch)

    def _fetch_now(self, sender: Sender, fetch: Fetch) -> None:
        seq = self.answers.visible
        since = fetch.since
        if since is None and self.room.serves_snapshots:
            fetched = Fetched(
                fetch.id,
                seq,
                snapshot=self.answers.snapshot(),
                epoch=self.answers.epoch(seq),
                proof=self.answers.proof(sender),
            )
            self.answers.defer(sender, fetch.id, lambda _: show(sender, fetch.id, fetched))
            return
        since = since or 0
        self.room.log.check_seq(since, "since")
        first_seq = self.room.log.first_seq
        beginning = first_seq if since < first_seq - 1 else UNSET
        self.answers.with_ops(
            sender,
            fetch.id,
            max(since, first_seq - 1),
            seq,
            lambda shown: Fetched(
                fetch.id,
                seq,
                first_seq=beginning,
                proof=self.answers.proof(sender),
                **self.answers.fields(sender, shown),
            ),
        )

    def _sync(self, sender: Sender, sync: Sync) -> bool:
        room, log = self.room, self.room.log
        scope = sender.scope
        key = (scope, sync.id)
        try:
            record = log.syncs.find(key)
        except LookupNeeded:
            if self._lookup is None:
                raise
            record = self._lookup.answer(key)
        if record is not None:
            log.same(record, sync)
            if room.trouble is not None and record.first_seq > log.committed:
                raise StoreUnavailable(f"kept, but not durable yet: {room.trouble}")
            cost = _cost(sync)
            self.answers.spent += cost
            sender.wasted(REPEATED + cost // COST_OF_A_FRAME)
            self._repeat(sender, sync, record)
            room.quotas.tally.syncs["repeated"] += 1
            return True
        # It may have changed since the gathering was opened, and holds for all.
        most = room.quotas.settings.max_ops
        if len(sync.ops) > most:
            raise TooBig(f"a sync has at most {most} ops, not {len(sync.ops)}")
        if not sender.identity.may_submit:
            # Somebody that might submit before is answered above what it submitted then.
            raise Forbidden(f"{sender.identity.role}s may not submit ops")
        if room.trouble is not None:
            raise StoreUnavailable(f"not taken, try again: {room.trouble}")
        if room.refused and key in room.refused:
            raise OpRejected("the gathering crashed over this sync; it isn't taken again")
        seq = log.seq
        if room.log_is_limited:
            self._check_size(sync)
        base = seq if sender.at_end else sync.base
        if base < seq:
            # If all that came since is its own, sent before this one, nothing is stale.
            if scope == log.author and base + 1 >= log.author_from and sender.number:
                base = seq
        elif base > seq:
            log.check_seq(base, "base")
        # What is committed together has one time, which never goes back.
        time = log.time
        if seq == log.committed and (now := round(room.terms.wall() * 1000)) > time:
            time = now
        identity = sender.identity
        try:
            submission = Submission(identity, base, seq, time)
            ops = judge_and_fold(room.behaviour, sync.ops, submission)
        except OpConflict as conflict:
            self._conflict(sender, sync, base, conflict)
            room.quotas.tally.syncs[conflict.code] += 1
            return True
        log.add(ops, key=key, mark=fingerprint(sync.ops), by=identity.user, time=time)
        if room.log_is_limited:
            room.log_bytes += sum(len(op.json) for op in ops)
        seqs = range(seq + 1, log.seq + 1)
        said = time if sender.extras.times else UNSET
        logged = UNSET if ops is sync.ops or ops == sync.ops else ops
        answer = Synced(sync.id, tuple(seqs), logged, said)
        # It isn't durable yet, so it's never answered at once.
        # As `Answers.put_off`, which would cost each sync a call.
        deferred = self.answers.deferred
        if deferred:
            deferred.append(Deferred(sender, sync.id, answer, True, seqs))
        else:
            self.answers.deferred = [Deferred(sender, sync.id, answer, True, seqs)]
        return True

    def _check_size(self, sync: Sync) -> None:
        """Check that the log takes so many more ops, and bytes. Raises `LogFull`."""
        room, settings = self.room, self.room.settings
        why = None
        count = room.log.seq + 1 - room.log.first_seq
        if is_full(count + len(sync.ops) - 1, settings.max_log_ops):
            limit = Limit.LOG_OPS
            why = f"the log has {count} ops and takes at most {settings.max_log_ops}"
        elif settings.max_log is not None:
            limit = Limit.LOG_BYTES
            if room.log_bytes + sum(len(op.json) for op in sync.ops) > settings.max_log:
                why = f"the log has {room.log_bytes} bytes and takes at most {settings.max_log}"
        if why is not None:
            room.quotas.enforced(limit, why, gathering=room.id)
            raise LogFull(why)

    def _repeat(self, sender: Sender, sync: Sync, record: SyncRecord) -> None:
        """Answer a sync that was applied before as it was answered then.

        Ops that only the store has aren't read for the answer. It stands for no op then, and the
        ops that the client lacks are forwarded before it.
        """
        log = self.room.log
        seqs = range(record.first_seq, record.first_seq + record.count)
        answer = Synced(sync.id, tuple(seqs))
        stands_for = range(seqs.stop, seqs.stop)
        if seqs.start >= log.tail_start:
            stands_for = seqs
            logged = log.slice(seqs.start - 1, seqs.stop - 1, WHOLE, most=len(seqs))
            ops = tuple(one.op for one in logged)
            time = logged[-1].time if sender.extras.times else UNSET
            answer = Synced(sync.id, tuple(seqs), UNSET if ops == sync.ops else ops, time)

        def give(now: float) -> None:
            # The client is brought ops from before its join: the answer stands for none of them.
            if isinstance(sender, Client) and seqs.stop - 1 > sender.joined_at:
                self.delivery.synced(sender, stands_for, answer, now)
            else:
                sender.answer(answer)

        self.answers.defer(sender, sync.id, give, keep=True)

    def _conflict(self, sender: Sender, sync: Sync, base: int, conflict: OpConflict) -> None:
        if isinstance(sender, Caller):
            self.answers.defer(sender, sync.id, lambda _: sender.fail(conflict))
            return
        seq = self.answers.visible
        why = sayable(conflict)

        def make(shown: Shown) -> Conflict:
            return Conflict(sync.id, seq, message=why, **self.answers.fields(sender, shown))

        if base < self.room.log.first_seq - 1:
            # The first op that it lacks was left out of the log: it is to fetch what is there.
            bare = make(Shown(base))
            self.answers.defer(sender, sync.id, lambda _: show(sender, sync.id, bare))
            return
        self.answers.with_ops(sender, sync.id, base, seq, make)


def _cost(sync: Sync) -> int:
    """Return what it costs to compare or refuse a sync, in bytes that take as long."""
    return sum(len(op.json) + ENTRY_COST for op in sync.ops)
