"""The exchange: what a client and a gathering say to each other, on any number of connections."""

import logging
import math

import msgspec
import trio
from attrs import define, field

from squire_gatherings._client.contradictions import check_conflict, check_joined, page_of
from squire_gatherings._client.incoming import Incoming
from squire_gatherings._client.pace import Pace
from squire_gatherings._client.presence import PresenceState
from squire_gatherings._client.queue import Queue
from squire_gatherings._client.remaining import Remaining
from squire_gatherings._client.renewal import Renewal
from squire_gatherings._client.requests import Requests
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._client.websocket import Lost
from squire_gatherings._client.wire import Wire
from squire_gatherings._rules.replica import Pending, Replica
from squire_gatherings._values.errors import (
    BadBase,
    GatheringsError,
    LogReplaced,
    OpConflict,
    Unauthorized,
)
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import (
    Ack,
    ClientMessage,
    Conflict,
    Ending,
    Error,
    Fetch,
    Fetched,
    ForwardBatch,
    Joined,
    Presence,
    Proof,
    Refreshed,
    Renew,
    Synced,
    SyncRun,
)
from squire_gatherings._values.op import Op

_log = logging.getLogger(__name__)


@define(eq=False)
class Exchange:
    """What one client asks of a gathering, and what comes from it."""

    gathering_id: str
    settings: ClientSettings
    replica: Replica
    since: int | None
    """The seq after which the changes are wanted; None: from the first join on."""
    times: bool = False
    """Whether the times of ops are wanted."""
    syncs: bool = False
    """Whether it is wanted which syncs they came from."""
    requests: Requests = field(init=False)
    presence: PresenceState = field(init=False)
    """Who else is here, and how we are shown."""
    renewal: Renewal = field(factory=Renewal)
    """When our rights end, and whether they are to be renewed."""
    failure: GatheringsError | None = None
    """Why nothing more will be answered."""
    incarnation: str | None = None
    """The gathering's incarnation that we were in last."""
    known: Proof | None = None
    """What we were told last that proves the log."""
    _joined_seq: int = 0
    """The log's end when we joined on this connection."""
    remaining: Remaining = field(factory=Remaining)
    """How long the gathering lives, as far as we hear."""
    progressed: bool = False
    """Whether this connection was good for something."""
    rejoining: int = 0
    """How many tasks wait until this client is in the gathering."""
    news: trio.Event = field(factory=trio.Event)
    """Set, and replaced, whenever something has changed."""
    wanted: trio.Event = field(factory=trio.Event)
    """Set when somebody asks for something."""
    _work: trio.Event = field(factory=trio.Event)
    """Set when something may go out."""
    _began: bool = False
    _ack_at: float = math.inf
    _least_ack_delay: float = 0.0
    """How long the server asks us to wait before we acknowledge."""

    @requests.default
    def _no_requests(self) -> Requests:
        interval = self.settings.repeat_interval
        queue = Queue(Pace(self.settings.max_pause, interval), interval)
        return Requests(self.gathering_id, self.replica, queue)

    @presence.default
    def _no_presence(self) -> PresenceState:
        return PresenceState(self.settings.presence_interval)

    # Asking.

    async def submit(self, sync_id: str, ops: tuple[Op, ...]) -> tuple[int, ...]:
        """Submit a sync until it is answered; return its seqs, or raise the server's refusal.

        Cancelled, it's withdrawn if it wasn't sent; else it may or may not be applied. It isn't
        cancelled any more once it is answered.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check()
        answer = self.requests.ask_to_sync(sync_id, ops)
        self._asked()
        try:
            return await answer.wait()
        except trio.Cancelled:
            self.requests.withdraw(sync_id, answer)
            raise
        finally:
            self.requests.leave(sync_id, answer)

    async def look(self, fetch: Fetch) -> Fetched:
        """Ask for an earlier state until it is answered; raise the server's refusal.

        Cancelled, it's no more asked for.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check()
        answer = self.requests.ask_to_look(fetch)
        self._asked()
        try:
            return await answer.wait()
        finally:
            self.requests.no_look(fetch.id)

    def refill(self, since: int) -> None:
        """Have the ops after `since`, which the reader lacks, fetched: news will tell.

        Raises, once, why that failed.
        """
        self.check()
        self.requests.ask_to_fetch(since)
        self._asked()

    def _asked(self) -> None:
        self._work.set()
        self.wanted.set()

    @property
    def connected(self) -> bool:
        """Whether the connection is up, and the server has let us in."""
        return self.requests.is_open

    @property
    def is_waiting(self) -> bool:
        """Whether something is asked for that wasn't answered."""
        return bool(self.requests) or self.rejoining > 0

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
        """Tell all that wait, and all that ask later, `error`."""
        if self.failure is None:
            self.failure = error
            self.requests.fail(error)
            self.tell()

    def tell(self) -> None:
        """Wake all that wait for news."""
        self.news.set()
        self.news = trio.Event()

    # Connections begin and end.

    def joined(self, joined: Joined, since: int) -> None:
        """The server let us in, who had everything up to `since`.

        Raises `BadBase` on the first join, where the changes that are wanted don't exist yet;
        and `Gap`, `Diverged`, `Lost`.
        """
        has = max(since, self.replica.changes.arrived) if self._began else 0
        check_joined(joined, self.gathering_id, since, has)
        self.replica.identify(Identity(joined.user, joined.role))
        self.renewal.begin(joined.rights_expire_in)
        self.incarnation = joined.incarnation
        epoch = self._epoch(joined)
        self._joined_seq = joined.seq
        self._note_proof(joined)
        skips = self.wants_tail and not joined.ops
        if not self._began:
            position = joined.seq if self.since is None else self.since
            if position > joined.seq:
                raise BadBase(f"since is {position}, but the last op is {joined.seq}")
            self.replica.changes.begin(position, position)
            self._began = True
        first = joined.first_seq if isinstance(joined.first_seq, int) else since + 1
        if first > since + 1:
            self.replica.skip_to(first - 1, epoch)
        if skips:
            self.replica.skip_to(joined.seq, epoch)
        elif isinstance(joined.ops, tuple) and isinstance(joined.by, tuple):
            ops, by = joined.ops, joined.by
            self.replica.arrived(first, ops, by, epoch, _times(joined), _syncs(joined))
        else:
            assert isinstance(joined.snapshot, msgspec.Raw)
            self.replica.restored(joined.seq, bytes(joined.snapshot), epoch)
        now = trio.current_time()
        self.remaining.joined(joined, now)
        self._least_ack_delay = joined.ack_delay if isinstance(joined.ack_delay, float) else 0.0
        self.requests.begin(joined.max_ops if isinstance(joined.max_ops, int) else None)
        self.presence.joined(now)
        # A page that came with the answer is kept, should the wire bring no more.
        self.progressed = isinstance(joined.ops, tuple) and bool(joined.ops)
        self.tell()

    def lost(self, code: int | None = None) -> None:
        """The connection has ended, with that close code."""
        self.requests.lost(code, trio.current_time())
        self.renewal.lost()
        self.presence.lost()
        self.remaining.lost()
        self._ack_at = math.inf
        self.tell()

    def replaced(self, why: LogReplaced) -> None:
        """The log is another one than we know: begin again, from its first op."""
        self.replica.replaced(why)
        self.known = None
        self.requests.start_over()
        self.tell()

    # What goes out.

    async def send_all(self, wire: Wire) -> None:
        """Send what is asked for, and acknowledge what came, until cancelled or `Lost`."""
        while True:
            self._work = trio.Event()
            message = self._next(trio.current_time())
            if message is None:
                with trio.move_on_at(self._next_at):
                    await self._work.wait()
            else:
                await wire.send(message)

    def _next(self, now: float) -> ClientMessage | None:
        if now >= self._ack_at:
            self._ack_at = math.inf
            self.remaining.used(now)
            return Ack(self.replica.seq)
        return self.renewal.next() or self.presence.next(now) or self.requests.next(now)

    @property
    def _next_at(self) -> float:
        return min(self._ack_at, self.requests.queue.next_at, self.presence.next_at)

    @property
    def _ack_delay(self) -> float:
        delay = self.settings.ack_delay
        return delay and max(delay, self._least_ack_delay)

    def send_soon(self) -> None:
        """Something is to go out."""
        self._work.set()

    # What comes in.

    def take(self, message: Incoming) -> None:
        """Take in a message. Raises `Gap`, `Diverged`, `Lost`."""
        match message:
            case ForwardBatch(first, by, ops):
                self._arrived(first, ops, by, message)
                self._ack_at = min(self._ack_at, trio.current_time() + self._ack_delay)
                self._work.set()
            case Synced():
                if (sync := self.requests.sync_of(message.id)) is not None:
                    self._synced(message, sync)
            case Conflict():
                if (sync := self.requests.sync_of(message.id)) is not None:
                    self._conflict(message, sync)
            case Fetched() if message.id in self.requests.looks:
                self.requests.looked(message)
                self._work.set()
            case Fetched():
                if (fetch := self.requests.fetch_of(message.id)) is not None:
                    self._fetched(message, fetch)
            case Refreshed():
                self._refreshed(message)
            case Ending():
                self.remaining.told(message, trio.current_time())
                self.tell()
            case Presence():
                self.presence.take(message)
                self.tell()
            case Renew():
                self.renewal.want()
            case Error():
                if self.renewal.failed(message):
                    return
                if self.presence.failed(message, trio.current_time()):
                    self._work.set()
                else:
                    self.requests.failed(message, trio.current_time())
                    if message.code == Unauthorized.code:
                        self.renewal.want()
                    self._answered()
            case _:
                self._log_unexpected(message)

    def _epoch(self, message: Joined | Fetched | Conflict | ForwardBatch) -> str | None:
        return message.epoch if isinstance(message.epoch, str) else self.incarnation

    def _note_proof(self, message: Joined | Fetched) -> None:
        proof = message.proof
        if isinstance(proof, Proof) and (self.known is None or proof.seq >= self.known.seq):
            self.known = proof

    def _arrived(
        self,
        first: int,
        ops: tuple[Op, ...],
        by: tuple[str | None, ...],
        message: Conflict | ForwardBatch,
    ) -> None:
        epoch, times, syncs = self._epoch(message), _times(message), _syncs(message)
        if self.replica.arrived(first, ops, by, epoch, times, syncs):
            self._moved_on()

    def _moved_on(self) -> None:
        self.progressed = True
        self.remaining.used(trio.current_time())
        self.tell()

    def _synced(self, synced: Synced, pending: Pending) -> None:
        ops = pending.sync.ops
        if len(synced.seqs) != len(ops):
            raise Lost(f"the server gave {len(synced.seqs)} seqs to {len(ops)} ops")
        logged = synced.ops if isinstance(synced.ops, tuple) else None
        if logged is None and self.requests.max_ops is not None:
            # A server that tells its limit also tells what it logged, if that's something else.
            logged = ops
        self.requests.synced(synced.id, synced.seqs)
        self._work.set()
        self._moved_on()
        # What was logged before we joined comes as ops, ours as well.
        stands_for_ops = synced.seqs[-1] > self._joined_seq
        self.replica.synced(
            synced.id,
            synced.seqs,
            logged,
            self.incarnation,
            time=synced.time if isinstance(synced.time, int) else 0,
            stands_for_ops=stands_for_ops,
        )

    def _conflict(self, conflict: Conflict, pending: Pending) -> None:
        base = pending.sync.base
        check_conflict(conflict, base)
        replica = self.replica
        if base + len(conflict.ops) > replica.seq and replica.identity.user in conflict.by:
            # It may overtake the answers to others of ours.
            replica.doubt()
        self._arrived(base + 1, conflict.ops, conflict.by, conflict)
        said = conflict.message
        why = said if isinstance(said, str) else "others were faster, and it can't be merged"
        self.requests.refused(conflict.id, OpConflict(why))
        self._answered()

    def _fetched(self, fetched: Fetched, fetch: Fetch) -> None:
        first, ops, by = page_of(fetched, fetch)
        self.requests.fetched(fetch)
        self._work.set()
        self._note_proof(fetched)
        self.replica.changes.refill(first, ops, by, _times(fetched), _syncs(fetched))
        self._moved_on()

    def _refreshed(self, refreshed: Refreshed) -> None:
        self.replica.identify(Identity(self.replica.identity.user, refreshed.role))
        self.renewal.told(refreshed)
        if not self.renewal.has_ended:
            self.requests.queue.go_on(trio.current_time())
        self._answered()

    def _answered(self) -> None:
        # What waited for the answer may go out now.
        self._work.set()
        self.tell()

    def _log_unexpected(self, message: Incoming) -> None:
        what = type(message).__name__
        _log.warning(
            "the server says: unexpected: %s", what, extra={"gathering": self.gathering_id}
        )


def _times(message: Joined | Fetched | Conflict | ForwardBatch) -> tuple[int, ...]:
    return message.times if isinstance(message.times, tuple) else ()


def _syncs(message: Joined | Fetched | Conflict | ForwardBatch) -> tuple[SyncRun, ...]:
    return message.syncs if isinstance(message.syncs, tuple) else ()
