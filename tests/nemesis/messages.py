"""The wire protocol as the clients of the nemesis need it: only the fields that they look at.

What says nothing of ops is as the load test has it.
"""

import json

import msgspec

from squire_gatherings._load.clients.messages import Dispersed, Error, Synced


class Op(msgspec.Struct, gc=False):
    """An op that is like no other."""

    is_: str = msgspec.field(name="is")


class Joined(msgspec.Struct, tag_field="type", tag="joined", gc=False):
    """Answer to `join`."""

    incarnation: str
    seq: int
    ops: list[Op]


class Fetched(msgspec.Struct, tag_field="type", tag="fetched", gc=False):
    """Answer to `fetch`."""

    id: str
    seq: int
    ops: list[Op]


class Forward(msgspec.Struct, tag_field="type", tag="forward", gc=False):
    """An op of somebody else, or several."""

    seq: int
    op: Op | None = None
    ops: list[Op] | None = None


Message = Joined | Fetched | Synced | Forward | Error | Dispersed
decode = msgspec.json.Decoder(Message).decode

__all__ = ["Dispersed", "Error", "Fetched", "Forward", "Joined", "Op", "Synced", "decode", "encode"]


def encode(type_: str, **fields: object) -> bytes:
    """Return a message of a client."""
    return json.dumps({"type": type_, **fields}, separators=(",", ":")).encode()
