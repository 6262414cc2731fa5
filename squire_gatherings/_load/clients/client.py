"""The lean client of a load test. It joins, submits, acknowledges, leaves and returns.

Its checks see everything that it gets. Whatever the server does that it may not becomes a
violation, named, and the client goes on as well as it can.
"""

from collections.abc import Callable
from time import monotonic
from typing import ParamSpec, Protocol

from squire_gatherings._load.checks.delivery import DeliveryCheck
from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.incarnation import Incarnation
from squire_gatherings._load.checks.log import LogCheck
from squire_gatherings._load.clients import frames, messages
from squire_gatherings._load.clients.context import ProcessContext
from squire_gatherings._load.clients.link import Link
from squire_gatherings._load.clients.ping_proof import PingProof
from squire_gatherings._load.clients.standing import Standing, State
from squire_gatherings._load.clients.submissions import Submission, Submissions

AWAY_AT_MOST = 1.0
"""Seconds."""

Given = ParamSpec("Given")


class ClientCrowd(Protocol):
    """What a client needs of the crowd it belongs to."""

    context: ProcessContext
    name: str
    """The gathering's id."""

    log: LogCheck
    disturbed: set[int]
    """Ops whose latency says nothing, since their author went away meanwhile."""

    def is_quiet(self, now: float) -> bool:
        """Whether the gathering might end before the next op is due."""

    def incarnation(self, id_: str, idle_timeout: float) -> Incarnation:
        """Return the incarnation that the client has joined."""

    def arrived(self) -> None:
        """The client has joined."""

    def went(self, client: "Client") -> None:
        """The client's connection is over."""


