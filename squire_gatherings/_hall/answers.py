"""Answers: when a gathering gives them, and what they show.

An answer that shows ops which aren't durable yet is given once they are: until then it is
*deferred*. One that shows ops which only the store has waits for the store to be read.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import trio
from attrs import define
from msgspec import UNSET, UnsetType

from squire_gatherings._hall.archive import read_shown
from squire_gatherings._hall.clients import Caller, Client, Sender
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.behaviour import encode_state
from squire_gatherings._values.errors import GatheringsError, StoreUnavailable, Unauthorized
from squire_gatherings._values.log import Shown
from squire_gatherings._values.messages import Fetch, Proof, ServerMessage, Synced

READS_AT_ONCE = 4
"""How many answers of one gathering read the store at once: it serves others, too."""

ENTRY_COST = 250
"""What an op in an answer costs besides its bytes, as a number of bytes that take as long."""


class Deferred(msgspec.Struct, eq=False):
    """An answer that waits for the commit, or a function that gives it."""

    sender: Sender
    request_id: str | None
    effect: Callable[[float], None] | Synced
    keep: bool
    """Whether it still comes when the commit fails at first and succeeds later."""
    seqs: range = range(0)
    """The seqs of the ops of a sync."""
    failed: bool = False
    is_leave: bool = False
    """Whether it's a farewell, which comes also when the commit fails."""


