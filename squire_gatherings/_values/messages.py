"""Messages: what clients and gatherings say to each other, one class each.

`msgspec.Struct` instead of `attrs`: it tells the classes apart by the field `type` while
it decodes, several times faster than `cattrs` into `attrs` classes (docs/dependencies.md
has the figures).
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.op import Op

MessageId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Epoch = str
"""The id of the incarnation that logged an op.

Two logs that have the same op seq from the same incarnation are the same up to there (the Log
Matching property of Raft: Ongaro and Ousterhout, In Search of an Understandable Consensus
Algorithm, 2014, section 5.3), so `since` and its epoch together say what a client has.

In what a server says, `epoch` is that of the message's last op (or of the op `seq`, with a
snapshot); left out, it is the `incarnation` of the `joined` on this connection. It is empty for
an op from before there were epochs.
"""
Times = tuple[int, ...] | UnsetType
"""The times of ops, each in milliseconds since 1970 (UTC); 0 from before there were times."""
Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
MAX_TOKEN_LENGTH = 8192


class Proof(Struct, frozen=True, gc=False):
    """What binds the log up to op `seq`: the head of its chain there, in hexadecimal digits.

    A client that is told one says it again when it comes back: then a server whose log was
    changed, and not only replaced, can't pass for the one that the client knew.
    """

    seq: Seq
    head: MessageId


class SyncRun(Struct, frozen=True, array_like=True, gc=False):
    """Which ops came from one sync: `count` of them, from the op `first_seq` on, under its `id`.

    An id is unique within its client, and two clients may use the same. Whose it is isn't said
    here: who submitted the ops is.
    """

    first_seq: Seq
    count: Annotated[int, Meta(ge=1)]
    id: MessageId

    @property
    def last_seq(self) -> int:
        """The seq of the last of them."""
        return self.first_seq + self.count - 1


Syncs = tuple[SyncRun, ...] | UnsetType
"""The syncs from which the ops of a message came, in order. The first one may have begun before
them, and the last one may go on after them. Those that aren't known are left out."""


def _without(message: Struct, *secrets: str) -> str:
    """Return what a message is, but for its secrets: it may come to stand in a log."""
    shown = (
        f"{name}={'...' if name in secrets and value else repr(value)}"
        for name, value in structs.asdict(message).items()
    )
    return f"{type(message).__name__}({', '.join(shown)})"


