"""Findings: which kinds of violation a load test knows, and what it says of one."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What may be wrong with a server, as its clients see it (docs/load-testing.md)."""

    GAP = "gap"
    ORDER = "order"
    REPEAT = "repeat"
    OWN = "own op forwarded"
    CONTENT = "content"
    WRONG_SEQ = "wrong seq"
    LOST = "lost"
    UNANSWERED = "unanswered"
    REFUSED = "refused"
    EARLY = "early"
    OVERDUE = "never dispersed"
    NO_NOTICE = "no notice"
    TWO_NOTICES = "two notices"
    BAD_NOTICE = "bad notice"
    AFTER_NOTICE = "after the notice"
    CLOSED = "closed"
    CONNECT = "connect"
    PROTOCOL = "protocol"
    MEMORY = "memory"
    SERVER = "server"


class Finding(Exception):
    """One violation; its text says what was seen. Raised and caught within a check."""

    def __init__(self, kind: Kind, what: str, seq: int | None = None) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.seq = seq


class Violation(msgspec.Struct, frozen=True):
    """A finding with where and when (seconds since the start) it was made."""

    kind: str
    what: str
    at: float
    gathering: str | None = None
    client: int | None = None
    seq: int | None = None

    def __str__(self) -> str:
        where = self.gathering or "the server"
        if self.client is not None:
            where += f", client {self.client}"
        if self.seq is not None:
            where += f", seq {self.seq}"
        return f"{self.kind}: {where}: {self.what} (at {self.at:.3f} s)"
