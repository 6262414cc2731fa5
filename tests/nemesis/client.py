"""A client of one gathering: it joins, submits, reads and comes back, and notes what it is told.

It reaches for any node, and for another one when it isn't answered. A sync that wasn't answered is
sent again, under the same id, until it is.
"""

import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from time import monotonic
from typing import Protocol

import msgspec
from attrs import define, field

from squire_gatherings._load.clients import frames
from squire_gatherings._load.clients.link import Link
from tests.nemesis import messages
from tests.nemesis.allowed import AGAIN, CODES, DISPERSED, GONE, MOVED, PASSING
from tests.nemesis.crowd import Crowd
from tests.nemesis.ends import Ends
from tests.nemesis.history import Append, Operation, Read, Sight
from tests.nemesis.pending import Pending

PAUSE = 0.1
"""Seconds: the first pause before another try; it doubles up to the longest of the crowd."""
SEND_AGAIN = 0.5
"""Seconds after which a sync is sent again that was refused for now."""


class Host(Protocol):
    """The gathering of a client."""

    name: str
    ends: Ends
    history: list[Operation]
    notes: list[tuple[float, str]]


class State(Enum):
    """How a client stands."""

    AWAY = auto()
    CONNECTING = auto()
    JOINING = auto()
    IN = auto()
    NOTICED = auto()
    """It was told the end; a close frame must follow, and nothing else."""