class ClientMessage(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """What a client may send."""


class Join(ClientMessage, frozen=True, tag="join"):
    """The first message of a connection: `since` is the last seq that the client has.

    `epoch` is the epoch of that op. `resume` says that the client comes back by itself after a
    lost connection, and to which incarnation: such a join is no activity. `tail` says, where
    there is no `since`, that the client wants what comes after the join and nothing before.
    `times` asks for the times of ops, `syncs` for the syncs that they came from, and `proof` for
    the log's proof; `known` is a proof that the client was told. `presence` asks to be shown among
    those who are here, with this state, and to be told who is.
    """

    token: Annotated[str, Meta(max_length=MAX_TOKEN_LENGTH)] | None = None
    since: Seq | None = None
    client: MessageId | None = None
    epoch: Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | None = None
    resume: MessageId | None = None
    tail: bool = False
    times: bool = False
    proof: bool = False
    known: Proof | None = None
    syncs: bool = False
    presence: Op | UnsetType = UNSET

    def __repr__(self) -> str:
        return _without(self, "token", "client")


class Fetch(ClientMessage, frozen=True, tag="fetch"):
    """Ask for the ops after `since`, or without it for a snapshot.

    With `at` the answer is as if the log ended with that op; with `at_time`, as if it ended with
    the last op whose time isn't after that (milliseconds since 1970, UTC).
    """

    id: MessageId
    since: Seq | None = None
    at: Seq | None = None
    at_time: Seq | None = None


class Sync(ClientMessage, frozen=True, tag="sync"):
    """Submit ops; `base` is the last seq that the client had when it made them."""

    id: MessageId
    base: Seq
    ops: Annotated[tuple[Op, ...], Meta(min_length=1)]


class Ack(ClientMessage, frozen=True, tag="ack"):
    """Everything up to `seq` has arrived."""

    seq: Seq


class Refresh(ClientMessage, frozen=True, tag="refresh"):
    """Renew the rights of this connection by another token of the same user. No activity."""

    id: MessageId
    token: Annotated[str, Meta(max_length=MAX_TOKEN_LENGTH)]

    def __repr__(self) -> str:
        return _without(self, "token")


class PresenceUpdate(ClientMessage, frozen=True, tag="presence"):
    """Be shown among those who are here with this state, and be told who is. No activity.

    There is no answer but an error; the `id` is there for that.
    """

    id: MessageId
    state: Op


class Leave(ClientMessage, frozen=True, tag="leave"):
    """Goodbye; answered with close code 1000."""


class ServerMessage(Struct, frozen=True, tag_field="type"):
    """What a gathering may send."""


class Joined(ServerMessage, frozen=True, tag="joined"):
    """Answer to `join`. `ops` follow the client's `since`; what doesn't fit is forwarded.

    `user` is who the client is to others: what stands in their `by`. `client` is there where the
    client gave none, and the server made one. `idle_timeout` and `expires_in` (seconds) are None
    for a gathering that never ends of idleness. A sync may have `max_ops` ops. `times` (those of
    the ops, in milliseconds since 1970), `syncs` and `proof` are for clients that asked. The
    client's rights end in `rights_expire_in` seconds, which isn't there where they never do.
    `first_seq` is there where ops after `since` were left out of the log: it is the seq of the
    first of `ops`. `ends_in` is there where the gathering ends in so many seconds whatever happens.
    `ack_delay` is there where there are many clients: the seconds that an acknowledgement waits.
    """

    gathering: str
    incarnation: str
    seq: int
    role: str
    user: str | None
    idle_timeout: float | None
    expires_in: float | None
    snapshot: Any | UnsetType = UNSET
    ops: tuple[Op, ...] | UnsetType = UNSET
    by: tuple[str | None, ...] | UnsetType = UNSET
    epoch: Epoch | UnsetType = UNSET
    client: str | UnsetType = UNSET
    max_ops: int | UnsetType = UNSET
    times: Times = UNSET
    proof: Proof | UnsetType = UNSET
    rights_expire_in: float | UnsetType = UNSET
    first_seq: int | UnsetType = UNSET
    ends_in: float | UnsetType = UNSET
    syncs: Syncs = UNSET
    ack_delay: float | UnsetType = UNSET

    def __repr__(self) -> str:
        return _without(self, "client")


class Fetched(ServerMessage, frozen=True, tag="fetched"):
    """Answer to `fetch`. `ops` follow `since`; where they end before `seq`, fetch again.

    `first_seq` is as in `Joined`.
    """

    id: str
    seq: int
    snapshot: Any | UnsetType = UNSET
    ops: tuple[Op, ...] | UnsetType = UNSET
    by: tuple[str | None, ...] | UnsetType = UNSET
    epoch: Epoch | UnsetType = UNSET
    times: Times = UNSET
    proof: Proof | UnsetType = UNSET
    first_seq: int | UnsetType = UNSET
    syncs: Syncs = UNSET


class Synced(ServerMessage, frozen=True, tag="synced"):
    """Answer to `sync`: its ops are durable under these seqs.

    `ops` are what was logged, where the behaviour made something else of what was sent. `time` is
    that of all its ops, for clients that asked for times.
    """

    id: str
    seqs: tuple[int, ...]
    ops: tuple[Op, ...] | UnsetType = UNSET
    time: int | UnsetType = UNSET


class Conflict(ServerMessage, frozen=True, tag="conflict"):
    """Answer to `sync`: not applied; `ops` are what the client lacked, from `base` + 1.

    `message` is why the behaviour couldn't merge.
    """

    id: str
    seq: int
    ops: tuple[Op, ...]
    by: tuple[str | None, ...]
    message: str | UnsetType = UNSET
    epoch: Epoch | UnsetType = UNSET
    times: Times = UNSET
    syncs: Syncs = UNSET


class Forward(ServerMessage, frozen=True, tag="forward"):
    """One op that somebody else submitted."""

    seq: int
    by: str | None
    op: Op
    epoch: Epoch | UnsetType = UNSET
    time: int | UnsetType = UNSET
    sync: SyncRun | UnsetType = UNSET


class ForwardBatch(ServerMessage, frozen=True, tag="forward"):
    """Consecutive ops from `seq` on, and who submitted each."""

    seq: int
    by: tuple[str | None, ...]
    ops: tuple[Op, ...]
    epoch: Epoch | UnsetType = UNSET
    times: Times = UNSET
    syncs: Syncs = UNSET


class Refreshed(ServerMessage, frozen=True, tag="refreshed"):
    """What the client may do from now on, and for how many seconds.

    The answer to `refresh`; without `id` the program has changed it. `rights_expire_in` isn't there
    where the rights never end.
    """

    role: str
    id: str | UnsetType = UNSET
    rights_expire_in: float | UnsetType = UNSET


class Renew(ServerMessage, frozen=True, tag="renew"):
    """The client's rights end in so many seconds, unless it sends a `refresh`."""

    rights_expire_in: float


class Error(ServerMessage, frozen=True, tag="error", omit_defaults=True):
    """A request failed; `id` is the request's, if it is known."""

    code: str
    message: str
    id: str | None = None


class Ending(ServerMessage, frozen=True, tag="ending"):
    """A warning: the gathering ends by this rule in `expires_in` seconds, at the instant `at_time`.

    `at_time` is in milliseconds since 1970 (UTC). Both are None where the end by this rule, of
    which the clients were told before, is off. It is sent once, and isn't acknowledged.
    """

    gathering: str
    incarnation: str
    rule: str
    expires_in: float | None
    at_time: int | None


class PresentUser(Struct, frozen=True, gc=False):
    """A user who is here: by how many connections, and with the state that was set last."""

    user: str
    connections: int
    state: Op


class Presence(ServerMessage, frozen=True, tag="presence"):
    """Who is here, for clients that asked. It isn't acknowledged, and not repeated.

    With `since` it builds on the version `since`, which the client was told just before: `users`
    are those who are new or have changed, and `gone` those who aren't shown any more. Without, it
    is all that is shown. `count` are all users who are here, shown or not, and `anonymous` the
    connections of nobody known.
    """

    version: int
    count: int
    anonymous: int
    users: tuple[PresentUser, ...]
    gone: tuple[str, ...] | UnsetType = UNSET
    since: int | UnsetType = UNSET


class Dispersed(ServerMessage, frozen=True, tag="dispersed"):
    """The close notice: the last message of a connection."""

    gathering: str
    incarnation: str
    reason: str
    seq: int
    idle_for: float
