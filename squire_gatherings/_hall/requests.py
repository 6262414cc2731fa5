"""Requests: what a gathering does with each kind of message, and when it answers.

Whatever shows ops that aren't durable yet is answered once they are: until then the
answer is *deferred*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from attrs import define, field
from msgspec import UNSET, UnsetType

from squire_gatherings._hall.senders import Caller, Onlooker, Sender
from squire_gatherings._hall.store import read_page
from squire_gatherings._rules.behaviour import Submission, encode_state, judge_and_fold
from squire_gatherings._rules.op_log import fingerprint
from squire_gatherings._rules.sync_ids import LookupNeeded
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    BadBase,
    BadRequest,
    Forbidden,
    GatheringsError,
    LogReplaced,
    OpConflict,
    OpRejected,
    Replaced,
    StoreUnavailable,
    TooBig,
)
from squire_gatherings._values.log import LoggedOp, SyncRecord
from squire_gatherings._values.messages import (
    Ack,
    ClientMessage,
    Conflict,
    Fetch,
    Fetched,
    Joined,
    Leave,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.text import sayable

if TYPE_CHECKING:
    from squire_gatherings._hall.gathering import Gathering

Ops = Sequence[LoggedOp]

READS_AT_ONCE = 4
"""How many pages one gathering reads for those who fetch: the store serves others, too."""

WHOLE = 2**62
"""In place of a number of bytes, where everything is wanted."""

ENTRY_COST = 250
"""What an op in an answer costs besides its bytes, in bytes that take as long."""


REFUSED = 2
"""What a request that is wrong counts, in frames that say nothing."""

REPEATED = 1
COST_OF_A_FRAME = 1024
"""What a repeated sync counts: one such frame, and one for so many bytes that take as long."""

JOIN_COST = 1024
"""What a join costs besides what it's answered, in bytes that take as long."""


@define(eq=False)
class JoinRequest:
    """A join: an onlooker that wants in, and what the joining task read for it before."""

    onlooker: Onlooker
    since: int | None
    page: tuple[LoggedOp, ...] = ()
    """Ops after `since` from the store, where they are older than memory."""
    epoch: str | None = None
    """What the client takes for the epoch of the op `since`."""
    made_client: str | None = None
    """The id that was made for a client that has given none."""
    is_activity: bool = True
    tail: bool = False
    """Whether it wants nothing of what was before."""
    abandoned: bool = False
    """The task that asked was cancelled."""


Request = ClientMessage | JoinRequest


class Deferred(msgspec.Struct, eq=False):
    """An answer that waits for the commit, or a function that gives it."""

    sender: Sender
    request_id: str | None
    effect: Callable[[float], None] | Synced
    keep: bool
    """Whether it still comes when the commit fails at first and succeeds later."""
    seqs: range = range(0)
    """Of the answer to a sync."""
    failed: bool = False


