"""The wire protocol as the clients of the nemesis need it: only the fields that they look at."""

import json

import msgspec


class Op(msgspec.Struct, gc=False):
    """An op that is like no other."""

    is_: str = msgspec.field(name="is")


class Joined(msgspec.Struct, tag_field="type", tag="joined", gc=False):
    """Answer to `join`."""

    incarnation: str
    seq: int
    idle_timeout: float
    ops: list[Op]


class Fetched(msgspec.Struct, tag_field="type", tag="fetched", gc=False):
    """Answer to `fetch`."""

    id: str
    seq: int
    ops: list[Op]


class Synced(msgspec.Struct, tag_field="type", tag="synced", gc=False):
    """Answer to `sync`."""

    id: str
    seqs: list[int]


class Forward(msgspec.Struct, tag_field="type", tag="forward", gc=False):
    """An op of somebody else, or several."""

    seq: int
    op: Op | None = None
    ops: list[Op] | None = None


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


Message = Joined | Fetched | Synced | Forward | Error | Dispersed
decode = msgspec.json.Decoder(Message).decode


def encode(type_: str, **fields: object) -> bytes:
    """Return a message of a client."""
    return json.dumps({"type": type_, **fields}, separators=(",", ":")).encode()
