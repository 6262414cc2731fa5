"""The exchange: what a client asks of a gathering until it is answered, on any number of wires."""

import logging
import math
import secrets
from collections import deque

import msgspec
import trio
from attrs import define, field

from squire_gatherings.edges.client.answers import Answer, error_from
from squire_gatherings.edges.client.settings import ClientSettings
from squire_gatherings.edges.client.wire import Incoming, Wire
from squire_gatherings.rules.replica import Pending, Replica
from squire_gatherings.values.errors import (
    BadBase,
    GatheringsError,
    OpConflict,
    StoreUnavailable,
    TooBig,
)
from squire_gatherings.values.identity import Identity, Role
from squire_gatherings.values.messages import (
    Ack,
    ClientMessage,
    Conflict,
    Error,
    Fetch,
    Fetched,
    ForwardBatch,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings.values.op import Op

_log = logging.getLogger(__name__)


@define(eq=False)
class Exchange:
    """The requests of one client in one gathering, and what comes in.

    Whatever isn't answered is sent again on each new wire; a sync keeps its id.
    """

    gathering_id: str
    settings: ClientSettings
    replica: Replica
    since: int | None
    """After which seq the changes are wanted; None: from the first join on."""
    failure: GatheringsError | None = None
    """Why nothing more will be answered."""
    connected: bool = False
    expires_at: float = math.inf
    """When the gathering disperses unless something happens that we don't hear of."""
    progressed: bool = False
    """Whether this wire was good for something."""
    news: trio.Event = field(factory=trio.Event)
    """Set, and replaced, whenever something has changed."""
    wanted: trio.Event = field(factory=trio.Event)
    """Set when somebody asks for something."""
    _idle_timeout: float = math.inf
    _began: bool = False
    _answers: dict[str, Answer[tuple[int, ...]]] = field(factory=dict)
    _fetches: dict[str, tuple[Fetch, Answer[Fetched]]] = field(factory=dict)
    _queue: deque[Sync | Fetch] = field(factory=deque)
    _refused: list[Sync | Fetch] = field(factory=list)
    """What the server couldn't take: sent again at `_repeat_at`."""
    _repeat_at: float = math.inf
    _ack_at: float = math.inf
    _work: trio.Event = field(factory=trio.Event)

    # Asking.

    async def submit(self, sync_id: str, ops: tuple[Op, ...]) -> tuple[int, ...]:
        """Submit a sync until it is answered; return its seqs, or raise the server's refusal.

        Cancelled, it's withdrawn if it wasn't sent; else it may or may not be applied.
        """
        self.check()
        if sync_id in self.replica.pending:
            raise ValueError(f"a sync with the id {sync_id!r} is under way")
        pending = self.replica.submit(sync_id, ops)
        answer = self._answers[sync_id] = Answer[tuple[int, ...]]()
        self._put(pending.sync)
        try:
            return await answer.wait()
        except trio.Cancelled:
            if not pending.sent and not pending.in_doubt:
                self.replica.failed(sync_id)
            raise
        finally:
            del self._answers[sync_id]

    async def fetch(self, since: int) -> Fetched:
        """Ask for the ops after `since`, until they come. Cancelled, it's forgotten."""
        self.check()
        fetch = Fetch(secrets.token_hex(8), since)
        answer = Answer[Fetched]()
        self._fetches[fetch.id] = fetch, answer
        self._put(fetch)
        try:
            return await answer.wait()
        finally:
            del self._fetches[fetch.id]

    @property
    def is_waiting(self) -> bool:
        """Whether something is asked for that wasn't answered."""
        return bool(self.replica.pending or self._fetches)

    def check(self) -> None:
        """Raise why nothing more will be answered, if so."""
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args) from self.failure

    def fail(self, error: GatheringsError) -> None:
        """Whoever waits, and whoever asks later, is told `error`."""
        if self.failure is None:
            self.failure = error
            for answer in self._answers.values():
                answer.give(error)
            for _, fetched in self._fetches.values():
                fetched.give(error)
            self.tell()

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = trio.Event()

    def _put(self, message: Sync | Fetch) -> None:
        if self.connected:
            self._queue.append(message)
            self._work.set()
        self.wanted.set()

    # A wire begins and ends.

    def joined(self, joined: Joined, since: int) -> None:
        """The server let us in, who had everything up to `since`.

        Raises `BadBase` on the first join, where the changes that are wanted don't exist yet;
        and `Gap`, `Diverged`.
        """
        role = Role.OBSERVER if joined.role == Role.OBSERVER else Role.MEMBER
        self.replica.identity = Identity(joined.user, role)
        if not self._began:
            position = joined.seq if self.since is None else self.since
            if position > joined.seq:
                raise BadBase(f"since is {position}, but the last op is {joined.seq}")
            self.replica.changes.begin(position, position)
            self._began = True
        if isinstance(joined.ops, tuple) and isinstance(joined.by, tuple):
            self.replica.arrived(since + 1, joined.ops, joined.by)
        else:
            self.replica.restored(joined.seq, msgspec.json.encode(joined.snapshot))
        self._idle_timeout = math.inf if joined.idle_timeout is None else joined.idle_timeout
        expires_in = math.inf if joined.expires_in is None else joined.expires_in
        self.expires_at = trio.current_time() + expires_in
        self._queue.extend(pending.sync for pending in self.replica.pending.values())
        self._queue.extend(fetch for fetch, _ in self._fetches.values())
        self.connected = True
        self.progressed = False
        self.tell()

    def lost(self) -> None:
        """The wire has ended."""
        self.connected = False
        self.replica.lost()
        self._queue.clear()
        self._refused.clear()
        self._repeat_at = self._ack_at = math.inf
        self.tell()

    # What goes out.

    async def send_all(self, wire: Wire) -> None:
        """Send what is asked for, and acknowledge what came, until cancelled or `Lost`."""
        while True:
            self._work = trio.Event()
            message = self._next(trio.current_time())
            if message is None:
                with trio.move_on_at(min(self._ack_at, self._repeat_at)):
                    await self._work.wait()
            else:
                await wire.send(message)

    def _next(self, now: float) -> ClientMessage | None:
        if now >= self._ack_at:
            self._ack_at = math.inf
            self.expires_at = now + self._idle_timeout
            return Ack(self.replica.seq)
        if now >= self._repeat_at:
            self._repeat_at = math.inf
            self._queue.extendleft(reversed(self._refused))
            self._refused.clear()
        while self._queue:
            message = self._queue.popleft()
            if isinstance(message, Fetch):
                return message
            pending = self.replica.pending.get(message.id)
            if pending is not None:
                pending.sent = True
                return message
        return None

    # What comes in.

    def take(self, message: Incoming) -> None:
        """Take in a message. Raises `Gap`, `Diverged`."""
        match message:
            case ForwardBatch(first, by, ops):
                self._arrived(first, ops, by)
                self._ack_at = min(self._ack_at, trio.current_time() + self.settings.ack_delay)
                self._work.set()
            case Synced(sync_id, seqs):
                if sync_id in self.replica.pending:
                    self._answer(sync_id, seqs)
                    self._moved_on()
                    self.replica.synced(sync_id, seqs)
            case Conflict(sync_id, _, ops, by):
                pending = self.replica.pending.get(sync_id)
                if pending is not None:
                    self._arrived(pending.sync.base + 1, ops, by)
                    self._refuse(pending, OpConflict("others were faster, and it can't be merged"))
            case Fetched(fetch_id):
                if fetch_id in self._fetches:
                    self._fetches[fetch_id][1].give(message)
            case Error(code, text, request_id):
                self._failed(code, text, request_id or "")
            case _:
                self._log(f"unexpected: {type(message).__name__}")

    def _arrived(self, first: int, ops: tuple[Op, ...], by: tuple[str | None, ...]) -> None:
        if self.replica.arrived(first, ops, by):
            self._moved_on()

    def _moved_on(self) -> None:
        self.progressed = True
        self.expires_at = trio.current_time() + self._idle_timeout
        self.tell()

    def _failed(self, code: str, text: str, request_id: str) -> None:
        error = error_from(code, text)
        sent = [pending for pending in self.replica.pending.values() if pending.sent]
        if request_id in self.replica.pending:
            pending = self.replica.pending[request_id]
            if isinstance(error, StoreUnavailable):
                self._repeat(pending.sync)
            else:
                self._refuse(pending, error)
        elif request_id in self._fetches:
            fetch, answer = self._fetches[request_id]
            if isinstance(error, StoreUnavailable):
                self._repeat(fetch)
            else:
                answer.give(error)
        elif isinstance(error, TooBig) and sent:
            # The server doesn't say which: the largest, or it would be refused for ever.
            self._refuse(max(sent, key=_size), error)
        elif code == "rate_limited":
            # Nor which it has dropped.
            self._repeat(*(pending.sync for pending in sent))
        else:
            self._log(text)

    def _repeat(self, *messages: Sync | Fetch) -> None:
        self._refused.extend(messages)
        later = trio.current_time() + self.settings.repeat_interval
        self._repeat_at = min(self._repeat_at, later)
        self._work.set()

    def _refuse(self, pending: Pending, error: GatheringsError) -> None:
        self._answer(pending.sync.id, error)
        self.tell()
        self.replica.failed(pending.sync.id)

    def _answer(self, sync_id: str, outcome: tuple[int, ...] | GatheringsError) -> None:
        if sync_id in self._answers:
            self._answers[sync_id].give(outcome)

    def _log(self, text: str) -> None:
        _log.warning("the server says: %s", text[:500], extra={"gathering": self.gathering_id})


def _size(pending: Pending) -> int:
    return sum(len(op.json) for op in pending.sync.ops)