@define(eq=False)
class Requests:
    """Processes the messages of one incarnation."""

    gathering: Gathering
    max_ops: int
    """How many ops a sync may have."""
    trouble: StoreUnavailable | None = None
    """Why the last commit failed; while set, only what is durable is shown."""
    current: Sender | None = None
    """Whose message is being processed: that one caused it, should the behaviour raise."""
    spent: int = 0
    """What answers have cost so far, in bytes that take about as long; ops are in `OpLog.added`."""
    callers: set[Caller] = field(factory=set)
    """All who have asked and aren't answered. Each is, at the latest by `abandon`."""
    _deferred: list[Deferred] = field(factory=list)
    reading: int = 0
    """How many requests wait for a page from the store."""
    _reads: trio.CapacityLimiter | None = None

    def process(self, sender: Sender, request: Request) -> bool:
        """Process one message; return whether it counts as activity.

        Raises `LookupNeeded`, with nothing done, where the store must be asked first.
        """
        try:
            if isinstance(request, Sync):
                return self._sync(sender, request)
            if isinstance(request, Ack):
                return self._ack(sender, request)
            if isinstance(request, Fetch):
                return self._fetch(sender, request)
            if isinstance(request, JoinRequest):
                return self._join(sender, request)
            if isinstance(request, Leave):
                return self._leave(sender)
            raise BadRequest(f"unexpected {type(request).__name__}")
        except GatheringsError as error:
            sender.fail(error, getattr(request, "id", None))
            if isinstance(request, Sync):
                self.spent += _cost(request)
            if not isinstance(error, OpRejected | StoreUnavailable):
                sender.wasted(REFUSED)
            return isinstance(error, OpRejected | StoreUnavailable)

    def finish(self, now: float) -> None:
        """Everything is durable: give the answers that waited, in order."""
        self.trouble = None
        deferred, self._deferred = self._deferred, []
        synced = self.gathering.delivery.synced
        for one in deferred:
            effect, sender = one.effect, one.sender
            if not isinstance(effect, Synced):
                effect(now)
            elif isinstance(sender, Onlooker):
                synced(sender, one.seqs, effect, now)
            else:
                sender.answer(effect)

    def postpone(self, error: StoreUnavailable) -> None:
        """The commit failed: say so to whoever waits. What they submitted is kept."""
        self.trouble = error
        for one in self._deferred:
            if not one.failed:
                one.failed = True
                one.sender.fail(error, one.request_id)
        self._deferred = [one for one in self._deferred if one.keep]

    def abandon(self, lost: GatheringsError, ended: GatheringsError) -> None:
        """The gathering ends: tell all who have asked and weren't answered.

        Those whose requests were being processed are told `lost`, all others `ended`.
        """
        for sender in (*(one.sender for one in self._deferred), self.current):
            if isinstance(sender, Caller):
                sender.fail(lost)
        for caller in self.callers:
            caller.fail(ended)
        self._deferred.clear()

    def _defer(
        self,
        sender: Sender,
        request_id: str | None,
        effect: Callable[[float], None],
        *,
        keep: bool = False,
    ) -> None:
        log = self.gathering.log
        if self.trouble is not None or log.seq == log.committed:
            effect(trio.current_time())
        else:
            self._deferred.append(Deferred(sender, request_id, effect, keep))

    @property
    def _visible(self) -> int:
        """The last seq that an answer may show (once it's durable)."""
        log = self.gathering.log
        return log.seq if self.trouble is None else log.committed

    # One method for each kind of message.

    def _ack(self, sender: Sender, ack: Ack) -> bool:
        if not isinstance(sender, Onlooker) or not sender.attached:
            return False
        if ack.seq > self.gathering.log.committed:
            raise BadBase(f"ack of {ack.seq}, but the last op is {self.gathering.log.committed}")
        if ack.seq <= sender.acked:
            sender.wasted(1)
        sender.acked = max(sender.acked, ack.seq)
        self.gathering.delivery.acknowledged(sender, ack.seq, trio.current_time())
        return True

    def _leave(self, sender: Sender) -> bool:
        if isinstance(sender, Onlooker) and sender.attached:
            self.gathering.gone(sender)
            sender.close(CloseCode.LEFT, "left")
        return True

    def _fetch(self, sender: Sender, fetch: Fetch) -> bool:
        if isinstance(sender, Onlooker) and not sender.attached:
            return False
        seq = self._visible
        since = fetch.since
        if since is None and self.gathering.serves_snapshots:
            fetched = Fetched(fetch.id, seq, snapshot=self._snapshot(), epoch=self._epoch(seq))
            self._defer(sender, fetch.id, lambda _: sender.answer(fetched))
            return True
        since = since or 0
        self.gathering.log.check_seq(since, "since")
        self._answer_with_ops(
            sender, fetch.id, since, seq, lambda ops: Fetched(fetch.id, seq, **self._shown(ops))
        )
        return True

    def _sync(self, sender: Sender, sync: Sync) -> bool:
        gathering = self.gathering
        log = gathering.log
        if not sender.identity.may_submit:
            raise Forbidden("observers may not submit ops")
        if len(sync.ops) > self.max_ops:
            raise TooBig(f"a sync has at most {self.max_ops} ops, not {len(sync.ops)}")
        scope = sender.scope
        key = (scope, sync.id)
        try:
            record = log.syncs.find(key)
        except LookupNeeded:
            record = gathering.lookup.answer(key)
        if record is not None:
            log.same(record, sync)
            if self.trouble is not None and record.first_seq > log.committed:
                raise StoreUnavailable(f"kept, but not durable yet: {self.trouble}")
            cost = _cost(sync)
            self.spent += cost
            sender.wasted(REPEATED + cost // COST_OF_A_FRAME)
            self._repeat(sender, sync, record)
            return True
        if self.trouble is not None:
            raise StoreUnavailable(f"not taken, try again: {self.trouble}")
        if gathering.refused and key in gathering.refused:
            raise OpRejected("the gathering crashed over this sync; it isn't taken again")
        seq = log.seq
        base = seq if sender.at_end else sync.base
        if base < seq:
            # All that came since may be its own, sent before this one.
            if scope == log.author and base + 1 >= log.author_from and sender.number:
                base = seq
        elif base > seq:
            log.check_seq(base, "base")
        try:
            ops = judge_and_fold(
                gathering.behaviour, sync.ops, Submission(sender.identity, base, seq)
            )
        except OpConflict as conflict:
            self._conflict(sender, sync, base, conflict)
            return True
        by, mark = sender.identity.user, fingerprint(sync.ops)
        log.add(ops, key=key, mark=mark, by=by, origin=sender.number)
        seqs = range(seq + 1, log.seq + 1)
        answer = Synced(sync.id, tuple(seqs)) if ops is sync.ops else _synced(sync, seqs, ops)
        # It isn't durable yet, so it's never answered at once.
        self._deferred.append(Deferred(sender, sync.id, answer, True, seqs))
        return True

    def _repeat(self, sender: Sender, sync: Sync, record: SyncRecord) -> None:
        """Answer a sync that was applied before as it was answered then.

        What only the store has isn't read for it: then the answer stands for no op, and those that
        the client lacks are forwarded before it.
        """
        log = self.gathering.log
        seqs = range(record.first_seq, record.first_seq + record.count)
        answer = Synced(sync.id, tuple(seqs))
        stands_for = range(seqs.stop, seqs.stop)
        if seqs.start >= log.tail_start:
            stands_for = seqs
            logged = log.slice(seqs.start - 1, seqs.stop - 1, WHOLE, most=len(seqs))
            answer = _synced(sync, seqs, tuple(one.op for one in logged))

        def give(now: float) -> None:
            # What was logged before it joined it is given as ops: this stands for none of them.
            if isinstance(sender, Onlooker) and seqs.stop - 1 > sender.joined_at:
                self.gathering.delivery.synced(sender, stands_for, answer, now)
            else:
                sender.answer(answer)

        self._defer(sender, sync.id, give, keep=True)

    def _conflict(self, sender: Sender, sync: Sync, base: int, conflict: OpConflict) -> None:
        if isinstance(sender, Caller):
            self._defer(sender, sync.id, lambda _: sender.fail(conflict))
            return
        seq = self._visible
        why = sayable(conflict)
        self._answer_with_ops(
            sender,
            sync.id,
            base,
            seq,
            lambda ops: Conflict(sync.id, seq, message=why, **self._shown(ops)),
        )

    def _join(self, sender: Sender, request: JoinRequest) -> bool:
        if request.abandoned:
            return False
        self.spent += JOIN_COST
        gathering = self.gathering
        log = gathering.log
        seq = self._visible
        since = request.since
        if since is not None and since > seq:
            why = f"since is {since}, but the last op is {seq}"
            raise BadBase(why) if request.epoch is None else LogReplaced(why)
        snapshots = gathering.serves_snapshots
        shown: dict[str, Any]
        if request.tail:
            shown = {"ops": (), "by": (), "epoch": self._epoch(seq)}
            has = seq
        elif snapshots and (since is None or since + 1 < log.tail_start):
            shown = {"snapshot": self._snapshot(), "epoch": self._epoch(seq)}
            has = seq
        else:
            since = since or 0
            ops: Ops = request.page
            if since + 1 >= log.tail_start:
                ops = log.slice(since, seq, gathering.settings.batch_bytes)
            has = since + len(ops)
            shown = self._shown(ops)
            if has and not ops:
                shown["epoch"] = self._epoch(has)

        def let_in(now: float) -> None:
            if request.abandoned:
                return
            onlooker = request.onlooker
            onlooker.window.begin(has)
            onlooker.joined_at = seq
            if not gathering.delivery.attach(onlooker):
                sender.fail(Replaced("a newer connection of the same client has joined"))
                return
            gathering.deadline.occupied()
            if request.is_activity:
                # What follows tells the client the deadline as this join has moved it.
                gathering.deadline.processed(now)
            left = gathering.deadline.last_processed_at + gathering.settings.idle_timeout - now
            joined = Joined(
                gathering.id,
                gathering.incarnation,
                seq,
                onlooker.identity.role,
                onlooker.identity.user,
                _finite(gathering.settings.idle_timeout),
                _finite(left),
                client=request.made_client or UNSET,
                max_ops=gathering.settings.max_ops,
                **shown,
            )
            onlooker.answer(joined)
            sender.answer(joined)
            gathering.delivery.bring(onlooker, log.committed, now)

        self._defer(sender, None, let_in)
        return request.is_activity

    def _snapshot(self) -> msgspec.Raw:
        if self.trouble is not None:
            raise StoreUnavailable(str(self.trouble))
        state = encode_state(self.gathering.behaviour)
        self.spent += len(state)
        return msgspec.Raw(state)

    def _epoch(self, seq: int) -> str | UnsetType:
        """Return the epoch to be said of an op that memory knows; see `values.messages.Epoch`."""
        epoch = self.gathering.log.epoch_of(seq)
        if not seq or epoch == self.gathering.incarnation:
            return UNSET
        return epoch or ""

    def _epoch_after(self, ops: Ops) -> str | UnsetType:
        """Return the epoch to be said of the last of these ops."""
        if not ops or ops[-1].epoch == self.gathering.incarnation:
            return UNSET
        return ops[-1].epoch

    def _shown(self, ops: Ops) -> dict[str, Any]:
        self.spent += sum(len(one.op.json) + ENTRY_COST for one in ops)
        return {
            "ops": tuple(one.op for one in ops),
            "by": tuple(one.by for one in ops),
            "epoch": self._epoch_after(ops),
        }

    def _answer_with_ops(
        self,
        sender: Sender,
        request_id: str,
        after: int,
        up_to: int,
        make: Callable[[Ops], ServerMessage],
    ) -> None:
        """Answer with the ops after `after`, as many as fit."""
        log, most = self.gathering.log, self.gathering.settings.batch_bytes
        if after + 1 < log.tail_start:
            self._begin_reading(sender, request_id, after, up_to, make)
            return
        entries = log.slice(after, up_to, most)
        answer = make(entries)
        self._defer(sender, request_id, lambda _: sender.answer(answer))

    def _begin_reading(
        self,
        sender: Sender,
        request_id: str,
        after: int,
        up_to: int,
        make: Callable[[Ops], ServerMessage],
    ) -> None:
        if isinstance(sender, Onlooker):
            sender.waiting += 1
        self.reading += 1
        self.gathering.delivery.nursery.start_soon(
            self._answer_from_store, sender, request_id, after, up_to, make
        )

    async def _answer_from_store(
        self,
        sender: Sender,
        request_id: str,
        after: int,
        up_to: int,
        make: Callable[[Ops], ServerMessage],
    ) -> None:
        gathering = self.gathering
        if self._reads is None:
            self._reads = trio.CapacityLimiter(READS_AT_ONCE)
        try:
            # Whoever asked may go meanwhile: then nobody wants it any more.
            with sender.under_way():
                async with self._reads:
                    page = await read_page(
                        gathering.store,
                        gathering.id,
                        after=after,
                        up_to=min(up_to, gathering.log.committed),
                        max_bytes=gathering.settings.batch_bytes,
                    )
                sender.answer(make(page))
        except StoreUnavailable as error:
            sender.fail(error, request_id)
        finally:
            if isinstance(sender, Onlooker):
                sender.waiting -= 1
                sender.make_room()
            self.reading -= 1
            gathering.finished_reading()


def _cost(sync: Sync) -> int:
    """Return what it costs to compare or refuse a sync, in bytes that take as long."""
    return sum(len(op.json) + ENTRY_COST for op in sync.ops)


def _synced(sync: Sync, seqs: range, ops: tuple[Op, ...]) -> Synced:
    if ops == sync.ops:
        return Synced(sync.id, tuple(seqs))
    return Synced(sync.id, tuple(seqs), ops=ops)


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
