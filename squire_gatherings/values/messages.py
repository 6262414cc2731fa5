"""Messages: what clients and gatherings say to each other, one class each.

`msgspec.Struct` instead of `attrs`: it tells the classes apart by the field `type` while
it decodes, several times faster than `cattrs` into `attrs` classes (docs/dependencies.md
has the figures).
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from squire_gatherings.values.ids import MAX_ID_LENGTH
from squire_gatherings.values.op import Op

MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
MAX_TOKEN_LENGTH = 8192


class ClientMessage(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """What a client may send."""


class Join(ClientMessage, frozen=True, tag="join"):
    """The first message of a connection: `since` is the last seq that the client has."""

    token: Annotated[str, Meta(max_length=MAX_TOKEN_LENGTH)] | None = None
    since: Seq | None = None
    client: MessageId | None = None


class Fetch(ClientMessage, frozen=True, tag="fetch"):
    """Ask for the ops after `since`, or without it for a snapshot."""

    id: MessageId
    since: Seq | None = None


class Sync(ClientMessage, frozen=True, tag="sync"):
    """Submit ops; `base` is the last seq that the client had when it made them."""

    id: MessageId
    base: Seq
    ops: Annotated[tuple[Op, ...], Meta(min_length=1)]


class Ack(ClientMessage, frozen=True, tag="ack"):
    """Everything up to `seq` has arrived."""

    seq: Seq


class Leave(ClientMessage, frozen=True, tag="leave"):
    """Goodbye; answered with close code 1000."""


class ServerMessage(Struct, frozen=True, tag_field="type"):
    """What a gathering may send."""


class Joined(ServerMessage, frozen=True, tag="joined"):
    """Answer to `join`. `ops` follow the client's `since`; what doesn't fit is forwarded.

    `user` is who the client is to others: what stands in their `by`.
    """

    gathering: str
    incarnation: str
    seq: int
    role: str
    user: str | None
    idle_timeout: float
    expires_in: float
    snapshot: Any | UnsetType = UNSET
    ops: tuple[Op, ...] | UnsetType = UNSET
    by: tuple[str | None, ...] | UnsetType = UNSET


class Fetched(ServerMessage, frozen=True, tag="fetched"):
    """Answer to `fetch`. `ops` follow `since`; where they end before `seq`, fetch again."""

    id: str
    seq: int
    snapshot: Any | UnsetType = UNSET
    ops: tuple[Op, ...] | UnsetType = UNSET
    by: tuple[str | None, ...] | UnsetType = UNSET


class Synced(ServerMessage, frozen=True, tag="synced"):
    """Answer to `sync`: its ops are durable under these seqs."""

    id: str
    seqs: tuple[int, ...]


class Conflict(ServerMessage, frozen=True, tag="conflict"):
    """Answer to `sync`: not applied; `ops` are what the client lacked, from `base` + 1."""

    id: str
    seq: int
    ops: tuple[Op, ...]
    by: tuple[str | None, ...]


class Forward(ServerMessage, frozen=True, tag="forward"):
    """One op that somebody else submitted."""

    seq: int
    by: str | None
    op: Op


class ForwardBatch(ServerMessage, frozen=True, tag="forward"):
    """Consecutive ops from `seq` on, and who submitted each."""

    seq: int
    by: tuple[str | None, ...]
    ops: tuple[Op, ...]


class Error(ServerMessage, frozen=True, tag="error", omit_defaults=True):
    """A request failed; `id` is the request's, if it is known."""

    code: str
    message: str
    id: str | None = None


class Dispersed(ServerMessage, frozen=True, tag="dispersed"):
    """The close notice: the last message of a connection."""

    gathering: str
    incarnation: str
    reason: str
    seq: int
    idle_for: float