@define(eq=False)
class Client:
    """One client. Times are of `time.monotonic`."""

    _crowd: Crowd
    _host: Host
    name: str
    stays: bool = True
    """Whether it comes back by itself."""
    state: State = field(default=State.AWAY, init=False)
    have: int = field(default=0, init=False)
    """Every seq up to here has come."""
    incarnation: str = field(default="", init=False)
    """The one that it has joined, or joined last."""
    pending: dict[str, Pending] = field(factory=dict, init=False)
    _link: Link | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)
    """Of the node that it has reached for."""
    _known: int = field(default=0, init=False)
    """The `have` with which it asked to join."""
    _asked: float = field(default=0.0, init=False)
    """When it asked for what it waits for."""
    _fetching: tuple[str, float, int] | None = field(default=None, init=False)
    """The id, the instant and `since` of its fetch."""
    _own: set[str] = field(factory=set, init=False)
    """The ops that it has sent on this connection, and on no other."""
    _answered: dict[str, list[int]] = field(factory=dict, init=False)
    """The seqs of each sync, as it was answered on this connection."""
    _goal: int = field(default=0, init=False)
    """Where the log ended when it joined: up to there, its own ops are forwarded, too."""
    _acked: int = field(default=0, init=False)
    _will_ack: bool = field(default=False, init=False)
    _pause: float = field(default=PAUSE, init=False)
    _was_moved: bool = field(default=False, init=False)
    """Whether its gathering has just gone to another node."""
    _is_explained: bool = field(default=False, init=False)
    """Whether the end of this connection needs no other explanation."""
    _lives: int = field(default=0, init=False)
    """How many connections it has had: what was planned for an old one isn't for a new one."""

    # What it's told to do.

    def arrive(self) -> None:
        """Connect to some node, and join."""
        if self.state is not State.AWAY:
            return
        self._lives += 1
        self._is_explained = False
        self.state, self._asked = State.CONNECTING, monotonic()
        address = self._crowd.choose.choice(self._crowd.addresses())
        path = f"/gatherings/{self._host.name}"
        self._port = address[1]
        try:
            self._link = Link(self._crowd.poller, address, path, self)
        except OSError:
            self._gone()

    def submit(self, count: int) -> None:
        """Submit ops; if it isn't in, then once it is."""
        now = monotonic()
        number = self._crowd.number()
        ops = tuple(f"{number}.{n}" for n in range(count))
        self.pending[str(number)] = Pending(ops, now, now, now)
        if self.state is State.IN:
            self._sync(str(number))

    def fetch(self) -> None:
        """Ask what there is, unless it has asked already."""
        if self.state is State.IN and self._fetching is None:
            since = max(0, self.have - 3)
            self._fetching = str(self._crowd.number()), monotonic(), since
            self._say(messages.encode("fetch", id=self._fetching[0], since=since))

    def cut(self, *, politely: bool = False) -> None:
        """Go away: with a `leave`, or without a word."""
        if self._link is not None:
            if politely and self.state is State.IN:
                self._say(messages.encode("leave"))
            self._link.close()
            self._gone()

    def look(self, now: float) -> None:
        """Try another node if this one doesn't answer."""
        waits = self.state in (State.CONNECTING, State.JOINING, State.NOTICED)
        since = [self._asked] if waits else [one.sent for one in self.pending.values()]
        if self._fetching is not None:
            since.append(self._fetching[1])
        if self.state is State.AWAY or not since or now - min(since) < self._crowd.patience:
            return
        self._crowd.diary.counts["unanswered"] += 1
        what = f"not answered for {now - min(since):.1f} s ({self.state.name})"
        self._undisturbed(what, since=min(since))
        self.cut()

    # What its link tells it.

    def opened(self) -> None:
        """Join."""
        self.state, self._asked, self._known = State.JOINING, monotonic(), self.have
        self._own.clear()
        self._answered.clear()
        self._acked = self.have
        self._say(messages.encode("join", client=f"secret of {self.name}", since=self.have))

    def message(self, payload: bytes, now: float) -> None:
        """Take in a message."""
        try:
            message = messages.decode(payload)
        except msgspec.ValidationError as error:
            self._wrong(f"{error}: {payload[:200]!r}")
            return
        if self.state is State.NOTICED:
            self._wrong(f"after the notice: {payload[:200]!r}")
        elif isinstance(message, messages.Forward):
            self._forward(message, now)
        elif isinstance(message, messages.Synced):
            self._synced(message, now)
        elif isinstance(message, messages.Joined):
            self._joined(message, now)
        elif isinstance(message, messages.Fetched):
            self._fetched(message, now)
        elif isinstance(message, messages.Dispersed):
            self._dispersed(message, now)
        else:
            self._refused(message)

    def ponged(self) -> None:
        """Nothing is asked for by pings."""

    def closing(self, code: int, now: float) -> None:
        """The node closes the connection."""
        self._crowd.diary.counts[f"closed with {code}"] += 1
        if code not in CODES:
            self._wrong(f"closed with {code}")
        self._undisturbed(f"closed with {code}")
        self._is_explained = True
        if code == DISPERSED and self.state is not State.NOTICED:
            self._wrong("closed with 4001 without a notice")

    def ended(self, why: str) -> None:
        """The connection is over."""
        if self.state is State.CONNECTING and why.startswith("the server answered"):
            self._crowd.diary.counts["refused handshakes"] += 1
            if " 503 " not in why:
                self._wrong(why)
        self._note(why)
        self._undisturbed(why)
        self._gone()

    # The messages.

    def _joined(self, joined: messages.Joined, now: float) -> None:
        if self.state is not State.JOINING:
            self._wrong("`joined` came twice")
        self.state, self.incarnation, self._pause = State.IN, joined.incarnation, PAUSE
        self._crowd.diary.counts["joins"] += 1
        self._note(f"joined {joined.incarnation} at {joined.seq}")
        self._read(self._asked, now, joined.seq, self._known, joined.ops)
        self._host.ends.joined(joined.incarnation, self._asked)
        self.have, self._goal = self._known + len(joined.ops), joined.seq
        if self._goal < self.have:
            self._wrong(f"joined at {self._goal} with {self.have} ops")
        for id_ in self.pending:
            self._sync(id_)

    def _fetched(self, fetched: messages.Fetched, now: float) -> None:
        if self._fetching is None or fetched.id != self._fetching[0]:
            self._wrong(f"fetched {fetched.id}, which wasn't asked for")
            return
        _, asked, since = self._fetching
        self._fetching = None
        self._read(asked, now, fetched.seq, since, fetched.ops)
        self._host.ends.answered(self.incarnation, asked)

    def _forward(self, forward: messages.Forward, now: float) -> None:
        ops = _texts(forward.ops if forward.op is None else [forward.op])
        if self.state is not State.IN or not ops:
            self._wrong(f"a forward that can't be: {forward}")
        self._host.history.append(Sight(client=self.name, at=now, first=forward.seq, ops=ops))
        self._crowd.diary.counts["forwards"] += len(ops)
        if self._own.intersection(ops):
            self._wrong(f"its own ops were forwarded: {forward}")
        if forward.seq > self.have + 1:
            self._wrong(f"forwarded {forward.seq} when it had {self.have}")
        self.have = max(self.have, forward.seq + len(ops) - 1)
        self._ack_soon()

    def _synced(self, synced: messages.Synced, now: float) -> None:
        pending = self.pending.pop(synced.id, None)
        seqs = synced.seqs
        if pending is None:
            # One that was sent again after `store_unavailable` may be answered twice.
            if self._answered.get(synced.id) != seqs:
                self._wrong(f"{synced} answers nothing; {self._answered.get(synced.id)}")
            return
        self._answered[synced.id] = seqs
        if seqs != list(range(seqs[0], seqs[0] + len(pending.ops))):
            self._wrong(f"{len(pending.ops)} ops have the seqs {seqs}")
        if seqs[0] <= self.have + 1:
            self.have = max(self.have, seqs[-1])
        elif not pending.is_repeated or seqs[-1] > self._goal:
            self._wrong(f"its sync has {seqs}, and it had {self.have}")
        self._host.history.append(
            Append(
                client=self.name,
                invoked=pending.invoked,
                returned=now,
                ops=pending.ops,
                first=seqs[0],
                # One that was sent before may have been done by an earlier incarnation.
                incarnation=None if pending.is_repeated else self.incarnation,
            )
        )
        sent = pending.first_here if pending.is_refused else pending.sent
        self._host.ends.answered(self.incarnation, sent)
        self._crowd.diary.counts["syncs"] += 1
        self._ack_soon()

    def _dispersed(self, notice: messages.Dispersed, now: float) -> None:
        diary = self._crowd.diary
        diary.counts[f"told {notice.reason}"] += 1
        self._note(str(notice))
        if (notice.gathering, notice.incarnation) != (self._host.name, self.incarnation):
            self._wrong(f"the notice of another end: {notice}")
        self.state, self._asked = State.NOTICED, now
        if notice.reason in GONE and notice.reason != MOVED:
            self._undisturbed(f"told {notice}")
        self._is_explained = True
        self._was_moved = notice.reason == MOVED
        if notice.reason in GONE:
            return
        if notice.reason != "idle":
            self._wrong(f"ended by a rule that isn't there: {notice}")
        if notice.seq != self.have:
            self._wrong(f"told the end at {notice.seq}, and had {self.have}")
        self._host.ends.noticed(notice.incarnation, notice.seq, notice.idle_for, now)

    def _refused(self, error: messages.Error) -> None:
        self._crowd.diary.counts[f"error {error.code}"] += 1
        self._note(str(error))
        if error.code == MOVED and self.state is State.JOINING:
            self._is_explained = True
        self._undisturbed(f"told {error}")
        if self.state is State.JOINING:
            if error.code not in PASSING:
                self._wrong(f"its join was refused: {error}")
        elif error.id in self.pending:
            if error.code not in AGAIN:
                self._wrong(f"its sync was refused: {error}")
            self.pending[error.id].is_refused = True
            self._later(SEND_AGAIN, partial(self._again, error.id))
        elif self._fetching is not None and error.id == self._fetching[0]:
            if error.code not in AGAIN:
                self._wrong(f"its fetch was refused: {error}")
            self._fetching = None
        elif error.id is None and error.code not in PASSING:
            self._wrong(f"told {error}")

    # Smaller parts.

    def _read(self, asked: float, now: float, seq: int, since: int, ops: list[messages.Op]) -> None:
        self._host.history.append(
            Read(
                client=self.name,
                invoked=asked,
                returned=now,
                seq=seq,
                first=since + 1,
                ops=_texts(ops),
                incarnation=self.incarnation,
            )
        )

    def _sync(self, id_: str) -> None:
        pending = self.pending[id_]
        pending.sent = monotonic()
        if not pending.is_refused:
            pending.first_here = pending.sent
        if not pending.is_repeated:
            self._own.update(pending.ops)
        ops = [{"is": op} for op in pending.ops]
        self._say(messages.encode("sync", id=id_, base=self.have, ops=ops))

    def _again(self, id_: str) -> None:
        if id_ in self.pending and self.state is State.IN:
            self._sync(id_)

    def _ack_soon(self) -> None:
        if not self._will_ack:
            self._will_ack = True
            self._later(0.05, self._ack)

    def _ack(self) -> None:
        self._will_ack = False
        if self.state is State.IN and self.have > self._acked:
            self._acked = self.have
            self._say(messages.encode("ack", seq=self.have))

    def _say(self, message: bytes) -> None:
        assert self._link is not None
        self._host.ends.sent = monotonic()
        self._link.send(frames.text(message))

    def _later(self, delay: float, do: Callable[[], None]) -> None:
        """Do something unless the connection is another one by then."""
        lives = self._lives

        def act() -> None:
            if self._lives == lives:
                do()

        self._crowd.schedule.at(monotonic() + delay, act)

    def _gone(self) -> None:
        """Come back after a pause."""
        self._link, self._fetching, self._will_ack = None, None, False
        if self.state is State.IN:
            for one in self.pending.values():
                one.is_repeated, one.is_refused = True, False
        self.state = State.AWAY
        self._lives += 1
        if self.stays:
            # After `moved` it may come back at once, but not twice in a row for nothing.
            pause = 0.0 if self._was_moved else self._crowd.choose.uniform(0, self._pause)
            self._was_moved = False
            self._later(pause, self._return)
            self._pause = min(2 * self._pause, self._crowd.longest_pause)

    def _undisturbed(self, what: str, *, since: float = math.inf) -> None:
        """What is the nodes' right while something is done to them, and wrong otherwise."""
        now = monotonic()
        if not self._is_explained and not self._crowd.diary.is_disturbed(min(since, now), now):
            self._wrong(f"{what}, though nothing was done to the nodes")

    def _return(self) -> None:
        if self.stays:
            self.arrive()

    def _wrong(self, what: str) -> None:
        self._note(f"VIOLATION: {what}")
        self._crowd.diary.violated(f"{self._host.name}, {self.name}: {what}", self._host.name)

    def _note(self, what: str) -> None:
        self._host.notes.append((monotonic(), f"{self.name} at {self._port}: {what}"))


def _texts(ops: Sequence[messages.Op] | None) -> tuple[str, ...]:
    return tuple(op.is_ for op in ops or ())