@define(eq=False, weakref_slot=False)
class Answers:
    """The answers of one incarnation that aren't given yet."""

    room: Room
    delivery: Delivery
    spent: int = 0
    """What answers have cost so far, in bytes; what ops have cost is in `OpLog.added`."""
    reading: int = 0
    """How many answers wait for a page from the store."""
    deferred: list[Deferred] | None = None
    """Those that wait for the commit, in order. None for nobody: an empty list takes 56 bytes."""
    processing: Sender | None = None
    """The sender of the message that is being processed."""
    _reads: trio.CapacityLimiter | None = None

    # Those that wait for the commit.

    def defer(
        self,
        sender: Sender,
        request_id: str | None,
        effect: Callable[[float], None],
        *,
        keep: bool = False,
    ) -> None:
        """Call `effect` once everything is durable: at once, if only that is shown anyway."""
        log = self.room.log
        if self.room.trouble is not None or log.seq == log.committed:
            effect(trio.current_time())
        else:
            self.put_off(Deferred(sender, request_id, effect, keep))

    def put_off(self, answer: Deferred) -> None:
        """Have an answer wait for the commit."""
        if self.deferred:
            self.deferred.append(answer)
        else:
            self.deferred = [answer]

    def give(self, now: float) -> None:
        """Give the answers that waited, in order, now that everything is durable."""
        self.room.trouble = None
        deferred, self.deferred = self.deferred, None
        if deferred is None:
            return
        synced = self.delivery.synced
        for one in deferred:
            effect, sender = one.effect, one.sender
            if not isinstance(effect, Synced):
                effect(now)
            elif isinstance(sender, Client):
                synced(sender, one.seqs, effect, now)
            else:
                sender.answer(effect)

    def postpone(self, error: StoreUnavailable) -> None:
        """Tell all who wait that the commit failed. What they submitted is kept."""
        self.room.trouble = error
        deferred = self.deferred or []
        for one in deferred:
            if one.is_leave and not isinstance(one.effect, Synced):
                one.effect(trio.current_time())
            elif not one.failed:
                one.failed = True
                one.sender.fail(error, one.request_id)
        self.deferred = [one for one in deferred if one.keep]

    def abandon(self, lost: GatheringsError, ended: GatheringsError) -> None:
        """Tell all callers that weren't answered that the gathering has ended.

        Those whose requests had been processed, or were just being processed, are told `lost`, all
        others `ended`.
        """
        for sender in (*(one.sender for one in self.deferred or ()), self.processing):
            if isinstance(sender, Caller):
                sender.fail(lost)
        for caller in self.room.callers or ():
            caller.fail(ended)
        self.deferred = None

    # Those that show ops.

    def with_ops(
        self,
        sender: Sender,
        request_id: str,
        after: int,
        up_to: int,
        make: Callable[[Shown], ServerMessage],
    ) -> None:
        """Answer with the ops from `after` + 1 to `up_to`, as many as fit into a message.

        `make` makes the answer of them.
        """
        log = self.room.log
        if after + 1 < log.tail_start:
            # The store is read only once it has all that the answer speaks of.
            read = partial(self._read_and_make, sender, after, up_to, make)
            self.defer(sender, request_id, lambda _: self.from_store(sender, request_id, read))
            return
        answer = make(self.in_memory(sender, after, up_to))
        self.defer(sender, request_id, lambda _: show(sender, request_id, answer))

    def in_memory(self, sender: Sender, after: int, up_to: int) -> Shown:
        """Return what the sender is shown of ops that memory has: as many as fit into a message."""
        log = self.room.log
        entries = log.slice(after, up_to, self.room.settings.batch_bytes)
        syncs = log.syncs_of(after, after + len(entries)) if sender.extras.syncs else ()
        return Shown(after, entries, syncs)

    async def _read_and_make(
        self, sender: Sender, after: int, up_to: int, make: Callable[[Shown], ServerMessage]
    ) -> ServerMessage:
        room = self.room
        shown = await read_shown(
            room.store,
            room.id,
            after=after,
            up_to=up_to,
            max_bytes=room.settings.batch_bytes,
            syncs=sender.extras.syncs,
        )
        return make(shown)

    def from_store(
        self, sender: Sender, request_id: str, work: Callable[[], Awaitable[ServerMessage | None]]
    ) -> None:
        """Answer with what `work` makes, which waits for the store; it may answer itself."""
        if isinstance(sender, Client):
            sender.waiting += 1
            sender.reads += 1
        self.reading += 1
        self.room.nursery.start_soon(self._from_store, sender, request_id, work)

    async def _from_store(
        self, sender: Sender, request_id: str, work: Callable[[], Awaitable[ServerMessage | None]]
    ) -> None:
        room = self.room
        if self._reads is None:
            self._reads = trio.CapacityLimiter(READS_AT_ONCE)
        try:
            # The sender may go meanwhile: then nobody wants the answer any more.
            with sender.under_way():
                async with self._reads:
                    answer = await work()
                room.check_may_show()
                if answer is not None:
                    show(sender, request_id, answer)
        except GatheringsError as error:
            sender.fail(error, request_id)
        finally:
            if isinstance(sender, Client):
                sender.reads -= 1
                sender.processed()
            self.reading -= 1
            # The request is processed only now.
            room.used(trio.current_time(), Fetch, sender.identity.user)
            room.inbox.wake()
        if isinstance(sender, Client):
            self._let_go(sender)

    def _let_go(self, client: Client) -> None:
        """Let a client that leaves go, once it is given also what was read and isn't durable."""
        room = self.room
        if client.leaving and any(one.sender is client for one in self.deferred or ()):
            if not client.reads:
                let_go = Deferred(client, None, lambda _: room.let_go(client), False, is_leave=True)
                self.put_off(let_go)
        else:
            room.let_go(client)

    # What they show.

    @property
    def visible(self) -> int:
        """The last seq that an answer may show (once it's durable)."""
        log = self.room.log
        return log.seq if self.room.trouble is None else log.committed

    def snapshot(self) -> msgspec.Raw:
        """Return the behaviour's state, as JSON."""
        if self.room.trouble is not None:
            raise StoreUnavailable(str(self.room.trouble))
        state = encode_state(self.room.behaviour)
        self.spent += len(state)
        return msgspec.Raw(state)

    def epoch(self, seq: int) -> str | UnsetType:
        """Return the epoch that an answer gives for an op that memory knows."""
        epoch = self.room.log.epoch_of(seq)
        if not seq or epoch == self.room.incarnation:
            return UNSET
        return epoch or ""

    def proof(self, sender: Sender) -> Proof | UnsetType:
        """Return the newest proof of the log that is known, if the sender asked for it."""
        log = self.room.log
        return Proof(log.head_seq, log.head.hex()) if sender.proof and log.head else UNSET

    def fields(self, sender: Sender, shown: Shown) -> dict[str, Any]:
        """Return the fields of an answer to the sender that show these ops."""
        ops, extras = shown.ops, sender.extras
        self.spent += sum(len(one.json) + ENTRY_COST for one in ops)
        epoch: str | UnsetType = UNSET
        if ops and ops[-1].epoch != self.room.incarnation:
            epoch = ops[-1].epoch
        return {
            "ops": tuple(one.op for one in ops),
            "by": tuple(one.by for one in ops),
            "epoch": epoch,
            "times": tuple(one.time for one in ops) if extras.times else UNSET,
            "syncs": shown.syncs if extras.syncs else UNSET,
        }


def show(sender: Sender, request_id: str, answer: ServerMessage) -> None:
    """Give an answer that shows ops, unless the sender's rights have ended meanwhile."""
    if sender.identity.has_ended:
        sender.fail(Unauthorized("its rights have ended"), request_id)
    else:
        sender.answer(answer)
