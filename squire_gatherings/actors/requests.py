"""Requests: what a gathering does with each kind of message, and when it answers.

Whatever shows ops that aren't durable yet is answered once they are: until then the
answer is *deferred*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from attrs import define, field

from squire_gatherings.actors.senders import Caller, Onlooker, Sender
from squire_gatherings.rules.behaviour import Submission, encode_state
from squire_gatherings.rules.op_log import fingerprint
from squire_gatherings.rules.sync_ids import LookupNeeded
from squire_gatherings.values.endings import CloseCode
from squire_gatherings.values.errors import (
    BadBase,
    BadRequest,
    Forbidden,
    GatheringsError,
    OpConflict,
    OpRejected,
    StoreUnavailable,
)
from squire_gatherings.values.log import LoggedOp
from squire_gatherings.values.messages import (
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

if TYPE_CHECKING:
    from squire_gatherings.actors.gathering import Gathering

Ops = Sequence[LoggedOp]


@define(eq=False)
class JoinRequest:
    """A join: an onlooker that wants in, and what the joining task read for it before."""

    onlooker: Onlooker
    since: int | None
    page: tuple[LoggedOp, ...] = ()
    """Ops after `since` from the store, where they are older than memory."""
    abandoned: bool = False
    """The task that asked was cancelled."""


class Deferred(msgspec.Struct, eq=False):
    """An answer that waits for the commit."""

    sender: Sender
    request_id: str | None
    effect: Callable[[float], None]
    keep: bool
    """Whether it still comes when the commit fails at first and succeeds later."""
    failed: bool = False


@define(eq=False)
class Requests:
    """Processes the messages of one incarnation."""

    gathering: Gathering
    trouble: StoreUnavailable | None = None
    """Why the last commit failed; while set, only what is durable is shown."""
    current: Sender | None = None
    """Whose message is being processed: that one caused it, should the behaviour raise."""
    _deferred: list[Deferred] = field(factory=list)

    def process(self, sender: Sender, request: ClientMessage | JoinRequest) -> bool:
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
            return isinstance(error, OpRejected | StoreUnavailable)

    def finish(self, now: float) -> None:
        """Everything is durable: give the answers that waited, in order."""
        self.trouble = None
        deferred, self._deferred = self._deferred, []
        for one in deferred:
            one.effect(now)

    def postpone(self, error: StoreUnavailable) -> None:
        """The commit failed: say so to whoever waits. What they submitted is kept."""
        self.trouble = error
        for one in self._deferred:
            if not one.failed:
                one.failed = True
                one.sender.fail(error, one.request_id)
        self._deferred = [one for one in self._deferred if one.keep]

    def abandon(self, error: GatheringsError) -> None:
        """The gathering ends: nothing that waits will be answered."""
        for sender in (*(one.sender for one in self._deferred), self.current):
            if isinstance(sender, Caller):
                sender.fail(error)
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
        self.gathering.delivery.acknowledged(sender, ack.seq, trio.current_time())
        return True

    def _leave(self, sender: Sender) -> bool:
        if isinstance(sender, Onlooker) and sender.attached:
            self.gathering.gone(sender)
            sender.close(CloseCode.LEFT, "left")
        return True

    def _fetch(self, sender: Sender, fetch: Fetch) -> bool:
        seq = self._visible
        since = fetch.since
        if since is None and self.gathering.behaviour.serves_snapshots:
            fetched = Fetched(fetch.id, seq, snapshot=self._snapshot())
            self._defer(sender, fetch.id, lambda _: sender.answer(fetched))
            return True
        since = since or 0
        self.gathering.log.check_seq(since, "since")
        self._answer_with_ops(
            sender, fetch.id, since, seq, lambda ops: Fetched(fetch.id, seq, **_shown(ops))
        )
        return True

    def _sync(self, sender: Sender, sync: Sync) -> bool:
        gathering = self.gathering
        log = gathering.log
        if not sender.identity.may_submit:
            raise Forbidden("observers may not submit ops")
        key = (sender.scope, sync.id)
        try:
            record = log.syncs.find(key)
        except LookupNeeded:
            record = gathering.lookup.answer(key)
        if record is not None:
            log.same(record, sync)
            if self.trouble is not None and record.first_seq > log.committed:
                raise StoreUnavailable(f"kept, but not durable yet: {self.trouble}")
        else:
            if self.trouble is not None:
                raise StoreUnavailable(f"not taken, try again: {self.trouble}")
            log.check_seq(sync.base, "base")
            submission = Submission(sender.identity, sync.base, log.seq)
            try:
                ops = tuple(gathering.behaviour.judge(sync.ops, submission))
            except OpConflict as conflict:
                self._conflict(sender, sync, conflict)
                return True
            if len(ops) != len(sync.ops):
                raise RuntimeError(f"judge returned {len(ops)} ops for {len(sync.ops)}")
            for op in ops:
                gathering.behaviour.fold(op)
            by = sender.identity.user
            mark = fingerprint(sync.ops)
            record = log.add(ops, key=key, mark=mark, by=by, origin=sender.number)
        seqs = range(record.first_seq, record.first_seq + record.count)
        # No closure: each variable of one costs every sync.
        self._defer(sender, sync.id, partial(self._synced, sender, sync.id, seqs), keep=True)
        return True

    def _synced(self, sender: Sender, sync_id: str, seqs: range, now: float) -> None:
        synced = Synced(sync_id, tuple(seqs))
        if isinstance(sender, Onlooker) and sender.attached:
            self.gathering.delivery.synced(sender, seqs, synced, now)
        else:
            sender.answer(synced)

    def _conflict(self, sender: Sender, sync: Sync, conflict: OpConflict) -> None:
        if isinstance(sender, Caller):
            self._defer(sender, sync.id, lambda _: sender.fail(conflict))
            return
        seq = self._visible
        self._answer_with_ops(
            sender, sync.id, sync.base, seq, lambda ops: Conflict(sync.id, seq, **_shown(ops))
        )

    def _join(self, sender: Sender, request: JoinRequest) -> bool:
        if request.abandoned:
            return False
        gathering = self.gathering
        log = gathering.log
        seq = self._visible
        since = request.since
        if since is not None and since > seq:
            raise BadBase(f"since is {since}, but the last op is {seq}")
        snapshots = gathering.behaviour.serves_snapshots
        shown: dict[str, Any]
        if snapshots and (since is None or since + 1 < log.tail_start):
            shown = {"snapshot": self._snapshot()}
            has = seq
        else:
            since = since or 0
            ops: Ops = request.page
            if since + 1 >= log.tail_start:
                ops = log.slice(since, seq, gathering.settings.batch_bytes)
            shown = _shown(ops)
            has = since + len(ops)

        def let_in(now: float) -> None:
            if request.abandoned:
                return
            onlooker = request.onlooker
            onlooker.window.begin(has)
            gathering.delivery.attach(onlooker)
            gathering.deadline.occupied()
            expires_in = gathering.deadline.last_processed_at + gathering.settings.idle_timeout
            joined = Joined(
                gathering.id,
                gathering.incarnation,
                seq,
                onlooker.identity.role,
                onlooker.identity.user,
                gathering.settings.idle_timeout,
                expires_in - now,
                **shown,
            )
            onlooker.answer(joined)
            sender.answer(joined)
            gathering.delivery.bring(onlooker, log.committed, now)

        gathering.deadline.processed(trio.current_time())
        self._defer(sender, None, let_in)
        return True

    def _snapshot(self) -> msgspec.Raw:
        if self.trouble is not None:
            raise StoreUnavailable(str(self.trouble))
        return msgspec.Raw(encode_state(self.gathering.behaviour))

    def _answer_with_ops(
        self,
        sender: Sender,
        request_id: str,
        after: int,
        up_to: int,
        make: Callable[[Ops], ServerMessage],
    ) -> None:
        gathering = self.gathering
        if after + 1 < gathering.log.tail_start:
            gathering.delivery.nursery.start_soon(
                self._answer_from_store, sender, request_id, after, up_to, make
            )
            return
        entries = gathering.log.slice(after, up_to, gathering.settings.batch_bytes)
        answer = make(entries)
        self._defer(sender, request_id, lambda _: sender.answer(answer))

    async def _answer_from_store(
        self,
        sender: Sender,
        request_id: str,
        after: int,
        up_to: int,
        make: Callable[[Ops], ServerMessage],
    ) -> None:
        gathering = self.gathering
        try:
            page = await gathering.store.read(
                gathering.id,
                after=after,
                up_to=min(up_to, gathering.log.committed),
                max_bytes=gathering.settings.batch_bytes,
            )
        except StoreUnavailable as error:
            sender.fail(error, request_id)
        else:
            sender.answer(make(page))


def _shown(ops: Ops) -> dict[str, Any]:
    return {"ops": tuple(one.op for one in ops), "by": tuple(one.by for one in ops)}
