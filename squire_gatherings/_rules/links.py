"""Links: a log as the appends that its chain binds, to be checked, cut and copied.

A log that is copied keeps its chain, so that a head of the one proves the other, too.
"""

from collections.abc import Iterable, Iterator

from squire_gatherings._rules.chain import HEAD_SIZE, head_after, next_head, state_digest
from squire_gatherings._values.errors import BadBase, StoreConflict
from squire_gatherings._values.log import Append


def checked(links: Iterable[Append], first_seq: int, before: bytes) -> Iterator[Append]:
    """Give the links of a log, each once it is shown to go on where the last one ended.

    Args:
        links: The appends of all of it, in order.
        first_seq: The seq with which they begin.
        before: The head of the chain before them.

    Raises:
        StoreConflict: One of them isn't what was committed.
    """
    head, seq, time = before, first_seq, 0
    if len(before) not in (0, HEAD_SIZE):
        raise StoreConflict("the head before the first op isn't one")
    for link in links:
        if link.first_seq != seq:
            raise StoreConflict(f"op {link.first_seq} comes where op {seq} should")
        if link.ops:
            head = _checked_head(head, link)
            for number, one in enumerate(link.ops, start=seq):
                if one.time < time:
                    raise StoreConflict(f"the time goes back at op {number}")
                time = one.time
            seq += len(link.ops)
        elif link.syncs:
            raise StoreConflict(f"there is a sync without ops at {seq}")
        snapshot = link.snapshot
        if snapshot is not None and (
            snapshot.seq != seq - 1 or snapshot.digest != state_digest(head, snapshot.state)
        ):
            raise StoreConflict(f"the snapshot of op {snapshot.seq} isn't what was committed")
        yield link


def _checked_head(head: bytes, link: Append) -> bytes:
    last = link.last_seq
    if head_after(head, link) != link.head:
        raise StoreConflict(f"the ops from {link.first_seq} to {last} have another head")
    for sync in link.syncs:
        if not (link.first_seq <= sync.first_seq and sync.last_seq <= last):
            raise StoreConflict(f"a sync of the op {sync.first_seq} isn't within its append")
    return link.head


def check_fork(gathering: str, first_seq: int, last: int, seq: int) -> None:
    """Raise `BadBase` if a log with these ops can't be forked at the op `seq`."""
    if not max(first_seq - 1, 1) <= seq <= last:
        raise BadBase(f"{gathering} has the ops from {first_seq} to {last}, not {seq}")


def cut(links: Iterable[Append], up_to: int, name: str, before: bytes) -> Iterator[Append]:
    """Give the links of a log up to the op `up_to`; `before` is the head before them.

    An append that goes on after that is cut: what is left of it is an append of the log `name`. A
    sync that is cut was never applied there: it is left out.
    """
    for link in links:
        last = link.last_seq
        if link.first_seq > up_to and link.ops:
            return
        if last > up_to:
            ops = link.ops[: up_to + 1 - link.first_seq]
            syncs = tuple(s for s in link.syncs if s.last_seq <= up_to)
            head = next_head(before, name, link.first_seq, ops, syncs)
            yield Append(name, link.first_seq, ops, syncs, None, head)
            return
        before = link.head or before
        yield link
