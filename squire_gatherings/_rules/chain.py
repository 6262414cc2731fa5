"""The chain: a hash for each append, which binds it to all that the log had before it.

The *head* after an append is BLAKE2b (32 bytes) over MessagePack of an array:

    [head before, gathering, first seq, [op, ...], [by, ...],
     [[seq, epoch], ...], [[seq, time], ...],
     [[scope, id, first seq, count, fingerprint], ...]]

Ops, heads and fingerprints are binary; epochs and times are runs, beginning with "" and 0; the
syncs are in the order of their first seqs. MessagePack in its shortest forms says how long each
part is, so that nothing can be moved from one part into the next. The head before the first append
is empty.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from squire_gatherings._values.log import Append, LoggedOp, SyncRecord, stamp_runs

HEAD_SIZE = 32
"""How many bytes a head has."""

_STATE = b"gathering state"

_TOMBSTONE = b"gathering ended"

_TIME = b"gathering time"

TIME_SIZE = 8
"""How many bytes a time has before its proof."""

_LINK = blake2b(digest_size=HEAD_SIZE, person=b"gathering append")

_encode = msgspec.msgpack.Encoder().encode


def begins_with(head: bytes, beginning: bytes) -> bool:
    """Return whether a head begins so; an empty beginning is that of no head."""
    return head.startswith(beginning) if beginning else not head


def next_head(
    before: bytes,
    gathering: str,
    first_seq: int,
    ops: Sequence[LoggedOp],
    syncs: Sequence[SyncRecord],
) -> bytes:
    """Return the head of the chain after an append; `before` if it has no ops.

    It is empty if there can't be one, since a text can't be encoded: no store takes such an append.
    """
    return head_over(before, gathering, first_seq, parts_of(first_seq, ops, syncs))


Parts = tuple[
    Sequence[bytes],
    Sequence[str | None],
    Sequence[tuple[int, str]],
    Sequence[tuple[int, int]],
    Sequence[tuple[str, str, int, int, bytes]],
]
"""An append as it is hashed: its ops, who submitted them, epochs, times, syncs."""


def parts_of(first_seq: int, ops: Sequence[LoggedOp], syncs: Sequence[SyncRecord]) -> Parts:
    """Return the parts of an append, for `head_over`, and for stores that write the same."""
    if len(ops) == 1 == len(syncs):
        # Most appends, in half the time.
        [one], [sync] = ops, syncs
        return (
            (one.json,),
            (one.by,),
            ((first_seq, one.epoch),) if one.epoch else (),
            ((first_seq, one.time),) if one.time else (),
            ((sync.scope, sync.id, sync.first_seq, sync.count, sync.fingerprint),),
        )
    return (
        [each.json for each in ops],
        [each.by for each in ops],
        *stamp_runs(ops, first_seq),
        [(s.scope, s.id, s.first_seq, s.count, s.fingerprint) for s in syncs],
    )


def head_over(before: bytes, gathering: str, first_seq: int, parts: Parts) -> bytes:
    """Return the head of the chain after an append with these parts; see `next_head`."""
    if not parts[0]:
        return before
    try:
        link = _encode((before, gathering, first_seq, *parts))
    except UnicodeEncodeError:
        return b""
    # To copy a hash is faster than to make one.
    digest = _LINK.copy()
    digest.update(link)
    return digest.digest()


def head_of(append: Append) -> bytes:
    """Return the head of the chain after an append, computed when it is asked for first.

    It is empty where nobody can compute it: the one who appends doesn't know the head before it.
    """
    if append.head is None:
        if append.before is None:
            return b""
        append.head = head_after(append.before, append)
    return append.head


def head_after(before: bytes, append: Append) -> bytes:
    """Return the head of the chain after an append, whatever head it has itself."""
    return next_head(before, append.gathering, append.first_seq, append.ops, append.syncs)


def follows(before: bytes, append: Append) -> bool:
    """Return whether an append goes on from this head.

    One whose author knows neither head doesn't; one with an empty head says nothing of that.
    """
    if append.before is not None:
        return append.before == before
    if append.head is None:
        return False
    return not append.head or head_after(before, append) == append.head


def state_digest(head: bytes, state: bytes) -> bytes:
    """Return what binds a state to the head of the chain after the op that it is a state after."""
    digest = blake2b(head, digest_size=HEAD_SIZE, person=_STATE)
    digest.update(state)
    return digest.digest()


def tombstone_digest(gathering: str, seq: int, head: bytes, time: int) -> bytes:
    """Return what shows that a tombstone is what was written: it has no other proof."""
    said = _encode((gathering, seq, head, time))
    return blake2b(said, digest_size=HEAD_SIZE, person=_TOMBSTONE).digest()


def sealed_time(head: bytes, time: int) -> bytes:
    """Return the time of an op that was left out, and what binds it to the head after that op."""
    said = time.to_bytes(TIME_SIZE)
    digest = blake2b(head, digest_size=HEAD_SIZE, person=_TIME)
    digest.update(said)
    return said + digest.digest()


def unsealed_time(sealed: bytes) -> int:
    """Return the time that was sealed; whether it is proven is another question."""
    return int.from_bytes(sealed[:TIME_SIZE])
