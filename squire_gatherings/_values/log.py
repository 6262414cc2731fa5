"""The log as it is stored: ops, the syncs that they came from, snapshots, and what is read back.

Consecutive ops mostly have the same epoch and the same time. What has them at all writes them only
where they change: these are the *runs*.

Those of which each op makes some are `msgspec.Struct`, as messages are: made in a sixth of the
time that a frozen `attrs` class takes, and of no interest to the garbage collector.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, TypeVar

import msgspec
from attrs import frozen
from msgspec import UNSET, Struct

from squire_gatherings._values.messages import Fetched, SyncRun
from squire_gatherings._values.op import Op

T = TypeVar("T")


class LoggedOp(Struct, frozen=True, gc=False):
    """An op as it stands in the log; its seq follows from its place.

    A log holds many of them for long. So it keeps bytes, in which the garbage collector has no
    interest, and no `Op` around them. `json` is the op as compact UTF-8 JSON. `epoch` is the id of
    the incarnation that logged it; "" where that was before there were epochs. `time` is when its
    commit began, in milliseconds since 1970 (UTC); 0 where that was before there were times. It
    never goes back within a log.
    """

    json: bytes
    by: str | None
    epoch: str = ""
    time: int = 0

    @property
    def op(self) -> Op:
        """The op, made anew each time."""
        return Op(self.json)


class Shown(Struct, frozen=True):
    """Ops as they are shown to somebody: those after the seq `after`.

    `syncs` are those that they came from; none where nobody asks, or nobody knows.
    """

    after: int = 0
    ops: Sequence[LoggedOp] = ()
    syncs: tuple[SyncRun, ...] = ()


@frozen(kw_only=True)
class Page:
    """What a program reads of a gathering: ops, as many as fit, or a snapshot instead of them."""

    seq: int
    """The seq of the last op that the gathering has. Where `ops` end before it, there are more."""

    ops: tuple[Op, ...] = ()
    """The ops that were asked for, from the first on; each one's JSON is its `value`."""

    by: tuple[str | None, ...] = ()
    """Who submitted each of them; None for anonymous clients."""

    times: tuple[int, ...] = ()
    """When each of them was committed: milliseconds since 1970 (UTC), 0 if it isn't known."""

    syncs: tuple[SyncRun, ...] = ()
    """The syncs that they came from, in order, as far as the store knows them, if it was asked."""

    first_seq: int | None = None
    """The seq of the first of `ops`, where those before it that were asked for were left out."""

    epoch: str | None = None
    """The epoch of the last of them; None if there are none."""

    snapshot: Any = None
    """The state after op `seq`, decoded from JSON, where `is_snapshot`."""

    is_snapshot: bool = False
    """Whether the state is given in place of ops."""


def page_from(fetched: Fetched, incarnation: str | None) -> Page:
    """Return what a program reads, as the incarnation that answered has told it."""
    if isinstance(fetched.snapshot, msgspec.Raw):
        state = msgspec.json.decode(fetched.snapshot)
        return Page(seq=fetched.seq, snapshot=state, is_snapshot=True)
    ops = fetched.ops or ()
    epoch = incarnation if fetched.epoch is UNSET else fetched.epoch
    return Page(
        seq=fetched.seq,
        ops=ops,
        by=fetched.by or (),
        times=fetched.times or (),
        syncs=fetched.syncs or (),
        first_seq=fetched.first_seq if isinstance(fetched.first_seq, int) else None,
        epoch=epoch if ops else None,
    )


def encoded_size(logged: LoggedOp) -> int:
    """Return how many bytes an op adds to a message in JSON: itself, who submitted it, commas."""
    return len(logged.json) + _name_size(logged.by) + 2


@lru_cache(4096)
def _name_size(by: str | None) -> int:
    return len(msgspec.json.encode(by))


class SyncRecord(Struct, frozen=True, gc=False):
    """Says that a sync was applied. It's remembered for ever, so that none is applied twice.

    `scope` says whose id it is; `fingerprint` tells a repeated sync from a reused id: a hash of
    its ops, or of a sync from before schema 4 the four bytes of a checksum.
    """

    scope: str
    id: str
    first_seq: int
    count: int
    fingerprint: bytes

    @property
    def last_seq(self) -> int:
        """The seq of the last op that came from it."""
        return self.first_seq + self.count - 1

    @property
    def run(self) -> SyncRun:
        """What others are told of it: not the scope, which has the client's secret id in it."""
        return SyncRun(self.first_seq, self.count, self.id)


S = TypeVar("S", SyncRecord, SyncRun)


