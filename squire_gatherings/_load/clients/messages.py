"""The wire protocol as the lean client needs it: only the fields that it looks at."""

import math

import msgspec

from squire_gatherings._load.op import LoadOp


class Joined(
    msgspec.Struct, tag_field="type", tag="joined", gc=False, rename={"timeout": "idle_timeout"}
):
    """Answer to `join`."""

    incarnation: str
    seq: int
    timeout: float | None
    ops: list[LoadOp] = []

    @property
    def idle_timeout(self) -> float:
        """The server's, in seconds; infinite where gatherings never end of idleness."""
        return math.inf if self.timeout is None else self.timeout


class Synced(msgspec.Struct, tag_field="type", tag="synced", gc=False):
    """Answer to `sync`."""

    id: str
    seqs: list[int]


class Forward(msgspec.Struct, tag_field="type", tag="forward", gc=False):
    """An op of somebody else, or several."""

    seq: int
    op: LoadOp | None = None
    ops: list[LoadOp] | None = None


class Conflict(msgspec.Struct, tag_field="type", tag="conflict", gc=False):
    """A sync that was not applied."""

    id: str
    seq: int


class Error(msgspec.Struct, tag_field="type", tag="error", gc=False):
    """A request that failed."""

    code: str
    message: str
    id: str | None = None


class Dispersed(msgspec.Struct, tag_field="type", tag="dispersed", gc=False):
    """The close notice."""

    gathering: str
    incarnation: str
    reason: str
    seq: int
    idle_for: float


class Ending(msgspec.Struct, tag_field="type", tag="ending", gc=False):
    """A warning, which is nothing to us."""


Message = Joined | Synced | Forward | Conflict | Error | Ending | Dispersed
DECODE = msgspec.json.Decoder(Message).decode


def join(client: str, since: int) -> bytes:
    """Return a `join`."""
    return b'{"type":"join","client":"%b","since":%d}' % (client.encode(), since)


def sync(number: int, base: int, op: bytes) -> bytes:
    """Return a `sync` of one encoded op, whose number is its id."""
    return b'{"type":"sync","id":"%d","base":%d,"ops":[%b]}' % (number, base, op)


def ack(seq: int) -> bytes:
    """Return an `ack`."""
    return b'{"type":"ack","seq":%d}' % seq


LEAVE = b'{"type":"leave"}'
