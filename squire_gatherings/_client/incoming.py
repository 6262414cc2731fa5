"""Incoming: what a server says, as the client understands it; everything else ends in `Lost`.

Whatever can be seen to be wrong in a message itself is seen here, and nowhere else.
"""

import math
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from squire_gatherings._client.websocket import Lost
from squire_gatherings._values.identity import MAX_USER_LENGTH, check_role
from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.messages import (
    Conflict,
    Dispersed,
    Ending,
    Error,
    Fetched,
    ForwardBatch,
    Joined,
    Presence,
    Refreshed,
    Renew,
    Synced,
    SyncRun,
    Syncs,
    Times,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.text import check_text

MAX_SEQ = 2**63 - 1


class _Forward(msgspec.Struct, tag="forward", tag_field="type"):
    """Both forms of a forward, which a decoder can't tell apart by their `type`."""

    seq: int
    by: str | tuple[str | None, ...] | None
    op: Op | UnsetType = UNSET
    ops: tuple[Op, ...] | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    time: int | UnsetType = UNSET
    times: Times = UNSET
    sync: SyncRun | UnsetType = UNSET
    syncs: Syncs = UNSET

    def batch(self) -> ForwardBatch:
        if isinstance(self.op, Op) and self.ops is UNSET and not isinstance(self.by, tuple):
            times = (self.time,) if isinstance(self.time, int) else UNSET
            syncs = (self.sync,) if isinstance(self.sync, SyncRun) else UNSET
            return ForwardBatch(self.seq, (self.by,), (self.op,), self.epoch, times, syncs)
        if isinstance(self.ops, tuple) and self.op is UNSET and isinstance(self.by, tuple):
            return ForwardBatch(self.seq, self.by, self.ops, self.epoch, self.times, self.syncs)
        raise Lost("the server sent a forward whose fields contradict each other")


# A snapshot stays as it came: a behaviour decodes it.
class _Joined(Joined, frozen=True, tag="joined"):
    snapshot: msgspec.Raw | UnsetType = UNSET


class _Fetched(Fetched, frozen=True, tag="fetched"):
    snapshot: msgspec.Raw | UnsetType = UNSET


class _Unknown(msgspec.Struct):
    type: str


_Others = Synced | Conflict | Refreshed | Renew | Error | Ending | Presence | Dispersed
Incoming = Joined | Fetched | ForwardBatch | _Others
_Decoded = _Joined | _Fetched | _Forward | _Others


def _make_op(_: type, value: Any) -> Op:
    return Op.of(value)


_decoder: msgspec.json.Decoder[_Decoded] = msgspec.json.Decoder(_Decoded, dec_hook=_make_op)
_unknown = msgspec.json.Decoder(_Unknown)
_KNOWN = frozenset(
    {
        "joined",
        "fetched",
        "synced",
        "conflict",
        "forward",
        "refreshed",
        "renew",
        "error",
        "ending",
        "presence",
        "dispersed",
    }
)
_UNDECODABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


def decode(text: str | bytes) -> Incoming | None:
    """Return a server's message, None for a type of a later version. Raises `Lost`.

    What is returned is right in itself: as many names as ops, seqs that follow each other, and
    nothing that can't be.
    """
    try:
        message = _decoder.decode(text)
    except _UNDECODABLE as error:
        try:
            if _unknown.decode(text).type not in _KNOWN:
                return None
        except _UNDECODABLE:
            pass
        raise Lost(f"the server sent something else than a message: {error}"[:300]) from None
    incoming = message.batch() if isinstance(message, _Forward) else message
    wrong = _what_is_wrong(incoming)
    if wrong is not None:
        raise Lost(f"the server sent nonsense: {wrong}"[:300])
    return incoming


def _what_is_wrong(message: Incoming) -> str | None:
    match message:
        case ForwardBatch():
            wrong = _wrong_page(message.seq, message.ops, message.by)
            return wrong or _wrong_stamps(message)
        case Synced():
            return _wrong_synced(message)
        case Joined() | Fetched():
            wrong = _wrong_joined(message) if isinstance(message, Joined) else None
            wrong = wrong or _wrong_seq(message.seq) or _wrong_content(message)
            return wrong or _wrong_stamps(message)
        case Conflict(_, seq, ops, by):
            wrong = _wrong_seq(seq) or _wrong_by(ops, by)
            return wrong or _wrong_stamps(message)
        case Dispersed():
            return _wrong_seq(message.seq) or _wrong_time("idle_for", message.idle_for)
        case Refreshed():
            return _wrong_rights(message)
        case Renew():
            return _wrong_time("rights_expire_in", message.rights_expire_in)
        case Ending():
            return _wrong_ending(message)
        case Presence():
            return _wrong_presence(message)
        case Error():
            return None


def _wrong_ending(ending: Ending) -> str | None:
    if not 1 <= len(ending.rule) <= MAX_ID_LENGTH:
        return "an end by a rule without a proper name"
    if ending.expires_in is None and ending.at_time is None:
        return None
    if ending.at_time is None:
        return "an end without its time"
    return _wrong_time("expires_in", ending.expires_in)


def _wrong_presence(message: Presence) -> str | None:
    since = message.since if isinstance(message.since, int) else 0
    if not 0 <= since < message.version <= MAX_SEQ:
        return f"a presence of version {message.version} since {since}"
    if message.count < 0 or message.anonymous < 0:
        return f"a presence of {message.count} users and {message.anonymous} besides"
    if message.gone and not since:
        return "a presence that is whole, and without some"
    names = [one.user for one in message.users]
    for one in message.users:
        if not 1 <= len(one.user) <= MAX_USER_LENGTH:
            return "a presence of a user without a proper name"
        if one.connections < 1:
            return f"a user with {one.connections} connections"
    return None if len(names) == len(set(names)) else "a presence with a user twice"


def _wrong_page(first: int, ops: tuple[Op, ...], by: tuple[str | None, ...]) -> str | None:
    if not ops:
        return "no op in a forward"
    if not 0 < first <= MAX_SEQ + 1 - len(ops):
        return f"the seq {first} for {len(ops)} ops"
    return _wrong_by(ops, by)


def _wrong_by(ops: tuple[Op, ...], by: tuple[str | None, ...]) -> str | None:
    return None if len(ops) == len(by) else f"{len(by)} in `by` for {len(ops)} ops"


def _wrong_seq(seq: int) -> str | None:
    return None if 0 <= seq <= MAX_SEQ else f"the seq {seq}"


def _wrong_synced(synced: Synced) -> str | None:
    seqs = synced.seqs
    if not seqs:
        return "a sync without seqs"
    if seqs[0] < 1 or seqs[-1] > MAX_SEQ or len(seqs) != seqs[-1] - seqs[0] + 1:
        return f"seqs that don't follow each other: {seqs[:5]}"
    if any(seq != expected for expected, seq in enumerate(seqs, start=seqs[0])):
        return f"seqs that don't follow each other: {seqs[:5]}"
    if isinstance(synced.time, int) and synced.time < 0:
        return f"the time {synced.time}"
    if isinstance(synced.ops, tuple) and len(synced.ops) != len(seqs):
        return f"{len(synced.ops)} ops under {len(seqs)} seqs"
    return None


def _wrong_joined(joined: Joined) -> str | None:
    if not 1 <= len(joined.incarnation) <= MAX_ID_LENGTH:
        return "an incarnation without a proper id"
    if isinstance(joined.max_ops, int) and joined.max_ops < 1:
        return f"max_ops is {joined.max_ops}"
    for name in ("idle_timeout", "expires_in"):
        value = getattr(joined, name)
        # A gathering that is about to end may be late.
        least = 0.0 if name == "idle_timeout" else -math.inf
        if value is not None and not least <= value < math.inf:
            return f"{name} is {value}"
    if joined.ends_in is not UNSET and not -math.inf < joined.ends_in < math.inf:
        return f"ends_in is {joined.ends_in}"
    if joined.ack_delay is not UNSET and not 0 <= joined.ack_delay < math.inf:
        return f"ack_delay is {joined.ack_delay}"
    if joined.user is not None:
        try:
            check_text(joined.user, "a user's name", MAX_USER_LENGTH)
        except ValueError as error:
            return str(error)
    return _wrong_rights(joined) or _wrong_seq(joined.seq)


def _wrong_rights(message: Joined | Refreshed) -> str | None:
    try:
        check_role(message.role)
    except ValueError as error:
        return str(error)
    seconds = message.rights_expire_in
    return None if seconds is UNSET else _wrong_time("rights_expire_in", seconds)


def _wrong_content(message: Joined | Fetched) -> str | None:
    """Both `joined` and `fetched` have either ops, and who submitted them, or a state."""
    if isinstance(message.ops, tuple) and isinstance(message.by, tuple):
        if message.snapshot is not UNSET:
            return "both ops and a snapshot"
        if len(message.ops) > message.seq:
            return f"{len(message.ops)} ops up to the seq {message.seq}"
        return _wrong_by(message.ops, message.by)
    if message.snapshot is UNSET or message.ops is not UNSET or message.by is not UNSET:
        return "neither ops and `by`, nor a snapshot alone"
    return None


def _wrong_time(name: str, value: float | UnsetType | None) -> str | None:
    return (
        None if isinstance(value, int | float) and 0 <= value < math.inf else f"{name} is {value}"
    )


def _wrong_stamps(message: Joined | Fetched | Conflict | ForwardBatch) -> str | None:
    return _wrong_epoch(message) or _wrong_times(message) or _wrong_syncs(message)


def _wrong_times(message: Joined | Fetched | Conflict | ForwardBatch) -> str | None:
    times = message.times
    if not isinstance(times, tuple):
        return None
    count = len(message.ops) if isinstance(message.ops, tuple) else 0
    if len(times) != count:
        return f"{len(times)} times for {count} ops"
    before = 0
    for time in times:
        if time < before:
            return f"the time {time} after {before}"
        before = time
    return None


def _wrong_syncs(message: Joined | Fetched | Conflict | ForwardBatch) -> str | None:
    syncs = message.syncs
    if not isinstance(syncs, tuple):
        return None
    count = len(message.ops) if isinstance(message.ops, tuple) else 0
    if len(syncs) > count:
        return f"{len(syncs)} syncs for {count} ops"
    before = 0
    for one in syncs:
        if one.first_seq <= before:
            return f"a sync from the op {one.first_seq} on, after one up to {before}"
        before = one.last_seq
    return _wrong_seq(before)


def _wrong_epoch(message: Joined | Fetched | Conflict | ForwardBatch) -> str | None:
    epoch = message.epoch
    if isinstance(epoch, str) and len(epoch) > MAX_ID_LENGTH:
        return "an epoch that is no id"
    return None