def syncs_between(syncs: Sequence[S], after: int, up_to: int) -> tuple[S, ...]:
    """Return those of some syncs, which are in order, that ops after `after` came from.

    Args:
        syncs: The syncs.
        after: The op before the first one.
        up_to: The last op.
    """
    first = max(0, bisect_right(syncs, after + 1, key=_first_seq) - 1)
    found = syncs[first : bisect_right(syncs, up_to, key=_first_seq)]
    return tuple(one for one in found if one.last_seq > after)


def _first_seq(sync: SyncRecord | SyncRun) -> int:
    return sync.first_seq


@frozen
class Snapshot:
    """What the behaviour's state was after the op `seq`, as JSON bytes.

    `digest` binds it to the head of the log's chain after that op; it is empty where there was
    none.
    """

    seq: int
    state: bytes
    digest: bytes = b""


class Append(Struct, gc=False):
    """One atomic addition to one gathering's log.

    `ops` have the seqs from `first_seq` on; `syncs` say which syncs they came from. `before` is the
    head of the log's chain before them; None if the one who appends doesn't know it. `head` is the
    head after them: None until `head_of` has computed it, and empty if nobody keeps one.
    """

    gathering: str
    first_seq: int
    ops: tuple[LoggedOp, ...]
    syncs: tuple[SyncRecord, ...]
    snapshot: Snapshot | None = None
    head: bytes | None = b""
    before: bytes | None = None

    @property
    def last_seq(self) -> int:
        """The seq of the last op; the one before `first_seq` if there are none."""
        return self.first_seq + len(self.ops) - 1


@frozen
class Restored:
    """What a gathering starts from: a snapshot, the ops after it, and recent sync ids.

    `seq` is the seq of the last op (0 for a new gathering), `epoch` its epoch, `time` its time, and
    `head` the head of the chain after it; `ops` end there and begin after the snapshot's seq (at 1
    without one); `recent` are the newest syncs, oldest first, and `has_older` tells whether the
    store knows more than those. The log begins at `first_seq`, with a snapshot of what was before;
    `epoch_before` is the epoch of the op before that.
    """

    seq: int = 0
    snapshot: Snapshot | None = None
    ops: tuple[LoggedOp, ...] = ()
    recent: tuple[SyncRecord, ...] = ()
    has_older: bool = False
    epoch: str = ""
    time: int = 0
    head: bytes = b""
    first_seq: int = 1
    epoch_before: str = ""


def runs(values: Iterable[T], first_seq: int, *, before: T) -> list[tuple[int, T]]:
    """Return the runs of values of ops with the seqs from `first_seq` on.

    A run that goes on with the value `before` isn't one of them.
    """
    found: list[tuple[int, T]] = []
    last = before
    for seq, value in enumerate(values, start=first_seq):
        if value != last:
            last = value
            found.append((seq, value))
    return found


def stamp_runs(
    ops: Sequence[LoggedOp], first_seq: int
) -> tuple[list[tuple[int, str]], list[tuple[int, int]]]:
    """Return the runs of the epochs and of the times of ops that are appended together."""
    if not ops:
        return [], []
    one = ops[0]
    if len(ops) == 1 or len({(each.epoch, each.time) for each in ops}) == 1:
        # Almost always: what an incarnation commits together.
        epochs = [(first_seq, one.epoch)] if one.epoch else []
        return epochs, [(first_seq, one.time)] if one.time else []
    return (
        runs([each.epoch for each in ops], first_seq, before=""),
        runs([each.time for each in ops], first_seq, before=0),
    )


def sync_of_each(syncs: Iterable[SyncRun], seq: int) -> Iterator[SyncRun | None]:
    """Return the sync that the op `seq` came from, then that of the next one, and so on.

    None where it isn't known; without an end.
    """
    for one in syncs:
        last = one.last_seq
        if last < seq:
            continue
        if one.first_seq > seq:
            yield from repeat(None, one.first_seq - seq)
            seq = one.first_seq
        yield from repeat(one, last + 1 - seq)
        seq = last + 1
    yield from repeat(None)


def of_each(found: Iterable[tuple[int, T]], seq: int, *, before: T) -> Iterator[T]:
    """Return the value of the op `seq`, of the next one, and so on without an end.

    The runs may begin before `seq` or after it: an op before them all has the value `before`.
    """
    value = before
    for first_seq, next_value in found:
        if first_seq > seq:
            yield from repeat(value, first_seq - seq)
            seq = first_seq
        value = next_value
    yield from repeat(value)
