"""The exchange: what a client asks of a gathering until it is answered, on any number of wires."""

import logging
import math
import secrets
from collections.abc import Iterable

import msgspec
import trio
from attrs import define, field

from squire_gatherings._client.answers import (
    FOR_THE_WIRE,
    PASSING,
    RATE_LIMITED,
    Answer,
    error_from,
)
from squire_gatherings._client.incoming import Incoming
from squire_gatherings._client.pace import Pace
from squire_gatherings._client.queue import Queue
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._client.websocket import Lost
from squire_gatherings._client.wire import Wire
from squire_gatherings._rules.replica import Diverged, Pending, Replica
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import (
    BadBase,
    GatheringsError,
    LogReplaced,
    OpConflict,
    TooBig,
)
from squire_gatherings._values.identity import Identity, Role
from squire_gatherings._values.messages import (
    Ack,
    ClientMessage,
    Conflict,
    Dispersed,
    Error,
    Fetch,
    Fetched,
    ForwardBatch,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op

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
    incarnation: str | None = None
    """The gathering's incarnation that we were in last."""
    _joined_seq: int = 0
    """The log's end when we joined on this wire."""
    expires_at: float = math.inf
    """When the gathering disperses unless something happens that we don't hear of."""
    progressed: bool = False
    """Whether this wire was good for something."""
    rejoining: int = 0
    """How many tasks wait until this client is in the gathering."""
    news: trio.Event = field(factory=trio.Event)
    """Set, and replaced, whenever something has changed."""
    wanted: trio.Event = field(factory=trio.Event)
    """Set when somebody asks for something."""
    _idle_timeout: float = math.inf
    _max_ops: int | None = None
    _began: bool = False
    _answers: dict[str, Answer[tuple[int, ...]]] = field(factory=dict)
    _fetch: Fetch | None = None
    """What the reader lacks, and is asked for."""
    _fetch_failure: GatheringsError | None = None
    """What the reader is to be told of that."""
    _queue: Queue = field(init=False)
    _told_too_big: bool = False
    """Whether the server has said on this wire that something is too big."""
    _ack_at: float = math.inf
    _work: trio.Event = field(factory=trio.Event)

    @_queue.default
    def _new_queue(self) -> Queue:
        interval = self.settings.repeat_interval
        return Queue(Pace(self.settings.max_pause, interval), interval)

    # Asking.

    async def submit(self, sync_id: str, ops: tuple[Op, ...]) -> tuple[int, ...]:
        """Submit a sync until it is answered; return its seqs, or raise the server's refusal.

        Cancelled, it's withdrawn if it wasn't sent; else it may or may not be applied. It isn't
        cancelled any more once it is answered.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check()
        if self._max_ops is not None and len(ops) > self._max_ops:
            raise TooBig(f"a sync has at most {self._max_ops} ops here, not {len(ops)}")
        pending = self.replica.pending.get(sync_id)
        if pending is None:
            pending = self.replica.submit(sync_id, ops)
            self._put(sync_id)
        elif sync_id in self._answers or pending.sync.ops != ops:
            raise ValueError(f"a sync with the id {sync_id!r} is under way")
        answer = self._answers[sync_id] = Answer[tuple[int, ...]]()
        try:
            return await answer.wait()
        except trio.Cancelled:
            if not pending.sent and not pending.in_doubt:
                self._queue.forget(sync_id)
                self.replica.failed(sync_id)
            raise
        finally:
            # Once this was answered, the same id may have been submitted again before we ran.
            if self._answers.get(sync_id) is answer:
                del self._answers[sync_id]

    def refill(self, since: int) -> None:
        """Have the ops after `since`, which the reader lacks, fetched: news will tell.

        Raises, once, why that failed.
        """
        self.check()
        if self._fetch_failure is not None:
            failure, self._fetch_failure = self._fetch_failure, None
            raise failure
        if self._fetch is None:
            self._fetch = Fetch(secrets.token_hex(8), since)
            self._put(self._fetch.id)

    @property
    def is_waiting(self) -> bool:
        """Whether something is asked for that wasn't answered."""
        return bool(self.replica.pending) or self._fetch is not None or self.rejoining > 0

    @property
    def has_anything(self) -> bool:
        """Whether we know any op of this log."""
        return self.replica.seq > 0 or self.replica.changes.arrived > 0

    @property
    def wants_tail(self) -> bool:
        """Whether what was before the first join is of no interest."""
        return not self._began and self.since is None and self.replica.make_behaviour is None

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
            self.tell()

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = trio.Event()

    def _put(self, request_id: str) -> None:
        if self.connected:
            self._queue.put((request_id,))
            self._work.set()
        self.wanted.set()

    # A wire begins and ends.

    def joined(self, joined: Joined, since: int) -> None:
        """The server let us in, who had everything up to `since`.

        Raises `BadBase` on the first join, where the changes that are wanted don't exist yet;
        and `Gap`, `Diverged`, `Lost`.
        """
        self._check_joined(joined, since)
        role = Role.OBSERVER if joined.role == Role.OBSERVER else Role.MEMBER
        self.replica.identity = Identity(joined.user, role)
        self.incarnation = joined.incarnation
        epoch = self._epoch(joined)
        self._joined_seq = joined.seq
        skips = self.wants_tail and not joined.ops
        if not self._began:
            position = joined.seq if self.since is None else self.since
            if position > joined.seq:
                raise BadBase(f"since is {position}, but the last op is {joined.seq}")
            self.replica.changes.begin(position, position)
            self._began = True
        if skips:
            self.replica.skip_to(joined.seq, epoch)
        elif isinstance(joined.ops, tuple) and isinstance(joined.by, tuple):
            self.replica.arrived(since + 1, joined.ops, joined.by, epoch)
        else:
            assert isinstance(joined.snapshot, msgspec.Raw)
            self.replica.restored(joined.seq, bytes(joined.snapshot), epoch)
        self._max_ops = joined.max_ops if isinstance(joined.max_ops, int) else None
        self._idle_timeout = math.inf if joined.idle_timeout is None else joined.idle_timeout
        expires_in = math.inf if joined.expires_in is None else joined.expires_in
        self.expires_at = trio.current_time() + expires_in
        self._queue.put(self.replica.pending)
        if self._fetch is not None:
            self._queue.put((self._fetch.id,))
        self.connected = True
        # A page that came with the answer is kept, should the wire bring no more.
        self.progressed = isinstance(joined.ops, tuple) and bool(joined.ops)
        self._told_too_big = False
        self.tell()

    def _check_joined(self, joined: Joined, since: int) -> None:
        if joined.gathering != self.gathering_id:
            raise Lost("the server let us into another gathering")
        if self._began and joined.seq < max(since, self.replica.changes.arrived):
            raise Lost(f"its last op is {joined.seq}, and we have more", CloseCode.LOG_REPLACED)
        has = since + len(joined.ops) if isinstance(joined.ops, tuple) else since
        if has > joined.seq:
            raise Lost(f"the server says that its last op is {joined.seq}, but there is {has}")

    def lost(self, code: int | None = None) -> None:
        """The wire has ended, with that close code."""
        if code == CloseCode.TOO_BIG and not self._told_too_big and self._queue.sent:
            try:
                self._refuse_one(TooBig("the server takes no message of that size"))
            except Diverged:
                self.replica.start_over()
        elif code == CloseCode.RATE_LIMIT:
            self._queue.pace.slower(trio.current_time())
        self.connected = False
        self.replica.lost()
        self._queue.clear()
        self._ack_at = math.inf
        self.tell()

    def replaced(self, why: LogReplaced) -> None:
        """The log is another one than we know: begin again, from its first op."""
        self.replica.replaced(why)
        if self._fetch is not None:
            self._queue.forget(self._fetch.id)
        self._fetch = self._fetch_failure = None
        self.tell()

    # What goes out.

    async def send_all(self, wire: Wire) -> None:
        """Send what is asked for, and acknowledge what came, until cancelled or `Lost`."""
        while True:
            self._work = trio.Event()
            message = self._next(trio.current_time())
            if message is None:
                with trio.move_on_at(min(self._ack_at, self._queue.next_at)):
                    await self._work.wait()
            else:
                await wire.send(message)

    def _next(self, now: float) -> ClientMessage | None:
        if now >= self._ack_at:
            self._ack_at = math.inf
            self.expires_at = now + self._idle_timeout
            return Ack(self.replica.seq)
        while (request_id := self._queue.pop(now)) is not None:
            request = self._request(request_id)
            if request is not None:
                self._queue.went(request_id, now)
                return request
        return None

    def _request(self, request_id: str) -> Sync | Fetch | None:
        pending = self.replica.pending.get(request_id)
        if pending is not None:
            pending.sent = True
            return pending.sync
        return self._fetch if self._is_fetch(request_id) else None

    def _is_fetch(self, request_id: str) -> bool:
        return self._fetch is not None and self._fetch.id == request_id

    # What comes in.

    def take(self, message: Incoming) -> None:
        """Take in a message. Raises `Gap`, `Diverged`, `Lost`."""
        match message:
            case ForwardBatch(first, by, ops):
                self._arrived(first, ops, by, self._epoch(message))
                self._ack_at = min(self._ack_at, trio.current_time() + self.settings.ack_delay)
                self._work.set()
            case Synced():
                pending = self.replica.pending.get(message.id)
                if pending is not None:
                    self._synced(message, pending)
            case Conflict():
                pending = self.replica.pending.get(message.id)
                if pending is not None:
                    self._conflict(message, pending)
            case Fetched():
                if self._fetch is not None and self._fetch.id == message.id:
                    self._fetched(message, self._fetch)
            case Error(code, text, request_id):
                if request_id is None:
                    self._failed(code, text)
                else:
                    self._failed_one(request_id, code, text)
            case _:
                self._log(f"unexpected: {type(message).__name__}")

    def check_notice(self, notice: Dispersed) -> Dispersed:
        """Return the notice that the gathering has dispersed. Raises `Lost` if it's another."""
        if notice.gathering != self.gathering_id:
            raise Lost("the server says that another gathering has dispersed")
        return notice

    def _epoch(self, message: Joined | Fetched | Conflict | ForwardBatch) -> str | None:
        return message.epoch if isinstance(message.epoch, str) else self.incarnation

    def _arrived(
        self, first: int, ops: tuple[Op, ...], by: tuple[str | None, ...], epoch: str | None
    ) -> None:
        if self.replica.arrived(first, ops, by, epoch):
            self._moved_on()

    def _moved_on(self) -> None:
        self.progressed = True
        self.expires_at = trio.current_time() + self._idle_timeout
        self.tell()

    def _synced(self, synced: Synced, pending: Pending) -> None:
        ops = pending.sync.ops
        if len(synced.seqs) != len(ops):
            raise Lost(f"the server gave {len(synced.seqs)} seqs to {len(ops)} ops")
        logged = synced.ops if isinstance(synced.ops, tuple) else None
        if logged is None and self._max_ops is not None:
            # A server that tells its limit also tells what it logged, if that's something else.
            logged = ops
        self._answer(synced.id, synced.seqs)
        self._moved_on()
        # What was logged before we joined comes as ops, ours as well.
        stands_for_ops = synced.seqs[-1] > self._joined_seq
        epoch = self.incarnation
        self.replica.synced(synced.id, synced.seqs, logged, epoch, stands_for_ops=stands_for_ops)

    def _conflict(self, conflict: Conflict, pending: Pending) -> None:
        base = pending.sync.base
        if base + len(conflict.ops) > conflict.seq:
            raise Lost(f"the server sent {len(conflict.ops)} ops from {base} to {conflict.seq}")
        replica = self.replica
        if base + len(conflict.ops) > replica.seq and replica.identity.user in conflict.by:
            # It may overtake the answers to others of ours.
            replica.doubt()
        self._arrived(base + 1, conflict.ops, conflict.by, self._epoch(conflict))
        said = conflict.message
        why = said if isinstance(said, str) else "others were faster, and it can't be merged"
        self._refuse(conflict.id, OpConflict(why))

    def _fetched(self, fetched: Fetched, fetch: Fetch) -> None:
        since = fetch.since or 0
        if not isinstance(fetched.ops, tuple) or not isinstance(fetched.by, tuple):
            raise Lost("the server gave a snapshot where ops were asked for")
        if not fetched.ops or since + len(fetched.ops) > fetched.seq:
            raise Lost(
                f"the server gave {len(fetched.ops)} ops after {since}, of {fetched.seq} in all"
            )
        self._fetch = None
        self._done(fetch.id)
        self.replica.changes.refill(since + 1, fetched.ops, fetched.by)
        self._moved_on()

    # What the server refuses.

    def _failed_one(self, request_id: str, code: str, text: str) -> None:
        """The server refuses the request with this id."""
        self._told_too_big |= code == TooBig.code
        if request_id not in self.replica.pending and not self._is_fetch(request_id):
            self._log(text)
        elif code == LogReplaced.code:
            raise Lost(text, CloseCode.LOG_REPLACED)
        elif code in PASSING:
            self._repeat((request_id,), code)
        else:
            self._refuse(request_id, error_from(code, text))

    def _failed(self, code: str, text: str) -> None:
        """The server refuses something, and doesn't say what."""
        if code == LogReplaced.code:
            raise Lost(text, CloseCode.LOG_REPLACED)
        if code in FOR_THE_WIRE:
            raise Lost(f"the server says: {text}"[:500])
        self._told_too_big |= code == TooBig.code
        sent = tuple(self._queue.sent)
        if code in PASSING:
            self._repeat(sent, code)
        else:
            self._log(text)
            if sent:
                self._refuse_one(error_from(code, text))

    def _repeat(self, request_ids: Iterable[str], code: str) -> None:
        now = trio.current_time()
        if code == RATE_LIMITED:
            self._queue.pace.slower(now)
        self._queue.repeat(request_ids, now)
        self._work.set()

    def _refuse_one(self, error: GatheringsError) -> None:
        """Refuse what was sent, or if that's several, find out which of them is meant."""
        sent = tuple(self._queue.sent)
        if len(sent) == 1:
            self._refuse(sent[0], error)
        else:
            self._queue.suspect(sent, trio.current_time())
            self._work.set()

    def _refuse(self, request_id: str, error: GatheringsError) -> None:
        if self._is_fetch(request_id):
            self._fetch, self._fetch_failure = None, error
            self._done(request_id)
        else:
            self._answer(request_id, error)
            self.replica.failed(request_id)
        self.tell()

    def _answer(self, sync_id: str, outcome: tuple[int, ...] | GatheringsError) -> None:
        if sync_id in self._answers:
            self._answers[sync_id].give(outcome)
        self._done(sync_id)

    def _done(self, request_id: str) -> None:
        self._queue.done(request_id)
        # What waited for its answer may go out now.
        self._work.set()

    def _log(self, text: str) -> None:
        _log.warning("the server says: %s", text[:500], extra={"gathering": self.gathering_id})