class Client:
    """One client. None of its methods waits; times are of `time.monotonic`."""

    __slots__ = (
        "_ack_wanted",
        "_again",
        "_context",
        "_counters",
        "_crowd",
        "_known_before",
        "_link",
        "_ping",
        "_standing",
        "_target",
        "client",
        "delivery",
        "number",
        "returning",
        "submissions",
    )

    def __init__(self, crowd: ClientCrowd, number: int) -> None:
        context = crowd.context
        self._crowd = crowd
        self._context = context
        self._counters = context.counters
        self.number = number
        self.client = f"{crowd.name}-{number}"
        self.delivery = DeliveryCheck(number, crowd.log, context.plan.retry_interval, context.pad)
        self.returning = False
        """Whether it's away only for a while."""
        self._standing = Standing(context)
        self.submissions = Submissions()
        self._link: Link | None = None
        self._ack_wanted = False
        self._again = False
        """Whether it joins again as soon as its connection is over."""
        self._known_before = 0
        """The highest seq that had been acknowledged when it asked to join."""
        self._target = 0
        """Where the log ended when it joined."""
        self._ping = PingProof()

    @property
    def incarnation(self) -> Incarnation | None:
        """The incarnation that it has joined on the present connection."""
        return self._standing.incarnation

    @property
    def is_ready(self) -> bool:
        """Whether it may submit: connected, and it has what there was when it joined."""
        return self._standing.state is State.JOINED and self.delivery.have >= self._target

    @property
    def is_gone(self) -> bool:
        """Whether it has no connection, and won't have one by itself."""
        return self._standing.state is State.AWAY and not self.returning

    def overdue(self, now: float) -> None:
        """Look whether the server owes it something for too long."""
        patience = self._context.plan.patience
        # While it's away, it can't be answered; it's never away for long.
        for number in self.submissions.take_overdue(now, patience, AWAY_AT_MOST):
            what = f"sync {number} was not answered for {patience:g} s"
            self._found(Finding(Kind.UNANSWERED, what))
        if self._standing.is_overdue(now, patience):
            state = self._standing.state
            if state is not State.CLOSED:
                what = f"{state.name.lower()} for {patience:g} s without an answer"
                self._found(Finding(Kind.UNANSWERED, what))
            self.cut()

    # Coming, submitting, going.

    def arrive(self) -> None:
        """Connect and join, unless it's there."""
        self.returning = False
        if self._context.stopping:
            return
        state = self._standing.state
        if state is not State.AWAY:
            # Its old connection isn't quite over yet.
            self._again = state not in (State.JOINING, State.JOINED)
            return
        plan = self._context.plan
        self._standing.connecting()
        try:
            self._link = Link(
                self._context.poller,
                (plan.host, plan.port),
                f"/gatherings/{self._crowd.name}",
                self,
            )
        except OSError as error:
            self.ended(f"can't connect: {error.strerror}")

    def submit(self, number: int, due: float, op: bytes) -> None:
        """Submit an op now if that's possible, else when it is."""
        submission = self.submissions.add(number, op, due)
        if self.is_ready:
            self._send_sync(number, submission)

    def acknowledge(self, now: float) -> None:
        """Acknowledge what came since the last time."""
        self._ack_wanted = False
        delivery, incarnation = self.delivery, self.incarnation
        if self._standing.state is not State.JOINED or delivery.have <= delivery.acked:
            return
        assert self._link is not None
        assert incarnation is not None
        have = delivery.acked = delivery.have
        incarnation.sent = now
        self._counters.counts["acks"] += 1
        if self._crowd.is_quiet(now) and self._use_pong(now):
            self._ping.pinged(now)
            self._link.send(frames.text(messages.ack(have)) + frames.ping())
        else:
            self._link.send(frames.text(messages.ack(have)))

    def leave(self, *, politely: bool) -> None:
        """Go away: with `leave`, or as a network failure looks."""
        if self._standing.state is not State.JOINED:
            return
        assert self._link is not None
        self._counters.counts["leaves"] += 1
        if politely:
            self._standing.leaving()
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
        self._standing.asked_at = monotonic()
        self._known_before = self._crowd.log.acknowledged
        self.delivery.begin()
        self._link.send(frames.text(messages.join(self.client, self.delivery.have)))

    def message(self, payload: bytes, now: float) -> None:
        """Take in a message of the server."""
        self._check(self._message, payload, now)

    def ponged(self) -> None:
        """The acknowledgement before the ping has been taken in."""
        self._ping.ponged(monotonic())

    def closing(self, code: int, now: float) -> None:
        """The server closes: as it should?"""
        self._check(self._standing.closing, code)

    def ended(self, why: str) -> None:
        """The connection is over."""
        if self._standing.state is State.JOINING:
            self.submissions.clear()
        self._check(self._standing.cut_off, why)
        self._gone()

    # The messages.

    def _message(self, payload: bytes, now: float) -> None:
        try:
            message = messages.DECODE(payload)
        except ValueError as error:
            raise Finding(Kind.PROTOCOL, f"{error}: {payload[:100]!r}") from None
        if self._standing.state in (State.NOTICED, State.CLOSED):
            if isinstance(message, messages.Dispersed):
                raise Finding(Kind.TWO_NOTICES, "the notice came twice", message.seq)
            raise Finding(Kind.AFTER_NOTICE, f"{payload[:100]!r}")
        if type(message) is messages.Forward:
            self._forward(message, now)
        elif type(message) is messages.Synced:
            self._synced(message, now)
        elif type(message) is messages.Joined:
            self._joined(message)
        elif type(message) is messages.Dispersed:
            self._dispersed(message, now)
        elif type(message) is not messages.Ending:
            raise Finding(Kind.REFUSED, f"{payload[:200]!r}")

    def _forward(self, forward: messages.Forward, now: float) -> None:
        if self._standing.state is State.JOINING:
            raise Finding(Kind.PROTOCOL, "a forward before `joined`", forward.seq)
        delivery, counters = self.delivery, self._counters
        ops = (forward.op,) if forward.op is not None else forward.ops or ()
        if not ops:
            raise Finding(Kind.PROTOCOL, "a forward without an op", forward.seq)
        repeated = delivery.repeated
        counters.counts["forwards"] += len(ops)
        if not self._ack_wanted:
            self._ack_wanted = True
            self._context.acks.soon(self, now)
        for seq, op in enumerate(ops, forward.seq):
            if self._check(delivery.forwarded, seq, op, now):
                undisturbed = op.n not in self._crowd.disturbed
                if delivery.repeated == repeated and seq > self._target and undisturbed:
                    counters.forward_us.append(int((now - op.at) * 1e6))
        counters.counts["repeats"] += delivery.repeated - repeated
        if self.submissions and delivery.have >= self._target:
            self._send_unsent()

    def _synced(self, synced: messages.Synced, now: float) -> None:
        seqs = synced.seqs
        answered = self.submissions.answered(synced.id)
        if answered is None:
            raise Finding(Kind.PROTOCOL, f"an answer to sync {synced.id}, which awaits none")
        if len(seqs) != 1:
            raise Finding(Kind.WRONG_SEQ, f"one op was submitted, and {len(seqs)} have seqs")
        (number, submission), seq = answered, seqs[0]
        counters = self._counters
        counters.counts["synced"] += 1
        if number not in self._crowd.disturbed:
            counters.synced_us.append(int((now - submission.due) * 1e6))
        incarnation = self.incarnation
        if incarnation is not None:
            incarnation.was_processed(submission.sent)
            incarnation.acknowledged = max(incarnation.acknowledged, seq)
        self.delivery.proven = max(self.delivery.proven, submission.acked)
        self._check(self._crowd.log.acknowledge, seq, number)
        self.delivery.synced(seq)

    def _joined(self, joined: messages.Joined) -> None:
        if self._standing.state is not State.JOINING:
            raise Finding(Kind.PROTOCOL, "`joined` came twice")
        context = self._context
        self._counters.counts["joins"] += 1
        if self.delivery.connection == 1:
            context.came(self.number)
        self._target = joined.seq
        self._ping.forget()
        self._standing.joined(self._crowd.incarnation(joined.incarnation, joined.idle_timeout))
        self._check(context.learned_idle_timeout, joined.idle_timeout)
        self._check(self.delivery.joined, joined.seq, joined.ops, self._known_before)
        self._crowd.arrived()
        if self.is_ready:
            self._send_unsent()

    def _dispersed(self, notice: messages.Dispersed, now: float) -> None:
        incarnation = self.incarnation
        if self._standing.state is State.LEAVING:
            # The notice crossed our leaving.
            self._standing.state = State.NOTICED
            return
        if incarnation is None:
            raise Finding(Kind.BAD_NOTICE, "a notice before `joined`")
        self._counters.counts["notices"] += 1
        self._use_pong(now)
        self._standing.noticed(now)
        if (notice.gathering, notice.incarnation) != (self._crowd.name, incarnation.id):
            self._found(Finding(Kind.BAD_NOTICE, f"of {notice.gathering}, {notice.incarnation}"))
        self._check(incarnation.noticed, now, notice.reason, notice.idle_for)
        self.delivery.finished(notice.seq, incarnation.acknowledged)

    # Smaller parts.

    def _use_pong(self, now: float) -> bool:
        """Use what the last pong proves; False while one is awaited (or too fresh)."""
        sent = self._ping.take(now)
        if sent is not None:
            assert self.incarnation is not None
            self.incarnation.was_processed(sent)
        return not self._ping.is_awaited

    def _send_unsent(self) -> None:
        for number, submission in self.submissions.unsent():
            self._send_sync(number, submission)

    def _send_sync(self, number: int, submission: Submission) -> None:
        assert self._link is not None
        incarnation = self.incarnation
        assert incarnation is not None
        submission.sent = incarnation.sent = monotonic()
        submission.acked = self.delivery.acked
        self.delivery.submitted(number)
        self._counters.counts["sent"] += 1
        self._link.send(frames.text(messages.sync(number, self.delivery.have, submission.op)))

    def _gone(self) -> None:
        self._standing.gone()
        self._link = None
        self.submissions.connection_lost()
        # Our own going delays the answers, not the server.
        self._crowd.disturbed.update(self.submissions)
        self._crowd.went(self)
        if self._again:
            self._again = False
            self.arrive()

    def _check(self, check: Callable[Given, None], *args: Given.args, **kw: Given.kwargs) -> bool:
        """Call a check; count what it finds. Returns whether it found nothing."""
        try:
            check(*args, **kw)
        except Finding as finding:
            self._found(finding)
            return False
        return True

    def _found(self, finding: Finding) -> None:
        self._context.found(finding, self._crowd.name, self.number)
