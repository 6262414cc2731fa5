"""The delivery check of one client: it gets every op once, in order, and nothing else.

A forward that comes again is legal only as a retry: not sooner than the retry interval after the
op was submitted (twice that for the second time, and so on), and not after the server has provably
processed our acknowledgement. Neither bound depends on how fast we read.
"""

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.log import LogCheck
from squire_gatherings._load.op import LoadOp

MAX_MISSING = 1000


class DeliveryCheck:
    """What one client has, over all its connections. Times are of `time.monotonic`."""

    __slots__ = (
        "_client",
        "_log",
        "_missing",
        "_pad",
        "_repeats",
        "_retry_interval",
        "_sent_on",
        "acked",
        "connection",
        "had",
        "have",
        "proven",
        "repeated",
    )

    def __init__(self, client: int, log: LogCheck, retry_interval: float, pad: str) -> None:
        self._client = client
        self._log = log
        self._retry_interval = retry_interval
        self._pad = pad
        self._sent_on: dict[int, int] = {}
        self._missing: set[int] = set()
        self._repeats: dict[int, int] | None = None
        self.have = 0
        """Every seq up to here has come (or has been found missing)."""
        self.had = 0
        """What `joined` brought, or we had before: never forwarded on this connection."""
        self.acked = 0
        """The last seq that we acknowledged on this connection."""
        self.proven = 0
        """The last seq of which we know that the server knows that we have it."""
        self.connection = 0
        """The number of this connection among the client's, from 1 on."""
        self.repeated = 0
        """How many forwards came again, as they may."""

    def begin(self) -> None:
        """A new connection begins, and joins with `since=have`."""
        self.connection += 1
        self.acked = self.proven = self.had = self.have
        self._repeats = None
        self._missing.clear()

    def submitted(self, number: int) -> None:
        """Our op `number` is being sent on this connection, for the first time or again."""
        self._sent_on.setdefault(number, self.connection)

    def joined(self, seq: int, ops: list[LoadOp], known_before: int) -> None:
        """`joined` came.

        Args:
            seq: Where the log ends, as `joined` says.
            ops: What `joined` brought.
            known_before: The highest seq that had been acknowledged when we asked.

        Raises:
            Finding: Something is missing, or too much.
        """
        if seq < known_before:
            self.have = self.had = seq
            what = f"joined at {seq}, but {known_before} was acknowledged"
            raise Finding(Kind.LOST, what, known_before)
        since = self.have
        if since + len(ops) > seq:
            raise Finding(Kind.CONTENT, f"joined at {seq} with {len(ops)} ops after {since}", seq)
        self.have = self.had = since + len(ops)
        for index, op in enumerate(ops):
            self._check(since + 1 + index, op)

    def forwarded(self, seq: int, op: LoadOp, now: float) -> None:
        """A forward came.

        Raises:
            Finding: It may not come, or not now.
        """
        if seq <= self.have:
            self._again(seq, op, now)
            return
        if seq != self.have + 1:
            raise self._gap(seq, "came")
        self.have = seq
        self._check(seq, op)

    def synced(self, seq: int) -> None:
        """Our own op was acknowledged under `seq`.

        Raises:
            Finding: We lack what came before it.
        """
        if seq == self.have + 1:
            self.have = seq
        elif seq > self.have:
            raise self._gap(seq, "our own op, acknowledged")

    def finished(self, seq: int, acknowledged: int) -> None:
        """The gathering says that it ended with `seq`.

        Args:
            seq: The last seq, as the notice says.
            acknowledged: The highest seq that any client of this incarnation was told is durable.

        Raises:
            Finding: Something never came.
        """
        if self._missing:
            missing = min(self._missing)
            raise Finding(Kind.LOST, f"never came ({len(self._missing)} such)", missing)
        if self.have != seq:
            raise Finding(Kind.LOST, f"the gathering ended at {seq}, we have {self.have}", seq)
        if seq < acknowledged:
            what = f"acknowledged, but the gathering ended at {seq}"
            raise Finding(Kind.LOST, what, acknowledged)

    def _gap(self, seq: int, what: str) -> Finding:
        before, self.have = self.have, seq
        if seq - before <= MAX_MISSING:
            self._missing.update(range(before + 1, seq))
        return Finding(Kind.GAP, f"{what} when we had {before}", seq)

    def _again(self, seq: int, op: LoadOp, now: float) -> None:
        if seq in self._missing:
            self._missing.discard(seq)
            raise Finding(Kind.ORDER, f"came when we had {self.have} already", seq)
        self._check(seq, op)
        self.repeated += 1
        if seq <= self.had:
            raise Finding(Kind.REPEAT, f"we joined with {self.had}, and were sent it again", seq)
        if seq <= self.proven:
            raise Finding(Kind.REPEAT, "came again after our acknowledgement was processed", seq)
        if self._repeats is None:
            self._repeats = {}
        times = self._repeats[seq] = self._repeats.get(seq, 0) + 1
        early = op.at + times * self._retry_interval - now
        if early > 0:
            what = f"came again (repeat {times}) {early * 1000:.0f} ms before a retry could be due"
            raise Finding(Kind.REPEAT, what, seq)

    def _check(self, seq: int, op: LoadOp) -> None:
        self._log.record(seq, op.n)
        if op.pad != self._pad:
            raise Finding(Kind.CONTENT, f"op {op.n} has other contents than were submitted", seq)
        own = op.a == self._client and self._sent_on.get(op.n) == self.connection
        if own and seq > self.had:
            raise Finding(Kind.OWN, f"op {op.n} is our own, of this connection", seq)
