"""The onlooker: one lean client, which joins, submits, acknowledges, leaves and returns.

It sees everything through its `Feed`; whatever the server does that it may not becomes a
violation, named, and the onlooker goes on as well as it can.
"""

from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define

from squire_gatherings._load import frames, messages
from squire_gatherings._load.feed import Feed
from squire_gatherings._load.findings import Finding, Kind
from squire_gatherings._load.life import Life
from squire_gatherings._load.link import Link

if TYPE_CHECKING:
    from squire_gatherings._load.crowd import Crowd

DISPERSED = 4001
PONG_MARGIN = 0.1
AWAY_AT_MOST = 1.0
LEFT = 1000


class State(Enum):
    """How an onlooker stands."""

    AWAY = auto()
    JOINING = auto()
    JOINED = auto()
    LEAVING = auto()
    NOTICED = auto()
    """It was told that the gathering ended; a close frame must follow."""
    CLOSED = auto()
    """The close frame came; nothing may follow."""


@define(eq=False)
class Submitted:
    """An op whose answer is awaited."""

    op: bytes
    due: float
    sent: float = 0.0
    acked: int = 0
    """What we had acknowledged on the connection when we sent it."""


class Onlooker:
    """One client. None of its methods waits; times are of `time.monotonic`."""

    __slots__ = (
        "_ack_wanted",
        "_again",
        "_asked_at",
        "_crowd",
        "_known_before",
        "_link",
        "_ping_sent",
        "_pong_at",
        "_tally",
        "_target",
        "_workshop",
        "client",
        "feed",
        "life",
        "number",
        "returning",
        "state",
        "submitted",
    )

    def __init__(self, crowd: "Crowd", number: int) -> None:
        workshop = crowd.workshop
        self._crowd = crowd
        self._workshop = workshop
        self._tally = workshop.tally
        self.number = number
        self.client = f"{crowd.name}-{number}"
        plan = workshop.plan
        self.feed = Feed(number, crowd.ledger, plan.retry_interval, workshop.pad)
        self.state = State.AWAY
        self.returning = False
        """Whether it's away only for a while."""
        self.life: Life | None = None
        self.submitted: dict[int, Submitted] = {}
        self._link: Link | None = None
        self._ack_wanted = False
        self._again = False
        self._asked_at = 0.0
        self._known_before = 0
        self._target = 0
        self._ping_sent: float | None = None
        self._pong_at = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether it may submit: connected, and it has what there was when it joined."""
        return self.state is State.JOINED and self.feed.have >= self._target

    @property
    def is_gone(self) -> bool:
        """Whether it has no connection, and won't have one by itself."""
        return self.state is State.AWAY and not self.returning

    def overdue(self, now: float) -> None:
        """Look whether the server owes it something for too long."""
        patience = self._workshop.plan.patience
        for number, submitted in tuple(self.submitted.items()):
            # While it's away, it can't be answered; it's never away for long.
            asked_at = submitted.sent or submitted.due + AWAY_AT_MOST
            if now - asked_at > patience:
                del self.submitted[number]
                what = f"sync {number} was not answered for {patience:g} s"
                self._found(Finding(Kind.UNANSWERED, what))
        asked = self.state in (State.JOINING, State.LEAVING, State.NOTICED, State.CLOSED)
        if asked and now - self._asked_at > patience:
            if self.state is not State.CLOSED:
                what = f"{self.state.name.lower()} for {patience:g} s without an answer"
                self._found(Finding(Kind.UNANSWERED, what))
            self.cut()

    # Coming, submitting, going.

    def arrive(self) -> None:
        """Connect and join, unless it's there."""
        self.returning = False
        if self._workshop.stopping:
            return
        if self.state is not State.AWAY:
            # Its old connection isn't quite over yet.
            self._again = self.state not in (State.JOINING, State.JOINED)
            return
        plan = self._workshop.plan
        self.state = State.JOINING
        self._asked_at = monotonic()
        self._workshop.opening += 1
        try:
            self._link = Link(
                self._workshop.poller,
                (plan.host, plan.port),
                f"/gatherings/{self._crowd.name}",
                self,
            )
        except OSError as error:
            self.ended(f"can't connect: {error.strerror}")

    def submit(self, number: int, due: float, op: bytes) -> None:
        """Submit an op now if that's possible, else when it is."""
        self.submitted[number] = Submitted(op, due)
        if self.is_ready:
            self._send_sync(number)

    def acknowledge(self, now: float) -> None:
        """Acknowledge what came since the last time."""
        self._ack_wanted = False
        if self.state is not State.JOINED or self.feed.have <= self.feed.acked:
            return
        assert self._link is not None
        assert self.life is not None
        have = self.feed.acked = self.feed.have
        self.life.sent = now
        self._tally.counts["acks"] += 1
        if self._crowd.is_quiet(now) and self._pong_counts(now):
            # An ack has no answer; the pong proves that this one came before the notice.
            self._ping_sent, self._pong_at = now, 0.0
            self._link.send(frames.text(messages.ack(have)) + frames.ping())
        else:
            self._link.send(frames.text(messages.ack(have)))

    def leave(self, *, politely: bool) -> None:
        """Go away: with `leave`, or as a network failure looks."""
        if self.state is not State.JOINED:
            return
        assert self._link is not None
        assert self.life is not None
        self._tally.counts["leaves"] += 1
        if politely:
            self.life.sent = self._asked_at = monotonic()
            self._out_of_life(State.LEAVING)
            self._link.send(frames.text(messages.LEAVE))
        else:
            self.cut()

    def cut(self) -> None:
        """End the connection without a word."""
        if self._link is not None:
            self._link.close()
            self._gone()

    # What its link tells it.

    def opened(self) -> None:
        """Join."""
        assert self._link is not None
        self._asked_at = monotonic()
        self._known_before = self._crowd.ledger.acknowledged
        self.feed.begin()
        self._link.send(frames.text(messages.join(self.client, self.feed.have)))

    def message(self, payload: bytes, now: float) -> None:
        """Take in a message of the server."""
        try:
            self._message(payload, now)
        except Finding as finding:
            self._found(finding)

    def ponged(self) -> None:
        """The last acknowledgement has been taken in."""
        self._pong_at = monotonic()

    def closing(self, code: int, now: float) -> None:
        """The server closes: as it should?"""
        state = self.state
        if state is State.NOTICED:
            self.state = State.CLOSED
            if code != DISPERSED:
                self._found(Finding(Kind.CLOSED, f"the notice was followed by close code {code}"))
        elif state is State.CLOSED:
            self._found(Finding(Kind.AFTER_NOTICE, "a second close frame"))
        elif state is State.LEAVING:
            self.state = State.CLOSED
            if code == LEFT:
                # Only who was a member is told so: the gathering processed our leaving.
                if self.life is not None:
                    self.life.was_processed(self._asked_at)
            else:
                self._found(Finding(Kind.CLOSED, f"leaving was answered with close code {code}"))
        else:
            kind = Kind.NO_NOTICE if code == DISPERSED else Kind.CLOSED
            self._found(Finding(kind, f"closed with {code} without a notice"))
            self._out_of_life(State.CLOSED)

    def ended(self, why: str) -> None:
        """The connection is over."""
        if self.state is State.JOINING:
            self.submitted.clear()
            self._found(Finding(Kind.CONNECT, why))
        elif self.state is State.NOTICED:
            self._found(Finding(Kind.CLOSED, f"no close frame after the notice: {why}"))
        elif self.state is State.JOINED:
            self._found(Finding(Kind.CLOSED, f"cut off without a notice: {why}"))
        self._gone()

    # The messages.

    def _message(self, payload: bytes, now: float) -> None:
        try:
            message = messages.DECODE(payload)
        except ValueError as error:
            raise Finding(Kind.PROTOCOL, f"{error}: {payload[:100]!r}") from None
        if self.state in (State.NOTICED, State.CLOSED):
            if isinstance(message, messages.Dispersed):
                raise Finding(Kind.TWO_NOTICES, "the notice came twice", message.seq)
            raise Finding(Kind.AFTER_NOTICE, f"{payload[:100]!r}")
        if type(message) is messages.Forward:
            self._forward(message, now)
        elif type(message) is messages.Synced:
            self._synced(message, now)
        elif type(message) is messages.Joined:
            self._joined(message, now)
        elif type(message) is messages.Dispersed:
            self._dispersed(message, now)
        else:
            raise Finding(Kind.REFUSED, f"{payload[:200]!r}")

    def _forward(self, forward: messages.Forward, now: float) -> None:
        if self.state is State.JOINING:
            raise Finding(Kind.PROTOCOL, "a forward before `joined`", forward.seq)
        feed, tally = self.feed, self._tally
        ops = (forward.op,) if forward.op is not None else forward.ops or ()
        if not ops:
            raise Finding(Kind.PROTOCOL, "a forward without an op", forward.seq)
        repeated = feed.repeated
        tally.counts["forwards"] += len(ops)
        if not self._ack_wanted:
            self._ack_wanted = True
            self._workshop.ack_soon(self, now)
        for seq, op in enumerate(ops, forward.seq):
            try:
                feed.forwarded(seq, op, now)
            except Finding as finding:
                self._found(finding)
            else:
                undisturbed = op.n not in self._crowd.disturbed
                if feed.repeated == repeated and seq > self._target and undisturbed:
                    tally.forward_us.append(int((now - op.at) * 1e6))
        tally.counts["repeats"] += feed.repeated - repeated
        if self.submitted and feed.have >= self._target:
            self._send_unsent()

    def _synced(self, synced: messages.Synced, now: float) -> None:
        seqs = synced.seqs
        number = int(synced.id) if synced.id.isdecimal() else -1
        submitted = self.submitted.pop(number, None)
        if submitted is None:
            raise Finding(Kind.PROTOCOL, f"an answer to sync {synced.id}, which awaits none")
        if len(seqs) != 1:
            raise Finding(Kind.WRONG_SEQ, f"one op was submitted, and {len(seqs)} have seqs")
        tally = self._tally
        tally.counts["synced"] += 1
        if number not in self._crowd.disturbed:
            tally.synced_us.append(int((now - submitted.due) * 1e6))
        life, seq = self.life, seqs[0]
        if life is not None:
            life.was_processed(submitted.sent)
            life.acknowledged = max(life.acknowledged, seq)
        self.feed.proven = max(self.feed.proven, submitted.acked)
        try:
            self._crowd.ledger.acknowledge(seq, number)
        except Finding as finding:
            self._found(finding)
        self.feed.synced(seq)

    def _joined(self, joined: messages.Joined, now: float) -> None:
        if self.state is not State.JOINING:
            raise Finding(Kind.PROTOCOL, "`joined` came twice")
        workshop = self._workshop
        workshop.opening -= 1
        workshop.connected += 1
        self._tally.counts["joins"] += 1
        if self.feed.connection == 1:
            workshop.came(self.number)
        self.state = State.JOINED
        self._target = joined.seq
        self._ping_sent = None
        self.life = self._crowd.life(joined.incarnation, joined.idle_timeout)
        self.life.members += 1
        self.life.was_processed(self._asked_at)
        try:
            workshop.learned_idle_timeout(joined.idle_timeout)
        except Finding as finding:
            self._found(finding)
        try:
            self.feed.joined(joined.seq, joined.ops, self._known_before)
        finally:
            self._crowd.arrived()
            if self.is_ready:
                self._send_unsent()

    def _dispersed(self, notice: messages.Dispersed, now: float) -> None:
        life = self.life
        if self.state is State.LEAVING:
            # The notice crossed our leaving.
            self.state = State.NOTICED
            return
        if life is None:
            raise Finding(Kind.BAD_NOTICE, "a notice before `joined`")
        self._tally.counts["notices"] += 1
        self._pong_counts(now)
        self._asked_at = now
        self._out_of_life(State.NOTICED)
        if (notice.gathering, notice.incarnation) != (self._crowd.name, life.incarnation):
            self._found(Finding(Kind.BAD_NOTICE, f"of {notice.gathering}, {notice.incarnation}"))
        try:
            life.noticed(now, notice.reason, notice.idle_for)
        except Finding as finding:
            self._found(finding)
        self.feed.finished(notice.seq, life.acknowledged)

    # Smaller parts.

    def _pong_counts(self, now: float) -> bool:
        """Use the last pong as a proof; False while one is awaited (or too fresh)."""
        if self._ping_sent is None:
            return True
        # Around the point of no return, a pong may still come after the last message
        # counted: one that came in that moment proves nothing.
        if not 0 < self._pong_at < now - PONG_MARGIN:
            return False
        assert self.life is not None
        self.life.was_processed(self._ping_sent)
        self._ping_sent = None
        return True

    def _send_unsent(self) -> None:
        for number, submitted in self.submitted.items():
            if not submitted.sent:
                self._send_sync(number)

    def _send_sync(self, number: int) -> None:
        assert self._link is not None
        assert self.life is not None
        submitted = self.submitted[number]
        submitted.sent = self.life.sent = monotonic()
        submitted.acked = self.feed.acked
        self.feed.submitted(number)
        self._tally.counts["sent"] += 1
        self._link.send(frames.text(messages.sync(number, self.feed.have, submitted.op)))

    def _out_of_life(self, state: State) -> None:
        """It is no member of the gathering any more."""
        if self.state is State.JOINED:
            assert self.life is not None
            self.life.members -= 1
            self._workshop.connected -= 1
        elif self.state is State.JOINING:
            self._workshop.opening -= 1
        self.state = state

    def _gone(self) -> None:
        self._out_of_life(State.AWAY)
        self._link = self.life = None
        for number, submitted in self.submitted.items():
            submitted.sent = 0.0
            # Our own going delays its answer, not the server.
            self._crowd.disturbed.add(number)
        self._crowd.went(self)
        if self._again:
            self._again = False
            self.arrive()

    def _found(self, finding: Finding) -> None:
        self._workshop.found(finding, self._crowd.name, self.number)
